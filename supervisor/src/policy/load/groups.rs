//! `any`, `all` and `not`: conditions on arguments, grouped.

use super::conditions::{Budget, clause};
use super::read::{Fields, Reader, scalar};
use super::state;
use crate::bounds::{POLICY_CONDITIONS_MAX, POLICY_GROUP_DEPTH_MAX};
use crate::policy::codes::Code;
use crate::policy::condition::{Clause, Condition};
use crate::policy::yaml::{Entry, Kind, Meaning, Node, Span, meaning};

/// The keys that make a condition a group.
pub(super) const KEYS: [&str; 3] = ["any", "all", "not"];

/// Where a condition stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Groups around it.
    depth: usize,
    /// Whether one of them is `not`.
    negated: bool,
}

/// Reads the group whose key is `entry`. Nothing else may stand beside that key.
pub(super) fn group(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry,
    budget: &mut Budget,
    place: Place,
) -> Option<Clause> {
    let mut alone = true;
    for key in ["any", "all", "not", "path", "op", "value", "if_present"] {
        let Some(other) = fields.entry(key).filter(|_| key != entry.key) else { continue };
        let message = format!("`{key}` cannot stand beside `{}`: a condition is one test or one group", entry.key);
        reader.error(Code::Exclusive, other.key_span, message).help =
            Some("give each its own entry of `conditions`, or put both under one `all`".into());
        alone = false;
    }
    let place = Place { depth: place.depth + 1, negated: place.negated || entry.key == "not" };
    if place.depth > POLICY_GROUP_DEPTH_MAX {
        let message = format!("groups of conditions are nested at most {POLICY_GROUP_DEPTH_MAX} deep");
        reader.error(Code::BadGroup, entry.key_span, message);
        return None;
    }
    let line = fields.span.line;
    let group = match entry.key.as_str() {
        "any" => Clause::Any(members(reader, entry, budget, place)?, line),
        "all" => Clause::All(members(reader, entry, budget, place)?, line),
        _ => Clause::Not(Box::new(negated(reader, entry, budget, place)?), line),
    };
    alone.then_some(group)
}

fn members(reader: &mut Reader<'_>, entry: &Entry, budget: &mut Budget, place: Place) -> Option<Vec<Clause>> {
    let items = reader.list(&entry.value, &entry.key, POLICY_CONDITIONS_MAX)?;
    if items.is_empty() {
        reader.error(Code::BadGroup, entry.key_span, format!("`{}` holds no condition", entry.key)).help =
            Some("remove it, or say what must hold".into());
        return None;
    }
    if !budget.take(reader, entry.value.span, items.len()) {
        return None;
    }
    if entry.key == "any" && items.len() > 1 {
        warn_of_open_members(reader, items);
    }
    let members: Vec<_> = items.iter().filter_map(|item| member(reader, item, budget, place)).collect();
    (members.len() == items.len()).then_some(members)
}

fn negated(reader: &mut Reader<'_>, entry: &Entry, budget: &mut Budget, place: Place) -> Option<Clause> {
    if !matches!(entry.value.kind, Kind::Map(_)) {
        reader.wrong_type(&entry.value, "not", "one condition").help =
            Some("write `not: {path: ..., op: ..., value: ...}`, or `not: {any: [...]}` for several".into());
        return None;
    }
    if !budget.take(reader, entry.value.span, 1) {
        return None;
    }
    member(reader, &entry.value, budget, place)
}

fn member(reader: &mut Reader<'_>, node: &Node, budget: &mut Budget, place: Place) -> Option<Clause> {
    if state::is_on_state(node) {
        reader.error(Code::BadGroup, node.span, "a condition on a counter cannot stand in a group").help =
            Some("counters are charged all or none: give the condition its own entry of `conditions`".into());
        return None;
    }
    clause(reader, node, budget, place)
}

/// An array path says that something holds of every element; its negation could be read as "of none" or "not of all".
pub(super) fn check_path(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    condition: &Condition,
    place: Place,
) -> Option<()> {
    if !(place.negated && condition.is_array_path()) {
        return Some(());
    }
    let span = fields.get("path").map_or(fields.span, |node| node.span);
    reader.error(Code::BadGroup, span, "an array path cannot stand under `not`").help =
        Some("say what holds of every element: neq, not_in, not_contains, not_regex, exists: false".into());
    None
}

/// One member that holds is enough for an `any`, and an absent argument with `if_present` holds.
fn warn_of_open_members(reader: &mut Reader<'_>, items: &[Node]) {
    for span in items.iter().filter_map(passes_when_absent) {
        let message = "a call without this argument passes the whole `any`, whatever its other members say";
        reader.warning(Code::OpenAny, span, message).help = Some(
            "an absent argument makes the whole `any` hold; leave if_present out, or put the conditions into rules of their own"
                .into(),
        );
    }
}

/// The `if_present: true` by which a member passes when its arguments are absent. An `any` inside says so for itself.
fn passes_when_absent(node: &Node) -> Option<Span> {
    let Kind::Map(entries) = &node.kind else { return None };
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key);
    if entry("any").is_some() {
        return None;
    }
    match (entry("all"), entry("not")) {
        (Some(all), _) => {
            let Kind::List(members) = &all.value.kind else { return None };
            let spans: Option<Vec<Span>> = members.iter().map(passes_when_absent).collect();
            spans?.first().copied()
        }
        // The negation of an absent path passes too; that of a group that holds does not.
        (None, Some(not)) => match &not.value.kind {
            Kind::Map(inner) if inner.iter().any(|entry| entry.key == "all") => None,
            _ => passes_when_absent(&not.value),
        },
        (None, None) => {
            let entry = entry("if_present")?;
            let wanted = scalar(&entry.value).map(meaning);
            matches!(wanted, Some(Meaning::Bool(true))).then_some(entry.key_span)
        }
    }
}
