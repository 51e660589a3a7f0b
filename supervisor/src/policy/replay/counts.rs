//! Rate limits over the recorded times.
//!
//! Calls of which it cannot be said whether they would be allowed leave two counts: what stands for certain, and what may
//! stand. A call is refused for certain when the first is full, and allowed for certain when the second has room.

use std::collections::{HashMap, HashSet};

use super::RecordedLimit;
use crate::limits::{Claim, NEVER_MS, Window};

/// Times of the calls charged to each counter, ascending.
#[derive(Debug, Default)]
pub(super) struct Counts {
    certain: HashMap<String, Vec<u64>>,
    possible: HashMap<String, Vec<u64>>,
    /// What the recorded policy charged, as far as the log names the counter.
    recorded: HashMap<String, Vec<u64>>,
    /// Counters that held more than the log explains. A record names one counter, so where a call was charged to several, this
    /// can be said of one that no other session touches: then less is said, nothing wrong.
    shared: HashSet<String>,
}

/// What the limits say of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Granted,
    /// The rule that is named, and its limit in words.
    Refused(String, String),
    /// One of several does; which is named cannot be told.
    RefusedBySome,
    CannotSay(String),
}

/// A limit that a call is charged to.
pub(super) struct Charge {
    pub(super) rule: String,
    /// In words.
    pub(super) limit: String,
    pub(super) claim: Claim,
}

impl Counts {
    /// Charges all, or none. `certain`: whether the call passes all else.
    pub(super) fn charge(&mut self, charges: &[Charge], at_ns: u64, certain: bool) -> Answer {
        let waits: Vec<_> = charges.iter().map(|charge| self.wait(&charge.claim, at_ns)).collect();
        if waits.iter().any(|wait| wait.least_ms > 0) {
            return match named(&waits).map(|index| &charges[index]) {
                Some(charge) => Answer::Refused(charge.rule.clone(), format!("at most {}", charge.limit)),
                None => Answer::RefusedBySome,
            };
        }
        let mut open = None;
        for (Charge { rule, claim, .. }, wait) in charges.iter().zip(waits) {
            if self.shared.contains(&claim.key) {
                let why = "holds more than this log explains: other sessions may count in it too";
                open = Some(format!("the limit of rule {rule} {why}"));
            } else if wait.most_ms > 0 {
                open = Some(format!("the limit of rule {rule} depends on calls of which it cannot be said"));
            }
        }
        for Charge { claim, .. } in charges {
            self.possible.entry(claim.key.clone()).or_default().push(at_ns);
            if certain && open.is_none() {
                self.certain.entry(claim.key.clone()).or_default().push(at_ns);
            }
        }
        open.map_or(Answer::Granted, Answer::CannotSay)
    }

    /// The calls that stand for certain make a wait that no other call shortens.
    fn wait(&self, claim: &Claim, at_ns: u64) -> Wait {
        let least_ms = wait_ms(self.certain.get(&claim.key), claim, at_ns);
        let most_ms = wait_ms(self.possible.get(&claim.key), claim, at_ns);
        let elsewhere = self.shared.contains(&claim.key) && most_ms < NEVER_MS;
        Wait { least_ms, most_ms: if elsewhere { NEVER_MS - 1 } else { most_ms } }
    }

    /// Learns from what a record says of a limit: a count above what this log explains may come from elsewhere.
    pub(super) fn note(&mut self, limit: &RecordedLimit, window: Window, at_ns: u64, allowed: bool) {
        let known = self.recorded.entry(limit.key.clone()).or_default();
        if limit.used.saturating_sub(u64::from(allowed)) > standing(Some(known), window, at_ns).len() as u64 {
            self.shared.insert(limit.key.clone());
        }
        if allowed {
            known.push(at_ns);
        }
    }
}

/// How long a limit refuses calls, milliseconds: 0 where it has room, `NEVER_MS` where it allows none.
#[derive(Clone, Copy, Debug)]
struct Wait {
    least_ms: u64,
    most_ms: u64,
}

/// Of several full limits the store names the one that is full the longest, the first of these. None where another may be.
fn named(waits: &[Wait]) -> Option<usize> {
    let is_named = |index: usize, wait: &Wait| {
        let (before, after) = (&waits[..index], &waits[index + 1..]);
        before.iter().all(|other| other.most_ms < wait.least_ms)
            && after.iter().all(|other| other.most_ms <= wait.least_ms)
    };
    waits.iter().enumerate().find(|(index, wait)| wait.least_ms > 0 && is_named(*index, wait)).map(|(index, _)| index)
}

/// As the store has it: once one of the calls that stand has left, and all before it, one more has room.
fn wait_ms(times: Option<&Vec<u64>>, claim: &Claim, at_ns: u64) -> u64 {
    let max = usize::try_from(claim.at_most.whole()).unwrap_or(usize::MAX);
    if max == 0 {
        return NEVER_MS;
    }
    let standing = standing(times, claim.window, at_ns);
    let last = standing.len().checked_sub(max).map(|index| standing[index]);
    last.map_or(0, |time| until_ns(claim.window, time).saturating_sub(at_ns).div_ceil(1_000_000))
}

/// The times that stand in the window that `at_ns` ends.
fn standing(times: Option<&Vec<u64>>, window: Window, at_ns: u64) -> &[u64] {
    let times = times.map(Vec::as_slice).unwrap_or_default();
    &times[times.partition_point(|time| until_ns(window, *time) <= at_ns)..]
}

/// The first instant at which a call of this time no longer stands.
fn until_ns(window: Window, time_ns: u64) -> u64 {
    match window {
        Window::Sliding { window_ms } => time_ns.saturating_add(window_ms.saturating_mul(1_000_000)),
        Window::Calendar { unit } => {
            let length_ns = unit.seconds() * 1_000_000_000;
            (time_ns / length_ns + 1).saturating_mul(length_ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_only_where_no_other_can_be() {
        type Case = (&'static [(u64, u64)], Option<usize>);
        let cases: &[Case] = &[
            (&[(5, 5)], Some(0)),
            (&[(5, 5), (7, 7)], Some(1)),
            (&[(5, 5), (5, 5)], Some(0)),
            (&[(5, 5), (0, 0)], Some(0)),
            (&[(0, 0), (5, 5)], Some(1)),
            (&[(5, 9), (7, 7)], None),
            (&[(5, 7), (7, 7)], None),
            (&[(7, 7), (5, 7)], Some(0)),
            (&[(0, 9), (7, 7)], None),
            (&[(7, 7), (0, NEVER_MS - 1)], None),
            (&[(0, NEVER_MS - 1), (NEVER_MS, NEVER_MS), (NEVER_MS, NEVER_MS)], Some(1)),
        ];
        for (waits, index) in cases {
            let of = |&(least_ms, most_ms): &(u64, u64)| Wait { least_ms, most_ms };
            assert_eq!(named(&waits.iter().map(of).collect::<Vec<_>>()), *index, "{waits:?}");
        }
    }

    #[test]
    fn a_limit_is_full_until_the_last_call_too_many_has_left() {
        let claim = |max, window| Claim {
            key: "k".into(),
            window,
            amount: crate::limits::Amount::ONE,
            at_least: crate::limits::Amount::MIN,
            at_most: crate::limits::Amount::calls(max),
        };
        let times = [1, 2, 3].map(|second: u64| second * 1_000_000_000).to_vec();
        let waits = |max, window, at_ms: u64| wait_ms(Some(&times), &claim(max, window), at_ms * 1_000_000);
        let ten = Window::Sliding { window_ms: 10_000 };
        assert_eq!([4, 3, 2, 1, 0].map(|max| waits(max, ten, 4_000)), [0, 7_000, 8_000, 9_000, NEVER_MS]);
        assert_eq!([10_999, 11_000].map(|at_ms| waits(3, ten, at_ms)), [1, 0]);
        let minute = Window::Calendar { unit: crate::limits::CalendarUnit::Minute };
        assert_eq!([4_000, 59_999, 60_000].map(|at_ms| waits(3, minute, at_ms)), [56_000, 1, 0]);
    }
}
