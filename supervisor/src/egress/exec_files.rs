//! The files of `process.exec` by the kernel's own numbers, which the LSM program on exec compares: the device of the file system's
//! superblock and the number of the inode. stat(2) may show others (btrfs, overlayfs), so they are read from /proc.
//!
//! On btrfs subvolumes have one device and numbers of their own, so two files may have the same: Landlock, which goes by the
//! inode itself, tells them apart.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use intercept_sandbox_abi::FileKey;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, major, minor};

use crate::sandbox::programs::Executables;

/// The mounts of this process, proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Why the files have no numbers.
#[derive(Debug, thiserror::Error)]
pub enum ExecFilesError {
    /// A listed program is not there any more.
    #[error("cannot open {}", path.display())]
    Open {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Errno,
    },
    /// A descriptor cannot be looked at.
    #[error("cannot look at a descriptor")]
    Descriptor(#[source] std::io::Error),
    /// /proc does not say where a file lies: before Linux 5.14, or on a mount that this process does not see.
    #[error("the kernel does not say where {} lies", .0.display())]
    Unknown(PathBuf),
}

/// The files and their numbers.
#[derive(Debug)]
pub struct ExecFiles {
    keys: Vec<FileKey>,
    /// As long as a file is held no other gets its number.
    held: Vec<OwnedFd>,
}

impl ExecFiles {
    /// Looks the listed programs up, and adds the sandbox's own pid 1.
    ///
    /// # Errors
    /// [`ExecFilesError`].
    pub fn of(programs: &Executables<'_>) -> Result<Self, ExecFilesError> {
        let mounts = fs::read_to_string(MOUNTS).map_err(ExecFilesError::Descriptor)?;
        let mut files = Self { keys: vec![own(programs.init)?], held: Vec::with_capacity(programs.listed.len()) };
        for program in programs.listed {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let opened = open(&program.path, flags, Mode::empty());
            let file = opened.map_err(|cause| ExecFilesError::Open { path: program.path.clone(), cause })?;
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
            let key = key_of(&info.map_err(ExecFilesError::Descriptor)?, &mounts);
            files.keys.push(key.ok_or_else(|| ExecFilesError::Unknown(program.path.clone()))?);
            files.held.push(file);
        }
        files.keys.sort_unstable();
        files.keys.dedup();
        Ok(files)
    }

    /// Their numbers, each once.
    #[must_use]
    pub fn keys(&self) -> &[FileKey] {
        &self.keys
    }

    /// What is to be held as long as the numbers are meant.
    #[must_use]
    pub fn into_held(self) -> Vec<OwnedFd> {
        self.held
    }
}

/// The numbers of a file of the kernel's own memory (tmpfs). It lies on a mount that nobody sees; stat(2) shows what the kernel has.
fn own(file: BorrowedFd<'_>) -> Result<FileKey, ExecFilesError> {
    let stat = fstat(file.as_fd()).map_err(|errno| ExecFilesError::Descriptor(errno.into()))?;
    let device = number(major(stat.st_dev), minor(stat.st_dev));
    let key = device.map(|device| FileKey { inode: stat.st_ino, device, zero: 0 });
    key.ok_or_else(|| ExecFilesError::Unknown("pid 1".into()))
}

/// `ino:` and `mnt_id:` of proc_pid_fdinfo(5), and the device of that mount.
fn key_of(info: &str, mounts: &str) -> Option<FileKey> {
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let (inode, mount) = (field("ino:")?, field("mnt_id:")?);
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        (words.next()?.parse() == Ok(mount)).then(|| words.nth(1))?
    });
    let (major, minor) = device?.split_once(':')?;
    Some(FileKey { inode, device: number(major.parse().ok()?, minor.parse().ok()?)?, zero: 0 })
}

/// `MKDEV` of linux/kdev_t.h: twelve bits and twenty.
fn number(major: u64, minor: u64) -> Option<u32> {
    let (major, minor) = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sandbox::programs::{Part, Program};

    const INFO: &str = "pos:\t0\nflags:\t012100000\nmnt_id:\t21\nino:\t4711\n";
    const MOUNTS: &str = "1 0 0:1 / / rw - rootfs none rw\n2 21 8:3 / /x rw - ext4 /dev/sda3 rw\n\
                          21 1 254:1048575 /sub /mnt rw shared:1 - btrfs /dev/vda rw\n";

    #[test]
    fn a_file_has_the_number_of_its_inode_and_of_its_mounts_device() {
        assert_eq!(key_of(INFO, MOUNTS), Some(FileKey { inode: 4711, device: 254 << 20 | 0xf_ffff, zero: 0 }));
    }

    #[test]
    fn what_proc_does_not_say_is_not_guessed() {
        for (from, to) in [("ino:\t4711", ""), ("mnt_id:\t21", ""), ("mnt_id:\t21", "mnt_id:\t3"), ("4711", "-1")] {
            assert!(INFO.contains(from));
            assert_eq!(key_of(&INFO.replace(from, to), MOUNTS), None, "{from}");
        }
        for device in ["254", "4096:0", "254:1048576", "x:y", "254:"] {
            assert_eq!(key_of(INFO, &MOUNTS.replace("254:1048575", device)), None, "{device}");
        }
        assert_eq!(key_of(INFO, "21"), None);
    }

    #[test]
    fn the_listed_programs_and_pid_1_each_once() {
        let program = |path: &str| Program { path: fs::canonicalize(path).unwrap(), part: Part::Listed };
        let init = fs::File::open("/proc/self/exe").unwrap();
        let listed = [program("/bin/sh"), program("/bin/true"), program("/bin/sh")];
        let files = ExecFiles::of(&Executables { listed: &listed, init: init.as_fd() }).unwrap();
        assert_eq!((files.keys().len(), files.held.len()), (3, 3));
        let gone = [Program { path: "/no/such/program".into(), part: Part::Listed }];
        let error = ExecFiles::of(&Executables { listed: &gone, init: init.as_fd() }).unwrap_err();
        assert!(
            matches!(&error, ExecFilesError::Open { path, .. } if path == Path::new("/no/such/program")),
            "{error}"
        );
    }
}
