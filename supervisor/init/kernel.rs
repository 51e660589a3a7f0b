//! The ten system calls of init.

use core::arch::{asm, global_asm};

/// `struct pollfd`.
#[repr(C)]
pub(crate) struct PollFd {
    fd: i32,
    wanted: i16,
    pub(crate) happened: i16,
}

impl PollFd {
    pub(crate) fn new(fd: i32, wanted: i16) -> Self {
        Self { fd, wanted, happened: 0 }
    }
}

/// `struct signalfd_siginfo`: 128 bytes, the signal's number first.
#[repr(C, align(8))]
pub(crate) struct SignalInfo {
    pub(crate) number: u32,
    rest: [core::mem::MaybeUninit<u32>; 31],
}

impl SignalInfo {
    pub(crate) fn new() -> Self {
        Self { number: 0, rest: [core::mem::MaybeUninit::uninit(); 31] }
    }
}

/// System call numbers, by architecture (asm/unistd_64.h, asm-generic/unistd.h).
#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    /// `AUDIT_ARCH_X86_64` of linux/audit.h.
    pub(crate) const AUDIT_ARCH: u32 = 0xC000_003E;
    pub(crate) const READ: u32 = 0;
    pub(crate) const WRITE: u32 = 1;
    pub(crate) const WAIT4: u32 = 61;
    pub(crate) const KILL: u32 = 62;
    pub(crate) const PRCTL: u32 = 157;
    pub(crate) const EXIT_GROUP: u32 = 231;
    pub(crate) const PPOLL: u32 = 271;
    pub(crate) const SIGNALFD4: u32 = 289;
    pub(crate) const SECCOMP: u32 = 317;
}

/// System call numbers, by architecture (asm/unistd_64.h, asm-generic/unistd.h).
#[cfg(target_arch = "aarch64")]
pub(crate) mod number {
    /// `AUDIT_ARCH_AARCH64` of linux/audit.h.
    pub(crate) const AUDIT_ARCH: u32 = 0xC000_00B7;
    pub(crate) const READ: u32 = 63;
    pub(crate) const WRITE: u32 = 64;
    pub(crate) const PPOLL: u32 = 73;
    pub(crate) const SIGNALFD4: u32 = 74;
    pub(crate) const EXIT_GROUP: u32 = 94;
    pub(crate) const KILL: u32 = 129;
    pub(crate) const PRCTL: u32 = 167;
    pub(crate) const WAIT4: u32 = 260;
    pub(crate) const SECCOMP: u32 = 277;
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("intercept-sandbox runs on x86_64 and aarch64");

// The ABI asks for a 16-byte aligned stack at a call; the kernel gives it at entry, with argc on top.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call init_main", "ud2");
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl init_main", "brk #1");

/// One system call with up to five arguments; the result is negative errno on failure.
fn call(number: u32, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's calling convention (syscall(2)); every caller below passes valid pointers with their sizes.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's calling convention (syscall(2)); every caller below passes valid pointers with their sizes.
    unsafe {
        asm!("svc #0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, options(nostack));
    }
    result
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        call(number::EXIT_GROUP, code as usize, 0, 0, 0, 0);
    }
}

/// `PR_SET_DUMPABLE` 0: no ptrace, and /proc/1 belongs to root.
pub(crate) fn set_not_dumpable() -> isize {
    const PR_SET_DUMPABLE: usize = 4;
    call(number::PRCTL, PR_SET_DUMPABLE, 0, 0, 0, 0)
}

/// A close-on-exec descriptor from which `signals` can be read.
pub(crate) fn signalfd(signals: &[u32]) -> i32 {
    const SFD_CLOEXEC: usize = 0o2_000_000;
    let mut mask: u64 = 0;
    for signal in signals {
        mask |= 1 << (signal - 1);
    }
    call(number::SIGNALFD4, -1_isize as usize, &raw const mask as usize, size_of::<u64>(), SFD_CLOEXEC, 0) as i32
}

/// seccomp(2), `SECCOMP_SET_MODE_FILTER`, with a `struct sock_fprog`.
pub(crate) fn set_filter(program: *const filter_program) -> isize {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    call(number::SECCOMP, SECCOMP_SET_MODE_FILTER, 0, program as usize, 0, 0)
}

/// `struct sock_fprog` of linux/filter.h.
#[allow(non_camel_case_types)]
#[repr(C)]
pub(crate) struct filter_program {
    pub(crate) length: u16,
    pub(crate) instructions: *const [u32; 2],
}

pub(crate) fn poll(watched: &mut [PollFd; 2]) -> isize {
    call(number::PPOLL, watched.as_mut_ptr() as usize, watched.len(), 0, 0, 0)
}

/// Reads one signal; false when there was none after all.
pub(crate) fn read_signal(fd: i32, info: &mut SignalInfo) -> bool {
    call(number::READ, fd as usize, &raw mut *info as usize, size_of::<SignalInfo>(), 0, 0)
        == size_of::<SignalInfo>() as isize
}

/// Writes two numbers as one 8-byte message: what, and with which wait status.
pub(crate) fn write_pair(fd: i32, what: i32, status: i32) -> isize {
    let pair = [what, status];
    call(number::WRITE, fd as usize, pair.as_ptr() as usize, size_of::<[i32; 2]>(), 0, 0)
}

pub(crate) fn kill(pid: i32, signal: u32) {
    // The workload may have ended a moment ago: then there is nobody to tell.
    call(number::KILL, pid as usize, signal as usize, 0, 0, 0);
}

/// wait4(-1, WNOHANG | __WALL): the pid of a child that has ended, 0 or negative when there is none.
pub(crate) fn wait_any(status: &mut i32) -> i32 {
    const WNOHANG: usize = 1;
    const WALL: usize = 0x4000_0000;
    call(number::WAIT4, -1_isize as usize, &raw mut *status as usize, WNOHANG | WALL, 0, 0) as i32
}
