//! `file_open(struct file *)`: called when a file is opened, after Landlock was asked. It refuses nothing.
//!
//! Minimum kernel version: 6.0 on a cgroup, 5.10 for the host (d_path for LSM programs).

use core::arch::asm;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_d_path, bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_boot_ns,
};
use aya_ebpf::macros::{lsm, lsm_cgroup, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::LsmContext;
use intercept_sandbox_abi::{
    COUNTER_OPENS, COUNTER_OPENS_LOST, FILE_PATH_BYTES, FileEvent, FileScope, PLACE_OF_PATH, RING_BYTES,
};

use crate::kernel::{COMM_BYTES, has_waiting, read};
use crate::maps::{EVENTS, add};

/// `FMODE_WRITE` of linux/fs.h.
const FMODE_WRITE: u32 = 2;
/// `S_IFMT` and `S_IFREG`, inode(7).
const KIND: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;

/// The session's cgroup, and the kernel's structures as its own description has them.
#[map]
static FILES: Array<FileScope> = Array::with_max_entries(1, 0);

#[lsm_cgroup(hook = "file_open")]
pub fn lsm_open(ctx: LsmContext) -> i32 {
    look(&ctx);
    1
}

#[lsm(hook = "file_open")]
pub fn lsm_open_host(ctx: LsmContext) -> i32 {
    look(&ctx);
    ctx.arg(1) // what another program has decided
}

#[inline(always)]
fn look(ctx: &LsmContext) {
    let Some(scope) = FILES.get(0) else { return };
    // SAFETY: a helper without preconditions.
    let here = unsafe { bpf_get_current_cgroup_id() };
    let file: *const u8 = ctx.arg(0);
    if scope.cgroup != here {
        return;
    }
    match is_written(scope, file as u64) {
        Some(true) => tell(scope, file),
        Some(false) => {}
        None => add(COUNTER_OPENS_LOST, 1),
    }
}

/// Whether it is a regular file, opened for writing.
#[inline(always)]
fn is_written(scope: &FileScope, file: u64) -> Option<bool> {
    let mode: u32 = read(file, scope.mode)?;
    if mode & FMODE_WRITE == 0 {
        return Some(false);
    }
    let kind: u16 = read(read(file, scope.inode)?, scope.kind)?;
    Some(kind & KIND == REGULAR)
}

#[inline(always)]
fn tell(scope: &FileScope, file: *const u8) {
    // A quarter of the ring at most: a server that opens files without end must not hide what it dials or starts.
    let entry = if has_waiting(RING_BYTES / 4) { None } else { EVENTS.reserve::<FileEvent>(0) };
    let Some(mut entry) = entry else {
        add(COUNTER_OPENS_LOST, 1);
        return;
    };
    let mut path = file;
    // The verifier takes no sum with a number that it does not know, so the loader writes the place of `f_path` into this very
    // instruction.
    // SAFETY: an addition.
    unsafe {
        asm!("{path} += {mark}", path = inout(reg) path, mark = const PLACE_OF_PATH, options(pure, nomem, nostack));
    }
    let event = entry.as_mut_ptr();
    // SAFETY: the entry is one whole `FileEvent` of the ring, aligned to 8; all but the rest of the path behind its length is
    // written before it is submitted. The helpers check what they read, and d_path writes no more than it is told.
    unsafe {
        (&raw mut (*event).time_ns).write(bpf_ktime_get_boot_ns());
        (&raw mut (*event).cgroup).write(scope.cgroup);
        (&raw mut (*event).tgid).write((bpf_get_current_pid_tgid() >> 32) as u32);
        bpf_get_current_comm((&raw mut (*event).comm).cast(), COMM_BYTES);
        let length = bpf_d_path(path.cast_mut().cast(), (&raw mut (*event).path).cast(), FILE_PATH_BYTES as u32);
        (&raw mut (*event).path_bytes).write(if length > 0 { length as u32 } else { 0 });
    }
    entry.submit(0);
    add(COUNTER_OPENS, 1);
}
