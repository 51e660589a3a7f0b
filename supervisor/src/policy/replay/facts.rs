//! Whether a condition holds, as far as types, lengths and keyed hashes can tell.

use super::Hash;
use super::possible::{Possible, of_clause};
use super::shape::{Found, Leaf, Shape};
use crate::policy::condition::{Clause, Condition, Literal, Number, Test};
use crate::policy::holds::Outcome;

/// An answer, or why there is none.
#[derive(Debug)]
pub(super) enum Fact<N> {
    Yes,
    No(N),
    Unknown(String),
}

/// What the log knows of one call's arguments.
pub(super) struct Facts<'c> {
    pub(super) arguments: &'c Shape,
    pub(super) hash: Option<Hash<'c>>,
}

impl Facts<'_> {
    /// Whether the clause lets the call pass.
    pub(super) fn passes(&self, clause: &Clause) -> Fact<()> {
        let mut open = None;
        let possible = of_clause(clause, &mut |condition| {
            let possible = self.test(condition);
            if possible.is_open() && open.is_none() {
                open = Some(condition.path.clone());
            }
            possible
        });
        match possible.passes() {
            Some(true) => Fact::Yes,
            Some(false) => Fact::No(()),
            None => Fact::Unknown(format!("reads {}, whose value is not in the log", open.unwrap_or_default())),
        }
    }

    fn test(&self, condition: &Condition) -> Possible {
        match self.arguments.find(&condition.steps) {
            Found::Absent => Possible::only(condition.check(None)),
            // The rest of the path and the value decide, as they do where the policy judges the call.
            Found::Known(value, rest) => Possible::only(condition.check_below(&value, rest)),
            Found::NoMember(instead, rest) => {
                Possible::only(condition.check(None)).or(Possible::only(condition.check_below(&instead, rest)))
            }
            Found::Leaf(leaf) => self.of_leaf(&condition.test, leaf),
            Found::Container => of_container(&condition.test),
            Found::Unknown => Possible::anything(),
        }
    }

    /// A test of a string or number whose length is known.
    fn of_leaf(&self, test: &Test, leaf: &Leaf) -> Possible {
        if !matches!(leaf.kind.as_str(), "string" | "number") {
            return Possible::any_value(); // not what a record says of any JSON value
        }
        let is_text = leaf.kind == "string";
        let unjudged = Possible::only(Outcome::Unjudged);
        match test {
            Test::Exists(wanted) => Possible::judged(Some(*wanted)),
            Test::Eq(literal) => self.is_one_of(std::slice::from_ref(literal), leaf),
            Test::Neq(literal) => self.is_one_of(std::slice::from_ref(literal), leaf).not(),
            Test::In(literals) => self.is_one_of(literals, leaf),
            Test::NotIn(literals) => self.is_one_of(literals, leaf).not(),
            Test::Lt(_) | Test::Lte(_) | Test::Gt(_) | Test::Gte(_) if is_text => unjudged,
            Test::Lt(_) | Test::Lte(_) | Test::Gt(_) | Test::Gte(_) => Possible::judged(None),
            // What is left judges strings, and arrays.
            _ if !is_text => unjudged,
            Test::Regex(..) | Test::NotRegex(..) => Possible::judged(None),
            Test::Contains(Literal::String(part)) => Possible::judged(holds_part(part, leaf)),
            Test::NotContains(Literal::String(part)) => Possible::judged(holds_part(part, leaf)).not(),
            Test::Contains(_) | Test::NotContains(_) => unjudged,
            Test::StartsWith(prefix) => Possible::judged(holds_part(prefix, leaf)),
            // A character has one to four bytes.
            Test::LengthLte(max) if leaf.bytes <= *max => Possible::judged(Some(true)),
            Test::LengthLte(max) if leaf.bytes.div_ceil(4) > *max => Possible::judged(Some(false)),
            Test::LengthLte(_) => Possible::judged(None),
            Test::UnderPath(_) | Test::HostIn(_) => Possible::any_value(),
        }
    }

    /// `eq` and `in`: judged where the list holds something of the value's type, or nothing but null.
    fn is_one_of(&self, literals: &[Literal], leaf: &Leaf) -> Possible {
        let mut typed = literals.iter().filter(|literal| !matches!(literal, Literal::Null)).peekable();
        if typed.peek().is_some() && !typed.any(|literal| kind_of(literal) == leaf.kind) {
            return Possible::only(Outcome::Unjudged);
        }
        Possible::judged(any(literals.iter().map(|literal| self.equals(literal, leaf))))
    }

    fn equals(&self, literal: &Literal, leaf: &Leaf) -> Option<bool> {
        if kind_of(literal) != leaf.kind {
            return Some(false);
        }
        match literal {
            Literal::String(text) if text.len() as u64 != leaf.bytes => Some(false),
            Literal::String(text) => Some(self.hash?("string", text) == leaf.hmac),
            Literal::Number(number) => self.equals_number(number, leaf),
            Literal::Null | Literal::Bool(_) | Literal::List(_) => None,
        }
    }

    /// A number can be written in several ways, and only the text was hashed: a match proves that the two are equal, a
    /// mismatch that they differ only where so few bytes leave no other way to write the number.
    fn equals_number(&self, number: &Number, leaf: &Leaf) -> Option<bool> {
        let text = number.text().trim_start_matches('+');
        let only_way = is_shortest(text);
        if only_way && leaf.bytes < text.len() as u64 {
            return Some(false);
        }
        let matches = self.hash?("number", text) == leaf.hmac;
        match (matches, only_way && leaf.bytes == text.len() as u64) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// Whether no JSON number of the same value is as short, and none of its length is written otherwise: an integer in plain
/// digits that does not end in `00` (`100` and `1e2` have one length).
fn is_shortest(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" && text == "0" || !digits.starts_with('0')) && !digits.ends_with("00")
}

/// None where the string is long enough to hold the part.
const fn holds_part(part: &str, leaf: &Leaf) -> Option<bool> {
    if leaf.bytes < part.len() as u64 { Some(false) } else { None }
}

/// A test of an array or object that is not empty; which of the two is not known.
fn of_container(test: &Test) -> Possible {
    match test {
        Test::Exists(wanted) => Possible::judged(Some(*wanted)),
        Test::Eq(literal) => container_is_one_of(std::slice::from_ref(literal)),
        Test::Neq(literal) => container_is_one_of(std::slice::from_ref(literal)).not(),
        Test::In(literals) => container_is_one_of(literals),
        Test::NotIn(literals) => container_is_one_of(literals).not(),
        Test::Lt(_) | Test::Lte(_) | Test::Gt(_) | Test::Gte(_) => Possible::only(Outcome::Unjudged),
        Test::Regex(..) | Test::NotRegex(..) | Test::StartsWith(_) | Test::UnderPath(_) | Test::HostIn(_) => {
            Possible::only(Outcome::Unjudged)
        }
        Test::Contains(_) | Test::NotContains(_) | Test::LengthLte(_) => Possible::any_value(),
    }
}

fn container_is_one_of(literals: &[Literal]) -> Possible {
    if literals.iter().any(|literal| matches!(literal, Literal::List(_))) {
        Possible::any_value()
    } else if literals.iter().all(|literal| matches!(literal, Literal::Null)) {
        Possible::judged(Some(false))
    } else {
        Possible::only(Outcome::Unjudged)
    }
}

/// Kleene's or.
fn any(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut open = false;
    for answer in answers {
        match answer {
            Some(true) => return Some(true),
            Some(false) => {}
            None => open = true,
        }
    }
    (!open).then_some(false)
}

/// The JSON type as records name it.
const fn kind_of(literal: &Literal) -> &'static str {
    match literal {
        Literal::Null => "null",
        Literal::Bool(_) => "boolean",
        Literal::Number(_) => "number",
        Literal::String(_) => "string",
        Literal::List(_) => "array",
    }
}
