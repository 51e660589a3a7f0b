//! Descriptor tables: a child keeps what is listed, at numbers that are fixed, and nothing else.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Whether a placed descriptor survives exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExec {
    /// Stays open.
    Keep,
    /// Closed.
    Close,
}

/// close_range(2) (Linux 5.9): closes `first` and every higher descriptor.
///
/// # Errors
/// Those of close_range(2).
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: plain integers; the caller gives up every descriptor from `first` on.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    Errno::result(done).map(drop)
}

/// Closes every descriptor but `kept`.
///
/// # Errors
/// Those of close_range(2).
pub fn close_except(kept: BorrowedFd<'_>) -> Result<(), Errno> {
    let kept = kept.as_raw_fd().cast_unsigned();
    if kept > 0 {
        // SAFETY: plain integers; the caller gives up every other descriptor.
        Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 0_u32, kept - 1, 0) })?;
    }
    close_from(kept + 1)
}

/// Puts each descriptor at its index: `wanted[i]` becomes descriptor `i`. Sources may be any numbers, in any order.
/// What stood at these numbers is closed; what stands above them is left to [`close_from`].
///
/// # Errors
/// Those of fcntl(F_DUPFD_CLOEXEC) and dup3(2).
pub fn place(wanted: &[(BorrowedFd<'_>, OnExec)]) -> Result<(), Errno> {
    let above = i32::try_from(wanted.len()).map_err(|_| Errno::EINVAL)?;
    let mut lifted: Vec<RawFd> = Vec::with_capacity(wanted.len());
    for (fd, _) in wanted {
        // First out of the way of every target, so that no target overwrites a source that is still to come.
        lifted.push(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above.max(64)))?);
    }
    for ((target, source), (_, on_exec)) in (0..).zip(&lifted).zip(wanted) {
        let flags = if *on_exec == OnExec::Close { libc::O_CLOEXEC } else { 0 };
        // SAFETY: plain integers; the caller gives up the descriptors at the target numbers.
        Errno::result(unsafe { libc::dup3(*source, target, flags) })?;
    }
    for source in lifted {
        // SAFETY: made by F_DUPFD above and known to nobody else.
        Errno::result(unsafe { libc::close(source) })?;
    }
    Ok(())
}

/// Takes over descriptor `number`, placed there by [`place`] or by a parent.
///
/// The caller vouches that nothing else in the process owns it; a number that is not open is refused.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn adopt(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD only looks at the table.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: open (checked above) and, by the caller's word, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Clears or sets close-on-exec.
///
/// # Errors
/// Those of fcntl(F_SETFD).
pub fn set_on_exec(fd: BorrowedFd<'_>, on_exec: OnExec) -> Result<(), Errno> {
    let flags = match on_exec {
        OnExec::Keep => nix::fcntl::FdFlag::empty(),
        OnExec::Close => nix::fcntl::FdFlag::FD_CLOEXEC,
    };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}

/// Whether `fd` is a pipe.
///
/// # Errors
/// Those of fstat(2).
pub fn is_pipe(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = nix::sys::stat::fstat(fd)?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// The raw number, for messages.
#[must_use]
pub fn number(fd: BorrowedFd<'_>) -> RawFd {
    fd.as_raw_fd()
}
