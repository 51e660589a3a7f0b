//! What the meter looks at: the folders' names and the server's descriptors, and what both come to.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::stat::fstat;

use super::first::First;
use super::{CountError, MeterError};
use crate::sandbox::cgroup::Leaf;
use crate::sandbox::plan::FilesystemPlan;
use crate::sandbox::rootfs;
use crate::sandbox::usage::{self, Held, Usage};

/// One folder under count.
struct Folder {
    /// On the host, for messages.
    path: PathBuf,
    bytes_max: u64,
    mount: OwnedFd,
    /// Its file system.
    device: u64,
}

/// What is counted, opened.
pub(super) struct Scale {
    folders: Vec<Folder>,
    /// File systems on which nameless files count: those without a folder that is not counted, for the same file could stand there.
    devices: HashSet<u64>,
    threads: File,
    proc: File,
}

/// What the names of all folders came to.
pub(super) struct Names {
    /// The least room of a folder, bytes, or the place of one that holds too much, and of what.
    pub(super) room_bytes: Result<u64, (usize, usage::Excess)>,
    /// Bytes found on each file system.
    pub(super) used: HashMap<u64, u64>,
    pub(super) settled: bool,
}

/// Names and descriptors together.
pub(super) enum Finding {
    /// So many bytes may still be written.
    Room { bytes: u64, settled: bool },
    /// Too much, and what to say of it.
    Over { text: String, settled: bool },
}

/// Looking at a server's files and what they come to.
pub(super) trait Sight {
    /// Whether there is a file system on which files without a name count.
    fn counts_removed_files(&self) -> bool;
    /// Counts every folder, up to the first that holds too much.
    fn names(&self) -> Result<Names, CountError>;
    /// What the server holds open without a name.
    fn held(&mut self) -> Result<Held, CountError>;
    /// What both come to.
    fn judge(&self, names: &Names, held: &Held) -> Finding;
}

impl Scale {
    /// Opens what counting needs; nothing where no folder is counted.
    pub(super) fn open(plan: &FilesystemPlan, leaf: &Leaf) -> Result<Option<Self>, MeterError> {
        let mut folders = Vec::new();
        let mut uncounted = HashSet::new();
        if plan.write.iter().all(|folder| folder.counted_max().is_none()) {
            return Ok(None);
        }
        for folder in &plan.write {
            let path = &folder.source;
            let count = |source| MeterError::Count { path: path.clone(), source };
            let mount = rootfs::countable(path)?;
            let device = fstat(&mount).map_err(count)?.st_dev;
            match folder.counted_max() {
                Some(bytes_max) => folders.push(Folder { path: path.clone(), bytes_max, mount, device }),
                None => drop(uncounted.insert(device)),
            }
        }
        let devices = folders.iter().map(|folder| folder.device).filter(|device| !uncounted.contains(device)).collect();
        Ok(Some(Self { folders, devices, threads: leaf.threads_fd()?, proc: File::open("/proc")? }))
    }

    /// The folders on the host, in the order of their places.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.path.clone()).collect()
    }

    /// What it holds open.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mounts = self.folders.iter().map(|folder| folder.mount.as_raw_fd());
        mounts.chain([self.threads.as_raw_fd(), self.proc.as_raw_fd()]).collect()
    }

    /// What the folders hold before anything of the server's runs.
    pub(super) fn first(&self) -> First {
        for (place, folder) in (0_u16..).zip(&self.folders) {
            match usage::measure(folder.mount.as_fd(), folder.bytes_max).map(|count| count.usage) {
                Ok(Usage::Within(_)) => {}
                Ok(Usage::Over(excess)) => return First::Full(place, excess),
                Err(errno) => return First::Uncounted(place, errno),
            }
        }
        First::Fine
    }
}

impl Sight for Scale {
    fn counts_removed_files(&self) -> bool {
        !self.devices.is_empty()
    }

    fn names(&self) -> Result<Names, CountError> {
        let mut names = Names { room_bytes: Ok(u64::MAX), used: HashMap::new(), settled: true };
        for (place, Folder { path, bytes_max, mount, device }) in self.folders.iter().enumerate() {
            let error = |source| CountError::Count { path: path.clone(), source };
            let count = usage::measure(mount.as_fd(), *bytes_max).map_err(error)?;
            match count.usage {
                Usage::Within(bytes) => {
                    names.settled &= count.is_settled();
                    names.room_bytes = names.room_bytes.map(|least| least.min(bytes_max.saturating_sub(bytes)));
                    let used = names.used.entry(*device).or_default();
                    *used = used.saturating_add(bytes);
                }
                Usage::Over(excess) => {
                    return Ok(Names { room_bytes: Err((place, excess)), settled: count.is_settled(), ..names });
                }
            }
        }
        Ok(names)
    }

    fn held(&mut self) -> Result<Held, CountError> {
        if self.devices.is_empty() {
            return Ok(Held::default());
        }
        let mut threads = String::new();
        self.threads.rewind()?;
        self.threads.read_to_string(&mut threads)?;
        // 0 stands for a process of an outer pid namespace: not one of the run's.
        let threads = threads.lines().filter(|line| *line != "0");
        usage::held_without_name(self.proc.as_fd(), threads, &self.devices).map_err(CountError::Held)
    }

    fn judge(&self, names: &Names, held: &Held) -> Finding {
        let mut least = match names.room_bytes {
            Ok(bytes) => bytes,
            Err((place, excess)) => {
                let folder =
                    self.folders.get(place).map(|folder| folder.path.display().to_string()).unwrap_or_default();
                return Finding::Over { text: format!("{folder} holds {excess}"), settled: names.settled };
            }
        };
        // Of a file without a name nobody can say in which of the folders it stood.
        for device in &self.devices {
            let sum = |bytes: u64, folder: &Folder| bytes.saturating_add(folder.bytes_max);
            let allowed = self.folders.iter().filter(|folder| folder.device == *device).fold(0, sum);
            let [used, kept] = [&names.used, &held.bytes].map(|of| of.get(device).copied().unwrap_or(0));
            match allowed.checked_sub(used.saturating_add(kept)) {
                Some(room) => least = least.min(room),
                None => {
                    let text = format!("the server keeps {kept} bytes in removed files, too much for its folders");
                    // One that was removed between the two counts is in both.
                    return Finding::Over { text, settled: false };
                }
            }
        }
        Finding::Room { bytes: least, settled: names.settled && !held.moved }
    }
}

impl Finding {
    /// Whether that is certain.
    pub(super) const fn is_settled(&self) -> bool {
        match self {
            Self::Room { settled, .. } | Self::Over { settled, .. } => *settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(folders: &[(u64, u64)], devices: &[u64]) -> Scale {
        let nothing = || File::open("/dev/null").unwrap();
        let folder = |&(device, bytes_max): &(u64, u64)| Folder {
            path: format!("/{device}").into(),
            bytes_max,
            mount: nothing().into(),
            device,
        };
        let folders = folders.iter().map(folder).collect();
        Scale { folders, devices: devices.iter().copied().collect(), threads: nothing(), proc: nothing() }
    }

    fn names(used: &[(u64, u64)]) -> Names {
        Names { room_bytes: Ok(1000), used: used.iter().copied().collect(), settled: true }
    }

    fn held(bytes: &[(u64, u64)], moved: bool) -> Held {
        Held { bytes: bytes.iter().copied().collect(), moved }
    }

    #[test]
    fn removed_files_count_against_the_folders_of_their_own_file_system() {
        let scale = scale(&[(1, 100), (1, 100), (2, 500), (3, 10_000)], &[1, 3]);
        let judge = |kept: &[(u64, u64)]| scale.judge(&names(&[(1, 120), (2, 499), (3, 9)]), &held(kept, false));
        assert!(matches!(judge(&[]), Finding::Room { bytes: 80, settled: true }));
        assert!(matches!(judge(&[(1, 50)]), Finding::Room { bytes: 30, settled: true }));
        assert!(matches!(judge(&[(1, 81)]), Finding::Over { settled: false, .. }), "the room of 3 is not that of 1");
        assert!(matches!(judge(&[(2, 1 << 40)]), Finding::Room { bytes: 80, .. }), "a folder without max is there");
    }

    #[test]
    fn doubts_of_names_and_descriptors_are_doubts() {
        let scale = scale(&[(1, 100)], &[1]);
        let settled = |names: &Names, moved| scale.judge(names, &held(&[], moved)).is_settled();
        assert!(settled(&names(&[]), false) && !settled(&names(&[]), true));
        assert!(!settled(&Names { settled: false, ..names(&[]) }, false));
        let over = Names { room_bytes: Err((0, usage::Excess::Names)), ..names(&[]) };
        let found = scale.judge(&over, &held(&[], true));
        assert!(matches!(&found, Finding::Over { text, settled: true } if text == "/1 holds more than 1048576 names"));
    }
}
