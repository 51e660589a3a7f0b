//! Counts equal events, so that a flood of them is a few records with a count and not a flood of records.
//!
//! The first of a kind is reported at once; later ones are counted and reported after a pause that doubles while they go
//! on. Memory is bounded by [`REPEATS_KEYS_MAX`] kinds for each class (of the network: operation, verdict and where the destination
//! is), so that a flood of one class does not hide another. Whatever is beyond shares one counter of its class, whose record shows
//! the latest event: a flood of one class does hide what is in it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;

use crate::bounds::{REPEATS_KEEP_MS, REPEATS_KEYS_MAX, REPEATS_PAUSE_MAX_MS, REPEATS_PAUSE_MIN_MS};
use crate::egress::exec_events::ExecStart;
use crate::egress::file_events::FileOpen;
use crate::egress::report::{NetEvent, NetOp, NetVerdict};

/// How the reason of a record begins whose event found no slot of its own; the event's own reason follows.
pub const OVERFLOW_REASON: &str = "one of many different events; the latest is shown";

/// An event that can stand for several.
pub trait Countable: Clone + Debug {
    /// Classes have slots of their own: a flood of one does not take another's. There are few of them.
    type Class: Debug + Eq + Hash;
    /// What two events have in common that are counted as one.
    type Kind: Debug + Eq + Hash;

    /// Its class.
    fn class(&self) -> Self::Class;
    /// Its kind within the class.
    fn kind(&self) -> Self::Kind;
    /// How many it stands for.
    fn count(&mut self) -> &mut u64;
    /// The event as it shows in a counter that many kinds share; `others` are counted there already.
    #[must_use]
    fn one_of_many(self, others: Option<&Self>) -> Self;
}

/// Where a destination is. What costs a server nothing, its own loopback, does not take the slots of what an investigation looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whereabouts {
    /// No address is known: a name, another family of addresses.
    Unknown,
    /// In the server's own namespace: loopback, unspecified, an address that stands for a host of the policy (198.18.0.0/15).
    Inside,
    /// The host and its neighbours: private, shared, link-local (cloud metadata among them), unique local.
    Near,
    /// Any other.
    Far,
}

impl Whereabouts {
    fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unknown,
            Some(address) if address.is_loopback() || address.is_unspecified() => Self::Inside,
            Some(IpAddr::V4(address)) => match address.octets() {
                [198, 18 | 19, ..] => Self::Inside,
                [100, 64..=127, ..] => Self::Near,
                _ if address.is_private() || address.is_link_local() => Self::Near,
                _ => Self::Far,
            },
            Some(IpAddr::V6(address)) if address.is_unique_local() || address.is_unicast_link_local() => Self::Near,
            Some(IpAddr::V6(_)) => Self::Far,
        }
    }
}

/// What makes two network events equal, but for their class.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NetKind {
    family: Option<String>,
    proto: Option<String>,
    destination: Option<(IpAddr, u16)>,
    host: Option<String>,
    sni: Option<String>,
    reason: String,
    pid: Option<u32>,
    self_test: bool,
}

impl Countable for NetEvent {
    type Class = (NetOp, NetVerdict, Whereabouts); // at most forty
    type Kind = NetKind;

    fn class(&self) -> Self::Class {
        (self.op, self.verdict, Whereabouts::of(self.dst_ip))
    }

    fn kind(&self) -> NetKind {
        NetKind {
            family: self.family.clone(),
            proto: self.proto.clone(),
            destination: self.dst_ip.map(|ip| (ip, self.dst_port.unwrap_or(0))),
            host: self.host.clone(),
            sni: self.sni.clone(),
            reason: self.reason.clone(),
            pid: self.pid,
            self_test: self.self_test,
        }
    }

    fn count(&mut self) -> &mut u64 {
        &mut self.count
    }

    fn one_of_many(mut self, others: Option<&Self>) -> Self {
        self.reason = match self.reason.as_str() {
            "" => OVERFLOW_REASON.into(),
            own => format!("{OVERFLOW_REASON}: {own}"),
        };
        // A count that holds one event of the server's is not the self-test's.
        self.self_test &= others.is_none_or(|others| others.self_test);
        self
    }
}

impl Countable for ExecStart {
    type Class = bool; // refused or not
    type Kind = (Option<String>, Option<String>); // not who: every start is another process

    fn class(&self) -> Self::Class {
        self.denied
    }

    fn kind(&self) -> Self::Kind {
        (self.path.clone(), self.interpreter.clone())
    }

    fn count(&mut self) -> &mut u64 {
        &mut self.count
    }

    fn one_of_many(self, _others: Option<&Self>) -> Self {
        Self { others: true, ..self }
    }
}

impl Countable for FileOpen {
    type Class = ();
    type Kind = Option<String>; // not who

    fn class(&self) -> Self::Class {}

    fn kind(&self) -> Self::Kind {
        self.path.clone()
    }

    fn count(&mut self) -> &mut u64 {
        &mut self.count
    }

    fn one_of_many(self, _others: Option<&Self>) -> Self {
        Self { others: true, ..self }
    }
}

#[derive(Debug)]
struct Slot<E> {
    event: E,
    pending: u64,
    reported_ms: u64,
    seen_ms: u64,
    pause_ms: u64,
}

/// The counters. Times are milliseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Repeats<E: Countable> {
    classes: HashMap<E::Class, Class<E>>,
}

impl<E: Countable> Default for Repeats<E> {
    fn default() -> Self {
        Self { classes: HashMap::new() }
    }
}

/// The counters of one class.
#[derive(Debug)]
struct Class<E: Countable> {
    slots: HashMap<E::Kind, Slot<E>>,
    overflow: Option<Slot<E>>,
}

impl<E: Countable> Repeats<E> {
    /// Takes an event; gives it back when it is the first of its kind and is to be reported now.
    #[must_use]
    pub fn push(&mut self, mut event: E, now_ms: u64) -> Option<E> {
        let kind = event.kind();
        let class =
            self.classes.entry(event.class()).or_insert_with(|| Class { slots: HashMap::new(), overflow: None });
        if let Some(slot) = class.slots.get_mut(&kind) {
            slot.count(*event.count(), now_ms);
            return None;
        }
        if class.slots.len() < REPEATS_KEYS_MAX {
            class.slots.insert(kind, Slot::new(event.clone(), now_ms));
            return Some(event);
        }
        if let Some(slot) = &mut class.overflow {
            slot.count_other(event, now_ms);
            return None;
        }
        let event = event.one_of_many(None);
        class.overflow = Some(Slot::new(event.clone(), now_ms));
        Some(event)
    }

    /// What has been counted and is due at `now_ms`; forgets the kinds that have stopped.
    #[must_use]
    pub fn due(&mut self, now_ms: u64) -> Vec<E> {
        let mut due = Vec::new();
        for class in self.classes.values_mut() {
            class.slots.retain(|_, slot| slot.keep(now_ms, &mut due));
            class.overflow.take_if(|slot| !slot.keep(now_ms, &mut due));
        }
        due
    }

    /// Everything that has been counted and not been reported, for the end of the session.
    #[must_use]
    pub fn drain(&mut self) -> Vec<E> {
        let classes = self.classes.drain().map(|(_, class)| class);
        let slots = classes.flat_map(|class| class.slots.into_values().chain(class.overflow));
        slots.filter(|slot| slot.pending > 0).map(|slot| slot.counted()).collect()
    }
}

impl<E: Countable> Slot<E> {
    const fn new(event: E, now_ms: u64) -> Self {
        Self { event, pending: 0, reported_ms: now_ms, seen_ms: now_ms, pause_ms: REPEATS_PAUSE_MIN_MS }
    }

    const fn count(&mut self, more: u64, now_ms: u64) {
        self.pending = self.pending.saturating_add(more);
        self.seen_ms = now_ms;
    }

    /// Counts an event of another kind and shows it from now on.
    fn count_other(&mut self, mut event: E, now_ms: u64) {
        let others = (self.pending > 0).then_some(&self.event);
        let shown = event.clone().one_of_many(others);
        self.count(*event.count(), now_ms);
        self.event = shown;
    }

    fn counted(&self) -> E {
        let mut event = self.event.clone();
        *event.count() = self.pending;
        event
    }

    /// Reports into `due` if it is time; false when the slot may go.
    fn keep(&mut self, now_ms: u64, due: &mut Vec<E>) -> bool {
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
        let class = &repeats.classes[&(NetOp::Dns, NetVerdict::Denied, Whereabouts::Unknown)];
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
    fn a_flood_of_one_neighbourhood_leaves_the_others_their_slots() {
        let to = |address: &str, port| {
            let mut event = connected("tcp", "inet");
            (event.dst_ip, event.dst_port) = (Some(address.parse().unwrap()), Some(port));
            event
        };
        let mut repeats = Repeats::default();
        for port in 0..10_000 {
            let _ = repeats.push(to("127.0.0.1", port), 0);
            let _ = repeats.push(to("8.8.8.8", port), 0);
        }
        for near in ["10.10.10.10", "169.254.169.254", "fd00:ec2::254", "::ffff:192.168.0.1", "100.100.100.200"] {
            assert_eq!(repeats.push(to(near, 443), 0), Some(to(near, 443)));
        }
        assert_eq!(repeats.push(to("10.10.10.10", 443), 0), None, "counted by itself");
        // Within one of them it is hidden: a count says that there were others, and shows one.
        assert_eq!(repeats.push(to("9.9.9.9", 443), 0), None);
        let _ = repeats.push(to("8.8.8.8", 10_001), 0);
        let last = repeats.drain();
        assert!(last.iter().any(|event| *event == NetEvent { count: 1, ..to("10.10.10.10", 443) }), "{last:?}");
        assert!(last.iter().all(|event| event.dst_ip != Some("9.9.9.9".parse().unwrap())));
        assert!(last.iter().any(|event| event.reason.starts_with(OVERFLOW_REASON) && event.count > 9000));
    }

    #[test]
    fn an_address_is_inside_near_or_far() {
        let of = |address: &str| Whereabouts::of(Some(address.parse().unwrap()));
        for inside in ["127.3.2.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "198.18.0.1", "198.19.255.255"] {
            assert_eq!(of(inside), Whereabouts::Inside, "{inside}");
        }
        for near in ["10.0.0.1", "172.16.7.7", "192.168.7.7", "169.254.169.254", "100.64.0.1", "fe80::1", "fd00::1"] {
            assert_eq!(of(near), Whereabouts::Near, "{near}");
        }
        for far in ["1.1.1.1", "198.20.0.1", "100.128.0.1", "172.32.0.1", "2606:4700:4700::1111", "255.255.255.255"] {
            assert_eq!(of(far), Whereabouts::Far, "{far}");
        }
        assert_eq!(Whereabouts::of(None), Whereabouts::Unknown);
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

    fn started(path: &str, pid: u32) -> ExecStart {
        let (path, comm) = (Some(path.to_owned()), String::new());
        ExecStart { path, interpreter: None, cut: false, pid, ppid: None, comm, count: 1, others: false, denied: false }
    }

    #[test]
    fn starts_of_one_program_are_counted_whoever_starts_it() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.push(started("/bin/true", 1), 0), Some(started("/bin/true", 1)));
        for pid in 2..10_000 {
            assert_eq!(repeats.push(started("/bin/true", pid), 0), None);
        }
        let script = ExecStart { interpreter: Some("/bin/true".to_owned()), ..started("/bin/true", 9) };
        assert_eq!(repeats.push(script.clone(), 0), Some(script), "another interpreter");
        let refused = ExecStart { denied: true, ..started("/bin/true", 9) };
        assert_eq!(repeats.push(refused.clone(), 0), Some(refused), "refused");
        assert_eq!(repeats.due(REPEATS_PAUSE_MIN_MS), [ExecStart { count: 9_998, ..started("/bin/true", 1) }]);
    }

    #[test]
    fn programs_of_ever_other_names_share_a_record_that_says_so() {
        let mut repeats = Repeats::default();
        let push = |n: usize| repeats.push(started(&n.to_string(), 1), 0);
        let told: Vec<ExecStart> = (0..10_000).filter_map(push).collect();
        assert_eq!((told.len(), told.iter().filter(|start| start.others).count()), (REPEATS_KEYS_MAX + 1, 1));
        let rest = repeats.drain();
        let count = 10_000 - u64::try_from(told.len()).unwrap();
        assert_eq!(rest, [ExecStart { count, others: true, ..started("9999", 1) }]);
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
