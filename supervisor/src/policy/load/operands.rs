//! The `value` of a condition, checked against its operator.

use regex::Regex;

use super::conditions::Budget;
use super::read::{Reader, scalar};
use super::{hosts, paths, pattern};
use crate::bounds::{HOSTS_MAX, POLICY_REGEXES_MAX};
use crate::policy::HostPattern;
use crate::policy::codes::Code;
use crate::policy::condition::{Literal, Number, Test};
use crate::policy::host_name;
use crate::policy::yaml::{Kind, Meaning, Node, meaning};

/// The checked value of a known operator.
pub(super) fn operand(reader: &mut Reader<'_>, name: &str, value: &Node, budget: &mut Budget) -> Option<Test> {
    match name {
        "eq" => literal(reader, value).map(Test::Eq),
        "neq" => literal(reader, value).map(Test::Neq),
        "in" => choices(reader, name, value).map(Test::In),
        "not_in" => choices(reader, name, value).map(Test::NotIn),
        "lt" => number(reader, name, value).map(Test::Lt),
        "lte" => number(reader, name, value).map(Test::Lte),
        "gt" => number(reader, name, value).map(Test::Gt),
        "gte" => number(reader, name, value).map(Test::Gte),
        "regex" => regex(reader, name, value, budget).map(|(regex, text)| Test::Regex(regex, text)),
        "not_regex" => regex(reader, name, value, budget).map(|(regex, text)| Test::NotRegex(regex, text)),
        "contains" => literal(reader, value).map(Test::Contains),
        "not_contains" => literal(reader, value).map(Test::NotContains),
        "starts_with" => prefix(reader, value).map(Test::StartsWith),
        "host_in" => hosts_listed(reader, value).map(Test::HostIn),
        "under_path" => {
            string(reader, name, value).and_then(|_| paths::absolute(reader, value, "value")).map(Test::UnderPath)
        }
        "length_lte" => length(reader, value).map(Test::LengthLte),
        _ => exists(reader, value).map(Test::Exists),
    }
}

/// Any value but a mapping, by its YAML type.
fn literal(reader: &mut Reader<'_>, node: &Node) -> Option<Literal> {
    match &node.kind {
        Kind::List(items) => {
            let literals: Vec<_> = items.iter().map(|item| literal(reader, item)).collect();
            literals.into_iter().collect::<Option<_>>().map(Literal::List)
        }
        Kind::Map(_) => operand_type(reader, node, "no operator compares with a mapping"),
        Kind::Scalar(scalar) => match meaning(scalar) {
            Meaning::Null => Some(Literal::Null),
            Meaning::Bool(value) => Some(Literal::Bool(value)),
            Meaning::Number => Number::parse(&scalar.text).map(Literal::Number),
            Meaning::Text => Some(Literal::String(scalar.text.clone())),
            Meaning::BooleanLookingText => {
                let message =
                    format!("`{}` is read as a string; other YAML readers take it for a boolean", scalar.text);
                reader.warning(Code::BooleanLookingText, node.span, message).help =
                    Some(format!("write \"{}\" in quotes, or true or false", scalar.text));
                Some(Literal::String(scalar.text.clone()))
            }
            Meaning::Ambiguous(why) => {
                let message = format!("readers disagree on what `{}` is", scalar.text);
                reader.error(Code::Ambiguous, node.span, message).help = Some(why.into());
                None
            }
        },
    }
}

fn choices(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Vec<Literal>> {
    if !matches!(node.kind, Kind::List(_)) {
        return operand_type(reader, node, &format!("`{name}` needs a list such as [a, b]"));
    }
    match literal(reader, node)? {
        Literal::List(items) if !items.is_empty() => Some(items),
        _ => operand_type(reader, node, &format!("`{name}` needs a list that is not empty")),
    }
}

fn number(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Number> {
    match scalar(node).map(meaning) {
        Some(Meaning::Number | Meaning::Ambiguous(_)) => match literal(reader, node)? {
            Literal::Number(number) => Some(number),
            _ => None,
        },
        _ => operand_type(reader, node, &format!("`{name}` needs a number, not {}", node.describe())),
    }
}

fn string<'n>(reader: &mut Reader<'_>, name: &str, node: &'n Node) -> Option<&'n str> {
    match scalar(node) {
        Some(scalar) if matches!(meaning(scalar), Meaning::Text | Meaning::BooleanLookingText) => Some(&scalar.text),
        _ => operand_type(reader, node, &format!("`{name}` needs a string, not {}", node.describe())),
    }
}

fn regex(reader: &mut Reader<'_>, name: &str, node: &Node, budget: &mut Budget) -> Option<(Regex, String)> {
    let text = string(reader, name, node)?;
    budget.regexes += 1;
    if budget.regexes > POLICY_REGEXES_MAX {
        let message = format!("more than {POLICY_REGEXES_MAX} `regex` and `not_regex` conditions in one policy");
        reader.error(Code::TooMany, node.span, message);
        return None;
    }
    match pattern::compile(text) {
        Ok(compiled) => Some((compiled, text.to_owned())),
        Err(why) => {
            reader.error(Code::BadRegex, node.span, format!("the regular expression is refused: {why}"));
            None
        }
    }
}

fn prefix(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = string(reader, "starts_with", node)?;
    if text.is_empty() {
        return operand_type(reader, node, "every string starts with the empty one");
    }
    Some(text.to_owned())
}

/// Exact names, `*.` before a name of two labels or more, and IPv4 addresses in their plain form.
fn hosts_listed(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<HostPattern>> {
    if !matches!(node.kind, Kind::List(_)) {
        return operand_type(reader, node, "`host_in` needs a list such as [example.com]");
    }
    let items = reader.list(node, "value", HOSTS_MAX)?;
    if items.is_empty() {
        return operand_type(reader, node, "`host_in` needs a list that is not empty");
    }
    let mut patterns = Vec::new();
    let mut good = true;
    for item in items {
        match host_pattern(reader, item) {
            Some(pattern) if patterns.contains(&pattern) => {
                reader.error(Code::DuplicateEntry, item.span, format!("{pattern} stands twice"));
                good = false;
            }
            Some(pattern) => patterns.push(pattern),
            None => good = false,
        }
    }
    good.then_some(patterns)
}

fn host_pattern(reader: &mut Reader<'_>, node: &Node) -> Option<HostPattern> {
    // An address is no number to the reader of YAML, nor is a name of digits one to a reader of hosts.
    let text = reader.text(node, "value")?;
    let name = text.strip_prefix("*.");
    let fault = match name {
        None if host_name::is_plain_address(text) => None,
        Some(name) if !name.contains('.') => Some("a wildcard stands before two labels at least: *.example.com"),
        _ if name.unwrap_or(text).contains('*') => Some("only the whole first label can be `*`: *.example.com"),
        _ => hosts::fault(name.unwrap_or(text)),
    };
    match fault {
        None => Some(HostPattern::new(text)),
        Some(help) => {
            reader.error(Code::OperandType, node.span, format!("\"{text}\" is no host for `host_in`")).help =
                Some(help.into());
            None
        }
    }
}

fn length(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    match scalar(node).map(meaning) {
        Some(Meaning::Number) => reader.integer(node, "value", 0..=u64::MAX),
        _ => operand_type(reader, node, &format!("`length_lte` needs a whole number, not {}", node.describe())),
    }
}

fn exists(reader: &mut Reader<'_>, node: &Node) -> Option<bool> {
    match scalar(node).map(meaning) {
        Some(Meaning::Bool(value)) => Some(value),
        _ => operand_type(reader, node, &format!("`exists` needs true or false, not {}", node.describe())),
    }
}

fn operand_type<T>(reader: &mut Reader<'_>, node: &Node, message: &str) -> Option<T> {
    reader.error(Code::OperandType, node.span, message);
    None
}
