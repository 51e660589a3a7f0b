//! User namespaces that exist only to map owners (idmapped mounts, mount_setattr(2), Linux 5.12): files of a writable folder belong
//! to one id on disk and to the run's id inside, both ways; what is shown to be read belongs to no group.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::wait::waitpid;

use crate::sys::clone::ended_in_user_namespace;
use crate::sys::process;

/// One mapping: what the disk says and what the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) disk_uid: u32,
    pub(super) disk_gid: u32,
    pub(super) run_uid: u32,
    pub(super) run_gid: u32,
}

/// A group that no file has: beyond the ids of people, domains, containers and runs, and no overflow id.
const NO_FILES_GROUP: u32 = 0x7FFF_FFFF;

/// A user namespace with this mapping, held by nothing but the descriptor.
///
/// # Errors
/// `EPERM` for an owner of 0: the run would write root's files. Else those of clone(2) and of writing the maps.
pub(super) fn namespace(mapping: Mapping) -> Result<OwnedFd, Errno> {
    if mapping.disk_uid == 0 || mapping.disk_gid == 0 {
        return Err(Errno::EPERM);
    }
    let line = |disk, run| format!("{disk} {run} 1");
    made(&line(mapping.disk_uid, mapping.run_uid), &line(mapping.disk_gid, mapping.run_gid))
}

/// A user namespace for what is only to be read: it maps no file's group. The kernel writes no inode whose owner or group a mount
/// cannot name (`inode_permission`: `EACCES`), and connect(2) to a socket and opening a pipe to write are writing to it, which a
/// read-only mount does not stop. Owners stay: whether a link in a sticky folder is followed goes by them (`protected_symlinks`).
///
/// # Errors
/// Those of clone(2) and of writing the maps.
pub(super) fn without_groups() -> Result<OwnedFd, Errno> {
    made(&format!("0 0 {}", u32::MAX), &format!("{NO_FILES_GROUP} {NO_FILES_GROUP} 1"))
}

fn made(uids: &str, gids: &str) -> Result<OwnedFd, Errno> {
    let ended = ended_in_user_namespace()?;
    let made = describe(ended.as_raw(), uids, gids);
    loop {
        match waitpid(ended, None) {
            Err(Errno::EINTR) => {}
            gone => return gone.and(made),
        }
    }
}

fn describe(pid: i32, uids: &str, gids: &str) -> Result<OwnedFd, Errno> {
    let process = format!("/proc/{pid}");
    let write = |file: &str, text: &str| {
        fs::write(format!("{process}/{file}"), text).map_err(|error| process::errno_of(&error))
    };
    write("uid_map", uids)?;
    write("gid_map", gids)?;
    fs::File::open(format!("{process}/ns/user")).map(OwnedFd::from).map_err(|error| process::errno_of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_mapped() {
        for (disk_uid, disk_gid) in [(0, 1000), (1000, 0)] {
            let mapping = Mapping { disk_uid, disk_gid, run_uid: 0x7000_0000, run_gid: 0x7000_0000 };
            assert_eq!(namespace(mapping).unwrap_err(), Errno::EPERM);
        }
    }
}
