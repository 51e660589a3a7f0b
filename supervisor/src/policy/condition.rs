//! Conditions on arguments.

use regex::Regex;

use super::host_name::HostPattern;

/// One entry of `conditions:`: a test, or a group of them.
#[derive(Clone, Debug)]
pub enum Clause {
    /// `{path, op, value}`.
    Test(Condition),
    /// `any: [...]`: one holds.
    Any(Vec<Clause>, u32),
    /// `all: [...]`: every one holds.
    All(Vec<Clause>, u32),
    /// `not: {...}`: it can be judged and does not hold.
    Not(Box<Clause>, u32),
}

impl Clause {
    /// Every test in it, in file order. Collects them: for the loader and for people, not for the way of a call.
    pub fn tests(&self) -> impl Iterator<Item = &Condition> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found.into_iter()
    }

    fn collect<'c>(&'c self, found: &mut Vec<&'c Condition>) {
        match self {
            Self::Test(condition) => found.push(condition),
            Self::Any(clauses, _) | Self::All(clauses, _) => clauses.iter().for_each(|clause| clause.collect(found)),
            Self::Not(clause, _) => clause.collect(found),
        }
    }

    /// Line of the entry, from 1.
    #[must_use]
    pub const fn line(&self) -> u32 {
        match self {
            Self::Test(condition) => condition.line,
            Self::Any(_, line) | Self::All(_, line) | Self::Not(_, line) => *line,
        }
    }
}

/// One step of a path below `args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The member of an object with this key.
    Key(String),
    /// `[*]`: every element of an array; what follows must hold for each.
    EachItem,
}

/// One test of the arguments, compiled.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The path as written, `args.a.b` or `args.items[*].price`.
    pub path: String,
    /// Line of the condition, from 1.
    pub line: u32,
    /// The path below `args`; it begins with a key.
    pub steps: Vec<Step>,
    /// An absent path passes; one that ends at a value of the wrong type does not.
    pub if_present: bool,
    /// What must hold of the value.
    pub test: Test,
}

impl Condition {
    /// Whether the path stands for every element of an array somewhere.
    #[must_use]
    pub fn is_array_path(&self) -> bool {
        self.steps.contains(&Step::EachItem)
    }
}

/// An operator with its checked value. Each judges values of some types; of a value of another type, and of an absent path,
/// it says nothing, which lets no call pass. `exists` alone judges everything.
#[derive(Clone, Debug)]
pub enum Test {
    /// `eq`: same type and same value; numbers by value.
    Eq(Literal),
    /// `neq`: same type and another value. A value of another type fails, unless the literal is null.
    Neq(Literal),
    /// `in`: equal to one of the list.
    In(Vec<Literal>),
    /// `not_in`: of a type that the list holds, and equal to none of it.
    NotIn(Vec<Literal>),
    /// `lt`, exact.
    Lt(Number),
    /// `lte`, exact.
    Lte(Number),
    /// `gt`, exact.
    Gt(Number),
    /// `gte`, exact.
    Gte(Number),
    /// `regex`: the pattern matches somewhere in the string. The pattern as written stands beside.
    Regex(Regex, String),
    /// `not_regex`: it matches nowhere in the string.
    NotRegex(Regex, String),
    /// `contains`: the string holds this string, or the array holds an element equal to it.
    Contains(Literal),
    /// `not_contains`: the string does not hold this string, or every element of the array is of its type and differs.
    NotContains(Literal),
    /// `starts_with`: the string begins with this one.
    StartsWith(String),
    /// `exists`: something other than null is there (true), or nothing or null is (false).
    Exists(bool),
    /// `under_path`: an absolute path that stays in this folder, itself absolute and normalised.
    UnderPath(String),
    /// `length_lte`: Unicode scalar values of a string, elements of an array.
    LengthLte(u64),
    /// `host_in`: the host that a URL or bare name stands for is one of these.
    HostIn(Vec<HostPattern>),
}

impl Test {
    /// The operators that this build enforces.
    pub const OPERATORS: [&'static str; 17] = [
        "eq",
        "neq",
        "in",
        "not_in",
        "lt",
        "lte",
        "gt",
        "gte",
        "regex",
        "not_regex",
        "contains",
        "not_contains",
        "starts_with",
        "exists",
        "under_path",
        "length_lte",
        "host_in",
    ];

    /// The operator's name in the policy.
    #[must_use]
    pub const fn operator(&self) -> &'static str {
        match self {
            Self::Eq(_) => "eq",
            Self::Neq(_) => "neq",
            Self::In(_) => "in",
            Self::NotIn(_) => "not_in",
            Self::Lt(_) => "lt",
            Self::Lte(_) => "lte",
            Self::Gt(_) => "gt",
            Self::Gte(_) => "gte",
            Self::Regex(..) => "regex",
            Self::NotRegex(..) => "not_regex",
            Self::Contains(_) => "contains",
            Self::NotContains(_) => "not_contains",
            Self::StartsWith(_) => "starts_with",
            Self::Exists(_) => "exists",
            Self::UnderPath(_) => "under_path",
            Self::LengthLte(_) => "length_lte",
            Self::HostIn(_) => "host_in",
        }
    }
}

/// A value written in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exact.
    Number(Number),
    /// A string.
    String(String),
    /// A list of values.
    List(Vec<Literal>),
}

/// A number written in the policy, kept as text that `Decimal` reads.
#[derive(Clone, Debug)]
pub struct Number(String);

impl Number {
    /// Keeps `text` if it is a decimal number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        super::Decimal::parse(text).map(|_| Self(text.to_owned()))
    }

    /// The number as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The number to compare.
    #[must_use]
    pub fn decimal(&self) -> super::Decimal<'_> {
        super::Decimal::parse(&self.0).expect("the text was parsed when the number was made")
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.decimal() == other.decimal()
    }
}

impl Eq for Number {}
