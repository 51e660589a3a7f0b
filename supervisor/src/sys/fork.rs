//! A question put to the kernel from a child, so that the answer leaves no mark on this process.

#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Runs `question` in a forked child and returns how the child ended.
///
/// The child ends with the returned code (0 to 255) through `_exit`: no destructor and no buffer of ours runs twice.
/// `question` should make system calls and little else; in a process with threads it must not wait for a lock that
/// another thread may hold.
///
/// # Errors
/// Those of fork(2) and waitpid(2).
pub fn ask_child(question: impl FnOnce() -> i32) -> Result<WaitStatus, Errno> {
    let child = leave_child(question)?;
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            status => return status,
        }
    }
}

/// The same without waiting: the child's end is the caller's to collect.
///
/// # Errors
/// Those of fork(2).
pub fn leave_child(task: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: the child runs `task`, which by contract takes no foreign lock, and ends in `_exit`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = task();
            // SAFETY: `_exit` ends the process at once and never returns.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => Ok(child),
    }
}
