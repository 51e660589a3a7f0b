//! `policy install`.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Done, check, file};
use crate::bounds::LOCK_BYTES_MAX;

use crate::policy::{Pins, Policy};
use crate::wire::pin_lock::{self, LockError};

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
    #[error(
        "the lock {0} cannot be installed beside the policy: it must be a name without a leading '.' or the end .yaml, or an absolute path"
    )]
    LockPlace(PathBuf),
    #[error(transparent)]
    File(#[from] file::FileError),
    #[error("the lock {path} cannot be used")]
    Lock { path: PathBuf, source: LockError },
    #[error(
        "{lock} is the reviewed lock of the policy {policy} too, which would take other definitions then; give this policy's \
         lock another name"
    )]
    LockOfAnother { lock: PathBuf, policy: PathBuf },
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
    let Some(loaded) = file::load_or_tell(path, &bytes, out)? else {
        writeln!(out, "nothing was installed")?;
        return Ok(1);
    };
    file::tell(&file::shown(loaded.warnings), out)?;
    let target = Target { directory: Path::new(DIRECTORY), owner: 0 };
    match target.install(&loaded.policy, &bytes, arguments.force)? {
        Installed::New(path) => writeln!(out, "installed {} ({})", path.display(), check::summary(&loaded.policy))?,
        Installed::Replaced(path) => writeln!(out, "replaced {} ({})", path.display(), check::summary(&loaded.policy))?,
        Installed::AlreadyThere(path) => writeln!(out, "{} is already this policy", path.display())?,
        Installed::Refused(path) => {
            writeln!(out, "{} is another; --force replaces it", path.display())?;
            return Ok(1);
        }
    }
    Ok(0)
}

/// What has the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    Same,
    Other,
}

/// The lock that stands beside the policy, and its name. One with an absolute path stays where it is.
fn lock_of(policy: &Policy) -> Result<Option<(PathBuf, Vec<u8>)>, InstallError> {
    let Pins::Lock(name) = &policy.pins else { return Ok(None) };
    if name.is_absolute() {
        return Ok(None);
    }
    let path = policy.path.parent().unwrap_or(Path::new("")).join(name);
    // The loader saw to it that it is a name without a folder. Nor may it take the place of a policy.
    let is_hidden = name.as_os_str().as_bytes().starts_with(b".");
    if is_hidden || name.extension().is_some_and(|end| end == "yaml") {
        return Err(InstallError::LockPlace(name.clone()));
    }
    let bytes = file::read_at_most(&path, LOCK_BYTES_MAX)?;
    pin_lock::read(&bytes).map_err(|source| InstallError::Lock { path, source })?;
    Ok(Some((name.clone(), bytes)))
}

/// The directory and who must own it.
pub(super) struct Target<'a> {
    pub(super) directory: &'a Path,
    pub(super) owner: u32,
}

impl Target<'_> {
    /// Writes exactly the checked bytes under the policy's name, and before it the lock of its pins: each whole, or not at all.
    pub(super) fn install(&self, policy: &Policy, bytes: &[u8], force: bool) -> Result<Installed, InstallError> {
        let good = policy.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && policy.name.len() <= crate::bounds::POLICY_NAME_BYTES_MAX
            && policy.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !good {
            return Err(InstallError::Name(policy.name.clone()));
        }
        let lock = lock_of(policy)?;
        self.prepare_directory()?;
        let path = self.directory.join(format!("{}.yaml", policy.name));
        let lock = lock.as_ref().map(|(name, bytes)| (self.directory.join(name), bytes.as_slice()));
        let mut files = Vec::new();
        for (path, bytes) in lock.into_iter().chain([(path.clone(), bytes)]) {
            files.push((self.standing(&path, bytes)?, path, bytes));
        }
        if let [(Standing::Other | Standing::Nothing, lock, _), (_, own, _)] = &files[..]
            && let Some(policy) = self.names_the_lock(lock, own)?
        {
            return Err(InstallError::LockOfAnother { lock: lock.clone(), policy });
        }
        if let Some((_, other, _)) = files.iter().find(|(standing, ..)| *standing == Standing::Other && !force) {
            return Ok(Installed::Refused(other.clone()));
        }
        let replaces = files.iter().any(|(standing, ..)| *standing == Standing::Other);
        files.retain(|(standing, ..)| *standing != Standing::Same);
        for (_, path, bytes) in &files {
            match self.place(path, bytes, force) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(Installed::Refused(path.clone()));
                }
                Err(source) => return Err(InstallError::Io { doing: "write", path: path.clone(), source }),
            }
        }
        Ok(match (files.is_empty(), replaces) {
            (true, _) => Installed::AlreadyThere(path),
            (false, true) => Installed::Replaced(path),
            (false, false) => Installed::New(path),
        })
    }

    /// A policy in the directory, other than `own`, whose definitions `lock` pins. One that does not load pins none.
    fn names_the_lock(&self, lock: &Path, own: &Path) -> Result<Option<PathBuf>, InstallError> {
        if !crate::weaken::in_force("install-locks") {
            return Ok(None);
        }
        let io = |source| InstallError::Io { doing: "list", path: self.directory.to_owned(), source };
        for entry in fs::read_dir(self.directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path == own || path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let bytes = file::read(&path)?;
            let pins = file::load(&path, &bytes).map(|loaded| loaded.policy.pins);
            if let Ok(Pins::Lock(name)) = pins
                && self.directory.join(name) == lock
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// What has the place of a file that is to be `bytes`.
    fn standing(&self, path: &Path, bytes: &[u8]) -> Result<Standing, InstallError> {
        match fs::read(path) {
            Ok(old) if old == bytes && self.is_trusted(path)? => Ok(Standing::Same),
            Ok(_) => Ok(Standing::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::Nothing),
            Err(source) => Err(InstallError::Io { doing: "read", path: path.to_owned(), source }),
        }
    }

    fn place(&self, path: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.directory.join(format!(".{name}.{}", std::process::id()));
        let written = write_new(&temporary, bytes).and_then(|()| {
            // Without force a link: unlike a rename it fails if the name was taken meanwhile.
            if force { fs::rename(&temporary, path) } else { fs::hard_link(&temporary, path) }
        });
        if !force || written.is_err() {
            let _ = fs::remove_file(&temporary); // a leftover is hidden, root's, and never read
        }
        written.and_then(|()| fs::File::open(self.directory)?.sync_all())
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
