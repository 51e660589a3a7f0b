//! Exact decimal numbers: compared digit by digit, never through a float.

use std::cmp::Ordering;

use crate::bounds::DECIMAL_EXPONENT_MAX;

/// A decimal number read from JSON or YAML text. Borrows the text; comparing allocates nothing.
///
/// The value is `0.DIGITS * 10^magnitude`, where DIGITS is `whole` followed by `fraction`, without zeros at either end.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    magnitude: i64,
}

impl<'a> Decimal<'a> {
    /// Reads `[+-] digits [. digits] [e [+-] digits]`, at least one digit before or after the point.
    /// None for anything else, and for exponents beyond `DECIMAL_EXPONENT_MAX`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (whole, rest) = digits(rest);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            rest => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        Some(Self::of(negative, whole, fraction, exponent))
    }

    fn of(negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64) -> Self {
        let whole = trim_start(whole);
        let mut number =
            Self { negative, whole, fraction: trim_end(fraction), magnitude: whole.len() as i64 + exponent };
        if number.whole.is_empty() {
            let significant = trim_start(number.fraction);
            number.magnitude -= (number.fraction.len() - significant.len()) as i64;
            number.fraction = significant;
        }
        if number.fraction.is_empty() {
            number.whole = trim_end(number.whole);
        }
        if number.whole.is_empty() && number.fraction.is_empty() {
            return Self { negative: false, whole: b"", fraction: b"", magnitude: i64::MIN };
        }
        number
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Its significant digits in ASCII, and the place of the point before the first of them: `0.DIGITS * 10^place`.
    pub(super) fn significant(&self) -> (impl Iterator<Item = u8> + use<'a>, i64) {
        (self.whole.iter().chain(self.fraction).copied(), self.magnitude)
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        let digits = self.whole.iter().chain(self.fraction);
        self.magnitude.cmp(&other.magnitude).then_with(|| digits.cmp(other.whole.iter().chain(other.fraction)))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (sign, text) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let (number, rest) = digits(text);
    if number.is_empty() || !rest.is_empty() {
        return None;
    }
    let number = trim_start(number);
    let value = number.iter().try_fold(0_i64, |value, digit| {
        let value = value * 10 + i64::from(digit - b'0');
        (value <= DECIMAL_EXPONENT_MAX).then_some(value)
    })?;
    Some(sign * value)
}

fn trim_start(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len())..]
}

fn trim_end(digits: &[u8]) -> &[u8] {
    &digits[..digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(a: &str, b: &str) -> Ordering {
        Decimal::parse(a).expect(a).cmp(&Decimal::parse(b).expect(b))
    }

    #[test]
    fn exact_where_floats_are_not() {
        assert_eq!(order("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(order("100.99", "100"), Ordering::Greater);
        assert_eq!(order("0.1", "0.10000000000000000000000000000001"), Ordering::Less);
        assert_eq!(order("1e19", "9999999999999999999"), Ordering::Greater);
    }

    #[test]
    fn one_value_in_many_spellings() {
        for (a, b) in [
            ("100", "1e2"),
            ("1.50", "1.5"),
            ("0", "-0.00e7"),
            ("+3", "3"),
            (".5", "0.5"),
            ("5.", "5"),
            ("0.001", "1e-3"),
            ("1200", "12E+2"),
            ("007", "7"),
        ] {
            assert_eq!(order(a, b), Ordering::Equal, "{a} {b}");
        }
        assert_eq!(order("-2", "-10"), Ordering::Greater);
        assert_eq!(order("-1", "0"), Ordering::Less);
        assert_eq!(order("0", "0.0001"), Ordering::Less);
    }

    #[test]
    fn refuses_what_is_no_decimal() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "1_000", "NaN", ".inf", " 1", "1 ", "1e10000",
            "1e-10000", "١",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
        assert!(Decimal::parse("1e9999").is_some());
        assert!(Decimal::parse("1e00000000000000000000009999").is_some());
    }

    proptest! {
        #[test]
        fn agrees_with_integers(a in any::<i64>(), b in any::<i64>(), zeros in 0_usize..5) {
            prop_assert_eq!(order(&a.to_string(), &b.to_string()), a.cmp(&b));
            let spread = format!("{a}.{}", "0".repeat(zeros));
            prop_assert_eq!(order(&spread, &b.to_string()), a.cmp(&b));
        }

        #[test]
        fn agrees_with_scaled_integers(a in -99_999_i64..99_999, b in -99_999_i64..99_999, shift in -6_i64..6) {
            let scale = |n: i64| format!("{n}e{shift}");
            prop_assert_eq!(order(&scale(a), &scale(b)), a.cmp(&b));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = Decimal::parse(&text);
        }
    }
}
