//! What may be executed: files on a list, by device and inode, and nothing that cannot be read.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use intercept_sandbox_abi::{COUNTER_LSM_EXEC, DENIED, FileKey, LsmScope};

use crate::exec_event::tell;
use crate::kernel::read;
use crate::maps::add;

/// The loader sets the size: one entry for each file.
#[map]
static PROGRAMS: HashMap<FileKey, u32> = HashMap::with_max_entries(1, 0);

/// Whether the file of the `struct linux_binprm` at `binprm` may be executed. What may leaves no event: the exec audit tells of it.
#[inline(always)]
pub fn exec(scope: &LsmScope, binprm: u64) -> bool {
    // SAFETY: the value is one aligned u32 that nobody writes once the programs are attached; only its presence is asked.
    let passes = file_of(scope, binprm).is_some_and(|file| unsafe { PROGRAMS.get(file) }.is_some());
    if !passes {
        add(COUNTER_LSM_EXEC, 1);
        // SAFETY: a helper without preconditions.
        let task = unsafe { bpf_get_current_task() };
        tell(&scope.exec, task, binprm, DENIED); // or counted as an event that is missing
    }
    passes
}

/// The file that is about to be executed; for a script first the script, then what runs it.
#[inline(always)]
fn file_of(scope: &LsmScope, binprm: u64) -> Option<FileKey> {
    let file: u64 = read(binprm, scope.file)?;
    let inode: u64 = read(file, scope.inode)?;
    let superblock: u64 = read(inode, scope.superblock)?;
    Some(FileKey { inode: read(inode, scope.number)?, device: read(superblock, scope.device)?, zero: 0 })
}
