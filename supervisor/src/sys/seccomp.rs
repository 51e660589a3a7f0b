//! seccomp(2): installing a filter that was assembled beforehand.

#![allow(unsafe_code)]

use nix::errno::Errno;

/// One instruction of classic BPF, `struct sock_filter` of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped when a comparison holds.
    pub jt: u8,
    /// Instructions skipped when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
const _: () = assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());

/// Installs `program` on the calling thread (`SECCOMP_SET_MODE_FILTER` without flags; seccomp(2), Linux 3.17).
///
/// # Errors
/// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`; `EINVAL` for a program that the kernel's verifier refuses or that
/// is longer than 4096 instructions; `ENOMEM`.
pub fn install(program: &[Instruction]) -> Result<(), Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `program` points at `length` initialised instructions of the layout asserted above; the kernel copies
    // them and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    Errno::result(result).map(drop)
}

/// Whether the kernel knows the given action value (`SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
///
/// # Errors
/// `ENOSYS` on a kernel without seccomp filters.
pub fn action_is_known(action: u32) -> Result<bool, Errno> {
    // SAFETY: the third argument points at a u32 that lives through the call; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    match Errno::result(result) {
        Ok(_) => Ok(true),
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
