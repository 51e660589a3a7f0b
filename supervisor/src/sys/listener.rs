//! The listener of a seccomp filter (seccomp_unotify(2)): which calls a filter refused, and the refusal that their threads
//! wait for.
//!
//! A call is never let run from here. seccomp_unotify(2) warns of that, for what a pointer points at may change in between;
//! no function here can.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::seccomp::{Instruction, action_is_known};

/// What a filter returns for a call that its listener answers (`SECCOMP_RET_USER_NOTIF`, Linux 5.0).
pub const ASK_LISTENER: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// One refused call, whose thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it to the kernel.
    pub id: u64,
    /// The thread, as whoever listens sees it; 0 from a pid namespace that it does not see.
    pub tid: u32,
    /// The number of the call on this architecture.
    pub call: u32,
}

/// What there is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Heard {
    /// A call.
    Call(Notice),
    /// None waits.
    Nothing,
    /// No process is under the filter any more.
    End,
}

/// Installs `program` on the calling thread, as [`super::seccomp::install`], and answers its listener, which is close-on-exec.
/// A thread whose call was heard waits for the answer through every signal but a fatal one
/// (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19), so that no call is heard twice.
///
/// # Errors
/// Nothing was installed then. `EBUSY` when the thread has a filter with a listener already, as in some containers; `EINVAL` or
/// `EOPNOTSUPP` when the kernel has no listeners, or other structures than ours; those of [`super::seccomp::install`].
pub fn install(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    if !action_is_known(ASK_LISTENER)? || !structures_are_ours()? {
        return Err(Errno::EOPNOTSUPP);
    }
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `program` points at `length` initialised instructions, of the layout that `seccomp` asserts; the kernel copies
    // them and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: a new close-on-exec descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel fills structures of its own size (`SECCOMP_GET_NOTIF_SIZES`, Linux 5.0): they must be those of this build.
fn structures_are_ours() -> Result<bool, Errno> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: the third argument points at the structure that the kernel fills, which lives through the call.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) };
    Errno::result(done)?;
    Ok(usize::from(sizes.seccomp_notif) == size_of::<libc::seccomp_notif>()
        && usize::from(sizes.seccomp_notif_resp) == size_of::<libc::seccomp_notif_resp>())
}

/// The next call. Never waits, as long as nobody else listens at the same descriptor: the kernel counts a call up before poll(2)
/// reports it, and down only when it is heard. One that is gone by then, for its thread was killed, is no call.
///
/// # Errors
/// Those of poll(2) and of `SECCOMP_IOCTL_NOTIF_RECV`.
pub fn hear(listener: BorrowedFd<'_>) -> Result<Heard, Errno> {
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::ZERO)?;
    let events = wanted[0].revents().unwrap_or(PollFlags::empty());
    if !events.contains(PollFlags::POLLIN) {
        return Ok(if events.is_empty() { Heard::Nothing } else { Heard::End });
    }
    let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut notice = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: the kernel writes one structure of this size, which was compared before the filter was installed, and is told it
    // again by the request's number; it wants it zeroed.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notice) };
    match Errno::result(done) {
        Ok(_) => Ok(Heard::Call(Notice { id: notice.id, tid: notice.pid, call: notice.data.nr.cast_unsigned() })),
        // Its thread is gone, or a signal of ours came in between.
        Err(Errno::ENOENT | Errno::EINTR) => Ok(Heard::Nothing),
        Err(errno) => Err(errno),
    }
}

/// Whether the thread still waits: what was read of it in /proc before was of that thread and of no later one.
#[must_use]
pub fn still_waits(listener: BorrowedFd<'_>, notice: &Notice) -> bool {
    // SAFETY: the third argument points at the u64 that the kernel reads, which lives through the call.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const notice.id) };
    done == 0
}

/// Lets the thread go on with `EPERM`; the call does nothing. A thread that is gone is not an error.
///
/// # Errors
/// Those of `SECCOMP_IOCTL_NOTIF_SEND` but `ENOENT`.
pub fn refuse(listener: BorrowedFd<'_>, notice: &Notice) -> Result<(), Errno> {
    let answer = libc::seccomp_notif_resp { id: notice.id, val: 0, error: -libc::EPERM, flags: 0 };
    // SAFETY: the third argument points at the structure that the kernel reads, of the size that was compared.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
    match Errno::result(done) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
