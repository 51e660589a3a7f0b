//! The time that calls are logged in.
//!
//! Within one boot it runs with `CLOCK_BOOTTIME`, so that setting the wall clock neither frees nor blocks a quota. A new boot takes up
//! at the wall clock, or at the last instant seen where the wall clock stands before that. It never goes back: a reading behind what
//! another supervisor has already logged counts as the same instant.

use crate::clock::Now;
use crate::weaken;

/// What a store keeps of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The boot that `offset_ns` holds for (`/proc/sys/kernel/random/boot_id`).
    pub(super) boot_id: String,
    /// Log time minus boottime, nanoseconds.
    pub(super) offset_ns: i64,
    /// The latest instant logged, nanoseconds since the Unix epoch.
    pub(super) seen_ns: i64,
}

/// One instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant {
    /// When a call made now is logged; never before an earlier one.
    pub(super) log_ns: u64,
    /// The same clock without that rule; waits are counted from here, since it runs on while the other may stand.
    pub(super) raw_ns: u64,
}

impl Timeline {
    /// A timeline that begins now, at the wall clock.
    pub(super) fn begin(boot_id: &str, now: Now) -> Self {
        Self { boot_id: boot_id.to_owned(), offset_ns: signed(now.wall_ns) - signed(now.boot_ns), seen_ns: 0 }
    }

    /// Takes up the timeline in the boot `boot_id`. True when that is another boot than before, so that it must be kept.
    pub(super) fn adopt(&mut self, boot_id: &str, now: Now) -> bool {
        if self.boot_id == boot_id {
            return false;
        }
        let mut resumes_ns = signed(now.wall_ns);
        if weaken::in_force("limit-clock") {
            resumes_ns = resumes_ns.max(self.seen_ns);
        }
        self.boot_id = boot_id.to_owned();
        self.offset_ns = resumes_ns - signed(now.boot_ns);
        true
    }

    /// The instant of a reading in the adopted boot.
    pub(super) fn instant(&mut self, now: Now) -> Instant {
        let raw_ns = signed(now.boot_ns).saturating_add(self.offset_ns);
        self.seen_ns = self.seen_ns.max(raw_ns);
        Instant { log_ns: unsigned(self.seen_ns), raw_ns: unsigned(raw_ns) }
    }
}

/// Nanoseconds since the epoch leave `i64` in the year 2262.
pub(super) fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn now(wall_ns: u64, boot_ns: u64) -> Now {
        Now { wall_ns, boot_ns }
    }

    #[test]
    fn within_a_boot_only_boottime_counts() {
        let mut timeline = Timeline::begin("a", now(1_000, 10));
        assert!(!timeline.adopt("a", now(5, 20)));
        assert_eq!(timeline.instant(now(5, 20)), Instant { log_ns: 1_010, raw_ns: 1_010 });
        assert_eq!(timeline.instant(now(9_999_999, 30)).log_ns, 1_020);
    }

    #[test]
    fn new_boot_takes_up_at_the_wall_clock() {
        let mut timeline = Timeline::begin("a", now(1_000, 10));
        assert_eq!(timeline.instant(now(1_000, 10)).log_ns, 1_000);
        assert!(timeline.adopt("b", now(5_000, 3)));
        assert_eq!(timeline.instant(now(5_000, 3)), Instant { log_ns: 5_000, raw_ns: 5_000 });
    }

    #[test]
    fn wall_clock_set_back_between_boots_does_not_take_time_back() {
        let mut timeline = Timeline::begin("a", now(1_000, 10));
        assert_eq!(timeline.instant(now(1_000, 50)).log_ns, 1_040);
        assert!(timeline.adopt("b", now(7, 3)));
        assert_eq!(timeline.instant(now(7, 3)), Instant { log_ns: 1_040, raw_ns: 1_040 });
        assert_eq!(timeline.instant(now(8, 4)).log_ns, 1_041);
    }

    #[test]
    fn reading_behind_what_was_logged_counts_as_that_instant() {
        let mut timeline = Timeline::begin("a", now(1_000, 10));
        assert_eq!(timeline.instant(now(0, 30)).log_ns, 1_020);
        assert_eq!(timeline.instant(now(0, 25)), Instant { log_ns: 1_020, raw_ns: 1_015 });
    }
}
