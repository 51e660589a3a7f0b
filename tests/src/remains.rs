//! What a run could leave behind, looked for on the host: processes, cgroups, mounts, files.
//!
//! A namespace lives as long as a process, a descriptor or a mount holds it, so who finds none of these finds none of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use intercept_sandbox::sandbox::cgroup::PARENT;

use crate::{records, wait};

/// Where sessions keep what is of their life alone.
const RUNTIME: &str = "/run/intercept-sandbox";
/// The registry of uids in there, which stays: a file a slot, locked while it is used.
const REGISTRY: &str = "ids";

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

    /// Processes and cgroups: what is gone without another start, once a janitor was there.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
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
            if mine { name != REGISTRY } else { name.to_string_lossy().contains("intercept") }
        })
    });
    entries.map(|entry| format!("file {}", entry.path().display())).collect()
}
