//! When the server is counted, and when it may be stopped for it: a doubt is worth a stop, but doubts can be made, and a stop takes
//! time from calls. A server sees a walk through its folders when it looks out for it, so chance decides when one begins.

use crate::bounds::{
    FREEZE_EVERY_MS, FREEZE_NAMES_ONE_IN, FREEZE_REST_EXCESS_TIMES, FREEZE_REST_MS_MIN, FREEZE_REST_TIMES,
    FREEZE_SUSPECT_MS, METER_PAUSE_MS_MIN,
};

/// When the next stops are due, nanoseconds since boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From when on a doubt may stop the server.
    doubt_ns: u64,
    /// From when on too much by two counts of names and descriptors in a row may stop it, certain or not.
    excess_ns: u64,
    /// From when on its descriptors are looked at without a doubt.
    look_ns: u64,
    /// Until when it is suspect.
    suspect_ns: u64,
}

impl Pace {
    /// A doubt may stop the server at once; a look without one comes in its time, by `chance`.
    pub(super) const fn begin(now_ns: u64, chance: u64) -> Self {
        Self { doubt_ns: 0, excess_ns: 0, look_ns: now_ns.saturating_add(look_in_ns(0, chance)), suspect_ns: 0 }
    }

    /// Something moved during a count.
    pub(super) const fn doubt(&mut self, now_ns: u64) {
        self.suspect_ns = now_ns.saturating_add(FREEZE_SUSPECT_MS * 1_000_000);
    }

    /// Whether a doubt may stop it now.
    pub(super) const fn takes_doubts(&self, now_ns: u64) -> bool {
        now_ns >= self.doubt_ns
    }

    /// Whether too much by two counts of names and descriptors in a row may stop it now, where a doubt may not.
    pub(super) const fn takes_excess(&self, now_ns: u64) -> bool {
        now_ns >= self.excess_ns
    }

    /// Whether it is stopped before anything of it is looked at: one in two times while it is suspect, by `chance`.
    pub(super) const fn surprises(&self, now_ns: u64, chance: u64) -> bool {
        now_ns < self.suspect_ns && self.takes_doubts(now_ns) && chance.is_multiple_of(2)
    }

    /// Whether it is stopped for its names before they are looked at, by `chance`. Its rest is no matter: a server that measures a
    /// stop knows how long it rests, and whatever it puts away when it sees a walk begin it would have until then.
    pub(super) const fn surprises_names(&self, now_ns: u64, chance: u64) -> bool {
        now_ns < self.suspect_ns && chance.is_multiple_of(FREEZE_NAMES_ONE_IN)
    }

    /// Whether it is stopped without a doubt now.
    pub(super) const fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.look_ns
    }

    /// It stood still from `start_ns` to `end_ns`. When it is looked at next without a doubt, `chance` says.
    pub(super) fn stood_still(&mut self, start_ns: u64, end_ns: u64, chance: u64) {
        let took_ns = end_ns.saturating_sub(start_ns);
        let rest_ns = |times| took_ns.saturating_mul(times).max(FREEZE_REST_MS_MIN * 1_000_000);
        self.doubt_ns = end_ns.saturating_add(rest_ns(FREEZE_REST_TIMES));
        self.excess_ns = end_ns.saturating_add(rest_ns(FREEZE_REST_EXCESS_TIMES));
        self.look_ns = end_ns.saturating_add(look_in_ns(rest_ns(FREEZE_REST_TIMES), chance));
    }

    /// The pause until the next count, milliseconds: by `chance` from what the last count `took_ms` of a server that ran up to
    /// `longest_ms`, or to the end of the rest where it is not certain.
    pub(super) fn pause_ms(&self, now_ns: u64, longest_ms: u64, took_ms: u64, settled: bool, chance: u64) -> u64 {
        let least = took_ms.max(METER_PAUSE_MS_MIN);
        let rest_ms = self.doubt_ns.saturating_sub(now_ns).div_ceil(1_000_000);
        let most = if settled { longest_ms } else { longest_ms.min(rest_ms) }.max(least);
        least + chance % (most - least + 1)
    }
}

/// In how long the next look without a doubt comes, nanoseconds: half of [`FREEZE_EVERY_MS`] to three halves, after the rest.
const fn look_in_ns(rest_ns: u64, chance: u64) -> u64 {
    let every_ns = FREEZE_EVERY_MS * 1_000_000;
    let least_ns = if rest_ns > every_ns / 2 { rest_ns } else { every_ns / 2 };
    least_ns.saturating_add(chance % (every_ns + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_server_that_raises_doubts_all_the_time_loses_a_tenth_of_its_time() {
        let mut pace = Pace::begin(5, 0);
        assert!(pace.takes_doubts(5) && !pace.is_due(5), "the first doubt waits for nothing");
        let (mut now, mut still) = (5, 0);
        while now < 600_000 * MS {
            if pace.takes_doubts(now) {
                pace.stood_still(now, now + 40 * MS, 0);
                now += 40 * MS;
                still += 40 * MS;
            }
            now += MS;
        }
        assert!(still <= now / 10, "{still} of {now}");
        assert!(still >= now / 12, "and no less is looked at: {still} of {now}");
    }

    #[test]
    fn without_a_doubt_it_is_stopped_now_and_then() {
        let half = FREEZE_EVERY_MS / 2 * MS;
        let mut pace = Pace::begin(0, 0);
        assert!(!pace.is_due(half - 1) && pace.is_due(half));
        let late = Pace::begin(0, 2 * half);
        assert!(!late.is_due(3 * half - 1) && late.is_due(3 * half), "by chance");
        pace.stood_still(0, MS, 0);
        assert!(!pace.takes_doubts(FREEZE_REST_MS_MIN * MS) && pace.takes_doubts((FREEZE_REST_MS_MIN + 1) * MS));
        assert!(!pace.is_due(half) && pace.is_due(half + MS));
        pace.stood_still(0, MS, 2 * half);
        assert!(!pace.is_due(3 * half) && pace.is_due(3 * half + MS), "by chance again");
        pace.stood_still(0, 5_000 * MS, 0);
        assert!(!pace.is_due(5_000 * MS + FREEZE_EVERY_MS * MS), "a long look is followed by a longer rest");
        assert!(!pace.takes_excess(20_000 * MS - 1) && pace.takes_excess(20_000 * MS), "three times as long");
    }

    #[test]
    fn only_a_suspect_is_surprised_and_nobody_knows_when() {
        let mut pace = Pace::begin(0, 0);
        assert!(!pace.surprises(MS, 0), "no doubt yet");
        pace.doubt(MS);
        assert!(pace.surprises(2 * MS, 0) && !pace.surprises(2 * MS, 1));
        assert!(!pace.surprises((FREEZE_SUSPECT_MS + 1) * MS, 0), "it is forgotten");
        pace.stood_still(2 * MS, 3 * MS, 0);
        assert!(!pace.surprises(4 * MS, 0), "at its pace");
        let names = |chance| pace.surprises_names(4 * MS, chance);
        assert_eq!((0..800).filter(|chance| names(*chance)).count(), 100, "its names at no pace");
        assert!(!pace.surprises_names((FREEZE_SUSPECT_MS + 1) * MS, 0));
    }

    #[test]
    fn pauses_are_between_the_work_and_the_room() {
        let mut pace = Pace::begin(0, 0);
        let every = |pace: &Pace, now, longest, took, settled| {
            let pauses = (0..5000).map(|chance| pace.pause_ms(now, longest, took, settled, chance));
            pauses.clone().min().zip(pauses.max()).unwrap()
        };
        assert_eq!(every(&pace, 0, 1000, 3, true), (METER_PAUSE_MS_MIN, 1000));
        assert_eq!(every(&pace, 0, 1000, 500, true), (500, 1000));
        assert_eq!(every(&pace, 0, METER_PAUSE_MS_MIN, 0, true), (METER_PAUSE_MS_MIN, METER_PAUSE_MS_MIN));
        assert_eq!(every(&pace, 0, 1000, 1500, true), (1500, 1500));
        assert_eq!(every(&pace, 0, 1000, 3, false), (METER_PAUSE_MS_MIN, METER_PAUSE_MS_MIN), "a stop may come now");
        pace.stood_still(0, 50 * MS, 0);
        assert_eq!(every(&pace, 50 * MS, 1000, 3, false), (METER_PAUSE_MS_MIN, 450), "no later than it may");
    }
}
