//! The monitor after launch: it waits. A death, a signal, a clock or a 48-byte message ends the session, and the server
//! never outlives any of us (P8).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::child::{Child, Role};
use super::ledger::Ledger;
use super::messages::{EndCause, FromRelay, LogPoint, ToRelay};
use super::signals::Signals;
use crate::clock;
use crate::sandbox::cgroup::{CgroupError, Leaf};
use crate::sandbox::launch::Running;

/// How long a server may take to end after its stdin closed, before SIGTERM.
const STDIN_GRACE: Duration = Duration::from_millis(1000);
/// How long it may take after SIGTERM, before cgroup.kill.
const TERM_GRACE: Duration = Duration::from_millis(500);
/// How long the relay may take to deliver what the server last said and to write the last record.
const FINISH_GRACE: Duration = Duration::from_millis(2000);

/// Why the watch itself failed; everything is killed then.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A system call of the monitor failed.
    #[error("the monitor cannot watch the session")]
    Monitor(#[from] Errno),
    /// A socket to the relay failed.
    #[error("the monitor cannot hear the relay")]
    Control(#[from] std::io::Error),
    /// The cgroup could not be killed.
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
    /// wait(2) status of the server; none when it was killed with its namespace.
    pub status: Option<i32>,
    /// Whether we had to end the server: SIGTERM or cgroup.kill.
    pub terminated: bool,
    /// The relay's last record; none when the relay died and the log must be closed by the monitor.
    pub last: Option<LogPoint>,
}

impl Ended {
    /// The server's own exit code; 128 + n when signal n ended it, SIGKILL when it left no status.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let status = self.status.unwrap_or(Signal::SIGKILL as i32);
        // wait(2): the low seven bits are the signal, the next byte the exit code.
        let code = if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

/// Everything that the monitor holds while it waits.
pub struct Watch<'s> {
    /// Janitor, relay and egress.
    pub crew: Vec<Child>,
    /// Its closing by our death wakes the janitor.
    pub alive: OwnedFd,
    /// The relay's control socket.
    pub control: OwnedFd,
    /// The launched server.
    pub running: Running,
    /// SIGTERM, SIGINT, SIGHUP.
    pub signals: &'s Signals,
    /// Longest life of the session.
    pub wall: Option<Duration>,
    /// The server's cgroup.
    pub leaf: &'s Leaf,
    /// The log's side that signs.
    pub ledger: &'s mut Ledger,
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
    /// It is gone; the relay finishes.
    Draining,
}

/// What poll(2) reported.
struct Ready {
    signals: bool,
    control: bool,
    server: bool,
    crew: Vec<usize>,
}

/// The state of the wait.
struct State {
    phase: Phase,
    cause: Option<EndCause>,
    status: Option<i32>,
    last: Option<LogPoint>,
    due_ns: Option<u64>,
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
            status: None,
            last: None,
            due_ns: None,
            wall_ns: self.wall.map(|wall| start.saturating_add(nanoseconds(wall))),
            relay_alive: true,
            terminated: false,
        };
        while !(state.phase == Phase::Draining && (state.last.is_some() || !state.relay_alive)) {
            let ready = self.wait(&state)?;
            if ready.server && state.phase != Phase::Draining {
                self.server_gone(&mut state)?;
            }
            if ready.control {
                self.hear_relay(&mut state)?;
            }
            for index in ready.crew {
                self.child_gone(index, &mut state)?;
            }
            if ready.signals {
                self.hear_signals(&mut state)?;
            }
            self.clock(&mut state)?;
        }
        // The namespace dies with its pid 1; the cgroup catches whatever was never in it.
        self.leaf.kill()?;
        let cause = state.cause.unwrap_or(EndCause::Server);
        Ok(Ended { cause, status: state.status, terminated: state.terminated, last: state.last })
    }

    fn wait(&self, state: &State) -> Result<Ready, WatchError> {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.signals.fd(), self.control.as_fd(), self.running.pidfd()];
        fds.extend(self.crew.iter().map(Child::fd));
        let relay = state.relay_alive;
        let wanted = |index: usize| match index {
            1 => relay,
            2 => state.phase != Phase::Draining,
            _ => true,
        };
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let order: Vec<usize> = (0..fds.len()).filter(|index| wanted(*index)).collect();
        match poll(&mut polled, timeout(state)) {
            Ok(_) => {}
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = Ready { signals: false, control: false, server: false, crew: Vec::new() };
        for (fd, index) in polled.iter().zip(order) {
            if fd.revents().is_none_or(|events| events.is_empty()) {
                continue;
            }
            match index {
                0 => ready.signals = true,
                1 => ready.control = true,
                2 => ready.server = true,
                child => ready.crew.push(child - 3),
            }
        }
        Ok(ready)
    }

    /// pid 1 of the server's namespace has ended, and with it every process in the namespace.
    fn server_gone(&mut self, state: &mut State) -> Result<(), WatchError> {
        state.status = self.running.status()?;
        let cause = *state.cause.get_or_insert(EndCause::Server);
        state.phase = Phase::Draining;
        state.due_ns = Some(clock::now().boot_ns.saturating_add(nanoseconds(FINISH_GRACE)));
        // A server that was killed with its namespace left no status: it died of SIGKILL.
        let status = state.status.unwrap_or(Signal::SIGKILL as i32);
        if state.relay_alive {
            ToRelay::Finish { cause, status }.send(self.control.as_fd())?;
        }
        Ok(())
    }

    fn hear_relay(&mut self, state: &mut State) -> Result<(), WatchError> {
        match FromRelay::receive(self.control.as_fd()) {
            // Its pidfd says the rest.
            Ok(None) => state.relay_alive = false,
            Ok(Some(FromRelay::Applied)) => {}
            Ok(Some(FromRelay::Checkpoint(point))) => self.ledger.sign(point)?,
            Ok(Some(FromRelay::ClientGone)) => {
                state.cause.get_or_insert(EndCause::Client);
                state.enter(Phase::Closing, STDIN_GRACE);
            }
            Ok(Some(FromRelay::Failed(cause))) => {
                state.relay_alive = false;
                self.end(cause, state)?;
            }
            Ok(Some(FromRelay::Finished(point))) => state.last = Some(point),
            // A relay that says something else is no relay of ours any more.
            Err(error) => {
                tracing::error!("relay: {error}");
                state.relay_alive = false;
                self.end(EndCause::RelayDied, state)?;
            }
        }
        Ok(())
    }

    fn child_gone(&mut self, index: usize, state: &mut State) -> Result<(), WatchError> {
        let mut child = self.crew.swap_remove(index);
        child.reap()?;
        let cause = match child.role() {
            Role::Janitor => EndCause::JanitorDied,
            Role::Egress => EndCause::EgressDied,
            Role::Relay => {
                // What it said before it died may still be queued.
                while state.relay_alive && state.last.is_none() {
                    self.hear_relay(state)?;
                }
                state.relay_alive = false;
                EndCause::RelayDied
            }
        };
        // Egress hangs up in order once the session is being finished.
        if state.phase == Phase::Draining { Ok(()) } else { self.end(cause, state) }
    }

    fn hear_signals(&mut self, state: &mut State) -> Result<(), WatchError> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                Signal::SIGHUP => tracing::warn!("SIGHUP: this build does not reload a policy; restart the session"),
                _ => {
                    state.cause.get_or_insert(EndCause::Signal);
                    self.terminate(state)?;
                }
            }
        }
        Ok(())
    }

    /// A promise broke: the server dies now.
    fn end(&mut self, cause: EndCause, state: &mut State) -> Result<(), WatchError> {
        state.cause = Some(cause);
        if state.phase != Phase::Draining {
            self.leaf.kill()?;
            state.phase = Phase::Killed;
            state.due_ns = None;
        }
        Ok(())
    }

    fn terminate(&mut self, state: &mut State) -> Result<(), WatchError> {
        if matches!(state.phase, Phase::Running | Phase::Closing) {
            match self.running.terminate() {
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
            Phase::Draining => {
                // The client does not read: its last bytes are lost to it, the log is closed by the monitor.
                state.relay_alive = false;
            }
        }
        Ok(())
    }
}

impl State {
    fn enter(&mut self, phase: Phase, grace: Duration) {
        if self.phase == Phase::Running || (self.phase == Phase::Closing && phase == Phase::Terminating) {
            self.phase = phase;
            self.due_ns = Some(clock::now().boot_ns.saturating_add(nanoseconds(grace)));
        }
    }
}

fn timeout(state: &State) -> PollTimeout {
    let Some(due) = [state.due_ns, state.wall_ns].into_iter().flatten().min() else { return PollTimeout::NONE };
    let left_ms = due.saturating_sub(clock::now().boot_ns).div_ceil(1_000_000);
    PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
