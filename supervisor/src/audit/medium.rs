//! The three things that the log does to a file, as one trait so that tests can make each fail, and the blocks that are
//! kept allocated ahead of the end of the file.

use std::fs::File;
use std::io::{self, Write};

use nix::fcntl::{FallocateFlags, fallocate};

/// A file that only grows.
pub trait Medium {
    /// Appends some of `bytes`: write(2) on an `O_APPEND` descriptor.
    ///
    /// # Errors
    /// As write(2).
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// fdatasync(2).
    ///
    /// # Errors
    /// As fdatasync(2). A failure may have thrown the pages away: it is never retried.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Allocates blocks for `bytes` from `offset` without a change of the file's size: fallocate(2), `KEEP_SIZE`.
    ///
    /// # Errors
    /// As fallocate(2).
    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()>;
}

impl Medium for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        let too_big = |_| io::Error::from_raw_os_error(libc::EFBIG);
        let (offset, bytes) = (offset.try_into().map_err(too_big)?, bytes.try_into().map_err(too_big)?);
        loop {
            match fallocate(&*self, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, bytes) {
                Err(nix::errno::Errno::EINTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }
}

/// Appends all of `bytes`. On failure says how many of them are in the file.
///
/// # Errors
/// As write(2); EINTR is no failure.
pub(super) fn write_all(medium: &mut impl Medium, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match medium.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Blocks allocated ahead of the end of a file, so that its last words fit on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Bytes in the file.
    length: u64,
    /// Offset up to which blocks are allocated.
    allocated: u64,
    /// Bytes that stay allocated beyond every append.
    keep: u64,
    /// Bytes to allocate at a time.
    chunk: u64,
    /// Whether the file system can do it; NFS before 4.2 cannot.
    supported: bool,
}

impl Ahead {
    pub(super) const fn new(length: u64, keep: u64, chunk: u64) -> Self {
        Self { length, allocated: length, keep, chunk, supported: true }
    }

    /// Makes sure that `bytes` can be appended with the reserve still untouched after them.
    pub(super) fn ensure(&mut self, medium: &mut impl Medium, bytes: u64) -> io::Result<()> {
        let need = self.length + bytes + self.keep;
        if !self.supported || need <= self.allocated {
            return Ok(());
        }
        for target in [need + self.chunk, need] {
            match medium.allocate(self.allocated, target - self.allocated) {
                Ok(()) => {
                    self.allocated = target;
                    return Ok(());
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV)) => {
                    self.supported = false;
                    return Ok(());
                }
                Err(error) if target == need => return Err(error),
                Err(_) => {} // a whole chunk does not fit; what is needed may
            }
        }
        Ok(())
    }

    pub(super) const fn grew(&mut self, bytes: u64) {
        self.length += bytes;
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn supported(&self) -> bool {
        self.supported
    }
}

/// Gives back the blocks beyond the end of a file that no one writes any more: ftruncate(2) to the length it has. A hole
/// punched there frees nothing on ext4.
pub(super) fn release(file: &File) -> io::Result<()> {
    file.set_len(file.metadata()?.len())
}
