//! The operators. Each judges the types it knows and says nothing of others.

use super::condition::{Literal, Test};
use super::decimal::Decimal;
use super::host_name;
use crate::wire::json::Value;

impl Test {
    /// Whether the test holds of a value that is there; none where it cannot judge it.
    pub(super) fn judge(&self, value: &Value<'_>) -> Option<bool> {
        match self {
            Self::Eq(literal) => literal.equals(value),
            Self::Neq(literal) => literal.equals(value).map(|equal| !equal),
            Self::In(literals) => is_one_of(literals, value),
            Self::NotIn(literals) => is_one_of(literals, value).map(|listed| !listed),
            Self::Lt(number) => decimal(value).map(|value| value < number.decimal()),
            Self::Lte(number) => decimal(value).map(|value| value <= number.decimal()),
            Self::Gt(number) => decimal(value).map(|value| value > number.decimal()),
            Self::Gte(number) => decimal(value).map(|value| value >= number.decimal()),
            Self::Regex(regex, _) => value.as_str().map(|text| regex.is_match(text)),
            Self::NotRegex(regex, _) => value.as_str().map(|text| !regex.is_match(text)),
            Self::Contains(literal) => contains(literal, value),
            Self::NotContains(literal) => contains(literal, value).map(|found| !found),
            Self::StartsWith(prefix) => value.as_str().map(|text| text.starts_with(prefix.as_str())),
            Self::Exists(wanted) => Some(matches!(value, Value::Null) != *wanted),
            Self::UnderPath(folder) => value.as_str().and_then(|path| is_under(folder, path)),
            Self::LengthLte(max) => length(value).map(|length| length <= *max),
            Self::HostIn(patterns) => value.as_str().and_then(|text| host_name::listed(patterns, text)),
        }
    }
}

impl Literal {
    /// Same type and same value; none for another type. Null is a value that others are known to differ from.
    pub(super) fn equals(&self, value: &Value<'_>) -> Option<bool> {
        match (self, value) {
            (Self::Null, value) => Some(matches!(value, Value::Null)),
            (Self::Bool(wanted), Value::Bool(found)) => Some(wanted == found),
            (Self::Number(wanted), Value::Number(_)) => decimal(value).map(|value| value == wanted.decimal()),
            (Self::String(wanted), Value::String(found)) => Some(wanted == found),
            (Self::List(wanted), Value::Array(found)) if !speaks_of(wanted, found) => None,
            (Self::List(wanted), Value::Array(found)) if wanted.len() != found.len() => Some(false),
            (Self::List(wanted), Value::Array(found)) => {
                every(wanted.iter().zip(found).map(|(wanted, found)| wanted.equals(found)))
            }
            _ => None,
        }
    }
}

/// Whether every element that was found is of a type that the wanted ones have, all the way down: what a server makes of
/// `[["admin"]]` where a list of strings was meant is open, whatever the lengths. An empty list speaks of all that hold no list
/// and no object.
fn speaks_of(wanted: &[Literal], found: &[Value<'_>]) -> bool {
    found.iter().all(|found| match found {
        Value::Array(found) => {
            wanted.iter().any(|literal| matches!(literal, Literal::List(wanted) if speaks_of(wanted, found)))
        }
        Value::Object(_) => false,
        scalar => wanted.is_empty() || wanted.iter().any(|literal| same_type(literal, scalar)),
    })
}

const fn same_type(literal: &Literal, value: &Value<'_>) -> bool {
    matches!(
        (literal, value),
        (Literal::Null, Value::Null)
            | (Literal::Bool(_), Value::Bool(_))
            | (Literal::Number(_), Value::Number(_))
            | (Literal::String(_), Value::String(_))
    )
}

/// True if all are, false if one is, else none: of `["admin"]` and `[["admin"]]` nothing is said.
fn every(judged: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for one in judged {
        match one {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

/// True if one equals, none if the value is of a type of which the list holds nothing. A null in the list is known to differ
/// from everything, but only a list of nothing else judges every type by that.
fn is_one_of(literals: &[Literal], value: &Value<'_>) -> Option<bool> {
    let mut judged_by_type = false;
    let mut typed = false;
    for literal in literals {
        let equal = literal.equals(value);
        if equal == Some(true) {
            return Some(true);
        }
        if *literal != Literal::Null {
            typed = true;
            judged_by_type |= equal.is_some();
        }
    }
    (judged_by_type || !typed).then_some(false)
}

fn decimal<'v>(value: &'v Value<'_>) -> Option<Decimal<'v>> {
    match value {
        Value::Number(number) => Decimal::parse(number.text()),
        _ => None,
    }
}

/// A part of a string, or an element of an array. An array with elements of other types than the wanted one is judged only
/// if it holds it: what a server makes of `[["admin"]]` is open.
fn contains(literal: &Literal, value: &Value<'_>) -> Option<bool> {
    match (literal, value) {
        (Literal::String(part), Value::String(text)) => Some(text.contains(part.as_str())),
        (literal, Value::Array(items)) => {
            let differs = |item| literal.equals(item).map(|equal| !equal);
            every(items.iter().map(differs)).map(|absent| !absent)
        }
        _ => None,
    }
}

/// Lexical. A relative path, a `..` and a NUL are not judged: where they lead depends on what is not in the text. `.` and
/// empty components say nothing. The folder itself counts.
/// Symbolic links are the sandbox's business: it shows the server no file outside its view.
fn is_under(folder: &str, path: &str) -> Option<bool> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    if path.split('/').any(|part| part == "..") && crate::weaken::in_force("policy-path-escape") {
        return None;
    }
    let parts = |path| str::split(path, '/').filter(|part: &&str| !matches!(*part, "" | "."));
    let mut found = parts(path);
    Some(parts(folder).all(|wanted| found.next() == Some(wanted)))
}

fn length(value: &Value<'_>) -> Option<u64> {
    let length = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        _ => return None,
    };
    u64::try_from(length).ok()
}
