//! How a hook says no: `return 0` is EPERM; with `bpf_set_retval` (5.18) the caller sees the errno that the missing
//! route would give, so that programs take their ordinary error path.

use aya_ebpf::helpers::generated::bpf_set_retval;

/// Set by the loader before load, so the verifier sees a constant and never looks at the other branch.
#[unsafe(no_mangle)]
static SET_RETVAL: u8 = 0;

/// Whether `bpf_set_retval` exists.
#[inline(always)]
fn has_set_retval() -> bool {
    // SAFETY: a valid static. Volatile, or the compiler folds the value that the loader is about to replace.
    unsafe { core::ptr::read_volatile(&raw const SET_RETVAL) == 1 }
}

/// A program's answer: go on.
pub const PASS: i32 = 1;
const STOP: i32 = 0;

/// errno(3), the generic numbers of Linux.
pub const ENETUNREACH: i32 = 101;
/// errno(3), the generic numbers of Linux.
pub const EADDRNOTAVAIL: i32 = 99;

/// Refuses with `errno` where the kernel can say it, else with EPERM.
#[inline(always)]
pub fn refuse(errno: i32) -> i32 {
    if has_set_retval() {
        // SAFETY: a helper without preconditions. Should it fail, the caller sees EPERM.
        unsafe { bpf_set_retval(-errno) };
    }
    STOP
}

/// Refuses with EPERM.
#[inline(always)]
pub fn refuse_plainly() -> i32 {
    STOP
}
