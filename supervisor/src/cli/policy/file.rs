//! Reading the file that a person names. Whether it may govern a run is the business of `run`, not of these commands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::bounds::POLICY_BYTES_MAX;
use crate::policy::{self, Loaded, Source};
use crate::report::Diagnostic;
use crate::trust::Caller;
use crate::weaken::in_force;

/// The policy file, as an argument or behind -c.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct FileArgs {
    /// The policy file.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The policy file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileArgs {
    /// A file named on the command line.
    #[cfg(test)]
    pub(super) fn of(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), config: None }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.as_deref().or(self.config.as_deref()).unwrap_or(Path::new(""))
    }
}

/// Why a policy file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a regular file")]
    NotRegular { path: PathBuf },
    #[error(
        "{path} is not everybody's to read, and behind sudo no other is shown: look at it as yourself, without sudo"
    )]
    Unseen { path: PathBuf },
}

/// The bytes of a regular file, at most one more than a policy may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_at_most(path, POLICY_BYTES_MAX)
}

/// The bytes of a regular file, at most one more than `bytes_max`.
pub(super) fn read_at_most(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    take(&open(path)?, path, bytes_max)
}

/// The same of a policy whose words will be shown, or can be guessed by calls that it judges: behind sudo only of a file that everybody may read.
pub(super) fn read_to_show(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let seen = || FileError::Read { path: path.to_owned(), source: io::ErrorKind::PermissionDenied.into() };
    if is_behind_sudo() && in_force("policy-words") && !is_everyones(&file).map_err(|_| seen())? {
        return Err(FileError::Unseen { path: path.to_owned() });
    }
    take(&file, path, POLICY_BYTES_MAX)
}

/// Without waiting for the writer of a FIFO.
fn open(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(failed)?;
    let is_file = file.metadata().map_err(failed)?.is_file();
    if is_file { Ok(file) } else { Err(FileError::NotRegular { path: path.to_owned() }) }
}

fn take(file: &File, path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Whether others than its owner may read it, where it really stands.
fn is_everyones(file: &File) -> io::Result<bool> {
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut is_open = file.metadata()?.mode() & 0o004 != 0;
    for folder in real.ancestors().skip(1) {
        is_open &= fs::symlink_metadata(folder)?.mode() & 0o001 != 0;
    }
    Ok(is_open)
}

/// The policy in `bytes`, or all that is wrong with it.
pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    let text = policy::decode(path, bytes)?;
    policy::load(&Source { path, text })
}

/// The policy in `bytes`; none where it does not load, and why is printed.
pub(super) fn load_or_tell(path: &Path, bytes: &[u8], out: &mut impl Write) -> io::Result<Option<Loaded>> {
    match load(path, bytes) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(errors) => {
            tell(&shown(errors), out)?;
            Ok(None)
        }
    }
}

/// Prints problems that [`shown`] has looked through, and where it took words out, how to read them.
pub(super) fn tell(problems: &[Diagnostic], out: &mut impl Write) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?;
    if !problems.is_empty() && hides_words() {
        writeln!(
            out,
            "behind sudo places and codes alone are shown: the same command as yourself, without sudo, shows the lines"
        )?;
    }
    Ok(())
}

/// What may be shown of the problems: behind sudo, doas or pkexec no word of the file, which the caller himself might not
/// be allowed to read (`sudo intercept-sandbox policy install /etc/shadow`).
pub(super) fn shown(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if hides_words() { problems.iter().map(Diagnostic::without_quotes).collect() } else { problems }
}

fn hides_words() -> bool {
    is_behind_sudo() && in_force("diagnostic-quotes")
}

/// Whether a caller has us read with rights that are not his own.
pub(super) fn is_behind_sudo() -> bool {
    let caller = Caller::discover(&std::env::vars_os().collect::<Vec<_>>());
    caller.uid == 0 && !caller.is_real_root() || nix::unistd::geteuid() != nix::unistd::getuid()
}
