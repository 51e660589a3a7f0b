//! The session's runtime directory: the control socket in it and what `runtime_dir` writes there, root's alone, gone with the session.
//! The janitor removes the directory of a monitor that was killed.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::fault::Stage;
use crate::lock;
use crate::relay::control::SOCKET;
use crate::trust::{self, TrustError};

/// Directories made before it is said that somebody removes them; a sweep beside a start removes one at most.
const TRIES: usize = 8;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlDirError {
    /// The directory of all sessions is not root's alone.
    #[error("the runtime directory is not root's alone")]
    Trust(#[from] TrustError),
    /// A step failed.
    #[error("{path}: cannot {step}")]
    Step {
        /// Where.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A session's directory, locked while the session lives. Dropped, it is removed with its socket.
#[derive(Debug)]
pub struct ControlDir {
    path: PathBuf,
    /// Its lock tells a sweep that we live; the kernel takes it back whatever ends us.
    _lock: File,
}

impl ControlDir {
    /// Makes `root/session`, 0700, with a listening socket, 0600. The listener does not block.
    ///
    /// # Errors
    /// [`ControlDirError`]: no session without the socket, or a call that waits could not be decided.
    pub fn create(root: &Path, session: &str) -> Result<(Self, UnixListener), ControlDirError> {
        make(root, 0o755)?;
        trust::check_directory(root)?;
        let path = root.join(session);
        let lock = claim(&path)?;
        let directory = Self { path, _lock: lock };
        let socket = directory.path.join(SOCKET);
        let fail = |step| {
            let path = socket.clone();
            move |source| ControlDirError::Step { path, step, source }
        };
        let listener = UnixListener::bind(&socket).map_err(fail("listen on it"))?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(fail("restrict it to root"))?;
        listener.set_nonblocking(true).map_err(fail("set it up"))?;
        Stage::Control.passed_io().map_err(fail("set it up"))?;
        Ok((directory, listener))
    }

    /// Where it is, for what else the session keeps there.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlDir {
    fn drop(&mut self) {
        if let Err(error) = discard(&self.path) {
            tracing::warn!("{}: {error}; the next start removes it", self.path.display());
        }
    }
}

/// Removes what sessions left that did not end in order: every directory whose lock nobody holds.
///
/// # Errors
/// When the directory of all sessions cannot be read. Trouble with one of them is told and does not stop a start.
pub fn sweep(root: &Path) -> Result<(), ControlDirError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ControlDirError::Step { path: root.to_owned(), step: "read it", source }),
    };
    for entry in entries.flatten().filter(|entry| is_session(&entry.file_name().to_string_lossy())) {
        let path = entry.path();
        match sweep_one(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {} // its owner or another sweep was faster
            Err(error) => tracing::warn!("{}: {error}: a dead session's directory stays", path.display()),
        }
    }
    Ok(())
}

/// Session names are 32 lower-case hex digits.
#[must_use]
pub fn is_session(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn sweep_one(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    match directory.try_lock() {
        // The lock of a directory that was removed before it was taken is worth nothing.
        Ok(()) if is_same(&directory, path) => discard(path),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the directory and locks it, before a sweep can take it for a dead one's.
fn claim(path: &Path) -> Result<File, ControlDirError> {
    let fail = |step| move |source| ControlDirError::Step { path: path.to_owned(), step, source };
    for _ in 0..TRIES {
        DirBuilder::new().mode(0o700).create(path).map_err(fail("make it"))?;
        let directory = match File::open(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // a sweep was faster
            Err(source) => return Err(fail("open it")(source)),
        };
        // Only a sweep can hold it, for one removal.
        lock::exclusive(&directory).map_err(fail("lock it"))?;
        if is_same(&directory, path) {
            return Ok(directory);
        }
    }
    Err(fail("keep it")(io::Error::other("something removes it as often as it is made")))
}

fn is_same(open: &File, path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    matches!((open.metadata(), there), (Ok(open), Ok(there)) if open.ino() == there.ino() && open.dev() == there.dev())
}

/// Removes a session's directory with what is in it. That another was faster is no error.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn make(path: &Path, mode: u32) -> Result<(), ControlDirError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(ControlDirError::Step { path: path.to_owned(), step: "make it", source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef";

    /// Root's own directory, as the trust check wants it; none where the tests do not run as root.
    fn root() -> Option<tempfile::TempDir> {
        nix::unistd::geteuid().is_root().then(|| tempfile::tempdir().unwrap())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_socket_is_roots_alone_and_goes_with_the_session() {
        let Some(root) = root() else { return };
        let (directory, _listener) = ControlDir::create(root.path(), NAME).unwrap();
        let path = root.path().join(NAME);
        assert_eq!((mode(&path), mode(&path.join(SOCKET))), (0o700, 0o600));
        sweep(root.path()).unwrap();
        assert!(path.join(SOCKET).exists(), "a living session is not swept");
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn the_longest_path_fits_a_socket_address() {
        let path = Path::new(crate::relay::control::DIRECTORY).join(NAME).join(SOCKET);
        assert!(path.as_os_str().len() < 108, "sun_path of unix(7)");
    }

    #[test]
    fn what_a_dead_session_left_is_swept_and_nothing_else() {
        let Some(root) = root() else { return };
        let dead = root.path().join("f".repeat(32));
        fs::create_dir(&dead).unwrap();
        drop(UnixListener::bind(dead.join(SOCKET)).unwrap());
        let other = root.path().join("ids");
        fs::create_dir(&other).unwrap();
        sweep(root.path()).unwrap();
        assert!(!dead.exists() && other.exists());
        sweep(&root.path().join("absent")).unwrap();
    }
}
