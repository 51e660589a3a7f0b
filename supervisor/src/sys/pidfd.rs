//! pidfds: signals and waits that cannot hit a recycled pid.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// pidfd_open(2) (Linux 5.3).
///
/// # Errors
/// Those of pidfd_open(2); `ESRCH` when there is no such process.
pub fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: a new close-on-exec descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2) (Linux 5.1). A process that is already gone is not an error: the aim is reached.
///
/// # Errors
/// Those of pidfd_send_signal(2) but `ESRCH`.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    // SAFETY: a null siginfo asks for that of kill(2).
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, std::ptr::null::<u8>(), 0)
    };
    match Errno::result(sent) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits for a child's end and reaps it.
///
/// # Errors
/// Those of waitid(2); `ECHILD` when it is no child of ours or already reaped.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<WaitStatus, Errno> {
    loop {
        match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// Waits until `fd` is readable or hung up; for a pidfd: until the process has ended. False when `timeout` passed first.
///
/// # Errors
/// Those of poll(2).
pub fn readable(fd: BorrowedFd<'_>, timeout: PollTimeout) -> Result<bool, Errno> {
    let mut wanted = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut wanted, timeout) {
            Err(Errno::EINTR) => {}
            done => return done.map(|ready| ready > 0),
        }
    }
}
