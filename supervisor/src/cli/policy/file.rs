//! Reading the file that a person names. Whether it may govern a run is the business of `run`, not of these commands.

use std::fs::{self, File};
use std::io::{self, Read};
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
}

/// The bytes of a regular file, at most one more than a policy may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_at_most(path, POLICY_BYTES_MAX)
}

/// The bytes of a regular file, at most one more than `bytes_max`.
pub(super) fn read_at_most(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() }); // opening a FIFO would wait for its writer
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The policy in `bytes`, or all that is wrong with it.
pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    let text = policy::decode(path, bytes)?;
    policy::load(&Source { path, text })
}

/// What may be shown of the problems: behind sudo, doas or pkexec no word of the file, which the caller himself might not
/// be allowed to read (`sudo intercept-sandbox policy install /etc/shadow`).
pub(super) fn shown(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if !is_behind_sudo() || !in_force("diagnostic-quotes") {
        return problems;
    }
    problems.iter().map(Diagnostic::without_quotes).collect()
}

fn is_behind_sudo() -> bool {
    let caller = Caller::discover(&std::env::vars_os().collect::<Vec<_>>());
    caller.uid == 0 && !caller.is_real_root() || nix::unistd::geteuid() != nix::unistd::getuid()
}
