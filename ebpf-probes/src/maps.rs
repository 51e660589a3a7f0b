//! Maps shared by the programs of all objects.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use intercept_sandbox_abi::{AllowKey, COUNTERS, IPPROTO_TCP, OPEN, RING_BYTES};

use crate::address::Asked;

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// The loader sets the size: one entry for each host and port of the policy.
#[map]
pub static ALLOWED: HashMap<AllowKey, u32> = HashMap::with_max_entries(1, 0);

#[map(name = "COUNTERS")]
static SLOTS: Array<u64> = Array::with_max_entries(COUNTERS, 0);

/// Whether the policy opened this address and port. TCP alone: the gateway speaks nothing else.
#[inline(always)]
pub fn is_open(asked: &Asked) -> bool {
    let Some(address) = asked.ipv4() else { return false };
    if asked.proto != IPPROTO_TCP {
        return false;
    }
    // SAFETY: the value is one aligned u32 that userspace replaces whole.
    let entry = unsafe { ALLOWED.get(AllowKey::new(address.to_ne_bytes(), asked.port)) };
    entry == Some(&OPEN)
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
