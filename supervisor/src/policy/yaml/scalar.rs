//! What an unquoted scalar means: the core schema of YAML 1.2.2 (10.3.2), with every spelling on which YAML 1.1 readers
//! disagree either refused or pointed out.

use super::Scalar;
use crate::policy::Decimal;

/// The reading of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Meaning {
    Null,
    Bool(bool),
    /// A decimal number; its exact text is the scalar's.
    Number,
    Text,
    /// `yes`, `off` and the like: text here, a boolean to YAML 1.1.
    BooleanLookingText,
    /// A number to some readers, another number or text to others; why.
    Ambiguous(&'static str),
}

/// Reads a scalar where any type may stand.
pub(in crate::policy) fn meaning(scalar: &Scalar) -> Meaning {
    if !scalar.plain {
        return Meaning::Text;
    }
    match scalar.text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" => Meaning::Bool(true),
        "false" | "False" | "FALSE" => Meaning::Bool(false),
        text if is_yaml11_boolean(text) => Meaning::BooleanLookingText,
        text => number(text),
    }
}

fn is_yaml11_boolean(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn number(text: &str) -> Meaning {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case(".inf") || text.eq_ignore_ascii_case(".nan") {
        return Meaning::Ambiguous("JSON has no such number");
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Meaning::Text;
    }
    let digits = unsigned.as_bytes();
    let grouped =
        |separator| digits[0].is_ascii_digit() && digits.iter().all(|&b| b.is_ascii_digit() || b == separator);
    match digits {
        [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', rest @ ..] if rest.iter().any(u8::is_ascii_hexdigit) => {
            Meaning::Ambiguous("write the number in decimal, or quote it")
        }
        [b'0', b'0'..=b'9', ..] if Decimal::parse(text).is_some() => {
            Meaning::Ambiguous("a leading zero makes it octal to some readers; write it without, or quote it")
        }
        _ if digits.contains(&b'_') && grouped(b'_') => {
            Meaning::Ambiguous("some readers drop the underscores; write the digits alone, or quote it")
        }
        _ if digits.contains(&b':') && grouped(b':') => Meaning::Ambiguous("YAML 1.1 reads it in base 60; quote it"),
        _ if Decimal::parse(text).is_some() => Meaning::Number,
        _ if looks_like_exponent(digits) => Meaning::Ambiguous("the exponent is out of range"),
        _ => Meaning::Text,
    }
}

fn looks_like_exponent(digits: &[u8]) -> bool {
    digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.iter().filter(|byte| byte.eq_ignore_ascii_case(&b'e')).count() == 1
        && digits.last().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Meaning {
        meaning(&Scalar { text: text.into(), plain: true })
    }

    #[test]
    fn the_core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text), Meaning::Null, "{text}");
        }
        assert_eq!(plain("true"), Meaning::Bool(true));
        assert_eq!(plain("FALSE"), Meaning::Bool(false));
        for text in ["0", "-12", "+3", "1.5", ".5", "5.", "1e3", "-1.5E-3", "9007199254740993"] {
            assert_eq!(plain(text), Meaning::Number, "{text}");
        }
        for text in ["a", "tRue", "nUll", "1a", "1.2.3", "2024-01-01", "-", ".", "..", "0xg", "e5", "-x", "1/minute"] {
            assert_eq!(plain(text), Meaning::Text, "{text}");
        }
        assert_eq!(meaning(&Scalar { text: "true".into(), plain: false }), Meaning::Text);
    }

    #[test]
    fn the_traps_of_other_readers() {
        for text in ["yes", "No", "ON", "off", "y", "N"] {
            assert_eq!(plain(text), Meaning::BooleanLookingText, "{text}");
        }
        for text in [
            "0x1F", "0o17", "0b1", "010", "-010", "007.5", "1_000", "12:30", "12:30:45", ".inf", "-.Inf", ".NaN",
            "1e99999",
        ] {
            assert!(matches!(plain(text), Meaning::Ambiguous(_)), "{text}");
        }
    }
}
