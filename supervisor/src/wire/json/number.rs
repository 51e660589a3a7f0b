//! Which numbers every reader reads alike.
//!
//! An integer (no point, no exponent) must lie within 2^53-1. Anything else is a double to every parser; it must be written so that a
//! reader of exact decimals and a reader of doubles agree: its value must be the value of the shortest decimal that reads back as
//! the same double (what JavaScript, Python, Go and Rust print). `0.1`, `1.0`, `100.990` and `1e2` pass, `1e400`, `1e-400` and
//! `0.1000000000000000055511151231257827` do not. `-0.0` passes (a double keeps its sign), `-0` does not (integer readers lose it).

use std::fmt::{self, Write as _};

use super::RejectCode;
use crate::bounds::{JSON_INTEGER_MAX, JSON_NUMBER_BYTES_MAX};
use crate::weaken;

/// Length of the number that `rest` starts with, or why it is refused.
pub(super) fn scan(rest: &str) -> Result<usize, RejectCode> {
    let (length, is_integer) = grammar(rest.as_bytes())?;
    let text = &rest[..length];
    if length > JSON_NUMBER_BYTES_MAX {
        return Err(RejectCode::NumberTooLong);
    }
    if !weaken::in_force("json-numbers") {
        return Ok(length);
    }
    if is_integer {
        check_integer(text)?
    } else {
        check_decimal(text)?
    }
    Ok(length)
}

/// RFC 8259 section 6. The length, and whether there is neither fraction nor exponent.
fn grammar(bytes: &[u8]) -> Result<(usize, bool), RejectCode> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match (bytes.get(at), digits(at)) {
        (Some(b'0'), 1) => at += 1,
        (Some(b'1'..=b'9'), count) => at += count,
        (Some(b'I'), _) => return Err(RejectCode::NonFinite),
        (None, _) => return Err(RejectCode::Truncated),
        _ => return Err(RejectCode::BadNumber),
    }
    let whole = at;
    if bytes.get(at) == Some(&b'.') {
        let count = digits(at + 1);
        at += 1 + count;
        if count == 0 {
            return Err(if at == bytes.len() { RejectCode::Truncated } else { RejectCode::BadNumber });
        }
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let count = digits(at);
        at += count;
        if count == 0 {
            return Err(if at == bytes.len() { RejectCode::Truncated } else { RejectCode::BadNumber });
        }
    }
    Ok((at, at == whole))
}

fn check_integer(text: &str) -> Result<(), RejectCode> {
    if text == "-0" {
        return Err(RejectCode::NegativeZero);
    }
    match text.trim_start_matches('-').parse::<u64>() {
        Ok(magnitude) if magnitude <= JSON_INTEGER_MAX => Ok(()),
        _ => Err(RejectCode::IntegerTooLarge),
    }
}

fn check_decimal(text: &str) -> Result<(), RejectCode> {
    let double: f64 = text.parse().map_err(|_| RejectCode::BadNumber)?;
    let mut shortest = Shortest::default();
    // `{:e}` prints the shortest digits that read back as the same double.
    let is_exact = double.is_finite()
        && write!(shortest, "{double:e}").is_ok()
        && Decimal::of(text.as_bytes()) == Decimal::of(&shortest.text[..shortest.length]);
    if is_exact { Ok(()) } else { Err(RejectCode::InexactDecimal) }
}

/// Room for what `{:e}` prints of a double: sign, 17 digits, point, `e`, sign, three digits. Nothing is allocated for a number.
#[derive(Default)]
struct Shortest {
    text: [u8; 32],
    length: usize,
}

impl fmt::Write for Shortest {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        self.text.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Magnitude of a decimal in normal form: `digits` without leading and trailing zeros, times ten to the `exponent`. Zero has no
/// digits. Signs need no comparing: a double always has its text's.
#[derive(Debug, PartialEq)]
struct Decimal {
    /// Filled up with zeros, which are no digits' text.
    digits: [u8; JSON_NUMBER_BYTES_MAX],
    exponent: i64,
}

impl Decimal {
    /// Reads text of the JSON grammar, at most [`JSON_NUMBER_BYTES_MAX`] long. `None` when the exponent exceeds an `i64`.
    fn of(text: &[u8]) -> Option<Self> {
        let unsigned = text.strip_prefix(b"-").unwrap_or(text);
        let mantissa_length = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
        let (mantissa, exponent) = unsigned.split_at(mantissa_length);
        let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let fraction = mantissa.len().saturating_sub(point + 1);
        let all = || mantissa.iter().filter(|byte| **byte != b'.');
        let zeros_behind = all().rev().take_while(|byte| **byte == b'0').count();
        let mut decimal = Self { digits: [0; JSON_NUMBER_BYTES_MAX], exponent: 0 };
        let significant = all().rev().skip(zeros_behind).count();
        let leading = all().take_while(|byte| **byte == b'0').count();
        if leading >= significant {
            return Some(decimal);
        }
        for (place, digit) in decimal.digits.iter_mut().zip(all().take(significant).skip(leading)) {
            *place = *digit;
        }
        let exponent = match exponent.get(1..) {
            Some(digits) => std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?,
            None => 0,
        };
        decimal.exponent = exponent.checked_add(zeros_behind as i64 - fraction as i64)?;
        Some(decimal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_every_reader_reads_alike_pass() {
        for text in [
            "0",
            "7",
            "-1",
            "9007199254740991",
            "-9007199254740991",
            "0.1",
            "1.0",
            "100.990",
            "1e2",
            "1E+2",
            "1e-7",
            "-0.0",
            "0e9",
            "0.0e-99999999999999999999",
            "1.7976931348623157e308",
            "5e-324",
            "6.02214076e+23",
            "0.30000000000000004",
            "9007199254740992.0",
        ] {
            assert_eq!(scan(text), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn numbers_that_some_reader_reads_otherwise_are_refused() {
        for (text, code) in [
            ("9007199254740992", RejectCode::IntegerTooLarge),
            ("-9007199254740992", RejectCode::IntegerTooLarge),
            ("18446744073709551617", RejectCode::IntegerTooLarge),
            ("-0", RejectCode::NegativeZero),
            ("1e400", RejectCode::InexactDecimal),
            ("-1e400", RejectCode::InexactDecimal),
            ("1e-400", RejectCode::InexactDecimal),
            ("1e99999999999999999999", RejectCode::InexactDecimal),
            ("1e-99999999999999999999", RejectCode::InexactDecimal),
            ("0.1000000000000000055511151231257827", RejectCode::InexactDecimal),
            ("0.1000000000000000055511151231257827021181583404541015625", RejectCode::InexactDecimal),
            ("9007199254740993.0", RejectCode::InexactDecimal),
            ("9007199254740993e0", RejectCode::InexactDecimal),
            ("10.000000000000000001", RejectCode::InexactDecimal),
            ("1.7976931348623159e308", RejectCode::InexactDecimal),
        ] {
            assert_eq!(scan(text), Err(code), "{text}");
        }
    }

    #[test]
    fn grammar_is_that_of_json() {
        for (text, code) in [
            ("-", RejectCode::Truncated),
            ("1.", RejectCode::Truncated),
            ("1e", RejectCode::Truncated),
            ("1e+", RejectCode::Truncated),
            ("01", RejectCode::BadNumber),
            ("-01", RejectCode::BadNumber),
            ("1.,", RejectCode::BadNumber),
            ("1.e1", RejectCode::BadNumber),
            ("1e,", RejectCode::BadNumber),
            ("-.5", RejectCode::BadNumber),
            ("-x", RejectCode::BadNumber),
            ("-Infinity", RejectCode::NonFinite),
        ] {
            assert_eq!(scan(text), Err(code), "{text}");
        }
        assert_eq!(scan("12,3"), Ok(2));
        assert_eq!(scan("1_000"), Ok(1), "the rest is the parser's to refuse");
    }

    #[test]
    fn number_at_the_length_bound_passes_and_one_over_does_not() {
        let padded = |length: usize| format!("0.5{}", "0".repeat(length - 3));
        assert_eq!(scan(&padded(JSON_NUMBER_BYTES_MAX)), Ok(JSON_NUMBER_BYTES_MAX));
        assert_eq!(scan(&padded(JSON_NUMBER_BYTES_MAX + 1)), Err(RejectCode::NumberTooLong));
    }
}
