//! How much a writable folder holds, counted by walking it: for `max`, where no quota of the file system does it.
//!
//! The tree is the server's and changes under the walk. Nothing is followed: every folder is opened from its parent's
//! descriptor, through no link and no mount, and nothing but folders is opened. Everything is bounded: the walk stops
//! with the first byte, name or level too many. Names are passed back to the kernel and read for nothing else.

use std::collections::HashSet;
use std::ffi::CString;
use std::fmt;
use std::os::fd::BorrowedFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc::stat as Stat;
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use super::Answer;
use super::plan::FilesystemPlan;
use crate::bounds::{
    METER_PAUSE_MS_MAX, METER_PAUSE_MS_MIN, SHM_BYTES_MAX, USAGE_DEPTH_MAX, USAGE_NAME_BYTES, USAGE_NAMES_MAX,
};

/// Unit of `st_blocks`, bytes (inode(7)).
const BLOCK_BYTES: u64 = 512;
/// How a folder is opened: itself, to be listed, and no link in its place.
const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Usage {
    /// So many bytes, within what it may hold.
    Within(u64),
    /// More than it may hold.
    Over(Excess),
}

/// Of what there is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Bytes on disk, each name counted with [`USAGE_NAME_BYTES`] at least.
    Bytes,
    /// Names: [`USAGE_NAMES_MAX`].
    Names,
    /// Folders in folders: [`USAGE_DEPTH_MAX`].
    Depth,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => write!(f, "more bytes than its `max`, each name counted as {USAGE_NAME_BYTES} at least"),
            Self::Names => write!(f, "more than {USAGE_NAMES_MAX} names"),
            Self::Depth => write!(f, "folders more than {USAGE_DEPTH_MAX} deep"),
        }
    }
}

/// A folder that is being walked: itself, and the folders in it that are still to be entered.
struct Level {
    folder: Dir,
    below: Vec<CString>,
}

/// Counts what stands in `root`, up to `bytes_max`. A file with several names counts once for each: that is too much, never
/// too little. What moves while it is counted may be counted twice or not at all; the next count sees it.
///
/// # Errors
/// Those of opening and listing; what vanishes meanwhile is none.
pub fn measure(root: BorrowedFd<'_>, bytes_max: u64) -> Result<Usage, Errno> {
    let top = Dir::openat(root, c".", FOLDER, Mode::empty())?;
    let mut sum = Sum { bytes: 0, names: 0, bytes_max };
    if let Some(excess) = sum.add(&fstat(&top)?) {
        return Ok(Usage::Over(excess));
    }
    let mut levels = Vec::new();
    let mut next = Some(top);
    loop {
        if let Some(folder) = next.take() {
            match sum.list(folder)? {
                Ok(level) => levels.push(level),
                Err(excess) => return Ok(Usage::Over(excess)),
            }
        }
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(Usage::Within(sum.bytes)) };
        let Some(name) = level.below.pop() else {
            levels.pop();
            continue;
        };
        if depth >= USAGE_DEPTH_MAX {
            return Ok(Usage::Over(Excess::Depth));
        }
        next = match Dir::openat(&level.folder, name.as_c_str(), FOLDER, Mode::empty()) {
            Ok(folder) => Some(folder),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => None, // it was swapped or removed
            Err(errno) => return Err(errno),
        };
    }
}

struct Sum {
    bytes: u64,
    names: u64,
    bytes_max: u64,
}

impl Sum {
    /// Counts every name of a folder, and says which are folders themselves.
    fn list(&mut self, mut folder: Dir) -> Result<Result<Level, Excess>, Errno> {
        let mut names = Vec::new();
        for entry in folder.iter() {
            let name = entry?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                names.push(name);
            }
            // Before anything is looked at, so that no folder fills our memory.
            if names.len() as u64 + self.names > USAGE_NAMES_MAX {
                return Ok(Err(Excess::Names));
            }
        }
        let mut below = Vec::new();
        for name in names {
            let stat = match fstatat(&folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            };
            if let Some(excess) = self.add(&stat) {
                return Ok(Err(excess));
            }
            if is(&stat, SFlag::S_IFDIR) {
                below.push(name);
            }
        }
        Ok(Ok(Level { folder, below }))
    }

    fn add(&mut self, stat: &Stat) -> Option<Excess> {
        self.names += 1;
        self.bytes = self.bytes.saturating_add(on_disk(stat).max(USAGE_NAME_BYTES));
        if !crate::weaken::in_force("write-max") {
            return None;
        }
        (self.bytes > self.bytes_max).then_some(Excess::Bytes)
    }
}

fn is(stat: &Stat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == kind
}

fn on_disk(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
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
) -> Result<u64, Errno> {
    let mut seen = HashSet::new();
    let mut bytes = 0_u64;
    for thread in threads {
        let path = format!("{thread}/fd");
        let mut descriptors = match Dir::openat(proc, path.as_str(), FOLDER, Mode::empty()) {
            Ok(descriptors) => descriptors,
            Err(Errno::ENOENT | Errno::ESRCH) => continue,
            Err(errno) => return Err(errno),
        };
        let names: Result<Vec<CString>, Errno> =
            descriptors.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect();
        let names = match names {
            Err(Errno::ENOENT | Errno::ESRCH) => continue,
            names => names?,
        };
        for name in names.iter().filter(|name| name.as_bytes().iter().all(u8::is_ascii_digit)) {
            let stat = match fstatat(&descriptors, name.as_c_str(), AtFlags::empty()) {
                Ok(stat) => stat,
                Err(Errno::ENOENT | Errno::ESRCH) => continue, // closed, or the thread is gone
                Err(errno) => return Err(errno),
            };
            let nameless = is(&stat, SFlag::S_IFREG) && stat.st_nlink == 0 && devices.contains(&stat.st_dev);
            if nameless && seen.insert((stat.st_dev, stat.st_ino)) {
                bytes = bytes.saturating_add(on_disk(&stat));
            }
        }
    }
    Ok(bytes)
}

/// How long to wait until the next count, milliseconds, when `room_bytes` are left and the last count took `took_ms`: not so
/// long that a fast disk fills the room, and not more than half of a processor spent on counting.
#[must_use]
pub fn pause_ms(room_bytes: u64, took_ms: u64) -> u64 {
    /// What a fast disk, or the page cache before it, takes: 2 GiB a second.
    const FILL_BYTES_PER_MS: u64 = 2 << 20;
    (room_bytes / FILL_BYTES_PER_MS).clamp(METER_PAUSE_MS_MIN, METER_PAUSE_MS_MAX).max(took_ms)
}

impl FilesystemPlan {
    /// The longest file that the server may write: `None` where some writable folder has no bound, so that a file may be of
    /// any length.
    #[must_use]
    pub fn file_bytes_max(&self) -> Option<u64> {
        let folders: Option<Vec<u64>> = self.write.iter().map(|folder| folder.max_bytes).collect();
        // Files in /tmp and /dev/shm have their own bounds, and must be able to reach them.
        folders?.into_iter().max().map(|largest| largest.max(self.tmp_bytes).max(SHM_BYTES_MAX))
    }

    /// What the view says of itself: the sizes of writable folders are its one gap.
    pub fn answer(&self) -> Answer {
        if self.write.is_empty() {
            return Answer::Enforced;
        }
        let unbounded: Vec<String> = self
            .write
            .iter()
            .filter(|folder| folder.max_bytes.is_none())
            .map(|folder| folder.inside.display().to_string())
            .collect();
        if unbounded.is_empty() {
            return Answer::Partial(format!(
                "writable folders are counted every {METER_PAUSE_MS_MIN} to {METER_PAUSE_MS_MAX} ms and have no quota: \
                 what is written between two counts, or kept without name and descriptor, passes their max"
            ));
        }
        Answer::Partial(format!("writable folders without a size limit of their own: {}", unbounded.join(", ")))
    }
}

#[cfg(test)]
mod tests;
