//! The process attributes that nix does not cover: securebits and closing ranges of descriptors.

#![allow(unsafe_code)]

use nix::errno::Errno;

/// Sets the calling thread's securebits (`PR_SET_SECUREBITS`, capabilities(7)). Needs `CAP_SETPCAP`.
///
/// # Errors
/// `EPERM` without the capability, or when a locked bit would change.
pub fn set_securebits(bits: i32) -> Result<(), Errno> {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::from(bits.unsigned_abs()), 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// The calling thread's securebits (`PR_GET_SECUREBITS`).
///
/// # Errors
/// None on a supported kernel.
pub fn securebits() -> Result<i32, Errno> {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })
}

/// Closes the descriptors `first..=last` (close_range(2), Linux 5.9).
///
/// Whoever calls this owns what it closes: it is for a freshly forked process that keeps a short list.
///
/// # Errors
/// `EINVAL` when `first` is above `last`.
pub fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: a system call with integer arguments; the caller has just forked and drops the Rust owners of these
    // descriptors by never using them again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Errno::result(result).map(drop)
}
