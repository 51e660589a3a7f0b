//! Disguises below JSON: bytes, lines, messages.

use super::draft::{Draft, quoted};
use super::grammar::Target;
use super::random::Random;

const PING: &str = r#"{"jsonrpc":"2.0","id":"decoy","method":"ping"}"#;

/// A line with its LF.
pub(super) fn ended(text: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut line = text.into();
    line.push(b'\n');
    line
}

/// Surrogates, bytes that are no UTF-8, byte order marks, look-alikes, line separators.
pub(super) fn unicode(draft: &mut Draft, target: &Target, random: &mut Random) -> Vec<u8> {
    let text = |draft: &mut Draft, raw: &str| draft.arguments.push((quoted("text2"), quoted(raw)));
    match random.below(9) {
        0 => text(draft, random.pick(&["\\ud800", "\\udc00x", "\\ud83d", "\\udc00\\ud800"])),
        1 => text(draft, "\\ud83c\\udf47"),
        2 => {
            text(draft, random.pick(&["a\u{2028}b", "a\u{2029}b", "a\u{85}b", "a\u{202e}b", "a\u{200b}b", "a\u{7f}b"]))
        }
        3 => {
            // A key that looks like the one that counts, with the innocent value or in its place.
            let alike = quoted(&target.key.replace('n', "\u{578}").replace('e', "\u{435}"));
            let members = if target.key == "name" { &mut draft.params } else { &mut draft.arguments };
            members.insert(0, (alike, target.decoy.clone()));
        }
        4 => {
            let zero_width = quoted(&format!("{}\u{200b}", target.key));
            draft.arguments.push((zero_width, target.decoy.clone()));
        }
        5 => return ended([&b"\xef\xbb\xbf"[..], draft.written().as_bytes()].concat()),
        6 => return ended([draft.written().as_bytes(), &b"\xef\xbb\xbf"[..]].concat()),
        7 => text(draft, "\\u0000"),
        _ => {
            text(draft, "@@");
            // Overlong forms of '/', a lone continuation byte, a surrogate as CESU-8, a byte of no sequence.
            let bad: [&[u8]; 6] =
                [b"\xc0\xaf", b"\xe0\x80\xaf", b"\x80", b"\xed\xa0\x80", b"\xff", b"\xf4\x90\x80\x80"];
            return ended(replaced(draft.written().as_bytes(), b"@@", random.pick(&bad)));
        }
    }
    ended(draft.written())
}

/// Carriage returns, NULs, several lines or messages, what is not JSON.
pub(super) fn framing(draft: &Draft, random: &mut Random) -> Vec<u8> {
    let call = draft.written();
    let separators = ["\r", "\u{b}", "\u{c}", "\u{0}", "\u{85}", "\u{2028}", " ", "", ",", "\r\r", "\u{1e}"];
    let line = match random.below(11) {
        0 => format!("{PING}{}{call}", random.pick(&separators)),
        1 => format!("{call}{}{PING}", random.pick(&separators)),
        2 => call.replacen(',', random.pick(&[",\r", ",\u{b}", ",\u{0}", ",\t"]), 1),
        // Over two lines: each is half a message.
        3 => call.replacen(',', ",\n", 1 + random.below(3)),
        4 => call.replacen("}", random.pick(&[",}", "}//x", "/**/}", "}#"]), 1),
        5 => format!("{call}{}", random.pick(&["//x", "/**/", "\u{0}", ";", "}", "]", "x", "\u{85}", "\r"])),
        6 => format!("{}{call}", random.pick(&["\r", "\u{b}", "x", ")]}',", "\u{0}", "data: ", "\u{1e}"])),
        7 => call.replace('"', "'"),
        8 => format!("Content-Length: {}\r\n\r\n{call}", call.len()),
        9 => call.replacen("\"tag\"", random.pick(&["tag", "'tag'", "\"tag\\x41\"", "\"tag\u{1}\""]), 1),
        _ => format!("{call}\r\n\n"),
    };
    ended(line)
}

/// Arrays of messages.
pub(super) fn batches(draft: &Draft, random: &mut Random) -> Vec<u8> {
    let call = draft.written();
    ended(match random.below(5) {
        0 => format!("[{call}]"),
        1 => format!("[{PING},{call}]"),
        2 => format!("[{call},{PING}]"),
        3 => format!("[[{call}]]"),
        _ => format!("{{\"0\":{call}}}"),
    })
}

fn replaced(line: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    match line.windows(what.len()).position(|window| window == what) {
        Some(at) => [&line[..at], with, &line[at + what.len()..]].concat(),
        None => line.to_vec(),
    }
}
