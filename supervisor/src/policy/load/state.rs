//! `state:` of a rule, and the conditions on its counters.

use super::read::Reader;
use crate::policy::model::StateCondition;
use crate::policy::yaml::{Kind, Node};

/// Whether an entry of `conditions:` reads a counter instead of an argument.
pub(super) fn is_on_state(node: &Node) -> bool {
    let Kind::Map(entries) = &node.kind else { return false };
    entries.iter().any(|entry| entry.key == "path" && names_state(&entry.value))
}

fn names_state(path: &Node) -> bool {
    match &path.kind {
        Kind::Scalar(scalar) => scalar.text == "state" || scalar.text.starts_with("state."),
        Kind::List(_) | Kind::Map(_) => false,
    }
}

/// Reads the entries on counters; the others are read by conditions.rs.
pub(super) fn conditions(reader: &mut Reader<'_>, node: &Node) -> Vec<StateCondition> {
    let Kind::List(items) = &node.kind else { return Vec::new() };
    for item in items {
        let Kind::Map(entries) = &item.kind else { continue };
        for path in entries.iter().filter(|entry| entry.key == "path" && names_state(&entry.value)) {
            reader.not_enforced(&path.value, "a `state.` path");
        }
    }
    Vec::new()
}
