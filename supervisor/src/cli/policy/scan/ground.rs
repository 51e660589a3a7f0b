//! Where one scan keeps its policy, log and counts: a directory of root's that is gone afterwards.
//!
//! It is not in /run: that is a nosuid mount, on which `run` takes no policy behind sudo. A scan that was killed leaves its
//! directory; the next one sees that nobody holds its lock and removes it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::error::ScanError;
use crate::audit::keys;
use crate::session::STATE_DIR;
use crate::trust;

/// The policy's name in the directory.
pub(super) const POLICY: &str = "scan.yaml";

/// A scan's directory, locked as long as the scan lives.
#[derive(Debug)]
pub(super) struct Ground {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Ground {
    /// Makes a directory that holds `policy`, after removing those of scans that were killed.
    ///
    /// # Errors
    /// When a directory on the way is not root's alone, or cannot be made.
    pub(super) fn make(policy: &str) -> Result<Self, ScanError> {
        Self::make_in(Path::new(STATE_DIR), policy)
    }

    pub(super) fn make_in(state_dir: &Path, policy: &str) -> Result<Self, ScanError> {
        let scans = state_dir.join("scans");
        for directory in [state_dir, &scans] {
            make(directory)?;
            trust::check_directory(directory)?;
        }
        let _sweeping = lock(&scans, FlockArg::LockExclusive)?; // a directory is made and locked as one step
        sweep(&scans);
        let name = keys::session_name().map_err(|error| failed("name", &scans)(io::Error::other(error)))?;
        let path = scans.join(name);
        make(&path)?;
        let ground = Self { _lock: lock(&path, FlockArg::LockExclusive)?, path };
        let file = ground.path(POLICY);
        let mut opened =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(failed("make", &file))?;
        opened.write_all(policy.as_bytes()).map_err(failed("write", &file))?;
        Ok(ground)
    }

    /// A path inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// When something of it is left.
    pub(super) fn clear(self) -> Result<(), ScanError> {
        fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // After `clear` there is nothing to remove; what fails elsewhere is left to the next scan.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The relay's uid walks through to its counts and sees nothing on the way: 0711.
fn make(path: &Path) -> Result<(), ScanError> {
    match DirBuilder::new().mode(0o711).create(path) {
        // Whatever the umask took.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o711)).map_err(failed("make", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make", path)(error)),
    }
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, ScanError> {
    let directory = File::open(path).map_err(failed("open", path))?;
    Flock::lock(directory, how).map_err(|(_, errno)| failed("lock", path)(errno.into()))
}

/// Removes the directories that nobody holds.
fn sweep(scans: &Path) {
    for entry in fs::read_dir(scans).into_iter().flatten().flatten() {
        if lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
            // What cannot be removed stays root's alone.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScanError {
    let path = path.to_owned();
    move |source| ScanError::Ground { doing, path, source }
}
