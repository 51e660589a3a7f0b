//! Development builds: a process that breaks its own seccomp filter names the call before it dies.

#![allow(unsafe_code)]

use std::ffi::c_void;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Installs the handler on this process. The handler is taken off again when it runs, so the next violation, its own
/// last act, ends the process with `SIGSYS`.
///
/// # Errors
/// Those of sigaction(2).
pub fn report_violations() -> Result<(), Errno> {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESETHAND | SaFlags::SA_NODEFER;
    let action = SigAction::new(SigHandler::SigAction(report), flags, SigSet::empty());
    // SAFETY: `report` makes two system calls and touches nothing but its arguments and its own stack.
    unsafe { sigaction(Signal::SIGSYS, &action) }.map(drop)
}

extern "C" fn report(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    let mut line = *b"seccomp: system call 0000 is not in this process's filter\n";
    // struct { int si_signo, si_errno, si_code; void *call_addr; int syscall; .. } of linux/asm-generic/siginfo.h, 64-bit.
    const CALL_NUMBER: usize = 24;
    // SAFETY: the kernel passes a siginfo of 128 bytes that lives while the handler runs; the offset is inside it.
    let field = unsafe { info.cast::<u8>().add(CALL_NUMBER) };
    // SAFETY: the field is an i32, aligned for one, that the kernel has written.
    let number = unsafe { field.cast::<i32>().read() };
    let mut rest = number.unsigned_abs();
    for place in (21..25).rev() {
        line[place] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    // SAFETY: write(2) of a buffer on this stack; async-signal-safe.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    // SAFETY: a number that no filter lets through and no kernel knows: this thread dies of SIGSYS, now unhandled.
    unsafe { libc::syscall(0x3fff_ffff) };
    // SAFETY: reached only when no filter is installed; `_exit` never returns.
    unsafe { libc::_exit(159) }
}
