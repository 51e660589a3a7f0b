//! What is only to be read: copies of its mounts that are read-only, and in which no file has a group (`idmap::without_groups`), so
//! that nobody connects to a socket there or writes into a pipe. Reading goes by the mode's bits for others, as it would without.
//!
//! Not every file system can map owners (overlayfs, network file systems, tmpfs before 6.3). Where one of a source cannot, each mount
//! of it is copied by itself, and what cannot be mapped is looked through instead.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::below::{Below, may_wait_below, mounts_below};
use super::doors::{Look, Looked};
use super::place::Kind;
use super::source::{Source, kind_of, open_plain};
use super::{RootfsError, while_at};
use crate::bounds::READ_NAMES_MAX;
use crate::report::printable;
use crate::sys::mount::{Depth, attr, clone_tree, set_attributes};

/// What the owner map does not hold.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    look: Look,
    /// Mounts that cannot be mapped, in which nothing was found.
    later: Vec<PathBuf>,
    /// Those that could not be looked through.
    unseen: Vec<PathBuf>,
    /// Those that are not shown, and why.
    left_out: Vec<(PathBuf, &'static str)>,
}

impl Gaps {
    fn left_out(&mut self, at: &Path, why: &'static str) {
        self.left_out.push((at.to_owned(), why));
    }

    /// For people; none where everything is mapped.
    pub(super) fn text(&self) -> Option<String> {
        // The names are whoever mounted it's, and go to a terminal.
        let plain = |path: &PathBuf| printable(&path.to_string_lossy()).to_string();
        let list = |shown: Vec<String>| {
            let more = if shown.len() > 3 { format!(" and {} more", shown.len() - 3) } else { String::new() };
            shown[..shown.len().min(3)].join(", ") + &more
        };
        let mut said = Vec::new();
        if !self.left_out.is_empty() {
            let why = |(path, why): &(PathBuf, &'static str)| format!("{} ({why})", plain(path));
            let left_out = list(self.left_out.iter().map(why).collect());
            said.push(format!("mounts that root cannot look at, or that may never answer, are not shown: {left_out}"));
        }
        if !self.later.is_empty() {
            said.push(format!(
                "a socket or pipe that the host opens to everyone below {} while the server runs is open to it: no owner map there",
                list(self.later.iter().map(plain).collect())
            ));
        }
        if !self.unseen.is_empty() {
            said.push(format!(
                "not looked through to the end for sockets and pipes (more than {READ_NAMES_MAX} names, no time left, or root may not), \
                 and no owner map there; show folders within them instead: {}",
                list(self.unseen.iter().map(plain).collect())
            ));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// A path of the minimal view with all mounts below it. Nobody's sockets stand there: where it cannot be mapped it is not looked through.
pub(super) fn minimal(path: &Path, groups: &OwnedFd) -> Result<Source, RootfsError> {
    let (source, kind) = open(path)?;
    let (mount, _mapped) = copy(path, &source, Depth::Recursive, groups)?;
    Ok(Source { inside: path.to_owned(), kind, mount, below: Vec::new() })
}

/// A path of `filesystem.read` with all mounts below it.
///
/// # Errors
/// Besides those of opening and copying: `EPERM` for a socket or pipe that the server could write to.
pub(super) fn shown(path: &Path, groups: &OwnedFd, gaps: &mut Gaps) -> Result<Source, RootfsError> {
    let (source, kind) = open(path)?;
    if may_wait_below(path)?.is_empty() {
        let (mount, mapped) = copy(path, &source, Depth::Recursive, groups)?;
        if mapped || !crate::weaken::in_force("read-idmap") {
            return Ok(Source { inside: path.to_owned(), kind, mount, below: Vec::new() });
        }
    }
    let mount = alone(path, &source, groups, gaps)?;
    let mut below = Vec::new();
    for (at, found) in mounts_below(path)? {
        let mount = match found {
            Below::Seen(fd) => Some(alone(&at, &fd, groups, gaps)?),
            Below::LeftOut(why) => {
                gaps.left_out(&at, why);
                None
            }
        };
        below.push((at, mount));
    }
    Ok(Source { inside: path.to_owned(), kind, mount, below })
}

fn open(path: &Path) -> Result<(OwnedFd, Kind), RootfsError> {
    let source = open_plain(path)?;
    let kind = match kind_of(&source, path)? {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File,
        // A socket or pipe of the host is a way out, a device is none of the server's business.
        _ => return Err(while_at(path, "neither a file nor a directory")(Errno::EINVAL)),
    };
    Ok((source, kind))
}

/// The detached, read-only copy, and whether its owners are mapped: all of it, or nothing.
fn copy(path: &Path, source: &OwnedFd, depth: Depth, groups: &OwnedFd) -> Result<(OwnedFd, bool), RootfsError> {
    let mount = clone_tree(source.as_fd(), depth).map_err(while_at(path, "copy the mount"))?;
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV;
    if crate::weaken::in_force("read-idmap") {
        match set_attributes(mount.as_fd(), attributes, depth, Some(groups.as_fd())) {
            Ok(()) => return Ok((mount, true)),
            // The file system cannot; or the host mapped its owners already, which is done once.
            Err(Errno::EINVAL | Errno::EPERM) => {}
            Err(errno) => return Err(while_at(path, "make it read-only and map its groups")(errno)),
        }
    }
    set_attributes(mount.as_fd(), attributes, depth, None).map_err(while_at(path, "make it read-only"))?;
    Ok((mount, false))
}

/// The copy of one mount without those below it, looked through where it cannot be mapped.
fn alone(path: &Path, source: &OwnedFd, groups: &OwnedFd, gaps: &mut Gaps) -> Result<OwnedFd, RootfsError> {
    let (mount, mapped) = copy(path, source, Depth::One, groups)?;
    if !mapped {
        match gaps.look.through(&mount, path)? {
            Looked::Whole => gaps.later.push(path.to_owned()),
            Looked::Partly => gaps.unseen.push(path.to_owned()),
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_name_three_mounts_and_count_the_rest() {
        assert_eq!(Gaps::default().text(), None);
        let paths = ["/a", "/b", "/c", "/d", "/e"].map(PathBuf::from);
        let mut gaps = Gaps { later: paths.to_vec(), unseen: vec!["/x".into()], ..Gaps::default() };
        gaps.left_out(Path::new("/f\n"), Errno::ENOTCONN.desc());
        let text = gaps.text().unwrap();
        let left_out = "mounts that root cannot look at, or that may never answer, are not shown: /f\\n (Transport endpoint is not connected); ";
        assert!(text.starts_with(left_out), "{text}");
        assert!(text.contains("below /a, /b, /c and 2 more while the server runs"), "{text}");
        assert!(text.ends_with("; show folders within them instead: /x"), "{text}");
    }
}
