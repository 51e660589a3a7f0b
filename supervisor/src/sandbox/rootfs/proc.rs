//! /proc of the new pid namespace, owned by the host's user namespace, with its dangerous parts hidden or read-only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use super::devices::hide_file;
use super::place::{Kind, Root};
use super::{RootfsError, while_at};
use crate::sys::mount::{Depth, attach, attr, clone_tree, new_filesystem, set_attributes};

/// What a container never needs and what has leaked host state or taken orders: the masks of the OCI runtimes, and
/// kernel addresses, memory maps and logs besides. Absent ones are skipped: kernels differ.
const HIDDEN: [&str; 22] = [
    "acpi",
    "asound",
    "config.gz",
    "driver",
    "dynamic_debug",
    "interrupts",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
];

/// Kept, because programs read them; written by nobody.
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Mounts it. Other users' processes do not show, and neither does pid 1, which is not dumpable.
pub(super) fn mount(root: &Root, null: &OwnedFd) -> Result<(), RootfsError> {
    let at = Path::new("/proc");
    let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let proc =
        new_filesystem(c"proc", &[(c"hidepid", Some("ptraceable"))], attributes).map_err(while_at(at, "mount"))?;
    root.mount(at, Kind::Directory, &proc)?;
    if !crate::weaken::in_force("proc-masks") {
        return Ok(());
    }
    for name in HIDDEN {
        let path = at.join(name);
        if let Some(target) = present(root, &path)? {
            hide(&target, null).map_err(while_at(&path, "hide"))?;
        }
    }
    for name in READ_ONLY {
        let path = at.join(name);
        if let Some(target) = present(root, &path)? {
            freeze(&target).map_err(while_at(&path, "make it read-only"))?;
        }
    }
    Ok(())
}

/// Hides what stands at `inside` where a mount is left out: on the host nobody sees it behind that mount. Nothing to do where an outer
/// one was left out, too.
pub(super) fn cover(root: &Root, inside: &Path, null: &OwnedFd) -> Result<(), RootfsError> {
    if !crate::weaken::in_force("cover-left-out") {
        return Ok(());
    }
    match present(root, inside)? {
        Some(target) => hide(&target, null).map_err(while_at(inside, "hide what the mount lay over")),
        None => Ok(()),
    }
}

fn present(root: &Root, path: &Path) -> Result<Option<OwnedFd>, RootfsError> {
    match root.find(path) {
        Err(Errno::ENOENT) => Ok(None),
        found => found.map(Some).map_err(while_at(path, "open")),
    }
}

fn hide(target: &OwnedFd, null: &OwnedFd) -> Result<(), Errno> {
    if fstat(target)?.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
        return hide_file(null, target);
    }
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let options = [(c"size", Some("4096")), (c"nr_inodes", Some("2")), (c"mode", Some("0555"))];
    attach(new_filesystem(c"tmpfs", &options, attributes)?.as_fd(), target.as_fd())
}

fn freeze(target: &OwnedFd) -> Result<(), Errno> {
    let tree = clone_tree(target.as_fd(), Depth::Recursive)?;
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    set_attributes(tree.as_fd(), attributes, Depth::Recursive, None)?;
    attach(tree.as_fd(), target.as_fd())
}
