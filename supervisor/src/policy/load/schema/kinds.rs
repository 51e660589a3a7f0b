//! The kinds of value that several keys share.

use serde_json::{Map, Value, json};

use crate::bounds::POLICY_NAME_BYTES_MAX;

/// Definitions that are no mapping of the language.
pub(super) fn definitions() -> Map<String, Value> {
    let amount = |units: &str| {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": format!("^(0|[1-9][0-9]*)[{units}]?$")},
        ]})
    };
    let definitions = [
        // Where text is wanted, every unquoted word is text, whatever a YAML reader makes of it.
        ("text", json!({"type": ["string", "number", "boolean"]})),
        ("reason", json!({"type": ["string", "number", "boolean"], "minLength": 1})),
        ("bytes", amount("KMGT")),
        ("seconds", amount("smhd")),
        (
            "pause",
            json!({"anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|[smhd])?$"},
            ]}),
        ),
        ("path", json!({"type": "string", "pattern": "^/"})),
        (
            "variable",
            json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": POLICY_NAME_BYTES_MAX}),
        ),
        (
            "literal",
            json!({"anyOf": [
                {"type": ["null", "boolean", "number", "string"]},
                {"type": "array", "items": kind("literal")},
            ]}),
        ),
    ];
    definitions.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// A reference to a definition of [`definitions`].
pub(super) fn kind(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// A list.
pub(super) fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// One word of a table of the loader.
pub(super) fn word<T>(words: &[(&'static str, T)]) -> Value {
    json!({"enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
}

/// A whole number from `low` to `high`.
pub(super) fn whole(low: u64, high: u64) -> Value {
    json!({"type": "integer", "minimum": low, "maximum": high})
}

/// `schema` with the text that an editor shows beside the key.
pub(super) fn described(text: &str, mut schema: Value) -> Value {
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), Value::String(text.to_owned()));
    }
    schema
}
