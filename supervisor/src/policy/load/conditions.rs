//! `conditions:` of a rule.

use super::read::{Fields, Reader, Section, scalar};
use super::suggest::nearest;
use super::{paths, pattern, state};
use crate::bounds::{POLICY_CONDITIONS_MAX, POLICY_REGEXES_MAX};
use crate::policy::codes::Code;
use crate::policy::condition::{Clause, Condition, Literal, Number, Step, Test};
use crate::policy::yaml::{Kind, Meaning, Node, meaning};

pub(super) const CONDITION: Section =
    Section { what: "a condition", keys: &["path", "op", "value", "if_present"], later: &["any", "all", "not"] };

/// Operators of the language that this build does not enforce.
const OPERATORS_LATER: &[&str] = &["not_regex", "not_contains", "starts_with", "host_in"];

/// What conditions of one policy have used up so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    conditions: usize,
    regexes: usize,
}

/// Reads the list. Every condition that has no error is returned.
pub(super) fn conditions(reader: &mut Reader<'_>, node: &Node, budget: &mut Budget) -> Vec<Clause> {
    let Some(items) = reader.list(node, "conditions", POLICY_CONDITIONS_MAX) else { return Vec::new() };
    budget.conditions += items.len();
    if budget.conditions > POLICY_CONDITIONS_MAX {
        let message = format!("more than {POLICY_CONDITIONS_MAX} conditions in one policy");
        reader.error(Code::TooMany, node.span, message);
        return Vec::new();
    }
    // Those on counters are read by state.rs.
    items.iter().filter(|item| !state::is_on_state(item)).filter_map(|item| condition(reader, item, budget)).collect()
}

fn condition(reader: &mut Reader<'_>, node: &Node, budget: &mut Budget) -> Option<Clause> {
    let fields = reader.section(node, &CONDITION)?;
    if fields.get("any").or(fields.get("all")).or(fields.get("not")).is_some() {
        return None; // refused as not enforced yet
    }
    let path = fields.require(reader, "path", "a condition").and_then(|node| argument_path(reader, node));
    let if_present = fields.get("if_present").is_some_and(|node| reader.boolean(node, "if_present").unwrap_or(false));
    let test = fields.require(reader, "op", "a condition").and_then(|op| test(reader, op, &fields, budget));
    let (path, steps) = path?;
    let test = test?;
    if let (Test::Exists(_), true, Some(entry)) = (&test, if_present, fields.entry("if_present")) {
        reader.error(Code::Exclusive, entry.key_span, "`if_present` says nothing with `exists`").help =
            Some("leave one of the two out".into());
        return None;
    }
    Some(Clause::Test(Condition { path, line: node.span.line, steps, if_present, test }))
}

/// `args.a.b` and its keys below `args`.
fn argument_path(reader: &mut Reader<'_>, node: &Node) -> Option<(String, Vec<Step>)> {
    let text = reader.text(node, "path")?;
    if text.contains(['[', ']']) {
        reader.not_enforced(node, "an array path");
        return None;
    }
    let keys: Option<Vec<String>> = text.strip_prefix("args.").map(|rest| rest.split('.').map(str::to_owned).collect());
    match keys {
        Some(keys) if keys.iter().all(|key| !key.is_empty() && key.trim() == key) => {
            Some((text.to_owned(), keys.into_iter().map(Step::Key).collect()))
        }
        _ => {
            reader.error(Code::BadArgumentPath, node.span, format!("\"{text}\" names no argument")).help =
                Some("write args.NAME, or args.NAME.KEY for a value inside".into());
            None
        }
    }
}

fn test(reader: &mut Reader<'_>, op: &Node, fields: &Fields<'_>, budget: &mut Budget) -> Option<Test> {
    let name = reader.text(op, "op")?;
    if OPERATORS_LATER.contains(&name) {
        reader.not_enforced(op, &format!("the operator `{name}`"));
        return None;
    }
    if !Test::OPERATORS.contains(&name) {
        let known = Test::OPERATORS.iter().chain(OPERATORS_LATER).copied();
        let help = nearest(name, known).map_or_else(
            || format!("one of {}", Test::OPERATORS.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        );
        reader.error(Code::UnknownOperator, op.span, format!("unknown operator \"{name}\"")).help = Some(help);
        return None;
    }
    match (name, fields.get("value")) {
        ("exists", None) => Some(Test::Exists(true)),
        (_, None) => {
            reader.error(Code::MissingKey, fields.span, format!("the operator `{name}` needs `value`"));
            None
        }
        (name, Some(value)) => operand(reader, name, value, budget),
    }
}

/// The checked value of a known operator.
fn operand(reader: &mut Reader<'_>, name: &str, value: &Node, budget: &mut Budget) -> Option<Test> {
    match name {
        "eq" => literal(reader, value).map(Test::Eq),
        "neq" => literal(reader, value).map(Test::Neq),
        "in" => choices(reader, name, value).map(Test::In),
        "not_in" => choices(reader, name, value).map(Test::NotIn),
        "lt" => number(reader, name, value).map(Test::Lt),
        "lte" => number(reader, name, value).map(Test::Lte),
        "gt" => number(reader, name, value).map(Test::Gt),
        "gte" => number(reader, name, value).map(Test::Gte),
        "regex" => regex(reader, value, budget),
        "contains" => literal(reader, value).map(Test::Contains),
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
        return operand_type(reader, node, &format!("`{name}` needs a list"));
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

fn regex(reader: &mut Reader<'_>, node: &Node, budget: &mut Budget) -> Option<Test> {
    let text = string(reader, "regex", node)?;
    budget.regexes += 1;
    if budget.regexes > POLICY_REGEXES_MAX {
        let message = format!("more than {POLICY_REGEXES_MAX} `regex` conditions in one policy");
        reader.error(Code::TooMany, node.span, message);
        return None;
    }
    match pattern::compile(text) {
        Ok(compiled) => Some(Test::Regex(compiled, text.to_owned())),
        Err(why) => {
            reader.error(Code::BadRegex, node.span, format!("the regular expression is refused: {why}"));
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
