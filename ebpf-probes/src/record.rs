//! One event into the ring.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_socket_cookie, bpf_ktime_get_boot_ns,
};
use intercept_sandbox_abi::{COUNTER_LOST, Event};

use crate::address::Asked;
use crate::maps::{EVENTS, add};

/// Of a task's name, NUL included (TASK_COMM_LEN).
const COMM_BYTES: u32 = 16;

/// Writes one event of a program whose context has a socket.
#[inline(always)]
pub fn record(ctx: &impl EbpfContext, asked: &Asked, op: u8, verdict: u8) {
    // SAFETY: a helper that takes this very context.
    record_of(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }, asked, op, verdict);
}

/// Writes one event; a full ring is counted instead.
#[inline(always)]
pub fn record_of(cookie: u64, asked: &Asked, op: u8, verdict: u8) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        add(COUNTER_LOST, 1);
        return;
    };
    let id = bpf_get_current_pid_tgid();
    let event = entry.as_mut_ptr();
    // Field by field and straight into the ring: through the stack, every byte would be moved twice.
    // SAFETY: the entry is one whole `Event` of the ring, aligned to 8, and all of its fields are written before it is
    // submitted. The helpers have no preconditions; where there is no name the kernel clears the buffer.
    unsafe {
        (&raw mut (*event).time_ns).write(bpf_ktime_get_boot_ns());
        (&raw mut (*event).cgroup).write(bpf_get_current_cgroup_id());
        (&raw mut (*event).cookie).write(cookie);
        (&raw mut (*event).tgid).write((id >> 32) as u32);
        (&raw mut (*event).tid).write(id as u32);
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_BYTES);
        (&raw mut (*event).dst).cast::<[u32; 4]>().write(asked.dst);
        (&raw mut (*event).port).write(asked.port);
        (&raw mut (*event).proto).write(asked.proto);
        (&raw mut (*event).family).write(asked.family);
        (&raw mut (*event).kind).write(asked.kind);
        (&raw mut (*event).op).write(op);
        (&raw mut (*event).verdict).write(verdict);
    }
    entry.submit(0);
}
