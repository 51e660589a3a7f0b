//! Sockets and pipes of the host in a mount that cannot map owners: found by walking it once, at the start.
//!
//! The server is everybody else to every file there: neither its owner nor in its group. So what only those may write is no way out,
//! and a folder that only those may search is not entered. What the host makes later is not seen.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Entry, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};

use super::{RootfsError, while_at};
use crate::bounds::{READ_LOOK_MS, READ_NAMES_MAX, USAGE_DEPTH_MAX};
use crate::clock;
use crate::report::printable;
use crate::sandbox::usage::next;

/// How a folder is opened: itself, to be listed, and no link in its place.
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What came of a walk that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// There is nothing.
    Whole,
    /// It is too much, or root may not look.
    Partly,
}

/// The walks of one launch, with one bound for all of them.
#[derive(Debug)]
pub(super) struct Look {
    names_left: u32,
    /// By the clock since boot; from the first walk on.
    until_ns: Option<u64>,
}

impl Default for Look {
    fn default() -> Self {
        Self { names_left: READ_NAMES_MAX, until_ns: None }
    }
}

/// What one name is to a server that is neither owner nor in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Nothing,
    Folder,
    Door,
}

impl Look {
    /// Walks `mount`, a copy of one mount that is shown as `at`.
    ///
    /// # Errors
    /// `EPERM` with the path of a socket or pipe that the server could write to.
    pub(super) fn through(&mut self, mount: &OwnedFd, at: &Path) -> Result<Looked, RootfsError> {
        let until_ns = *self.until_ns.get_or_insert_with(|| clock::now().boot_ns + READ_LOOK_MS * 1_000_000);
        let Ok(strict) = goes_by_modes(mount) else { return Ok(Looked::Partly) };
        let top = fstat(mount).map_err(while_at(at, "stat"))?;
        match meaning(top.st_mode, strict) {
            Meaning::Nothing => return Ok(Looked::Whole),
            Meaning::Door => return Err(refused(at)),
            Meaning::Folder => {}
        }
        let Ok(folder) = Dir::openat(mount, c".", FOLDER, Mode::empty()) else { return Ok(Looked::Partly) };
        let mut levels = vec![(folder, at.to_owned())];
        let mut looked = Looked::Whole;
        while let Some((folder, path)) = levels.last_mut() {
            let Some(entry) = next(folder) else {
                levels.pop();
                continue;
            };
            if self.names_left == 0 || clock::now().boot_ns > until_ns {
                return Ok(Looked::Partly);
            }
            self.names_left -= 1;
            let step = match entry {
                Ok(entry) => visit(folder, &entry, path, strict)?,
                Err(_) => Step::Unseen,
            };
            match step {
                Step::Done => {}
                Step::Below(below, here) if levels.len() < USAGE_DEPTH_MAX => levels.push((below, here)),
                Step::Below(..) | Step::Unseen => looked = Looked::Partly,
            }
        }
        Ok(looked)
    }
}

/// What came of one name.
enum Step {
    Done,
    Below(Dir, PathBuf),
    Unseen,
}

fn visit(folder: &Dir, entry: &Entry, path: &Path, strict: bool) -> Result<Step, RootfsError> {
    if !matches!(entry.file_type(), None | Some(Type::Directory | Type::Fifo | Type::Socket)) {
        return Ok(Step::Done);
    }
    let name = entry.file_name();
    let here = path.join(OsStr::from_bytes(name.to_bytes()));
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| meaning(stat.st_mode, strict)) {
        Ok(Meaning::Nothing) | Err(Errno::ENOENT) => Ok(Step::Done),
        Ok(Meaning::Door) => Err(refused(&here)),
        Ok(Meaning::Folder) => match Dir::openat(folder, name, FOLDER, Mode::empty()) {
            Ok(below) => Ok(Step::Below(below, here)),
            Err(Errno::ENOENT) => Ok(Step::Done),
            Err(_) => Ok(Step::Unseen),
        },
        Err(_) => Ok(Step::Unseen),
    }
}

/// Whether the kernel holds everybody to the mode's bits there: a FUSE server may judge by itself, or not at all.
fn goes_by_modes(mount: &OwnedFd) -> Result<bool, Errno> {
    fstatfs(mount).map(|found| found.filesystem_type() != FUSE_SUPER_MAGIC)
}

fn meaning(mode: u32, strict: bool) -> Meaning {
    let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
    let may = |bit: Mode| !strict || mode & bit.bits() != 0;
    match kind {
        SFlag::S_IFDIR if may(Mode::S_IXOTH) => Meaning::Folder,
        SFlag::S_IFSOCK | SFlag::S_IFIFO if may(Mode::S_IWOTH) => Meaning::Door,
        _ => Meaning::Nothing,
    }
}

fn refused(path: &Path) -> RootfsError {
    // The name is whoever made it's, and goes to a terminal.
    let path = PathBuf::from(printable(&path.to_string_lossy()).to_string());
    let act = "a socket or pipe of the host that everyone may write, on a file system that cannot map owners: the server could use it. \
               Close it to others, or show folders without it";
    RootfsError { path, act, errno: Errno::EPERM }
}
