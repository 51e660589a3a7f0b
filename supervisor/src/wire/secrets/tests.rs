use super::*;
use crate::wire::json;

const SECRET: &str = r#"hunter2/"é\ hunter2"#;

fn secrets(values: &[&str]) -> Secrets {
    Secrets::new(values.iter().map(|value| value.as_bytes())).unwrap()
}

fn result(text: &str) -> String {
    let mut line = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"#.to_vec();
    json::write_string(text, &mut line);
    line.extend_from_slice(b"}]}}");
    String::from_utf8(line).unwrap()
}

fn redacted(secrets: &Secrets, line: &str) -> (String, u64) {
    match secrets.redact_line(line.as_bytes()) {
        Redaction::Redacted { line, count } => (String::from_utf8(line).unwrap(), count),
        other => panic!("{other:?}: {line}"),
    }
}

fn unicode_escaped(text: &str, backslash: &str) -> String {
    text.encode_utf16().map(|unit| format!("{backslash}u{unit:04x}")).collect()
}

/// A character inside a JSON string: every other one as `\u`, the others in their short escape where they have one.
fn mixed_escape(at: usize, character: char) -> String {
    match character {
        '"' | '\\' | '/' => format!("\\{character}"),
        _ if at.is_multiple_of(2) => unicode_escaped(&character.to_string(), "\\"),
        _ => character.to_string(),
    }
}

/// The secret in every form that is promised, as text that a server could say.
fn dresses(secret: &str) -> Vec<(String, String)> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = |upper: bool, every: bool| -> String {
        secret
            .chars()
            .map(|character| {
                if !every && character.is_ascii_alphanumeric() {
                    return character.to_string();
                }
                let mut utf8 = [0; 4];
                let bytes = character.encode_utf8(&mut utf8).bytes();
                bytes.map(|byte| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }).collect()
            })
            .collect()
    };
    let mut quoted = Vec::new();
    json::write_string(secret, &mut quoted);
    let mut dresses = vec![
        ("raw".to_owned(), secret.to_owned()),
        ("hex".to_owned(), hex.clone()),
        ("HEX".to_owned(), hex.to_uppercase()),
        ("percent".to_owned(), percent(false, false)),
        ("PERCENT".to_owned(), percent(true, false)),
        ("percent, every byte".to_owned(), percent(true, true)),
        ("form".to_owned(), percent(true, false).replace("%20", "+")),
        ("JSON in JSON".to_owned(), String::from_utf8(quoted).unwrap()),
        ("JSON in JSON, all escaped".to_owned(), unicode_escaped(secret, "\\")),
    ];
    for before in ["", "x", "xx", "xxx"] {
        for after in ["", "y", "yy"] {
            let all = format!("{before}{secret}{after}");
            for (name, alphabet) in [("base64", b"+/"), ("base64url", b"-_")] {
                dresses.push((format!("{name} of {all}"), base64(all.as_bytes(), *alphabet)));
            }
        }
    }
    dresses
}

/// Written apart from the product's, to judge it.
fn base64(bytes: &[u8], last: [u8; 2]) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let sextet = |bits: &[u8]| (0..6).fold(0, |sum, at| sum << 1 | usize::from(bits.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|bits| char::from(letters[sextet(bits)])).collect()
}

#[test]
fn every_promised_form_is_found_in_a_result() {
    for secret in [SECRET, "sk-1234567890abcdef", "12345678", "пароль-пароль"] {
        let known = secrets(&[secret]);
        for (name, text) in dresses(secret) {
            let (line, count) = redacted(&known, &result(&format!("the key is {text}, so")));
            assert_eq!(count, 1, "{secret} {name}: {line}");
            assert!(line.contains("the key is ") && line.contains("**") && line.contains(", so\""), "{name}: {line}");
            assert!(!known.occur_in(line.as_bytes()), "{name}: {line}");
            assert!(json::parse(line.as_bytes()).is_ok(), "{name}: {line}");
        }
        // The line's own escapes, some and all of them, in the place of what the helper writes.
        let plain = result("@").replace('@', &unicode_escaped(secret, "\\"));
        assert_eq!(redacted(&known, &plain).1, 1, "{secret}");
        let mixed: String = secret.chars().enumerate().map(|(at, character)| mixed_escape(at, character)).collect();
        assert_eq!(redacted(&known, &result("@").replace('@', &mixed)).1, 1, "{mixed}");
    }
}

#[test]
fn the_length_stays_and_nothing_else_changes() {
    let known = secrets(&["hunter2-hunter2"]);
    let text =
        r#"{"jsonrpc":"2.0","id":"a","result":{"b":[1.50,null,"x hunter2-hunter2 hunter2-hunter2hunter2-hunter2 y"]}}"#;
    let stars =
        r#"{"jsonrpc":"2.0","id":"a","result":{"b":[1.50,null,"x *************** ****************************** y"]}}"#;
    assert_eq!(redacted(&known, text), (stars.to_owned(), 2));
    assert_eq!(known.redact_line(br#"{"jsonrpc":"2.0","id":1,"result":{"a":"hunter2-hunter3"}}"#), Redaction::Clean);
}

#[test]
fn keys_and_numbers_are_redacted_and_the_line_stays_readable() {
    let known = secrets(&["hunter2-hunter2", "1234567890"]);
    let line = concat!(
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":"#,
        r#"{"hunter2-hunter2":1234567890,"hunter2%2dhunter2":2,"%68unter2-hunter2":0.1234567890125,"hunter2-%68unter2":3}}"#
    );
    let (line, count) = redacted(&known, line);
    assert_eq!(count, 6, "{line}");
    assert!(
        line.contains(r#""***************":0,"*****************":2,"*****************2":0,"*****************3":3"#),
        "{line}"
    );
    assert!(jsonrpc_reads(&line));
}

fn jsonrpc_reads(line: &str) -> bool {
    crate::wire::jsonrpc::read_line(line.as_bytes()).is_ok()
}

#[test]
fn a_secret_in_the_envelope_is_never_passed_on() {
    let known = secrets(&["hunter2-hunter2", "12345678"]);
    let envelope = |line: &str| match known.redact_line(line.as_bytes()) {
        Redaction::Envelope { asked } => asked.is_some(),
        other => panic!("{other:?}: {line}"),
    };
    assert!(envelope(r#"{"jsonrpc":"2.0","id":"hunter2-hunter2","method":"roots/list"}"#));
    assert!(envelope(r#"{"jsonrpc":"2.0","id":12345678,"method":"roots/list"}"#));
    assert!(envelope(r#"{"jsonrpc":"2.0","id":1,"method":"x/h\u0075nter2-hunter2","params":{"a":"hunter2-hunter2"}}"#));
    assert!(!envelope(r#"{"jsonrpc":"2.0","method":"notifications/hunter2-hunter2"}"#));
    assert!(!envelope(r#"{"jsonrpc":"2.0","id":"hunter2-hunter2","result":{}}"#));
    for line in ["hunter2-hunter2", r#"{"jsonrpc":"2.0","id":1,"hunter2-hunter2":1}"#, r#"{"a":"\u0068unter2-hunter2"#]
    {
        assert_eq!(known.redact_line(line.as_bytes()), Redaction::NoMessage, "{line}");
    }
}

#[test]
fn text_across_two_values_is_no_secret() {
    let known = secrets(&[r#"a","b":"c"#, "[1,2,3,4]"]);
    let line = br#"{"jsonrpc":"2.0","id":1,"result":{"x":"a","b":"c","n":[1,2,3,4]}}"#;
    assert_eq!(known.redact_line(line), Redaction::Clean, "the line must not be broken");
}

#[test]
fn a_secret_at_any_place_of_a_long_text_is_found() {
    let known = secrets(&[SECRET]);
    let window = known.reach() * WINDOW_OVERLAPS;
    let escaped = unicode_escaped(SECRET, "\\");
    for text in [SECRET, &escaped] {
        for place in (window - known.reach() - 200..window + 200).step_by(7) {
            let long = format!("{}{text}{}", "a".repeat(place), "b".repeat(window));
            let (starred, count) = known.starred(&long);
            assert_eq!(count, 1, "{place}");
            assert_eq!(starred, format!("{}{}{}", "a".repeat(place), "*".repeat(text.len()), "b".repeat(window)));
        }
    }
}

#[test]
fn a_long_value_leaves_nothing_of_itself() {
    let value: String = (0..1500_u32).map(|n| char::from(b'!' + (n * n % 89) as u8)).collect();
    let known = secrets(&[&value]);
    assert_eq!(known.starred(&value), (Cow::Owned("*".repeat(1500)), 1));
    let (part, count) = known.starred(&value[700..1000]);
    assert!(count == 1 && part.matches('*').count() >= 96, "a part of it is found: {part}");
    for before in ["", "x", "xx"] {
        let encoded = base64(format!("{before}{value}").as_bytes(), *b"+/");
        let (starred, _) = known.starred(&encoded);
        let left = starred.trim_matches('*').replace('*', "");
        assert!(left.len() <= 6, "{before}: {left}");
    }
}

#[test]
fn short_and_absent_secrets_cost_and_change_nothing() {
    let none = secrets(&["short", ""]);
    assert!(none.is_empty() && none.reach() == 0);
    assert_eq!(none.redact_line(b"short"), Redaction::Clean);
    assert_eq!(none.starred("short"), (Cow::Borrowed("short"), 0));
    assert!(!secrets(&["hunter2-hunter2"]).occur_in(b""));
}

#[test]
fn two_secrets_with_one_start_and_a_secret_inside_another_are_found() {
    let known = secrets(&["github_pat_AAAA", "github_pat_AAAABBBB", "pat_AAAABBBBCC"]);
    assert_eq!(known.starred("github_pat_AAAA."), (Cow::Owned(format!("{}.", "*".repeat(15))), 1));
    assert_eq!(known.starred("github_pat_AAAABBBBCC."), (Cow::Owned(format!("{}.", "*".repeat(21))), 1));
}

#[test]
fn values_that_are_no_text_are_found_and_text_stays_text() {
    let known = Secrets::new([&b"\x9f\x98\x80abcdef"[..]]).unwrap();
    assert_eq!(known.starred("x😀abcdefy"), (Cow::Owned("x**********y".to_owned()), 1));
    let mut bytes = b"\xff\x9f\x98\x80abcdef\xff".to_vec();
    assert_eq!(known.blank(&mut bytes), 1);
    assert_eq!(bytes, b"\xff*********\xff");
}

#[test]
fn debug_shows_no_value() {
    assert!(!format!("{:?}", secrets(&["hunter2-hunter2"])).contains("hunter"));
}
