//! clone3(2): a child in new namespaces, born inside its cgroup, with a pidfd. clone(2): one that leaves nothing but a namespace.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use super::process::{ExitOnDrop, task_count};

/// `CLONE_PIDFD` and `CLONE_INTO_CGROUP` of linux/sched.h (5.2 and 5.7).
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of linux/sched.h, version 2 (88 bytes, Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<CloneArgs>() == 88);

/// Stack of a child that does nothing, bytes: room for the frame of a signal.
const IDLE_STACK_BYTES: usize = 64 << 10;

/// Forks with `namespaces` new, into the cgroup v2 directory `cgroup` when given, and runs `child` in the new process.
///
/// The child is a copy as after fork(2): own memory, own descriptor table. `child` is to end the
/// process itself; if it returns or panics, the process ends at once and nothing of the parent's stack runs twice.
///
/// # Errors
/// `EBUSY` when this process has more than one thread (another thread's locks would stay locked in the child),
/// otherwise those of clone3(2).
pub fn clone3<F>(namespaces: CloneFlags, cgroup: Option<BorrowedFd<'_>>, child: F) -> Result<(Pid, OwnedFd), Errno>
where
    F: FnOnce(),
{
    if task_count()? != 1 {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces.bits().cast_unsigned()) | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(directory.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` is a whole clone_args of the size passed and outlives the call; no CLONE_VM and no stack, so the
    // child goes on here on a copy of this stack, like fork; the process is single-threaded (checked above).
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    if pid == 0 {
        let _guard = ExitOnDrop;
        child(); // does not come back; if it did, the guard would end the process
    }
    let pid = Errno::result(pid)?;
    // SAFETY: on success with CLONE_PIDFD the kernel stored a new close-on-exec descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?), pidfd))
}

/// A child that was born in a new user namespace and has ended. Until it is waited for, its entry in /proc is there, and the namespace's
/// maps can be written.
///
/// It shares our memory, as vfork(2) has it: no copy is made, which takes longer than all the rest.
///
/// # Errors
/// Those of clone(2).
pub fn ended_in_user_namespace() -> Result<Pid, Errno> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        0 // which clone(2)'s wrapper makes _exit(2)
    }
    let mut stack = vec![0_u128; IDLE_STACK_BYTES / size_of::<u128>()];
    let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is the child's alone, aligned, and outlives it, for CLONE_VFORK lets us go on when it has ended; it touches no
    // memory but that stack.
    let pid = unsafe { libc::clone(end, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::null_mut()) };
    Errno::result(pid).map(Pid::from_raw)
}
