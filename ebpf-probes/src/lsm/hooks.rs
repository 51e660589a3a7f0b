//! The six programs. Those on sockets are called before the protocol's own code, so before the cgroup programs; those on exec after
//! Landlock was asked, which opens the file, and for a script as well as for what runs it.
//!
//! Minimum kernel version: 6.0 on a cgroup, 5.8 for the host (ring buffer; the program type is older: 5.7).

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_set_retval};
use aya_ebpf::macros::{lsm, lsm_cgroup, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::LsmContext;
use intercept_sandbox_abi::LsmScope;

use crate::decide;
use crate::listed;
use crate::named::{of_connect, of_message};

/// errno(3), the generic numbers of Linux.
const EACCES: i32 = 13;
const ENETUNREACH: i32 = 101;

/// The cgroup that the programs are about, and the kernel's structures as its own description has them.
#[map]
static SCOPE: Array<LsmScope> = Array::with_max_entries(1, 0);

#[lsm_cgroup(hook = "socket_connect")]
pub fn lsm_connect(ctx: LsmContext) -> i32 {
    on_cgroup(connect(&ctx), ENETUNREACH)
}

#[lsm_cgroup(hook = "socket_sendmsg")]
pub fn lsm_sendmsg(ctx: LsmContext) -> i32 {
    on_cgroup(sendmsg(&ctx), ENETUNREACH)
}

#[lsm(hook = "socket_connect")]
pub fn lsm_connect_host(ctx: LsmContext) -> i32 {
    on_host(&ctx, 3, ENETUNREACH, connect)
}

#[lsm(hook = "socket_sendmsg")]
pub fn lsm_sendmsg_host(ctx: LsmContext) -> i32 {
    on_host(&ctx, 3, ENETUNREACH, sendmsg)
}

#[lsm_cgroup(hook = "bprm_check_security")]
pub fn lsm_exec(ctx: LsmContext) -> i32 {
    on_cgroup(exec(&ctx), EACCES)
}

#[lsm(hook = "bprm_check_security")]
pub fn lsm_exec_host(ctx: LsmContext) -> i32 {
    on_host(&ctx, 1, EACCES, exec)
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

/// `bprm_check_security(struct linux_binprm *)`.
#[inline(always)]
fn exec(ctx: &LsmContext) -> bool {
    SCOPE.get(0).is_some_and(|scope| listed::exec(scope, ctx.arg::<*const u8>(0) as u64))
}

/// 1 goes on, 0 refuses with `errno`. A kernel with programs on a cgroup has this helper.
#[inline(always)]
fn on_cgroup(passes: bool, errno: i32) -> i32 {
    if passes {
        return 1;
    }
    // SAFETY: a helper without preconditions. Should it fail, the caller sees EPERM.
    unsafe { bpf_set_retval(-errno) };
    0
}

/// 0 goes on, the negative `errno` refuses. What another program has refused (argument `verdict`) stays refused.
#[inline(always)]
fn on_host(ctx: &LsmContext, verdict: usize, errno: i32, passes: impl FnOnce(&LsmContext) -> bool) -> i32 {
    let earlier: i32 = ctx.arg(verdict);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: a helper without preconditions.
    let here = unsafe { bpf_get_current_cgroup_id() };
    match SCOPE.get(0) {
        Some(scope) if scope.exec.cgroup == here && !passes(ctx) => -errno,
        _ => 0,
    }
}
