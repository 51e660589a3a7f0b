//! The exact window: how much stands in it, whether a call's amount fits, and when it could.
//!
//! A call logged at `t` stands in a sliding window of `W` up to, not including, `t + W`. So no half-open span of length `W` ever holds
//! more than a claim's `at_most`, and a call is refused only while its amount would exceed that. A calendar window counts from the same
//! log: the calls since its unit began. Nothing but the passing of time takes a call out of a window.
//!
//! Each logged call carries the total of all amounts charged to its counter so far, itself included. What stands in a window is then a
//! difference of two totals, and since instants and totals both only rise, every question is a binary search over the calls kept.

use super::{Amount, Claim, Window, calendar};
use crate::weaken;

/// One logged call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// When, nanoseconds of log time; never before its forerunner.
    pub(super) at_ns: u64,
    /// All that its counter was charged up to it, its own amount included.
    pub(super) total: Amount,
}

/// The calls charged to one counter, in order: those from `first()` up to, not including, `next()` are kept.
pub(super) trait CallLog {
    /// Why a call cannot be looked up.
    type Error;
    /// Number of the oldest call kept.
    fn first(&self) -> u64;
    /// Number that the next call will get.
    fn next(&self) -> u64;
    /// All that was charged before the oldest call kept.
    fn base(&self) -> Amount;
    /// All that was ever charged.
    fn total(&self) -> Amount;
    /// Call `seq`.
    fn call(&mut self, seq: u64) -> Result<Logged, Self::Error>;
}

/// What a log says of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Judgement {
    /// What stands in the claim's window, nothing of this reservation included.
    pub(super) before: Amount,
    /// Whether the claim fits.
    pub(super) room: Room,
}

/// Whether a claim fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Room {
    /// It does.
    Free,
    /// Its upper bound holds again from this instant of log time on, nanoseconds, if nothing else is charged.
    FullUntil(u64),
    /// No passing of time makes it fit.
    Never,
}

/// Judges a claim at `now_ns`; `earlier` is what the same reservation charges to its counter before it. Looks up about log2 of the
/// calls kept, whatever the bounds.
pub(super) fn judge<L: CallLog>(
    log: &mut L,
    claim: &Claim,
    earlier: Amount,
    now_ns: u64,
) -> Result<Judgement, L::Error> {
    let first_standing = first_standing(log, claim.window, now_ns)?;
    let before = log.total().saturating_sub(total_before(log, first_standing)?);
    let judged = |room| Ok(Judgement { before, room });
    // A total that saturates would stop to tell calls apart, and the counter would stop to count.
    let is_countable = (Amount::ZERO..=Amount::CALL_MAX).contains(&claim.amount)
        && log.total().checked_add(earlier).is_some_and(|total| total.checked_add(claim.amount).is_some());
    if !is_countable {
        return judged(Room::Never);
    }
    let wanted = earlier.saturating_add(claim.amount);
    let fits = before >= claim.at_least && before.saturating_add(wanted) <= claim.at_most;
    if fits || !weaken::in_force("rate-limit") {
        return judged(Room::Free);
    }
    if before < claim.at_least || wanted > claim.at_most {
        return judged(Room::Never);
    }
    // Once the total of what fell out reaches this, the rest leaves room.
    let fallen = log.total().saturating_sub(claim.at_most.saturating_sub(wanted));
    let (mut low, mut high) = (first_standing, log.next() - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if log.call(middle)?.total >= fallen { high = middle } else { low = middle + 1 }
    }
    let at_ns = log.call(low)?.at_ns;
    judged(Room::FullUntil(stands_until_ns(claim.window, at_ns)))
}

/// What stands in `window` at `now_ns`.
pub(super) fn standing<L: CallLog>(log: &mut L, window: Window, now_ns: u64) -> Result<Amount, L::Error> {
    let first_standing = first_standing(log, window, now_ns)?;
    Ok(log.total().saturating_sub(total_before(log, first_standing)?))
}

/// Number of the oldest call that stands at `now_ns`; all later ones do too.
pub(super) fn first_standing<L: CallLog>(log: &mut L, window: Window, now_ns: u64) -> Result<u64, L::Error> {
    let (mut low, mut high) = (log.first(), log.next());
    while low < high {
        let middle = low + (high - low) / 2;
        if stands_until_ns(window, log.call(middle)?.at_ns) > now_ns { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

/// All that was charged before call `seq`, which is kept or the next one.
pub(super) fn total_before<L: CallLog>(log: &mut L, seq: u64) -> Result<Amount, L::Error> {
    if seq == log.first() {
        Ok(log.base())
    } else if seq == log.next() {
        Ok(log.total())
    } else {
        Ok(log.call(seq - 1)?.total)
    }
}

/// The window that keeps a call for as long as any window could that reaches back `reach_ms`.
pub(super) const fn kept(reach_ms: u64) -> Window {
    Window::Sliding { window_ms: reach_ms }
}

/// How far back a window looks at most, milliseconds.
pub(super) const fn reach_ms(window: Window) -> u64 {
    match window {
        Window::Sliding { window_ms } => window_ms,
        Window::Calendar { unit } => unit.seconds() * 1_000,
    }
}

/// The longer of what a counter has kept its calls for and what a claim needs, milliseconds. A counter under two windows (an edited
/// policy, two policies of global scope) keeps what the longer one counts; the shorter one's charges forget none of it.
pub(super) fn longest_reach_ms(kept_ms: u64, claim: &Claim) -> u64 {
    let needed_ms = reach_ms(claim.window);
    if weaken::in_force("limit-longest-window") { kept_ms.max(needed_ms) } else { needed_ms }
}

/// The first instant at which a call logged at `at_ns` no longer stands.
pub(super) fn stands_until_ns(window: Window, at_ns: u64) -> u64 {
    match window {
        Window::Sliding { window_ms } => at_ns.saturating_add(window_ms.saturating_mul(1_000_000)),
        Window::Calendar { unit } => calendar::unit_of(unit, at_ns).1,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::limits::CalendarUnit;

    /// A log that starts with call 100, after a total of 7: (instant, amount), billionths.
    struct Fixed(Vec<Logged>);

    impl Fixed {
        fn of(calls: &[(u64, i128)]) -> Self {
            let mut total = Amount::from_billionths(7);
            let log = calls.iter().map(|&(at_ns, amount)| {
                total = total.saturating_add(Amount::from_billionths(amount));
                Logged { at_ns, total }
            });
            Self(log.collect())
        }
    }

    impl CallLog for Fixed {
        type Error = Infallible;
        fn first(&self) -> u64 {
            100
        }
        fn next(&self) -> u64 {
            100 + self.0.len() as u64
        }
        fn base(&self) -> Amount {
            Amount::from_billionths(7)
        }
        fn total(&self) -> Amount {
            self.0.last().map_or(self.base(), |call| call.total)
        }
        fn call(&mut self, seq: u64) -> Result<Logged, Infallible> {
            Ok(self.0[(seq - 100) as usize])
        }
    }

    const MS: u64 = 1_000_000;
    const TEN_MS: Window = Window::Sliding { window_ms: 10 };

    fn claim(window: Window, amount: i128, at_least: i128, at_most: i128) -> Claim {
        let [amount, at_least, at_most] = [amount, at_least, at_most].map(Amount::from_billionths);
        Claim { key: String::new(), window, amount, at_least, at_most }
    }

    fn judged(calls: &[(u64, i128)], claim: &Claim, now_ns: u64) -> (i128, Room) {
        let Ok(Judgement { before, room }) = judge(&mut Fixed::of(calls), claim, Amount::ZERO, now_ns);
        (before.billionths(), room)
    }

    /// The answer on an amount of `amount` of `at_most` in any ten milliseconds.
    fn sliding(calls: &[(u64, i128)], amount: i128, at_most: i128, now_ns: u64) -> (i128, Room) {
        judged(calls, &claim(TEN_MS, amount, i128::MIN, at_most), now_ns)
    }

    #[test]
    fn call_stands_until_the_window_has_passed_and_no_longer() {
        assert_eq!(sliding(&[(0, 1)], 1, 1, 10 * MS - 1), (1, Room::FullUntil(10 * MS)));
        assert_eq!(sliding(&[(0, 1)], 1, 1, 10 * MS), (0, Room::Free));
    }

    #[test]
    fn amounts_fit_up_to_the_bound_and_not_one_billionth_over() {
        assert_eq!(sliding(&[(1, 3), (2, 4)], 3, 10, 5), (7, Room::Free));
        assert_eq!(sliding(&[(1, 3), (2, 4)], 4, 10, 5), (7, Room::FullUntil(10 * MS + 1)));
    }

    #[test]
    fn waits_until_exactly_enough_has_fallen_out() {
        let calls = [(1, 3), (2, 4), (3, 0), (4, 2)];
        for (amount, seq_at) in [(2, 1), (4, 1), (5, 2), (8, 2), (9, 4), (10, 4)] {
            assert_eq!(sliding(&calls, amount, 10, 5), (9, Room::FullUntil(10 * MS + seq_at)), "{amount}");
        }
        assert_eq!(sliding(&calls, 11, 10, 5), (9, Room::Never));
    }

    #[test]
    fn lowered_bound_waits_until_enough_has_fallen_out() {
        assert_eq!(sliding(&[(1, 1), (2, 1), (3, 1), (4, 1)], 1, 2, 5), (4, Room::FullUntil(10 * MS + 3)));
    }

    #[test]
    fn bound_below_what_the_call_brings_allows_none_ever() {
        assert_eq!(sliding(&[], 1, 0, 5), (0, Room::Never));
        assert_eq!(sliding(&[], 0, -1, 5), (0, Room::Never));
        assert_eq!(sliding(&[(1, 1)], 0, -1, 5), (1, Room::Never));
        assert_eq!(sliding(&[(1, 1)], 0, i128::MIN, 5), (1, Room::Never));
    }

    #[test]
    fn reading_waits_for_what_stands() {
        assert_eq!(sliding(&[(1, 1), (2, 1)], 0, 2, 5), (2, Room::Free));
        assert_eq!(sliding(&[(1, 1), (2, 1)], 0, 1, 5), (2, Room::FullUntil(10 * MS + 1)));
        assert_eq!(sliding(&[(1, 1), (2, 1)], 0, 0, 5), (2, Room::FullUntil(10 * MS + 2)));
    }

    #[test]
    fn lower_bound_is_on_what_stands_before_and_time_does_not_meet_it() {
        for (at_least, room) in [(2, Room::Free), (3, Room::Never)] {
            assert_eq!(judged(&[(1, 2)], &claim(TEN_MS, 1, at_least, i128::MAX), 5), (2, room));
        }
        assert_eq!(judged(&[(1, 2)], &claim(TEN_MS, 1, 1, i128::MAX), 10 * MS + 1), (0, Room::Never));
    }

    #[test]
    fn earlier_charges_of_the_same_call_count_against_the_upper_bound_alone() {
        let judged = |claim: Claim| {
            let Ok(judgement) = judge(&mut Fixed::of(&[(1, 2)]), &claim, Amount::from_billionths(3), 5);
            (judgement.before.billionths(), judgement.room)
        };
        assert_eq!(judged(claim(TEN_MS, 1, 2, 6)), (2, Room::Free));
        assert_eq!(judged(claim(TEN_MS, 1, 3, 6)), (2, Room::Never));
        assert_eq!(judged(claim(TEN_MS, 1, 2, 5)), (2, Room::FullUntil(10 * MS + 1)));
        assert_eq!(judged(claim(TEN_MS, 1, 2, 3)), (2, Room::Never));
    }

    #[test]
    fn calendar_counts_from_the_start_of_the_unit() {
        let claim = claim(Window::Calendar { unit: CalendarUnit::Minute }, 1, i128::MIN, 2);
        let minute = 60_000 * MS;
        assert_eq!(judged(&[(minute - 1, 1), (minute, 1)], &claim, minute), (1, Room::Free));
        let calls = [(minute, 1), (minute + 7, 1)];
        assert_eq!(judged(&calls, &claim, minute + 9), (2, Room::FullUntil(2 * minute)));
        assert_eq!(judged(&calls, &claim, 2 * minute), (0, Room::Free));
    }

    #[test]
    fn a_total_that_would_overflow_and_an_amount_no_call_may_bring_never_fit() {
        let nearly = [(1, i128::MAX - 7 - 5)];
        let open = |amount| claim(TEN_MS, amount, i128::MIN, i128::MAX);
        assert_eq!(judged(&nearly, &open(5), 10 * MS + 1).1, Room::Free);
        assert_eq!(judged(&nearly, &open(6), 10 * MS + 1).1, Room::Never);
        assert_eq!(judged(&nearly, &open(6), 5).1, Room::Never);
        assert_eq!(judged(&[], &open(Amount::CALL_MAX.billionths()), 5).1, Room::Free);
        assert_eq!(judged(&[], &open(Amount::CALL_MAX.billionths() + 1), 5).1, Room::Never);
        assert_eq!(judged(&[], &open(-1), 5).1, Room::Never);
    }

    #[test]
    fn bounds_of_time_do_not_wrap() {
        let claim = claim(Window::Sliding { window_ms: u64::MAX }, 1, i128::MIN, 1);
        assert_eq!(judged(&[(5, 1)], &claim, u64::MAX - 1), (1, Room::FullUntil(u64::MAX)));
    }
}
