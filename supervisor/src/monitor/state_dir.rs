//! Where state is kept between sessions: root's directory, with one folder a policy for the counts, which belongs to the
//! relay alone, and one for the pins, which belongs to root alone.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;
use sha2::{Digest, Sha256};

use super::pin_store::{Entry, PinStore};
use crate::fault::Stage;
use crate::policy::{LimitScope, Pins, Policy};
use crate::sandbox::Plan;
use crate::sandbox::identity::RELAY;
use crate::trust::{self, TrustError};

/// Directory of the limit store by default.
pub const STATE_DIR: &str = "/var/lib/intercept-sandbox";

/// Why the counts have no place.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is not root's alone.
    #[error("the state directory is not root's alone")]
    Trust(#[from] TrustError),
    /// It cannot be made.
    #[error("{path} cannot be made")]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The pins cannot be read.
    #[error("the pins in {path} cannot be read")]
    Read {
        /// Their folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What is kept between sessions, opened for one of them.
#[derive(Debug)]
pub struct State {
    /// The folder of the counts; none where a shared store has them.
    pub limits_dir: Option<PathBuf>,
    /// Where new pins go; none where the policy keeps none.
    pub pins: Option<PinStore>,
    /// The pins of earlier sessions: what each is filed under, and its blob.
    pub kept: Vec<([u8; 32], Vec<u8>)>,
}

impl State {
    /// Opens what the session of `plan` goes on with.
    ///
    /// # Errors
    /// [`StateError`]: no counts or no pins, no session.
    pub fn open(plan: &Plan, policy: &Policy) -> Result<Self, StateError> {
        let limits_dir = plan.state_dsn.is_none().then(|| prepare(&plan.state_dir, policy)).transpose()?;
        let (pins, entries) = open_pins(&plan.state_dir, policy, &plan.session)?.unzip();
        let kept = entries.unwrap_or_default().into_iter().filter_map(|entry| Some((entry.key, entry.pin?)));
        Ok(Self { limits_dir, pins, kept: kept.collect() })
    }
}

/// Makes the folder of this policy's counts and gives it to the relay's uid. Two servers never share one by accident:
/// its name is that of the policy, or the hash of its real path; `limits.scope: global` shares one on purpose.
///
/// # Errors
/// [`StateError`]: no counts, no session.
fn prepare(root: &Path, policy: &Policy) -> Result<PathBuf, StateError> {
    let limits = root.join("limits");
    for directory in [root, &limits] {
        // The relay walks through and sees nothing on the way.
        make(directory, 0o711)?;
        let opened = trust::check_directory(directory)?;
        if root == Path::new(STATE_DIR) {
            widen(&opened, directory, 0o711)?; // ours alone: another may be any folder of root's
        }
    }
    let folder = limits.join(folder_name(policy));
    make(&folder, 0o700)?;
    let give = || {
        chown(&folder, Some(RELAY), Some(RELAY))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))
    };
    give()
        .and_then(|()| Stage::State.passed_io())
        .map_err(|source| StateError::Make { path: folder.clone(), source })?;
    Ok(folder)
}

/// Makes the folder of this policy's pins, root's alone, and opens it; none where the policy keeps no pins between sessions.
/// It stands here wherever the counts are.
///
/// # Errors
/// [`StateError`]: no pins, no session.
pub fn open_pins(root: &Path, policy: &Policy, session: &str) -> Result<Option<(PinStore, Vec<Entry>)>, StateError> {
    if policy.pins != Pins::FirstUse {
        return Ok(None);
    }
    make(root, 0o711)?;
    trust::check_directory(root)?;
    let folder = pins_folder(root, policy);
    for directory in [&root.join("pins"), &folder] {
        make(directory, 0o700)?;
        trust::check_directory(directory)?;
    }
    let opened = PinStore::open(&folder, session);
    opened.map(Some).map_err(|source| StateError::Read { path: folder, source })
}

/// Where the pins of a policy are: by its `name:`, else by its real path.
#[must_use]
pub fn pins_folder(root: &Path, policy: &Policy) -> PathBuf {
    root.join("pins").join(hashed(&policy.limit_identity()))
}

fn hashed(identity: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(identity.as_bytes()).into();
    crate::wire::pin::hex(&digest[..16])
}

fn folder_name(policy: &Policy) -> String {
    match policy.limit_scope {
        LimitScope::Global => "global".to_owned(),
        LimitScope::Profile | LimitScope::Session => hashed(&policy.limit_identity()),
    }
}

/// A folder that was made too narrow, under another umask, would refuse every session of the host.
fn widen(folder: &OwnedFd, path: &Path, least: u32) -> Result<(), StateError> {
    let mend = || {
        let mode = fstat(folder)?.st_mode & 0o7777;
        // The descriptor is a place alone (O_PATH): the way to its file leads over /proc.
        let through = format!("/proc/self/fd/{}", folder.as_raw_fd());
        if mode & least == least { Ok(()) } else { fs::set_permissions(through, Permissions::from_mode(mode | least)) }
    };
    mend().map_err(|source| StateError::Make { path: path.to_owned(), source })
}

fn make(path: &Path, mode: u32) -> Result<(), StateError> {
    let fail = |source| StateError::Make { path: path.to_owned(), source };
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(fail(source)),
    }
}
