//! The mount API by descriptor (Linux 5.2; mount_setattr 5.12), so that no path is resolved twice.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

// linux/mount.h
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// Mount attributes (`MOUNT_ATTR_*` of linux/mount.h).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Owners are mapped through a user namespace (5.12).
    pub const IDMAP: u64 = 0x10_0000;
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Whether an operation covers the mounts below, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// And all below.
    Recursive,
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: every caller passes the result of a call that returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A detached copy of the mount at `source` (open_tree(2), `OPEN_TREE_CLONE`).
///
/// # Errors
/// Those of open_tree(2).
pub fn clone_tree(source: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, Errno> {
    let recursive = if depth == Depth::Recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the path is a NUL-terminated literal.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Sets attributes on a mount (mount_setattr(2)); `idmap` is the user namespace for [`attr::IDMAP`].
///
/// # Errors
/// Those of mount_setattr(2); `EINVAL` when the file system cannot be idmapped.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    depth: Depth,
    idmap: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attributes = MountAttr { set, ..MountAttr::default() };
    if let Some(userns) = idmap {
        attributes.set |= attr::IDMAP;
        attributes.userns_fd = u64::from(userns.as_raw_fd().cast_unsigned());
    }
    let recursive = if depth == Depth::Recursive { AT_RECURSIVE } else { 0 };
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | recursive;
    // SAFETY: the structure is whole, of the size passed, and outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// Attaches a detached mount on top of the file or directory `target` (move_mount(2)).
///
/// # Errors
/// Those of move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: both paths are NUL-terminated literals.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(done).map(drop)
}

/// A new, detached file system of kind `kind` (fsopen, fsconfig, fsmount) with `options` and mount attributes `set`.
/// An option without a value is a flag.
///
/// # Errors
/// Those of the three calls; `EINVAL` for an option that the kernel does not know.
pub fn new_filesystem(kind: &CStr, options: &[(&CStr, Option<&str>)], set: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: `kind` is NUL-terminated.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let configure = |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: key and value are NUL-terminated strings that outlive the call, or null where the command takes none.
        let done = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
        Errno::result(done).map(drop)
    };
    for (key, value) in options {
        match value {
            Some(text) => {
                let text = CString::new(*text).map_err(|_| Errno::EINVAL)?;
                configure(FSCONFIG_SET_STRING, key.as_ptr(), text.as_ptr())?;
            }
            None => configure(FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())?,
        }
    }
    configure(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
    // SAFETY: plain integers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, set) })
}
