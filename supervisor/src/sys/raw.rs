//! For the tests of the filters: any call by number, and the 32-bit entry.

#![allow(unsafe_code)]

use nix::errno::Errno;

/// Makes the call. The tests pass integers and null pointers only.
pub(crate) fn raw_call(number: u32, args: [u64; 6]) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: no argument is the address of anything of this process, so the kernel can write nowhere of ours.
    Errno::result(unsafe { libc::syscall(libc::c_long::from(number), a, b, c, d, e, f) })
}

/// getpid through the 32-bit entry of x86-64, which has another arch value and other numbers.
#[cfg(target_arch = "x86_64")]
pub(crate) fn getpid_by_int_0x80() -> i32 {
    let result: i32;
    // SAFETY: call 20 of the 32-bit table is getpid: no arguments, no memory; the entry clobbers r8 to r11 alone.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20_i32 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}
