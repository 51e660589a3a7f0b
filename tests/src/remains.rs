//! What a run could leave behind, looked for on the host: processes, cgroups, mounts, files.
//!
//! A namespace lives as long as a process, a descriptor or a mount holds it: those of a session can be kept in sight, to find who does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use intercept_sandbox::sandbox::cgroup::PARENT;

use crate::processes::{self, Process, Watch};
use crate::{records, wait};

/// Everything of a session is gone this soon after its end, or after the death of a part of us: a promise of the product.
pub const GONE_LIMIT: Duration = Duration::from_secs(1);

/// Where sessions keep what is of their life alone.
const RUNTIME: &str = "/run/intercept-sandbox";
/// What stays in there: the registry of uids, a file a slot, locked while it is used; what is known of the kernel's types.
const STAYS: [&str; 2] = ["ids", "kernel-types"];

/// How it was before the first run.
#[derive(Debug)]
pub struct Before {
    mounts: BTreeSet<String>,
    mark: String,
}

impl Before {
    /// Looks at the caller's mount namespace.
    #[must_use]
    pub fn look() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("isb-mark-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { mounts: mounts(), mark }
    }

    /// A word for the server's command: so it stands in the command line of every process of the run, but for its pid 1.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Live processes of the runs: by their command line, and whoever stands in a cgroup of theirs.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let marked = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let has = line.windows(self.mark.len()).any(|window| window == self.mark.as_bytes());
            let own = entry.file_name().to_str()? == std::process::id().to_string();
            (has && !own).then(|| format!("process {}: {}", entry.path().display(), String::from_utf8_lossy(&line)))
        });
        let members = cgroups().into_iter().filter_map(|leaf| {
            let members = fs::read_to_string(leaf.join("cgroup.procs")).ok()?;
            (!members.is_empty()).then(|| format!("{} in {}", members.trim().replace('\n', " "), leaf.display()))
        });
        marked.chain(members).collect()
    }

    /// Ends the runs that are left and takes their cgroups away, for runs that were weakened so far that nobody of theirs does it:
    /// what stays even so. Those that clear up after themselves have [`GONE_LIMIT`] for it: a janitor is not killed at its work.
    #[must_use]
    pub fn end_all(&self) -> Vec<String> {
        if self.after(GONE_LIMIT, Self::running).is_empty() {
            return Vec::new();
        }
        let crowd = Watch::over(&self.crowd());
        crowd.kill();
        let _ = crowd.all_ended(wait::COMES_LIMIT);
        for leaf in cgroups() {
            let _ = fs::remove_dir(leaf); // what cannot be removed is told below
        }
        self.running()
    }

    /// The processes of [`Self::processes`], to be ended.
    fn crowd(&self) -> Vec<Process> {
        let is_marked = |process: &Process| {
            process.pid != std::process::id()
                && process.arguments().iter().any(|argument| argument.contains(&self.mark))
        };
        let marked = processes::all().into_iter().filter(is_marked);
        let members = cgroups().into_iter().flat_map(|leaf| {
            let members = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
            members.lines().filter_map(|pid| Process::find(pid.parse().ok()?)).collect::<Vec<_>>()
        });
        marked.chain(members).collect()
    }

    /// Processes and cgroups.
    fn running(&self) -> Vec<String> {
        let leaves = cgroups().into_iter().map(|leaf| format!("cgroup {}", leaf.display()));
        self.processes().into_iter().chain(leaves).collect()
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let now = mounts();
        let mounted = now.difference(&self.mounts).map(|line| format!("mount {line}"));
        self.running().into_iter().chain(mounted).chain(files()).collect()
    }

    /// Waits until `look` finds nothing; what it still finds after `limit`.
    #[must_use]
    pub fn after(&self, limit: Duration, look: impl Fn(&Self) -> Vec<String>) -> Vec<String> {
        let _ = wait::becomes_true(limit, || look(self).is_empty());
        look(self)
    }
}

/// The namespaces that a session made. Held open, so that no later one has the number of one of them.
#[derive(Debug)]
pub struct Namespaces(BTreeMap<String, File>);

impl Namespaces {
    /// Those of `crowd` that are not the caller's.
    ///
    /// # Panics
    /// When the caller's own cannot be read.
    #[must_use]
    pub fn of(crowd: &[Process]) -> Self {
        let own: BTreeSet<String> =
            links(Path::new("/proc/thread-self/ns")).into_iter().map(|(name, _)| name).collect();
        assert!(!own.is_empty(), "procfs");
        // Who ends meanwhile has none any more.
        let found = crowd.iter().flat_map(|process| links(Path::new(&format!("/proc/{}/ns", process.pid))));
        let made = found.filter(|(name, _)| !own.contains(name));
        let mut held = BTreeMap::new();
        for (name, path) in made {
            if let Ok(file) = File::open(path) {
                held.insert(name, file);
            }
        }
        Self(held)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Processes that are in one of them or hold a descriptor of one, the caller's apart.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        let others = processes::all().into_iter().filter(|process| process.pid != std::process::id());
        let holds = |process: &Process| {
            let folder = PathBuf::from(format!("/proc/{}", process.pid));
            let held = links(&folder.join("ns")).into_iter().chain(links(&folder.join("fd")));
            held.map(|(name, _)| name).find(|name| self.0.contains_key(name))
        };
        others.filter_map(|process| Some(format!("{} is held by {process:?}", holds(&process)?))).collect()
    }
}

/// What the links of a folder of /proc say, with their places.
fn links(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((fs::read_link(entry.path()).ok()?.to_str()?.to_owned(), entry.path()))).collect()
}

/// Cgroups of the sessions that this arena's log knows, in every tree.
fn cgroups() -> Vec<PathBuf> {
    let sessions: BTreeSet<String> = records::sessions(records::DEFAULT_DIRECTORY);
    let table = fs::read_to_string("/proc/thread-self/mounts").expect("procfs");
    let trees = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        fields.next()?.starts_with("cgroup").then(|| Path::new(point).join(PARENT))
    });
    let leaves = trees.flat_map(|tree| fs::read_dir(tree).into_iter().flatten().flatten());
    leaves
        .filter(|leaf| leaf.file_name().to_str().is_some_and(|name| sessions.contains(name)))
        .map(|l| l.path())
        .collect()
}

fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/thread-self/mountinfo").expect("procfs").lines().map(str::to_owned).collect()
}

fn files() -> Vec<String> {
    let entries = [RUNTIME, "/sys/fs/bpf", "/dev/shm"].into_iter().flat_map(|folder| {
        let mine = folder == RUNTIME;
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(move |entry| {
            let name = entry.file_name();
            if mine { !STAYS.iter().any(|stays| name == *stays) } else { name.to_string_lossy().contains("intercept") }
        })
    });
    entries.map(|entry| format!("file {}", entry.path().display())).collect()
}
