//! socket(2), AF_INET and AF_INET6 alone reach this hook: TCP streams and UDP datagrams, nothing else.
//!
//! No raw, ping, MPTCP, SCTP, DCCP, UDP-Lite, L2TP. Both type and protocol are compared: a raw socket may carry
//! `IPPROTO_TCP`.
//!
//! Minimum kernel version: 5.8 (ring buffer; the attach type is older: 4.10).

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use intercept_sandbox_abi::{
    AF_INET, AF_INET6, DENIED, IPPROTO_TCP, IPPROTO_UDP, OP_SOCKET, SOCK_DGRAM, SOCK_STREAM,
};

use crate::address::{Asked, field};
use crate::record::record;
use crate::refuse::{PASS, refuse_plainly};

#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    let asked = Asked {
        family: field!(ctx.sock, family) as u8,
        kind: field!(ctx.sock, type_) as u8,
        proto: field!(ctx.sock, protocol) as u16,
        dst: [0; 4],
        port: 0,
    };
    let family = asked.family == AF_INET || asked.family == AF_INET6;
    let stream = asked.kind == SOCK_STREAM && asked.proto == IPPROTO_TCP;
    let datagram = asked.kind == SOCK_DGRAM && asked.proto == IPPROTO_UDP;
    if family && (stream || datagram) {
        return PASS;
    }
    record(&ctx, &asked, OP_SOCKET, DENIED);
    refuse_plainly()
}
