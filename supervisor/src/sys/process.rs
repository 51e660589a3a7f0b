//! fork, exit, signal reset and the other acts of a process on itself.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::unistd::Pid;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fork {
    /// The caller; the child's pid.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Entries of /proc/self/task: the number of threads of this process.
///
/// # Errors
/// Those of opening and reading /proc/self/task.
pub fn task_count() -> Result<usize, Errno> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(|e| errno_of(&e))?;
    Ok(tasks.count())
}

/// fork(2) of a process that is provably single-threaded, so that the child may allocate.
///
/// # Errors
/// `EBUSY` when the process has more than one thread, otherwise those of fork(2).
pub fn fork() -> Result<Fork, Errno> {
    if task_count()? != 1 {
        return Err(Errno::EBUSY);
    }
    fork_unchecked()
}

/// [`fork`] for a process that has already been a fork of a single-threaded one and cannot read /proc any more.
///
/// # Errors
/// Those of fork(2).
pub(crate) fn fork_unchecked() -> Result<Fork, Errno> {
    // SAFETY: callers are single-threaded, so no lock can be held by a thread that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

/// Ends the process at once: no destructors, no atexit handlers, no buffered output.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Ends the process when dropped: a panic in a forked child must not unwind into its copy of the parent's stack.
pub(crate) struct ExitOnDrop;

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        exit_now(255);
    }
}

/// Sets every signal to its default action and unblocks all: a program expects nothing else from its parent, and
/// exec keeps ignored signals (std ignores SIGPIPE) and the mask.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn reset_signals() -> Result<(), Errno> {
    for number in 1..=64 {
        // SAFETY: SIG_DFL installs no code. SIGKILL, SIGSTOP and glibc's two internal signals answer EINVAL: they
        // have no handler to reset.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// Blocks the signals that stop a job (SIGTSTP, SIGTTIN, SIGTTOU): a terminal's user may send them to a process that runs as root. One of
/// ours that stood still would hold up whoever waits for it, with its clocks and its locks. SIGCHLD becomes what it is by default: a caller
/// who ignores it would have the kernel reap our children before we have heard of their end.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn refuse_stops() -> Result<(), Errno> {
    use nix::sys::signal::Signal::{SIGTSTP, SIGTTIN, SIGTTOU};

    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if !crate::weaken::in_force("job-control-stops") {
        return Ok(());
    }
    [SIGTSTP, SIGTTIN, SIGTTOU].into_iter().collect::<nix::sys::signal::SigSet>().thread_block()
}

/// Disarms the interval timers, which stay over an execve(2) (setitimer(2)): a caller's, by way of a sudo that does not fork, would end us when it
/// suits him. Those of timer_create(2) do not stay.
///
/// # Errors
/// Those of setitimer(2).
pub fn disarm_timers() -> Result<(), Errno> {
    if !crate::weaken::in_force("callers-timers") {
        return Ok(());
    }
    let off = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let off = libc::itimerval { it_interval: off, it_value: off };
    [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF].into_iter().try_for_each(|timer| {
        // SAFETY: the new value is read, and where the old one would go there is no place to write.
        Errno::result(unsafe { libc::setitimer(timer, &raw const off, std::ptr::null_mut()) }).map(drop)
    })
}

/// Makes the signal mask full: pid 1 takes signals only through its signalfd.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn block_signals() -> Result<(), Errno> {
    nix::sys::signal::SigSet::all().thread_set_mask()
}

/// The errno inside an I/O error; `EIO` when it carries none.
#[must_use]
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_may_not_fork() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(task_count().unwrap() > 1);
        assert_eq!(fork(), Err(Errno::EBUSY));
        drop(go);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn no_interval_timer_of_a_caller_stays() {
        const TIMERS: [libc::c_int; 3] = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];
        let value = |seconds| {
            let time = libc::timeval { tv_sec: seconds, tv_usec: 0 };
            libc::itimerval { it_interval: time, it_value: time }
        };
        let left = |timer| {
            let mut found = value(0);
            // SAFETY: it writes one timer, which is there.
            let asked = unsafe { libc::getitimer(timer, &raw mut found) };
            assert_eq!(asked, 0);
            found.it_value.tv_sec + found.it_value.tv_usec
        };
        let status = super::super::fork::ask_child(|| {
            let hour = value(3600);
            for timer in TIMERS {
                // SAFETY: it reads one timer, which is there.
                if unsafe { libc::setitimer(timer, &raw const hour, std::ptr::null_mut()) } != 0 || left(timer) == 0 {
                    return 1;
                }
            }
            i32::from(disarm_timers().is_err() || TIMERS.into_iter().any(|timer| left(timer) != 0)) * 2
        });
        assert!(matches!(status, Ok(nix::sys::wait::WaitStatus::Exited(_, 0))), "{status:?}");
    }

    #[test]
    fn errno_survives_io_error() {
        assert_eq!(errno_of(&std::io::Error::from_raw_os_error(libc::EROFS)), Errno::EROFS);
        assert_eq!(errno_of(&std::io::Error::other("no number")), Errno::EIO);
    }
}
