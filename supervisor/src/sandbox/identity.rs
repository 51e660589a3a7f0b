//! An unprivileged host uid and gid unique to the run, from a registry of locked slot files.
//!
//! Two runs never share a uid, so per-uid counters (RLIMIT_NPROC, queued signals) and file permissions separate them for free.
//! A slot is an flock on an open file: it is free again when its last holder dies, however it dies.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::bounds::IDENTITY_SLOTS_MAX;
use crate::lock;

/// First uid and gid of runs. Far above the ranges of useradd, systemd (0xEFFF_xxxx is its container range) and subuid.
pub const RUN_BASE: u32 = 0x7000_0000;
/// uid and gid of our relay processes.
pub const RELAY: u32 = 0x6FFF_FFF0;
/// uid and gid of our egress processes.
pub const EGRESS: u32 = 0x6FFF_FFF1;
/// uid (and, unless a socket needs another, gid) of the processes that connect to a shared limit store.
pub const LINK: u32 = 0x6FFF_FFF2;
/// uid and gid of the processes that count writable folders.
pub const METER: u32 = 0x6FFF_FFF3;
/// uid and gid of the processes that connect to the hosts of a policy.
pub const DIALER: u32 = 0x6FFF_FFF4;
/// What the test build's switch gives every server alike: a uid that others on the host run with, too.
const NOBODY: u32 = 65_534;
/// The host's registry.
pub const REGISTRY: &str = "/run/intercept-sandbox/ids";

/// Why no identity could be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or directory of the registry cannot be used.
    #[error("identity registry: {}", path.display())]
    Registry {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone other than root could take our slots.
    #[error("identity registry {} is not root's alone (owner {owner}, mode {mode:o})", path.display())]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Every slot is locked.
    #[error("all {IDENTITY_SLOTS_MAX} run identities are in use")]
    Exhausted,
}

/// The host identity of one run; held until dropped in every process that has a copy.
#[derive(Debug)]
pub struct RunIdentity {
    uid: u32,
    lock: File,
}

impl RunIdentity {
    /// Takes the next free identity of this host.
    ///
    /// # Errors
    /// [`IdentityError`]; needs root.
    pub fn take() -> Result<Self, IdentityError> {
        Self::take_from(Path::new(REGISTRY), 0)
    }

    /// The uid on the host.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The gid on the host: the same number.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.uid
    }

    /// The descriptor that holds the lock; the sandbox's pid 1 keeps a copy, so that the uid outlives a killed monitor
    /// for as long as the run does.
    #[must_use]
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// Takes from the registry in `directory`, which must belong to `owner` and be writable by nobody else.
    fn take_from(directory: &Path, owner: u32) -> Result<Self, IdentityError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Registry { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(at(directory))?;
        let metadata = directory.symlink_metadata().map_err(at(directory))?;
        if !metadata.is_dir() || metadata.uid() != owner || metadata.mode() & 0o022 != 0 {
            let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
            return Err(IdentityError::Exposed { path: directory.to_owned(), owner, mode });
        }
        // One at a time; and from the number after the last one, so that a uid comes back as late as possible.
        let turn = directory.join("next");
        let mut next = open_slot(&turn).map_err(at(&turn))?;
        lock::exclusive(&next).map_err(at(&turn))?;
        let mut text = String::new();
        next.read_to_string(&mut text).map_err(at(&turn))?;
        let first = text.trim().parse::<u32>().unwrap_or(0); // empty at first; any other start is as good
        for step in 0..IDENTITY_SLOTS_MAX {
            let slot = first.wrapping_add(step) % IDENTITY_SLOTS_MAX;
            let path = directory.join(slot.to_string());
            let lock = open_slot(&path).map_err(at(&path))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
            }
            let after = ((slot + 1) % IDENTITY_SLOTS_MAX).to_string();
            next.rewind()
                .and_then(|()| next.set_len(0))
                .and_then(|()| next.write_all(after.as_bytes()))
                .map_err(at(&turn))?;
            let uid = if crate::weaken::in_force("identity") { RUN_BASE + slot } else { NOBODY };
            return Ok(Self { uid, lock });
        }
        Err(IdentityError::Exhausted)
    }
}

fn open_slot(path: &Path) -> io::Result<File> {
    let nofollow = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn registry() -> (tempfile::TempDir, u32) {
        let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        (directory, nix::unistd::geteuid().as_raw())
    }

    #[test]
    fn two_holders_differ_and_a_freed_uid_comes_back_last() {
        let (directory, me) = registry();
        let first = RunIdentity::take_from(directory.path(), me).unwrap();
        let second = RunIdentity::take_from(directory.path(), me).unwrap();
        assert_eq!((first.uid(), first.gid()), (0x7000_0000, 0x7000_0000));
        assert_eq!(second.uid(), 0x7000_0001);
        drop(first);
        assert_eq!(RunIdentity::take_from(directory.path(), me).unwrap().uid(), 0x7000_0002);
    }

    #[test]
    fn the_range_wraps_past_held_slots() {
        let (directory, me) = registry();
        let held = RunIdentity::take_from(directory.path(), me).unwrap();
        std::fs::write(directory.path().join("next"), (IDENTITY_SLOTS_MAX - 1).to_string()).unwrap();
        assert_eq!(RunIdentity::take_from(directory.path(), me).unwrap().uid(), 0x7000_FFFF);
        assert_eq!(RunIdentity::take_from(directory.path(), me).unwrap().uid(), held.uid() + 1);
    }

    #[test]
    fn a_registry_that_others_can_write_is_refused() {
        let (directory, me) = registry();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o775)).unwrap();
        let refused = RunIdentity::take_from(directory.path(), me).unwrap_err();
        assert!(matches!(refused, IdentityError::Exposed { mode: 0o775, .. }), "{refused}");
    }

    #[test]
    fn a_registry_of_another_owner_is_refused() {
        let (directory, me) = registry();
        let refused = RunIdentity::take_from(directory.path(), me + 1).unwrap_err();
        assert!(matches!(refused, IdentityError::Exposed { .. }), "{refused}");
    }

    #[test]
    fn a_registry_that_somebody_keeps_locked_is_given_up() {
        let (directory, me) = registry();
        let held = open_slot(&directory.path().join("next")).unwrap();
        lock::exclusive(&held).unwrap();
        let refused = RunIdentity::take_from(directory.path(), me).unwrap_err();
        assert!(
            matches!(&refused, IdentityError::Registry { path, source } if path.ends_with("next") && source.kind() == io::ErrorKind::TimedOut),
            "{refused:?}"
        );
        drop(held);
        assert_eq!(RunIdentity::take_from(directory.path(), me).unwrap().uid(), 0x7000_0000);
    }

    #[test]
    fn a_slot_that_is_a_symlink_is_refused() {
        let (directory, me) = registry();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("0")).unwrap();
        let refused = RunIdentity::take_from(directory.path(), me).unwrap_err();
        assert!(matches!(refused, IdentityError::Registry { .. }), "{refused}");
    }
}
