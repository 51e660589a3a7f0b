//! Bytes in and out of the server's sockets. Never refuses: what may pass was decided before a packet existed.
//!
//! Minimum kernel version: 5.7 (cgroup links; the attach type is older: 4.10).

use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use intercept_sandbox_abi::{COUNTER_BYTES_IN, COUNTER_BYTES_OUT};

use crate::maps::add;
use crate::refuse::PASS;

#[cgroup_skb(ingress)]
pub fn count_ingress(ctx: SkBuffContext) -> i32 {
    add(COUNTER_BYTES_IN, u64::from(ctx.len()));
    PASS
}

#[cgroup_skb(egress)]
pub fn count_egress(ctx: SkBuffContext) -> i32 {
    add(COUNTER_BYTES_OUT, u64::from(ctx.len()));
    PASS
}
