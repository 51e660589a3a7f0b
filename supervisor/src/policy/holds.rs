//! Whether a condition holds of a call's arguments. Typed, exact, closed: what an operator cannot judge, fails.

use super::condition::{Clause, Condition, Literal, Step, Test};
use super::decimal::Decimal;
use crate::wire::json::Value;

/// What became of one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It holds.
    Holds,
    /// `if_present`, and the path is absent: passes.
    Absent,
    /// It does not hold.
    Fails,
}

impl Clause {
    /// Judges the arguments; an absent `arguments` reads as an empty object.
    pub fn check(&self, arguments: Option<&Value<'_>>) -> Outcome {
        match self {
            Self::Test(condition) => condition.check(arguments),
            Self::Any(..) | Self::All(..) | Self::Not(..) => Outcome::Fails, // no loader makes one yet
        }
    }
}

impl Condition {
    /// The value that the path names; an absent `arguments` reads as an empty object.
    #[must_use]
    pub fn find<'a>(&self, arguments: Option<&'a Value<'a>>) -> Option<&'a Value<'a>> {
        self.walk(arguments)
    }

    fn walk<'v, 'a>(&self, arguments: Option<&'v Value<'a>>) -> Option<&'v Value<'a>> {
        self.steps.iter().try_fold(arguments?, |value, step| match step {
            Step::Key(key) => value.member(key),
            Step::EachItem => None,
        })
    }

    /// Judges the arguments.
    pub fn check(&self, arguments: Option<&Value<'_>>) -> Outcome {
        let found = self.walk(arguments);
        let holds = match (&self.test, found) {
            (Test::Exists(wanted), found) => found.is_some() == *wanted,
            (_, None) if self.if_present => return Outcome::Absent,
            (_, None) => false,
            (test, Some(value)) => test.holds(value),
        };
        if holds || !crate::weaken::in_force("policy-conditions") { Outcome::Holds } else { Outcome::Fails }
    }
}

impl Test {
    fn holds(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Eq(literal) => literal.equals(value),
            Self::Neq(literal) => differs_from_all(std::slice::from_ref(literal), value),
            Self::In(literals) => literals.iter().any(|literal| literal.equals(value)),
            Self::NotIn(literals) => differs_from_all(literals, value),
            Self::Lt(number) => decimal(value).is_some_and(|value| value < number.decimal()),
            Self::Lte(number) => decimal(value).is_some_and(|value| value <= number.decimal()),
            Self::Gt(number) => decimal(value).is_some_and(|value| value > number.decimal()),
            Self::Gte(number) => decimal(value).is_some_and(|value| value >= number.decimal()),
            Self::Regex(regex, _) => value.as_str().is_some_and(|text| regex.is_match(text)),
            Self::Contains(literal) => contains(literal, value),
            Self::Exists(wanted) => *wanted,
            Self::UnderPath(folder) => value.as_str().is_some_and(|path| is_under(folder, path)),
            Self::LengthLte(max) => length(value).is_some_and(|length| length <= *max),
        }
    }
}

impl Literal {
    /// Same type and same value.
    pub(super) fn equals(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(wanted), Value::Bool(found)) => wanted == found,
            (Self::Number(wanted), Value::Number(_)) => decimal(value) == Some(wanted.decimal()),
            (Self::String(wanted), Value::String(found)) => wanted == found,
            (Self::List(wanted), Value::Array(found)) => {
                wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| wanted.equals(found))
            }
            _ => false,
        }
    }

    fn same_type(&self, value: &Value<'_>) -> bool {
        matches!(
            (self, value),
            (Self::Null, Value::Null)
                | (Self::Bool(_), Value::Bool(_))
                | (Self::Number(_), Value::Number(_))
                | (Self::String(_), Value::String(_))
                | (Self::List(_), Value::Array(_))
        )
    }
}

/// `neq` and `not_in`: equal to none, and of a type that the list speaks of. Without the second half `["admin"]` would
/// pass where `"admin"` is barred. A list of nothing but null bars null alone.
fn differs_from_all(literals: &[Literal], value: &Value<'_>) -> bool {
    let barred = literals.iter().any(|literal| literal.equals(value));
    let mut typed = literals.iter().filter(|literal| !matches!(literal, Literal::Null)).peekable();
    !barred && (typed.peek().is_none() || typed.any(|literal| literal.same_type(value)))
}

fn decimal<'v>(value: &'v Value<'_>) -> Option<Decimal<'v>> {
    match value {
        Value::Number(number) => Decimal::parse(number.text()),
        _ => None,
    }
}

fn contains(literal: &Literal, value: &Value<'_>) -> bool {
    match (literal, value) {
        (Literal::String(part), Value::String(text)) => text.contains(part.as_str()),
        (literal, Value::Array(items)) => items.iter().any(|item| literal.equals(item)),
        _ => false,
    }
}

/// Lexical: absolute, no `..` anywhere, no NUL; `.` and empty components say nothing. The folder itself counts.
/// Symbolic links are the sandbox's business: it shows the server no file outside its view.
fn is_under(folder: &str, path: &str) -> bool {
    if !path.starts_with('/') || path.contains('\0') {
        return false;
    }
    if path.split('/').any(|part| part == "..") && crate::weaken::in_force("policy-path-escape") {
        return false;
    }
    let parts = |path| str::split(path, '/').filter(|part: &&str| !matches!(*part, "" | "."));
    let mut found = parts(path);
    parts(folder).all(|wanted| found.next() == Some(wanted))
}

fn length(value: &Value<'_>) -> Option<u64> {
    let length = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        _ => return None,
    };
    u64::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{judge_condition as check, value};

    /// op, policy value, arguments that hold, arguments that fail. Absent and wrong types are among the failing ones.
    const CASES: &[(&str, &str, &[&str], &[&str])] = &[
        ("eq", "5", &["5", "5.0", "5e0", "50e-1"], &["5.1", "\"5\"", "[5]", "null", "true", "{}"]),
        ("eq", "\"a\"", &["\"a\"", "\"\\u0061\""], &["\"A\"", "\"ab\"", "[\"a\"]", "1", "null"]),
        ("eq", "true", &["true"], &["false", "\"true\"", "1", "null"]),
        ("eq", "null", &["null"], &["0", "\"\"", "false"]),
        ("eq", "[a, 1]", &["[\"a\", 1]", "[\"a\", 1.0]"], &["[1, \"a\"]", "[\"a\"]", "[\"a\", 1, 1]", "\"a\""]),
        ("neq", "\"admin\"", &["\"user\"", "\"\""], &["\"admin\"", "[\"admin\"]", "null", "1", "{}"]),
        ("neq", "5", &["6", "5.1"], &["5", "5.0", "\"6\"", "[6]", "null"]),
        ("neq", "null", &["0", "\"x\"", "[]"], &["null"]),
        ("in", "[a, 2]", &["\"a\"", "2", "2.0"], &["\"b\"", "\"2\"", "[\"a\"]", "null"]),
        ("not_in", "[BTC, ETH]", &["\"USD\""], &["\"BTC\"", "[\"BTC\"]", "1", "null"]),
        ("not_in", "[null, 1]", &["2"], &["1", "null", "\"a\""]),
        ("lt", "10", &["9.999", "-1"], &["10", "10.0", "11", "\"9\"", "[9]", "null", "true"]),
        ("lte", "100", &["100", "100.0", "1e2"], &["100.99", "100.0000000001", "\"100\"", "null"]),
        ("lt", "9007199254740991.5", &["9007199254740991"], &["\"9007199254740991\""]),
        ("gt", "0", &["0.0001"], &["0", "-1", "\"1\"", "null"]),
        ("gte", "128", &["128", "2048"], &["127.99", "-128", "\"128\"", "[128]", "null"]),
        ("regex", "\"^a+$\"", &["\"aa\""], &["\"ab\"", "\"\"", "[\"aa\"]", "1", "null", "\"a\\na\""]),
        ("contains", "b", &["\"abc\"", "[\"a\", \"b\"]"], &["\"ac\"", "[\"bb\"]", "{\"b\": 1}", "null", "1"]),
        ("contains", "2", &["[1, 2.0]"], &["\"12\"", "2", "[\"2\"]", "null"]),
        ("exists", "true", &["1", "null", "{}"], &[]),
        ("exists", "false", &[], &["1", "null"]),
        (
            "under_path",
            "/images",
            &["\"/images/a.png\"", "\"/images\"", "\"/images/./x//y\"", "\"//images/a\"", "\"/images/..a\""],
            &[
                "\"/images/../etc/passwd\"",
                "\"images/a.png\"",
                "\"/imagesx/a\"",
                "\"/\"",
                "\"\"",
                "\"/images/a/..\"",
                "\"/images/a\\u0000.png\"",
                "\"/Images/a\"",
                "[\"/images/a\"]",
                "null",
                "1",
                "\"~/images\"",
            ],
        ),
        (
            "length_lte",
            "3",
            &["\"abc\"", "\"äöü\"", "\"\"", "[1, 2, 3]"],
            &["\"abcd\"", "[1, 2, 3, 4]", "3", "null", "{}"],
        ),
    ];

    #[test]
    fn every_operator_holds_fails_and_is_typed() {
        for (op, operand, good, bad) in CASES {
            for argument in *good {
                assert_eq!(
                    check(op, operand, false, &format!("{{\"x\": {argument}}}")),
                    Outcome::Holds,
                    "{op} {operand}: {argument}"
                );
            }
            for argument in *bad {
                assert_eq!(
                    check(op, operand, false, &format!("{{\"x\": {argument}}}")),
                    Outcome::Fails,
                    "{op} {operand}: {argument}"
                );
            }
        }
        for op in Test::OPERATORS {
            assert!(CASES.iter().any(|(tested, ..)| *tested == op), "{op} has no case");
        }
    }

    #[test]
    fn an_absent_path_fails_every_operator_but_exists() {
        for (op, operand, ..) in CASES {
            for arguments in ["{}", "{\"y\": 1}", "{\"X\": 5}"] {
                let expected = match (*op, *operand) {
                    ("exists", "false") => Outcome::Holds,
                    _ => Outcome::Fails,
                };
                assert_eq!(check(op, operand, false, arguments), expected, "{op} {arguments}");
                if *op != "exists" {
                    assert_eq!(check(op, operand, true, arguments), Outcome::Absent, "{op} {arguments}");
                }
            }
        }
    }

    #[test]
    fn if_present_judges_what_is_there_null_included() {
        assert_eq!(check("lte", "4", true, "{\"x\": 5}"), Outcome::Fails);
        assert_eq!(check("lte", "4", true, "{\"x\": null}"), Outcome::Fails);
        assert_eq!(check("lte", "4", true, "{\"x\": 4}"), Outcome::Holds);
    }

    #[test]
    fn paths_go_through_objects_only() {
        let condition = Condition {
            path: "args.a.b".into(),
            line: 1,
            steps: vec![Step::Key("a".into()), Step::Key("b".into())],
            if_present: false,
            test: Test::Exists(true),
        };
        assert_eq!(condition.check(Some(&value("{\"a\": {\"b\": 0}}"))), Outcome::Holds);
        for arguments in ["{\"a\": [{\"b\": 0}]}", "{\"a\": \"b\"}", "{\"b\": 0}", "[]", "\"args\"", "{\"a.b\": 1}"] {
            assert_eq!(condition.check(Some(&value(arguments))), Outcome::Fails, "{arguments}");
        }
        assert_eq!(condition.check(None), Outcome::Fails);
    }
}
