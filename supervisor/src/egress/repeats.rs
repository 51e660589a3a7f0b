//! Counts equal events, so that a flood of denials is a few records with a count and not a flood of records.
//!
//! The first of a kind is reported at once; later ones are counted and reported after a pause that doubles while they go
//! on. Memory is bounded by [`REPEATS_KEYS_MAX`] kinds for each operation and verdict, so that a flood of one does not hide the
//! other; whatever is beyond shares one counter, whose record shows the latest event.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::bounds::{REPEATS_KEEP_MS, REPEATS_KEYS_MAX, REPEATS_PAUSE_MAX_MS, REPEATS_PAUSE_MIN_MS};
use crate::egress::report::{NetEvent, NetOp, NetVerdict};

/// How the reason of a record begins whose event found no slot of its own; the event's own reason follows.
pub const OVERFLOW_REASON: &str = "one of many different events; the latest is shown";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    family: Option<String>,
    proto: Option<String>,
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
    classes: HashMap<(NetOp, NetVerdict), Class>, // at most ten
}

/// The counters of one operation and verdict.
#[derive(Debug, Default)]
struct Class {
    slots: HashMap<Kind, Slot>,
    overflow: Option<Slot>,
}

impl Repeats {
    /// Takes an event; gives it back when it is the first of its kind and is to be reported now.
    #[must_use]
    pub fn push(&mut self, event: NetEvent, now_ms: u64) -> Option<NetEvent> {
        let kind = Kind {
            family: event.family.clone(),
            proto: event.proto.clone(),
            destination: event.dst_ip.map(|ip| (ip, event.dst_port.unwrap_or(0))),
            host: event.host.clone(),
            sni: event.sni.clone(),
            reason: event.reason.clone(),
            pid: event.pid,
            self_test: event.self_test,
        };
        let class = self.classes.entry((event.op, event.verdict)).or_default();
        if let Some(slot) = class.slots.get_mut(&kind) {
            slot.count(event.count, now_ms);
            return None;
        }
        if class.slots.len() < REPEATS_KEYS_MAX {
            class.slots.insert(kind, Slot::new(event.clone(), now_ms));
            return Some(event);
        }
        let latest = one_of_many(event);
        if let Some(slot) = &mut class.overflow {
            slot.count_other(latest, now_ms);
            return None;
        }
        class.overflow = Some(Slot::new(latest.clone(), now_ms));
        Some(latest)
    }

    /// What has been counted and is due at `now_ms`; forgets the kinds that have stopped.
    #[must_use]
    pub fn due(&mut self, now_ms: u64) -> Vec<NetEvent> {
        let mut due = Vec::new();
        for class in self.classes.values_mut() {
            class.slots.retain(|_, slot| slot.keep(now_ms, &mut due));
            class.overflow.take_if(|slot| !slot.keep(now_ms, &mut due));
        }
        due
    }

    /// Everything that has been counted and not been reported, for the end of the session.
    #[must_use]
    pub fn drain(&mut self) -> Vec<NetEvent> {
        let classes = self.classes.drain().map(|(_, class)| class);
        let slots = classes.flat_map(|class| class.slots.into_values().chain(class.overflow));
        slots.filter(|slot| slot.pending > 0).map(|slot| slot.counted()).collect()
    }
}

/// The event with a reason that says how it came into a shared counter.
fn one_of_many(mut event: NetEvent) -> NetEvent {
    event.reason = match event.reason.as_str() {
        "" => OVERFLOW_REASON.into(),
        own => format!("{OVERFLOW_REASON}: {own}"),
    };
    event
}

impl Slot {
    const fn new(event: NetEvent, now_ms: u64) -> Self {
        Self { event, pending: 0, reported_ms: now_ms, seen_ms: now_ms, pause_ms: REPEATS_PAUSE_MIN_MS }
    }

    const fn count(&mut self, more: u64, now_ms: u64) {
        self.pending = self.pending.saturating_add(more);
        self.seen_ms = now_ms;
    }

    /// Counts an event of another kind and shows it from now on.
    fn count_other(&mut self, mut event: NetEvent, now_ms: u64) {
        // A count that holds one event of the server's is not the self-test's.
        event.self_test &= self.pending == 0 || self.event.self_test;
        self.count(event.count, now_ms);
        self.event = event;
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
    fn one_kind_over_the_bound_shares_a_counter_that_shows_the_latest() {
        let mut repeats = Repeats::default();
        for n in 0..REPEATS_KEYS_MAX {
            assert!(repeats.push(asked(&n.to_string()), 0).is_some());
        }
        let rest = repeats.push(asked("one over"), 0).unwrap();
        assert_eq!((rest.host.as_deref(), rest.reason.as_str()), (Some("one over"), OVERFLOW_REASON));
        for n in 0..100_000 {
            assert_eq!(repeats.push(asked(&format!("x{n}")), 5), None);
        }
        let class = &repeats.classes[&(NetOp::Dns, NetVerdict::Denied)];
        assert_eq!((repeats.classes.len(), class.slots.len()), (1, REPEATS_KEYS_MAX));
        let mut latest = asked("latest");
        (latest.pid, latest.dst_port, latest.reason) = (Some(7), Some(53), "no such host".into());
        assert_eq!(repeats.push(latest.clone(), 5), None);
        latest.reason = format!("{OVERFLOW_REASON}: no such host");
        latest.count = 100_001;
        assert_eq!(repeats.due(REPEATS_PAUSE_MIN_MS), [latest]);
    }

    fn connected(proto: &str, family: &str) -> NetEvent {
        let mut event = NetEvent::new(NetOp::Connect, NetVerdict::Denied);
        event.dst_ip = Some("192.0.2.1".parse().unwrap());
        event.dst_port = Some(443);
        (event.proto, event.family) = (Some(proto.into()), Some(family.into()));
        event
    }

    #[test]
    fn protocols_and_families_are_kinds_of_their_own() {
        let mut repeats = Repeats::default();
        for event in [connected("tcp", "inet"), connected("udp", "inet"), connected("tcp", "inet6")] {
            assert_eq!(repeats.push(event.clone(), 0), Some(event.clone()));
            assert_eq!(repeats.push(event, 0), None);
        }
    }

    #[test]
    fn a_flood_of_one_operation_leaves_the_others_their_slots() {
        let mut repeats = Repeats::default();
        for n in 0..=REPEATS_KEYS_MAX {
            assert!(repeats.push(asked(&n.to_string()), 0).is_some());
        }
        assert_eq!(repeats.push(connected("tcp", "inet"), 0), Some(connected("tcp", "inet")));
        let mut allowed = asked("0");
        allowed.verdict = NetVerdict::Allowed;
        assert_eq!(repeats.push(allowed.clone(), 0), Some(allowed));
    }

    #[test]
    fn a_shared_count_with_one_event_of_the_servers_is_not_the_self_tests() {
        let mut repeats = Repeats::default();
        for n in 0..=REPEATS_KEYS_MAX {
            let _ = repeats.push(asked(&n.to_string()), 0);
        }
        let mut ours = asked("ours");
        ours.self_test = true;
        let _ = repeats.push(asked("theirs"), 1);
        let _ = repeats.push(ours.clone(), 1);
        let due = repeats.due(REPEATS_PAUSE_MIN_MS);
        assert_eq!((counts(&due).as_slice(), due[0].self_test), ([2].as_slice(), false));
        let _ = repeats.push(ours, REPEATS_PAUSE_MIN_MS);
        assert!(repeats.drain()[0].self_test);
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
