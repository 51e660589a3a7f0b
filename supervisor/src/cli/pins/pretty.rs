//! A definition for a person: indented, numbers as they stand in it, and nothing that a screen obeys.

use crate::wire::json::{self, Value};
use crate::wire::pin::Definition;
use crate::wire::tool_names::visible;

/// The lines of a definition, each ended.
pub(super) fn text(definition: &Definition) -> String {
    let Some(text) = &definition.text else { return "  (too large to be kept: its hash alone)\n".to_owned() };
    match json::parse(text) {
        Ok(value) => {
            let mut out = String::from("  ");
            write(&value, 1, &mut out);
            out.push('\n');
            out
        }
        Err(_) => "  (unreadable)\n".to_owned(),
    }
}

fn write(value: &Value<'_>, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                write(item, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                leaf(&Value::String(key.clone()), out);
                out.push_str(": ");
                write(value, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => leaf(other, out),
    }
}

fn leaf(value: &Value<'_>, out: &mut String) {
    let mut text = Vec::new();
    json::write(value, &mut text);
    out.push_str(&visible(&String::from_utf8_lossy(&text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_indented_and_hides_nothing() {
        let entry =
            json::parse(br#"{"name":"t","description":"a\nb\u202e","inputSchema":{"a":[1.0,{}],"b":[]}}"#).unwrap();
        let expected = "  {\n    \"description\": \"a\\nb\\u{202e}\",\n    \"inputSchema\": {\n      \"a\": [\n        1.0,\n        {}\n      ],\n      \"b\": []\n    },\n    \"name\": \"t\"\n  }\n";
        assert_eq!(text(&Definition::of(&entry)), expected);
    }
}
