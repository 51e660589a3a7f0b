//! Project quotas: which project a file belongs to (ioctl(2) `FS_IOC_FSGETXATTR`) and what it may hold (quotactl_fd(2)).

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `PRJQUOTA` of linux/quota.h.
const PROJECT: u32 = 2;
/// `Q_XGETQUOTA` of linux/dqblk_xfs.h. Every file system with quotas answers it; `Q_GETQUOTA` is refused on a read-only mount.
const GET_QUOTA: u32 = 0x5803;
/// `Q_XGETQSTATV`, likewise.
const GET_STATE: u32 = 0x5808;
/// What `Q_XGETQUOTA` counts blocks in, bytes.
const BLOCK_BYTES: u64 = 512;
/// `FS_QSTATV_VERSION1`.
const STATE_VERSION: i8 = 1;
/// `FS_QUOTA_PDQ_ENFD`: the limits of projects are enforced, not only counted.
const PROJECT_ENFORCED: u16 = 1 << 5;
/// `FS_XFLAG_PROJINHERIT`: what is made in this folder belongs to its project.
const INHERITED: u32 = 0x200;

/// `struct fsxattr` of linux/fs.h.
#[derive(Default)]
#[repr(C)]
pub struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `struct fs_quota_statv` of linux/dqblk_xfs.h, of which the first fields are read.
#[repr(C)]
struct State {
    version: i8,
    pad: u8,
    flags: u16,
    rest: [u32; 39],
}

/// `struct fs_disk_quota` of linux/dqblk_xfs.h.
#[derive(Default)]
#[repr(C)]
struct Quota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    /// In units of [`BLOCK_BYTES`].
    blocks_hard: u64,
    blocks_soft: u64,
    inodes_hard: u64,
    rest: [u64; 10],
}

const _: () = assert!(size_of::<FsXattr>() == 28 && size_of::<State>() == 160 && size_of::<Quota>() == 112);

mod ioctl {
    nix::ioctl_read!(fs_get_xattr, b'X', 31, super::FsXattr);
}

/// The project of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its number; 0 is none.
    pub id: u32,
    /// Of a folder: whether what is made in it belongs to the project.
    pub is_inherited: bool,
}

/// What a project may hold at most; zero is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardLimits {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, folders and all else that has an inode.
    pub inodes: u64,
}

/// The project that the open file or folder belongs to.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` of a file system without projects.
pub fn project_of(file: BorrowedFd<'_>) -> Result<Project, Errno> {
    let mut xattr = FsXattr::default();
    // SAFETY: the kernel writes one fsxattr, which `xattr` is by its layout and outlives the call.
    unsafe { ioctl::fs_get_xattr(file.as_raw_fd(), &raw mut xattr) }?;
    Ok(Project { id: xattr.projid, is_inherited: xattr.xflags & INHERITED != 0 })
}

/// Whether the file system of `file` holds projects to their limits.
///
/// # Errors
/// `ENOSYS` of a kernel before 5.14 or without quotas, and of a file system that has none.
pub fn is_enforced(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut state = State { version: STATE_VERSION, pad: 0, flags: 0, rest: [0; 39] };
    // SAFETY: the kernel writes one fs_quota_statv of version 1, which `state` is by its layout and outlives the call.
    unsafe { quotactl(file, GET_STATE, 0, (&raw mut state).cast()) }?;
    Ok(state.flags & PROJECT_ENFORCED != 0)
}

/// What the project `id` may hold on the file system of `file`. For those with CAP_SYS_ADMIN.
///
/// # Errors
/// Those of quotactl(2); `ESRCH` where projects are not counted, `ENOENT` where this one is not known.
pub fn hard_limits(file: BorrowedFd<'_>, id: u32) -> Result<HardLimits, Errno> {
    let mut quota = Quota::default();
    // SAFETY: the kernel writes one fs_disk_quota, which `quota` is by its layout and outlives the call.
    unsafe { quotactl(file, GET_QUOTA, id, (&raw mut quota).cast()) }?;
    Ok(HardLimits { bytes: quota.blocks_hard.saturating_mul(BLOCK_BYTES), inodes: quota.inodes_hard })
}

/// quotactl_fd(2) about projects.
///
/// # Safety
/// `answer` is what `command` writes to.
unsafe fn quotactl(file: BorrowedFd<'_>, command: u32, id: u32, answer: *mut libc::c_void) -> Result<(), Errno> {
    let command = (command << 8) | PROJECT;
    // SAFETY: the caller's; the other arguments are numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, id, answer) }).map(drop)
}
