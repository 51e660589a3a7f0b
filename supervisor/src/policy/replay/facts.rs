//! Whether a condition holds, as far as types, lengths and keyed hashes can tell.

use std::borrow::Cow;

use super::Hash;
use super::shape::{Found, Leaf, Shape};
use crate::policy::condition::{Clause, Condition, Literal, Number, Step, Test};
use crate::policy::holds::Outcome;
use crate::wire::json::Value;

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
        // Where every path is absent or its value certain, the policy's own judgement is the answer.
        let mut known = Value::Object(Vec::new());
        let mut open = None;
        for test in clause.tests() {
            match self.arguments.find(&test.steps) {
                Found::Absent => {}
                Found::Known(value) => put(&mut known, &test.steps, value),
                Found::Leaf(_) | Found::Container | Found::Unknown => open = open.or(Some(test)),
            }
        }
        let Some(open) = open else {
            return match clause.check(Some(&known)) {
                Outcome::Holds | Outcome::Absent => Fact::Yes,
                _ => Fact::No(()),
            };
        };
        let told = match clause {
            Clause::Test(condition) => self.test(condition),
            Clause::Any(..) | Clause::All(..) | Clause::Not(..) => None,
        };
        match told {
            Some(true) => Fact::Yes,
            Some(false) => Fact::No(()),
            None => Fact::Unknown(format!("reads {}, whose value is not in the log", open.path)),
        }
    }

    fn test(&self, condition: &Condition) -> Option<bool> {
        match self.arguments.find(&condition.steps) {
            Found::Leaf(leaf) => self.of_leaf(&condition.test, leaf),
            Found::Container => of_container(&condition.test),
            Found::Absent | Found::Known(_) | Found::Unknown => None,
        }
    }

    /// A test of a scalar whose type and length are known. Operators that are not named here cannot be told.
    fn of_leaf(&self, test: &Test, leaf: &Leaf) -> Option<bool> {
        let is = |kind: &str| leaf.kind == kind;
        match test {
            Test::Exists(wanted) => Some(*wanted),
            Test::Lt(_) | Test::Lte(_) | Test::Gt(_) | Test::Gte(_) if !is("number") => Some(false),
            Test::Regex(..) | Test::UnderPath(_) if !is("string") => Some(false),
            Test::LengthLte(_) if !is("string") => Some(false),
            // A character has one to four bytes.
            Test::LengthLte(max) if leaf.bytes <= *max => Some(true),
            Test::LengthLte(max) if leaf.bytes.div_ceil(4) > *max => Some(false),
            Test::Contains(_) if !is("string") => Some(false),
            Test::Contains(Literal::String(part)) if leaf.bytes < part.len() as u64 => Some(false),
            Test::Eq(literal) => self.equals(literal, leaf),
            Test::In(literals) => any(literals.iter().map(|literal| self.equals(literal, leaf))),
            Test::Neq(literal) => self.differs(std::slice::from_ref(literal), leaf),
            Test::NotIn(literals) => self.differs(literals, leaf),
            _ => None,
        }
    }

    /// `neq` and `not_in`: of a type that the list holds, and equal to none of it.
    fn differs(&self, literals: &[Literal], leaf: &Leaf) -> Option<bool> {
        let mut typed = literals.iter().filter(|literal| !matches!(literal, Literal::Null)).peekable();
        if typed.peek().is_some() && !typed.any(|literal| kind_of(literal) == leaf.kind) {
            return Some(false);
        }
        any(literals.iter().map(|literal| self.equals(literal, leaf))).map(|equal| !equal)
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

fn of_container(test: &Test) -> Option<bool> {
    let lists = |literals: &[Literal]| literals.iter().any(|literal| matches!(literal, Literal::List(_)));
    let only_null = |literals: &[Literal]| literals.iter().all(|literal| matches!(literal, Literal::Null));
    match test {
        Test::Exists(wanted) => Some(*wanted),
        Test::Lt(_) | Test::Lte(_) | Test::Gt(_) | Test::Gte(_) | Test::Regex(..) | Test::UnderPath(_) => Some(false),
        Test::Eq(literal) if !lists(std::slice::from_ref(literal)) => Some(false),
        Test::In(literals) if !lists(literals) => Some(false),
        Test::Neq(literal) if !lists(std::slice::from_ref(literal)) => Some(only_null(std::slice::from_ref(literal))),
        Test::NotIn(literals) if !lists(literals) => Some(only_null(literals)),
        _ => None,
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

/// Puts a value where a path of keys leads.
fn put(object: &mut Value<'static>, steps: &[Step], value: Value<'static>) {
    let [Step::Key(key), rest @ ..] = steps else { return };
    let Value::Object(members) = object else { return };
    let at = members.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        members.push((Cow::Owned(key.clone()), Value::Object(Vec::new())));
        members.len() - 1
    });
    if rest.is_empty() {
        members[at].1 = value;
    } else {
        put(&mut members[at].1, rest, value);
    }
}
