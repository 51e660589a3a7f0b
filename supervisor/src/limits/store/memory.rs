//! Counts that die with the process. For tests.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use super::{quota_of, weigh};
use crate::clock::Now;
use crate::limits::timeline::Timeline;
use crate::limits::window::{CallLog, first_standing};
use crate::limits::{Claim, Reservation, Store, StoreError};

/// Counts in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    timeline: Option<Timeline>,
    counters: HashMap<String, Counter>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError> {
        let instant = self.timeline.get_or_insert_with(|| Timeline::begin("", now)).instant(now);
        let empty = Counter::default();
        let Ok(answer) = weigh(claims, instant, |claim| Ok(View(self.counters.get(&claim.key).unwrap_or(&empty))));
        if let Reservation::Granted { .. } = answer {
            for claim in claims {
                let counter = self.counters.entry(claim.key.clone()).or_default();
                let Ok(standing) = first_standing(&mut View(counter), quota_of(claim), instant.log_ns);
                counter.forget_before(standing);
                counter.times.push_back(instant.log_ns);
            }
        }
        Ok(answer)
    }
}

#[derive(Debug, Default)]
struct Counter {
    first: u64,
    times: VecDeque<u64>,
}

impl Counter {
    fn forget_before(&mut self, seq: u64) {
        self.times.drain(..(seq - self.first) as usize);
        self.first = seq;
    }
}

struct View<'c>(&'c Counter);

impl CallLog for View<'_> {
    type Error = Infallible;

    fn first(&self) -> u64 {
        self.0.first
    }

    fn next(&self) -> u64 {
        self.0.first + self.0.times.len() as u64
    }

    fn at_ns(&mut self, seq: u64) -> Result<u64, Infallible> {
        Ok(self.0.times[(seq - self.0.first) as usize])
    }
}
