//! The four programs. Each is called before the protocol's own code, so before the cgroup programs.
//!
//! Minimum kernel version: 6.0 on a cgroup, 5.8 for the host (ring buffer; the program type is older: 5.7).

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_set_retval};
use aya_ebpf::macros::{lsm, lsm_cgroup, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::LsmContext;

use crate::decide;
use crate::named::{of_connect, of_message};

/// errno(3), the generic number of Linux.
const ENETUNREACH: i32 = 101;

/// The cgroup that the programs for the host are about.
#[map]
static SCOPE: Array<u64> = Array::with_max_entries(1, 0);

#[lsm_cgroup(hook = "socket_connect")]
pub fn lsm_connect(ctx: LsmContext) -> i32 {
    on_cgroup(connect(&ctx))
}

#[lsm_cgroup(hook = "socket_sendmsg")]
pub fn lsm_sendmsg(ctx: LsmContext) -> i32 {
    on_cgroup(sendmsg(&ctx))
}

#[lsm(hook = "socket_connect")]
pub fn lsm_connect_host(ctx: LsmContext) -> i32 {
    on_host(&ctx, 3, connect)
}

#[lsm(hook = "socket_sendmsg")]
pub fn lsm_sendmsg_host(ctx: LsmContext) -> i32 {
    on_host(&ctx, 3, sendmsg)
}

/// `socket_connect(struct socket *, struct sockaddr *, int)`.
#[inline(always)]
fn connect(ctx: &LsmContext) -> bool {
    decide::connect(of_connect(ctx.arg(0), ctx.arg(1), ctx.arg(2)))
}

/// `socket_sendmsg(struct socket *, struct msghdr *, int)`.
#[inline(always)]
fn sendmsg(ctx: &LsmContext) -> bool {
    decide::sendmsg(of_message(ctx.arg(0), ctx.arg(1)))
}

/// 1 goes on, 0 refuses with the errno that is set. A kernel with programs on a cgroup has this helper.
#[inline(always)]
fn on_cgroup(passes: bool) -> i32 {
    if passes {
        return 1;
    }
    // SAFETY: a helper without preconditions. Should it fail, the caller sees EPERM.
    unsafe { bpf_set_retval(-ENETUNREACH) };
    0
}

/// 0 goes on, a negative errno refuses. What another program has refused (argument `verdict`) stays refused.
#[inline(always)]
fn on_host(ctx: &LsmContext, verdict: usize, passes: impl FnOnce(&LsmContext) -> bool) -> i32 {
    let earlier: i32 = ctx.arg(verdict);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: a helper without preconditions.
    let here = unsafe { bpf_get_current_cgroup_id() };
    match SCOPE.get(0) {
        Some(scope) if *scope == here && !passes(ctx) => -ENETUNREACH,
        _ => 0,
    }
}
