//! `conditions:` of a rule.

use super::argument_path::argument_path;
use super::read::{Fields, Reader, Section};
use super::{groups, hints, operands, state};
use crate::bounds::POLICY_CONDITIONS_MAX;
use crate::policy::codes::Code;
use crate::policy::condition::{Clause, Condition, Test};
use crate::policy::yaml::{Node, Span};

pub(super) const CONDITION: Section =
    Section { what: "a condition", keys: &["path", "op", "value", "if_present", "any", "all", "not"], later: &[] };

/// What conditions of one policy have used up so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    conditions: usize,
    pub(super) regexes: usize,
}

impl Budget {
    /// Counts entries, groups included. Says so where they are too many.
    pub(super) fn take(&mut self, reader: &mut Reader<'_>, span: Span, count: usize) -> bool {
        self.conditions += count;
        let fits = self.conditions <= POLICY_CONDITIONS_MAX;
        if !fits {
            reader.error(Code::TooMany, span, format!("more than {POLICY_CONDITIONS_MAX} conditions in one policy"));
        }
        fits
    }
}

/// Reads the list. Every condition that has no error is returned.
pub(super) fn conditions(reader: &mut Reader<'_>, node: &Node, budget: &mut Budget) -> Vec<Clause> {
    let Some(items) = reader.list(node, "conditions", POLICY_CONDITIONS_MAX) else { return Vec::new() };
    if !budget.take(reader, node.span, items.len()) {
        return Vec::new();
    }
    // Those on counters are read by state.rs.
    items
        .iter()
        .filter(|item| !state::is_on_state(item))
        .filter_map(|item| clause(reader, item, budget, groups::Place::default()))
        .collect()
}

/// A test or a group, which stands at `place`.
pub(super) fn clause(
    reader: &mut Reader<'_>,
    node: &Node,
    budget: &mut Budget,
    place: groups::Place,
) -> Option<Clause> {
    let fields = reader.section(node, &CONDITION)?;
    if let Some(group) = groups::KEYS.iter().find_map(|key| fields.entry(key)) {
        return groups::group(reader, &fields, group, budget, place);
    }
    let condition = condition(reader, node, &fields, budget)?;
    groups::check_path(reader, &fields, &condition, place)?;
    Some(Clause::Test(condition))
}

fn condition(reader: &mut Reader<'_>, node: &Node, fields: &Fields<'_>, budget: &mut Budget) -> Option<Condition> {
    let path = fields.require(reader, "path", "a condition").and_then(|node| argument_path(reader, node));
    let if_present = fields.get("if_present").is_some_and(|node| reader.boolean(node, "if_present").unwrap_or(false));
    let test = fields.require(reader, "op", "a condition").and_then(|op| test(reader, op, fields, budget));
    let (path, steps) = path?;
    let test = test?;
    if let (Test::Exists(_), true, Some(entry)) = (&test, if_present, fields.entry("if_present")) {
        reader.error(Code::Exclusive, entry.key_span, "`if_present` says nothing with `exists`").help =
            Some("leave one of the two out".into());
        return None;
    }
    Some(Condition { path, line: node.span.line, steps, if_present, test })
}

fn test(reader: &mut Reader<'_>, op: &Node, fields: &Fields<'_>, budget: &mut Budget) -> Option<Test> {
    let name = reader.text(op, "op")?;
    if !Test::OPERATORS.contains(&name) {
        reader.error(Code::UnknownOperator, op.span, format!("unknown operator \"{name}\"")).help =
            Some(hints::operator(name, &Test::OPERATORS));
        return None;
    }
    match (name, fields.get("value")) {
        ("exists", None) => Some(Test::Exists(true)),
        (_, None) => {
            reader.error(Code::MissingKey, fields.span, format!("the operator `{name}` needs `value`"));
            None
        }
        (name, Some(value)) => operands::operand(reader, name, value, budget),
    }
}
