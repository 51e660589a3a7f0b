//! What the host sees of processes, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use intercept_sandbox::sys::pidfd;
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::wait;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// Start time, clock ticks after boot (field 22 of stat, proc_pid_stat(5)).
    pub started: u64,
    /// Its comm when it was found.
    pub comm: String,
    parent: u32,
}

impl Process {
    /// Looks a process up; none when it is gone or a zombie.
    #[must_use]
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let comm = head.split_once('(')?.1.to_owned();
        Some(Self { pid, started: fields.get(19)?.parse().ok()?, comm, parent: fields.get(1)?.parse().ok()? })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// A field of `/proc/PID/status`, without its name.
    #[must_use]
    pub fn status(&self, field: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let prefix = format!("{field}:");
        status.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.trim().to_owned())
    }

    /// Sends it a signal, and never to a later process with its number; false when it is gone.
    ///
    /// # Panics
    /// When the kernel refuses, which it does not refuse root.
    pub fn signal(&self, signal: Signal) -> bool {
        let Ok(descriptor) = pidfd::open(self.pid()) else { return false };
        let lives = self.is_alive();
        if lives {
            pidfd::signal(descriptor.as_fd(), signal).unwrap_or_else(|errno| panic!("{self:?}: {errno}"));
        }
        lives
    }

    /// Its number, as system calls take it.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count)
    }

    /// A namespace's identity, for instance `net:[4026531840]`.
    #[must_use]
    pub fn namespace(&self, kind: &str) -> Option<String> {
        Some(fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok()?.to_string_lossy().into_owned())
    }

    /// Its arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    /// Its open descriptors: what each link says, with a socket's protocol (`socket:ALG`) where the kernel names it.
    #[must_use]
    pub fn descriptors(&self) -> BTreeMap<u32, String> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return BTreeMap::new() };
        let describe = |entry: fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let link = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            if !link.starts_with("socket:") {
                return Some((number, link));
            }
            let mut name = [0u8; 64];
            let length = rustix::fs::getxattr(entry.path(), "system.sockprotoname", &mut name[..]).unwrap_or(0);
            let protocol = String::from_utf8_lossy(&name[..length]).trim_end_matches('\0').to_owned();
            Some((number, format!("socket:{protocol}")))
        };
        entries.flatten().filter_map(describe).collect()
    }
}

/// Processes, held by descriptors that tell their end and are never another process' (pidfd_open(2)).
#[derive(Debug)]
pub struct Watch(Vec<(Process, OwnedFd)>);

impl Watch {
    /// Watches those of `crowd` that still run.
    #[must_use]
    pub fn over(crowd: &[Process]) -> Self {
        let open = |process: &Process| {
            let opened = pidfd::open(process.pid()).ok();
            opened.filter(|_| process.is_alive()).map(|descriptor| (process.clone(), descriptor))
        };
        Self(crowd.iter().filter_map(open).collect())
    }

    /// Kills all of them.
    ///
    /// # Panics
    /// When the kernel refuses, which it does not refuse root.
    pub fn kill(&self) {
        for (process, descriptor) in &self.0 {
            let killed = pidfd::signal(descriptor.as_fd(), Signal::SIGKILL);
            killed.unwrap_or_else(|errno| panic!("{process:?}: {errno}"));
        }
    }

    /// Waits for the end of all of them: how long it took.
    ///
    /// # Errors
    /// Those that still run after `limit`, stretched by [`wait::on_this_machine`].
    ///
    /// # Panics
    /// When a descriptor cannot be asked.
    pub fn all_ended(&self, limit: Duration) -> Result<Duration, Vec<&Process>> {
        let begun = Instant::now();
        let deadline = begun + wait::on_this_machine(limit);
        let has_ended = |descriptor: &OwnedFd| {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let left = PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).expect("not negative");
            pidfd::readable(descriptor.as_fd(), left).expect("a pidfd can be asked")
        };
        let alive: Vec<&Process> =
            self.0.iter().filter(|(_, descriptor)| !has_ended(descriptor)).map(|(process, _)| process).collect();
        if alive.is_empty() { Ok(begun.elapsed()) } else { Err(alive) }
    }
}

/// Every process that runs now.
#[must_use]
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// `root` and everything that descends from it, parents first.
#[must_use]
pub fn tree(root: u32) -> Vec<Process> {
    let everything = all();
    let mut known = BTreeSet::from([root]);
    let mut found: Vec<Process> = everything.iter().filter(|process| process.pid == root).cloned().collect();
    loop {
        let children: Vec<Process> =
            everything.iter().filter(|p| known.contains(&p.parent) && !known.contains(&p.pid)).cloned().collect();
        if children.is_empty() {
            return found;
        }
        known.extend(children.iter().map(|child| child.pid));
        found.extend(children);
    }
}

/// Processes that have `marker` among their arguments.
#[must_use]
pub fn with_argument(marker: &str) -> Vec<Process> {
    all().into_iter().filter(|process| process.arguments().iter().any(|argument| argument == marker)).collect()
}

/// Directories of cgroup hierarchies whose name contains `part`.
#[must_use]
pub fn cgroups_named(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().contains(part) {
                found.push(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}

/// A process that is none of a server's business: it sleeps until it is dropped.
#[derive(Debug)]
pub struct Bystander {
    child: std::process::Child,
}

impl Bystander {
    /// Starts one in the caller's namespaces.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts helpers")]
        let child = std::process::Command::new("sleep").arg("600").spawn().expect("coreutils are there");
        Self { child }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs and nobody traces it.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        Process::find(self.pid())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // An attack may have ended it already: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
