//! Which starts of programs, and which openings of files, get a record of their own: all of a server that makes a few; of one that makes
//! them without end so many at once and so many a second, the rest counted by program or file ([`Repeats`]).

use super::repeats::{Countable, Repeats};
use crate::bounds::{TALLY_A_SECOND_MAX, TALLY_AT_ONCE_MAX};

/// Time for one more record, milliseconds.
const EACH_MS: u64 = 1000 / TALLY_A_SECOND_MAX;

/// The records that are left, and the counters of what got none. Times are milliseconds of any clock.
#[derive(Debug)]
pub struct Tally<E: Countable> {
    left: u64,
    since_ms: u64,
    repeats: Repeats<E>,
}

impl<E: Countable> Default for Tally<E> {
    fn default() -> Self {
        Self { left: TALLY_AT_ONCE_MAX, since_ms: 0, repeats: Repeats::default() }
    }
}

impl<E: Countable> Tally<E> {
    /// Takes an event; gives it back when it is to be reported now.
    #[must_use]
    pub fn push(&mut self, event: E, now_ms: u64) -> Option<E> {
        let more = now_ms.saturating_sub(self.since_ms) / EACH_MS;
        self.since_ms = self.since_ms.saturating_add(more * EACH_MS);
        self.left = self.left.saturating_add(more).min(TALLY_AT_ONCE_MAX);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(event)
            }
            None => self.repeats.push(event, now_ms),
        }
    }

    /// What has been counted and is due at `now_ms`.
    #[must_use]
    pub fn due(&mut self, now_ms: u64) -> Vec<E> {
        self.repeats.due(now_ms)
    }

    /// Everything that has been counted and not been reported, for the end of the session.
    #[must_use]
    pub fn drain(&mut self) -> Vec<E> {
        self.repeats.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::REPEATS_PAUSE_MIN_MS;
    use crate::egress::exec_events::ExecStart;

    fn started(pid: u32) -> ExecStart {
        let path = Some("/bin/true".to_owned());
        let comm = String::new();
        ExecStart { path, interpreter: None, cut: false, pid, ppid: None, comm, count: 1, others: false, denied: false }
    }

    #[test]
    fn a_few_starts_of_one_program_have_a_record_each() {
        let mut tally = Tally::default();
        for pid in 0..1000 {
            let now_ms = u64::from(pid) * EACH_MS;
            assert_eq!(tally.push(started(pid), now_ms), Some(started(pid)), "at the pace without end");
        }
        assert_eq!((tally.due(u64::MAX), tally.drain()), (vec![], vec![]));
    }

    #[test]
    fn a_flood_has_as_many_as_fit_and_a_count() {
        let mut tally = Tally::default();
        let told = (0..10_000).filter_map(|pid| tally.push(started(pid), 0)).count() as u64;
        assert_eq!(told, TALLY_AT_ONCE_MAX + 1, "and the first that is counted");
        let due = tally.due(REPEATS_PAUSE_MIN_MS);
        assert_eq!(due.iter().map(|start| start.count).collect::<Vec<_>>(), [10_000 - told]);
        // What was left comes back with time, and no more than at once.
        let told = (0..10_000).filter_map(|pid| tally.push(started(pid), 2 * EACH_MS)).count() as u64;
        assert_eq!(told, 2);
        let told = (0..10_000).filter_map(|pid| tally.push(started(pid), u64::MAX / 2)).count() as u64;
        assert_eq!(told, TALLY_AT_ONCE_MAX);
        assert_eq!(tally.drain().iter().map(|start| start.count).sum::<u64>(), 20_000 - 2 - TALLY_AT_ONCE_MAX);
    }
}
