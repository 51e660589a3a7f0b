//! The monitor's signals as a descriptor: nothing runs in a handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGTERM, SIGINT, SIGQUIT and SIGHUP, blocked and read through signalfd(2).
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals in this thread (the only one) and opens the descriptor. Children inherit the mask: each
    /// resets it before it runs foreign code.
    ///
    /// # Errors
    /// sigprocmask(2) or signalfd(2).
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            set.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        crate::fault::Stage::Signals.passed_io()?;
        Ok(Self { fd })
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next pending signal.
    ///
    /// # Errors
    /// read(2), or a signal that was not asked for.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        match self.fd.read_signal()? {
            None => Ok(None),
            Some(info) => Ok(Some(Signal::try_from(info.ssi_signo.cast_signed())?)),
        }
    }
}
