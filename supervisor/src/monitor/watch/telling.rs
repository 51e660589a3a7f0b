//! What the monitor tells the relay of the server: what the kernel counted, what the filter refused, and at last that it is gone; and
//! how long the relay may then take.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Phase, State, Watch, WatchError};
use crate::bounds::DELIVERY_WAIT_MS;
use crate::clock;
use crate::monitor::child::Role;
use crate::monitor::patience::Patience;
use crate::relay::messages::{EndCause, LogPoint, ToRelay};
use crate::sandbox::running::{Ending, Running};
use crate::weaken;

impl Watch<'_> {
    /// pid 1 of the server's namespace has ended, and with it every process in the namespace.
    pub(super) fn server_gone(&mut self, state: &mut State) -> Result<(), WatchError> {
        let ending = self.running.take().map_or(Ok(Ending::Killed), Running::wait)?;
        state.ending = Some(ending);
        state.cause.get_or_insert(EndCause::Server);
        state.drain(clock::now().boot_ns, self.ledger.log_bytes());
        self.leaf.kill()?; // nothing is left of the server
        self.look_at_ceilings(state); // before the relay says how it ended
        self.tell_denials(state);
        self.tell_end(state); // while the relay ends its log:
        self.probes = None; // what they have told is in the ring
        self.ledger.make_ready();
        Ok(())
    }

    /// What the kernel counted at the run's ceilings, told to the relay where it grew.
    pub(super) fn look_at_ceilings(&mut self, state: &State) {
        let seen = self.ceilings.look(self.leaf, clock::now().boot_ns).filter(|_| state.relay_alive);
        if let Some(Err(error)) = seen.map(|seen| ToRelay::Ceilings(seen).send(self.control.as_fd())) {
            tracing::warn!("relay: {error}"); // its pidfd says the rest
        }
    }

    /// What the filter refused, told as far as the relay keeps up: three quarters of its socket stay free for what it must hear. When
    /// the server is gone, all of it, which is at most one message for each call that the filter names. What a relay that is gone did
    /// not hear stays counted.
    pub(super) fn tell_denials(&mut self, state: &State) {
        let control = self.control.as_fd();
        self.denials.tell(clock::now().boot_ns, state.phase == Phase::Draining, |denied| {
            let mut room = [PollFd::new(control, PollFlags::POLLOUT)];
            let has_room = poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
            state.relay_alive && has_room && ToRelay::Denied(denied).send(control).is_ok()
        });
    }

    /// Tells the relay that the server is gone, which ends its log: after all that is to stand in it. Until there is room for that, and
    /// as long as the relay works, the wait goes on.
    pub(super) fn tell_end(&mut self, state: &mut State) {
        if !state.owes_end()
            || self.awaits_dialer(state)
            || (self.denials.pending() > 0 && weaken::in_force("denials-rest"))
        {
            return;
        }
        let cause = state.cause.unwrap_or(EndCause::Server);
        let status = state.ending.unwrap_or(Ending::Killed).wait_status();
        match (ToRelay::Finish { cause, status }).send(self.control.as_fd()) {
            Ok(()) => state.end_told = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                state.give_up(EndCause::RelayDied);
                tracing::error!("relay: {error}");
            }
        }
    }

    /// Egress died. Whether it had overstepped before, the dialer's end says, to which its hang-up leads; one that hangs is waited for as
    /// long as the relay is.
    pub(super) fn awaits_dialer(&self, state: &State) -> bool {
        let lives = self.crew.iter().any(|child| child.role() == Role::Dialer);
        lives && state.cause == Some(EndCause::EgressDied) && weaken::in_force("first-cause")
    }
}

impl State {
    /// The server is gone, and the relay does not know yet.
    pub(super) fn owes_end(&self) -> bool {
        self.relay_alive && self.phase == Phase::Draining && !self.end_told
    }

    /// The server is gone; the relay's log is `log_bytes` long, and its last record is waited for.
    fn drain(&mut self, now_ns: u64, log_bytes: u64) {
        let patience = Patience::begin(now_ns, log_bytes);
        self.phase = Phase::Draining;
        self.due_ns = Some(patience.due_ns());
        self.patience = Some(patience);
    }

    /// The log is whole. Said once: the time for what is left to deliver does not begin anew.
    pub(super) fn finished(&mut self, last: LogPoint) {
        if self.last.replace(last).is_none() && self.phase == Phase::Draining {
            self.due_ns = Some(clock::now().boot_ns.saturating_add(DELIVERY_WAIT_MS * 1_000_000));
        }
    }

    /// The relay hangs, or the client does not read: its last bytes are lost to it. One that still records gets more time.
    pub(super) fn look_at_drain(&mut self, now_ns: u64, log_bytes: u64) {
        let patience = self.patience.as_mut().filter(|_| self.last.is_none());
        self.due_ns = patience.and_then(|patience| (!patience.is_over(now_ns, log_bytes)).then_some(patience.due_ns()));
        if self.due_ns.is_none() {
            self.give_up(EndCause::RelaySilent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{RELAY_WORD_WAIT_MAX_MS, RELAY_WORD_WAIT_MS};

    const WAIT_NS: u64 = RELAY_WORD_WAIT_MS * 1_000_000;
    const POINT: LogPoint = LogPoint { seq: 9, hash: [9; 32] };

    /// The server has ended by itself, just now, with a log of a hundred bytes.
    fn draining(now_ns: u64) -> State {
        let mut state = State {
            phase: Phase::Running,
            cause: Some(EndCause::Server),
            ending: None,
            last: None,
            patience: None,
            end_told: false,
            due_ns: None,
            start_ns: 0,
            wall_ns: None,
            relay_alive: true,
            terminated: false,
        };
        state.drain(now_ns, 100);
        state
    }

    #[test]
    fn a_relay_that_records_on_a_slow_disk_is_waited_for_and_one_that_hangs_is_not() {
        let mut state = draining(0);
        assert_eq!((state.due_ns, state.owes_end()), (Some(WAIT_NS), true));
        for round in 1..=5 {
            state.look_at_drain(round * WAIT_NS, 100 + round);
            assert_eq!((state.due_ns, state.relay_alive), (Some((round + 1) * WAIT_NS), true));
        }
        state.look_at_drain(6 * WAIT_NS, 105);
        assert_eq!((state.due_ns, state.relay_alive, state.cause), (None, false, Some(EndCause::RelaySilent)));
        assert!(!state.owes_end(), "nobody hears it");
        let mut state = draining(0);
        let rounds = (1_u64..1000).find(|bytes| {
            state.look_at_drain(state.due_ns.expect("it is waited for"), 100 + bytes);
            !state.relay_alive
        });
        assert_eq!(rounds, Some(RELAY_WORD_WAIT_MAX_MS / RELAY_WORD_WAIT_MS), "not for ever, whatever it writes");
    }

    #[test]
    fn with_a_whole_log_there_is_time_to_deliver_and_no_more_of_it_for_saying_so_again() {
        let mut state = draining(0);
        state.finished(POINT);
        let due_ns = state.due_ns.expect("it is waited for");
        let now_ns = clock::now().boot_ns;
        assert!(due_ns <= now_ns + DELIVERY_WAIT_MS * 1_000_000 && due_ns > now_ns, "{due_ns} at {now_ns}");
        state.finished(POINT);
        assert_eq!(state.due_ns, Some(due_ns));
        state.look_at_drain(due_ns, 1 << 20);
        assert_eq!((state.relay_alive, state.cause), (false, Some(EndCause::Server)), "the session's own end stands");
    }

    #[test]
    fn what_broke_first_is_the_cause() {
        use EndCause::{
            Client, EgressDied, EgressOverstepped, JanitorDied, RelayDied, RelaySilent, Server, Signal, WallTime,
            WriteLimit,
        };
        let cases = [
            (vec![EgressOverstepped, EgressDied, RelayDied], EgressOverstepped),
            (vec![RelayDied, EgressDied], RelayDied),
            (vec![EgressDied, RelayDied], EgressDied),
            (vec![EgressDied, EgressOverstepped, RelayDied], EgressOverstepped),
            (vec![WriteLimit, JanitorDied], WriteLimit),
            (vec![RelaySilent, RelayDied], RelaySilent),
        ];
        for (broke, cause) in cases {
            for before in [None, Some(Server), Some(Client), Some(Signal), Some(WallTime)] {
                let mut state = State { cause: before, ..draining(0) };
                broke.iter().for_each(|cause| state.broke(*cause));
                assert_eq!(state.cause, Some(cause), "{before:?}, then {broke:?}");
            }
        }
    }

    #[test]
    fn a_last_record_before_the_servers_end_gives_no_time() {
        let mut state = State { phase: Phase::Running, due_ns: None, ..draining(0) };
        state.finished(POINT);
        assert_eq!(state.due_ns, None);
    }
}
