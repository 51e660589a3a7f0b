//! What the plan shows: each source opened once, through no symbolic link, copied as a detached mount.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

use super::below::may_wait_below;
use super::place::Kind;
use super::readable::{self, Gaps};
use super::{RootfsError, while_at};
use crate::sandbox::Plan;
use crate::sandbox::plan::{FilesystemPlan, FolderId, WritableFolder};
use crate::sys::mount::{Depth, attr, clone_tree, set_attributes};

/// A detached mount and where it goes.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) inside: PathBuf,
    pub(super) kind: Kind,
    pub(super) mount: OwnedFd,
    /// The mounts below it, parents first, where they are not part of `mount`; without a copy it is left out, and its place covered.
    pub(super) below: Vec<(PathBuf, Option<OwnedFd>)>,
}

/// The name by which what an `O_PATH` descriptor pins is opened.
pub(in crate::sandbox) fn through(handle: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// `O_PATH` open of a host path in which no component is a symbolic link, so that nobody can swap one in.
pub(in crate::sandbox) fn open_plain(path: &Path) -> Result<OwnedFd, RootfsError> {
    let fd = open_path(path).map_err(|errno| match errno {
        Errno::ELOOP => while_at(path, "a part of it is a symbolic link; name the real path")(errno),
        _ => while_at(path, "open on the host")(errno),
    })?;
    // With O_PATH | O_NOFOLLOW a last component that is a link opens as the link itself.
    if kind_of(&fd, path)? == SFlag::S_IFLNK {
        return Err(while_at(path, "a symbolic link; name the real path")(Errno::ELOOP));
    }
    Ok(fd)
}

/// The same, whatever stands at the end: it is not asked.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

pub(super) fn kind_of(fd: &OwnedFd, path: &Path) -> Result<SFlag, RootfsError> {
    let stat = fstat(fd).map_err(while_at(path, "stat"))?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
}

/// `O_PATH` open of a writable folder, which must be the one that the plan looked at.
fn open_folder(path: &Path, id: FolderId) -> Result<OwnedFd, RootfsError> {
    let folder = File::from(open_plain(path)?);
    let metadata = folder.metadata().map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        while_at(path, "stat")(errno)
    })?;
    if FolderId::of(&metadata) != id {
        return Err(while_at(path, "it was replaced since it was looked at")(Errno::ESTALE));
    }
    if !metadata.is_dir() {
        return Err(while_at(path, "not a directory")(Errno::ENOTDIR));
    }
    Ok(folder.into())
}

/// `NOEXEC` where the policy lists the programs: what the server wrote is neither executed nor mapped as code.
pub(super) fn unless_listed(plan: &FilesystemPlan) -> u64 {
    if plan.exec.is_some() && crate::weaken::in_force("exec-writable-mounts") { attr::NOEXEC } else { 0 }
}

/// The detached copy of a writable folder: this mount alone, owners mapped, no set-user-ID, no devices, and `more`.
fn writable(folder: &WritableFolder, userns: &OwnedFd, more: u64) -> Result<Source, RootfsError> {
    let path = folder.source.as_path();
    let source = open_folder(path, folder.id)?;
    let mount = clone_tree(source.as_fd(), Depth::One).map_err(while_at(path, "copy the mount"))?;
    let nosuid = if crate::weaken::in_force("nosuid-writable") { attr::NOSUID } else { 0 };
    set_attributes(mount.as_fd(), nosuid | attr::NODEV | more, Depth::One, Some(userns.as_fd())).map_err(|errno| {
        let unable = "its file system cannot map owners (tmpfs needs Linux 6.3); put the folder elsewhere";
        while_at(path, if errno == Errno::EINVAL { unable } else { "map its owner" })(errno)
    })?;
    Ok(Source { inside: folder.inside.clone(), kind: Kind::Directory, mount, below: Vec::new() })
}

/// A view of the writable folder at `path`, for counting: this mount alone, as it stands on the host, and nothing can be done through it.
///
/// # Errors
/// The path that cannot be opened as it is named, or where another folder than that of `id` stands by now.
pub fn countable(path: &Path, id: FolderId) -> Result<OwnedFd, RootfsError> {
    let source = open_folder(path, id)?;
    let mount = clone_tree(source.as_fd(), Depth::One).map_err(while_at(path, "copy the mount"))?;
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    set_attributes(mount.as_fd(), attributes, Depth::One, None).map_err(while_at(path, "make it read-only"))?;
    Ok(mount)
}

/// Every mount that the plan asks for.
pub(super) fn collect(
    plan: &FilesystemPlan,
    groups: &OwnedFd,
    owners: &[OwnedFd],
    gaps: &mut Gaps,
) -> Result<Vec<Source>, RootfsError> {
    let mut sources = Vec::with_capacity(plan.read.len() + plan.write.len());
    for path in &plan.read {
        sources.push(readable::shown(path, groups, gaps)?);
    }
    for (index, folder) in plan.write.iter().enumerate() {
        let userns = owners.get(index).ok_or(Errno::EINVAL).map_err(while_at(&folder.source, "no owner map"))?;
        sources.push(writable(folder, userns, unless_listed(plan))?);
    }
    Ok(sources)
}

/// Paths of the plan, and entries one level below them, that the run's uid will not be able to read: what is shown is
/// still subject to its permissions on the host. Not an error, but worth a line to whoever wonders.
#[must_use]
pub fn unreadable(plan: &Plan, uid: u32) -> Vec<PathBuf> {
    let mut closed = Vec::new();
    // By descriptor: behind a link that somebody turned meanwhile stands what only root may know of.
    let mut look = |path: &Path| {
        let Ok(handle) = open_plain(path).map(File::from) else { return None };
        let Ok(metadata) = handle.metadata() else { return None };
        let bits = if metadata.uid() == uid { metadata.mode() >> 6 } else { metadata.mode() };
        let wanted = if metadata.is_dir() { 0o5 } else { 0o4 };
        if bits & wanted != wanted {
            closed.push(path.to_owned());
            return None;
        }
        metadata.is_dir().then_some(handle)
    };
    for path in plan.filesystem.read.iter().chain([&plan.executable]) {
        if let Some(folder) = look(path) {
            // A directory that cannot be listed just now adds nothing to the list, nor do mounts that cannot.
            let Ok(silent) = may_wait_below(path) else { continue };
            let entries = fs::read_dir(through(&folder)).into_iter().flatten().flatten();
            for entry in entries.map(|entry| path.join(entry.file_name())).filter(|entry| !silent.contains(entry)) {
                look(&entry);
            }
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_link_in_any_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("kept")).unwrap();
        symlink(real.join("kept"), real.join("last")).unwrap();
        std::fs::create_dir(real.join("kept/inner")).unwrap();
        assert!(open_plain(&real.join("kept/inner")).is_ok());
        for path in [real.join("last"), real.join("last/inner")] {
            let error = open_plain(&path).unwrap_err();
            assert_eq!((error.errno, error.path), (Errno::ELOOP, path));
        }
        assert_eq!(open_plain(&real.join("absent")).unwrap_err().errno, Errno::ENOENT);
    }

    #[test]
    fn a_writable_folder_that_was_replaced_is_neither_counted_nor_shown() {
        let directory = tempfile::tempdir().unwrap();
        let parent = directory.path().canonicalize().unwrap();
        let (path, other) = (parent.join("out"), parent.join("other"));
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(&other).unwrap();
        let id = FolderId::of(&std::fs::symlink_metadata(&path).unwrap());
        let folder = WritableFolder {
            inside: "/out".into(),
            source: path.clone(),
            id,
            owner_uid: 1,
            owner_gid: 1,
            max_bytes: None,
            by_quota: false,
        };
        assert!(open_folder(&path, id).is_ok());
        std::fs::rename(&path, parent.join("away")).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let no_map = OwnedFd::from(File::open("/dev/null").unwrap());
        for error in [countable(&path, id).unwrap_err(), writable(&folder, &no_map, 0).unwrap_err()] {
            assert!(error.errno == Errno::ESTALE && error.act.contains("was replaced"), "{error}");
        }
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(parent.join("away"), &path).unwrap();
        assert!(open_folder(&path, id).is_ok(), "the one that was looked at");
    }

    #[test]
    fn a_folder_that_got_the_number_of_a_removed_one_is_another() {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = directory.path().join("out");
        std::fs::create_dir(&path).unwrap();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.created().is_ok(), "its file system knows when it was made");
        let id = FolderId::of(&metadata);
        std::thread::sleep(std::time::Duration::from_millis(30)); // longer than a tick of the clock of stamps
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(open_folder(&path, id).unwrap_err().errno, Errno::ESTALE);
    }

    #[test]
    fn unreadable_entries_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (name, mode) in [("open", 0o644), ("closed", 0o600), ("group", 0o640)] {
            std::fs::write(root.join(name), "x").unwrap();
            std::fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(root.join("list-only")).unwrap();
        std::fs::set_permissions(root.join("list-only"), PermissionsExt::from_mode(0o744)).unwrap();
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
        let mut plan = crate::sandbox::test_plan();
        plan.filesystem.read = vec![root.to_owned()];
        plan.executable = root.join("open");
        let mut named = unreadable(&plan, 0x7000_0000);
        named.sort();
        assert_eq!(named, [root.join("closed"), root.join("group"), root.join("list-only")]);
    }
}
