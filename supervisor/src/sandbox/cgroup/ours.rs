//! A place for our own processes. A user may own the cgroup that he calls us from (a delegated one of systemd's user manager), and who
//! owns a cgroup freezes, kills and starves what stands in it, whoever runs it.

use super::hierarchy::Hierarchy;
use super::{CgroupError, PARENT, files};

/// The cgroup beside the leaves, one for the processes of all sessions. It stays when they end: none of them could remove the place
/// where it stands itself.
const OURS: &str = "ours";

/// Moves the calling process, with its threads and all that it will fork, out of the cgroups of whoever started it, in every tree by
/// which it could be held up. In each it waits for an RCU grace period, 5 to 20 ms.
///
/// # Errors
/// Those of the directories and of `cgroup.procs`: what could not move can be frozen.
pub fn leave_the_callers() -> Result<(), CgroupError> {
    for tree in Hierarchy::detect()?.trees() {
        let parent = tree.join(PARENT);
        files::ensure_parent(&parent)?;
        let ours = parent.join(OURS);
        files::ensure_directory(&ours)?;
        files::write(&ours.join("cgroup.procs"), "0")?;
    }
    Ok(())
}
