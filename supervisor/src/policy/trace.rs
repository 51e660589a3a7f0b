//! A condition on arguments, judged again with everything told that it found.

use std::fmt::Write as _;

use super::condition::{Clause, Condition, Step};
use super::holds::{Outcome, all, any, in_group};
use super::wording;
use crate::wire::json::Value;

/// What one entry of `conditions:` found: a leaf for a test, a tree for a group.
#[derive(Clone, Debug)]
pub struct ConditionTrace {
    /// The test as a sentence; `any of`, `all of` or `not` for a group.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What a test looked at. None for groups.
    pub found: Option<FoundValue>,
    /// The members of a group, in file order; every one is judged, also after the one that decided.
    pub parts: Vec<ConditionTrace>,
}

/// What stands at the end of a test's path. For the person who asks, not for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundValue {
    /// Nothing is there, or something else stands where an object or array was expected.
    Nothing,
    /// The value, shortened.
    Value(String),
    /// An array path: the place of the element that decided, `args.items[2].price`, and the value there, if any.
    Element {
        /// Its path.
        at: String,
        /// Its value, shortened; none where the element lacks it.
        value: Option<String>,
    },
}

impl ConditionTrace {
    /// Judges `clause` as [`Clause::check`] does.
    pub(super) fn of(clause: &Clause, arguments: Option<&Value<'_>>) -> Self {
        let group = |what: &str, clauses: &[Clause], judge: fn(Vec<Outcome>) -> Outcome| {
            let parts: Vec<Self> = clauses.iter().map(|clause| Self::of(clause, arguments)).collect();
            let outcome = judge(parts.iter().map(|part| part.outcome).collect());
            Self { what: what.to_owned(), outcome, found: None, parts }
        };
        match clause {
            Clause::Test(condition) => Self {
                what: wording::sentence(clause),
                outcome: condition.check(arguments),
                found: Some(found(condition, arguments)),
                parts: Vec::new(),
            },
            Clause::Any(clauses, _) => group("any of", clauses, any),
            Clause::All(clauses, _) => group("all of", clauses, |outcomes| in_group(all(outcomes))),
            Clause::Not(inner, _) => {
                let part = Self::of(inner, arguments);
                Self { what: "not".to_owned(), outcome: part.outcome.not(), found: None, parts: vec![part] }
            }
        }
    }
}

fn found(condition: &Condition, arguments: Option<&Value<'_>>) -> FoundValue {
    let mut at = String::from("args");
    let value = arguments.and_then(|arguments| deciding(condition, arguments, &condition.steps, &mut at)).map(shown);
    match value {
        value if condition.is_array_path() && at.contains('[') => FoundValue::Element { at, value },
        Some(value) => FoundValue::Value(value),
        None => FoundValue::Nothing,
    }
}

/// The value at the end of the path; of an array, in the first element that has the outcome of the whole.
fn deciding<'v, 'a>(
    condition: &Condition,
    value: &'v Value<'a>,
    steps: &[Step],
    at: &mut String,
) -> Option<&'v Value<'a>> {
    match (steps.split_first(), value) {
        (None, value) => Some(value),
        (Some((Step::Key(key), rest)), value) => {
            let _ = write!(at, ".{key}"); // writing to a String cannot fail
            deciding(condition, value.member(key)?, rest, at)
        }
        (Some((Step::EachItem, rest)), Value::Array(items)) => {
            let outcome = condition.check_below(value, steps);
            let same = |item: &Value<'_>| condition.check_below(item, rest) == outcome;
            let index = items.iter().position(same).unwrap_or(0);
            let item = items.get(index)?;
            let _ = write!(at, "[{index}]"); // writing to a String cannot fail
            deciding(condition, item, rest, at)
        }
        (Some((Step::EachItem, _)), _) => None,
    }
}

/// A value in one short line.
pub(super) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.text().chars().take(64).collect(),
        Value::String(text) => wording::quoted(text),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => format!("an object of {}", members.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{loaded, value};

    fn trace(conditions: &str, arguments: &str) -> ConditionTrace {
        let policy = loaded(&format!("tools:\n  t:\n    rules:\n      - conditions:\n          - {conditions}\n"));
        ConditionTrace::of(&policy.tools["t"].rules[0].conditions[0], Some(&value(arguments)))
    }

    #[test]
    fn a_group_is_told_as_a_tree_with_the_outcome_of_every_member() {
        let told = trace(
            "{any: [{path: args.a, op: eq, value: 1}, {not: {path: args.b, op: starts_with, value: /}}, {all: [{path: args.c, op: lt, value: 5, if_present: true}, {path: args.d, op: exists}]}]}",
            r#"{"a": 2, "b": ["/"]}"#,
        );
        assert_eq!((told.what.as_str(), told.outcome, told.parts.len()), ("any of", Outcome::Unjudged, 3));
        let [a, b, both] = told.parts.as_slice() else { panic!("{told:?}") };
        assert_eq!((a.outcome, &a.found), (Outcome::Fails, &Some(FoundValue::Value("2".into()))));
        assert_eq!((b.what.as_str(), b.outcome, b.parts[0].outcome), ("not", Outcome::Unjudged, Outcome::Unjudged));
        assert_eq!(b.parts[0].found, Some(FoundValue::Value("an array of 1".into())));
        assert_eq!((both.what.as_str(), both.outcome), ("all of", Outcome::Fails));
        assert_eq!((both.parts[0].outcome, &both.parts[0].found), (Outcome::Absent, &Some(FoundValue::Nothing)));
        assert_eq!(both.parts[1].what, "args.d must be given");
    }

    #[test]
    fn an_array_path_names_the_element_that_decided() {
        let told = |arguments: &str| {
            let told = trace(r#"{path: "args.items[*].price", op: lte, value: 5}"#, arguments);
            (told.outcome, told.found.expect("a test"))
        };
        let element =
            |at: &str, value: Option<&str>| FoundValue::Element { at: at.into(), value: value.map(str::to_owned) };
        assert_eq!(
            told(r#"{"items": [{"price": 5}, {"price": "6"}, {"price": 6}]}"#),
            (Outcome::Fails, element("args.items[2].price", Some("6")))
        );
        assert_eq!(
            told(r#"{"items": [{"price": 5}, {"prize": 4}]}"#),
            (Outcome::Unjudged, element("args.items[1].price", None))
        );
        assert_eq!(told(r#"{"items": [{"price": 5}]}"#), (Outcome::Holds, element("args.items[0].price", Some("5"))));
        assert_eq!(told(r#"{"items": []}"#), (Outcome::Unjudged, FoundValue::Nothing));
        assert_eq!(told(r#"{"items": {"price": 5}}"#), (Outcome::Unjudged, FoundValue::Nothing));
    }
}
