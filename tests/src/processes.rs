//! What the host sees of processes, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

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
