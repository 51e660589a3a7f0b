//! The entries of `conditions:` that read arguments.

use super::{Writer, list, text};
use crate::policy::condition::{Clause, Condition, Literal, Test};

/// One line an entry, below `conditions:`.
pub(super) fn write(out: &mut Writer, clauses: &[Clause]) {
    for entry in clauses.iter().flat_map(Clause::tests) {
        out.line(5, &format!("- {}", condition(entry)));
    }
}

fn condition(condition: &Condition) -> String {
    let value = match &condition.test {
        Test::Eq(value) | Test::Neq(value) | Test::Contains(value) => literal(value),
        Test::In(values) | Test::NotIn(values) => list(values.iter().map(literal)),
        Test::Lt(number) | Test::Lte(number) | Test::Gt(number) | Test::Gte(number) => number.text().to_owned(),
        Test::Regex(_, pattern) => text(pattern),
        Test::Exists(wanted) => wanted.to_string(),
        Test::UnderPath(folder) => text(folder),
        Test::LengthLte(max) => max.to_string(),
    };
    let if_present = if condition.if_present { ", if_present: true" } else { "" };
    format!("{{path: {}, op: {}, value: {value}{if_present}}}", text(&condition.path), condition.test.operator())
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Null => "null".into(),
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => number.text().to_owned(),
        Literal::String(value) => text(value),
        Literal::List(items) => list(items.iter().map(literal)),
    }
}
