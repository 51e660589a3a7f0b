//! When two JSON values are equal: numbers by value, objects whatever the order of their keys (JSON Schema 2020-12 Core, 4.2.2).

use super::number::double;
use crate::wire::json::Value;

/// Bytes that are the same for equal values and for no others.
pub(super) fn canonical(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    append(value, &mut out);
    out
}

/// What [`canonical`] costs: values, and bytes of text by the dozen.
pub(super) fn cost(value: &Value<'_>) -> u64 {
    1 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() as u64 / 16,
        Value::Array(items) => items.iter().map(cost).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| 1 + key.len() as u64 / 16 + cost(value)).sum(),
    }
}

fn append(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(truth) => out.push(if *truth { b't' } else { b'f' }),
        Value::Number(number) => {
            out.push(b'd');
            // One zero, whatever its sign.
            out.extend_from_slice(&(double(number) + 0.0).to_bits().to_le_bytes());
        }
        Value::String(text) => {
            out.push(b's');
            append_text(text, out);
        }
        Value::Array(items) => {
            out.push(b'a');
            append_length(items.len(), out);
            for item in items {
                append(item, out);
            }
        }
        Value::Object(members) => {
            out.push(b'o');
            append_length(members.len(), out);
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
            for (key, value) in sorted {
                append_text(key, out);
                append(value, out);
            }
        }
    }
}

fn append_text(text: &str, out: &mut Vec<u8>) {
    append_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn append_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;

    #[test]
    fn equal_values_and_no_others_are_equal() {
        let form = |text: &str| canonical(&parse(text.as_bytes()).unwrap());
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("-0.0", "0"),
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#),
            (r#""é""#, r#""\u00e9""#),
        ] {
            assert_eq!(form(one), form(other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "true"),
            ("0", "false"),
            ("null", "false"),
            ("\"1\"", "1"),
            ("[]", "{}"),
            (r#"["a","b"]"#, r#"["ab"]"#),
            ("[[1],2]", "[[1,2]]"),
            (r#"{"a":"b"}"#, r#"{"ab":""}"#),
            ("0.1", "0.2"),
        ] {
            assert_ne!(form(one), form(other), "{one} {other}");
        }
    }
}
