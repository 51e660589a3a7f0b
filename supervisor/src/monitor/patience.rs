//! How long the monitor waits for a word of the relay's. A relay that hangs must not keep the session; one that works is known by its
//! log, which grows, and gets more time, though not for ever.

use crate::bounds::{RELAY_WORD_WAIT_MAX_MS, RELAY_WORD_WAIT_MS};
use crate::weaken;

/// One wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When it is looked at next, nanoseconds since boot.
    due_ns: u64,
    /// When the word should have come whatever the relay does, nanoseconds since boot.
    last_ns: u64,
    /// The log's length when it was last looked at.
    log_bytes: u64,
}

impl Patience {
    /// The wait begins; the relay's log is `log_bytes` long.
    #[must_use]
    pub const fn begin(now_ns: u64, log_bytes: u64) -> Self {
        let due_ns = now_ns.saturating_add(RELAY_WORD_WAIT_MS * 1_000_000);
        let last_ns = now_ns.saturating_add(RELAY_WORD_WAIT_MAX_MS * 1_000_000);
        Self { due_ns, last_ns, log_bytes }
    }

    /// When the relay is looked at again, nanoseconds since boot.
    #[must_use]
    pub const fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Whether the relay's time is over. Where its log has grown since the last look, to `log_bytes`, it gets more.
    pub fn is_over(&mut self, now_ns: u64, log_bytes: u64) -> bool {
        if now_ns < self.due_ns {
            return false;
        }
        let works = log_bytes > self.log_bytes && weaken::in_force("relay-progress");
        if !works || now_ns >= self.last_ns {
            return true;
        }
        self.log_bytes = log_bytes;
        self.due_ns = now_ns.saturating_add(RELAY_WORD_WAIT_MS * 1_000_000).min(self.last_ns);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_NS: u64 = RELAY_WORD_WAIT_MS * 1_000_000;

    #[test]
    fn without_a_byte_more_there_is_no_time_more() {
        let mut patience = Patience::begin(7, 100);
        assert_eq!(patience.due_ns(), 7 + WAIT_NS);
        assert!(!patience.is_over(6 + WAIT_NS, 100) && patience.is_over(7 + WAIT_NS, 100));
    }

    #[test]
    fn a_relay_whose_log_grows_gets_more_time_and_not_for_ever() {
        let mut patience = Patience::begin(0, 100);
        assert!(!patience.is_over(WAIT_NS, 101));
        assert_eq!(patience.due_ns(), 2 * WAIT_NS);
        assert!(patience.is_over(2 * WAIT_NS, 101), "it stopped");
        let mut patience = Patience::begin(0, 0);
        let mut looks = 0;
        while !patience.is_over(patience.due_ns(), looks + 1) {
            looks += 1;
            assert!(looks < 1000, "it goes on for ever");
        }
        assert_eq!(patience.due_ns(), RELAY_WORD_WAIT_MAX_MS * 1_000_000);
    }
}
