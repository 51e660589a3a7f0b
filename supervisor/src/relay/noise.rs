//! A server that floods its stdout with what is not MCP: so many lines a second are recorded one by one, the rest are
//! counted (A8: the policed process cannot fill the log).

use crate::bounds::NOISE_RECORDS_A_SECOND;
use crate::clock::Now;

const SECOND_NS: u64 = 1_000_000_000;

/// How many lines this second had, and how many stand in no record yet.
#[derive(Debug, Default)]
pub(super) struct Noise {
    second_ns: u64,
    seen: u32,
    uncounted: u64,
}

impl Noise {
    /// Whether the next line gets a record of its own; if not, it is counted.
    pub(super) fn admits(&mut self, now: Now) -> bool {
        if now.boot_ns >= self.second_ns.saturating_add(SECOND_NS) {
            self.second_ns = now.boot_ns;
            self.seen = 0;
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen <= NOISE_RECORDS_A_SECOND {
            return true;
        }
        self.uncounted += 1;
        false
    }

    /// The count that is due for its record, once a second.
    pub(super) fn due(&mut self, now: Now) -> Option<u64> {
        let is_due = self.deadline_ns().is_some_and(|deadline_ns| now.boot_ns >= deadline_ns);
        is_due.then(|| std::mem::take(&mut self.uncounted))
    }

    /// What no record has yet, for the end of the session.
    pub(super) fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.uncounted)).filter(|count| *count > 0)
    }

    /// When a count falls due, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        (self.uncounted > 0).then(|| self.second_ns.saturating_add(SECOND_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(boot_ns: u64) -> Now {
        Now { wall_ns: 0, boot_ns }
    }

    #[test]
    fn a_flood_is_counted_and_nothing_is_lost() {
        let mut noise = Noise::default();
        let admitted = (0..10_000).filter(|_| noise.admits(at(5 * SECOND_NS))).count();
        assert_eq!(admitted, NOISE_RECORDS_A_SECOND as usize);
        assert_eq!(noise.due(at(6 * SECOND_NS - 1)), None);
        assert_eq!(noise.deadline_ns(), Some(6 * SECOND_NS));
        assert_eq!(noise.due(at(6 * SECOND_NS)), Some(10_000 - u64::from(NOISE_RECORDS_A_SECOND)));
        assert_eq!(noise.deadline_ns(), None);
        assert!(noise.admits(at(6 * SECOND_NS)), "a new second");
        assert_eq!(noise.rest(), None);
    }
}
