//! One event into the ring.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_socket_cookie, bpf_ktime_get_boot_ns};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use intercept_sandbox_abi::{COUNTER_LOST, Event};

use crate::address::Asked;
use crate::maps::{EVENTS, add};

/// Writes one event; a full ring is counted instead.
#[inline(always)]
pub fn record(ctx: &impl EbpfContext, asked: &Asked, op: u8, verdict: u8) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        add(COUNTER_LOST, 1);
        return;
    };
    let id = bpf_get_current_pid_tgid();
    // SAFETY: helpers without preconditions; the cookie takes this very context.
    let (time_ns, cgroup, cookie) =
        unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id(), bpf_get_socket_cookie(ctx.as_ptr())) };
    entry.write(Event {
        time_ns,
        cgroup,
        cookie,
        tgid: (id >> 32) as u32,
        tid: id as u32,
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
        dst: asked.dst,
        port: asked.port,
        proto: asked.proto,
        family: asked.family,
        kind: asked.kind,
        op,
        verdict,
    });
    entry.submit(0);
}
