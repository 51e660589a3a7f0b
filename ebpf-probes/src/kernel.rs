//! What the programs on the kernel's own types read, and how full the ring may be for them.

use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::maps::EVENTS;

/// Of a task's name, NUL included (TASK_COMM_LEN).
pub const COMM_BYTES: u32 = 16;
/// `BPF_RB_AVAIL_DATA`: bytes of the ring that nobody has read yet.
const UNREAD: u64 = 0;

/// A member of a structure, where it can be read.
#[inline(always)]
pub fn read<T>(structure: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and says so when it cannot be read; `T` is a number of any value.
    unsafe { bpf_probe_read_kernel(structure.wrapping_add(u64::from(offset)) as *const T) }.ok()
}

/// Whether more than `bytes` of the ring wait to be read.
#[inline(always)]
pub fn has_waiting(bytes: u32) -> bool {
    EVENTS.query(UNREAD) > u64::from(bytes)
}
