//! Maps and constants shared by the programs.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf, SockMap};
use intercept_sandbox_abi::{AllowKey, COUNTERS, RING_BYTES};

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// The loader sets the size: one entry for each host and port of the policy.
#[map]
pub static ALLOWED: HashMap<AllowKey, u32> = HashMap::with_max_entries(1, 0);

#[map]
pub static GATEWAY: SockMap = SockMap::with_max_entries(1, 0);

#[map(name = "COUNTERS")]
static SLOTS: Array<u64> = Array::with_max_entries(COUNTERS, 0);

/// Set by the loader before load, so the verifier sees a constant and never looks at the other branch.
#[unsafe(no_mangle)]
static SET_RETVAL: u8 = 0;

/// Whether `bpf_set_retval` exists.
#[inline(always)]
pub fn has_set_retval() -> bool {
    // SAFETY: a valid static. Volatile, or the compiler folds the value that the loader is about to replace.
    unsafe { core::ptr::read_volatile(&raw const SET_RETVAL) == 1 }
}

/// Adds `amount` to one counter, atomically: exact, and a reader needs no list of CPUs.
#[inline(always)]
pub fn add(counter: u32, amount: u64) {
    if let Some(slot) = SLOTS.get_ptr_mut(counter) {
        // BPF_XADD, which every kernel has. By hand: core has no read-modify-write for a target without compare-and-swap.
        // SAFETY: an aligned u64 of a map slot, valid for the whole program.
        unsafe { asm!("lock *(u64 *)({slot} + 0) += {amount}", slot = in(reg) slot, amount = in(reg) amount) };
    }
}
