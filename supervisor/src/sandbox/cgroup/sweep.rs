//! Removing what crashed runs left.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::hierarchy::Hierarchy;
use super::{CgroupError, PARENT, discard, files, is_session};

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Sessions whose leaves are gone now.
    pub removed: Vec<String>,
    /// Sessions whose leaves stay, and why.
    pub failed: Vec<(String, CgroupError)>,
}

/// Kills and removes every leaf whose lock nobody holds. Two sweeps at once, and a sweep beside a start, do no harm: what
/// decides is the lock, and it is kept until the directory is gone.
///
/// # Errors
/// This host's cgroups cannot be read at all; trouble with one leaf is in [`Swept::failed`].
pub fn sweep() -> Result<Swept, CgroupError> {
    let hierarchy = Hierarchy::detect()?;
    let v2 = hierarchy.v2.join(PARENT);
    let v1: BTreeSet<PathBuf> = hierarchy.on_v1.values().map(|mount| mount.join(PARENT)).collect();
    let mut sessions = BTreeSet::new();
    for parent in v1.iter().chain([&v2]) {
        sessions.extend(sessions_in(parent)?);
    }
    let mut swept = Swept::default();
    for session in sessions {
        let leaves: Vec<PathBuf> = v1.iter().map(|parent| parent.join(&session)).collect();
        match sweep_one(&v2.join(&session), &leaves) {
            Ok(true) => swept.removed.push(session),
            Ok(false) => {}
            Err(error) => swept.failed.push((session, error)),
        }
    }
    Ok(swept)
}

/// True when the leaf was a leftover and is gone.
fn sweep_one(v2: &Path, v1: &[PathBuf]) -> Result<bool, CgroupError> {
    if !v2.exists() {
        if !v1.iter().any(|leaf| leaf.exists()) {
            return Ok(false); // its owner or another sweep was faster
        }
        // The remains of a removal that was cut short. The directory is made again to have something to lock. No owner
        // can be at the same place: it makes its version 1 leaves after it has the lock.
        if let Some(parent) = v2.parent() {
            files::ensure_parent(parent)?;
        }
        files::ensure_directory(v2)?;
    }
    let unreadable = |source| CgroupError::Read { path: v2.to_owned(), source };
    let directory = match File::open(v2) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false), // another sweep was faster
        Err(source) => return Err(unreadable(source)),
    };
    match directory.try_lock() {
        // The lock of a directory that was removed before it was taken is worth nothing.
        Ok(()) if same_directory(&directory, v2) => discard(v2, v1).map(|()| true),
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(unreadable(source)),
    }
}

fn same_directory(open: &File, path: &Path) -> bool {
    matches!((open.metadata(), fs::metadata(path)), (Ok(open), Ok(there)) if open.ino() == there.ino())
}

fn sessions_in(parent: &Path) -> Result<Vec<String>, CgroupError> {
    let unreadable = |source| CgroupError::Read { path: parent.to_owned(), source };
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut sessions = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        sessions.extend(name.into_string().ok().filter(|name| is_session(name)));
    }
    Ok(sessions)
}
