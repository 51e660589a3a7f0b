//! Standing a run still and letting it go on, from a process that has no right to open the files of the cgroup.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use super::{CgroupError, Leaf, files};
use crate::bounds::FREEZE_LOOK_MS;
use crate::clock;

/// The freezer of one run (`cgroup.freeze`, Linux 5.2), opened.
///
/// A run that is frozen can be killed all the same, by `cgroup.kill` and by signals. Before Linux 5.14 there is no
/// `cgroup.kill`, and who kills freezes first: a thaw would let members fork away from under that. There is no freezer then.
#[derive(Debug)]
pub struct Freezer {
    switch: File,
    events: File,
}

impl Freezer {
    /// Opens it.
    ///
    /// # Errors
    /// Those of open(2); `ENOENT` inside on a kernel before 5.14.
    pub fn open(leaf: &Leaf) -> Result<Self, CgroupError> {
        drop(leaf.kill_fd()?);
        Self::of(leaf.path())
    }

    /// That of the cgroup at `directory`.
    pub(crate) fn of(directory: &Path) -> Result<Self, CgroupError> {
        let path = directory.join("cgroup.events");
        let events = File::open(&path).map_err(|source| CgroupError::Read { path, source })?;
        Ok(Self { switch: files::open_for_writing(&directory.join("cgroup.freeze"))?, events })
    }

    /// What it holds open.
    #[must_use]
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.switch.as_raw_fd(), self.events.as_raw_fd()]
    }

    /// Stands every member still; whether all do within `wait_ms`. One that is in the middle of a call of the kernel's which no
    /// signal ends comes last. Whatever the answer, the freezer stays shut.
    ///
    /// # Errors
    /// Those of the files.
    pub fn freeze(&mut self, wait_ms: u64) -> io::Result<bool> {
        self.switch.write_all(b"1")?;
        let due_ns = clock::now().boot_ns.saturating_add(wait_ms * 1_000_000);
        loop {
            let mut text = String::new();
            self.events.rewind()?;
            self.events.read_to_string(&mut text)?;
            if text.lines().any(|line| line == "frozen 1") {
                return Ok(true);
            }
            if clock::now().boot_ns >= due_ns {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(FREEZE_LOOK_MS));
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Those of the file.
    pub fn thaw(&mut self) -> io::Result<()> {
        self.switch.write_all(b"0")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_waits_for_the_kernels_word_and_no_longer_than_it_is_told() {
        let leaf = tempfile::tempdir().unwrap();
        let path = |name: &str| leaf.path().join(name);
        fs::write(path("cgroup.freeze"), "").unwrap();
        fs::write(path("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let mut freezer = Freezer::of(leaf.path()).unwrap();
        let start_ns = clock::now().boot_ns;
        assert!(!freezer.freeze(30).unwrap());
        assert!(clock::now().boot_ns - start_ns >= 30_000_000);
        assert_eq!(fs::read_to_string(path("cgroup.freeze")).unwrap(), "1", "shut all the same");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                fs::write(path("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
            });
            assert!(freezer.freeze(10_000).unwrap());
        });
        freezer.thaw().unwrap();
        assert_eq!(fs::read_to_string(path("cgroup.freeze")).unwrap(), "110");
    }
}
