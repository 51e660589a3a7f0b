//! Reading, writing and waiting on the files of a cgroup directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::CgroupError;
use crate::clock;

/// Mode of the directories that hold the leaves.
const PARENT_MODE: u32 = 0o700;

/// The whole text of a small file.
pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.to_owned(), source })
}

/// Opens a file that the kernel made for writing. Never creates one.
pub(super) fn open_for_writing(path: &Path) -> Result<File, CgroupError> {
    OpenOptions::new().write(true).open(path).map_err(|source| CgroupError::Write { path: path.to_owned(), source })
}

/// Writes `value` in one write(2), as the kernel's parsers need it.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    open_for_writing(path)?
        .write_all(value.as_bytes())
        .map_err(|source| CgroupError::Write { path: path.to_owned(), source })
}

/// Makes a directory; one that is there already is as good.
pub(super) fn ensure_directory(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(CgroupError::Make { path: path.to_owned(), source }),
    }
}

/// Makes the directory that holds the leaves, or takes the one that is there, and closes it to everybody but root:
/// whoever could open a leaf could take its lock (flock(2) asks for no right to write).
pub(super) fn ensure_parent(path: &Path) -> Result<(), CgroupError> {
    let unmade = |source| CgroupError::Make { path: path.to_owned(), source };
    match DirBuilder::new().mode(PARENT_MODE).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => return Err(unmade(source)),
    }
    fs::set_permissions(path, Permissions::from_mode(PARENT_MODE)).map_err(unmade)
}

/// Removes a directory; one that is gone already is as good.
pub(super) fn remove_directory(path: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CgroupError::Remove { path: path.to_owned(), source }),
    }
}

/// Waits until no process is left in `directory`, for at most `wait_ms`.
pub(super) fn wait_until_empty(directory: &Path, wait_ms: u64) -> Result<(), CgroupError> {
    wait_for_event(directory, &["populated 0"], wait_ms)
}

/// Waits until `cgroup.events` of `directory` has one of `lines`, woken by the kernel, for at most `wait_ms`.
pub(super) fn wait_for_event(directory: &Path, lines: &[&str], wait_ms: u64) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.events");
    let unreadable = |source| CgroupError::Read { path: path.clone(), source };
    let mut events = File::open(&path).map_err(unreadable)?;
    let deadline_ns = clock::now().boot_ns.saturating_add(wait_ms * 1_000_000);
    loop {
        let mut text = String::new();
        events.rewind().map_err(unreadable)?;
        events.read_to_string(&mut text).map_err(unreadable)?;
        if text.lines().any(|line| lines.contains(&line)) {
            return Ok(());
        }
        let left_ms = deadline_ns.saturating_sub(clock::now().boot_ns) / 1_000_000;
        if left_ms == 0 {
            return Err(CgroupError::StillPopulated { path: directory.to_owned(), wait_ms });
        }
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(unreadable(errno.into())),
        }
    }
}
