//! Paces: calls of a rule no closer together than `every`, but for a burst after a rest.
//!
//! The algorithm is governor's GCRA (the generic cell rate algorithm of ITU-T I.371): a rule is a leaky bucket of `burst` calls that
//! drips one each `every`. Governor decides; the state, one instant a rule, is kept here, so that a grant can wait for the limit store's
//! word and be dropped without a trace. In memory: a pace smooths a session, the exact limits are the stores'.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::NEVER_MS;
use crate::bounds::{PACE_REST_MS_MAX, PACES_MAX};
use crate::clock::Now;
use crate::weaken;

/// The paces of one session's rules, by rule id.
///
/// At most [`PACES_MAX`] rules are remembered. One that has rested for its whole burst is forgotten when room is needed: it is as good as
/// new. While none has, calls of further rules are refused.
#[derive(Debug, Default)]
pub struct Paces {
    rules: HashMap<String, Paced>,
}

/// One rule's pace and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paced {
    every_ms: u64,
    burst: u32,
    /// GCRA's theoretical arrival time: the instant of boottime at which the rule will have rested.
    rested: Nanos,
}

/// A call too early for at least one pace; nothing was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Early {
    /// Index of the pace that frees last.
    pub index: usize,
    /// Milliseconds until all of them let the call pass, if no other call does: rounded up to the millisecond, so that a retry after
    /// exactly that long is granted and one a millisecond earlier is not. [`NEVER_MS`] where the pace allows no call at all.
    pub retry_after_ms: u64,
}

/// The right to one call at every pace that was asked for; nothing is consumed until [`Permit::commit`].
#[derive(Debug)]
#[must_use = "a permit that is dropped consumes nothing"]
pub struct Permit<'p> {
    paces: &'p mut Paces,
    granted: Vec<(String, Paced)>,
}

impl Permit<'_> {
    /// Consumes one call of each pace.
    pub fn commit(self) {
        self.paces.rules.extend(self.granted);
    }
}

impl Paces {
    /// No rule has been called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether one call may pass now at every one of `paces`: a rule's id, `every` in milliseconds, and its burst. A rule whose `every` or
    /// burst differ from last time starts anew, rested. An id that is given twice takes two calls of its burst.
    ///
    /// # Errors
    /// When at least one is too early, or allows no call: `every` or the burst is 0, or they multiply to more than
    /// [`PACE_REST_MS_MAX`].
    pub fn check(&mut self, now: Now, paces: &[(&str, u64, u32)]) -> Result<Permit<'_>, Early> {
        let mut granted = Vec::with_capacity(paces.len());
        let mut early: Option<Early> = None;
        for (index, &(rule_id, every_ms, burst)) in paces.iter().enumerate() {
            let calls = paces[..=index].iter().filter(|(id, ..)| *id == rule_id).count();
            match self.check_one(now, rule_id, (every_ms, burst), calls) {
                Ok(paced) => granted.push((rule_id.to_owned(), paced)),
                Err(retry_after_ms) if early.is_none_or(|early| retry_after_ms > early.retry_after_ms) => {
                    early = Some(Early { index, retry_after_ms });
                }
                Err(_) => {}
            }
        }
        let Some(early) = early.or_else(|| self.make_room(now, &granted)) else {
            return Ok(Permit { paces: self, granted });
        };
        Err(early)
    }

    /// The rule's state after `calls` more calls, or how long it refuses them, milliseconds.
    fn check_one(&self, now: Now, rule_id: &str, (every_ms, burst): (u64, u32), calls: usize) -> Result<Paced, u64> {
        let rest_ms = every_ms.checked_mul(u64::from(burst)).filter(|ms| (1..=PACE_REST_MS_MAX).contains(ms));
        let (Some(_), Some(cells)) = (rest_ms, NonZeroU32::new(burst)) else {
            return Err(NEVER_MS);
        };
        let quota = Quota::with_period(Duration::from_millis(every_ms)).ok_or(NEVER_MS)?.allow_burst(cells);
        // Governor multiplies before it compares with the burst; what exceeds it must not get there.
        let calls =
            u32::try_from(calls).ok().filter(|calls| *calls <= burst).and_then(NonZeroU32::new).ok_or(NEVER_MS)?;
        let stored = self.rules.get(rule_id).filter(|paced| (paced.every_ms, paced.burst) == (every_ms, burst));
        let rested = stored.map(|paced| paced.rested);

        let limiter: RateLimiter<_, _, _, NoOpMiddleware<Nanos>> =
            RateLimiter::new(quota, State(Cell::new(rested)), Reading(Cell::new(Nanos::new(0))));
        let now = Nanos::new(now.boot_ns);
        limiter.clock().0.set(now);
        match limiter.check_n(calls) {
            Ok(Ok(())) => {}
            _ if !weaken::in_force("pace") => {}
            Ok(Err(until)) => {
                let wait_ms = until.wait_time_from(now).as_nanos().div_ceil(1_000_000);
                return Err(u64::try_from(wait_ms).unwrap_or(NEVER_MS));
            }
            Err(_more_than_the_burst) => return Err(NEVER_MS),
        }
        let rested = limiter.into_state_store().0.get().unwrap_or(now);
        Ok(Paced { every_ms, burst, rested })
    }

    /// Makes room for those rules of `granted` that are not remembered yet, or says when there will be.
    fn make_room(&mut self, now: Now, granted: &[(String, Paced)]) -> Option<Early> {
        let ids: BTreeSet<&str> = granted.iter().map(|(id, _)| id.as_str()).collect();
        let excess = |rules: &HashMap<String, Paced>| {
            let others = rules.keys().filter(|id| !ids.contains(id.as_str())).count();
            (others + ids.len()).saturating_sub(PACES_MAX)
        };
        if self.rules.len() + ids.len() <= PACES_MAX || excess(&self.rules) == 0 {
            return None;
        }
        self.rules.retain(|id, paced| ids.contains(id.as_str()) || paced.rested > Nanos::new(now.boot_ns));
        let last_to_leave = excess(&self.rules).checked_sub(1)?;
        let index = granted.iter().position(|(id, _)| !self.rules.contains_key(id)).unwrap_or(0);
        let others = self.rules.iter().filter(|(id, _)| !ids.contains(id.as_str()));
        let mut rested: Vec<u64> = others.map(|(_, paced)| paced.rested.as_u64()).collect();
        rested.sort_unstable();
        let wait_ms = rested.get(last_to_leave).map(|at_ns| at_ns.saturating_sub(now.boot_ns).div_ceil(1_000_000));
        Some(Early { index, retry_after_ms: wait_ms.unwrap_or(NEVER_MS) })
    }
}

/// A clock that shows what it is set to: the caller's reading of boottime.
struct Reading(Cell<Nanos>);

impl Clock for Reading {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get()
    }
}

/// The state of one limiter, for one question.
struct State(Cell<Option<Nanos>>);

impl StateStore for State {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = f(self.0.get())?;
        self.0.set(Some(next));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
