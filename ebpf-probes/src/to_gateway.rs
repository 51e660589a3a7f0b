//! Every TCP connection of the namespace that is neither loopback nor the DNS stub lands on the gateway's listener; the
//! accepted socket keeps the original destination as its local address.
//!
//! Minimum kernel version: 5.9.

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::macros::{map, sk_lookup};
use aya_ebpf::maps::SockMap;
use aya_ebpf::programs::SkLookupContext;
use intercept_sandbox_abi::{AF_INET, IPPROTO_TCP, STUB_ADDRESS, STUB_PORT};

use crate::address::field;

#[map]
static GATEWAY: SockMap = SockMap::with_max_entries(1, 0);

#[sk_lookup]
pub fn to_gateway(ctx: SkLookupContext) -> u32 {
    if field!(ctx.lookup, protocol) as u16 != IPPROTO_TCP {
        return SK_PASS;
    }
    if goes_home(&ctx) {
        return SK_PASS;
    }
    // An empty slot, or a listener of another family, drops: closed.
    match GATEWAY.redirect_sk_lookup(&ctx, 0, 0) {
        Ok(()) => SK_PASS,
        Err(_) => SK_DROP,
    }
}

/// Loopback, or the stub's own port.
#[inline(always)]
fn goes_home(ctx: &SkLookupContext) -> bool {
    if field!(ctx.lookup, family) as u8 != AF_INET {
        return field!(ctx.lookup, local_ip6[0]) == 0
            && field!(ctx.lookup, local_ip6[1]) == 0
            && field!(ctx.lookup, local_ip6[2]) == 0
            && u32::from_be(field!(ctx.lookup, local_ip6[3])) == 1;
    }
    let address = field!(ctx.lookup, local_ip4).to_ne_bytes();
    // Unlike the remote port, local_port is in host order (struct bpf_sk_lookup).
    address[0] == 127 || (address == STUB_ADDRESS && field!(ctx.lookup, local_port) == u32::from(STUB_PORT))
}
