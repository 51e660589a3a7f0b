//! Decimals as amounts of a counter: exact, or said not to be.

use super::condition::Number;
use super::decimal::Decimal;
use crate::limits::Amount;
use crate::weaken::in_force;
use crate::wire::json::Value;

/// A decimal in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Billionths {
    /// The largest whole number of them that is not above the decimal. Saturates, and is not exact then.
    floor: i128,
    /// Whether it is the decimal.
    exact: bool,
}

/// What a counter must stand at, from an operator and its value, such that it means the same for amounts of nine decimals
/// as the operator means for the value: `lt 0.5e-9` is `lte 0`. None for `eq` with a value that no counter can have, and
/// for an operator that is none of `lt`, `lte`, `gt`, `gte` and `eq`.
pub(super) fn bounds(op: &str, value: &Number) -> Option<(Amount, Amount)> {
    let Billionths { floor, exact } = billionths(&value.decimal());
    let amount = Amount::from_billionths;
    let above = floor.saturating_add(1);
    Some(match op {
        "lt" => (Amount::MIN, amount(if exact { floor.saturating_sub(1) } else { floor })),
        "lte" => (Amount::MIN, amount(floor)),
        "gt" => (amount(above), Amount::MAX),
        "gte" => (amount(if exact { floor } else { above }), Amount::MAX),
        "eq" if exact => (amount(floor), amount(floor)),
        _ => return None,
    })
}

/// A number that a policy adds to a counter: more than 0, at most 10^18, at most nine decimals.
pub(super) fn increment(value: &Number) -> Option<Amount> {
    addend(&value.decimal()).filter(|amount| *amount > Amount::ZERO)
}

/// What a call brings for a counter: a number from 0 to 10^18 with at most nine decimals. Anything else is None: a negative
/// amount would give quota back, a rounded one would hide what it rounds away.
pub(super) fn brought(value: Option<&Value<'_>>) -> Option<Amount> {
    let amount = match value {
        Some(Value::Number(number)) => Decimal::parse(number.text()).and_then(|decimal| addend(&decimal)),
        _ => None,
    };
    if in_force("counter-amount") { amount } else { Some(amount.unwrap_or(Amount::ZERO)) }
}

fn addend(number: &Decimal<'_>) -> Option<Amount> {
    let Billionths { floor, exact } = billionths(number);
    let amount = Amount::from_billionths(floor);
    (exact && (Amount::ZERO..=Amount::CALL_MAX).contains(&amount)).then_some(amount)
}

fn billionths(number: &Decimal<'_>) -> Billionths {
    let (mut digits, place) = number.significant();
    let mut magnitude: i128 = 0;
    let places = place.saturating_add(i64::from(Amount::DECIMALS)).max(0);
    for place in 0..places {
        let Some(digit) = digits.next() else {
            // Only zeros are left before the point; as many as there are, or as many as overflow.
            let Some(shifted) = u32::try_from(places - place)
                .ok()
                .and_then(|zeros| 10_i128.checked_pow(zeros))
                .and_then(|factor| magnitude.checked_mul(factor))
            else {
                return saturated(number);
            };
            magnitude = shifted;
            break;
        };
        let Some(next) = magnitude.checked_mul(10).and_then(|shifted| shifted.checked_add(i128::from(digit - b'0')))
        else {
            return saturated(number);
        };
        magnitude = next;
    }
    let exact = digits.next().is_none();
    let floor = match (number.is_negative(), exact) {
        (false, _) => magnitude,
        (true, true) => -magnitude,
        (true, false) => -magnitude - 1,
    };
    Billionths { floor, exact }
}

fn saturated(number: &Decimal<'_>) -> Billionths {
    Billionths { floor: if number.is_negative() { i128::MIN } else { i128::MAX }, exact: false }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::value;

    fn of(text: &str) -> (i128, bool) {
        let Billionths { floor, exact } = billionths(&Decimal::parse(text).expect(text));
        (floor, exact)
    }

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn decimals_are_taken_exactly_or_rounded_down() {
        for (text, floor, exact) in [
            ("0", 0, true),
            ("-0.0", 0, true),
            ("0e9999", 0, true),
            ("1", 1_000_000_000, true),
            ("100.99", 100_990_000_000, true),
            ("9007199254740993", 9_007_199_254_740_993_000_000_000, true),
            ("1e-9", 1, true),
            ("0.5e-9", 0, false),
            ("-0.5e-9", -1, false),
            ("-1e-9", -1, true),
            ("1.0000000001", 1_000_000_000, false),
            ("-1.0000000001", -1_000_000_001, false),
            ("1e-9999", 0, false),
            ("12e5", 1_200_000_000_000_000, true),
            ("1e29", 10_i128.pow(38), true),
            ("2e29", i128::MAX, false),
            ("1e9999", i128::MAX, false),
            ("-1e9999", i128::MIN, false),
            ("170141183460469231731687303715.884105727", i128::MAX, true),
            ("170141183460469231731687303715.884105728", i128::MAX, false),
        ] {
            assert_eq!(of(text), (floor, exact), "{text}");
        }
    }

    #[test]
    fn bounds_of_more_than_nine_decimals_mean_the_same_for_amounts_of_nine() {
        let at = Amount::from_billionths;
        let (none, any) = (Amount::MIN, Amount::MAX);
        for (op, text, expected) in [
            ("lt", "10", Some((none, at(9_999_999_999)))),
            ("lt", "0.5e-9", Some((none, at(0)))),
            ("lte", "0.5e-9", Some((none, at(0)))),
            ("lte", "10", Some((none, at(10_000_000_000)))),
            ("lte", "-0.5e-9", Some((none, at(-1)))),
            ("gt", "10", Some((at(10_000_000_001), any))),
            ("gt", "0.5e-9", Some((at(1), any))),
            ("gt", "-0.5e-9", Some((at(0), any))),
            ("gte", "0.5e-9", Some((at(1), any))),
            ("gte", "10", Some((at(10_000_000_000), any))),
            ("eq", "1.5", Some((at(1_500_000_000), at(1_500_000_000)))),
            ("eq", "0.5e-9", None),
            ("eq", "1e40", None),
            ("lt", "1e9999", Some((none, any))),
            ("gt", "1e9999", Some((any, any))),
            ("neq", "1", None),
        ] {
            assert_eq!(bounds(op, &number(text)), expected, "{op} {text}");
        }
    }

    #[test]
    fn a_call_brings_an_exact_amount_or_none() {
        for (json, expected) in [
            ("0", Some(0)),
            ("100.99", Some(100_990_000_000)),
            ("1e18", Some(10_i128.pow(27))),
            ("0.000000001", Some(1)),
            ("1.000000000000", Some(1_000_000_000)),
            ("1e19", None),
            ("-1", None),
            ("-0.000000001", None),
            ("1e-10", None),
            ("0.0000000011", None),
            ("\"5\"", None),
            ("[5]", None),
            ("null", None),
            ("true", None),
            ("{}", None),
        ] {
            assert_eq!(brought(Some(&value(json))), expected.map(Amount::from_billionths), "{json}");
        }
        assert_eq!(brought(None), None);
    }

    #[test]
    fn an_increment_of_nothing_is_none() {
        assert_eq!(increment(&number("0.01")), Some(Amount::from_billionths(10_000_000)));
        for text in ["0", "-1", "1e-10", "1e19", "1000000000000000000.000000001"] {
            assert_eq!(increment(&number(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_bound_holds_of_an_amount_exactly_when_the_operator_holds_of_the_decimals(
            standing in -3_000_000_000_i128..3_000_000_000,
            bound in -3_000_000_000_i64..3_000_000_000,
            finer in 0_usize..4,
            op in prop::sample::select(vec!["lt", "lte", "gt", "gte", "eq"]),
        ) {
            // The bound has up to three decimals more than the amount.
            let text = format!("{bound}e-{}", 9 + finer);
            let (a, b) = (format!("{standing}e-9"), text.clone());
            let (a, b) = (Decimal::parse(&a).expect("decimal"), Decimal::parse(&b).expect("decimal"));
            let wanted = match op {
                "lt" => a < b,
                "lte" => a <= b,
                "gt" => a > b,
                "gte" => a >= b,
                _ => a == b,
            };
            let standing = Amount::from_billionths(standing);
            let holds = bounds(op, &number(&text)).is_some_and(|(low, high)| low <= standing && standing <= high);
            prop_assert_eq!(holds, wanted, "{} {}", op, text);
        }
    }
}
