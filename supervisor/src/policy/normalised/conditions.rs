//! The entries of `conditions:` that read arguments.

use super::{Writer, list, text};
use crate::policy::condition::{Clause, Condition, Literal, Test};

/// One line an entry, below `conditions:`.
pub(super) fn write(out: &mut Writer, clauses: &[Clause]) {
    for entry in clauses {
        out.line(5, &format!("- {}", clause(entry)));
    }
}

fn clause(entry: &Clause) -> String {
    match entry {
        Clause::Test(test) => condition(test),
        Clause::Any(clauses, _) => format!("{{any: {}}}", list(clauses.iter().map(clause))),
        Clause::All(clauses, _) => format!("{{all: {}}}", list(clauses.iter().map(clause))),
        Clause::Not(inner, _) => format!("{{not: {}}}", clause(inner)),
    }
}

fn condition(condition: &Condition) -> String {
    let value = match &condition.test {
        Test::Eq(value) | Test::Neq(value) | Test::Contains(value) | Test::NotContains(value) => literal(value),
        Test::In(values) | Test::NotIn(values) => list(values.iter().map(literal)),
        Test::Lt(number) | Test::Lte(number) | Test::Gt(number) | Test::Gte(number) => number.text().to_owned(),
        Test::Regex(_, pattern) | Test::NotRegex(_, pattern) => text(pattern),
        Test::StartsWith(prefix) => text(prefix),
        Test::Exists(wanted) => wanted.to_string(),
        Test::UnderPath(folder) => text(folder),
        Test::LengthLte(max) => max.to_string(),
        Test::HostIn(hosts) => list(hosts.iter().map(|host| text(&host.to_string()))),
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

#[cfg(test)]
mod tests {
    use crate::policy::testing::loaded;

    #[test]
    fn groups_array_paths_and_every_operator_load_to_the_same() {
        let text = r#"
tools:
  t:
    rules:
      - conditions:
          - {path: 'args.items[*].price', op: lte, value: 1e2, if_present: true}
          - any:
              - {path: args.a, op: starts_with, value: "https://"}
              - all: [{path: args.a, op: not_regex, value: 'x{2}'}, {path: 'args.m[*][*]', op: not_contains, value: "null"}]
              - not: {path: args.b, op: host_in, value: [api.example.com, '*.example.org', 192.0.2.1]}
"#;
        let first = loaded(text).normalised();
        assert_eq!(loaded(&first).normalised(), first);
        for part in [
            r#"- {path: "args.items[*].price", op: lte, value: 1e2, if_present: true}"#,
            r#"- {any: [{path: args.a, op: starts_with, value: "https://"}, {all: [{path: args.a, op: not_regex, value: "x{2}"}, {path: "args.m[*][*]", op: not_contains, value: "null"}]}, {not: {path: args.b, op: host_in, value: [api.example.com, "*.example.org", "192.0.2.1"]}}]}"#,
        ] {
            assert!(first.contains(part), "{part} in\n{first}");
        }
    }
}
