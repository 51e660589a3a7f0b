//! Counts that die with the process: for tests, and for `policy test`, whose cases bring their own time.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use super::weigh;
use crate::bounds::MEMORY_STORE_CALLS_MAX;
use crate::clock::Now;
use crate::limits::timeline::Timeline;
use crate::limits::window::{CallLog, Logged, first_standing, kept, longest_reach_ms, total_before};
use crate::limits::{Amount, Claim, Reservation, Store, StoreError};

/// Counts in memory, by the same rules as [`super::SqliteStore`].
///
/// Its time begins with the first reservation, at that reading's wall clock, and runs with `boot_ns`; it never goes back. A story
/// that begins earlier needs a store of its own.
///
/// It keeps at most [`MEMORY_STORE_CALLS_MAX`] calls that may still stand in a window; a reservation that would need more is an error
/// and charges nothing.
#[derive(Debug, Default)]
pub struct MemoryStore {
    timeline: Option<Timeline>,
    counters: HashMap<String, Counter>,
    /// Calls kept, over all counters. Each counter keeps at least one, so it bounds them too.
    calls_kept: usize,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `wanted` more calls.
    fn make_room(&mut self, wanted: usize, log_ns: u64) -> Result<(), StoreError> {
        if self.calls_kept + wanted > MEMORY_STORE_CALLS_MAX {
            self.counters.retain(|_, counter| {
                counter.forget(log_ns);
                !counter.calls.is_empty()
            });
            self.calls_kept = self.counters.values().map(|counter| counter.calls.len()).sum();
        }
        if self.calls_kept + wanted > MEMORY_STORE_CALLS_MAX {
            return Err(StoreError::MemoryFull { calls_max: MEMORY_STORE_CALLS_MAX });
        }
        Ok(())
    }

    fn charge(&mut self, claim: &Claim, log_ns: u64) {
        let counter = self.counters.entry(claim.key.clone()).or_default();
        counter.reach_ms = longest_reach_ms(counter.reach_ms, claim);
        self.calls_kept -= counter.forget(log_ns);
        counter.total = counter.total.saturating_add(claim.amount);
        counter.calls.push_back(Logged { at_ns: log_ns, total: counter.total });
        self.calls_kept += 1;
    }
}

impl Store for MemoryStore {
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError> {
        let instant = self.timeline.get_or_insert_with(|| Timeline::begin("", now)).instant(now);
        let empty = Counter::default();
        let Ok(answer) = weigh(claims, instant, |claim| Ok(View(self.counters.get(&claim.key).unwrap_or(&empty))));
        if let Reservation::Granted { .. } = answer {
            let charges = || claims.iter().filter(|claim| claim.amount != Amount::ZERO);
            self.make_room(charges().count(), instant.log_ns)?;
            charges().for_each(|claim| self.charge(claim, instant.log_ns));
        }
        Ok(answer)
    }
}

#[derive(Debug, Default)]
struct Counter {
    /// Number of the oldest call kept.
    first: u64,
    /// All that was charged before it.
    base: Amount,
    /// All that was ever charged.
    total: Amount,
    /// The longest window that it was charged under, milliseconds.
    reach_ms: u64,
    calls: VecDeque<Logged>,
}

impl Counter {
    /// Forgets the calls that stand in no window any more, and says how many.
    fn forget(&mut self, log_ns: u64) -> usize {
        let Ok(standing) = first_standing(&mut View(self), kept(self.reach_ms), log_ns);
        let Ok(base) = total_before(&mut View(self), standing);
        let count = (standing - self.first) as usize;
        self.calls.drain(..count);
        (self.first, self.base) = (standing, base);
        count
    }
}

struct View<'c>(&'c Counter);

impl CallLog for View<'_> {
    type Error = Infallible;

    fn first(&self) -> u64 {
        self.0.first
    }

    fn next(&self) -> u64 {
        self.0.first + self.0.calls.len() as u64
    }

    fn base(&self) -> Amount {
        self.0.base
    }

    fn total(&self) -> Amount {
        self.0.total
    }

    fn call(&mut self, seq: u64) -> Result<Logged, Infallible> {
        Ok(self.0.calls[(seq - self.0.first) as usize])
    }
}
