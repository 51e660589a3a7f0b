//! `policy install`.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Done, check, file};
use crate::policy::Policy;

/// Where `run --profile` looks.
const DIRECTORY: &str = "/etc/intercept-sandbox/policies";

/// What to install.
#[derive(Debug, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    file: file::FileArgs,
    /// Replace another policy of the same name.
    #[arg(long)]
    force: bool,
}

/// Why a policy was not installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    #[error("policy install needs root; run it through sudo")]
    NotRoot,
    #[error("\"{0}\" cannot be a file name; give the policy a `name:` of letters, digits, '.', '_' and '-'")]
    Name(String),
    #[error("{path} must be a directory that only root can write; it is owned by uid {uid} with mode {mode:o}")]
    Untrusted { path: PathBuf, uid: u32, mode: u32 },
    #[error("cannot {doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Installed {
    New(PathBuf),
    Replaced(PathBuf),
    AlreadyThere(PathBuf),
    /// Another policy stands there, and force was not asked for.
    Refused(PathBuf),
}

pub(super) fn run(arguments: &InstallArgs, out: &mut impl Write) -> Done {
    if !nix::unistd::geteuid().is_root() {
        return Err(InstallError::NotRoot.into());
    }
    let path = arguments.file.path();
    let bytes = file::read(path)?;
    let loaded = match file::load(path, &bytes) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for problem in file::shown(errors) {
                writeln!(out, "{problem}")?;
            }
            writeln!(out, "nothing was installed; `intercept-sandbox policy check` as yourself shows the lines")?;
            return Ok(1);
        }
    };
    for problem in file::shown(loaded.warnings) {
        writeln!(out, "{problem}")?;
    }
    let target = Target { directory: Path::new(DIRECTORY), owner: 0 };
    match target.install(&loaded.policy, &bytes, arguments.force)? {
        Installed::New(path) => writeln!(out, "installed {} ({})", path.display(), check::summary(&loaded.policy))?,
        Installed::Replaced(path) => writeln!(out, "replaced {} ({})", path.display(), check::summary(&loaded.policy))?,
        Installed::AlreadyThere(path) => writeln!(out, "{} is already this policy", path.display())?,
        Installed::Refused(path) => {
            writeln!(out, "{} is another policy; --force replaces it", path.display())?;
            return Ok(1);
        }
    }
    Ok(0)
}

/// The directory and who must own it.
pub(super) struct Target<'a> {
    pub(super) directory: &'a Path,
    pub(super) owner: u32,
}

impl Target<'_> {
    /// Writes exactly the checked bytes under the policy's name: whole, or not at all.
    pub(super) fn install(&self, policy: &Policy, bytes: &[u8], force: bool) -> Result<Installed, InstallError> {
        let good = policy.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && policy.name.len() <= crate::bounds::POLICY_NAME_BYTES_MAX
            && policy.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !good {
            return Err(InstallError::Name(policy.name.clone()));
        }
        self.prepare_directory()?;
        let path = self.directory.join(format!("{}.yaml", policy.name));
        let there = match fs::read(&path) {
            Ok(old) if old == bytes && self.is_trusted(&path)? => return Ok(Installed::AlreadyThere(path)),
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(InstallError::Io { doing: "read", path, source }),
        };
        if there && !force {
            return Ok(Installed::Refused(path));
        }
        let temporary = self.directory.join(format!(".{}.yaml.{}", policy.name, std::process::id()));
        let written = write_new(&temporary, bytes).and_then(|()| {
            // Without force a link: unlike a rename it fails if the name was taken meanwhile.
            if force { fs::rename(&temporary, &path) } else { fs::hard_link(&temporary, &path) }
        });
        if !force || written.is_err() {
            let _ = fs::remove_file(&temporary); // a leftover is hidden, root's, and never read
        }
        match written.and_then(|()| fs::File::open(self.directory)?.sync_all()) {
            Ok(()) if there => Ok(Installed::Replaced(path)),
            Ok(()) => Ok(Installed::New(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Installed::Refused(path)),
            Err(source) => Err(InstallError::Io { doing: "write", path, source }),
        }
    }

    fn prepare_directory(&self) -> Result<(), InstallError> {
        let io = |doing, source| InstallError::Io { doing, path: self.directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(self.directory).map_err(|error| io("create", error))?;
        let parent = self.directory.parent().unwrap_or(self.directory);
        for path in [parent, self.directory] {
            let metadata = fs::symlink_metadata(path).map_err(|error| io("look at", error))?;
            if !metadata.is_dir() || metadata.uid() != self.owner || metadata.mode() & 0o022 != 0 {
                let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
                return Err(InstallError::Untrusted { path: path.to_owned(), uid, mode });
            }
        }
        Ok(())
    }

    /// Whether an installed file is as this command leaves it.
    fn is_trusted(&self, path: &Path) -> Result<bool, InstallError> {
        let metadata = fs::symlink_metadata(path).map_err(|source| InstallError::Io {
            doing: "look at",
            path: path.to_owned(),
            source,
        })?;
        Ok(metadata.is_file() && metadata.uid() == self.owner && metadata.mode() & 0o7777 == 0o644)
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?; // whatever the umask
    file.write_all(bytes)?;
    file.sync_all()
}
