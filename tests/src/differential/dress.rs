//! Disguises of a draft that leave it a text of one line.

use super::draft::{Draft, Member, escaped, other_case, quoted};
use super::grammar::{NUMBERS, Target};
use super::random::Random;

/// Some of the keys and strings with escapes.
pub(super) fn escapes(draft: &mut Draft, random: &mut Random) {
    for members in [&mut draft.envelope, &mut draft.params, &mut draft.arguments] {
        for (key, value) in members.iter_mut() {
            *key = escaped(key, random);
            *value = escaped(value, random);
        }
    }
    draft.keys = [escaped(&draft.keys[0], random), escaped(&draft.keys[1], random)];
}

/// A key a second time, written by `spell`, with an innocent value before or behind the one that counts.
pub(super) fn twice(draft: &mut Draft, target: &Target, spell: fn(&str, &mut Random) -> String, random: &mut Random) {
    let innocent = Draft::of("allowed", "innocent", Vec::new());
    match random.below(10) {
        0 => insert(&mut draft.envelope, "method", (spell("\"method\"", random), quoted("ping")), random),
        1 => {
            draft.before = if random.percent(50) { draft.envelope.len() } else { 0 };
            let place = random.below(draft.envelope.len() + 1);
            draft.envelope.insert(place, (spell("\"params\"", random), innocent.written_params()));
        }
        2 => {
            let mut other = (spell("\"arguments\"", random), "{\"n\":1}".to_owned());
            if random.percent(50) {
                // The evil first, the innocent last.
                other.1 = members_text(&draft.arguments);
                draft.arguments = vec![(quoted("n"), "1".into())];
            }
            draft.params.push(other);
        }
        3 => insert(&mut draft.envelope, "id", (spell("\"id\"", random), "7".into()), random),
        4 => draft.arguments.push((quoted("nested2"), format!("{{\"k\":1,{}:2}}", spell("\"k\"", random)))),
        _ => {
            let twin = (spell(&quoted(target.key), random), target.decoy.clone());
            let members = if target.key == "name" { &mut draft.params } else { &mut draft.arguments };
            insert(members, target.key, twin, random);
        }
    }
}

/// Keys in another case, beside the right one or in its place.
pub(super) fn key_case(draft: &mut Draft, target: &Target, random: &mut Random) {
    if random.percent(55) {
        return twice(draft, target, other_case, random);
    }
    match random.below(8) {
        0 => draft.keys[0] = other_case(&draft.keys[0], random),
        1 => draft.keys[1] = other_case(&draft.keys[1], random),
        2 => {
            let member = draft.in_envelope(random.pick(&["method", "id", "jsonrpc"]));
            member.0 = other_case(&member.0, random);
        }
        3 => draft.arguments.push((quoted("__proto__"), "{\"n\":1000}".into())),
        _ => {
            let members = if target.key == "name" { &mut draft.params } else { &mut draft.arguments };
            if let Some(member) = members.iter_mut().find(|(key, _)| *key == quoted(target.key)) {
                member.0 = other_case(&member.0, random);
            }
        }
    }
}

/// A number that readers read differently, in the argument that the policy bounds or in one that it does not name.
pub(super) fn numbers(draft: &mut Draft, random: &mut Random) {
    let number = random.pick(&NUMBERS.map(|text| text)).to_owned();
    if random.percent(50) {
        draft.arguments.retain(|(key, _)| *key != quoted("n"));
        draft.arguments.push((quoted("n"), number));
    } else {
        let value = if random.percent(50) { format!("[{number}]") } else { number };
        draft.arguments.push((quoted("extra"), value));
    }
}

/// Arrays in arrays, around the bound of 64 and far beyond it. The line's own three objects count.
pub(super) fn nesting(draft: &mut Draft, random: &mut Random) {
    let depth = match random.below(12) {
        0 => 10_001,
        1 => 5_000,
        2 => 1_000,
        3 => 200,
        _ => 59 + random.below(5),
    };
    let (open, close) = if random.percent(70) { ("[", "]") } else { ("{\"a\":", "}") };
    let value = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
    draft.arguments.retain(|(key, _)| *key != quoted("nested"));
    draft.arguments.push((quoted("nested"), value));
}

/// Another id, or none.
pub(super) fn ids(draft: &mut Draft, random: &mut Random) {
    if random.percent(10) {
        draft.envelope.retain(|(key, _)| key != "\"id\"");
        draft.before = 0;
        return;
    }
    let long = quoted(&"i".repeat(300));
    let ids = [
        "null",
        "true",
        "1.5",
        "1e3",
        "-1",
        "0",
        "12345678901234567890",
        "9007199254740993",
        "[1]",
        "{}",
        "\"\"",
        &long,
        "\"same\"",
        "\"same\"",
        "7",
        "7.0",
        "-0",
        "\"\\u0000\"",
        "\"\\ud800\"",
    ];
    draft.in_envelope("id").1 = random.pick(&ids).to_owned();
}

/// What stands between the tokens.
pub(super) fn blanks(draft: &mut Draft, random: &mut Random) {
    let blanks = [" ", "  ", "\t", " ", "\r", "\u{b}", "\u{c}", "\u{a0}", "\u{feff}", "\u{85}", "\u{2028}", "\u{0}"];
    draft.space = random.pick(&blanks).to_owned();
}

/// A method that somebody may take for tools/call, or that is not it at all.
pub(super) fn methods(draft: &mut Draft, random: &mut Random) {
    let methods = [
        "tools\\/call",
        "\\u0074ools/call",
        "tools/call",
        "Tools/call",
        "tools/Call",
        "TOOLS/CALL",
        "tools/call ",
        "tools/call\\u0000",
        "tools//call",
        "tools/\u{441}all",
        "tools/list",
        "ping",
        "notifications/tools/call",
        "",
    ];
    draft.in_envelope("method").1 = quoted(random.pick(&methods));
}

/// More keys than an envelope has, or others.
pub(super) fn envelope(draft: &mut Draft, random: &mut Random) {
    let more = [
        ("extra", "1"),
        ("result", "{}"),
        ("error", "{\"code\":1,\"message\":\"x\"}"),
        ("arguments", "{\"n\":1}"),
        ("name", "\"allowed\""),
        ("", "null"),
    ];
    match random.below(more.len() + 2) {
        6 => draft.in_envelope("jsonrpc").1 = random.pick(&["\"1.0\"", "2.0", "\"2\"", "null"]).to_owned(),
        7 => draft.before = 0,
        which => {
            let place = random.below(draft.envelope.len() + 1);
            draft.envelope.insert(place, (quoted(more[which].0), more[which].1.to_owned()));
        }
    }
}

/// What stands beside the arguments.
pub(super) fn meta(draft: &mut Draft, random: &mut Random) {
    let metas = [
        "{}",
        "{\"progressToken\":\"t\"}",
        "{\"progressToken\":1}",
        "{\"progressToken\":null}",
        "{\"progressToken\":[1]}",
        "{\"x\":{\"name\":\"denied\"}}",
        "null",
        "[]",
        "\"x\"",
        "{\"a\":1,\"a\":2}",
        "{\"ProgressToken\":1}",
        "{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}",
        "{\"progressToken\":1e400}",
    ];
    let keys = ["_meta", "_meta", "_meta", "_META", "task", "inputResponses", "requestState", "x", "uri"];
    let key = random.pick(&keys);
    let member = (quoted(key), random.pick(&metas).to_owned());
    if random.percent(20) {
        draft.arguments.push(member);
    } else {
        draft.params.push(member);
    }
}

/// Puts `twin` before or behind the member `key`.
fn insert(members: &mut Vec<Member>, key: &str, twin: Member, random: &mut Random) {
    let place = members.iter().position(|(name, _)| *name == quoted(key)).unwrap_or(0);
    members.insert(place + random.below(2).min(members.len() - place), twin);
}

fn members_text(members: &[Member]) -> String {
    let written: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", written.join(","))
}
