//! connect(2): the policy's synthetic addresses over TCP, the DNS stub, loopback.
//!
//! Also sees `MSG_FASTOPEN`, which connects inside sendto(2).
//!
//! Minimum kernel version: 5.8 (ring buffer; the attach type is older: 4.17). With errno: 5.18.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use intercept_sandbox_abi::{ALLOWED, DENIED, OP_CONNECT};

use crate::address::Asked;
use crate::maps::is_open;
use crate::record::record;
use crate::refuse::{ENETUNREACH, PASS, refuse};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v4(&ctx))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    decide(&ctx, &Asked::v6(&ctx))
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, asked: &Asked) -> i32 {
    let passes = asked.is_loopback() || asked.is_stub() || is_open(asked);
    record(ctx, asked, OP_CONNECT, if passes { ALLOWED } else { DENIED });
    if passes { PASS } else { refuse(ENETUNREACH) }
}
