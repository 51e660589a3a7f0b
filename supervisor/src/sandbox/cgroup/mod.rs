//! The cgroup of one run: ceilings, one kill for all, and the place where the BPF programs hang.
//!
//! A run has a leaf `intercept-sandbox/<session>` in the version 2 tree, and where controllers still live on version 1,
//! one of the same name in each of those trees. Whoever owns a leaf holds a lock (flock(2)) on its version 2 directory
//! through the descriptor of [`Leaf::v2_dir`]; the kernel lets go of it with the last process that holds the descriptor,
//! so [`sweep()`] can tell a crashed run's leaf from a live one's without trusting a pid or a file.

mod files;
mod freezer;
pub mod hierarchy;
mod incidents;
pub mod kill;
mod live;
mod ours;
mod settings;
mod sweep;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use self::hierarchy::{Controller, Hierarchy};
use super::Answer;
use super::plan::ResourcesPlan;
use crate::bounds::{CGROUP_EMPTY_WAIT_MS, CGROUP_LOCK_WAIT_MS};
use crate::fault::Stage;

pub use self::freezer::Freezer;
pub use self::incidents::Incidents;
pub use self::ours::leave_the_callers;
pub use self::sweep::{Swept, sweep};

/// Directory under each tree's mount point that holds the leaves.
pub const PARENT: &str = "intercept-sandbox";

/// Why a cgroup cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No version 2 mount.
    #[error(
        "no writable cgroup version 2 mount: mount -t cgroup2 none /sys/fs/cgroup (or .../unified beside version 1)"
    )]
    NoV2,
    /// A controller is on neither version.
    #[error("the cgroup controller {0} is mounted on neither version")]
    NoController(&'static str),
    /// A controller cannot be handed down.
    #[error("cgroup controller {controller} cannot be enabled in {}", .path.display())]
    Delegate {
        /// Which.
        controller: &'static str,
        /// The `cgroup.subtree_control` that refused it.
        path: PathBuf,
        /// Why; `EBUSY` where processes stand in that cgroup itself.
        source: Box<CgroupError>,
    },
    /// The session's leaf is there already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The session's name is not 32 lower-case hex digits.
    #[error("{0:?} is not a session name")]
    Session(String),
    /// A directory cannot be made.
    #[error("{} cannot be made", .path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory cannot be removed.
    #[error("{} cannot be removed", .path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process that was to be in a leaf is not.
    #[error("the server's first process is not in {}", .path.display())]
    Outside {
        /// The leaf.
        path: PathBuf,
    },
    /// Somebody keeps the lock of a leaf that was just made.
    #[error("{} is locked by another process after {wait_ms} ms", .path.display())]
    Locked {
        /// The leaf.
        path: PathBuf,
        /// How long it was waited for.
        wait_ms: u64,
    },
    /// Killed processes do not go away: uninterruptible I/O, as a rule.
    #[error("{} still has processes after {wait_ms} ms", .path.display())]
    StillPopulated {
        /// The leaf.
        path: PathBuf,
        /// How long it was waited for.
        wait_ms: u64,
    },
}

/// The cgroup of one run.
#[derive(Debug)]
pub struct Leaf {
    v2: PathBuf,
    /// Holds the lock.
    directory: File,
    v1: Vec<PathBuf>,
    id: u64,
    gaps: Vec<&'static str>,
}

impl Leaf {
    /// Makes the leaf of `session` with the ceilings of `plan`. Needs root.
    ///
    /// # Errors
    /// What is missing or refused; nothing is left behind.
    pub fn create(session: &str, plan: &ResourcesPlan) -> Result<Self, CgroupError> {
        if !is_session(session) {
            return Err(CgroupError::Session(session.to_owned()));
        }
        let hierarchy = Hierarchy::detect()?;
        let mut leaf = Self::claim(&hierarchy, session)?;
        match leaf.furnish(&hierarchy, session, plan).and_then(|()| leaf.passed()) {
            Ok(()) => Ok(leaf),
            Err(error) => {
                // The first error is the one to tell; what this leaves, the next start sweeps.
                let _ = leaf.remove();
                Err(error)
            }
        }
    }

    fn passed(&self) -> Result<(), CgroupError> {
        Stage::Cgroup.passed_io().map_err(|source| CgroupError::Make { path: self.v2.clone(), source })
    }

    /// The version 2 directory: for `CLONE_INTO_CGROUP` and for attaching BPF programs.
    #[must_use]
    pub fn v2_dir(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The cgroup id that `bpf_get_current_cgroup_id` returns for members: the directory's inode number (kernfs).
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The version 2 directory by path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.v2
    }

    /// Every directory of the run, version 2 last: the order of removal.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(PathBuf::as_path).chain([self.v2.as_path()])
    }

    /// Moves the calling process, which has one thread, and what it will fork into the version 1 directories. Into the
    /// version 2 one it is born (`CLONE_INTO_CGROUP`), so that it can be found and killed whatever happens here.
    ///
    /// A thread that moves itself needs no lock on all forks of the host (Linux 5.5). Whoever moves another process waits
    /// for that lock: an RCU grace period, 5 to 20 ms, also to move it where it stands.
    ///
    /// # Errors
    /// Those of writing `tasks`.
    pub fn join(&self) -> Result<(), CgroupError> {
        self.v1.iter().try_for_each(|directory| files::write(&directory.join("tasks"), "0"))
    }

    /// Proves that `pid` stands in every directory of the leaf.
    ///
    /// # Errors
    /// [`CgroupError::Outside`] when it does not, and those of reading `cgroup.procs`.
    pub fn prove_inside(&self, pid: i32) -> Result<(), CgroupError> {
        for directory in self.directories() {
            let members = files::read(&directory.join("cgroup.procs"))?;
            let stands_there = members.lines().any(|line| line.parse() == Ok(pid));
            if crate::weaken::in_force("cgroup-membership") && !stands_there {
                return Err(CgroupError::Outside { path: directory.to_owned() });
            }
        }
        Ok(())
    }

    /// `cgroup.kill`, opened for writing: writing `1` kills every member, also from a process that has no right to open
    /// the file (Linux 5.14). On an older kernel use [`Leaf::kill`], which needs `CAP_KILL`.
    ///
    /// # Errors
    /// `ENOENT` inside on a kernel before 5.14.
    pub fn kill_fd(&self) -> Result<OwnedFd, CgroupError> {
        files::open_for_writing(&self.v2.join("cgroup.kill")).map(OwnedFd::from)
    }

    /// `cgroup.threads`, opened for reading: every thread of the run, one number a line, each time from the start.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn threads_fd(&self) -> Result<File, CgroupError> {
        let path = self.v2.join("cgroup.threads");
        File::open(&path).map_err(|source| CgroupError::Read { path, source })
    }

    /// `cgroup.events`: poll(2) reports `POLLPRI` when `populated` changes.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn events_fd(&self) -> Result<OwnedFd, CgroupError> {
        let path = self.v2.join("cgroup.events");
        File::open(&path).map(OwnedFd::from).map_err(|source| CgroupError::Read { path, source })
    }

    /// Kills every member with `SIGKILL`, those that are being forked too.
    ///
    /// # Errors
    /// Those of the files.
    pub fn kill(&self) -> Result<(), CgroupError> {
        kill::kill_all(&self.v2)
    }

    /// Waits until no member is left, for at most `wait_ms`.
    ///
    /// # Errors
    /// [`CgroupError::StillPopulated`].
    pub fn wait_until_empty(&self, wait_ms: u64) -> Result<(), CgroupError> {
        files::wait_until_empty(&self.v2, wait_ms)
    }

    /// Whole, or which ceiling this kernel cannot give.
    pub fn answer(&self) -> Answer {
        if self.gaps.is_empty() { Answer::Enforced } else { Answer::Partial(self.gaps.join("; ")) }
    }

    /// Kills what is left, waits for its end, removes the directories.
    ///
    /// # Errors
    /// A member that does not die in time, or a directory that stays; the next start sweeps it.
    pub fn remove(self) -> Result<(), CgroupError> {
        self.clear()
    }

    /// [`Leaf::remove`] for who holds it only on loan: the janitor.
    ///
    /// # Errors
    /// As [`Leaf::remove`].
    pub fn clear(&self) -> Result<(), CgroupError> {
        discard(&self.v2, &self.v1)
    }

    /// Makes the version 2 directory and takes its lock.
    fn claim(hierarchy: &Hierarchy, session: &str) -> Result<Self, CgroupError> {
        let parent = hierarchy.v2.join(PARENT);
        let v2 = parent.join(session);
        loop {
            files::ensure_parent(&parent)?;
            match fs::create_dir(&v2) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(CgroupError::Exists(v2)),
                Err(source) => return Err(CgroupError::Make { path: v2, source }),
            }
            if let Some((directory, id)) = lock(&v2, CGROUP_LOCK_WAIT_MS)? {
                return Ok(Self { v2, directory, v1: Vec::new(), id, gaps: Vec::new() });
            }
            // A sweeper took the new directory for a leftover before it was locked. It is gone; make it again.
        }
    }

    /// Makes the version 1 directories and writes every ceiling.
    fn furnish(&mut self, hierarchy: &Hierarchy, session: &str, plan: &ResourcesPlan) -> Result<(), CgroupError> {
        for &controller in &hierarchy.on_v2 {
            hand_down(&hierarchy.v2, controller)?;
            hand_down(&hierarchy.v2.join(PARENT), controller)?;
            self.set(&self.v2.clone(), settings::v2(controller, plan))?;
        }
        for (&controller, mount) in &hierarchy.on_v1 {
            let leaf = mount.join(PARENT).join(session);
            // Two controllers may share a mount (cpu,cpuacct is one; a site may join more).
            if !self.v1.contains(&leaf) {
                files::ensure_parent(&mount.join(PARENT))?;
                files::ensure_directory(&leaf)?;
                self.v1.push(leaf.clone());
            }
            self.set(&leaf, settings::v1(controller, plan))?;
            if controller == Controller::Memory {
                self.gaps.push("cgroup version 1 kills one process, not the whole run, when memory is used up");
            }
        }
        Ok(())
    }

    fn set(&mut self, directory: &Path, settings: Vec<settings::Setting>) -> Result<(), CgroupError> {
        if !crate::weaken::in_force("cgroup-limits") {
            return Ok(());
        }
        for setting in settings {
            let path = directory.join(setting.file);
            match (files::write(&path, &setting.value), setting.gap) {
                (Ok(()), _) => {}
                (Err(CgroupError::Write { source, .. }), Some(gap)) if source.kind() == ErrorKind::NotFound => {
                    self.gaps.push(gap);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether `name` is a session's: 32 lower-case hex digits. Nothing else under [`PARENT`] is touched.
fn is_session(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Opens and locks a leaf's directory, with its inode number; none if it was removed meanwhile.
///
/// Only a sweeper can hold the lock of a directory that was just made, and a sweeper does not keep it: after `wait_ms` it
/// is somebody else, and the start fails instead of hanging.
fn lock(path: &Path, wait_ms: u64) -> Result<Option<(File, u64)>, CgroupError> {
    let unreadable = |source| CgroupError::Read { path: path.to_owned(), source };
    let directory = match File::open(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(source)),
    };
    match crate::lock::exclusive_within(wait_ms, &directory) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Err(CgroupError::Locked { path: path.to_owned(), wait_ms });
        }
        Err(source) => return Err(unreadable(source)),
    }
    let locked = directory.metadata().map_err(unreadable)?.ino();
    match fs::metadata(path) {
        Ok(there) if there.ino() == locked => Ok(Some((directory, locked))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(unreadable(source)),
    }
}

/// Enables `controller` for the children of `directory`.
fn hand_down(directory: &Path, controller: Controller) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.subtree_control");
    if files::read(&path)?.split_whitespace().any(|name| name == controller.name()) {
        return Ok(());
    }
    files::write(&path, &format!("+{}", controller.name())).map_err(|source| CgroupError::Delegate {
        controller: controller.name(),
        path,
        source: Box::new(source),
    })
}

/// Kills the members of `v2`, waits, and removes `v1` and then `v2`: as long as `v2` stands, a sweeper finds the rest.
fn discard(v2: &Path, v1: &[PathBuf]) -> Result<(), CgroupError> {
    kill::kill_all(v2)?;
    files::wait_until_empty(v2, CGROUP_EMPTY_WAIT_MS)?;
    for directory in v1 {
        files::remove_directory(directory)?;
    }
    files::remove_directory(v2)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_lock_of_another_is_an_error_in_time_and_not_a_hang() {
        let leaf = tempfile::tempdir().unwrap();
        let other = File::open(leaf.path()).unwrap();
        crate::lock::shared(&other).unwrap();
        let start = Instant::now();
        assert!(matches!(lock(leaf.path(), 50), Err(CgroupError::Locked { wait_ms: 50, .. })));
        assert!((50..1_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());

        let held_for = Duration::from_millis(30);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(held_for);
                drop(other);
            });
            assert!(matches!(lock(leaf.path(), 10_000), Ok(Some(_))));
        });
    }

    #[test]
    fn a_process_that_stands_outside_is_found() {
        let root = tempfile::tempdir().unwrap();
        let tree = |name: &str, members: &str| {
            let directory = root.path().join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), members).unwrap();
            directory
        };
        let (v2, memory, pids) = (tree("v2", "12\n"), tree("memory", "7\n12\n"), tree("pids", "12\n"));
        let directory = File::open(&v2).unwrap();
        let leaf = Leaf { v2, directory, v1: vec![memory, pids], id: 0, gaps: Vec::new() };
        leaf.prove_inside(12).unwrap();
        for (name, members) in [("v2", ""), ("memory", "7\n"), ("pids", "112\n1\n2\n")] {
            let there = tree(name, members);
            let outside = leaf.prove_inside(12);
            assert!(matches!(outside, Err(CgroupError::Outside { path }) if path == there), "{name}");
            tree(name, "12\n");
        }
        fs::remove_file(root.path().join("pids/cgroup.procs")).unwrap();
        assert!(matches!(leaf.prove_inside(12), Err(CgroupError::Read { .. })), "a leaf that cannot be asked");
    }

    #[test]
    fn the_directory_of_the_leaves_is_closed_to_others_old_or_new() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join(PARENT);
        for _ in 0..2 {
            files::ensure_parent(&parent).unwrap();
            assert_eq!(fs::metadata(&parent).unwrap().mode() & 0o7777, 0o700);
            fs::set_permissions(&parent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn knows_a_session_by_its_name() {
        assert!(is_session("0123456789abcdef0123456789abcdef"));
        for name in [
            "",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "../../../../../../../etc/../pas",
        ] {
            assert!(!is_session(name), "{name}");
        }
        assert!(!is_session("0123456789ABCDEF0123456789ABCDEF"));
    }
}
