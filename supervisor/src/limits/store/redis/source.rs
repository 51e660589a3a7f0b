//! `--state-dsn`: where the store's address is written, and how its password stays out of `ps` and of the other processes.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::dsn::{Dsn, DsnError};
use crate::bounds::STATE_DSN_BYTES_MAX;
use crate::trust::{self, Caller, TrustError};

/// Where the address of the store is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line; it holds no password.
    Given(Dsn),
    /// In a file that only root can change. Only the process that connects reads it.
    File {
        /// Absolute.
        path: PathBuf,
        /// Who named it.
        caller: Caller,
    },
}

/// Why there is no shared store. Never quotes an address.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The text is no address of a store.
    #[error("--state-dsn: {0}")]
    Dsn(#[from] DsnError),
    /// A password on the command line.
    #[error(
        "--state-dsn: a password on the command line can be read by every user of this host; write the whole address into a file of root's, mode 0600, and give file:/PATH"
    )]
    Argument,
    /// `file:` without an absolute path.
    #[error("--state-dsn: file: takes an absolute path, as in file:/etc/intercept-sandbox/redis.dsn")]
    Path,
    /// The file is not root's.
    #[error("the file of --state-dsn cannot be used")]
    File(#[from] TrustError),
    /// The file cannot be looked at.
    #[error("the file of --state-dsn cannot be used")]
    Stat(#[source] std::io::Error),
    /// The file's password can be read by others.
    #[error("{path} holds a password and can be read by others (mode {mode:04o}): chmod 0600")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is too long or no text.
    #[error("{0} is not one line of text of at most {STATE_DSN_BYTES_MAX} bytes")]
    Text(PathBuf),
}

impl Source {
    /// Reads the flag's value: an address without a password, or `file:/PATH`.
    ///
    /// # Errors
    /// [`SourceError`]; the file is not looked at yet.
    pub fn parse(value: &str, caller: &Caller) -> Result<Self, SourceError> {
        if let Some(path) = value.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::File { path, caller: caller.clone() })
            } else {
                Err(SourceError::Path)
            };
        }
        let dsn = Dsn::parse(value)?;
        if dsn.has_password() && crate::weaken::in_force("state-dsn-argument") {
            return Err(SourceError::Argument);
        }
        Ok(Self::Given(dsn))
    }

    /// The address. A file must be one that only root can change, and with a password in it one that only root can read.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(&self) -> Result<Dsn, SourceError> {
        let (path, caller) = match self {
            Self::Given(dsn) => return Ok(dsn.clone()),
            Self::File { path, caller } => (path, caller),
        };
        let file = trust::read_policy(path, caller)?;
        let (path, bytes) = (file.path, Zeroizing::new(file.bytes));
        let Some(line) = one_line(&bytes) else { return Err(SourceError::Text(path)) };
        let dsn = Dsn::parse(line)?;
        // Only root can change the path, so the file that was read is the one that is looked at.
        let mode = std::fs::metadata(&path).map_err(SourceError::Stat)?.permissions().mode() & 0o7777;
        if dsn.has_password() && mode & 0o077 != 0 {
            return Err(SourceError::Readable { path, mode });
        }
        Ok(dsn)
    }
}

fn one_line(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    (line.len() <= STATE_DSN_BYTES_MAX && !line.contains('\n')).then_some(line)
}

impl fmt::Display for Source {
    /// As it was given: neither form holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(dsn) => fmt::Display::fmt(dsn, f),
            Self::File { path, .. } => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(value: &str) -> Result<String, SourceError> {
        let caller = Caller { uid: 0, behind: None, login_uid: None, wrapped: false };
        Source::parse(value, &caller).and_then(|source| source.read()).map(|dsn| dsn.to_string())
    }

    #[test]
    fn a_password_is_not_taken_from_the_command_line() {
        assert_eq!(read("redis://h").unwrap(), "redis://h:6379/0");
        assert!(matches!(read("redis://:s3cret@h"), Err(SourceError::Argument)));
        assert!(matches!(read("file:relative"), Err(SourceError::Path)));
        for wrong in ["file:", "redis:", "redis://:s3cret@h", "redis://:s3cret@h:0", "rediss://:s3cret@h"] {
            let error = read(wrong).unwrap_err();
            assert!(!crate::report::chain(&error).contains("s3cret"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_file_with_a_password_is_roots_alone() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redis.dsn");
        let value = format!("file:{}", path.display());
        let write = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("redis://:s3cret@h\n", 0o600);
        assert_eq!(read(&value).unwrap(), "redis://h:6379/0");
        write("redis://:s3cret@h\n", 0o640);
        assert!(matches!(read(&value), Err(SourceError::Readable { .. })));
        write("redis://h", 0o644);
        assert!(read(&value).is_ok(), "no password, nothing to hide");
        write("redis://h", 0o666);
        assert!(matches!(read(&value), Err(SourceError::File(TrustError::Writable { .. }))));
        write("redis://h\nredis://g\n", 0o600);
        assert!(matches!(read(&value), Err(SourceError::Text(_))));
        write(&format!("redis://{}", "h".repeat(STATE_DSN_BYTES_MAX)), 0o600);
        assert!(matches!(read(&value), Err(SourceError::Text(_))));
    }
}
