//! Forking our own processes. The monitor has one thread, so a forked child may go on as ordinary Rust.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};

use crate::sys::{pidfd, process};

/// How long a child may take to confine itself; it needs a few milliseconds.
const READY_TIMEOUT: u16 = 10_000;

/// Which of our processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Kills and cleans up when the monitor is gone.
    Janitor,
    /// Sits on the pipe, decides and records.
    Relay,
    /// DNS stub and gateway.
    Egress,
    /// Connects to the hosts of the policy.
    Dialer,
    /// Connects to a shared limit store.
    Link,
    /// Counts writable folders.
    Meter,
}

impl Role {
    /// The name in messages and in /proc/PID/comm (15 bytes at most, PR_SET_NAME).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Janitor => "isb-janitor",
            Self::Relay => "isb-relay",
            Self::Egress => "isb-egress",
            Self::Dialer => "isb-dialer",
            Self::Link => "isb-link",
            Self::Meter => "isb-meter",
        }
    }
}

/// Why one of our processes is not there.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// A system call failed.
    #[error("{role} could not be started")]
    Start {
        /// Which.
        role: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// It ended, or took too long, before it said that it is confined.
    #[error("{role} did not confine itself")]
    Unconfined {
        /// Which.
        role: &'static str,
    },
}

/// The child's way to say that it is confined.
#[derive(Debug)]
pub struct Ready {
    fd: OwnedFd,
}

impl Ready {
    /// The descriptor, to be kept open by the confinement.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Says it.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn say(self) -> Result<(), Errno> {
        nix::unistd::write(&self.fd, b"1").map(drop)
    }
}

/// One of our processes, seen from the monitor. Killed when dropped: none outlives the session by an early return.
#[derive(Debug)]
pub struct Child {
    role: Role,
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
    /// Where it says that it is confined, until it has.
    unheard: Option<OwnedFd>,
    exit_code: Option<i32>,
}

impl Child {
    /// [`Child::start`], and waits until the child is confined.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn fork(role: Role, body: impl FnOnce(Ready) -> u8) -> Result<Self, ForkError> {
        let mut child = Self::start(role, body)?;
        child.await_confined()?;
        Ok(child)
    }

    /// Forks; the child runs `body` and ends with its value as exit code. It confines itself meanwhile:
    /// [`Child::await_confined`] comes before anything relies on it.
    ///
    /// # Errors
    /// [`ForkError::Start`].
    pub fn start(role: Role, body: impl FnOnce(Ready) -> u8) -> Result<Self, ForkError> {
        let start = |source| ForkError::Start { role: role.name(), source };
        let (said, ready) = pipe2(OFlag::O_CLOEXEC).map_err(start)?;
        match process::fork().map_err(start)? {
            process::Fork::Child => {
                drop(said);
                if let Ok(name) = CString::new(role.name()) {
                    // A name is a convenience for ps; nothing depends on it.
                    let _ = nix::sys::prctl::set_name(&name);
                }
                process::exit_now(i32::from(body(Ready { fd: ready })))
            }
            process::Fork::Parent(pid) => {
                let pidfd = pidfd::open(pid).map_err(start)?;
                Ok(Self { role, pid, pidfd, reaped: false, unheard: Some(said), exit_code: None })
            }
        }
    }

    /// Waits until the child has said that it is confined.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn await_confined(&mut self) -> Result<(), ForkError> {
        let role = self.role.name();
        let failed = |source| ForkError::Start { role, source };
        let Some(said) = self.unheard.take() else { return Ok(()) };
        let mut byte = [0];
        let spoke = pidfd::readable(said.as_fd(), PollTimeout::from(READY_TIMEOUT)).map_err(failed)?
            && nix::unistd::read(&said, &mut byte).map_err(failed)? == 1;
        if spoke { Ok(()) } else { Err(ForkError::Unconfined { role }) }
    }

    /// Which process this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its host pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the process has ended (pidfd_open(2)).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// What it exited with; `None` before it is reaped, and where a signal ended it.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// Kills it, and does not wait: [`Child::kill`] does, so several may die at the same time.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn doom(&self) -> Result<(), Errno> {
        if self.reaped {
            return Ok(());
        }
        match pidfd::signal(self.fd(), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses the signal or the wait.
    pub fn kill(&mut self) -> Result<(), Errno> {
        if self.reaped {
            return Ok(());
        }
        self.doom()?;
        // SIGKILL cannot be refused; a process in an uninterruptible sleep may take its time.
        pidfd::readable(self.fd(), PollTimeout::NONE)?;
        self.reap().map(drop)
    }

    /// Collects the ended process; gives the signal that ended it, the first time.
    ///
    /// # Errors
    /// Those of waitid(2).
    pub fn reap(&mut self) -> Result<Option<Signal>, Errno> {
        if self.reaped {
            return Ok(None);
        }
        self.reaped = true;
        match pidfd::reap(self.fd())? {
            WaitStatus::Exited(_, code) => self.exit_code = Some(code),
            WaitStatus::Signaled(_, signal, _) => return Ok(Some(signal)),
            _ => {}
        }
        Ok(None)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(errno) = self.kill() {
            tracing::error!("{} (pid {}) could not be killed: {errno}", self.role.name(), self.pid);
        }
    }
}
