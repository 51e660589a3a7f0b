//! bind(2): loopback and the any-address, both recorded (Node's dgram binds 0.0.0.0:0 by itself).
//!
//! The synthetic range is local to the namespace (AnyIP), so without this hook a server could listen on an address that
//! stands for one of the policy's hosts.
//!
//! Minimum kernel version: 5.8 (ring buffer; the attach type is older: 4.17). With errno: 5.18.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use intercept_sandbox_abi::{ALLOWED, DENIED, OP_BIND};

use crate::address::Asked;
use crate::record::record;
use crate::refuse::{EADDRNOTAVAIL, PASS, refuse};

#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v4(&ctx))
}

#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v6(&ctx))
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, asked: &Asked) -> i32 {
    let passes = asked.is_loopback() || asked.is_any();
    record(ctx, asked, OP_BIND, if passes { ALLOWED } else { DENIED });
    if passes { PASS } else { refuse(EADDRNOTAVAIL) }
}
