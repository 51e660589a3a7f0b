//! sendto(2) and sendmsg(2) with an address, UDP: the DNS stub and loopback.
//!
//! What passes leaves no event: the stub records each question that it gets.
//!
//! Minimum kernel version: 5.8 (ring buffer; the attach type is older: 4.18). With errno: 5.18.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use intercept_sandbox_abi::{DENIED, OP_SENDMSG};

use crate::address::Asked;
use crate::record::record;
use crate::refuse::{ENETUNREACH, PASS, refuse};

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v4(&ctx))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v6(&ctx))
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, asked: &Asked) -> i32 {
    if asked.is_loopback() || asked.is_stub() {
        return PASS;
    }
    record(ctx, asked, OP_SENDMSG, DENIED);
    refuse(ENETUNREACH)
}
