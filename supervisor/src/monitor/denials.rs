//! The system calls that the server's filter refused: each gets its `EPERM` from here, is counted, and told to the relay, which
//! records it.
//!
//! An observation and not a protection: a call that comes here is refused whatever this does, and answers `ENOSYS` when the monitor
//! is gone. Of a call the monitor takes its number and who made it; arguments are not looked at. A server that makes such calls
//! without end waits for each of them: the answers have a pace, and a thread that waits can be killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::bounds::{
    DENIALS_A_SECOND_MAX, DENIALS_AT_ONCE_MAX, DENIALS_REST_MS, REPEATS_PAUSE_MAX_MS, REPEATS_PAUSE_MIN_MS,
};
use crate::clock;
use crate::relay::messages::Denied;
use crate::sys::listener::{self, Heard, Notice};
use crate::weaken::in_force;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// The listener of the server's filter, and what is to be told.
#[derive(Debug)]
pub struct Denials {
    listener: Option<OwnedFd>,
    pace: Pace,
    /// Until then nobody is answered, nanoseconds since boot.
    rests_until_ns: Option<u64>,
    /// By call; the filter names those that come here, some ninety.
    tallies: BTreeMap<u32, Tally>,
    /// The relay was behind: not before this time again.
    held_until_ns: u64,
}

impl Denials {
    /// What listens at `listener`; without one there is nothing to hear.
    #[must_use]
    pub fn of(listener: Option<OwnedFd>, now_ns: u64) -> Self {
        let pace = Pace { left: DENIALS_AT_ONCE_MAX, since_ns: now_ns };
        Self { listener, pace, rests_until_ns: None, tallies: BTreeMap::new(), held_until_ns: 0 }
    }

    /// What to poll; nothing while it rests.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().filter(|_| self.rests_until_ns.is_none()).map(AsFd::as_fd)
    }

    /// When there is something to do without a descriptor's word, nanoseconds since boot.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        let told = self.tallies.values().filter_map(Tally::due_ns).min().map(|due| due.max(self.held_until_ns));
        [self.rests_until_ns, told].into_iter().flatten().min()
    }

    /// Answers the calls that wait, as far as the pace goes.
    pub fn hear(&mut self, now_ns: u64) {
        self.pace.refill(now_ns);
        self.rests_until_ns = None;
        while let Some(listener) = self.listener.as_ref().map(AsFd::as_fd) {
            if self.pace.left == 0 && in_force("denials-pace") {
                self.rests_until_ns = Some(now_ns.saturating_add(DENIALS_REST_MS * MS));
                return;
            }
            match listener::hear(listener) {
                Ok(Heard::Call(notice)) => {
                    self.pace.left = self.pace.left.saturating_sub(1);
                    // Asked before the answer: until then the thread stays what it is.
                    let tally = self.tallies.entry(notice.call).or_default();
                    tally.count(now_ns, || who(listener, &notice));
                    if let Err(errno) = listener::refuse(listener, &notice) {
                        return self.give_up(errno);
                    }
                }
                Ok(Heard::Nothing) | Err(Errno::EINTR) => return,
                Ok(Heard::End) => self.listener = None,
                Err(errno) => return self.give_up(errno),
            }
        }
    }

    /// Hands `send` what is due; `all` of it when the server is gone. What it does not take, and all after it, stays counted.
    pub fn tell(&mut self, now_ns: u64, all: bool, mut send: impl FnMut(Denied) -> bool) {
        if self.rests_until_ns.is_some_and(|until| now_ns >= until) {
            self.rests_until_ns = None;
        }
        if now_ns < self.held_until_ns && !all {
            return;
        }
        for (&call, tally) in &mut self.tallies {
            if tally.pending == 0 || !(all || tally.due_ns().is_some_and(|due| now_ns >= due)) {
                continue;
            }
            if in_force("denials-told") && !send(tally.denied(call)) {
                self.held_until_ns = now_ns.saturating_add(DENIALS_REST_MS * MS);
                return;
            }
            tally.told(now_ns);
        }
        let keep_ns = REPEATS_PAUSE_MAX_MS * MS;
        self.tallies.retain(|_, tally| tally.pending > 0 || now_ns.saturating_sub(tally.seen_ns) < keep_ns);
    }

    /// How many calls were counted and not told.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.tallies.values().map(|tally| tally.pending).sum()
    }

    /// The kernel answers `ENOSYS` from here on.
    fn give_up(&mut self, errno: Errno) {
        tracing::warn!("what the filter refuses is not recorded any more: {}", errno.desc());
        self.listener = None;
    }
}

/// How many calls may be answered now.
#[derive(Clone, Copy, Debug)]
struct Pace {
    left: u32,
    since_ns: u64,
}

impl Pace {
    /// What has come up since the last time.
    fn refill(&mut self, now_ns: u64) {
        const EVERY_NS: u64 = 1_000_000_000 / DENIALS_A_SECOND_MAX as u64;
        let more = now_ns.saturating_sub(self.since_ns) / EVERY_NS;
        self.since_ns = self.since_ns.saturating_add(more * EVERY_NS);
        self.left = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(self.left).min(DENIALS_AT_ONCE_MAX);
    }
}

/// The calls of one number.
#[derive(Debug, Default)]
struct Tally {
    pending: u64,
    /// The first of those that are pending.
    who: Who,
    seen_ns: u64,
    told_ns: Option<u64>,
    pause_ns: u64,
}

/// A thread: its number on the host, the name that it gives itself, and when it waited for its answer, nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default)]
struct Who {
    tid: u32,
    comm: [u8; 16],
    at_ns: u64,
}

impl Tally {
    fn count(&mut self, now_ns: u64, who: impl FnOnce() -> Who) {
        if self.pending == 0 {
            self.who = who();
        }
        self.pending = self.pending.saturating_add(1);
        self.seen_ns = now_ns;
    }

    /// What is told of the call `call`. Only the first knows when: the others stand for a while, in which many calls come and go.
    fn denied(&self, call: u32) -> Denied {
        let Who { tid, comm, at_ns } = self.who;
        let since_ns = NonZeroU64::new(at_ns).filter(|_| self.told_ns.is_none());
        Denied { call, count: self.pending, tid, comm, since_ns }
    }

    /// At once for the first, after a pause that doubles for the others.
    fn due_ns(&self) -> Option<u64> {
        (self.pending > 0).then(|| self.told_ns.map_or(0, |told| told.saturating_add(self.pause_ns)))
    }

    fn told(&mut self, now_ns: u64) {
        self.pending = 0;
        self.pause_ns = match self.told_ns.replace(now_ns) {
            None => REPEATS_PAUSE_MIN_MS * MS,
            Some(_) => (self.pause_ns * 2).min(REPEATS_PAUSE_MAX_MS * MS),
        };
    }
}

/// Who waits. Read once for each record; nothing where the thread is gone meanwhile, for its number could be another's.
fn who(listener: BorrowedFd<'_>, notice: &Notice) -> Who {
    let mut comm = [0; 16];
    let read = File::open(format!("/proc/{}/comm", notice.tid)).and_then(|mut file| file.read(&mut comm));
    let length = read.unwrap_or(0);
    let at_ns = clock::now().boot_ns;
    if !listener::still_waits(listener, notice) {
        return Who { at_ns, ..Who::default() };
    }
    if let Some(end) = comm[..length].iter().position(|byte| *byte == b'\n') {
        comm[end..].fill(0);
    }
    Who { tid: notice.tid, comm, at_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(denials: &mut Denials, now_ms: u64) -> Vec<(u32, u64)> {
        let mut told = Vec::new();
        denials.tell(now_ms * MS, false, |denied| {
            told.push((denied.call, denied.count));
            true
        });
        told
    }

    fn seen(denials: &mut Denials, call: u32, now_ms: u64) {
        denials.tallies.entry(call).or_default().count(now_ms * MS, Who::default);
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_as_counts_at_growing_pauses() {
        let mut denials = Denials::of(None, 0);
        let mut told = Vec::new();
        for now_ms in (0..200_000).step_by(100) {
            seen(&mut denials, 101, now_ms);
            told.extend(all(&mut denials, now_ms).into_iter().map(|(_, count)| (now_ms / 1000, count)));
        }
        assert_eq!(told, [(0, 1), (1, 10), (3, 20), (7, 40), (15, 80), (31, 160), (63, 320), (123, 600), (183, 600)]);
        assert_eq!(denials.due_ns(), Some(243_000 * MS));
        assert_eq!(all(&mut denials, 243_000), [(101, 169)]);
        assert_eq!((denials.tallies.len(), denials.due_ns()), (1, None));
        assert_eq!(all(&mut denials, 260_000), []);
        assert_eq!(denials.tallies.len(), 0, "it has stopped and would be new again");
    }

    #[test]
    fn only_the_first_of_a_name_says_when_it_was_made() {
        let mut denials = Denials::of(None, 0);
        let since = |denials: &mut Denials, at_ms: u64| {
            let (at_ns, mut since) = (at_ms * MS, Vec::new());
            denials.tallies.entry(101).or_default().count(at_ns, || Who { at_ns, ..Who::default() });
            denials.tell(at_ns, false, |denied| {
                since.push(denied.since_ns.map(|since_ns| since_ns.get() / MS));
                true
            });
            since
        };
        assert_eq!(
            [5, 6, 1200, 4000].map(|at_ms| since(&mut denials, at_ms)),
            [vec![Some(5)], vec![], vec![None], vec![None]]
        );
        denials.tell(100_000 * MS, false, |_| true);
        assert_eq!(since(&mut denials, 100_001), [Some(100_001)], "forgotten, it is new again");
    }

    #[test]
    fn one_call_hides_no_other() {
        let mut denials = Denials::of(None, 0);
        for _ in 0..1000 {
            seen(&mut denials, 101, 5);
        }
        seen(&mut denials, 165, 5);
        assert_eq!(all(&mut denials, 5), [(101, 1000), (165, 1)]);
    }

    #[test]
    fn what_the_relay_does_not_take_stays_counted() {
        let mut denials = Denials::of(None, 0);
        seen(&mut denials, 101, 5);
        seen(&mut denials, 165, 5);
        let mut asked = 0;
        denials.tell(5 * MS, false, |_| {
            asked += 1;
            false
        });
        assert_eq!(asked, 1, "it is behind: the second is not tried");
        seen(&mut denials, 101, 6);
        assert_eq!(denials.due_ns(), Some((5 + DENIALS_REST_MS) * MS));
        assert_eq!(all(&mut denials, 6), []);
        assert_eq!(all(&mut denials, 5 + DENIALS_REST_MS), [(101, 2), (165, 1)]);
        seen(&mut denials, 101, 60);
        let mut last = Vec::new();
        denials.tell(60 * MS, true, |denied| {
            last.push(denied.count);
            true
        });
        assert_eq!(last, [1], "at the end nothing counted is lost");
    }

    #[test]
    fn answers_have_a_pace_and_a_bound() {
        let mut pace = Pace { left: 0, since_ns: 0 };
        let mut answered = 0;
        for now_ms in (0..10_000).step_by(7) {
            pace.refill(now_ms * MS);
            answered += pace.left;
            pace.left = 0;
        }
        assert!((10 * DENIALS_A_SECOND_MAX - 8..=10 * DENIALS_A_SECOND_MAX).contains(&answered), "{answered}");
        pace.refill(u64::MAX);
        assert_eq!(pace.left, DENIALS_AT_ONCE_MAX);
        pace.refill(0);
        assert_eq!(pace.left, DENIALS_AT_ONCE_MAX, "a clock that goes back gives nothing");
    }
}
