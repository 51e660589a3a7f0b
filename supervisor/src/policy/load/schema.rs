//! The language as a JSON Schema (2020-12), for editors. Its keys, operators and words are the loader's own tables, so what the
//! schema knows is what the loader accepts. It is looser where a schema cannot say what the loader checks; never stricter.

mod entries;
mod kinds;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::read::Section;
use super::{conditions, hosts, limits, sandbox, server, state, tools, top};
use crate::policy::condition::Test;

/// Every mapping of the language; each becomes a definition.
pub(super) const SECTIONS: &[&Section] = &[
    &top::TOP,
    &top::LIMITS,
    &top::APPROVALS,
    &top::AUDIT,
    &server::SERVER,
    &server::PINS,
    &top::CLI,
    &tools::TOOL,
    &tools::RULE,
    &tools::VALIDATE,
    &conditions::CONDITION,
    &limits::RATE_LIMIT,
    &limits::PACE,
    &state::STATE,
    &state::STATE_CONDITION,
    &sandbox::SANDBOX,
    &sandbox::FILESYSTEM,
    &sandbox::WRITE,
    &sandbox::PROCESS,
    &sandbox::RESOURCES,
    &sandbox::ENV,
    &sandbox::ENV_PASS,
    &hosts::NETWORK,
    &hosts::HOST,
];

/// The JSON Schema of the keys that this build enforces. Keys that it refuses are not in it, so an editor marks them too.
#[must_use]
pub fn json_schema() -> Value {
    let mut definitions: Map<String, Value> =
        SECTIONS.iter().map(|section| (slug(section.what), mapping(section))).collect();
    definitions.extend(kinds::definitions());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "intercept-sandbox policy",
        "description": format!("The policy language as intercept-sandbox {} enforces it.", env!("CARGO_PKG_VERSION")),
        "$ref": reference(top::TOP.what),
        "$defs": definitions,
    })
}

/// A mapping with the section's keys and no other. A key without an entry takes anything; a test finds it.
fn mapping(section: &Section) -> Value {
    let entry = |key: &str| entries::of(section.what, key).unwrap_or(Value::Bool(true));
    let properties: Map<String, Value> = section.keys.iter().map(|key| ((*key).to_owned(), entry(key))).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    let required = required(section.what);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if section.what == tools::RULE.what {
        schema["not"] = json!({"required": ["reason", "on_deny"]}); // one field with two names
    }
    if section.what == conditions::CONDITION.what {
        shape_condition(&mut schema, section);
    }
    schema
}

/// Keys without which the loader refuses the mapping.
fn required(what: &str) -> &'static [&'static str] {
    match what {
        "a rate limit" => &["max", "window"],
        "a write folder" => &["path"],
        "a passed variable" => &["name"],
        "an allowed host" => &["host"],
        "sandbox.network" => &["allow"],
        "state" => &["counter", "window"],
        "pace" => &["every"],
        "pins" => &["lock"],
        "a condition on a counter" => &["path", "op", "value"],
        _ => &[],
    }
}

/// A test is `path` and `op` with the value that the operator takes; a group is one of `any`, `all`, `not` alone.
fn shape_condition(schema: &mut Value, section: &Section) {
    let mut forms = vec![json!({"required": ["path", "op"]})];
    let groups = ["any", "all", "not"].into_iter().filter(|group| section.keys.contains(group));
    forms.extend(groups.map(|group| json!({"required": [group], "maxProperties": 1})));
    schema["oneOf"] = Value::Array(forms);
    let operand = |operator: &&str| {
        let operand = entries::operand(operator).unwrap_or(Value::Bool(true));
        let needed: &[&str] = if *operator == "exists" { &[] } else { &["value"] };
        json!({
            "if": {"properties": {"op": {"const": operator}}, "required": ["op"]},
            "then": {"properties": {"value": operand}, "required": needed},
        })
    };
    schema["allOf"] = Test::OPERATORS.iter().map(operand).collect();
}

/// `a rule` as `a-rule`.
fn slug(what: &str) -> String {
    what.replace(' ', "-")
}

/// Where the definition of a mapping stands.
fn reference(what: &str) -> String {
    format!("#/$defs/{}", slug(what))
}
