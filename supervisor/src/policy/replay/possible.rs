//! What a condition may come to, where its value is not in the log: a set of outcomes. It is never smaller than the truth.

use crate::policy::condition::{Clause, Condition};
use crate::policy::holds::{self, Outcome};

/// Outcomes, one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Possible(Vec<Outcome>);

impl Possible {
    /// This one, for certain.
    pub(super) fn only(outcome: Outcome) -> Self {
        Self(vec![outcome])
    }

    /// Nothing is known of the path: `if_present` may make it pass.
    pub(super) fn anything() -> Self {
        Self(vec![Outcome::Holds, Outcome::Absent, Outcome::Fails, Outcome::Unjudged])
    }

    /// A value is there; whether the operator can judge it is open too.
    pub(super) fn any_value() -> Self {
        Self(vec![Outcome::Holds, Outcome::Fails, Outcome::Unjudged])
    }

    /// A value is there that the operator judges: none where it is open how.
    pub(super) fn judged(holds: Option<bool>) -> Self {
        holds.map_or_else(|| Self(vec![Outcome::Holds, Outcome::Fails]), |holds| Self::only(Some(holds).into()))
    }

    pub(super) fn or(self, other: Self) -> Self {
        other.0.into_iter().fold(self, Self::with)
    }

    pub(super) fn not(self) -> Self {
        Self(self.0.into_iter().map(Outcome::not).collect())
    }

    /// Whether the call passes; none where that is open.
    pub(super) fn passes(&self) -> Option<bool> {
        let passes = |outcome: &Outcome| matches!(outcome, Outcome::Holds | Outcome::Absent);
        match (self.0.iter().any(passes), self.0.iter().all(passes)) {
            (_, true) => Some(true),
            (false, _) => Some(false),
            (true, false) => None,
        }
    }

    /// Whether more than one outcome is left.
    pub(super) fn is_open(&self) -> bool {
        self.0.len() > 1
    }

    fn with(mut self, outcome: Outcome) -> Self {
        if !self.0.contains(&outcome) {
            self.0.push(outcome);
        }
        self
    }

    /// Every pair of what the two may come to, joined.
    fn joined(&self, other: &Self, join: fn([Outcome; 2]) -> Outcome) -> Self {
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(|other| join([*one, *other])));
        pairs.fold(Self(Vec::new()), Self::with)
    }
}

/// What a clause may come to, from what its tests may. Two tests of one value are taken as if they had nothing to do with
/// each other: then more is open, and nothing wrong.
pub(super) fn of_clause(clause: &Clause, of_test: &mut impl FnMut(&Condition) -> Possible) -> Possible {
    match clause {
        Clause::Test(condition) => of_test(condition),
        Clause::Not(clause, _) => of_clause(clause, of_test).not(),
        Clause::Any(clauses, _) => clauses.iter().fold(Possible::only(Outcome::Fails), |so_far, clause| {
            so_far.joined(&of_clause(clause, of_test), holds::any)
        }),
        Clause::All(clauses, _) => {
            let members = clauses.iter().fold(Possible::only(Outcome::Absent), |so_far, clause| {
                so_far.joined(&of_clause(clause, of_test), holds::all)
            });
            members.0.into_iter().map(holds::in_group).fold(Possible(Vec::new()), Possible::with)
        }
    }
}
