//! One event of a program that is started, or is not, into the ring.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str};
use intercept_sandbox_abi::{COUNTER_EXECS_LOST, ExecEvent, ExecScope, PATH_BYTES, RING_BYTES};

use crate::kernel::{COMM_BYTES, has_waiting, read};
use crate::maps::{EVENTS, add};

/// Writes one event of `task`, the calling one, about the `struct linux_binprm` at `binprm`; what there is no room for is counted.
/// Whether it was written.
#[inline(always)]
pub fn tell(scope: &ExecScope, task: u64, binprm: u64, verdict: u8) -> bool {
    // Half of the ring is for the network's events: a server that starts programs without end must not hide what it dials.
    let entry = if has_waiting(RING_BYTES / 2) { None } else { EVENTS.reserve::<ExecEvent>(0) };
    let Some(mut entry) = entry else {
        add(COUNTER_EXECS_LOST, 1);
        return false;
    };
    let (filename, interp) = (word(binprm, scope.filename), word(binprm, scope.interp));
    let event = entry.as_mut_ptr();
    // SAFETY: the entry is one whole `ExecEvent` of the ring, aligned to 8; all but the rest of the paths behind their
    // lengths is written before it is submitted. The helpers check what they read.
    unsafe {
        (&raw mut (*event).time_ns).write(bpf_ktime_get_boot_ns());
        (&raw mut (*event).cgroup).write(scope.cgroup);
        (&raw mut (*event).tgid).write((bpf_get_current_pid_tgid() >> 32) as u32);
        (&raw mut (*event).ppid).write(word(word(task, scope.real_parent), scope.tgid) as u32);
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_BYTES);
        (&raw mut (*event).verdict).write(u32::from(verdict));
        (&raw mut (*event).path_bytes).write(text((&raw mut (*event).path).cast(), filename));
        let other = if interp == filename { 0 } else { interp }; // one and the same, but for a script
        (&raw mut (*event).interpreter_bytes).write(text((&raw mut (*event).interpreter).cast(), other));
    }
    entry.submit(0);
    true
}

/// Eight bytes of a structure; 0 where they cannot be read.
#[inline(always)]
fn word(structure: u64, offset: u32) -> u64 {
    read(structure, offset).unwrap_or(0)
}

/// Copies a text with its NUL; how many bytes that were, 0 where it cannot be read.
#[inline(always)]
fn text(to: *mut u8, from: u64) -> u16 {
    // SAFETY: `to` has room for so many bytes; the helper checks where it reads.
    match unsafe { bpf_probe_read_kernel_str(to.cast(), PATH_BYTES as u32, from as *const _) } {
        bytes if bytes > 0 => bytes as u16,
        _ => 0,
    }
}
