//! Whether a writable folder is held to its `max` by a project quota of its file system (`quota: project`).
//!
//! The quota is the administrator's: it is looked at and never set, for it outlives every session and binds others, too. What it
//! has to be: the folder and all in it belong to one project, all that is made in it will, the file system enforces, and the
//! project's hard limits are within the `max`. The server can change none of it: projects are changed from the first user
//! namespace alone (ioctl_fsgetxattr; `fileattr_set_prepare` of the kernel).

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::plan::FolderId;
use super::rootfs::{self, RootfsError};
use super::usage::next;
use crate::bounds::{USAGE_DEPTH_MAX, USAGE_NAME_BYTES, USAGE_NAMES_MAX};
use crate::sys::quota::{HardLimits, Project, hard_limits, is_enforced, project_of};

/// How what stands in the folder is opened: itself, and without waiting.
const ITSELF: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// Why no quota holds the folder.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The kernel or the file system has no project quotas.
    #[error("its file system has no project quotas; ext4 and XFS can have them, mounted with `prjquota`")]
    Unsupported(#[source] Errno),
    /// The file system counts, at most.
    #[error("its file system does not enforce project quotas; mount it with `prjquota`")]
    NotEnforced,
    /// The folder belongs to no project.
    #[error("it belongs to no project; choose a free number and run: chattr -R +P -p NUMBER {}", .0.display())]
    NoProject(PathBuf),
    /// Something in the folder is outside the project, or what is made in it would be.
    #[error("{} does not belong to project {id}, or does not hand it on; run: chattr -R +P -p {id} {}", path.display(), folder.display())]
    Outside {
        /// The folder.
        folder: PathBuf,
        /// What stands below it, or itself.
        path: PathBuf,
        /// The folder's project.
        id: u32,
    },
    /// The limits are absent or too wide.
    #[error(
        "project {id} may hold {} and {}, which is more than its `max`; run: setquota -P {id} 0 {kib} 0 {inodes_max} MOUNT",
        bound(limits.bytes, "bytes"), bound(limits.inodes, "files")
    )]
    TooWide {
        /// The folder's project.
        id: u32,
        /// What it may hold.
        limits: HardLimits,
        /// What it may hold by the `max`, KiB.
        kib: u64,
        /// Likewise, files.
        inodes_max: u64,
    },
    /// Too much stands in the folder to look at.
    #[error("it holds more than {USAGE_NAMES_MAX} names, or folders more than {USAGE_DEPTH_MAX} deep")]
    TooMany,
    /// The folder cannot be opened as it is named.
    #[error(transparent)]
    Folder(#[from] RootfsError),
    /// Something cannot be looked at.
    #[error("{} cannot be looked at", path.display())]
    Look {
        /// What.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

fn bound(limit: u64, unit: &str) -> String {
    if limit == 0 { format!("any number of {unit}") } else { format!("{limit} {unit}") }
}

/// Refuses the folder at `path`, which must be the one of `id`, unless a project quota holds it to `max_bytes`, and to one file for each [`USAGE_NAME_BYTES`] of them.
///
/// # Errors
/// [`QuotaError`].
pub fn check(path: &Path, id: FolderId, max_bytes: u64) -> Result<(), QuotaError> {
    if !crate::weaken::in_force("write-quota") {
        return Ok(());
    }
    let look = |source| QuotaError::Look { path: path.into(), source };
    let mount = rootfs::countable(path, id)?; // what is mounted below is not the server's to see
    let top = Dir::openat(&mount, c".", ITSELF | OFlag::O_DIRECTORY, Mode::empty()).map_err(look)?;
    let project = project_of(top.as_fd()).map_err(QuotaError::Unsupported)?;
    if !is_enforced(top.as_fd()).map_err(QuotaError::Unsupported)? {
        return Err(QuotaError::NotEnforced);
    }
    if project.id == 0 {
        return Err(QuotaError::NoProject(path.into()));
    }
    let limits = hard_limits(top.as_fd(), project.id).map_err(QuotaError::Unsupported)?;
    if !is_within(limits, max_bytes) {
        let (kib, inodes_max) = (max_bytes / 1024, max_bytes / USAGE_NAME_BYTES);
        return Err(QuotaError::TooWide { id: project.id, limits, kib, inodes_max });
    }
    Walk { folder: path, id: project.id, names: 0 }.all_inside(top)
}

/// Whether both limits are there, and no wider than the `max`.
fn is_within(HardLimits { bytes, inodes }: HardLimits, max_bytes: u64) -> bool {
    (1..=max_bytes).contains(&bytes) && (1..=max_bytes / USAGE_NAME_BYTES).contains(&inodes)
}

/// A look at all that stands in a folder.
struct Walk<'a> {
    folder: &'a Path,
    id: u32,
    names: u64,
}

impl Walk<'_> {
    fn all_inside(&mut self, top: Dir) -> Result<(), QuotaError> {
        self.judge(top.as_fd(), true, self.folder)?;
        let mut levels = vec![(top, self.folder.to_owned())];
        while let Some((folder, path)) = levels.last_mut() {
            let Some(entry) = next(folder) else {
                levels.pop();
                continue;
            };
            let look = |source| QuotaError::Look { path: path.clone(), source };
            let entry = entry.map_err(look)?;
            let below = self.visit(folder, entry.file_name(), path)?;
            if levels.len() >= USAGE_DEPTH_MAX && below.is_some() {
                return Err(QuotaError::TooMany);
            }
            levels.extend(below);
        }
        Ok(())
    }

    /// Judges one name; gives it where it is a folder. What is neither file nor folder holds nothing, and what is gone neither.
    fn visit(&mut self, folder: &Dir, name: &CStr, path: &Path) -> Result<Option<(Dir, PathBuf)>, QuotaError> {
        self.names += 1;
        if self.names > USAGE_NAMES_MAX {
            return Err(QuotaError::TooMany);
        }
        let path = path.join(name.to_string_lossy().as_ref());
        let look = |source| QuotaError::Look { path: path.clone(), source };
        let kind = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(look(errno)),
        };
        let is_folder = kind == SFlag::S_IFDIR;
        if !is_folder && kind != SFlag::S_IFREG {
            return Ok(None);
        }
        let file = match openat(folder, name, ITSELF, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(look(errno)),
        };
        self.judge(file.as_fd(), is_folder, &path)?;
        if !is_folder {
            return Ok(None);
        }
        Ok(Some((Dir::from_fd(file.into()).map_err(look)?, path)))
    }

    fn judge(&self, file: BorrowedFd<'_>, is_folder: bool, path: &Path) -> Result<(), QuotaError> {
        let Project { id, is_inherited } =
            project_of(file).map_err(|source| QuotaError::Look { path: path.into(), source })?;
        if id == self.id && (is_inherited || !is_folder) {
            return Ok(());
        }
        Err(QuotaError::Outside { folder: self.folder.into(), path: path.into(), id: self.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_quota_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let id = FolderId::of(&folder.path().metadata().unwrap());
        let error = check(folder.path(), id, 1 << 30).unwrap_err();
        // What it lacks depends on where it lies; that it lacks something does not.
        let lacks = matches!(error, QuotaError::Unsupported(_) | QuotaError::NotEnforced | QuotaError::NoProject(_));
        assert!(lacks, "{error:?}");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        for name in ["none", "link"] {
            let error = check(&folder.path().join(name), id, 1 << 30).unwrap_err();
            assert!(matches!(error, QuotaError::Folder(_)), "{error:?}");
        }
        let error = check(folder.path(), FolderId::default(), 1 << 30).unwrap_err();
        assert!(matches!(&error, QuotaError::Folder(_)) && error.to_string().contains("was replaced"), "{error:?}");
    }

    #[test]
    fn both_limits_are_there_and_within_the_max() {
        let is_within = |bytes, inodes| is_within(HardLimits { bytes, inodes }, 1 << 20);
        assert!(is_within(1 << 20, 256) && is_within(1024, 1));
        for (bytes, inodes) in [(0, 256), (1 << 20, 0), (0, 0), ((1 << 20) + 1024, 256), (1 << 20, 257)] {
            assert!(!is_within(bytes, inodes), "{bytes} {inodes}");
        }
    }

    #[test]
    fn the_message_says_what_to_run() {
        let limits = HardLimits { bytes: 0, inodes: 9 };
        let text = QuotaError::TooWide { id: 7, limits, kib: 16, inodes_max: 4 }.to_string();
        assert_eq!(
            text,
            "project 7 may hold any number of bytes and 9 files, which is more than its `max`; run: setquota -P 7 0 16 0 4 MOUNT"
        );
    }
}
