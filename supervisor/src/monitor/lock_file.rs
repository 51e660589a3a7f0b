//! The lock file of a policy: root's like the policy itself, read whole, and refused whole when one line is wrong.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::bounds::LOCK_BYTES_MAX;
use crate::policy::Policy;
use crate::trust::{self, Caller, TrustError};
use crate::wire::pin_lock::{self, LockError};

/// A lock file that loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockFile {
    /// Its text.
    pub bytes: Vec<u8>,
    /// SHA-256 of it.
    pub sha256: [u8; 32],
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It is not root's alone, or not there.
    #[error("the lock file cannot be used")]
    Trust(#[from] TrustError),
    /// It does not load.
    #[error("the lock file {path}")]
    Lock {
        /// Where it stands.
        path: PathBuf,
        /// What is wrong with it.
        source: LockError,
    },
}

/// The lock of `policy`, where it has one; under the rules for policies.
///
/// # Errors
/// [`LockFileError`]: no session, or no reload.
pub fn read(policy: &Policy, caller: &Caller) -> Result<Option<LockFile>, LockFileError> {
    let Some(path) = policy.lock_path() else { return Ok(None) };
    let file = trust::read_file(&path, caller, LOCK_BYTES_MAX)?;
    let sha256 = Sha256::digest(&file.bytes).into();
    match pin_lock::read(&file.bytes) {
        Ok(_) => Ok(Some(LockFile { bytes: file.bytes, sha256 })),
        Err(source) => Err(LockFileError::Lock { path: file.path, source }),
    }
}
