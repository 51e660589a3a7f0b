//! A text in sealed memory, handed from monitor to relay as a descriptor: the relay may open nothing, and what it reads
//! cannot change under its hands.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// `MFD_NOEXEC_SEAL` of linux/memfd.h (6.3): where `vm.memfd_noexec=2`, nothing else is given. Older kernels refuse it.
const MFD_NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);

fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL
}

/// Puts `text` into memory that nobody can change any more, this process included.
///
/// # Errors
/// Those of memfd_create(2), write(2) and fcntl(2).
pub fn seal(text: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create(c"intercept-policy", flags | MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(c"intercept-policy", flags)?,
        made => made?,
    };
    let mut file = File::from(fd);
    file.write_all(text)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file.into())
}

/// Reads what was sealed: exactly `bytes` of it, at most `bytes_max`.
///
/// # Errors
/// `InvalidData` for anything that is not sealed memory of this length; a descriptor that the sender could still write
/// would let it show one text to the judge and another one to the law.
pub fn open(sealed: OwnedFd, bytes: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let wrong = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    let file = File::from(sealed);
    let found = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(|_| wrong("not sealed memory"))?;
    if !SealFlag::from_bits_retain(found).contains(seals()) {
        return Err(wrong("memory that is not sealed"));
    }
    if bytes > bytes_max || file.metadata()?.len() != bytes {
        return Err(wrong("sealed memory of another length than was said, or too long"));
    }
    let mut text = vec![0; usize::try_from(bytes).map_err(|_| wrong("too long"))?];
    // The offset of the descriptor is the sender's: reads are by place.
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_whole_and_nobody_can_change_it() {
        let sealed = seal(b"tools: {}").unwrap();
        let mut writer = File::from(sealed.try_clone().unwrap());
        assert!(writer.write_all(b"x").is_err());
        assert!(writer.set_len(0).is_err());
        assert_eq!(open(sealed, 9, 9).unwrap(), b"tools: {}");
        assert_eq!(open(seal(b"").unwrap(), 0, 9).unwrap(), b"");
    }

    #[test]
    fn anything_else_is_refused() {
        let unsealed = || {
            let mut file = File::from(memfd_create(c"t", MFdFlags::MFD_ALLOW_SEALING).unwrap());
            file.write_all(b"tools: {}").unwrap();
            file
        };
        assert!(open(unsealed().into(), 9, 9).is_err(), "not sealed");
        let some = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW;
        let half = unsealed();
        fcntl(&half, FcntlArg::F_ADD_SEALS(some)).unwrap();
        assert!(open(half.into(), 9, 9).is_err(), "not sealed against shrinking, and more seals could come");
        let (pipe, _end) = nix::unistd::pipe().unwrap();
        assert!(open(pipe, 0, 9).is_err(), "a pipe");
        assert!(open(tempfile::tempfile().unwrap().into(), 0, 9).is_err(), "a file");
        for (bytes, bytes_max) in [(8, 9), (10, 10), (9, 8), (u64::MAX, u64::MAX)] {
            assert!(open(seal(b"tools: {}").unwrap(), bytes, bytes_max).is_err(), "{bytes} of {bytes_max}");
        }
    }
}
