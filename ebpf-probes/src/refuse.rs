//! How a hook says no: `return 0` is EPERM; with `bpf_set_retval` (5.18) the caller sees the errno that the missing
//! route would give, so that programs take their ordinary error path.

use aya_ebpf::helpers::generated::bpf_set_retval;

use crate::maps::has_set_retval;

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
