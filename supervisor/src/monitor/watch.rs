//! The monitor after launch: it waits. A death, a signal, a clock or a 48-byte message ends the session, and the server
//! never outlives any of us (P8).

mod telling;

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::ceilings::Ceilings;
use super::child::{Child, Role};
use super::client_end::ClientEnd;
use super::denials::Denials;
use super::ledger::Ledger;
use super::meter;
use super::patience::Patience;
use super::pin_store::PinStore;
use super::reload::{ReloadError, Reloader};
use super::signals::Signals;
use crate::bounds::RELAY_LAST_WORDS_MAX;
use crate::clock;
use crate::egress::dialer;
use crate::egress::probes::Probes;
use crate::relay::messages::{EndCause, FromRelay, LogPoint};
use crate::sandbox::cgroup::{CgroupError, Leaf};
use crate::sandbox::running::{Ending, Running};
use crate::weaken;

/// How long a server may take to end after its stdin closed, before SIGTERM.
const STDIN_GRACE: Duration = Duration::from_millis(1000);
/// How long it may take after SIGTERM, before cgroup.kill.
const TERM_GRACE: Duration = Duration::from_millis(500);

/// Why the watch itself failed; everything is killed then.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A system call of the monitor failed.
    #[error("the monitor cannot watch the session")]
    Monitor(#[from] Errno),
    /// A socket to the relay failed.
    #[error("the monitor cannot hear the relay")]
    Control(#[from] std::io::Error),
    /// The cgroup could not be killed, or not be given a changed ceiling.
    #[error(transparent)]
    Kill(#[from] CgroupError),
    /// A note could not be signed or written.
    #[error(transparent)]
    Notary(#[from] crate::audit::AuditError),
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Why.
    pub cause: EndCause,
    /// How the server ended.
    pub ending: Ending,
    /// Whether we had to end it: SIGTERM or cgroup.kill.
    pub terminated: bool,
    /// The relay's last record; none when the relay died and the log must be closed by the monitor.
    pub last: Option<LogPoint>,
    /// Refused system calls that were counted and that the relay was never told.
    pub untold: u64,
}

/// Everything that the monitor holds while it waits.
pub struct Watch<'s> {
    /// Janitor, relay, egress; dialer, link and meter where there is work for them.
    pub crew: Vec<Child>,
    /// Its closing by our death wakes the janitor.
    pub alive: OwnedFd,
    /// The relay's control socket.
    pub control: OwnedFd,
    /// The launched server; none once it is reaped.
    pub running: Option<Running>,
    /// The client's end, polled for its closing.
    pub client: ClientEnd,
    /// SIGTERM, SIGINT, SIGHUP.
    pub signals: &'s Signals,
    /// Longest life of the session.
    pub wall: Option<Duration>,
    /// The server's cgroup.
    pub leaf: &'s Leaf,
    /// What happens at its ceilings.
    pub ceilings: Ceilings,
    /// What its filter refuses.
    pub denials: Denials,
    /// The log's side that signs.
    pub ledger: &'s mut Ledger,
    /// Where the pins are kept, where they are.
    pub pins: Option<PinStore>,
    /// What looks after the policy file.
    pub reload: Reloader,
    /// What the server's network goes by, as long as there is a server.
    pub probes: Option<Probes>,
}

/// What has been asked of the server so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It runs.
    Running,
    /// Its stdin is closed; SIGTERM next.
    Closing,
    /// SIGTERM was sent; cgroup.kill next.
    Terminating,
    /// cgroup.kill was written.
    Killed,
    /// It is gone; the relay is told the rest, and finishes.
    Draining,
}

/// What poll(2) reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Control,
    /// The relay's socket takes more: something is still to be told.
    Room,
    Server,
    /// The client's end is closed.
    Client,
    /// The policy file, or what leads to it.
    Policy,
    /// A counter at the run's ceilings.
    Ceilings,
    /// A refused call waits for its answer.
    Denials,
    /// Its place in the crew.
    Crew(usize),
}

/// The state of the wait.
struct State {
    phase: Phase,
    cause: Option<EndCause>,
    ending: Option<Ending>,
    last: Option<LogPoint>,
    /// The wait for the relay's last record, when the server is gone.
    patience: Option<Patience>,
    /// The relay knows that the server is gone.
    end_told: bool,
    due_ns: Option<u64>,
    start_ns: u64,
    wall_ns: Option<u64>,
    relay_alive: bool,
    terminated: bool,
}

impl Watch<'_> {
    /// Waits until the session is over and everything of it is dead.
    ///
    /// # Errors
    /// When the monitor itself cannot go on; the caller drops the crew, which kills it, and the janitor the rest.
    pub fn run(mut self) -> Result<Ended, WatchError> {
        let start = clock::now().boot_ns;
        let mut state = State {
            phase: Phase::Running,
            cause: None,
            ending: None,
            last: None,
            patience: None,
            end_told: false,
            due_ns: None,
            start_ns: start,
            wall_ns: self.wall.map(|wall| start.saturating_add(nanoseconds(wall))),
            relay_alive: true,
            terminated: false,
        };
        // A relay that has ended the log still delivers; its own end, or our patience, is the last of it.
        while state.phase != Phase::Draining || state.relay_alive {
            // The crew backwards: a place stays what it is while later ones are taken out.
            for source in self.wait(&state)?.into_iter().rev() {
                match source {
                    Source::Signals => self.hear_signals(&mut state)?,
                    Source::Control => _ = self.hear_relay(&mut state)?,
                    Source::Room => {} // below
                    Source::Server => self.server_gone(&mut state)?,
                    Source::Ceilings => self.look_at_ceilings(&state),
                    Source::Denials => self.denials.hear(clock::now().boot_ns),
                    Source::Client => self.client.closed(clock::now().boot_ns, self.ledger.log_bytes()),
                    Source::Policy => self.reload.hear_changes(clock::now().boot_ns),
                    Source::Crew(index) => self.child_gone(index, &mut state)?,
                }
            }
            self.clock(&mut state)?;
            if self.ceilings.due_ns().is_some_and(|due| clock::now().boot_ns >= due) {
                self.look_at_ceilings(&state);
            }
            self.tell_denials(&state);
            self.tell_end(&mut state);
            self.look_at_policy(&mut state)?;
            if !state.takes_policies() {
                self.reload.rest();
            }
        }
        // A relay whose hang-up was heard before its death, and after the server's end.
        state.give_up(EndCause::RelayDied);
        // The namespace dies with its pid 1; the cgroup catches whatever was never in it.
        self.leaf.kill()?;
        // All of ours at once; each is waited for when it is dropped.
        self.crew.iter().try_for_each(Child::doom)?;
        let cause = state.cause.unwrap_or(EndCause::Server);
        let ending = state.ending.unwrap_or(Ending::Killed);
        Ok(Ended { cause, ending, terminated: state.terminated, last: state.last, untold: self.denials.pending() })
    }

    fn wait(&self, state: &State) -> Result<Vec<Source>, WatchError> {
        let mut wanted: Vec<(Source, BorrowedFd<'_>)> = vec![(Source::Signals, self.signals.fd())];
        wanted.extend(state.relay_alive.then(|| (Source::Control, self.control.as_fd())));
        wanted.extend((state.owes_end() && !self.awaits_dialer(state)).then(|| (Source::Room, self.control.as_fd())));
        wanted.extend(self.running.as_ref().and_then(Running::pidfd).map(|fd| (Source::Server, fd)));
        wanted.extend(self.reload.fd().filter(|_| state.takes_policies()).map(|fd| (Source::Policy, fd)));
        wanted.extend(self.ceilings.fds().map(|fd| (Source::Ceilings, fd)));
        wanted.extend(self.denials.fd().map(|fd| (Source::Denials, fd)));
        wanted.extend(self.crew.iter().enumerate().map(|(index, child)| (Source::Crew(index), child.fd())));
        if let Some(fd) = self.client.fd() {
            wanted.push((Source::Client, fd));
        }
        let mut polled: Vec<PollFd<'_>> = wanted.iter().map(|(source, fd)| PollFd::new(*fd, source.events())).collect();
        let reload_ns = self.reload.due_ns().filter(|_| state.takes_policies());
        let client_ns = self.client.due_ns().filter(|_| state.phase == Phase::Running);
        match poll(&mut polled, timeout(state, [reload_ns, client_ns, self.ceilings.due_ns(), self.denials.due_ns()])) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let spoke = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(polled.iter().zip(&wanted).filter(|(fd, _)| spoke(fd)).map(|(_, (source, _))| *source).collect())
    }

    /// One message of the relay's, or its hang-up; whether there was either.
    fn hear_relay(&mut self, state: &mut State) -> Result<bool, WatchError> {
        match FromRelay::receive(self.control.as_fd()) {
            Ok(None) => {
                state.relay_alive = false;
                // It hangs up when it has finished. One that is killed does, too, before its pidfd says so; by then the server may have
                // ended for want of a client, which would pass for the session's own end.
                match state.phase {
                    _ if state.last.is_some() => {}
                    Phase::Draining => state.give_up(EndCause::RelayDied),
                    _ => self.end(EndCause::RelayDied, state)?,
                }
            }
            Ok(Some((message, blob))) => self.heard(message, blob, state)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // A relay that says something else is no relay of ours any more.
            Err(error) => {
                state.relay_alive = false;
                self.end(EndCause::RelayDied, state)?;
                tracing::error!("relay: {error}");
            }
        }
        Ok(true)
    }

    fn heard(&mut self, message: FromRelay, blob: Option<OwnedFd>, state: &mut State) -> Result<(), WatchError> {
        match message {
            FromRelay::Applied => {}
            FromRelay::Checkpoint(point) => self.ledger.sign(point)?,
            FromRelay::ClientGone => {
                state.cause.get_or_insert(EndCause::Client);
                state.enter(Phase::Closing, STDIN_GRACE);
            }
            FromRelay::Failed(cause) => {
                state.relay_alive = false;
                self.end(cause, state)?;
            }
            FromRelay::Finished(point) => state.finished(point),
            FromRelay::PolicyTaken(sha256) => self.policy_taken(sha256, state)?,
            FromRelay::RejectionTaken => {
                let done = self.reload.rejection_taken();
                self.end_if_failed(done, state)?;
            }
            FromRelay::Pin(kind, attached) => {
                let filed = match (&mut self.pins, blob) {
                    (Some(pins), Some(blob)) => pins.hear((kind, attached), blob, self.control.as_fd()),
                    (None, _) | (_, None) => Err(ErrorKind::InvalidData.into()),
                };
                self.end_if_failed(filed.map_err(ReloadError::Hand), state)?;
            }
        }
        Ok(())
    }

    fn child_gone(&mut self, index: usize, state: &mut State) -> Result<(), WatchError> {
        let mut child = self.crew.remove(index);
        let signal = child.reap()?;
        self.lost(&child, state)?;
        if let Some(signal) = signal {
            tracing::error!("{} was ended by {signal}", child.role().name()); // acts come before words
        }
        Ok(())
    }

    /// What it means that one of ours is gone.
    fn lost(&mut self, child: &Child, state: &mut State) -> Result<(), WatchError> {
        let cause = match child.role() {
            Role::Janitor => EndCause::JanitorDied,
            Role::Egress => EndCause::EgressDied,
            // Egress hung up: its own end, if that is one, says the rest.
            Role::Dialer if child.exit_code() == Some(0) => return Ok(()),
            Role::Dialer if child.exit_code() == Some(i32::from(dialer::OVERSTEPPED)) => EndCause::EgressOverstepped,
            Role::Dialer => EndCause::DialerDied,
            Role::Meter if child.exit_code() == Some(i32::from(meter::OVER)) => EndCause::WriteLimit,
            Role::Meter => EndCause::MeterDied,
            // The relay keeps the connection that it has; without one, calls with a limit are refused.
            Role::Link => {
                if state.phase != Phase::Draining && state.relay_alive {
                    tracing::warn!("the process that connects to the limit store has ended");
                }
                return Ok(());
            }
            Role::Relay => {
                // What it said before it died may still be queued. Its end may be another's by now, who says nothing or goes on.
                for _ in 0..RELAY_LAST_WORDS_MAX {
                    if !state.relay_alive || state.last.is_some() || !self.hear_relay(state)? {
                        break;
                    }
                }
                state.relay_alive = false;
                EndCause::RelayDied
            }
        };
        match state.phase {
            Phase::Draining if cause == EndCause::RelayDied => state.give_up(cause),
            Phase::Draining if cause == EndCause::EgressOverstepped && !state.end_told => state.broke(cause),
            // Egress hangs up in order once the session is being finished.
            Phase::Draining => {}
            _ => self.end(cause, state)?,
        }
        Ok(())
    }

    fn hear_signals(&mut self, state: &mut State) -> Result<(), WatchError> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                Signal::SIGHUP => self.reload.ask(),
                _ => {
                    state.cause.get_or_insert(EndCause::Signal);
                    self.terminate(state)?;
                }
            }
        }
        Ok(())
    }

    /// A policy file that changed, or that somebody asks about, is read and handed to the relay.
    fn look_at_policy(&mut self, state: &mut State) -> Result<(), WatchError> {
        if !state.takes_policies() {
            return Ok(());
        }
        let done = self.reload.turn(clock::now().boot_ns, self.control.as_fd());
        self.end_if_failed(done, state)
    }

    /// The record is on disk and the rules are in force; the ceilings follow.
    fn policy_taken(&mut self, sha256: [u8; 32], state: &mut State) -> Result<(), WatchError> {
        match self.reload.taken(sha256) {
            Ok(taken) => {
                self.leaf.change(&taken.old, &taken.new)?;
                state.wall_ns = taken.new.wall.map(|wall| state.start_ns.saturating_add(nanoseconds(wall)));
                self.reload.settled();
                Ok(())
            }
            Err(error) => self.end_if_failed(Err(error), state),
        }
    }

    /// Between monitor and relay something else was said than meant.
    fn end_if_failed(&mut self, done: Result<(), ReloadError>, state: &mut State) -> Result<(), WatchError> {
        let Err(error) = done else { return Ok(()) };
        state.relay_alive = false;
        self.end(EndCause::RelayDied, state)?;
        tracing::error!("reload: {}", crate::report::chain(&error));
        Ok(())
    }

    /// A promise broke: the server dies now.
    fn end(&mut self, cause: EndCause, state: &mut State) -> Result<(), WatchError> {
        state.broke(cause);
        if state.phase != Phase::Draining {
            self.leaf.kill()?;
            state.phase = Phase::Killed;
            state.due_ns = None;
        }
        Ok(())
    }

    fn terminate(&mut self, state: &mut State) -> Result<(), WatchError> {
        if matches!(state.phase, Phase::Running | Phase::Closing) {
            match self.running.as_ref().map_or(Ok(()), Running::terminate) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
            state.terminated = true;
            state.enter(Phase::Terminating, TERM_GRACE);
        }
        Ok(())
    }

    /// What is due by time.
    fn clock(&mut self, state: &mut State) -> Result<(), WatchError> {
        let now = clock::now().boot_ns;
        if state.wall_ns.is_some_and(|due| now >= due) {
            state.wall_ns = None;
            state.cause.get_or_insert(EndCause::WallTime);
            self.terminate(state)?;
        }
        let is_due = state.phase == Phase::Running && self.client.due_ns().is_some_and(|due| now >= due);
        if is_due && self.client.is_over(now, self.ledger.log_bytes()) && weaken::in_force("relay-word") {
            state.relay_alive = false;
            self.end(EndCause::RelaySilent, state)?;
            tracing::error!("the client is gone, and the relay does not say so: it hangs");
        }
        if state.due_ns.is_none_or(|due| now < due) {
            return Ok(());
        }
        match state.phase {
            Phase::Running | Phase::Killed => state.due_ns = None,
            Phase::Closing => self.terminate(state)?,
            Phase::Terminating => {
                self.leaf.kill()?;
                state.phase = Phase::Killed;
                state.due_ns = None;
            }
            Phase::Draining => state.look_at_drain(now, self.ledger.log_bytes()),
        }
        Ok(())
    }
}

impl Source {
    /// What poll(2) is asked. A file of the cgroup is always readable; that it changed is `POLLPRI`.
    const fn events(self) -> PollFlags {
        match self {
            Self::Ceilings => PollFlags::POLLPRI,
            Self::Client => ClientEnd::EVENTS,
            Self::Room => PollFlags::POLLOUT,
            _ => PollFlags::POLLIN,
        }
    }
}

impl State {
    /// While the server runs and the relay listens: a session that is being ended keeps its policy.
    fn takes_policies(&self) -> bool {
        self.relay_alive && matches!(self.phase, Phase::Running)
    }

    /// A promise broke. What broke it stands: the others of ours end because of it. That egress overstepped is told by the
    /// dialer's end, which may be seen after its own.
    fn broke(&mut self, cause: EndCause) {
        let stands = match self.cause {
            None | Some(EndCause::Server | EndCause::Client | EndCause::Signal | EndCause::WallTime) => false,
            Some(EndCause::EgressDied) => cause != EndCause::EgressOverstepped,
            Some(_) => true,
        };
        if !(stands && weaken::in_force("first-cause")) {
            self.cause = Some(cause);
        }
    }

    /// Nothing more is expected of the relay. Where it has not ended the log, that is how the session ended.
    fn give_up(&mut self, cause: EndCause) {
        self.relay_alive = false;
        if self.last.is_none()
            && matches!(self.cause, None | Some(EndCause::Server | EndCause::Client | EndCause::Signal))
        {
            self.cause = Some(cause);
        }
    }

    fn enter(&mut self, phase: Phase, grace: Duration) {
        if self.phase == Phase::Running || (self.phase == Phase::Closing && phase == Phase::Terminating) {
            self.phase = phase;
            self.due_ns = Some(clock::now().boot_ns.saturating_add(nanoseconds(grace)));
        }
    }
}

fn timeout(state: &State, others: [Option<u64>; 4]) -> PollTimeout {
    let Some(due) = [state.due_ns, state.wall_ns].into_iter().chain(others).flatten().min() else {
        return PollTimeout::NONE;
    };
    let left_ms = due.saturating_sub(clock::now().boot_ns).div_ceil(1_000_000);
    PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
