//! What a tool's own definition lets one propose. Only schemas that are wholly understood are judged: a keyword that is not
//! known here could widen what another one says.

use super::super::condition::Number;
use super::text::quoted;
use crate::bounds::{DRAFT_ARGUMENTS_MAX, DRAFT_CHOICES_MAX, DRAFT_TEXT_BYTES_MAX};
use crate::weaken::in_force;
use crate::wire::json::Value;

/// What the draft says of one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Calls pass, within the derived conditions and a rate.
    Allow(Allowed),
    /// Calls are denied until a person has judged the tool; why.
    Deny(String),
}

/// The terms of an allowed tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Its schema requires arguments.
    pub required: bool,
    /// What must hold of the arguments.
    pub conditions: Vec<Derived>,
    /// Arguments that no condition binds.
    pub free: Vec<String>,
}

/// A condition that the inputSchema states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// `args.NAME`.
    pub path: String,
    /// The operator.
    pub op: &'static str,
    /// Its value as YAML.
    pub value: String,
    /// The schema does not require the argument.
    pub optional: bool,
    /// Values in it, for the loader's bound.
    pub values: usize,
}

impl Proposal {
    pub(super) fn deny(why: impl Into<String>) -> Self {
        Self::Deny(why.into())
    }
}

/// The annotations whose claims are shown, in this order (MCP 2025-06-18, ToolAnnotations).
const HINTS: [&str; 4] = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];

/// The server's own hints, as it gave them; none where it gave none.
pub(super) fn claims(definition: &Value<'_>) -> Option<String> {
    let annotations = definition.member("annotations")?;
    let claims: Vec<String> = HINTS
        .iter()
        .filter_map(|hint| match annotations.member(hint)? {
            Value::Bool(truth) => Some(format!("{hint} {truth}")),
            _ => Some(format!("{hint} (unreadable)")),
        })
        .collect();
    (!claims.is_empty()).then(|| claims.join(", "))
}

/// Proposes the least that the definition supports.
pub(super) fn propose(name: &str, definition: &Value<'_>) -> Proposal {
    match judged(name, definition) {
        Err(_) if !in_force("draft-unjudged") => Proposal::Allow(Allowed::default()),
        Err(why) => Proposal::Deny(why),
        Ok(allowed) => Proposal::Allow(allowed),
    }
}

fn judged(name: &str, definition: &Value<'_>) -> Result<Allowed, String> {
    // The names that MCP recommends (draft, tools): no two of them look alike to a reader by trickery.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/')) {
        return Err("its name holds unusual characters".to_owned());
    }
    let claims = |hint: &str| definition.member("annotations").and_then(|hints| hints.member(hint)).cloned();
    if claims("readOnlyHint") != Some(Value::Bool(true)) {
        return Err("it does not claim to be read-only".to_owned());
    }
    if !matches!(claims("destructiveHint"), None | Some(Value::Bool(false))) {
        return Err("it claims to be read-only and destructive".to_owned());
    }
    let schema = definition.member("inputSchema").ok_or("it has no inputSchema")?;
    arguments(schema)
}

/// Reads an inputSchema whose every keyword is known: one object with named arguments.
fn arguments(schema: &Value<'_>) -> Result<Allowed, String> {
    let members = schema.as_object().ok_or("its inputSchema is not an object")?;
    for (keyword, value) in members {
        match (keyword.as_ref(), value) {
            ("type" | "properties" | "required", _) => {}
            ("$schema" | "title" | "description", Value::String(_)) => {}
            ("additionalProperties", Value::Bool(false)) => {}
            ("additionalProperties", _) => return Err("its inputSchema takes any further argument".to_owned()),
            (keyword, _) => return Err(unknown("its inputSchema", keyword)),
        }
    }
    if schema.member("type").and_then(Value::as_str) != Some("object") {
        return Err("its inputSchema does not say `type: object`".to_owned());
    }
    let properties =
        schema.member("properties").and_then(Value::as_object).ok_or("its inputSchema names no arguments")?;
    if properties.len() > DRAFT_ARGUMENTS_MAX {
        return Err(format!("it has more than {DRAFT_ARGUMENTS_MAX} arguments"));
    }
    let mut required = Vec::new();
    if let Some(names) = schema.member("required") {
        for name in names.as_array().ok_or("`required` of its inputSchema is not a list")? {
            let name = name.as_str().ok_or("`required` of its inputSchema holds more than names")?;
            if !properties.iter().any(|(property, _)| property == name) {
                return Err("its inputSchema requires an argument that it does not describe".to_owned());
            }
            required.push(name);
        }
    }
    let mut allowed = Allowed { required: !required.is_empty(), ..Allowed::default() };
    for (name, schema) in properties {
        argument(name, schema, !required.contains(&name.as_ref()), &mut allowed)?;
    }
    Ok(allowed)
}

/// Adds what the schema of one argument states.
fn argument(name: &str, schema: &Value<'_>, optional: bool, allowed: &mut Allowed) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err("one of its arguments has a name that no path can hold".to_owned());
    }
    let subject = format!("its argument {name}");
    let members = schema.as_object().ok_or_else(|| format!("{subject} has no schema"))?;
    let kind = match schema.member("type") {
        None => "",
        Some(kind) => kind.as_str().ok_or_else(|| format!("{subject} has several types"))?,
    };
    let before = allowed.conditions.len();
    for (keyword, value) in members {
        let Some((op, value, values)) = derived(&subject, kind, keyword, value)? else { continue };
        let path = format!("args.{name}");
        allowed.conditions.push(Derived { path, op, value, optional, values });
    }
    let bound = allowed.conditions.len() > before;
    match kind {
        "boolean" if !bound => allowed.conditions.push(Derived {
            path: format!("args.{name}"),
            op: "in",
            value: "[true, false]".to_owned(),
            optional,
            values: 3,
        }),
        "string" | "number" | "integer" | "array" if !bound => allowed.free.push(name.to_owned()),
        "string" | "number" | "integer" | "boolean" | "array" => {}
        "" if bound && (schema.member("enum").is_some() || schema.member("const").is_some()) => {}
        "object" => return Err(format!("{subject} is an object")),
        _ => return Err(format!("{subject} has no type that can be judged")),
    }
    Ok(())
}

/// An operator with its value as YAML and the number of values in it.
type Term = (&'static str, String, usize);

/// The condition that one keyword states; none for one that only describes, or that no operator can hold.
fn derived(subject: &str, kind: &str, keyword: &str, value: &Value<'_>) -> Result<Option<Term>, String> {
    let wrong = || format!("{subject} has `{keyword}`, which cannot be read");
    let number = |op| match (kind, value) {
        ("number" | "integer", Value::Number(number)) if Number::parse(number.text()).is_some() => {
            Ok(Some((op, number.text().to_owned(), 1)))
        }
        _ => Err(wrong()),
    };
    let length = |of| match value {
        Value::Number(number) if kind == of => match number.text().parse::<u64>() {
            Ok(length) => Ok(Some(("length_lte", length.to_string(), 1))),
            Err(_) => Err(wrong()),
        },
        _ => Err(wrong()),
    };
    match keyword {
        "type" | "title" | "description" | "default" | "examples" | "deprecated" | "$comment" => Ok(None),
        // Narrower than what is derived: the tool's own business, and any value to the policy.
        "format" | "pattern" | "minLength" | "multipleOf" | "minItems" | "uniqueItems" => Ok(None),
        "items" => items(subject, kind, value).map(|()| None),
        "enum" => {
            let choices = value.as_array().filter(|choices| (1..=DRAFT_CHOICES_MAX).contains(&choices.len()));
            let texts: Option<Vec<String>> = choices.ok_or_else(wrong)?.iter().map(literal).collect();
            let texts = texts.ok_or_else(wrong)?;
            Ok(Some(("in", format!("[{}]", texts.join(", ")), 1 + texts.len())))
        }
        "const" => Ok(Some(("eq", literal(value).ok_or_else(wrong)?, 1))),
        "maximum" => number("lte"),
        "minimum" => number("gte"),
        "exclusiveMaximum" => number("lt"),
        "exclusiveMinimum" => number("gt"),
        "maxLength" => length("string"),
        "maxItems" => length("array"),
        keyword => Err(unknown(subject, keyword)),
    }
}

/// The items of an array: one plain type and nothing that would have to hold of each.
fn items(subject: &str, kind: &str, schema: &Value<'_>) -> Result<(), String> {
    let wrong = || format!("{subject} is a list of what cannot be judged");
    let members = schema.as_object().filter(|_| kind == "array").ok_or_else(wrong)?;
    let described = members.iter().all(|(keyword, _)| matches!(keyword.as_ref(), "type" | "title" | "description"));
    let plain =
        matches!(schema.member("type").and_then(Value::as_str), Some("string" | "number" | "integer" | "boolean"));
    if described && plain { Ok(()) } else { Err(wrong()) }
}

/// A scalar as YAML.
fn literal(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Number::parse(number.text()).map(|number| number.text().to_owned()),
        Value::String(text) => (text.len() <= DRAFT_TEXT_BYTES_MAX).then(|| quoted(text)),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A keyword that is not understood. Its name is the server's, so only a plain one is repeated.
fn unknown(subject: &str, keyword: &str) -> String {
    let plain = keyword.len() <= 32 && keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'$');
    if plain { format!("{subject} uses `{keyword}`") } else { format!("{subject} uses a keyword that is not known") }
}
