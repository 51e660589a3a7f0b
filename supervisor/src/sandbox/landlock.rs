//! Landlock: a second say on files beside the mounts, and on signals and abstract sockets beside the namespaces.
//!
//! An extra layer, taken as far as the kernel has it. Its TCP rules are not used: fast open, MPTCP and UDP pass them, so
//! they would look like the network control and not be it. Its EXECUTE right is not the exec control either: a memfd and
//! execveat(2) pass it.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, PathFdError,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::plan::FilesystemPlan;
use super::{Answer, Layer};

/// The ABI that the rules are written for (Linux 6.12). What a later one adds is not handled.
const WRITTEN_FOR: ABI = ABI::V6;

/// Devices that the server may write to.
const WRITABLE_DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Why rules could not be put in force on a kernel that has Landlock.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A path of the rules cannot be opened.
    #[error("landlock: a path of the rules cannot be opened")]
    Path(#[from] PathFdError),
    /// The kernel refused the rules.
    #[error("landlock: the kernel refused the rules")]
    Rules(#[from] RulesetError),
}

/// Rules for one process.
#[derive(Clone, Debug)]
pub struct Rules {
    beneath: Vec<(PathBuf, BitFlags<AccessFs>)>,
    scopes: BitFlags<Scope>,
    protection: &'static str,
}

impl Rules {
    /// The server's: read and execute the whole view; write in `/tmp`, `/dev/shm` and the writable folders, where no
    /// symbolic link, socket, pipe or device can be made and nothing moves in or out; no signal and no abstract socket
    /// to anything outside.
    #[must_use]
    pub fn workload(filesystem: &FilesystemPlan) -> Self {
        let look = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
        let folder = AccessFs::WriteFile
            | AccessFs::RemoveDir
            | AccessFs::RemoveFile
            | AccessFs::MakeDir
            | AccessFs::MakeReg
            | AccessFs::Truncate;
        let private = folder | AccessFs::MakeSym | AccessFs::MakeSock | AccessFs::MakeFifo | AccessFs::Refer;
        let mut beneath: Vec<(PathBuf, BitFlags<AccessFs>)> =
            vec![("/".into(), look), ("/tmp".into(), private), ("/dev/shm".into(), private)];
        beneath.extend(WRITABLE_DEVICES.map(|device| (device.into(), AccessFs::WriteFile.into())));
        beneath.extend(filesystem.write.iter().map(|write| (write.inside.clone(), folder)));
        Self { beneath, scopes: Scope::AbstractUnixSocket | Scope::Signal, protection: "landlock" }
    }

    /// relay's: one directory, the limit store, to read and write. Without the signal scope: the monitor signals it.
    #[must_use]
    pub fn relay(limits_dir: PathBuf) -> Self {
        let store = AccessFs::ReadFile
            | AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::RemoveFile
            | AccessFs::MakeReg
            | AccessFs::Truncate;
        Self {
            beneath: vec![(limits_dir, store)],
            scopes: Scope::AbstractUnixSocket.into(),
            protection: "confine-relay-landlock",
        }
    }

    /// egress's: no file at all.
    #[must_use]
    pub fn egress() -> Self {
        Self { beneath: Vec::new(), scopes: Scope::AbstractUnixSocket.into(), protection: "confine-egress-landlock" }
    }

    /// The janitor's: the directories of the session, to look into, write to and empty.
    #[must_use]
    pub fn janitor(directories: &[PathBuf]) -> Self {
        let clean =
            AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::RemoveFile | AccessFs::RemoveDir;
        Self {
            beneath: directories.iter().map(|directory| (directory.clone(), clean)).collect(),
            scopes: Scope::AbstractUnixSocket.into(),
            protection: "confine-janitor-landlock",
        }
    }

    /// Puts the rules in force on the calling thread, which must be the only one of its process. Paths are opened now, so
    /// call it inside the root that they are meant for. Sets no_new_privs.
    ///
    /// # Errors
    /// A path that is not there, or a refusal by a kernel that has Landlock. A kernel without it answers
    /// [`Answer::Unsupported`].
    pub fn restrict_self(&self) -> Result<Answer, LandlockError> {
        if !crate::weaken::in_force(self.protection) {
            return Ok(Answer::Unsupported("taken out".to_owned()));
        }
        let status = self.enforce()?;
        Ok(match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, LandlockStatus::NotImplemented) => {
                Answer::Unsupported("the kernel has no Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK)".to_owned())
            }
            (RulesetStatus::NotEnforced, _) => {
                Answer::Unsupported("Landlock is not enabled: add it to the kernel's lsm= list".to_owned())
            }
            (_, landlock) => answer_for(ABI::from(landlock)),
        })
    }

    /// The same, for the ABI that took effect: 0 without Landlock.
    ///
    /// # Errors
    /// As for [`Rules::restrict_self`].
    pub fn restrict_self_abi(&self) -> Result<u8, LandlockError> {
        let status = self.enforce()?;
        let abi = if status.ruleset == RulesetStatus::NotEnforced { ABI::Unsupported } else { status.landlock.into() };
        Ok(abi as u8)
    }

    fn enforce(&self) -> Result<RestrictionStatus, LandlockError> {
        let mut created = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(WRITTEN_FOR))?
            .scope(self.scopes)?
            .create()?;
        for (path, access) in &self.beneath {
            created = created.add_rule(PathBeneath::new(PathFd::new(path)?, *access))?;
        }
        Ok(created.restrict_self()?)
    }
}

/// What a kernel of `abi` leaves out of rules written for [`WRITTEN_FOR`].
pub(crate) fn answer_for(abi: ABI) -> Answer {
    let since = [
        (ABI::V3, "truncation of files (Linux 6.2)"),
        (ABI::V5, "ioctl on devices (Linux 6.10)"),
        (ABI::V6, "signals and abstract sockets to the outside (Linux 6.12)"),
    ];
    if abi == ABI::Unsupported {
        return Answer::Unsupported(format!("{}: no ABI", Layer::Landlock.name()));
    }
    let missing: Vec<&str> = since.into_iter().filter(|&(needed, _)| abi < needed).map(|(_, what)| what).collect();
    if missing.is_empty() {
        return Answer::Enforced;
    }
    Answer::Partial(format!("ABI {} does not restrict {}", abi as i32, missing.join(", ")))
}
