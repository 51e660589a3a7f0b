//! Counts equal events, so that a flood of denials is a few records with a count and not a flood of records.
//!
//! The first of a kind is reported at once; later ones are counted and reported after a pause that doubles while they go
//! on. Memory is bounded by [`REPEATS_KEYS_MAX`] kinds; whatever is beyond shares one counter for each operation and verdict.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::bounds::{REPEATS_KEEP_MS, REPEATS_KEYS_MAX, REPEATS_PAUSE_MAX_MS, REPEATS_PAUSE_MIN_MS};
use crate::egress::report::{NetEvent, NetOp, NetVerdict};

/// The reason of the record for what no slot was left for.
pub const OVERFLOW_REASON: &str = "many different events; these are counted without their details";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    op: NetOp,
    verdict: NetVerdict,
    destination: Option<(IpAddr, u16)>,
    host: Option<String>,
    sni: Option<String>,
    reason: String,
    pid: Option<u32>,
    self_test: bool,
}

#[derive(Debug)]
struct Slot {
    event: NetEvent,
    pending: u64,
    reported_ms: u64,
    seen_ms: u64,
    pause_ms: u64,
}

/// The counters. Times are milliseconds of any clock that does not go back.
#[derive(Debug, Default)]
pub struct Repeats {
    slots: HashMap<Kind, Slot>,
    overflow: Vec<Slot>, // one for each operation and verdict: at most ten
}

impl Repeats {
    /// Takes an event; gives it back when it is the first of its kind and is to be reported now.
    #[must_use]
    pub fn push(&mut self, event: NetEvent, now_ms: u64) -> Option<NetEvent> {
        let kind = Kind {
            op: event.op,
            verdict: event.verdict,
            destination: event.dst_ip.map(|ip| (ip, event.dst_port.unwrap_or(0))),
            host: event.host.clone(),
            sni: event.sni.clone(),
            reason: event.reason.clone(),
            pid: event.pid,
            self_test: event.self_test,
        };
        if let Some(slot) = self.slots.get_mut(&kind) {
            slot.count(event.count, now_ms);
            return None;
        }
        if self.slots.len() < REPEATS_KEYS_MAX {
            self.slots.insert(kind, Slot::new(event.clone(), now_ms));
            return Some(event);
        }
        if let Some(slot) =
            self.overflow.iter_mut().find(|s| s.event.op == event.op && s.event.verdict == event.verdict)
        {
            slot.count(event.count, now_ms);
            return None;
        }
        let mut rest = NetEvent::new(event.op, event.verdict);
        rest.reason = OVERFLOW_REASON.into();
        rest.count = event.count;
        self.overflow.push(Slot::new(rest.clone(), now_ms));
        Some(rest)
    }

    /// What has been counted and is due at `now_ms`; forgets the kinds that have stopped.
    #[must_use]
    pub fn due(&mut self, now_ms: u64) -> Vec<NetEvent> {
        let mut due = Vec::new();
        self.slots.retain(|_, slot| slot.keep(now_ms, &mut due));
        self.overflow.retain_mut(|slot| slot.keep(now_ms, &mut due));
        due
    }

    /// Everything that has been counted and not been reported, for the end of the session.
    #[must_use]
    pub fn drain(&mut self) -> Vec<NetEvent> {
        let slots = self.slots.drain().map(|(_, slot)| slot);
        slots.chain(self.overflow.drain(..)).filter(|slot| slot.pending > 0).map(|slot| slot.counted()).collect()
    }
}

impl Slot {
    const fn new(event: NetEvent, now_ms: u64) -> Self {
        Self { event, pending: 0, reported_ms: now_ms, seen_ms: now_ms, pause_ms: REPEATS_PAUSE_MIN_MS }
    }

    const fn count(&mut self, more: u64, now_ms: u64) {
        self.pending = self.pending.saturating_add(more);
        self.seen_ms = now_ms;
    }

    fn counted(&self) -> NetEvent {
        let mut event = self.event.clone();
        event.count = self.pending;
        event
    }

    /// Reports into `due` if it is time; false when the slot may go.
    fn keep(&mut self, now_ms: u64, due: &mut Vec<NetEvent>) -> bool {
        if self.pending > 0 && now_ms.saturating_sub(self.reported_ms) >= self.pause_ms {
            due.push(self.counted());
            self.pending = 0;
            self.reported_ms = now_ms;
            self.pause_ms = (self.pause_ms * 2).min(REPEATS_PAUSE_MAX_MS);
        }
        self.pending > 0 || now_ms.saturating_sub(self.seen_ms) < REPEATS_KEEP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> NetEvent {
        let mut event = NetEvent::new(NetOp::Dns, NetVerdict::Denied);
        event.host = Some(name.into());
        event
    }

    fn counts(events: &[NetEvent]) -> Vec<u64> {
        events.iter().map(|event| event.count).collect()
    }

    #[test]
    fn the_first_is_reported_at_once_and_the_rest_as_a_count() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.push(asked("a"), 0), Some(asked("a")));
        assert_eq!(repeats.push(asked("a"), 1), None);
        assert_eq!(repeats.push(asked("b"), 1), Some(asked("b")));
        assert_eq!(repeats.push(asked("a"), 2), None);
        assert_eq!(repeats.due(REPEATS_PAUSE_MIN_MS - 1), []);
        let due = repeats.due(REPEATS_PAUSE_MIN_MS);
        assert_eq!(counts(&due), [2]);
        assert_eq!(due[0].host.as_deref(), Some("a"));
        assert_eq!(repeats.due(REPEATS_PAUSE_MIN_MS * 9), []);
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let mut repeats = Repeats::default();
        let _ = repeats.push(asked("a"), 0);
        let mut reported = Vec::new();
        for now_ms in (0..300_000).step_by(500) {
            let _ = repeats.push(asked("a"), now_ms);
            reported.extend(repeats.due(now_ms).iter().map(|_| now_ms / 1000));
        }
        assert_eq!(reported, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn a_kind_that_stopped_is_forgotten_and_is_new_again() {
        let mut repeats = Repeats::default();
        let _ = repeats.push(asked("a"), 0);
        assert_eq!(repeats.due(REPEATS_KEEP_MS - 1), []);
        assert_eq!(repeats.push(asked("a"), REPEATS_KEEP_MS - 1), None);
        assert_eq!(counts(&repeats.due(2 * REPEATS_KEEP_MS)), [1]);
        assert_eq!(repeats.push(asked("a"), 2 * REPEATS_KEEP_MS), Some(asked("a")));
    }

    #[test]
    fn one_kind_over_the_bound_is_counted_without_its_name() {
        let mut repeats = Repeats::default();
        for n in 0..REPEATS_KEYS_MAX {
            assert!(repeats.push(asked(&n.to_string()), 0).is_some());
        }
        let rest = repeats.push(asked("one over"), 0).unwrap();
        assert_eq!((rest.host, rest.reason.as_str()), (None, OVERFLOW_REASON));
        for n in 0..100_000 {
            assert_eq!(repeats.push(asked(&format!("x{n}")), 5), None);
        }
        assert_eq!(repeats.slots.len(), REPEATS_KEYS_MAX);
        assert_eq!(repeats.overflow.len(), 1);
        assert_eq!(counts(&repeats.due(REPEATS_PAUSE_MIN_MS)), [100_000]);
    }

    #[test]
    fn nothing_counted_is_lost_at_the_end() {
        let mut repeats = Repeats::default();
        for _ in 0..5 {
            let _ = repeats.push(asked("a"), 0);
        }
        let _ = repeats.push(asked("b"), 0);
        assert_eq!(counts(&repeats.drain()), [4]);
        assert_eq!(repeats.drain(), []);
    }
}
