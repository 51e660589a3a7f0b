//! Arguments as leaves, so that what a server wrote down and what the audit log hashed can be laid side by side.

use serde_json::Value;

/// One leaf of a call's arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf {
    /// JSON pointer (RFC 6901).
    pub(super) path: String,
    /// JSON type.
    pub(super) kind: String,
    /// A string itself, a number as the server's language prints it; empty for an empty container.
    pub(super) text: String,
}

/// The leaves of arguments that a server wrote down: strings of the form `type:text`. Empty containers are leaves too.
///
/// # Panics
/// When a leaf has another form: the server of the tests is wrong then.
pub(super) fn of(arguments: &Value) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    gather(arguments, "", &mut leaves);
    leaves
}

fn gather(value: &Value, path: &str, leaves: &mut Vec<Leaf>) {
    let mut leaf = |kind: &str, text: &str| {
        leaves.push(Leaf { path: path.to_owned(), kind: kind.to_owned(), text: text.to_owned() });
    };
    match value {
        Value::Object(members) if members.is_empty() => leaf("object", ""),
        Value::Array(items) if items.is_empty() => leaf("array", ""),
        Value::Object(members) => {
            for (key, member) in members {
                gather(member, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), leaves);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                gather(item, &format!("{path}/{index}"), leaves);
            }
        }
        Value::String(text) => {
            let (kind, text) = text.split_once(':').unwrap_or_else(|| panic!("no leaf: {text:?}"));
            leaf(kind, if kind == "null" { "null" } else { text });
        }
        other => panic!("no leaf: {other}"),
    }
}

/// The first key of a leaf's path, as it is written in the path.
pub(super) fn top(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default()
}

/// Whether two decimals are the same number, exactly. What is no decimal (`Infinity`, `nan`) equals nothing.
pub(super) fn same_number(one: &str, other: &str) -> bool {
    decimal(one).is_some_and(|one| decimal(other) == Some(one))
}

/// Sign, digits without zeros at either end, and the power of ten behind them. Zero has no sign: not every language prints it.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let joined = format!("{whole}{fraction}");
    if joined.is_empty() || !joined.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = joined.trim_end_matches('0');
    let digits = significant.trim_start_matches('0').to_owned();
    let shift = i64::try_from(joined.len() - significant.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()? + shift;
    Some(if digits.is_empty() { (false, digits, 0) } else { (text.starts_with('-'), digits, exponent) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        for (one, other) in [("1e2", "100.0"), ("1E+2", "100"), ("-0.0", "0"), ("0.1", "1e-1"), ("9.5e+1", "95")] {
            assert!(same_number(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1e400", "Infinity"),
            ("1e400", "inf"),
            ("NaN", "NaN"),
            ("9007199254740993", "9007199254740992"),
            ("1", "-1"),
            ("", ""),
        ] {
            assert!(!same_number(one, other), "{one} {other}");
        }
    }

    #[test]
    fn leaves_have_the_paths_of_the_log() {
        let leaves = of(&serde_json::json!({"a/b~c": ["string:x:y", {}], "n": "number:1"}));
        let shown: Vec<_> = leaves.iter().map(|leaf| (&*leaf.path, &*leaf.kind, &*leaf.text)).collect();
        assert_eq!(shown, [("/a~1b~0c/0", "string", "x:y"), ("/a~1b~0c/1", "object", ""), ("/n", "number", "1")]);
    }
}
