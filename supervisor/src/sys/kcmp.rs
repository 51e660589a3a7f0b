//! Whether two threads share their descriptors (kcmp(2)).

#![allow(unsafe_code)]

use std::cmp::Ordering;

use nix::errno::Errno;
use nix::unistd::Pid;

/// `KCMP_FILES` of linux/kcmp.h.
pub const KCMP_FILES: u32 = 2;

/// How the descriptor table of `one` stands to that of `other`, in an order that holds until the next boot; `Equal` is the same
/// table. `None` where the kernel does not say.
///
/// # Errors
/// Those of kcmp(2): `ESRCH` when one of both is gone, `EPERM` for who may not look into both, `ENOSYS` without `CONFIG_KCMP`.
pub fn compare_tables(one: Pid, other: Pid) -> Result<Option<Ordering>, Errno> {
    let [one, other] = [one, other].map(|thread| libc::c_long::from(thread.as_raw()));
    let kind = libc::c_long::from(KCMP_FILES);
    let none: libc::c_long = 0;
    // SAFETY: kcmp(2) of this kind reads three numbers and writes to no memory of ours; the last two it does not look at.
    let answer = Errno::result(unsafe { libc::syscall(libc::SYS_kcmp, one, other, kind, none, none) })?;
    Ok(match answer {
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Less),
        2 => Some(Ordering::Greater),
        _ => None,
    })
}
