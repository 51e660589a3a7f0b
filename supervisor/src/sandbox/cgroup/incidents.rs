//! What the kernel refused the run, or killed of it, at a ceiling: counters of the leaf.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{CgroupError, Leaf, files};

/// What happened at a ceiling since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incidents {
    /// Processes that the out-of-memory killer ended.
    pub oom_kills: u64,
    /// Processes and threads that were refused because there were as many as may be.
    pub forks_refused: u64,
}

/// Files with counters, each with the line that counts: memory on version 2 and 1, processes on both. None is in every tree.
const OOM: [(&str, &str); 2] = [("memory.events", "oom_kill "), ("memory.oom_control", "oom_kill ")];
const PIDS: (&str, &str) = ("pids.events", "max ");
/// Those of which poll(2) tells (`POLLPRI`) on version 2.
const TOLD: [&str; 2] = ["memory.events", "pids.events"];

impl Leaf {
    /// Reads the counters.
    ///
    /// # Errors
    /// A counter that is there and cannot be read.
    pub fn incidents(&self) -> Result<Incidents, CgroupError> {
        let mut seen = Incidents::default();
        for directory in self.directories() {
            for (file, line) in OOM {
                seen.oom_kills += count(&directory.join(file), line)?;
            }
            let (file, line) = PIDS;
            seen.forks_refused += count(&directory.join(file), line)?;
        }
        Ok(seen)
    }

    /// Whether the kernel tells of every change. On version 1 it does not: memory never did, and of processes it is silent on
    /// Linux 6.18 (measured).
    #[must_use]
    pub const fn tells_of_incidents(&self) -> bool {
        self.v1.is_empty()
    }

    /// Descriptors that report `POLLPRI` when a counter may have changed, until the file is read again.
    ///
    /// # Errors
    /// Those of open(2), but for files that this kernel does not have.
    pub fn incident_fds(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let mut found = Vec::new();
        for path in self.directories().flat_map(|directory| TOLD.map(|file| directory.join(file))) {
            match File::open(&path) {
                Ok(file) => found.push(file.into()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(CgroupError::Read { path, source }),
            }
        }
        Ok(found)
    }
}

fn count(path: &Path, line: &str) -> Result<u64, CgroupError> {
    match files::read(path) {
        Ok(text) => Ok(counted(&text, line)),
        Err(CgroupError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The number behind `line`; a kernel that does not count says nothing.
fn counted(text: &str, line: &str) -> u64 {
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_its_own_line_is_read() {
        let events = "low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(counted(events, "oom_kill "), 2);
        assert_eq!(counted("oom_kill_disable 1\nunder_oom 0\noom_kill 4\n", "oom_kill "), 4);
        assert_eq!(counted("max 9\n", "max "), 9);
        for silent in ["", "oom_kill_disable 0\nunder_oom 0\n", "oom_kill many\n"] {
            assert_eq!(counted(silent, "oom_kill "), 0, "{silent:?}");
        }
    }
}
