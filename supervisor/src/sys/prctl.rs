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

/// Takes `capability` out of the calling thread's bounding set (`PR_CAPBSET_DROP`). Needs `CAP_SETPCAP`.
///
/// # Errors
/// `EPERM` without the capability; `EINVAL` for a number that this kernel does not know.
pub fn drop_from_bounding(capability: u32) -> Result<(), Errno> {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// Whether `capability` is in the calling thread's bounding set (`PR_CAPBSET_READ`).
///
/// # Errors
/// `EINVAL` for a number that this kernel does not know: the end of the list.
pub fn in_bounding(capability: u32) -> Result<bool, Errno> {
    // SAFETY: prctl with integer arguments touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) };
    Errno::result(result).map(|present| present == 1)
}

/// Makes descriptor `target` another name of `source` (dup2(2)), closing what `target` was.
///
/// # Errors
/// `EBADF` when `source` is not open.
pub fn replace_descriptor(source: i32, target: i32) -> Result<(), Errno> {
    // SAFETY: a system call with integer arguments; for 0 to 2, which no Rust object owns.
    Errno::result(unsafe { libc::dup2(source, target) }).map(drop)
}
