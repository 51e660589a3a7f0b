//! Whether a condition holds of a call's arguments. Typed, exact, closed: what cannot be judged lets no call pass.

use super::condition::{Clause, Condition, Step, Test};
use crate::wire::json::Value;

/// What became of one condition, or of a group of them.
///
/// Three values and a half. A test says nothing of an absent path or of a value of a type that it does not know: then it
/// neither holds nor fails, and neither it nor its negation lets the call pass (Kleene's strong logic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It holds.
    Holds,
    /// `if_present`, and the path is absent: passes, holds in a group, and its negation is absent too.
    Absent,
    /// It does not hold.
    Fails,
    /// It cannot be judged: does not pass, and its negation does not either.
    Unjudged,
}

impl Outcome {
    /// Whether it lets the call pass.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Holds | Self::Absent) || !crate::weaken::in_force("policy-conditions")
    }

    const fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
            // What cannot be judged is not thereby harmless: `not: {op: starts_with, value: /etc}` and ["/etc/shadow"].
            Self::Unjudged if !crate::weaken::in_force("policy-unjudged") => Self::Holds,
            Self::Absent | Self::Unjudged => self,
        }
    }
}

impl From<Option<bool>> for Outcome {
    fn from(judged: Option<bool>) -> Self {
        judged.map_or(Self::Unjudged, Self::of)
    }
}

/// Holds when all do: one that fails decides, then one that cannot be judged. Absent when all are.
pub(super) fn all(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut so_far = Outcome::Absent;
    for outcome in outcomes {
        so_far = match (so_far, outcome) {
            (_, Outcome::Fails) => return Outcome::Fails,
            (Outcome::Unjudged, _) | (_, Outcome::Unjudged) => Outcome::Unjudged,
            (Outcome::Absent, Outcome::Absent) => Outcome::Absent,
            _ => Outcome::Holds,
        };
    }
    so_far
}

/// Holds when one does: after that, one that cannot be judged decides, since it might have.
pub(super) fn any(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut so_far = Outcome::Fails;
    for outcome in outcomes {
        match outcome {
            Outcome::Holds | Outcome::Absent => return Outcome::Holds,
            Outcome::Unjudged => so_far = Outcome::Unjudged,
            Outcome::Fails => {}
        }
    }
    so_far
}

impl Clause {
    /// Judges the arguments; absent `arguments` read as an empty object. Allocates nothing.
    pub fn check(&self, arguments: Option<&Value<'_>>) -> Outcome {
        match self {
            Self::Test(condition) => condition.check(arguments),
            Self::Any(clauses, _) => any(clauses.iter().map(|clause| clause.check(arguments))),
            Self::All(clauses, _) => in_group(all(clauses.iter().map(|clause| clause.check(arguments)))),
            Self::Not(clause, _) => clause.check(arguments).not(),
        }
    }
}

/// In a group, what is absent holds.
pub(super) const fn in_group(outcome: Outcome) -> Outcome {
    if matches!(outcome, Outcome::Absent) { Outcome::Holds } else { outcome }
}

impl Condition {
    /// Judges the arguments; absent `arguments` read as an empty object.
    pub fn check(&self, arguments: Option<&Value<'_>>) -> Outcome {
        arguments.map_or_else(|| self.absent(), |arguments| self.check_below(arguments, &self.steps))
    }

    /// Judges `value`, from which `steps` of the path are still to go.
    pub(super) fn check_below(&self, value: &Value<'_>, steps: &[Step]) -> Outcome {
        if let Test::Exists(wanted) = self.test {
            return if wanted { everywhere(value, steps) } else { anywhere(value, steps).not() };
        }
        match (steps.split_first(), value) {
            (None, value) => self.test.judge(value).into(),
            (Some((Step::Key(key), rest)), Value::Object(_)) => {
                value.member(key).map_or_else(|| self.absent(), |member| self.check_below(member, rest))
            }
            (Some((Step::EachItem, _)), Value::Array(items)) if items.is_empty() => self.absent(),
            (Some((Step::EachItem, rest)), Value::Array(items)) => {
                all(items.iter().map(|item| self.check_below(item, rest)))
            }
            // Something else stands where an object or an array was expected. That is no absence: a server that takes
            // "a" for ["a"] would find there what the policy did not.
            (Some(_), _) => Outcome::Unjudged,
        }
    }

    const fn absent(&self) -> Outcome {
        match self.test {
            Test::Exists(wanted) => Outcome::of(!wanted),
            _ if self.if_present => Outcome::Absent,
            _ => Outcome::Unjudged,
        }
    }
}

/// `exists: true`: the path leads to something other than null, in every element of its arrays and in one at least.
fn everywhere(value: &Value<'_>, steps: &[Step]) -> Outcome {
    match (steps.split_first(), value) {
        (None, value) => Outcome::of(!matches!(value, Value::Null)),
        (Some(_), Value::Null) => Outcome::Fails,
        (Some((Step::Key(key), rest)), Value::Object(_)) => {
            value.member(key).map_or(Outcome::Fails, |member| everywhere(member, rest))
        }
        (Some((Step::EachItem, _)), Value::Array(items)) if items.is_empty() => Outcome::Fails,
        (Some((Step::EachItem, rest)), Value::Array(items)) => all(items.iter().map(|item| everywhere(item, rest))),
        // As with every operator: a server that reads "{\"a\": 1}" as an object finds there what the policy did not.
        (Some(_), _) => Outcome::Unjudged,
    }
}

/// The opposite of `exists: false`: the path leads to something other than null in one element at least.
fn anywhere(value: &Value<'_>, steps: &[Step]) -> Outcome {
    match (steps.split_first(), value) {
        (Some((Step::EachItem, rest)), Value::Array(items)) => any(items.iter().map(|item| anywhere(item, rest))),
        (Some((Step::Key(key), rest)), Value::Object(_)) => {
            value.member(key).map_or(Outcome::Fails, |member| anywhere(member, rest))
        }
        _ => everywhere(value, steps),
    }
}

#[cfg(test)]
mod tests;
