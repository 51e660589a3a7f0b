//! Quotas: how many calls stand in a window, and where the count is kept.

#![forbid(unsafe_code)]

mod calendar;
mod store;
mod timeline;
mod window;

pub use store::{MemoryStore, SqliteStore};

use crate::clock::Now;

/// The `retry_after_ms` of a limit that never allows the call (`max: 0`). Say "never", not a number.
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

/// One limit that a call touches. `key` names the counter: scope, tool and rule, never the policy's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The counter.
    pub key: String,
    /// What it allows.
    pub quota: Quota,
}

/// What the store answered. All claims are charged, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reservation {
    /// Every claim was charged once.
    Granted {
        /// Calls standing in each claim's window now, this one included; same order as the claims.
        used: Vec<u64>,
    },
    /// At least one limit is exhausted; nothing was charged.
    Exhausted {
        /// Index of the exhausted claim that frees last.
        index: usize,
        /// Calls standing in its window.
        used: u64,
        /// Milliseconds until all claims could be granted, if nothing else is charged: rounded up to the millisecond, so that a retry
        /// after exactly that long is granted. [`NEVER_MS`] when none ever is.
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
}

/// Where counts are kept. Implementations: memory (tests), SQLite (default).
pub trait Store {
    /// Charges every claim or none, atomically against every other supervisor on the same store.
    ///
    /// # Errors
    /// When the store cannot be read or written; nothing was charged then.
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError>;
}
