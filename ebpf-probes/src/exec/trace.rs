//! `sched_process_exec(struct task_struct *, pid_t, struct linux_binprm *)`: called when a program has taken the place of
//! another, for every process of the host. Whoever is not of the session's cgroup costs one comparison.
//!
//! Minimum kernel version: 5.8 (ring buffer; the program type is older: 5.5).

use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::BtfTracePointContext;
use intercept_sandbox_abi::{ALLOWED, COUNTER_EXECS, ExecScope};

use crate::exec_event::tell;
use crate::maps::add;

/// The session's cgroup, and the kernel's structures as its own description has them.
#[map]
static EXECS: Array<ExecScope> = Array::with_max_entries(1, 0);

#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(scope) = EXECS.get(0) {
        // SAFETY: a helper without preconditions.
        let here = unsafe { bpf_get_current_cgroup_id() };
        let told = || tell(scope, ctx.arg::<*const u8>(0) as u64, ctx.arg::<*const u8>(2) as u64, ALLOWED);
        if scope.cgroup == here && told() {
            add(COUNTER_EXECS, 1);
        }
    }
    0
}
