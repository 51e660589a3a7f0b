//! What a counter counts in: calls, or amounts such as money, exact.

use std::fmt;

/// An exact amount in billionths. Sums of it are exact; a call counts as [`Amount::ONE`].
///
/// What a call brings lies in 0..=[`Amount::CALL_MAX`]; bounds written in a policy may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    /// Decimal places that are kept.
    pub const DECIMALS: u32 = 9;
    /// Nothing: a claim of it reads a counter and charges none.
    pub const ZERO: Self = Self(0);
    /// One call.
    pub const ONE: Self = Self(1_000_000_000);
    /// The largest amount that one call may add: 10^18.
    pub const CALL_MAX: Self = Self(1_000_000_000_000_000_000 * 1_000_000_000);
    /// More than any counter can reach.
    pub const MAX: Self = Self(i128::MAX);
    /// Less than any counter can stand at.
    pub const MIN: Self = Self(i128::MIN);

    /// So many calls.
    #[must_use]
    pub const fn calls(count: u64) -> Self {
        Self(count as i128 * Self::ONE.0)
    }

    /// So many billionths.
    #[must_use]
    pub const fn from_billionths(billionths: i128) -> Self {
        Self(billionths)
    }

    /// The amount in billionths.
    #[must_use]
    pub const fn billionths(self) -> i128 {
        self.0
    }

    /// The sum, where it can be told.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The sum, or the largest amount where it would be larger.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, bounded likewise.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whole units, rounded down; 0 for negative amounts.
    #[must_use]
    pub fn whole(self) -> u64 {
        u64::try_from(self.0.max(0) / Self::ONE.0).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Amount {
    /// `100.99`, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", format!("{part:09}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_as_people_write_them() {
        for (billionths, text) in [(0, "0"), (100_990_000_000, "100.99"), (-500_000_000, "-0.5"), (1, "0.000000001")] {
            assert_eq!(Amount::from_billionths(billionths).to_string(), text);
        }
        assert_eq!(Amount::calls(10).to_string(), "10");
        assert_eq!(Amount::calls(7).whole(), 7);
    }
}
