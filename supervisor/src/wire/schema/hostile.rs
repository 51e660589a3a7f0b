//! Schemas and values that were made to hang or break whoever judges one by the other.

use std::time::{Duration, Instant};

use super::tests::{checked, compiled};
use super::*;
use crate::bounds::{SCHEMA_NODES_MAX, SCHEMA_PATTERNS_MAX};

/// Far above the bound of an optimised build: tests are built without.
const TIME_MAX: Duration = Duration::from_secs(60);

fn refused(schema: &str, value: &str) {
    let begun = Instant::now();
    let refusal = checked(schema, value);
    assert!(matches!(refusal, Err(Fault::Unjudgeable(_))), "{refusal:?}");
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
}

fn judged(schema: &str, value: &str) {
    let begun = Instant::now();
    let _fits_or_not = checked(schema, value);
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
}

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn references_in_a_circle_end() {
    refused(r##"{"$ref":"#"}"##, "1");
    refused(r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##, "1");
    refused(r##"{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}"##, "1");
    refused(r##"{"not":{"$ref":"#"}}"##, "1");
    refused(r##"{"if":{"$ref":"#"},"then":{"$ref":"#"}}"##, "1");
}

#[test]
fn recursion_that_branches_ends() {
    let tree = r##"{"oneOf":[{"type":"null"},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}"##;
    refused(tree, &nested(40, "[", "1", "]"));
    let laughs: Vec<String> = (1..60)
        .map(|level| {
            format!(r##""l{level}":{{"allOf":[{{"$ref":"#/$defs/l{0}"}},{{"$ref":"#/$defs/l{0}"}}]}}"##, level - 1)
        })
        .collect();
    refused(&format!(r##"{{"$defs":{{"l0":{{}},{}}},"$ref":"#/$defs/l59"}}"##, laughs.join(",")), "1");
}

#[test]
fn many_keys_against_many_names_end() {
    let names: Vec<String> = (0..20_000).map(|number| format!("\"n{number}\"")).collect();
    let keys: Vec<String> = (0..20_000).map(|number| format!("\"N{number}x\":1")).collect();
    judged(&format!(r#"{{"required":[{}]}}"#, names.join(",")), &format!("{{{}}}", keys.join(",")));
    let names = &names[..SCHEMA_NODES_MAX - 10];
    let properties: Vec<String> = names.iter().map(|name| format!("{name}:{{}}")).collect();
    judged(&format!(r#"{{"properties":{{{}}}}}"#, properties.join(",")), &format!("{{{}}}", keys.join(",")));
    let dependent: Vec<String> = names.iter().map(|name| format!("{name}:[\"q\"]")).collect();
    refused(&format!(r#"{{"dependentRequired":{{{}}}}}"#, dependent.join(",")), &format!("{{{}}}", keys.join(",")));
}

#[test]
fn large_arrays_of_equal_looking_items_end() {
    let items: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
    let array = format!("[{}]", items.join(","));
    assert_eq!(checked(r#"{"uniqueItems":true}"#, &array), Ok(()));
    let many: Vec<String> = (0..1000).map(|_| r#"{"uniqueItems":true}"#.to_owned()).collect();
    refused(&format!(r#"{{"allOf":[{}]}}"#, many.join(",")), &array);
    refused(&format!(r#"{{"allOf":[{}]}}"#, vec![r#"{"enum":[1]}"#; 1000].join(",")).replace("allOf", "oneOf"), &array);
}

#[test]
fn patterns_made_to_backtrack_do_not() {
    let text = format!("\"{}!\"", "a".repeat(50_000));
    for pattern in ["^(a+)+$", "^(a|a)*$", "^(a*)*b$", "(x+x+)+y", "^([a-z]+)*$"] {
        let begun = Instant::now();
        assert!(
            matches!(checked(&format!("{{\"pattern\":\"{pattern}\"}}"), &text), Err(Fault::Mismatch(_))),
            "{pattern}"
        );
        assert!(begun.elapsed() < TIME_MAX, "{pattern}: {:?}", begun.elapsed());
    }
    // Linear in the text, but the pattern is large: too much work for a text as long.
    let text = format!("\"{}\"", "ab".repeat(500_000));
    refused(r#"{"pattern":"(a|b)*a(a|b){1000}$"}"#, &text);
}

#[test]
fn sizes_of_schemas_are_bounded() {
    let many: Vec<String> = (0..=SCHEMA_NODES_MAX).map(|_| "{}".to_owned()).collect();
    assert_eq!(compiled(&format!(r#"{{"allOf":[{}]}}"#, many.join(","))).err(), Some(Unjudgeable::TooLarge));
    let long: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    assert_eq!(compiled(&format!(r#"{{"enum":[{}]}}"#, long.join(","))).err(), Some(Unjudgeable::TooLarge));
    let patterns: Vec<String> =
        (0..=SCHEMA_PATTERNS_MAX).map(|number| format!(r#"{{"pattern":"^{number}"}}"#)).collect();
    assert_eq!(compiled(&format!(r#"{{"anyOf":[{}]}}"#, patterns.join(","))).err(), Some(Unjudgeable::Pattern));
    let begun = Instant::now();
    let costly: Vec<String> = (0..SCHEMA_PATTERNS_MAX)
        .map(|number| format!(r#"{{"pattern":"^[\\s\\S]{{0,{}}}\\p{{L}}{{{}}}"}}"#, 900 + number, number % 9))
        .collect();
    let _compiled_or_not = compiled(&format!(r#"{{"anyOf":[{}]}}"#, costly.join(",")));
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
}

#[test]
fn the_deepest_value_and_schema_fit_on_the_stack() {
    // 64 levels are what the parser takes.
    let schema = nested(60, r#"{"items":"#, "{}", "}");
    assert_eq!(checked(&schema, &nested(62, "[", "", "]")), Ok(()));
    let step = r##"{"anyOf":[{"type":"null"},{"allOf":[{"items":{"$ref":"#"}}]}]}"##;
    assert_eq!(checked(step, &nested(62, "[", "null", "]")), Ok(()));
}
