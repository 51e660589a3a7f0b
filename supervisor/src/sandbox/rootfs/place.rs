//! Targets inside the new root, reached component by component from its descriptor.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::{RootfsError, while_at};
use crate::sys::mount;
use crate::sys::process::errno_of;

/// What is mounted where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// The new root while it is put together.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    /// Devices of our own file systems: mount points may be made there, never in somebody's folder.
    own: Vec<u64>,
}

/// Whether `path` is absolute and has no `.`, `..` or prefix.
pub(super) fn is_plain(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|component| matches!(component, Component::Normal(_)))
        && !path.as_os_str().to_string_lossy().split('/').any(|part| part == ".")
}

/// `O_PATH` open of one component of `directory`, through no link.
fn step(directory: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(directory, name, how)
}

impl Root {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let device = fstat(&fd)?.st_dev;
        Ok(Self { fd, own: vec![device] })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens what stands at `inside`; `ENOENT` when nothing does.
    pub(super) fn find(&self, inside: &Path) -> Result<OwnedFd, Errno> {
        step(self.fd(), inside.strip_prefix("/").map_err(|_| Errno::EINVAL)?)
    }

    /// Opens the target `inside`, making it and its parents where they are missing and ours to make.
    fn target(&self, inside: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let relative = inside.strip_prefix("/").map_err(|_| Errno::EINVAL)?;
        let mut here = self.fd.try_clone().map_err(|error| errno_of(&error))?;
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            let name = Path::new(component.as_os_str());
            here = match step(here.as_fd(), name) {
                Err(Errno::ENOENT) if self.own.contains(&fstat(&here)?.st_dev) => {
                    let last = components.peek().is_none();
                    if last && kind == Kind::File {
                        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                        drop(openat(&here, name, flags, Mode::from_bits_truncate(0o644))?);
                    } else {
                        mkdirat(&here, name, Mode::from_bits_truncate(0o755))?;
                    }
                    step(here.as_fd(), name)?
                }
                opened => opened?,
            };
        }
        // With O_PATH | O_NOFOLLOW a last component that is a link opens as the link itself.
        if fstat(&here)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits() {
            return Err(Errno::ELOOP);
        }
        Ok(here)
    }

    /// Makes the directory `inside` and its parents.
    pub(super) fn directory(&self, inside: &Path) -> Result<OwnedFd, RootfsError> {
        self.target(inside, Kind::Directory).map_err(while_at(inside, "make the directory"))
    }

    /// Makes the symbolic link `inside`.
    pub(super) fn link(&self, inside: &Path, target: &Path) -> Result<(), RootfsError> {
        let (parent, name) = split(inside)?;
        let parent = self.directory(parent)?;
        symlinkat(target, &parent, name).map_err(while_at(inside, "make the link"))
    }

    /// Writes the file `inside`, readable by all.
    pub(super) fn file(&self, inside: &Path, content: &str) -> Result<(), RootfsError> {
        let (parent, name) = split(inside)?;
        let parent = self.directory(parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let fd = openat(&parent, name, flags, Mode::from_bits_truncate(0o644)).map_err(while_at(inside, "create"))?;
        File::from(fd).write_all(content.as_bytes()).map_err(|e| while_at(inside, "write")(errno_of(&e)))
    }

    /// See [`super::NewRoot::hidden_file`].
    pub(super) fn hidden_file(&self, image: &[u8], mode: Mode) -> Result<OwnedFd, RootfsError> {
        let name = Path::new(".init"); // for a moment
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let fd = openat(self.fd(), name, flags, mode).map_err(while_at(name, "create"))?;
        let mut file = File::from(fd);
        file.write_all(image).map_err(|e| while_at(name, "write")(errno_of(&e)))?;
        fchmod(&file, mode).map_err(while_at(name, "fchmod"))?;
        drop(file); // execve of a file that is open for writing is ETXTBSY
        let program = step(self.fd(), name).map_err(while_at(name, "open"))?;
        unlinkat(self.fd(), name, UnlinkatFlags::NoRemoveDir).map_err(while_at(name, "unlink"))?;
        Ok(program)
    }

    /// Attaches a detached mount at `inside`.
    pub(super) fn mount(&self, inside: &Path, kind: Kind, tree: &OwnedFd) -> Result<(), RootfsError> {
        let target = self.target(inside, kind).map_err(while_at(inside, "make the mount point"))?;
        mount::attach(tree.as_fd(), target.as_fd()).map_err(while_at(inside, "attach"))
    }

    /// Attaches a file system of our own, in which mount points may be made, too.
    pub(super) fn mount_own(&mut self, inside: &Path, tree: &OwnedFd) -> Result<(), RootfsError> {
        self.mount(inside, Kind::Directory, tree)?;
        self.own.push(fstat(tree).map_err(while_at(inside, "stat"))?.st_dev);
        Ok(())
    }
}

fn split(inside: &Path) -> Result<(&Path, &Path), RootfsError> {
    match (inside.parent(), inside.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, Path::new(name))),
        _ => Err(while_at(inside, "name a file")(Errno::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_only() {
        for good in ["/opt", "/opt/a b/c", "/..x"] {
            assert!(is_plain(Path::new(good)), "{good}");
        }
        for bad in ["", "opt", "./opt", "/opt/../etc", "/..", "/opt/./x"] {
            assert!(!is_plain(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn mount_points_are_made_in_our_own_file_systems_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut root = Root::new(File::open(directory.path()).unwrap().into()).unwrap();
        root.target(Path::new("/a/b"), Kind::Directory).unwrap();
        root.target(Path::new("/a/c"), Kind::File).unwrap();
        assert!(directory.path().join("a/b").is_dir() && directory.path().join("a/c").is_file());
        root.own.clear();
        assert_eq!(root.target(Path::new("/a/new"), Kind::Directory).unwrap_err(), Errno::ENOENT);
        assert!(!directory.path().join("a/new").exists());
        assert!(root.target(Path::new("/a/b"), Kind::Directory).is_ok());
    }

    #[test]
    fn no_target_lies_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("away")).unwrap();
        let root = Root::new(File::open(directory.path()).unwrap().into()).unwrap();
        assert_eq!(root.target(Path::new("/away/x"), Kind::File).unwrap_err(), Errno::ENOTDIR);
        assert_eq!(root.target(Path::new("/away"), Kind::Directory).unwrap_err(), Errno::ELOOP);
        assert!(!Path::new("/etc/x").exists());
    }
}
