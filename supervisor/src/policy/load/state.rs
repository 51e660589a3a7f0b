//! `state:` of a rule, and the conditions on its counters. Which path means which block is settled in counters.rs, when all
//! rules are read.

use super::counters::{Asked, Bound};
use super::hints;
use super::limits::state_window;
use super::read::{Fields, Reader, Section, scalar};
use crate::bounds::POLICY_NAME_BYTES_MAX;
use crate::limits::Amount;
use crate::policy::amount;
use crate::policy::codes::Code;
use crate::policy::condition::{Number, Test};
use crate::policy::model::{Counter, Increment};
use crate::policy::yaml::{Kind, Meaning, Node, Span, meaning};

pub(super) const STATE: Section =
    Section { what: "state", keys: &["counter", "window", "align", "increment", "increment_from"], later: &[] };
pub(super) const STATE_CONDITION: Section =
    Section { what: "a condition on a counter", keys: &["path", "op", "value"], later: &[] };

/// The operators that can judge a counter, which is a number.
const OPERATORS: [&str; 5] = ["lt", "lte", "gt", "gte", "eq"];

/// Whether an entry of `conditions:` reads a counter instead of an argument.
pub(super) fn is_on_state(node: &Node) -> bool {
    path_of(node).is_some()
}

/// The `state.` path of an entry, if it has one.
fn path_of(node: &Node) -> Option<&Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    let path = entries.iter().find(|entry| entry.key == "path")?;
    let text = &scalar(&path.value)?.text;
    (text == "state" || text.starts_with("state.")).then_some(&path.value)
}

/// A `state` block as far as it could be read. Its name alone is enough for paths to find it.
pub(super) struct Block {
    pub(super) name: Option<String>,
    /// Where the name stands, or the block.
    pub(super) span: Span,
    pub(super) counter: Option<Counter>,
}

/// Reads `state:`.
pub(super) fn block(reader: &mut Reader<'_>, node: &Node) -> Block {
    let mut block = Block { name: None, span: node.span, counter: None };
    let Some(fields) = reader.section(node, &STATE) else { return block };
    if let Some(node) = fields.require(reader, "counter", "state") {
        block.name = counter_name(reader, node);
        block.span = node.span;
    }
    let window = state_window(reader, &fields);
    let increment = increment(reader, &fields);
    if let (Some(name), Some(window), Some(increment)) = (&block.name, window, increment) {
        block.counter = Some(Counter { name: name.clone(), window, increment });
    }
    block
}

fn counter_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let name = reader.bounded(node, "state.counter", POLICY_NAME_BYTES_MAX)?;
    if name.chars().any(char::is_control) || name.trim() != name {
        let message = "a counter's name holds no control characters and no space at its ends";
        reader.error(Code::BadName, node.span, message);
        return None;
    }
    Some(name.to_owned())
}

fn increment(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Increment> {
    match (fields.get("increment"), fields.entry("increment_from")) {
        (None, None) => Some(Increment::Fixed(Amount::ONE)),
        (Some(_), Some(second)) => {
            let message =
                "`increment` and `increment_from` both say what a call adds; only one of them may stand in a block";
            reader.error(Code::Exclusive, second.key_span, message);
            None
        }
        (Some(node), None) => fixed(reader, node).map(Increment::Fixed),
        (None, Some(entry)) => keys(reader, &entry.value).map(Increment::From),
    }
}

fn fixed(reader: &mut Reader<'_>, node: &Node) -> Option<Amount> {
    let number = number(reader, node, Code::WrongType, "`increment`")?;
    let amount = amount::increment(&number);
    if amount.is_none() {
        let message = "`increment` must be more than 0 and at most 10^18, with at most nine decimals";
        reader.error(Code::OutOfRange, node.span, message).help =
            Some("a call that shall count for nothing needs no `state` block".into());
    }
    amount
}

/// `args.a.b` as its keys below `args`.
fn keys(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let text = reader.text(node, "increment_from")?;
    let keys: Vec<&str> = text.strip_prefix("args.").map(|rest| rest.split('.').collect()).unwrap_or_default();
    let good = |key: &&str| !key.is_empty() && key.trim() == *key && !key.contains(['[', ']']);
    if keys.is_empty() || !keys.iter().all(good) {
        let message = format!("\"{text}\" names no argument that can be counted");
        reader.error(Code::BadArgumentPath, node.span, message).help =
            Some("write args.NAME, or args.NAME.KEY for a number inside; there are no array paths here".into());
        return None;
    }
    Some(keys.into_iter().map(str::to_owned).collect())
}

/// Reads the entries on counters; the others are read by conditions.rs.
pub(super) fn conditions(reader: &mut Reader<'_>, node: &Node) -> Vec<Asked> {
    let Kind::List(items) = &node.kind else { return Vec::new() };
    items.iter().filter_map(|item| condition(reader, item)).collect()
}

fn condition(reader: &mut Reader<'_>, node: &Node) -> Option<Asked> {
    let path = path_of(node)?;
    let text = scalar(path)?.text.clone();
    let mut asked = Asked { path: text, span: path.span, line: node.span.line, bound: None };
    let Kind::Map(entries) = &node.kind else { return None };
    if let Some(entry) = entries.iter().find(|entry| entry.key == "if_present") {
        let message = "`if_present` says nothing of a counter: it always has a value, 0 before the first call";
        reader.error(Code::Exclusive, entry.key_span, message);
        return Some(asked);
    }
    let fields = reader.section(node, &STATE_CONDITION)?;
    let op = fields.require(reader, "op", "a condition on a counter").and_then(|node| operator(reader, node));
    let value = fields.require(reader, "value", "a condition on a counter");
    asked.bound = op.zip(value).and_then(|(op, value)| bound(reader, op, value));
    Some(asked)
}

fn operator(reader: &mut Reader<'_>, node: &Node) -> Option<&'static str> {
    let name = reader.text(node, "op")?;
    if let Some(known) = OPERATORS.iter().find(|known| **known == name) {
        return Some(known);
    }
    let message = if Test::OPERATORS.contains(&name) {
        format!("the operator `{name}` cannot judge a counter, which is a number")
    } else {
        format!("unknown operator \"{name}\" on a counter")
    };
    reader.error(Code::UnknownOperator, node.span, message).help = Some(hints::operator(name, &OPERATORS));
    None
}

fn bound(reader: &mut Reader<'_>, op: &'static str, node: &Node) -> Option<Bound> {
    let value = number(reader, node, Code::OperandType, &format!("`{op}` on a counter"))?;
    let Some((at_least, at_most)) = amount::bounds(op, &value) else {
        let message = format!("no counter can ever stand at {}, so the condition would never hold", value.text());
        reader.error(Code::OutOfRange, node.span, message).help = Some("counters have at most nine decimals".into());
        return None;
    };
    Some(Bound { op, value, at_least, at_most })
}

fn number(reader: &mut Reader<'_>, node: &Node, code: Code, what: &str) -> Option<Number> {
    match scalar(node).map(|scalar| (meaning(scalar), &scalar.text)) {
        Some((Meaning::Number, text)) => Number::parse(text),
        Some((Meaning::Ambiguous(why), text)) => {
            let message = format!("readers disagree on what `{text}` is");
            reader.error(Code::Ambiguous, node.span, message).help = Some(why.into());
            None
        }
        _ => {
            reader.error(code, node.span, format!("{what} needs a number, not {}", node.describe()));
            None
        }
    }
}
