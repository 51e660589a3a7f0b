//! Files that were removed and are kept open: they take up room and stand in no folder.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::os::fd::BorrowedFd;
use std::vec::IntoIter;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::Pid;

use super::{FOLDER, is, next, on_disk};
use crate::bounds::HELD_DESCRIPTORS_MAX;
use crate::sys::kcmp::compare_tables;

/// What threads hold open without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Held {
    /// Bytes on each file system, by its device.
    pub bytes: HashMap<u64, u64>,
    /// A thread or descriptor was gone: what it held may be another's, which had been asked before. A descriptor that was
    /// handed on leaves no trace at all, so this count holds only while nothing runs.
    pub moved: bool,
    /// There are more descriptors than [`HELD_DESCRIPTORS_MAX`], and it ended there.
    pub too_many: bool,
}

/// A count of what threads hold open without a name, which can be taken in parts: while they run it proves nothing either way,
/// and their folders must not be left alone for as long as it takes.
#[derive(Debug)]
pub struct HeldCount {
    threads: IntoIter<Pid>,
    tables: Tables,
    /// The table that is being looked at.
    open: Option<Dir>,
    descriptors: u64,
    seen: HashSet<(u64, u64)>,
    held: Held,
}

impl HeldCount {
    /// A count of what `threads` hold.
    #[must_use]
    pub fn begin(threads: Vec<Pid>) -> Self {
        Self {
            threads: threads.into_iter(),
            tables: Tables::default(),
            open: None,
            descriptors: 0,
            seen: HashSet::new(),
            held: Held::default(),
        }
    }

    /// Asks for `steps` threads and descriptors more; what they hold on the file systems `devices` when all were asked. Threads
    /// that share a table are asked once. `proc` is the host's /proc.
    ///
    /// # Errors
    /// Those of looking at the descriptors; a thread that ends meanwhile is none.
    pub fn go_on(&mut self, proc: BorrowedFd<'_>, devices: &HashSet<u64>, steps: u64) -> Result<Option<Held>, Errno> {
        for _ in 0..steps {
            let Some(open) = &mut self.open else {
                let Some(thread) = self.threads.next() else { return Ok(Some(mem::take(&mut self.held))) };
                if self.tables.takes(thread)? {
                    self.open = self.table(proc, thread)?;
                }
                continue;
            };
            match next(open) {
                None => self.open = None,
                Some(Err(Errno::ENOENT | Errno::ESRCH)) => {
                    self.held.moved = true;
                    self.open = None;
                }
                Some(entry) => {
                    let stat = match fstatat(&*open, entry?.file_name(), AtFlags::empty()) {
                        Ok(stat) => Some(stat),
                        Err(Errno::ENOENT | Errno::ESRCH) => None, // closed, or the thread is gone
                        Err(errno) => return Err(errno),
                    };
                    self.add(stat.as_ref(), devices);
                    if self.descriptors > HELD_DESCRIPTORS_MAX {
                        self.held.too_many = true;
                        return Ok(Some(mem::take(&mut self.held)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The descriptors of a thread, unless it is gone.
    fn table(&mut self, proc: BorrowedFd<'_>, thread: Pid) -> Result<Option<Dir>, Errno> {
        match Dir::openat(proc, format!("{thread}/fd").as_str(), FOLDER, Mode::empty()) {
            Ok(descriptors) => Ok(Some(descriptors)),
            Err(Errno::ENOENT | Errno::ESRCH) => {
                self.held.moved = true;
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    fn add(&mut self, stat: Option<&super::Stat>, devices: &HashSet<u64>) {
        self.descriptors += 1;
        let Some(stat) = stat else {
            self.held.moved = true;
            return;
        };
        let nameless = is(stat, SFlag::S_IFREG) && stat.st_nlink == 0 && devices.contains(&stat.st_dev);
        if nameless && self.seen.insert((stat.st_dev, stat.st_ino)) {
            let sum = self.held.bytes.entry(stat.st_dev).or_default();
            *sum = sum.saturating_add(on_disk(stat));
        }
    }
}

/// Threads that were asked, one for each table of descriptors, in the kernel's order of the tables. Threads of one process may
/// have tables of their own (`CLONE_THREAD` without `CLONE_FILES`), and processes may share one, so only the kernel knows.
#[derive(Debug, Default)]
struct Tables(Vec<Pid>);

impl Tables {
    /// Whether the table of `thread` is to be looked at: it was not yet, or that cannot be known.
    fn takes(&mut self, thread: Pid) -> Result<bool, Errno> {
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare_tables(self.0[middle], thread) {
                Ok(Some(Ordering::Equal)) => return Ok(false),
                Ok(Some(Ordering::Less)) => low = middle + 1,
                Ok(Some(Ordering::Greater)) => high = middle,
                Ok(None) | Err(Errno::ENOSYS) => return Ok(true),
                // That it is gone, whoever looks into its table will see.
                Err(Errno::ESRCH) if compare_tables(thread, thread) == Err(Errno::ESRCH) => return Ok(true),
                Err(Errno::ESRCH) => {
                    self.0.remove(middle);
                    (low, high) = (0, self.0.len());
                }
                Err(errno) => return Err(errno),
            }
        }
        self.0.insert(low, thread);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Barrier;

    use super::*;
    use crate::policy::Resources;

    fn proc() -> File {
        File::open("/proc").unwrap()
    }

    fn whole(threads: Vec<Pid>, devices: &[u64]) -> Held {
        let devices = devices.iter().copied().collect();
        HeldCount::begin(threads).go_on(proc().as_fd(), &devices, u64::MAX).unwrap().unwrap()
    }

    #[test]
    fn what_is_removed_and_kept_open_is_found_once() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let device = folder.path().metadata().unwrap().dev();
        let path = folder.path().join("kept");
        let mut file = File::create(&path).unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        file.sync_all().unwrap();
        let again = file.try_clone().unwrap();
        let held = |devices: &[u64]| whole(vec![Pid::this(); 2], devices).bytes.get(&device).copied().unwrap_or(0);
        let gone = whole(vec![Pid::from_raw(4_194_304)], &[device]);
        assert!(gone.moved && gone.bytes.is_empty(), "a thread that is gone is a doubt");
        let before = held(&[device]);
        fs::remove_file(&path).unwrap();
        let found = held(&[device]) - before;
        // Other tests of this process may have such a file, too; not of three megabytes.
        assert!((3 << 20..5 << 20).contains(&found), "{found}");
        assert_eq!(held(&[]), 0);
        drop(again);
    }

    #[test]
    fn threads_that_share_their_descriptors_are_asked_once() {
        let (met, done) = (Barrier::new(9), Barrier::new(9));
        std::thread::scope(|scope| {
            let (sender, tids) = std::sync::mpsc::channel();
            for _ in 0..8 {
                let (sender, met, done) = (sender.clone(), &met, &done);
                scope.spawn(move || {
                    sender.send(nix::unistd::gettid()).unwrap();
                    met.wait();
                    done.wait();
                });
            }
            met.wait();
            let threads: Vec<Pid> = tids.try_iter().collect();
            let gone = Pid::from_raw(4_194_304);
            let mut count = HeldCount::begin([&threads[..4], &[gone, Pid::parent()], &threads[4..]].concat());
            while count.go_on(proc().as_fd(), &HashSet::new(), 1).unwrap().is_none() {}
            assert_eq!(count.tables.0.len(), 2, "one of ours and one of our parent: {:?}", count.tables);
            done.wait();
        });
    }

    #[test]
    fn a_thread_that_is_gone_is_no_measure_for_others() {
        let mut tables = Tables(vec![Pid::from_raw(4_194_304)]);
        assert!(tables.takes(Pid::this()).unwrap() && !tables.takes(Pid::this()).unwrap());
        assert_eq!(tables.0, [Pid::this()]);
    }

    #[test]
    fn descriptors_are_bounded_where_no_server_of_the_default_limits_comes() {
        assert_eq!(HELD_DESCRIPTORS_MAX, Resources::DEFAULT_PROCESSES * Resources::DEFAULT_OPEN_FILES);
        let count = |before: u64| {
            let mut count = HeldCount::begin(vec![Pid::this()]);
            count.descriptors = before;
            count.go_on(proc().as_fd(), &HashSet::new(), u64::MAX).unwrap().unwrap().too_many
        };
        assert!(!count(0) && count(HELD_DESCRIPTORS_MAX), "one more is too many");
    }
}
