//! What the meter looks at: the folders' names and the server's descriptors, and what both come to.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::first::First;
use super::{CountError, MeterError};
use crate::bounds::{HELD_DESCRIPTORS_MAX, HELD_STEPS};
use crate::sandbox::cgroup::Leaf;
use crate::sandbox::plan::{FilesystemPlan, WritableFolder};
use crate::sandbox::rootfs;
use crate::sandbox::usage::{self, Held, HeldCount, Usage};

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
    /// A count of descriptors that goes on with the next look at a server that runs.
    begun: Option<HeldCount>,
    /// What the last whole one came to.
    held: Held,
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
    /// The same of a server that runs, by the last whole count: where it holds many descriptors, this look is a part of the next one.
    fn held_lately(&mut self) -> Result<Held, CountError>;
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
            let (mount, device) = view(folder)?;
            match folder.counted_max() {
                Some(bytes_max) => folders.push(Folder { path: folder.source.clone(), bytes_max, mount, device }),
                None => drop(uncounted.insert(device)),
            }
        }
        let devices = folders.iter().map(|folder| folder.device).filter(|device| !uncounted.contains(device)).collect();
        Ok(Some(Self {
            folders,
            devices,
            threads: leaf.threads_fd()?,
            proc: File::open("/proc")?,
            begun: None,
            held: Held::default(),
        }))
    }

    /// Goes on with a count of descriptors, or begins one; whether it is whole.
    fn count_held(&mut self, steps: u64) -> Result<bool, CountError> {
        if self.devices.is_empty() {
            return Ok(true);
        }
        let mut count = match self.begun.take() {
            Some(count) => count,
            None => HeldCount::begin(self.threads()?),
        };
        match count.go_on(self.proc.as_fd(), &self.devices, steps).map_err(CountError::Held)? {
            Some(held) => self.held = held,
            None => self.begun = Some(count),
        }
        Ok(self.begun.is_none())
    }

    fn threads(&mut self) -> Result<Vec<Pid>, CountError> {
        let mut threads = String::new();
        self.threads.rewind()?;
        self.threads.read_to_string(&mut threads)?;
        let number = |line: &str| line.parse().map(Pid::from_raw).map_err(|_| CountError::Held(Errno::EINVAL));
        // 0 stands for a process of an outer pid namespace: not one of the run's.
        threads.lines().filter(|line| *line != "0").map(number).collect()
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
        self.begun = None;
        while !self.count_held(HELD_STEPS)? {}
        Ok(self.held.clone())
    }

    fn held_lately(&mut self) -> Result<Held, CountError> {
        self.count_held(HELD_STEPS)?;
        Ok(self.held.clone())
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
        if held.too_many {
            let text = format!("the server holds more than {HELD_DESCRIPTORS_MAX} descriptors, too many to be counted");
            return Finding::Over { text, settled: true };
        }
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

/// A folder to be counted, and its file system.
fn view(folder: &WritableFolder) -> Result<(OwnedFd, u64), MeterError> {
    let mount = rootfs::countable(&folder.source, folder.id)?;
    let count = |source| MeterError::Count { path: folder.source.clone(), source };
    let device = fstat(&mount).map_err(count)?.st_dev;
    Ok((mount, device))
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
    use crate::sandbox::plan::FolderId;

    fn scale(folders: &[(u64, u64)], devices: &[u64]) -> Scale {
        let nothing = || File::open("/dev/null").unwrap();
        let folder = |&(device, bytes_max): &(u64, u64)| Folder {
            path: format!("/{device}").into(),
            bytes_max,
            mount: nothing().into(),
            device,
        };
        let folders = folders.iter().map(folder).collect();
        Scale {
            folders,
            devices: devices.iter().copied().collect(),
            threads: nothing(),
            proc: nothing(),
            begun: None,
            held: Held::default(),
        }
    }

    fn names(used: &[(u64, u64)]) -> Names {
        Names { room_bytes: Ok(1000), used: used.iter().copied().collect(), settled: true }
    }

    fn held(bytes: &[(u64, u64)], moved: bool) -> Held {
        Held { bytes: bytes.iter().copied().collect(), moved, too_many: false }
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
    fn a_folder_that_was_replaced_is_not_counted_in_place_of_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let folder = WritableFolder {
            inside: "/out".into(),
            source: directory.path().canonicalize().unwrap(),
            id: FolderId::default(),
            owner_uid: 1,
            owner_gid: 1,
            max_bytes: Some(1 << 20),
            by_quota: false,
        };
        let error = view(&folder).unwrap_err();
        let MeterError::Folder(source) = &error else { panic!("{error}") };
        assert!(source.act.contains("was replaced"), "{source}");
        let id = FolderId::of(&directory.path().metadata().unwrap());
        assert!(view(&WritableFolder { id, ..folder }).is_ok());
    }

    #[test]
    fn more_descriptors_than_are_counted_are_too_much() {
        let found = scale(&[(1, 100)], &[1]).judge(&names(&[]), &Held { too_many: true, ..Held::default() });
        assert!(
            matches!(&found, Finding::Over { text, settled: true } if text.contains("more than 65536 descriptors"))
        );
    }

    #[test]
    fn many_descriptors_are_counted_in_parts_unless_it_stands_still() {
        let this = std::process::id().to_string();
        let list = tempfile::tempdir().unwrap();
        let path = list.path().join("threads");
        std::fs::write(&path, format!("0\n{this}\n{this}\n")).unwrap();
        let open = |path: &std::path::Path| File::open(path).unwrap();
        let devices = HashSet::from([fstat(open(&path)).unwrap().st_dev]);
        let mut scale = Scale { devices, threads: open(&path), proc: open("/proc".as_ref()), ..scale(&[], &[]) };
        assert!(!scale.count_held(2).unwrap() && scale.begun.is_some(), "this process has more");
        scale.held = Held { moved: true, ..Held::default() };
        std::fs::write(&path, "x\n").unwrap();
        assert!(!scale.count_held(1).unwrap() && scale.held.moved, "until then the last one stands");
        while scale.begun.is_some() {
            assert!(scale.held_lately().is_ok(), "it goes on with those that it read");
        }
        assert!(matches!(scale.held(), Err(CountError::Held(Errno::EINVAL))), "and reads them anew");
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
