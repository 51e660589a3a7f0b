//! /dev: the five memory devices of the host and the usual links. No terminal, no ptmx, no block device.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, major, minor};

use super::place::{Kind, Root};
use super::source::open_plain;
use super::{RootfsError, while_at};
use crate::sys::mount::{Depth, attach, attr, clone_tree, set_attributes};

/// Path and minor number; the major number of all is 1 (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u64); 5] =
    [("/dev/null", 3), ("/dev/zero", 5), ("/dev/full", 7), ("/dev/random", 8), ("/dev/urandom", 9)];

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The host's nodes as detached mounts.
#[derive(Debug)]
pub(super) struct Devices {
    nodes: Vec<(&'static Path, OwnedFd)>,
    /// The host's /dev/null, to hide files of /proc behind.
    pub(super) null: OwnedFd,
}

/// Opens the nodes and proves that each is what its name says.
pub(super) fn collect() -> Result<Devices, RootfsError> {
    let mut nodes = Vec::with_capacity(NODES.len());
    let mut null = None;
    for (path, number) in NODES {
        let path = Path::new(path);
        let node = open_plain(path)?;
        let stat = fstat(&node).map_err(while_at(path, "stat"))?;
        let is_character = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
        if !is_character || (major(stat.st_rdev), minor(stat.st_rdev)) != (1, number) {
            return Err(while_at(path, "not the device of that name")(Errno::ENODEV));
        }
        nodes.push((path, detached(&node).map_err(while_at(path, "copy the mount"))?));
        null.get_or_insert(node);
    }
    let null = null.ok_or(Errno::ENODEV).map_err(while_at(Path::new("/dev/null"), "open"))?;
    Ok(Devices { nodes, null })
}

fn detached(node: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mount = clone_tree(node.as_fd(), Depth::One)?;
    // Read-only forbids chmod and the like; a device can be written to all the same.
    set_attributes(mount.as_fd(), attr::RDONLY | attr::NOSUID | attr::NOEXEC, Depth::One, None)?;
    Ok(mount)
}

/// Attaches nodes and makes links.
pub(super) fn attach_all(root: &Root, devices: &Devices) -> Result<(), RootfsError> {
    for (path, mount) in &devices.nodes {
        root.mount(path, Kind::File, mount)?;
    }
    for (link, target) in LINKS {
        root.link(Path::new(link), Path::new(target))?;
    }
    Ok(())
}

/// Hides the file `target` behind /dev/null.
pub(super) fn hide_file(null: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    attach(detached(null)?.as_fd(), target.as_fd())
}
