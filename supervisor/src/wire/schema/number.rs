//! Numbers of a schema. The strict parser lets no number through whose value is not that of its double, so doubles compare exactly;
//! only division needs the decimal.

use std::fmt;

use crate::wire::json::Number;

/// The number's value. Every number of the strict parser has one, finite.
pub(super) fn double(number: &Number<'_>) -> f64 {
    number.text().parse().unwrap_or(f64::NAN)
}

/// What `multipleOf` divides by: a decimal in normal form, more than 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Divisor {
    decimal: Decimal,
    number: f64,
}

impl fmt::Display for Divisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// `digits` times ten to the `exponent`; digits end in no zero. At most 17 of them: the shortest that name a double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// The magnitude of a finite number.
    fn of(number: f64) -> Option<Self> {
        let text = format!("{:e}", number.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        let zeros = i32::try_from(digits.len() - significant.len()).ok()?;
        if significant.is_empty() {
            return Some(Self { digits: 0, exponent: 0 });
        }
        Some(Self { digits: significant.parse().ok()?, exponent: exponent + zeros })
    }
}

impl Divisor {
    /// None where `number` is not more than 0.
    pub(super) fn of(number: f64) -> Option<Self> {
        let decimal = Decimal::of(number).filter(|_| number > 0.0)?;
        Some(Self { decimal, number })
    }

    /// Whether `number` is a whole multiple.
    pub(super) fn divides(self, number: f64) -> bool {
        let Some(number) = Decimal::of(number) else { return false };
        if number.digits == 0 {
            return true;
        }
        // Digits that end in no zero are no multiple of ten, so a smaller exponent is never made up for.
        let Ok(shift) = u32::try_from(number.exponent - self.decimal.exponent) else { return false };
        let divisor = u128::from(self.decimal.digits);
        let power = power_of_ten(shift, divisor);
        (u128::from(number.digits) % divisor * power).is_multiple_of(divisor)
    }
}

/// 10 to the `exponent`, modulo `modulus` (under 2^64, so that no product overflows).
fn power_of_ten(mut exponent: u32, modulus: u128) -> u128 {
    let (mut base, mut power) = (10 % modulus, 1 % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * base % modulus;
        }
        base = base * base % modulus;
        exponent >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_those_of_the_decimals_not_of_the_doubles() {
        for (divisor, number, fits) in [
            (0.01, 19.99, true),
            (0.01, 19.995, false),
            (0.1, 0.3, true),
            (0.0001, 0.0075, true),
            (0.0001, 0.00751, false),
            (2.0, 7.0, false),
            (2.0, -8.0, true),
            (2.5, 7.5, true),
            (10.0, 100.0, true),
            (10.0, 5.0, false),
            (3.0, 1e20, false),
            (3.0, 3e300, true),
            (1e-8, 12_391_239_123.0, true),
            (0.123_456_789, 1e308, false),
            (5e-324, 1.797_693_134_862_315_7e308, true),
            (7.0, 0.0, true),
            (7.0, -0.0, true),
            (1e300, 1.0, false),
        ] {
            assert_eq!(Divisor::of(divisor).expect("positive").divides(number), fits, "{number} by {divisor}");
        }
        assert_eq!(Divisor::of(0.0), None);
        assert_eq!(Divisor::of(-1.0), None);
    }
}
