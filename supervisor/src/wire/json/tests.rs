//! One test a rejection, one over each bound, and properties against `serde_json`.

use proptest::prelude::*;

use super::*;
use crate::bounds::{JSON_DEPTH_MAX, JSON_NUMBER_BYTES_MAX, JSON_VALUES_MAX};

mod scan;

fn code(line: impl AsRef<[u8]>) -> Option<RejectCode> {
    parse(line.as_ref()).err().map(|reject| reject.code)
}

fn reject(line: &str) -> (RejectCode, usize) {
    let reject = parse(line.as_bytes()).unwrap_err();
    (reject.code, reject.offset)
}

fn rewritten(line: &str) -> String {
    let mut out = Vec::new();
    write(&parse(line.as_bytes()).unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_letter_is_escaped_wherever_it_stands() {
    for (letter, written) in [
        ('"', "\\\""),
        ('\n', "\\n"),
        ('\u{1}', "\\u0001"),
        ('\u{7f}', "\\u007f"),
        ('\u{85}', "\\u0085"),
        ('\u{2028}', "\\u2028"),
        ('\u{a9}', "\u{a9}"),
        ('\u{2026}', "\u{2026}"),
        ('\u{1f600}', "\u{1f600}"),
    ] {
        for before in 0..100 {
            let (before, behind) = ("x".repeat(before), "y".repeat(40));
            let mut out = Vec::new();
            write_string(&format!("{before}{letter}{letter}{behind}"), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{before}{written}{written}{behind}\""));
        }
    }
}

#[test]
fn duplicate_keys_are_refused_at_any_depth() {
    assert_eq!(reject(r#"{"a":1,"a":2}"#), (RejectCode::DuplicateKey, 7));
    assert_eq!(reject(r#"{"a":1,"b":2,"a":1}"#), (RejectCode::DuplicateKey, 13));
    assert_eq!(code(r#"[[{"x":{"a":1,"a":1}}]]"#), Some(RejectCode::DuplicateKey));
    assert_eq!(code(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#), None);
}

#[test]
fn duplicate_keys_are_refused_after_unescaping() {
    assert_eq!(code(r#"{"name":1,"n\u0061me":2}"#), Some(RejectCode::DuplicateKey));
    assert_eq!(code(r#"{"/":1,"\/":2}"#), Some(RejectCode::DuplicateKey));
    assert_eq!(code("{\"\u{1f600}\":1,\"\\ud83d\\ude00\":2}"), Some(RejectCode::DuplicateKey));
}

#[test]
fn duplicate_key_among_many_is_found_and_placed() {
    let mut body: Vec<String> = (0..100_000).map(|index| format!("\"{index:06}\":0")).collect();
    assert_eq!(code(format!("{{{}}}", body.join(","))), None);
    body.push("\"000007\":0".to_owned());
    assert_eq!(reject(&format!("{{{}}}", body.join(","))), (RejectCode::DuplicateKey, 1 + 100_000 * 11));
}

#[test]
fn key_with_nul_is_refused() {
    assert_eq!(code(r#"{"name\u0000":1}"#), Some(RejectCode::NulInKey));
    assert_eq!(code(r#"{"name":"\u0000"}"#), None);
}

#[test]
fn non_finite_numbers_are_refused() {
    for line in ["NaN", "nan", "[NaN]", r#"{"a":Infinity}"#, "-Infinity"] {
        assert_eq!(code(line), Some(RejectCode::NonFinite), "{line}");
    }
}

#[test]
fn numbers_that_readers_read_differently_are_refused() {
    assert_eq!(reject("[9007199254740991,9007199254740992]"), (RejectCode::IntegerTooLarge, 18));
    assert_eq!(code("[-9007199254740992]"), Some(RejectCode::IntegerTooLarge));
    assert_eq!(code(r#"{"n":1e400}"#), Some(RejectCode::InexactDecimal));
    assert_eq!(code("[0.1000000000000000055511151231257827]"), Some(RejectCode::InexactDecimal));
    assert_eq!(code("[-0]"), Some(RejectCode::NegativeZero));
    assert_eq!(code("[01]"), Some(RejectCode::BadNumber));
    assert_eq!(code("[+1]"), Some(RejectCode::BadNumber));
    assert_eq!(code("[.5]"), Some(RejectCode::BadNumber));
    assert_eq!(code("[0x10]"), Some(RejectCode::Syntax));
    assert_eq!(code("[1_000]"), Some(RejectCode::Syntax));
    assert_eq!(code(format!("[0.5{}]", "0".repeat(JSON_NUMBER_BYTES_MAX))), Some(RejectCode::NumberTooLong));
}

#[test]
fn lone_surrogates_are_refused() {
    for line in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#""\ud800\n""#, r#""\ude00\ud83d""#]
    {
        assert_eq!(code(line), Some(RejectCode::LoneSurrogate), "{line}");
    }
    assert_eq!(parse(br#""\ud83d\uDE00""#).unwrap().as_str(), Some("\u{1f600}"));
}

#[test]
fn invalid_utf8_is_refused() {
    for line in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xe2\x80\""] {
        assert_eq!(parse(line), Err(Reject { code: RejectCode::InvalidUtf8, offset: 1 }), "{line:?}");
    }
}

#[test]
fn byte_order_mark_is_refused() {
    assert_eq!(code("\u{feff}{}"), Some(RejectCode::ByteOrderMark));
    assert_eq!(code("\"\u{feff}\""), None, "inside a string it is a character");
    assert_eq!(code(b"\xff\xfe{\0}\0"), Some(RejectCode::InvalidUtf8), "UTF-16");
}

#[test]
fn raw_control_bytes_are_refused_everywhere() {
    for byte in 0..0x20u8 {
        for line in [[b"{\"a\":\"".as_slice(), &[byte], b"\"}"].concat(), [b"{", [byte].as_slice(), b"}"].concat()] {
            assert_eq!(code(&line), Some(RejectCode::ControlByte), "{line:?}");
        }
    }
    let far = [" ".repeat(5000).as_bytes(), b"\r1"].concat();
    assert_eq!(parse(&far), Err(Reject { code: RejectCode::ControlByte, offset: 5000 }));
}

#[test]
fn two_values_on_a_line_are_refused() {
    for line in [r#"{"a":1}{"b":2}"#, r#"{"a":1} {"b":2}"#, "1 2", "{}x", "[]]", "{}//", "\"\"\"\""] {
        assert_eq!(code(line), Some(RejectCode::TrailingData), "{line}");
    }
}

#[test]
fn value_over_several_lines_is_truncated() {
    for line in [
        r#"{"a":"#,
        "{",
        "[",
        "[1",
        "[1,",
        r#"{"a"#,
        r#"{"a""#,
        r#"{"a":1"#,
        r#"{"a":1,"#,
        "",
        "  ",
        "tr",
        "nul",
        "-",
        r#""\"#,
        r#""\u00"#,
        "\"a",
    ] {
        assert_eq!(code(line), Some(RejectCode::Truncated), "{line}");
    }
}

#[test]
fn depth_at_the_bound_passes_and_one_over_does_not() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(code(nested(JSON_DEPTH_MAX)), None);
    assert_eq!(code(nested(JSON_DEPTH_MAX + 1)), Some(RejectCode::TooDeep));
    assert_eq!(code(nested(10_001)), Some(RejectCode::TooDeep));
    assert_eq!(code(r#"{"a":"#.repeat(JSON_DEPTH_MAX + 1)), Some(RejectCode::TooDeep));
    assert_eq!(code(format!("[{}]", ["[]"; 200].join(","))), None, "width is not depth");
}

#[test]
fn values_at_the_bound_pass_and_one_over_does_not() {
    let array = |items: usize| format!("[{}]", vec!["1"; items].join(","));
    assert_eq!(code(array(JSON_VALUES_MAX - 1)), None);
    assert_eq!(code(array(JSON_VALUES_MAX)), Some(RejectCode::TooManyValues));
}

#[test]
fn loose_dialects_are_refused() {
    for line in [
        "{a:1}",
        "{'a':1}",
        "[1,]",
        r#"{"a":1,}"#,
        "[,1]",
        "[1 2]",
        r#"{"a" 1}"#,
        r#"{1:2}"#,
        "True",
        "None",
        "undefined",
        "/*x*/1",
        "[1}",
        "\u{a0}1",
    ] {
        assert_eq!(code(line), Some(RejectCode::Syntax), "{line}");
    }
    for line in [r#""\x41""#, r#""\'""#, r#""\u00g0""#, r#""\U0041""#, r#""\u+041""#, r#""\0""#] {
        assert_eq!(code(line), Some(RejectCode::BadEscape), "{line}");
    }
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let line = format!(r#"{{"k":"{}","e":"\n"}}"#, "x".repeat(100));
    let value = parse(line.as_bytes()).unwrap();
    let borrowed = |key| matches!(value.member(key), Some(Value::String(std::borrow::Cow::Borrowed(_))));
    assert!(borrowed("k") && !borrowed("e"));
}

#[test]
fn spans_of_top_level_members_are_exact() {
    let line = r#" { "a" : [1, {"x":2}] , "id" : "q\"" ,"n":-1.5 } "#;
    let parsed = parse_spanned(line.as_bytes()).unwrap();
    let texts: Vec<&str> = parsed.members.iter().map(|span| &line[span.clone()]).collect();
    assert_eq!(texts, [r#"[1, {"x":2}]"#, r#""q\"""#, "-1.5"]);
    assert!(parse_spanned(b"[{}]").unwrap().members.is_empty());
    assert!(parse_spanned(br#"[{"a":1}]"#).unwrap().members.is_empty());
}

#[test]
fn characters_that_end_a_line_for_some_reader_are_noticed_and_written_escaped() {
    for letter in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let line = format!("{{\"a\":\"x{letter}\"}}");
        assert!(!parse_spanned(line.as_bytes()).unwrap().one_line_everywhere);
        assert_eq!(rewritten(&line), format!("{{\"a\":\"x\\u{:04x}\"}}", u32::from(letter)));
    }
    assert!(parse_spanned("\"\u{2027}\u{a0}\u{e9}\"".as_bytes()).unwrap().one_line_everywhere);
}

#[test]
fn writing_keeps_order_number_text_and_value() {
    assert_eq!(
        rewritten(r#" { "b" : 100.990 , "a" : [ 1E2 , null , true , false , "\u0041\/" ] } "#),
        r#"{"b":100.990,"a":[1E2,null,true,false,"A/"]}"#
    );
    assert_eq!(rewritten(r#""\u0000\u001f\u007f\"\\\b\f\n\r\t""#), r#""\u0000\u001f\u007f\"\\\b\f\n\r\t""#);
    assert_eq!(rewritten("\"\u{e9}\u{20ac}\u{1f600}\u{a0}\""), "\"\u{e9}\u{20ac}\u{1f600}\u{a0}\"");
}

#[test]
fn numbers_beyond_javascript_cannot_be_made() {
    assert_eq!(Number::integer(9_007_199_254_740_991).unwrap().text(), "9007199254740991");
    assert_eq!(Number::integer(-9_007_199_254_740_992), None);
    assert_eq!(
        parse(b"12").map(|value| matches!(value, Value::Number(number) if number.as_integer() == Some(12))),
        Ok(true)
    );
    assert_eq!(
        parse(b"1.0").map(|value| matches!(value, Value::Number(number) if number.as_integer().is_none())),
        Ok(true)
    );
}

/// JSON texts as a generator of other programs would write them.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(serde_json::Value::from),
        any::<f64>().prop_filter("finite", |double| double.is_finite()).prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[^\0]{0,4}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether ours and `serde_json`'s are one value.
fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), serde_json::Value::Number(theirs)) => match ours.as_integer() {
            Some(integer) => theirs.as_i64() == Some(integer),
            None => theirs.is_f64() && ours.text().parse().ok().map(f64::to_bits) == theirs.as_f64().map(f64::to_bits),
        },
        (Value::String(ours), serde_json::Value::String(theirs)) => ours == theirs,
        (Value::Array(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), serde_json::Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(&**key).is_some_and(|theirs| same(ours, theirs)))
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_others_write_is_read_and_written_back_equal(value in json()) {
        let line = value.to_string();
        let ours = parse(line.as_bytes()).map_err(|reject| TestCaseError::fail(format!("{reject}: {line}")))?;
        prop_assert!(same(&ours, &value), "{}", line);
        let mut out = Vec::new();
        write(&ours, &mut out);
        prop_assert!(same(&ours, &serde_json::from_slice(&out).unwrap()));
        prop_assert_eq!(parse(&out), Ok(ours.clone()));
        prop_assert!(!out.iter().any(|byte| *byte < 0x20));
        prop_assert_eq!(ours.clone().into_owned(), ours);
    }

    #[test]
    fn what_is_accepted_others_accept_with_the_same_value(line in r#"[\[\]{}",:0-9eE.\-+\\ua-f ntrl]{0,24}"#) {
        if let Ok(ours) = parse(line.as_bytes()) {
            prop_assert!(same(&ours, &serde_json::from_str(&line).unwrap()));
            let mut out = Vec::new();
            write(&ours, &mut out);
            prop_assert!(same(&ours, &serde_json::from_slice(&out).unwrap()), "what is sent on is what was judged");
        }
    }

    #[test]
    fn changed_texts_are_refused_or_read_alike(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = value.to_string().into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        if let Ok(ours) = parse(&line) {
            prop_assert!(same(&ours, &serde_json::from_slice(&line).unwrap()));
        }
    }

    #[test]
    fn decimals_are_accepted_exactly_when_they_print_back(digits in "[1-9][0-9]{0,19}", point in 0usize..20, exponent in -30i32..30) {
        let point = point.min(digits.len() - 1) + 1;
        let text = format!("{}.{}0e{exponent}", &digits[..point], &digits[point..]);
        let double: f64 = text.parse().unwrap();
        // Independent of the code under test: the digits of both, as `Display` writes them out in full.
        let trimmed = digits.trim_end_matches('0');
        let printed: String = format!("{double:e}").split('e').next().unwrap().chars().filter(char::is_ascii_digit).collect();
        prop_assert_eq!(code(&text).is_none(), trimmed == printed.trim_end_matches('0') && exponent_of(&text) == exponent_of(&format!("{double:e}")), "{}", text);
    }
}

/// The power of ten of the first digit.
fn exponent_of(text: &str) -> i32 {
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let whole = mantissa.split('.').next().unwrap();
    exponent.parse::<i32>().unwrap() + whole.len() as i32 - 1
}
