//! Landlock: a second say on files beside the mounts, and on signals and abstract sockets beside the namespaces.
//!
//! An extra layer, taken as far as the kernel has it. Its TCP rules are not used: fast open, MPTCP and UDP pass them, so
//! they would look like the network control and not be it. Its EXECUTE right alone is not the exec control either: a memory
//! file passes it. With `process.exec` the filter lets none be made ([`super::seccomp`]) and no writable mount is executable
//! ([`super::rootfs`]), so nothing is left to execute but files of the view, and of those the listed ones have the right.
//! What is only mapped, by a loader or by dlopen(3), asks for no right to execute.
//!
//! The kernel's audit log (Linux 6.15, landlock_restrict_self(2)) shows what our own programs are refused, which never happens,
//! and nothing that the server is refused: the log has no bound of its own, and a server that asks for the same forbidden file
//! without a pause would fill it, or rotate what others wrote out of it. So the default stays that a program that is executed logs
//! nothing, and no domain that it could make for itself logs either.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, PathFdError,
    RestrictSelfAttr, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::plan::FilesystemPlan;
use super::{Answer, Layer};

/// The ABI that the rules are written for (Linux 6.15); its only news is what is logged. What a later one adds is not handled.
const WRITTEN_FOR: ABI = ABI::V7;

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
    /// The server's: read and execute the whole view, or execute only what the policy lists; write in `/tmp`, `/dev/shm` and the writable folders, where no
    /// symbolic link, socket, pipe or device can be made and nothing moves in or out; no signal and no abstract socket
    /// to anything outside.
    #[must_use]
    pub fn workload(filesystem: &FilesystemPlan) -> Self {
        let listed = filesystem.exec.as_ref().filter(|_| crate::weaken::in_force("exec-list"));
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        let look = if listed.is_some() { look } else { look | AccessFs::Execute };
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
        let run = AccessFs::Execute | AccessFs::ReadFile;
        beneath.extend(listed.into_iter().flatten().map(|program| (program.path.clone(), run)));
        let scopes = Scope::AbstractUnixSocket | Scope::Signal;
        Self { beneath, scopes, protection: "landlock" }
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

    /// egress's, and of every process of ours that needs no file: none at all.
    #[must_use]
    pub fn egress() -> Self {
        Self { beneath: Vec::new(), scopes: Scope::AbstractUnixSocket.into(), protection: "confine-egress-landlock" }
    }

    /// The janitor's: the directories of the session, to look into, write to and empty; and of the directories that hold
    /// them only that a directory may be removed there, which is the parent's right (landlock(7)).
    /// That reaches an empty directory of another session too, and no leaf in which a process stands: rmdir(2) refuses those.
    #[must_use]
    pub fn janitor(directories: &[PathBuf]) -> Self {
        let clean =
            AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::RemoveFile | AccessFs::RemoveDir;
        let parents: BTreeSet<&Path> = directories.iter().filter_map(|directory| directory.parent()).collect();
        let own = directories.iter().map(|directory| (directory.clone(), clean));
        let above = parents.into_iter().map(|parent| (parent.to_owned(), AccessFs::RemoveDir.into()));
        Self {
            beneath: own.chain(above).collect(),
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
            return Ok(Answer::Enforced);
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
        Ok(created.log_subdomains(false)?.restrict_self()?)
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
    let abi_number = abi as i32;
    if missing.is_empty() {
        return Answer::Enforced;
    }
    Answer::Partial(format!("ABI {abi_number} does not restrict {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::sys::stat::Mode;
    use nix::sys::wait::WaitStatus;
    use nix::unistd::{getppid, mkfifo};

    use super::*;
    use crate::sandbox::plan::{FolderId, WritableFolder};
    use crate::sys::fork::ask_child;

    #[test]
    fn says_what_an_older_kernel_leaves_out() {
        assert_eq!(answer_for(ABI::V7), Answer::Enforced);
        assert_eq!(answer_for(ABI::V8), Answer::Enforced);
        assert_eq!(answer_for(ABI::V6), Answer::Enforced);
        let Answer::Partial(five) = answer_for(ABI::V5) else { panic!("ABI 5 has no scopes") };
        assert_eq!(five, "ABI 5 does not restrict signals and abstract sockets to the outside (Linux 6.12)");
        let Answer::Partial(one) = answer_for(ABI::V1) else { panic!("ABI 1 has no truncation") };
        assert!(one.contains("truncation") && one.contains("ioctl") && one.contains("signals"), "{one}");
        assert!(matches!(answer_for(ABI::Unsupported), Answer::Unsupported(_)));
    }

    /// Runs in a child under the server's rules with one writable folder outside of /tmp.
    fn under_rules(question: impl FnOnce(&std::path::Path, bool) -> i32) -> WaitStatus {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let (owner_uid, owner_gid) = (1, 1);
        let write = WritableFolder {
            inside: folder.path().into(),
            source: folder.path().into(),
            id: FolderId::default(),
            owner_uid,
            owner_gid,
            max_bytes: None,
            by_quota: false,
        };
        let rules = Rules::workload(&FilesystemPlan { write: vec![write], ..FilesystemPlan::default() });
        ask_child(|| match rules.restrict_self() {
            Ok(Answer::Enforced) => question(folder.path(), true),
            Ok(Answer::Partial(_)) => question(folder.path(), false),
            Ok(Answer::Unsupported(_)) => 0, // said so: an extra layer
            Err(_) => 100,
        })
        .unwrap()
    }

    #[test]
    fn writable_folders_take_files_and_nothing_special() {
        let status = under_rules(|folder, _| {
            let inside = |name: &str| folder.join(name);
            let checks = [
                fs::write(inside("f"), "x").is_ok() && fs::create_dir(inside("d")).is_ok(),
                fs::rename(inside("f"), inside("g")).is_ok() && fs::remove_file(inside("g")).is_ok(),
                symlink("/etc", inside("l")).is_err_and(|error| error.raw_os_error() == Some(libc::EACCES)),
                mkfifo(&inside("p"), Mode::S_IRWXU) == Err(Errno::EACCES),
                std::os::unix::net::UnixListener::bind(inside("s")).is_err(),
                fs::write("/var/tmp/outside-of-the-folder", "x").is_err_and(|e| e.raw_os_error() == Some(libc::EACCES)),
                fs::read("/proc/self/status").is_ok() && fs::write("/dev/null", "x").is_ok(),
            ];
            checks.iter().position(|check| !check).map_or(0, |place| 1 + i32::try_from(place).unwrap_or(98))
        });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }

    #[test]
    fn with_a_list_nothing_else_is_executed() {
        let list = |names: [&str; 1]| {
            let listed = names.map(str::to_owned).into();
            let programs = crate::sandbox::programs::resolve(
                Path::new("/usr/bin/true"),
                &listed,
                &FilesystemPlan::default(),
                crate::sandbox::Sight::Root,
            );
            FilesystemPlan { exec: Some(programs.unwrap()), ..FilesystemPlan::default() }
        };
        let no_environment: [std::ffi::CString; 0] = [];
        for (program, refused) in [(c"/usr/bin/true", false), (c"/usr/bin/env", false), (c"/usr/bin/id", true)] {
            let plan = list(["env"]);
            let status = ask_child(|| match Rules::workload(&plan).restrict_self() {
                Ok(Answer::Unsupported(_)) => 99,
                Ok(_) => match nix::unistd::execve(program, &[program], &no_environment) {
                    Err(Errno::EACCES) => 13,
                    _ => 100,
                },
                Err(_) => 101,
            });
            let expected = if refused { 13 } else { 0 };
            assert!(
                matches!(status, Ok(WaitStatus::Exited(_, code)) if code == expected || code == 99),
                "{program:?} {status:?}"
            );
        }
    }

    #[test]
    fn signals_stay_inside() {
        let status = under_rules(|_, whole| i32::from(whole && kill(getppid(), None) != Err(Errno::EPERM)));
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }

    #[test]
    fn our_own_rules_leave_one_directory_or_none() {
        let store = tempfile::tempdir().unwrap();
        let mine = store.path().join("limits.db");
        let open = |rules: Rules| {
            ask_child(|| match rules.restrict_self() {
                Ok(Answer::Unsupported(_)) => 99,
                Ok(_) => {
                    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&mine);
                    i32::from(file.is_ok())
                        + 2 * i32::from(fs::read("/etc/hostname").is_ok())
                        + 4 * i32::from(symlink("/etc", store.path().join("l")).is_ok())
                }
                Err(_) => 100,
            })
        };
        let exits = |rules, expected: i32| {
            let status = open(rules);
            assert!(matches!(status, Ok(WaitStatus::Exited(_, code)) if code == expected || code == 99), "{status:?}");
        };
        exits(Rules::relay(store.path().into()), 1);
        exits(Rules::janitor(&[store.path().into()]), 1); // writes what relay made, makes nothing
        exits(Rules::egress(), 0);
    }

    #[test]
    fn the_janitor_removes_its_directories_and_nothing_beside_them() {
        let parent = tempfile::tempdir().unwrap();
        let leaf = parent.path().join("leaf");
        fs::create_dir(&leaf).unwrap();
        let beside = parent.path().join("beside");
        fs::write(&beside, "x").unwrap();
        let denied = |result: std::io::Result<()>| result.is_err_and(|e| e.raw_os_error() == Some(libc::EACCES));
        let status = ask_child(|| match Rules::janitor(std::slice::from_ref(&leaf)).restrict_self() {
            Ok(Answer::Unsupported(_)) => 99,
            Ok(_) => {
                i32::from(fs::remove_dir(&leaf).is_err())
                    + 2 * i32::from(!denied(fs::remove_file(&beside)))
                    + 4 * i32::from(!denied(fs::read(&beside).map(drop)))
                    + 8 * i32::from(!denied(fs::create_dir(parent.path().join("new"))))
                    + 16 * i32::from(!denied(fs::remove_dir(parent.path())))
            }
            Err(_) => 100,
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0 | 99))), "{status:?}");
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_and_not_a_gap() {
        let status = ask_child(|| {
            let rules = Rules::relay("/nowhere/at/all".into());
            i32::from(!matches!(rules.restrict_self(), Err(LandlockError::Path(_))))
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }
}
