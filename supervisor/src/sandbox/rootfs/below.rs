//! The mounts below a folder of `filesystem.read`, as proc_pid_mountinfo(5) lists them.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::source::open_path;
use super::{RootfsError, while_at};
use crate::bounds::READ_MOUNTS_MAX;
use crate::sys::process::errno_of;

/// What is done with one of them.
#[derive(Debug)]
pub(super) enum Below {
    /// Open, to be copied.
    Seen(OwnedFd),
    /// Root may not look at it (another user's FUSE), or nobody answers (a dead one, a stale NFS), or there are more than [`READ_MOUNTS_MAX`]
    /// before it: not shown, and covered.
    LeftOut(Errno),
}

/// The mounts below `path` that are not hidden behind others, parents first. This process' mounts are its own: nobody changes them
/// meanwhile.
pub(super) fn mounts_below(path: &Path) -> Result<Vec<(PathBuf, Below)>, RootfsError> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(|error| while_at(path, "list the mounts")(errno_of(&error)))?;
    let mut places: Vec<(PathBuf, u64)> = table
        .split(|byte| *byte == b'\n')
        .filter_map(place)
        .filter(|(at, _)| at.starts_with(path) && at != path)
        .collect();
    places.sort();
    let mut found: Vec<(PathBuf, Below)> = Vec::with_capacity(places.len());
    let mut seen = 0;
    for (at, id) in places {
        // Below one that is left out there is nothing, whatever it says of itself.
        let beneath = found.iter().any(|(outer, below)| matches!(below, Below::LeftOut(_)) && at.starts_with(outer));
        match if beneath { None } else { look(&at, id)? } {
            Some(Below::Seen(_)) if seen == READ_MOUNTS_MAX => found.push((at, Below::LeftOut(Errno::E2BIG))),
            Some(below) => {
                seen += usize::from(matches!(below, Below::Seen(_)));
                found.push((at, below));
            }
            None => {}
        }
    }
    Ok(found)
}

/// The mount `id` at `at`; none where another lies over it, or over a folder on the way. Whatever error its file system gives, it alone
/// is left out: who may mount below a folder that is shown must not decide whether a server starts.
fn look(at: &Path, id: u64) -> Result<Option<Below>, RootfsError> {
    let fd = match open_path(at) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Ok(Some(Below::LeftOut(errno))),
    };
    if mount_of(&fd, at)? != id {
        return Ok(None);
    }
    Ok(Some(fstat(&fd).map_or_else(Below::LeftOut, |_| Below::Seen(fd))))
}

/// Mount point and number in a line of proc_pid_mountinfo(5).
fn place(line: &[u8]) -> Option<(PathBuf, u64)> {
    let mut words = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    Some((PathBuf::from(OsString::from_vec(unescaped(words.nth(3)?))), id))
}

/// `\040` and the like as the bytes that they stand for.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// The number of the mount that a descriptor stands on (proc_pid_fdinfo(5)).
fn mount_of(fd: &OwnedFd, path: &Path) -> Result<u64, RootfsError> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let info = info.map_err(|error| while_at(path, "look at its mount")(errno_of(&error)))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or(Errno::EBADMSG).map_err(while_at(path, "look at its mount"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let line = br"36 35 98:0 /mnt1 /mnt2/a\040b\134c\011 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(place(line), Some((PathBuf::from("/mnt2/a b\\c\t"), 36)));
        assert_eq!(unescaped(br"a\04"), br"a\04");
        assert_eq!(unescaped(br"\999"), br"\999");
        assert_eq!(place(b""), None);
    }
}
