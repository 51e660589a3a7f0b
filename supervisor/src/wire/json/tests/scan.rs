//! The scan against the parser: the same verdict in the same place, and the same places.

use std::ops::Range;

use super::*;
use crate::wire::json::scan::Outline;

const OPEN: &[&str] = &["result", "error"];

fn outline(line: &str) -> Outline<'_> {
    scan(line.as_bytes(), OPEN).unwrap()
}

/// Both readings of a line, which must agree.
fn assert_same(line: &[u8]) {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(300)]).into_owned();
    match (parse_spanned(line), scan(line, OPEN)) {
        (Ok(parsed), Ok(outline)) => {
            assert_eq!(parsed.one_line_everywhere, outline.one_line_everywhere, "{}", shown());
            let Value::Object(members) = &parsed.value else {
                assert!(outline.members.is_none() && parsed.members.is_empty(), "{}", shown());
                return;
            };
            let seen = outline.members.as_ref().expect("an object");
            assert!(members.iter().map(|(key, _)| key).eq(seen.iter().map(|(key, _)| key)), "{}", shown());
            assert!(parsed.members.iter().eq(seen.iter().map(|(_, place)| place)), "{}", shown());
            for (key, value) in members {
                assert_eq!(outline.value(outline.place(key).expect("listed")).as_ref(), Ok(value), "{}", shown());
                for (inner, value) in value.as_object().unwrap_or_default() {
                    let place = outline.inner_place(key, inner);
                    assert_eq!(place.is_some(), OPEN.contains(&&**key), "{}", shown());
                    assert!(place.is_none_or(|place| outline.value(place).as_ref() == Ok(value)), "{}", shown());
                }
            }
        }
        (parsed, scanned) => assert_eq!(parsed.err(), scanned.err(), "{}", shown()),
    }
}

#[test]
fn hostile_lines_have_one_verdict() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let deep = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
    let many = |last: &str| {
        let keys: Vec<String> = (0..40).map(|index| format!("\"k{index}\":0")).collect();
        format!(r#"{{"x":[{{{},{last}}}]}}"#, keys.join(","))
    };
    let mut lines: Vec<Vec<u8>> = [
        r#"{"a":1,"a":2}"#,
        r#"{"n\u0061me":1,"name":2}"#,
        r#"{"a":{"b":[{"c":1,"\u0063":2}]}}"#,
        r#"{"\u0061":{"\u0061":1},"b":{"\u0061":1}}"#,
        r#"{"\ud83d\ude00":1,"\uD83D\uDE00":2}"#,
        r#"{"a":1,"b":2,"a":"#,
        r#"{"a":1,"a":NaN}"#,
        r#"{"a\u0000":1}"#,
        r#"{"a":"\u0000"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"\ud800":1}"#,
        r#"{"a":"\ud83d\u0041"}"#,
        r#"{"result":{"isError":true,"x":{"isError":1}},"error":{"code":-1}}"#,
        r#"{"res\u0075lt":{"is\u0045rror":true}}"#,
        r#"{"result":[{"isError":true}]}"#,
        r#"[{"result":{"a":1}}]"#,
        "[9007199254740992]",
        "[-0]",
        "[1e400]",
        "[0.10000000000000001]",
        "[01]",
        "[+1]",
        "{} {}",
        "{}x",
        "\u{feff}{}",
        "{\"a\":\"\u{2028}\u{85}\"}",
        "",
        " ",
        "tru",
        "\"a",
        "{a:1}",
        "[1,]",
        "{\"a\":1,}",
        "\"\\x\"",
        "\"\\u12",
    ]
    .iter()
    .map(|line| line.as_bytes().to_vec())
    .collect();
    lines.extend([b"\"\xff\"".to_vec(), b"{\"a\":\"\x01\"}".to_vec(), b"{\r}".to_vec(), b"\xc0\x80".to_vec()]);
    for depth in [JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1, 10_001] {
        lines.extend([nested(depth).into_bytes(), deep(depth).into_bytes()]);
    }
    for last in [r#""new":1"#, r#""k7":1"#, r#""k\u0037":1"#, r#""\u006b39":1,"k0":1"#] {
        lines.push(many(last).into_bytes());
    }
    for items in [JSON_VALUES_MAX - 1, JSON_VALUES_MAX] {
        lines.push(format!("[{}]", vec!["1"; items].join(",")).into_bytes());
    }
    lines.iter().for_each(|line| assert_same(line));
}

#[test]
fn duplicate_keys_are_refused_in_a_scan_too() {
    for line in [r#"{"a":1,"a":2}"#, r#"{"x":[{"name":1,"n\u0061me":2}]}"#] {
        assert_eq!(scan(line.as_bytes(), OPEN).unwrap_err().code, RejectCode::DuplicateKey, "{line}");
    }
    let mut body: Vec<String> = (0..100_000).map(|index| format!("\"{index:06}\":0")).collect();
    body.push("\"00000\\u0037\":0".to_owned());
    let reject = scan(format!("{{{}}}", body.join(",")).as_bytes(), OPEN).unwrap_err();
    assert_eq!((reject.code, reject.offset), (RejectCode::DuplicateKey, 1 + 100_000 * 11));
}

#[test]
fn places_are_exact_and_keys_unescaped() {
    let line = r#" {"result" : {"is\u0045rror" : true , "a":[{"isError":1}]}, "id": 5 ,"x":{"isError":2}} "#;
    let outline = outline(line);
    let text = |place: Option<Range<usize>>| place.map(|place| &line[place]);
    assert_eq!(text(outline.place("id")), Some("5"));
    assert_eq!(text(outline.inner_place("result", "isError")), Some("true"));
    assert_eq!(text(outline.inner_place("x", "isError")), None, "nobody asked for it");
    assert_eq!(text(outline.inner_place("result", "code")), None);
    assert_eq!(outline.value(outline.place("result").unwrap()).unwrap().member("isError"), Some(&Value::Bool(true)));
}

#[test]
fn separators_are_escaped_where_they_stand() {
    let line = "{\"a\":\"\u{2028}x\u{85}\u{85}y\u{2029}\u{2027}\u{e9}\"}";
    let mut out = Vec::new();
    write_escaping_separators(line.as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out.clone()).unwrap(), "{\"a\":\"\\u2028x\\u0085\\u0085y\\u2029\u{2027}\u{e9}\"}");
    assert!(parse_spanned(&out).unwrap().one_line_everywhere);
    assert_eq!(parse(&out), parse(line.as_bytes()));
}

#[test]
fn nothing_is_allocated_for_a_value() {
    let allocations = |values: usize| {
        let item = r#"{"a":[1,0.1,0.30000000000000004,"x\n\u00e9"],"\u0062":null,"c":{"d":true}}"#;
        let many: Vec<String> = (0..20).map(|index| format!("\"k{index}\":0")).collect();
        let items = vec![item; values].join(",");
        let line = format!(r#"{{"id":1,"result":{{"content":[{items},{{{}}}]}}}}"#, many.join(","));
        allocation_counter::measure(|| assert!(scan(line.as_bytes(), OPEN).is_ok())).count_total
    };
    assert_eq!(allocations(10_000), allocations(10), "as many for a long line as for a short one");
    assert!(allocations(10) < 32, "{}", allocations(10));
}

/// Texts near JSON: pieces that mean something, in any order.
fn near_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\"result\":{",
        "\"error\":",
        "1",
        "-0",
        "1e5",
        "0.1",
        "null",
        "true",
        "nan",
        "\"\\ud800\"",
        "\"\\n\"",
        "\"\u{2028}\"",
        " ",
        "\"a\":1",
        "\"b\":[",
        "\"",
        "\\",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_has_one_verdict(line in near_json()) {
        assert_same(line.as_bytes());
    }

    #[test]
    fn changed_texts_have_one_verdict(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = format!(r#"{{"id":1,"result":{value}}}"#).into_bytes();
        assert_same(&line);
        let at = at.index(line.len());
        line[at] = byte;
        assert_same(&line);
    }

    /// The stack of keys against a set: many keys, few spellings, so that most objects repeat one.
    #[test]
    fn repeated_keys_are_found_however_many_and_however_escaped(keys in prop::collection::vec((0u8..200, any::<bool>()), 0..60)) {
        let mut seen = std::collections::HashSet::new();
        let expected = keys.iter().position(|(key, _)| !seen.insert(*key));
        let written = |(key, escaped): &(u8, bool)| {
            let letter = char::from(b'A' + key % 26);
            let text = if *escaped { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() };
            format!("\"{text}{}\":0", key / 26)
        };
        let members: Vec<String> = keys.iter().map(written).collect();
        let line = format!("{{{}}}", members.join(","));
        let offset = expected.map(|index| 1 + members[..index].iter().map(|member| member.len() + 1).sum::<usize>());
        let found = scan(line.as_bytes(), OPEN).err().map(|reject| reject.offset);
        prop_assert_eq!(found, offset);
        assert_same(line.as_bytes());
    }
}
