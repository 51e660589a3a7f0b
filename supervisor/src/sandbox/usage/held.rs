//! Files that were removed and are kept open: they take up room and stand in no folder.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::{FOLDER, is, next, on_disk};

/// What threads hold open without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Held {
    /// Bytes on each file system, by its device.
    pub bytes: HashMap<u64, u64>,
    /// A thread or descriptor was gone: what it held may be another's, which had been asked before. A descriptor that was
    /// handed on leaves no trace at all, so this count holds only while nothing runs.
    pub moved: bool,
}

/// Bytes on the file systems `devices` in files without a name that one of `threads` holds open: removed and kept. `proc`
/// is the host's /proc. Each thread is asked, for it may have descriptors of its own.
///
/// # Errors
/// Those of looking at the descriptors; a thread that ends meanwhile is none.
pub fn held_without_name<'t>(
    proc: BorrowedFd<'_>,
    threads: impl Iterator<Item = &'t str>,
    devices: &HashSet<u64>,
) -> Result<Held, Errno> {
    let mut seen = HashSet::new();
    let mut held = Held::default();
    for thread in threads {
        let path = format!("{thread}/fd");
        let mut descriptors = match Dir::openat(proc, path.as_str(), FOLDER, Mode::empty()) {
            Ok(descriptors) => descriptors,
            Err(Errno::ENOENT | Errno::ESRCH) => {
                held.moved = true;
                continue;
            }
            Err(errno) => return Err(errno),
        };
        while let Some(entry) = next(&mut descriptors) {
            let entry = match entry {
                Err(Errno::ENOENT | Errno::ESRCH) => {
                    held.moved = true;
                    break;
                }
                entry => entry?,
            };
            let name = entry.file_name();
            if !name.to_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let stat = match fstatat(&descriptors, name, AtFlags::empty()) {
                Ok(stat) => stat,
                Err(Errno::ENOENT | Errno::ESRCH) => {
                    held.moved = true; // closed, or the thread is gone
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let nameless = is(&stat, SFlag::S_IFREG) && stat.st_nlink == 0 && devices.contains(&stat.st_dev);
            if nameless && seen.insert((stat.st_dev, stat.st_ino)) {
                let sum = held.bytes.entry(stat.st_dev).or_default();
                *sum = sum.saturating_add(on_disk(&stat));
            }
        }
    }
    Ok(held)
}
