//! The exact window: which logged calls stand, whether one more may, and when it could.
//!
//! A call logged at `t` stands in a sliding window of `W` up to, not including, `t + W`. So no half-open span of length `W` ever holds
//! more than `max` calls, and a call is refused only while `max` stand. A calendar limit counts from the same log: the calls since its
//! unit began. Nothing but the passing of time removes a call.

use super::{Quota, calendar};
use crate::weaken;

/// The calls charged to one counter, in order. Call `seq` of `first()..next()` was logged at `at_ns(seq)`, never before its forerunner.
pub(super) trait CallLog {
    /// Why a call cannot be looked up.
    type Error;
    /// Number of the oldest call kept.
    fn first(&self) -> u64;
    /// Number that the next call will get.
    fn next(&self) -> u64;
    /// When call `seq` was logged, nanoseconds.
    fn at_ns(&mut self, seq: u64) -> Result<u64, Self::Error>;
}

/// What a quota says of `wanted` more calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Judgement {
    /// They fit; so many will stand then.
    Free {
        /// Calls standing, the wanted ones included.
        used: u64,
    },
    /// They do not.
    Full {
        /// Calls standing.
        used: u64,
        /// When they would fit, if nothing else is charged; none when they never do.
        frees_at_ns: Option<u64>,
    },
}

/// Judges `wanted` more calls at `now_ns`. Looks up about log2 of the calls kept, whatever the maximum.
pub(super) fn judge<L: CallLog>(log: &mut L, quota: Quota, now_ns: u64, wanted: u64) -> Result<Judgement, L::Error> {
    let first_standing = first_standing(log, quota, now_ns)?;
    let used = log.next() - first_standing;
    let max = max_of(quota);
    let over = used.saturating_add(wanted).saturating_sub(max);
    if over == 0 || !weaken::in_force("rate-limit") {
        return Ok(Judgement::Free { used: used + wanted });
    }
    if wanted > max {
        return Ok(Judgement::Full { used, frees_at_ns: None });
    }
    // The youngest of the calls that have to fall out.
    let at_ns = log.at_ns(first_standing + over - 1)?;
    Ok(Judgement::Full { used, frees_at_ns: Some(stands_until_ns(quota, at_ns)) })
}

/// Number of the oldest call that stands at `now_ns`; all later ones do too. Earlier ones may be forgotten.
pub(super) fn first_standing<L: CallLog>(log: &mut L, quota: Quota, now_ns: u64) -> Result<u64, L::Error> {
    let (mut low, mut high) = (log.first(), log.next());
    while low < high {
        let middle = low + (high - low) / 2;
        if stands_until_ns(quota, log.at_ns(middle)?) > now_ns { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

/// The first instant at which a call logged at `at_ns` no longer stands.
pub(super) fn stands_until_ns(quota: Quota, at_ns: u64) -> u64 {
    match quota {
        Quota::Sliding { window_ms, .. } => at_ns.saturating_add(window_ms.saturating_mul(1_000_000)),
        Quota::Calendar { unit, .. } => calendar::unit_of(unit, at_ns).1,
    }
}

const fn max_of(quota: Quota) -> u64 {
    match quota {
        Quota::Sliding { max, .. } | Quota::Calendar { max, .. } => max,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::limits::CalendarUnit;

    /// A log that starts with call 100.
    struct Fixed(Vec<u64>);

    impl CallLog for Fixed {
        type Error = Infallible;
        fn first(&self) -> u64 {
            100
        }
        fn next(&self) -> u64 {
            100 + self.0.len() as u64
        }
        fn at_ns(&mut self, seq: u64) -> Result<u64, Infallible> {
            Ok(self.0[(seq - 100) as usize])
        }
    }

    fn judged(times: &[u64], quota: Quota, now_ns: u64, wanted: u64) -> Judgement {
        let Ok(judgement) = judge(&mut Fixed(times.to_vec()), quota, now_ns, wanted);
        judgement
    }

    const MS: u64 = 1_000_000;

    fn sliding(max: u64) -> Quota {
        Quota::Sliding { max, window_ms: 10 }
    }

    #[test]
    fn call_stands_until_the_window_has_passed_and_no_longer() {
        assert_eq!(judged(&[0], sliding(1), 10 * MS - 1, 1), Judgement::Full { used: 1, frees_at_ns: Some(10 * MS) });
        assert_eq!(judged(&[0], sliding(1), 10 * MS, 1), Judgement::Free { used: 1 });
    }

    #[test]
    fn free_until_the_maximum_stands() {
        assert_eq!(judged(&[], sliding(2), 5, 1), Judgement::Free { used: 1 });
        assert_eq!(judged(&[1], sliding(2), 5, 1), Judgement::Free { used: 2 });
        assert_eq!(judged(&[1, 5], sliding(2), 5, 1), Judgement::Full { used: 2, frees_at_ns: Some(10 * MS + 1) });
    }

    #[test]
    fn several_calls_wait_for_as_many_to_fall_out() {
        assert_eq!(judged(&[1, 2, 3], sliding(3), 5, 2), Judgement::Full { used: 3, frees_at_ns: Some(10 * MS + 2) });
        assert_eq!(judged(&[1, 2, 3], sliding(4), 5, 2), Judgement::Full { used: 3, frees_at_ns: Some(10 * MS + 1) });
    }

    #[test]
    fn lowered_maximum_waits_until_enough_have_fallen_out() {
        assert_eq!(
            judged(&[1, 2, 3, 4], sliding(2), 5, 1),
            Judgement::Full { used: 4, frees_at_ns: Some(10 * MS + 3) }
        );
    }

    #[test]
    fn maximum_of_zero_allows_none_ever() {
        assert_eq!(judged(&[], sliding(0), 5, 1), Judgement::Full { used: 0, frees_at_ns: None });
        assert_eq!(judged(&[], sliding(1), 5, 2), Judgement::Full { used: 0, frees_at_ns: None });
    }

    #[test]
    fn calendar_counts_from_the_start_of_the_unit() {
        let quota = Quota::Calendar { max: 2, unit: CalendarUnit::Minute };
        let minute = 60_000 * MS;
        assert_eq!(judged(&[minute - 1, minute], quota, minute, 1), Judgement::Free { used: 2 });
        assert_eq!(
            judged(&[minute, minute + 7], quota, minute + 9, 1),
            Judgement::Full { used: 2, frees_at_ns: Some(2 * minute) }
        );
        assert_eq!(judged(&[minute, minute + 7], quota, 2 * minute, 1), Judgement::Free { used: 1 });
    }

    #[test]
    fn bounds_of_time_do_not_wrap() {
        let quota = Quota::Sliding { max: 1, window_ms: u64::MAX };
        assert_eq!(judged(&[5], quota, u64::MAX - 1, 1), Judgement::Full { used: 1, frees_at_ns: Some(u64::MAX) });
    }
}
