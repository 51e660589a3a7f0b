//! The view: a private, read-only root with what the plan names and the little that programs need.
//!
//! Runs in the child, as root, in its own mount namespace and before the user namespace, so that all of it is locked
//! afterwards (mount_namespaces(7)). Every source is opened once, by descriptor, through no symbolic link; every mount
//! is detached until it has its attributes; every target is reached from the root's descriptor.

mod base;
mod below;
mod devices;
mod doors;
mod etc;
mod place;
mod proc;
mod readable;
mod source;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use super::plan::FilesystemPlan;
use super::{Answer, Plan};
use crate::bounds::{ROOT_BYTES_MAX, SHM_BYTES_MAX, TMPFS_INODES_MAX};
use crate::sys::mount::{Depth, attach, attr, new_filesystem, set_attributes};
pub(super) use base::SETTINGS;
pub(super) use etc::{HOST_NAME, INSIDE_ID};
use place::{Kind, Root};
pub use source::{countable, unreadable};
pub(super) use source::{open_plain, through};

/// Where the new root is put together; it hides this directory of the host's in our mount namespace alone.
const STAGE: &str = "/tmp";

/// Which path could not be shown, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {act}", path.display())]
pub struct RootfsError {
    /// The path, inside or outside as `act` says.
    pub path: PathBuf,
    /// What was tried.
    pub act: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

/// An error about `path` while doing `act`.
fn while_at<'a>(path: &'a Path, act: &'static str) -> impl FnOnce(Errno) -> RootfsError + 'a {
    move |errno| RootfsError { path: path.to_owned(), act, errno }
}

/// The view, complete but not entered.
#[derive(Debug)]
pub(super) struct NewRoot {
    root: Root,
    gaps: readable::Gaps,
}

/// Refuses what no policy may show: the root itself and the kernel's file systems, inside or as a source.
///
/// # Errors
/// The first such path.
pub fn refuse_reserved(plan: &FilesystemPlan) -> Result<(), RootfsError> {
    let shown = plan.read.iter();
    let written = plan.write.iter().flat_map(|folder| [&folder.inside, &folder.source]);
    for path in shown.chain(written) {
        let reserved = ["/proc", "/sys", "/dev"].iter().any(|tree| path.starts_with(tree));
        if reserved || path == Path::new("/") {
            return Err(while_at(path, "reserved, cannot be shown")(Errno::EPERM));
        }
        if !place::is_plain(path) {
            return Err(while_at(path, "not an absolute path without . and ..")(Errno::EINVAL));
        }
    }
    Ok(())
}

/// Builds the view. The first of `idmaps` is for what is only to be read, the others belong to `plan.filesystem.write`.
///
/// # Errors
/// The path that could not be shown.
pub(super) fn build(plan: &Plan, idmaps: &[OwnedFd]) -> Result<NewRoot, RootfsError> {
    refuse_reserved(&plan.filesystem)?;
    // All sources first: the stage hides a directory of the host.
    let (read, write) = idmaps.split_first().ok_or(Errno::EINVAL).map_err(while_at(Path::new("/"), "no owner map"))?;
    let mut gaps = readable::Gaps::default();
    let mut shown = source::collect(&plan.filesystem, read, write, &mut gaps)?;
    let base = base::collect(read)?;
    let devices = devices::collect()?;
    let mut root = stage()?;
    for (link, target) in &base.links {
        root.link(link, target)?;
    }
    etc::generate(&root, &plan.environment)?;
    let attributes = attr::NOSUID | attr::NODEV | source::unless_listed(&plan.filesystem);
    let tmp = tmpfs(plan.filesystem.tmp_bytes, attributes).map_err(while_at(Path::new("/tmp"), "tmpfs"))?;
    root.mount_own(Path::new("/tmp"), &tmp)?;
    let shm = tmpfs(SHM_BYTES_MAX, attr::NOSUID | attr::NODEV | attr::NOEXEC)
        .map_err(while_at(Path::new("/dev/shm"), "tmpfs"))?;
    root.mount_own(Path::new("/dev/shm"), &shm)?;
    devices::attach_all(&root, &devices)?;
    shown.extend(base.mounts);
    // Parents before children.
    shown.sort_by(|a, b| a.inside.cmp(&b.inside));
    for source in &shown {
        root.mount(&source.inside, source.kind, &source.mount)?;
        // At once, so that what is shown later in their place lies over them.
        for (inside, mount) in &source.below {
            match mount {
                Some(mount) => root.mount(inside, Kind::Directory, mount)?,
                None => proc::cover(&root, inside, &devices.null)?,
            }
        }
    }
    proc::mount(&root, &devices.null)?;
    Ok(NewRoot { root, gaps })
}

/// A tmpfs that everyone may write, as /tmp is.
fn tmpfs(bytes: u64, attributes: u64) -> Result<OwnedFd, Errno> {
    let (size, inodes) = (bytes.to_string(), TMPFS_INODES_MAX.to_string());
    let options = [(c"size", Some(size.as_str())), (c"nr_inodes", Some(inodes.as_str())), (c"mode", Some("1777"))];
    new_filesystem(c"tmpfs", &options, attributes)
}

fn stage() -> Result<Root, RootfsError> {
    let at = Path::new(STAGE);
    let root = detached(at)?;
    let target = source::open_plain(at)?;
    attach(root.fd(), target.as_fd()).map_err(while_at(at, "attach the new root"))?;
    Ok(root)
}

/// An empty root that is mounted nowhere yet; `at` is for messages.
fn detached(at: &Path) -> Result<Root, RootfsError> {
    let size = ROOT_BYTES_MAX.to_string();
    let options = [(c"size", Some(size.as_str())), (c"mode", Some("0755"))];
    let root = new_filesystem(c"tmpfs", &options, attr::NOSUID | attr::NODEV).map_err(while_at(at, "new root"))?;
    Root::new(root).map_err(while_at(at, "stat of the new root"))
}

/// `image` as an executable file without a name, on a file system of its own that is mounted nowhere. For the caller's namespaces: needs
/// root.
///
/// # Errors
/// Those of mounting, creating, writing and reopening it.
pub(super) fn unmounted_file(image: &[u8], mode: Mode) -> Result<OwnedFd, RootfsError> {
    detached(Path::new("/"))?.hidden_file(image, mode)
}

impl NewRoot {
    /// Puts `image` into the root as an executable file without a name.
    ///
    /// # Errors
    /// Those of creating, writing and reopening it.
    pub(super) fn hidden_file(&self, image: &[u8], mode: Mode) -> Result<OwnedFd, RootfsError> {
        self.root.hidden_file(image, mode)
    }

    /// What the view says of itself.
    pub(super) fn answer(&self, plan: &FilesystemPlan) -> Answer {
        match (self.gaps.text(), plan.answer()) {
            (Some(gap), Answer::Partial(more)) => Answer::Partial(format!("{gap}; {more}")),
            (Some(gap), Answer::Enforced) => Answer::Partial(gap),
            (_, answer) => answer,
        }
    }

    /// Makes it the root of this process and drops the old one.
    ///
    /// # Errors
    /// Those of pivot_root(2), umount2(2) and mount_setattr(2), as paths of the view.
    pub(super) fn enter(self) -> Result<(), RootfsError> {
        let top = Path::new("/");
        if crate::weaken::in_force("read-only-root") {
            set_attributes(self.root.fd(), attr::RDONLY, Depth::One, None).map_err(while_at(top, "read-only"))?;
        }
        nix::unistd::fchdir(self.root.fd()).map_err(while_at(top, "fchdir"))?;
        // The old root then lies on top of the new one at "." and is detached from there: pivot_root(2), NOTES.
        nix::unistd::pivot_root(".", ".").map_err(while_at(top, "pivot_root"))?;
        umount2(".", MntFlags::MNT_DETACH).map_err(while_at(top, "detach the host's root"))?;
        nix::unistd::chdir("/").map_err(while_at(top, "chdir"))
    }
}
