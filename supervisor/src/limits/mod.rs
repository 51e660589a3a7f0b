//! Quotas: how much stands in a window, and where the count is kept; paces, which keep calls apart.

#![forbid(unsafe_code)]

mod amount;
mod calendar;
pub mod pace;
mod store;
mod timeline;
mod window;

pub use amount::Amount;
pub use store::{LateStore, MemoryStore, SqliteStore, redis};

use crate::clock::Now;

/// The `retry_after_ms` of a limit that no passing of time frees (`max: 0`, a lower bound). Say "never", not a number.
pub const NEVER_MS: u64 = u64::MAX;

/// How much is allowed in which span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// At most `max` in any `window_ms` milliseconds (P2).
    Sliding {
        /// Calls allowed; 0 allows none.
        max: u64,
        /// Length of the window, milliseconds.
        window_ms: u64,
    },
    /// At most `max` in each unit of the UTC calendar.
    Calendar {
        /// Calls allowed in a unit; 0 allows none.
        max: u64,
        /// The unit.
        unit: CalendarUnit,
    },
}

/// A unit of the UTC calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From second 0 to second 59.
    Minute,
    /// From minute 0 to minute 59.
    Hour,
    /// From 00:00 to 23:59 UTC.
    Day,
}

/// The span of time that a counter counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Any span of `window_ms` milliseconds.
    Sliding {
        /// Its length, milliseconds.
        window_ms: u64,
    },
    /// The current unit of the UTC calendar.
    Calendar {
        /// The unit.
        unit: CalendarUnit,
    },
}

impl Window {
    /// Its length, milliseconds.
    #[must_use]
    pub const fn length_ms(self) -> u64 {
        match self {
            Self::Sliding { window_ms } => window_ms,
            Self::Calendar { unit } => unit.seconds() * 1000,
        }
    }
}

impl Quota {
    /// The span it counts in.
    #[must_use]
    pub const fn window(self) -> Window {
        match self {
            Self::Sliding { window_ms, .. } => Window::Sliding { window_ms },
            Self::Calendar { unit, .. } => Window::Calendar { unit },
        }
    }

    /// Calls allowed in it.
    #[must_use]
    pub const fn max(self) -> u64 {
        match self {
            Self::Sliding { max, .. } | Self::Calendar { max, .. } => max,
        }
    }
}

impl CalendarUnit {
    /// Its name in policies and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length, seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

/// One counter that a call touches. `key` names it: scope, tool and rule, never the policy's hash.
///
/// It fits while `at_least <= standing` and `standing + amount <= at_most`, where `standing` is the exact sum of the amounts logged in
/// the window. Claims on one counter in one reservation are charged one after the other, so that a later one's `at_most` counts the
/// earlier ones in; `at_least`, and a claim that only reads, see what stands before the whole call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The counter.
    pub key: String,
    /// The span it counts in.
    pub window: Window,
    /// What the call adds, at most [`Amount::CALL_MAX`]; more, or less than nothing, never fits. [`Amount::ZERO`] only reads: nothing is
    /// logged.
    pub amount: Amount,
    /// What must already stand in the window before the call; [`Amount::MIN`] for no such bound.
    pub at_least: Amount,
    /// What may stand in the window with the call; [`Amount::MAX`] for no such bound.
    pub at_most: Amount,
}

impl Claim {
    /// One call on a rate limit.
    #[must_use]
    pub const fn call(key: String, quota: Quota) -> Self {
        let at_most = Amount::calls(quota.max());
        Self { key, window: quota.window(), amount: Amount::ONE, at_least: Amount::MIN, at_most }
    }
}

/// What the store answered. All claims are charged, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reservation {
    /// Every claim that does not only read was charged once.
    Granted {
        /// What stands in each claim's window now, in the order of the claims: with the claim and the earlier ones on its counter charged;
        /// before the call where the claim only reads.
        used: Vec<Amount>,
    },
    /// At least one bound does not hold; nothing was charged.
    Exhausted {
        /// Index of the exhausted claim that frees last.
        index: usize,
        /// What stands in its window, this call not included.
        used: Amount,
        /// Milliseconds until all claims could be granted, if nothing else is charged: rounded up to the millisecond, so that a retry
        /// after exactly that long is granted, and one a millisecond earlier is not. [`NEVER_MS`] when the passing of time alone does
        /// not free it; passing time only lowers what stands, so it also undoes lower bounds.
        retry_after_ms: u64,
    },
}

/// Why a store could not answer. The caller denies the call (`store_down`).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("limit store {path}: {what}")]
    Database {
        /// Where it stands.
        path: String,
        /// What the database said.
        what: String,
    },
    /// Every call that the memory may hold still stands.
    #[error("limit store in memory: full with {calls_max} calls")]
    MemoryFull {
        /// Calls that it may hold.
        calls_max: usize,
    },
}

/// Where counts are kept. Implementations: memory (tests, `policy test`), SQLite (default).
pub trait Store {
    /// Charges every claim or none, atomically against every other supervisor on the same store.
    ///
    /// # Errors
    /// When the store cannot be read or written; nothing was charged then.
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError>;
}
