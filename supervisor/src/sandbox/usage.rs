//! How much a writable folder holds, counted by walking it: for `max`, where no quota of the file system holds it (`quota`).
//!
//! The tree is the server's and changes under the walk. Nothing is followed: every folder is opened from its parent's
//! descriptor, through no link and no mount, and nothing but folders is opened. Everything is bounded: the walk stops
//! with the first byte, name or level too many, and keeps no name. Names are passed back to the kernel and read for nothing else.
//!
//! Whoever moves bytes out of the walk's sight leaves a trace in what the walk comes to later: a name that is gone, or a time of
//! change (`st_ctime`, which nobody but the kernel sets) that is not before the walk. A count without a trace holds for the moment
//! when it began; one with a trace says so ([`Doubts`]), and is taken again while nothing can move.

mod held;

use std::ffi::CStr;
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;

use nix::dir::{Dir, Entry};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc::stat as Stat;
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use super::Answer;
use super::plan::{FilesystemPlan, WritableFolder};
use crate::bounds::{
    METER_PAUSE_MS_MAX, METER_PAUSE_MS_MIN, SHM_BYTES_MAX, USAGE_DEPTH_MAX, USAGE_NAME_BYTES, USAGE_NAMES_MAX,
};
use crate::clock;

pub use self::held::{Held, HeldCount};

/// Unit of `st_blocks`, bytes (inode(7)).
const BLOCK_BYTES: u64 = 512;
/// How a folder is opened: itself, to be listed, and no link in its place.
const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);
/// A time of change that this divides, nanoseconds, may come from a file system that knows no finer ones.
const COARSE_NS: i64 = 10_000_000;
/// How late a change may be that such a file system gives such a time, nanoseconds: FAT counts in two seconds, others in one.
const COARSE_LATE_NS: i64 = 2_000_000_000;

/// What a file system may cut off a time of change, nanoseconds: ntfs3 counts in units of a hundred.
const FINE_NS: i64 = 1000;

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Count {
    /// How much.
    pub usage: Usage,
    /// What speaks against it.
    pub doubts: Doubts,
}

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

/// What moved while it was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// A name was gone, or a folder changed: what stood there may have been counted twice, or not at all.
    pub moved: bool,
    /// A file changed: what it held may stand in another, which had been counted before.
    pub changed: bool,
}

impl Count {
    /// Whether it holds for the moment when it began. Too much is too much unless something was counted twice.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        match self.usage {
            Usage::Within(_) => !self.doubts.moved && !self.doubts.changed,
            Usage::Over(_) => !self.doubts.moved,
        }
    }
}

/// Counts what stands in `root`, up to `bytes_max`. A file with several names counts once for each: that is too much, never
/// too little.
///
/// # Errors
/// Those of opening and listing; what vanishes meanwhile is a doubt.
pub fn measure(root: BorrowedFd<'_>, bytes_max: u64) -> Result<Count, Errno> {
    let mut walk = Walk { start_ns: wall_ns(), names: 0, bytes: 0, bytes_max, doubts: Doubts::default() };
    let top = Dir::openat(root, c".", FOLDER, Mode::empty())?;
    let mut over = walk.add(&fstat(&top)?);
    let mut levels = vec![top];
    while over.is_none()
        && let Some(folder) = levels.last_mut()
    {
        let Some(entry) = next(folder) else {
            walk.look_back(folder)?;
            levels.pop();
            continue;
        };
        match walk.visit(folder, entry?.file_name())? {
            Visit::Done => {}
            Visit::Over(excess) => over = Some(excess),
            Visit::Folder(_) if levels.len() >= USAGE_DEPTH_MAX => over = Some(Excess::Depth),
            Visit::Folder(below) => levels.push(below),
        }
    }
    levels.iter().try_for_each(|folder| walk.look_back(folder))?;
    // A clock that was set back dates what happened since before the start.
    walk.doubts.moved |= wall_ns() < walk.start_ns;
    Ok(Count { usage: over.map_or(Usage::Within(walk.bytes), Usage::Over), doubts: walk.doubts })
}

/// The next name in a folder, but for itself and its parent. nix's iterator rewinds when it is dropped, and would begin anew.
pub(super) fn next(folder: &mut Dir) -> Option<Result<Entry, Errno>> {
    ManuallyDrop::new(folder.iter())
        .find(|entry| !entry.as_ref().is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")))
}

/// The clock that file systems stamp changes by, nanoseconds since 1970.
fn wall_ns() -> i64 {
    i64::try_from(clock::stamps_ns()).unwrap_or(i64::MAX)
}

/// What came of one name.
enum Visit {
    /// It is counted, or gone.
    Done,
    /// It is counted, and a folder.
    Folder(Dir),
    /// With it there is too much.
    Over(Excess),
}

struct Walk {
    /// When it began, by the clock of the stamps.
    start_ns: i64,
    names: u64,
    bytes: u64,
    bytes_max: u64,
    doubts: Doubts,
}

impl Walk {
    fn visit(&mut self, folder: &Dir, name: &CStr) -> Result<Visit, Errno> {
        // Before it is looked at, so that names which are gone end the walk as well.
        self.names += 1;
        if self.names > USAGE_NAMES_MAX {
            return Ok(Visit::Over(Excess::Names));
        }
        let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(self.gone()),
            Err(errno) => return Err(errno),
        };
        if let Some(excess) = self.add(&stat) {
            return Ok(Visit::Over(excess));
        }
        if !is(&stat, SFlag::S_IFDIR) {
            self.doubts.changed |= changed_since(self.start_ns, &stat);
            return Ok(Visit::Done);
        }
        match Dir::openat(folder, name, FOLDER, Mode::empty()) {
            Ok(below) => Ok(Visit::Folder(below)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(self.gone()),
            Err(errno) => Err(errno),
        }
    }

    fn gone(&mut self) -> Visit {
        self.doubts.moved = true;
        Visit::Done
    }

    /// Whether a folder is what it was when the walk began. Asked when nothing of it is looked at any more: what was taken out
    /// before may stand where the walk had been already.
    fn look_back(&mut self, folder: &Dir) -> Result<(), Errno> {
        self.doubts.moved |= changed_since(self.start_ns, &fstat(folder)?);
        Ok(())
    }

    fn add(&mut self, stat: &Stat) -> Option<Excess> {
        self.bytes = self.bytes.saturating_add(on_disk(stat).max(USAGE_NAME_BYTES));
        if !crate::weaken::in_force("write-max") {
            return None;
        }
        (self.bytes > self.bytes_max).then_some(Excess::Bytes)
    }
}

/// Whether the file may have changed since `start_ns`, by the clock that stamps changes.
fn changed_since(start_ns: i64, stat: &Stat) -> bool {
    let stamp_ns = stat.st_ctime.saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec);
    let late_ns = if stamp_ns % COARSE_NS == 0 { COARSE_LATE_NS } else { 0 };
    stamp_ns.saturating_add(late_ns) >= start_ns.saturating_sub(FINE_NS)
}

fn is(stat: &Stat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == kind
}

fn on_disk(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

/// How long to wait until the next count, milliseconds, when `room_bytes` are left and the last count took `took_ms`: not so
/// long that a fast disk fills the room, and not more than half of a processor spent on counting a server that runs.
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
        let inside = |folder: &WritableFolder| folder.inside.display().to_string();
        let unbounded: Vec<String> =
            self.write.iter().filter(|folder| folder.max_bytes.is_none()).map(inside).collect();
        let held: Vec<String> = self.write.iter().filter(|folder| folder.by_quota).map(inside).collect();
        if held.len() == self.write.len() {
            return Answer::Enforced;
        }
        let counted = format!(
            "writable folders are counted every {METER_PAUSE_MS_MIN} to {METER_PAUSE_MS_MAX} ms, less often where a count \
             takes longer, and have no quota: what is written between two counts, or kept without name and descriptor, passes their max"
        );
        if unbounded.is_empty() && held.is_empty() {
            return Answer::Partial(counted);
        }
        let mut gaps = Vec::new();
        if !unbounded.is_empty() {
            gaps.push(format!("writable folders without a size limit of their own: {}", unbounded.join(", ")));
        }
        if !held.is_empty() {
            gaps.push(format!("held by a project quota: {}", held.join(", ")));
        }
        if unbounded.len() + held.len() < self.write.len() {
            gaps.push("removed files that are kept open on their file systems are not counted".into());
            gaps.push(format!("the other {counted}"));
        }
        Answer::Partial(gaps.join("; "))
    }
}

#[cfg(test)]
mod tests;
