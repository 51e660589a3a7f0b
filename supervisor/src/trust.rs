//! Who called, and which files count as root's.
//!
//! A policy decides what untrusted code may do, so only root may be able to change it, whoever calls us: sudo, doas,
//! pkexec and wrappers differ in what they leave in the environment, the owner of a file does not.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{
    BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, SECURITYFS_MAGIC,
    TRACEFS_MAGIC, fstatfs,
};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::bounds::POLICY_BYTES_MAX;

/// Most symbolic links followed on the way to one file; the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// File systems whose files are the kernel's words (magic.h). What else it keeps in memory, tmpfs and ramfs, holds files as a disk does.
const MADE: [FsType; 9] = [
    PROC_SUPER_MAGIC,
    FsType(0x6265_6572), // sysfs
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    TRACEFS_MAGIC,
    SECURITYFS_MAGIC,
    BPF_FS_MAGIC,
    FsType(0x6265_6570), // configfs
];

/// Why a file is not root's.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A system call failed.
    #[error("{path}: {errno}")]
    Io {
        /// The component it failed at.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// Someone other than root owns a component.
    #[error("{path} belongs to uid {uid}, not to root")]
    Owner {
        /// The component.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Group or others may write a component.
    #[error("{path} can be written by others (mode {mode:04o})")]
    Writable {
        /// The component.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a regular file at the end, or not a directory on the way.
    #[error("{path} is not a {expected}")]
    Kind {
        /// The component.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// On a mount that a user could have made.
    #[error("{path} stands on a nosuid mount, whose owners a user can choose; put it on the system's own file system")]
    Mount {
        /// The file.
        path: PathBuf,
    },
    /// On a file system whose files the kernel writes.
    #[error(
        "{path} is a file of the kernel's, and users choose what stands in some of these; put the policy on a disk"
    )]
    Made {
        /// The file.
        path: PathBuf,
    },
    /// More than 40 symbolic links.
    #[error("{path}: too many symbolic links")]
    Links {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Any of these, or no policy at all, below a directory that others than root may not search: a caller behind sudo is not told which.
    #[error(
        "{path} is not there, not root's alone, or no policy that loads; root alone is told which, for it stands below a \
         directory that others may not search"
    )]
    Unseen {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Longer than the bound.
    #[error("{path} is longer than {max} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound, bytes.
        max: u64,
    },
}

/// A file that only root can change, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedFile {
    /// Where it really stands: no symbolic link left in it.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The caller could not know that it is there: what is wrong with it is [`TrustError::Unseen`], too.
    pub is_unseen: bool,
}

/// Reads a policy: a regular file that root owns and no one else can write, in directories for which the same holds
/// (a sticky parent such as /tmp is fine). What was checked is what is read: every component is opened once, by
/// descriptor, and symbolic links are followed by hand, so that nothing can be swapped in between.
///
/// # Errors
/// [`TrustError`] names the component and what is wrong with it.
pub fn read_policy(path: &Path, caller: &Caller) -> Result<TrustedFile, TrustError> {
    read_file(path, caller, POLICY_BYTES_MAX)
}

/// Reads a file of at most `bytes_max` bytes that belongs to a policy, under the rules of [`read_policy`].
///
/// A caller behind sudo names any path of root's, so he hears what stands below a directory that he may not search in one
/// form only, whatever it is. Real root is told all, and so is who has no more rights than his own.
///
/// # Errors
/// As [`read_policy`].
pub fn read_file(path: &Path, caller: &Caller, bytes_max: u64) -> Result<TrustedFile, TrustError> {
    let mut hidden = false;
    let read = read_found(path, caller, bytes_max, &mut hidden);
    if !hidden || caller.uid != 0 || caller.is_real_root() || !crate::weaken::in_force("policy-sight") {
        return read;
    }
    match read {
        Ok(file) => Ok(TrustedFile { is_unseen: true, ..file }),
        Err(_) => Err(TrustError::Unseen { path: path.to_owned() }),
    }
}

fn read_found(path: &Path, caller: &Caller, bytes_max: u64, hidden: &mut bool) -> Result<TrustedFile, TrustError> {
    let (file, path) = open_trusted(path, hidden)?;
    if !caller.is_real_root() && crate::weaken::in_force("policy-trust") {
        refuse_user_mount(&file, &path)?;
        refuse_made(&file, &path)?;
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io(&path, Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
    if bytes.len() as u64 > bytes_max {
        return Err(TrustError::TooLong { path, max: bytes_max });
    }
    Ok(TrustedFile { path, bytes, is_unseen: false })
}

/// Checks that `path` is a directory that only root can change, in such directories. It may not be sticky and open to others, as
/// those on the way may: what stands in it is to be root's.
///
/// # Errors
/// As [`read_policy`].
pub fn check_directory(path: &Path) -> Result<OwnedFd, TrustError> {
    let (fd, real) = walk(path, &mut false)?;
    let stat = stat_of(&fd, &real)?;
    if kind(&stat) != SFlag::S_IFDIR {
        return Err(TrustError::Kind { path: real, expected: "directory" });
    }
    if stat.st_mode & 0o022 != 0 && crate::weaken::in_force("sticky-directories") {
        return Err(TrustError::Writable { path: real, mode: stat.st_mode & 0o7777 });
    }
    Ok(fd)
}

/// A file system that a user may mount (udisks, FUSE, fstab's `user`) can claim that root owns its files. Such mounts are
/// always nosuid (mount(8)), so behind sudo a policy on a nosuid mount counts as the user's.
fn refuse_user_mount(file: &OwnedFd, path: &Path) -> Result<(), TrustError> {
    let mount = fstatvfs(file).map_err(|errno| io(path, errno))?;
    if mount.flags().contains(FsFlags::ST_NOSUID) {
        return Err(TrustError::Mount { path: path.to_owned() });
    }
    Ok(())
}

/// Root owns what the kernel makes up, and a user may choose its text: the name of a program that he starts with root's rights
/// stands in /proc/PID/comm, which is root's then, and is a policy if he calls it `default: allow`.
fn refuse_made(file: &OwnedFd, path: &Path) -> Result<(), TrustError> {
    let kind = fstatfs(file).map_err(|errno| io(path, errno))?.filesystem_type();
    if MADE.contains(&kind) && crate::weaken::in_force("policy-made") {
        return Err(TrustError::Made { path: path.to_owned() });
    }
    Ok(())
}

fn open_trusted(path: &Path, hidden: &mut bool) -> Result<(OwnedFd, PathBuf), TrustError> {
    let (handle, real) = walk(path, hidden)?;
    let stat = stat_of(&handle, &real)?;
    if kind(&stat) != SFlag::S_IFREG {
        return Err(TrustError::Kind { path: real, expected: "regular file" });
    }
    // The O_PATH handle pins the inode; this opens that inode, not the name.
    let through = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle)));
    let file = open(&through, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| io(&real, errno))?;
    Ok((file, real))
}

/// Walks to `path` component by component; every one on the way is judged. `hidden` once a name was looked for in a directory
/// that others may not search.
fn walk(path: &Path, hidden: &mut bool) -> Result<(OwnedFd, PathBuf), TrustError> {
    let root = || {
        open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| io(Path::new("/"), errno))
    };
    let absolute = std::path::absolute(path).map_err(|_| io(path, Errno::ENOENT))?;
    let mut todo: Vec<OsString> = components(&absolute);
    let mut stack: Vec<(OwnedFd, PathBuf)> = vec![(root()?, PathBuf::from("/"))];
    judge(&stack[0].0, &stack[0].1)?;
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let (parent, parent_path) = stack.last().expect("the root is never popped");
        let here = parent_path.join(&name);
        *hidden |= stat_of(parent, parent_path)?.st_mode & 0o001 == 0;
        let fd = openat(
            parent.as_fd(),
            name.as_os_str(),
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| io(&here, errno))?;
        let stat = stat_of(&fd, &here)?;
        if kind(&stat) == SFlag::S_IFLNK {
            links += 1;
            if links > LINKS_MAX {
                return Err(TrustError::Links { path: path.to_owned() });
            }
            check_owner(&stat, &here)?;
            let target = readlinkat(fd.as_fd(), "").map_err(|errno| io(&here, errno))?;
            let target = Path::new(&target);
            if target.is_absolute() {
                stack.truncate(1);
            }
            todo.extend(components(target));
            continue;
        }
        judge(&fd, &here)?;
        if !todo.is_empty() && kind(&stat) != SFlag::S_IFDIR {
            return Err(TrustError::Kind { path: here, expected: "directory" });
        }
        stack.push((fd, here));
    }
    Ok(stack.pop().expect("the root is never popped"))
}

/// The components of a path, last first; `..` is kept, the root and `.` are not.
pub(crate) fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn judge(fd: &OwnedFd, path: &Path) -> Result<(), TrustError> {
    if !crate::weaken::in_force("policy-trust") {
        return Ok(());
    }
    let stat = stat_of(fd, path)?;
    check_owner(&stat, path)?;
    let sticky_directory = kind(&stat) == SFlag::S_IFDIR && stat.st_mode & nix::libc::S_ISVTX != 0;
    if stat.st_mode & 0o022 != 0 && !sticky_directory {
        return Err(TrustError::Writable { path: path.to_owned(), mode: stat.st_mode & 0o7777 });
    }
    Ok(())
}

fn check_owner(stat: &FileStat, path: &Path) -> Result<(), TrustError> {
    if stat.st_uid != 0 && crate::weaken::in_force("policy-trust") {
        return Err(TrustError::Owner { path: path.to_owned(), uid: stat.st_uid });
    }
    Ok(())
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn stat_of(fd: &OwnedFd, path: &Path) -> Result<FileStat, TrustError> {
    fstat(fd).map_err(|errno| io(path, errno))
}

fn io(path: &Path, errno: Errno) -> TrustError {
    TrustError::Io { path: path.to_owned(), errno }
}

/// Who started us, as far as the kernel and the environment tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Our real uid.
    pub uid: u32,
    /// The user behind sudo, doas or pkexec, where one can be told.
    pub behind: Option<u32>,
    /// `/proc/self/loginuid`; none when unset.
    pub login_uid: Option<u32>,
    /// A wrapper variable is set, whatever it says.
    pub wrapped: bool,
}

impl Caller {
    /// Reads the caller from our real uid, the login uid and the caller's environment.
    #[must_use]
    pub fn discover(environment: &[(OsString, OsString)]) -> Self {
        let login_uid = std::fs::read_to_string("/proc/self/loginuid").ok();
        Self::judge(nix::unistd::getuid().as_raw(), login_uid.as_deref(), environment)
    }

    /// The pure part of [`Caller::discover`].
    #[must_use]
    pub fn judge(uid: u32, login_uid: Option<&str>, environment: &[(OsString, OsString)]) -> Self {
        let variable = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let number = |name: &str| variable(name).and_then(|text| text.to_str()?.parse::<u32>().ok());
        let wrapped = ["SUDO_UID", "SUDO_USER", "DOAS_USER", "PKEXEC_UID"].iter().any(|name| variable(name).is_some());
        let login_uid = login_uid.and_then(|text| text.trim().parse::<u32>().ok()).filter(|uid| *uid != u32::MAX);
        let behind = number("SUDO_UID").or_else(|| number("PKEXEC_UID")).or(login_uid.filter(|uid| *uid != 0));
        Self { uid, behind, login_uid, wrapped }
    }

    /// Whether this is root without a user behind it: only then do loosening flags need no `cli.allow`.
    #[must_use]
    pub fn is_real_root(&self) -> bool {
        self.uid == 0 && !self.wrapped && self.login_uid.is_none_or(|uid| uid == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(key, value)| (OsString::from(key), OsString::from(value))).collect()
    }

    #[test]
    fn real_root_is_root_with_no_one_behind() {
        assert!(Caller::judge(0, None, &[]).is_real_root());
        assert!(Caller::judge(0, Some("4294967295\n"), &[]).is_real_root());
        assert!(Caller::judge(0, Some("0"), &[]).is_real_root());
        assert!(!Caller::judge(0, Some("1000"), &[]).is_real_root());
        assert!(!Caller::judge(1000, None, &[]).is_real_root());
        for name in ["SUDO_UID", "SUDO_USER", "DOAS_USER", "PKEXEC_UID"] {
            assert!(!Caller::judge(0, None, &environment(&[(name, "0")])).is_real_root(), "{name}");
        }
    }

    #[test]
    fn the_user_behind_sudo_is_known() {
        assert_eq!(Caller::judge(0, None, &environment(&[("SUDO_UID", "1000")])).behind, Some(1000));
        assert_eq!(Caller::judge(0, Some("1001"), &[]).behind, Some(1001));
        assert_eq!(Caller::judge(0, None, &environment(&[("SUDO_UID", "nonsense")])).behind, None);
    }

    #[test]
    fn a_file_that_is_not_roots_is_refused() {
        // Unprivileged or not, the file below belongs to the user or stands in a directory that the check names.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        std::fs::write(&file, "rules: []").unwrap();
        let mut permissions = std::fs::metadata(&file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o666);
        std::fs::set_permissions(&file, permissions).unwrap();
        match read_policy(&file, &Caller::judge(0, None, &[])) {
            Err(TrustError::Owner { .. } | TrustError::Writable { .. }) => {}
            other => panic!("accepted: {other:?}"),
        }
    }

    #[test]
    fn components_come_last_first() {
        assert_eq!(components(Path::new("/a/../b/./c")), ["c", "b", "..", "a"]);
    }
}
