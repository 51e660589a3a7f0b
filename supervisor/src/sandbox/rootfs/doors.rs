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

use super::RootfsError;
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

/// The walks of one launch: a bound of names for each, so that a big one takes nothing from the next, and one time for all.
#[derive(Debug)]
pub(super) struct Look {
    names_max: u32,
    /// By the clock since boot; from the first walk on.
    until_ns: Option<u64>,
}

impl Default for Look {
    fn default() -> Self {
        Self { names_max: READ_NAMES_MAX, until_ns: None }
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
        let Ok(top) = fstat(mount) else { return Ok(Looked::Partly) };
        match meaning(top.st_mode, strict) {
            Meaning::Nothing => return Ok(Looked::Whole),
            Meaning::Door => return Err(refused(at)),
            Meaning::Folder => {}
        }
        let Ok(folder) = Dir::openat(mount, c".", FOLDER, Mode::empty()) else { return Ok(Looked::Partly) };
        let mut levels = vec![(folder, at.to_owned())];
        let mut looked = Looked::Whole;
        let mut names_left = self.names_max;
        while let Some((folder, path)) = levels.last_mut() {
            let Some(entry) = next(folder) else {
                levels.pop();
                continue;
            };
            if names_left == 0 || clock::now().boot_ns > until_ns {
                return Ok(Looked::Partly);
            }
            names_left -= 1;
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use nix::unistd::mkfifo;

    use super::*;

    fn look(look: &mut Look, folder: &Path) -> Result<Looked, RootfsError> {
        look.through(&File::open(folder).unwrap().into(), Path::new("/shown"))
    }

    #[test]
    fn what_everyone_may_write_is_found_wherever_everyone_may_go() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        let mode = |name: &str, mode: u32| fs::set_permissions(top.join(name), Permissions::from_mode(mode)).unwrap();
        mode("", 0o755);
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/file"), "x").unwrap();
        mode("a/file", 0o666);
        let _listener = UnixListener::bind(top.join("a/b/so\ncket")).unwrap();
        mkfifo(&top.join("a/pipe"), Mode::S_IRUSR).unwrap();
        for (socket, pipe, folder, found) in [
            (0o666, 0o600, 0o755, Some("/shown/a/b/so\\ncket")),
            (0o602, 0o600, 0o711, Some("/shown/a/b/so\\ncket")),
            (0o664, 0o620, 0o755, None),
            (0o600, 0o622, 0o755, Some("/shown/a/pipe")),
            (0o666, 0o600, 0o754, None),
        ] {
            mode("a/b/so\ncket", socket);
            mode("a/pipe", pipe);
            mode("a/b", folder);
            let came = look(&mut Look::default(), top);
            match found {
                Some(path) => {
                    let error = came.unwrap_err();
                    assert_eq!((error.errno, error.path), (Errno::EPERM, PathBuf::from(path)));
                }
                None => assert_eq!(came, Ok(Looked::Whole)),
            }
        }
    }

    #[test]
    fn a_walk_is_bounded_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for name in 0..4 {
            fs::write(directory.path().join(name.to_string()), "x").unwrap();
        }
        let mut four = Look { names_max: 4, until_ns: None };
        assert_eq!(look(&mut four, directory.path()), Ok(Looked::Whole));
        assert_eq!(look(&mut four, directory.path()), Ok(Looked::Whole), "each has its own");
        four.names_max = 3;
        assert_eq!(look(&mut four, directory.path()), Ok(Looked::Partly));
        let mut late = Look { until_ns: Some(0), ..Look::default() };
        assert_eq!(look(&mut late, directory.path()), Ok(Looked::Partly));
        let mut deep = directory.path().to_owned();
        for _ in 0..USAGE_DEPTH_MAX {
            deep.push("d");
            fs::create_dir(&deep).unwrap();
        }
        assert_eq!(look(&mut Look::default(), directory.path()), Ok(Looked::Partly), "too deep");
    }
}
