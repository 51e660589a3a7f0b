//! The image of the sandbox's pid 1 (init/, built by build.rs) and the memory that it is executed from.
//!
//! /proc/1/exe is then no file of the host, so nothing can be overwritten through it (CVE-2019-5736).

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

use super::rootfs;
use crate::sys::process::errno_of;

/// The program: static, two kilobytes.
pub(super) static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Executable, readable by nobody but root: exec of a file that the caller cannot read makes the process
/// undumpable from its first instruction (`would_dump`, fs/exec.c).
pub(super) const MODE: Mode = Mode::from_bits_truncate(0o111);

/// `MFD_EXEC` of linux/memfd.h (6.3): says that the file is meant to be executed. Older kernels refuse the flag.
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// A file with the image that has no name: a sealed memory file, or where the host forbids executable ones (`vm.memfd_noexec=2`), one
/// of a file system that is mounted nowhere.
///
/// # Errors
/// Those of memfd_create(2), write(2), fchmod(2), fcntl(2), fsopen(2) and fsmount(2).
pub(super) fn file() -> Result<OwnedFd, Errno> {
    match sealed()? {
        Some(file) => Ok(file),
        None => rootfs::unmounted_file(IMAGE, MODE).map_err(|error| error.errno),
    }
}

fn sealed() -> Result<Option<OwnedFd>, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create(c"sandbox-init", flags | MFD_EXEC) {
        Err(Errno::EINVAL) => memfd_create(c"sandbox-init", flags)?,
        Err(Errno::EACCES) => return Ok(None),
        made => made?,
    };
    let mut file = File::from(fd);
    file.write_all(IMAGE).map_err(|e| errno_of(&e))?;
    fchmod(file.as_fd(), MODE)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(Some(file.into()))
}

/// First half of init's messages: it watches.
pub(super) const READY: i32 = 1;
/// First half of init's messages: the workload ended; the second half is the wait status.
pub(super) const ENDED: i32 = 2;

/// Reads one 8-byte message of init; `None` when init ended without one.
pub(super) fn read_message(status: &OwnedFd) -> Result<Option<(i32, i32)>, Errno> {
    let mut bytes = [0; 8];
    loop {
        match nix::unistd::read(status.as_fd(), &mut bytes) {
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = bytes;
                return Ok(Some((i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h]))));
            }
            Ok(0) => return Ok(None),
            Ok(_) => return Err(Errno::EBADMSG), // eight bytes are written at once
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_a_small_static_elf() {
        assert_eq!(&IMAGE[..4], b"\x7fELF");
        assert!(IMAGE.len() < 16 << 10, "{} bytes", IMAGE.len());
        assert!(!IMAGE.windows(7).any(|window| window == b"/ld-lin"), "has a loader");
    }

    #[test]
    fn the_seals_hold() {
        let Some(fd) = sealed().unwrap() else { return };
        let seals = fcntl(fd.as_fd(), FcntlArg::F_GET_SEALS).unwrap();
        assert_eq!(seals, 0xF); // SEAL, SHRINK, GROW, WRITE
        assert_eq!(nix::unistd::write(&fd, b"x"), Err(Errno::EPERM));
        assert_eq!(nix::sys::stat::fstat(&fd).unwrap().st_mode & 0o7777, 0o111);
    }

    #[test]
    fn a_message_is_two_numbers() {
        let (read, write) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&write, &[2, 0, 0, 0, 0, 7, 0, 0]).unwrap();
        assert_eq!(read_message(&read), Ok(Some((ENDED, 7 << 8))));
        nix::unistd::write(&write, b"torn").unwrap();
        assert_eq!(read_message(&read), Err(Errno::EBADMSG));
        drop(write);
        assert_eq!(read_message(&read), Ok(None));
    }
}
