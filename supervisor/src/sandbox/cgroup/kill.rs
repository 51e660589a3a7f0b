//! Killing every member of a cgroup.

use std::io::ErrorKind;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CgroupError, files};
use crate::bounds::CGROUP_EMPTY_WAIT_MS;

/// Kills every member with `SIGKILL`: `cgroup.kill`, or before Linux 5.14 by freezing the cgroup first.
pub(super) fn kill_all(directory: &Path) -> Result<(), CgroupError> {
    match files::write(&directory.join("cgroup.kill"), "1") {
        Err(CgroupError::Write { source, .. }) if source.kind() == ErrorKind::NotFound => by_signals(directory),
        result => result,
    }
}

/// Freezes the cgroup (Linux 5.2), so that no member forks away from the list, then signals each of the list. A frozen
/// member dies of `SIGKILL` without a thaw, and until then keeps its pid, so no stranger can be hit.
///
/// # Errors
/// Those of the files, and `EPERM` without `CAP_KILL`.
pub fn by_signals(directory: &Path) -> Result<(), CgroupError> {
    files::write(&directory.join("cgroup.freeze"), "1")?;
    files::wait_for_event(directory, &["frozen 1", "populated 0"], CGROUP_EMPTY_WAIT_MS)?;
    let path = directory.join("cgroup.procs");
    for line in files::read(&path)?.lines() {
        // 0 stands for a process of an outer pid namespace: not one of ours, and not addressable.
        let Some(pid) = line.parse().ok().filter(|&pid: &i32| pid > 0) else { continue };
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(CgroupError::Write { path, source: errno.into() }),
        }
    }
    Ok(())
}
