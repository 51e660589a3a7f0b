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
use crate::weaken::in_force;

/// What is done with one of them.
#[derive(Debug)]
pub(super) enum Below {
    /// Open, to be copied.
    Seen(OwnedFd),
    /// Not shown, and covered, and why: a process of the host answers for it (FUSE), or root may not look at it, or nobody answers (a stale
    /// NFS), or there are more than [`READ_MOUNTS_MAX`] before it.
    LeftOut(&'static str),
}

const ANSWERED_BY_A_PROCESS: &str = "FUSE; list it in filesystem.read to show it";

/// The mounts below `path` for which a process answers: nothing may be asked of them.
pub(super) fn may_wait_below(path: &Path) -> Result<Vec<PathBuf>, RootfsError> {
    let places = places_below(path)?.into_iter().filter(|place| place.may_wait && in_force("waiting-mounts"));
    Ok(places.map(|place| place.at).collect())
}

/// The mounts below `path` that are not hidden behind others, parents first. This process' mounts are its own: nobody changes them
/// meanwhile.
pub(super) fn mounts_below(path: &Path) -> Result<Vec<(PathBuf, Below)>, RootfsError> {
    let places = places_below(path)?;
    let mut found: Vec<(PathBuf, Below)> = Vec::with_capacity(places.len());
    let mut seen = 0;
    for place in places {
        let at = place.at.clone();
        // Below one that is left out there is nothing, whatever it says of itself.
        let beneath = found.iter().any(|(outer, below)| matches!(below, Below::LeftOut(_)) && at.starts_with(outer));
        match if beneath { None } else { look(&place)? } {
            Some(Below::Seen(_)) if seen == READ_MOUNTS_MAX => found.push((at, Below::LeftOut(Errno::E2BIG.desc()))),
            Some(below) => {
                seen += usize::from(matches!(below, Below::Seen(_)));
                found.push((at, below));
            }
            None => {}
        }
    }
    Ok(found)
}

fn places_below(path: &Path) -> Result<Vec<Place>, RootfsError> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(|error| while_at(path, "list the mounts")(errno_of(&error)))?;
    let all = table.split(|byte| *byte == b'\n').filter_map(place);
    let mut places: Vec<Place> = all.filter(|place| place.at.starts_with(path) && place.at != path).collect();
    places.sort();
    Ok(places)
}

/// The mount of `place`; none where another lies over it, or over a folder on the way. Whatever error its file system gives, it alone
/// is left out: who may mount below a folder that is shown must not decide whether a server starts. One whose process may never answer
/// is asked nothing: nobody could end us, nor a server that looks there.
fn look(place: &Place) -> Result<Option<Below>, RootfsError> {
    let left_out = |errno: Errno| Below::LeftOut(errno.desc());
    let fd = match open_path(&place.at) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Ok(Some(left_out(errno))),
    };
    if mount_of(&fd, &place.at)? != place.id {
        return Ok(None);
    }
    if place.may_wait && in_force("waiting-mounts") {
        return Ok(Some(Below::LeftOut(ANSWERED_BY_A_PROCESS)));
    }
    Ok(Some(fstat(&fd).map_or_else(left_out, |_| Below::Seen(fd))))
}

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: PathBuf,
    id: u64,
    /// Any user may have mounted it (fusermount(1)), and his process answers when it likes. Other file systems are root's to mount.
    may_wait: bool,
}

fn place(line: &[u8]) -> Option<Place> {
    let mut words = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let at = PathBuf::from(OsString::from_vec(unescaped(words.nth(3)?)));
    let kind = words.skip_while(|word| *word != b"-").nth(1)?; // optional fields end with it
    let may_wait =
        ["fuse", "fuseblk"].iter().any(|fuse| kind.split(|byte| *byte == b'.').next() == Some(fuse.as_bytes()));
    Some(Place { at, id, may_wait })
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
        assert_eq!(place(line), Some(Place { at: PathBuf::from("/mnt2/a b\\c\t"), id: 36, may_wait: false }));
        for (kind, may_wait) in
            [("fuse", true), ("fuse.sshfs", true), ("fuseblk", true), ("fusectl", false), ("virtiofs", false)]
        {
            let line = format!("36 35 0:9 / /mnt2 rw shared:7 master:1 - {kind} - rw,user_id=0");
            assert_eq!(place(line.as_bytes()), Some(Place { at: "/mnt2".into(), id: 36, may_wait }), "{kind}");
        }
        assert_eq!(unescaped(br"a\04"), br"a\04");
        assert_eq!(unescaped(br"\999"), br"\999");
        assert_eq!(place(b""), None);
    }
}
