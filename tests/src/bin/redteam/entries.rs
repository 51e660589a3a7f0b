//! Other doors into the kernel: the 32-bit entry and x32, whose numbers a filter for one architecture would misread.

use nix::errno::Errno;

use crate::raw::{At, syscall};
use crate::{Probe, Told};

#[cfg(target_arch = "x86_64")]
pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("int80-getpid", |_| int80(20, 0, 0, 0)),
    ("int80-socket", |_| int80(359, libc::AF_INET as u32, libc::SOCK_STREAM as u32, 0)),
    ("int80-unshare", |_| int80(310, libc::CLONE_NEWUSER as u32, 0, 0)),
    ("int80-ptrace", |_| int80(26, 0, 0, 0)), // PTRACE_TRACEME
    ("int80-keyctl", |_| int80(288, 1, 0, 0)),
    ("int80-personality", |_| int80(136, libc::ADDR_NO_RANDOMIZE as u32, 0, 0)),
    ("x32-getpid", |_| x32(39, [0; 6])),
    ("x32-socket", |_| x32(41, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0, 0, 0])),
];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const PROBES: &[(&str, Probe)] = &[];

/// `int 0x80` with numbers of the 32-bit table.
#[cfg(target_arch = "x86_64")]
fn int80(number: u32, a: u32, b: u32, c: u32) -> Told {
    let answer: i64;
    // SAFETY: no pointers; rbx, which LLVM keeps for itself, is put back; r8 to r11 are lost on this entry.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {a:r}", "int 0x80", "xchg rbx, {a:r}",
            a = inout(reg) u64::from(a) => _,
            inlateout("rax") i64::from(number) => answer,
            in("rcx") u64::from(b), in("rdx") u64::from(c), in("rsi") 0u64, in("rdi") 0u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The 32-bit entry gives its answer in eax.
    match answer as i32 {
        errno @ -4095..=-1 => Err(Errno::from_raw(-errno)).at("int 0x80"),
        value => Ok(format!("gave {value}")),
    }
}

#[cfg(target_arch = "x86_64")]
fn x32(number: i64, arguments: [usize; 6]) -> Told {
    syscall(0x4000_0000 | number, arguments).map(|value| format!("gave {value}")).at("x32")
}
