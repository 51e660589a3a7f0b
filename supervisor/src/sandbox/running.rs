//! A launched server: first at the gate, then running. Dropping either ends it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::launch::{LaunchError, exec_error, next, say};
use super::step::{Message, Step};
use super::{LayerReport, init};
use crate::sys::pidfd;

/// Kills and reaps the sandbox's pid 1, and with it the namespace, unless that has been done.
#[derive(Debug)]
pub(super) struct Guard {
    pid: Pid,
    child: Option<OwnedFd>,
}

impl Guard {
    pub(super) fn new(pid: Pid, child: OwnedFd) -> Self {
        Self { pid, child: Some(child) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            // Both fail only when it is already gone and reaped.
            let _gone = pidfd::signal(child.as_fd(), Signal::SIGKILL).and_then(|()| pidfd::reap(child.as_fd()));
        }
    }
}

/// A server that stands at the gate: confined, proven, not yet executed. Dropped, it never runs.
#[derive(Debug)]
pub struct Server {
    pub(super) guard: Guard,
    pub(super) layers: Vec<LayerReport>,
    pub(super) listener: Option<OwnedFd>,
    pub(super) report: OwnedFd,
    pub(super) go: OwnedFd,
    pub(super) status: OwnedFd,
    pub(super) lifeline: OwnedFd,
    pub(super) executable: PathBuf,
}

impl Server {
    /// What each layer of the launch answered, in the order of [`super::Layer`].
    #[must_use]
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// The host pid of the sandbox's pid 1.
    #[must_use]
    pub fn init_pid(&self) -> Pid {
        self.guard.pid
    }

    /// Lets the workload execute the command, and waits until it has.
    ///
    /// # Errors
    /// [`LaunchError::Exec`] with 127 or 126 when it cannot be executed; [`LaunchError::Vanished`] when the sandbox died
    /// at the gate. The sandbox is gone then.
    pub fn open_gate(self) -> Result<Running, LaunchError> {
        say(&self.go)?;
        drop(self.go);
        match next(&self.report)?.map(|(message, _)| message) {
            // Both copies of the socket's other end are close-on-exec: its end is the exec. So it would be after a kill at
            // this very moment, which the status pipe tells apart.
            None => Ok(Running {
                guard: self.guard,
                status: self.status,
                lifeline: Some(self.lifeline),
                listener: self.listener,
            }),
            Some(Message::Failed(failure)) if failure.step == Step::Exec => Err(exec_error(&self.executable, failure)),
            Some(Message::Failed(failure)) => Err(LaunchError::Step(failure)),
            Some(_) => Err(LaunchError::Parent { act: "read the child's report", source: Errno::EBADMSG }),
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled(u8),
    /// The whole sandbox was killed, by us, by cgroup.kill or for want of memory: nobody was left to tell how.
    Killed,
}

impl Ending {
    /// From a wait status (wait(2)): the low seven bits are the signal, the next byte the exit code.
    fn from_wait(status: i32) -> Self {
        let [low, high, ..] = status.to_le_bytes();
        match low & 0x7F {
            0 => Self::Exited(high),
            signal => Self::Signaled(signal),
        }
    }

    /// The wait status that stands for it (wait(2)).
    #[must_use]
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code) << 8,
            Self::Signaled(signal) => i32::from(signal),
            Self::Killed => Signal::SIGKILL as i32,
        }
    }

    /// The exit code that stands for it: its own, or 128 + n by signal n.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128_u8.saturating_add(signal),
            Self::Killed => 128 + 9,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    guard: Guard,
    status: OwnedFd,
    lifeline: Option<OwnedFd>,
    listener: Option<OwnedFd>,
}

impl Running {
    /// Takes the listener of the server's filter, where there is one ([`super::launch::Cage::telling`]).
    #[must_use]
    pub fn listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// The host pid of the sandbox's pid 1.
    #[must_use]
    pub fn init_pid(&self) -> Pid {
        self.guard.pid
    }

    /// Readable when the server has ended (its end or its hang-up); poll it.
    #[must_use]
    pub fn status_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }

    /// The pidfd of the sandbox's pid 1: readable when nothing of the sandbox is left.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.guard.child.as_ref().map(AsFd::as_fd)
    }

    /// SIGTERM to the server: pid 1 passes it on.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2); a server that has ended is none.
    pub fn terminate(&self) -> Result<(), Errno> {
        self.send(Signal::SIGTERM)
    }

    /// SIGTERM or SIGINT to the server by way of pid 1, which drops every other; SIGKILL to the whole sandbox.
    ///
    /// # Errors
    /// Those of pidfd_send_signal(2); a server that has ended is none.
    pub fn send(&self, signal: Signal) -> Result<(), Errno> {
        self.pidfd().map_or(Ok(()), |child| pidfd::signal(child, signal))
    }

    /// Drops the lifeline: pid 1 ends, and the kernel kills the rest.
    pub fn cut_lifeline(&mut self) {
        self.lifeline = None;
    }

    /// Waits until nothing of the sandbox is left, reaps it, and says how the server ended.
    ///
    /// # Errors
    /// Those of waitid(2) and of reading the status pipe.
    pub fn wait(mut self) -> Result<Ending, Errno> {
        if let Some(child) = &self.guard.child {
            let _how: WaitStatus = pidfd::reap(child.as_fd())?;
            self.guard.child = None;
        }
        // Who could still say something is gone: what was said is there.
        if !pidfd::readable(self.status.as_fd(), PollTimeout::ZERO)? {
            return Ok(Ending::Killed);
        }
        Ok(match init::read_message(&self.status)? {
            Some((init::ENDED, status)) => Ending::from_wait(status),
            _ => Ending::Killed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        for (status, ending, code) in [
            (0, Ending::Exited(0), 0),
            (7 << 8, Ending::Exited(7), 7),
            (255 << 8, Ending::Exited(255), 255),
            (9, Ending::Signaled(9), 137),
            (15, Ending::Signaled(15), 143),
            (11 | 0x80, Ending::Signaled(11), 139), // with a core dump
        ] {
            assert_eq!(Ending::from_wait(status), ending);
            assert_eq!(ending.code(), code);
        }
        assert_eq!(Ending::Killed.code(), 137);
    }
}
