//! The five byte streams of a session: reads after poll(2) said so, writes that never block the other direction.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{read, write};

/// Largest single read; a pipe holds 64 KiB by default (pipe(7)).
const READ_BYTES: usize = 64 << 10;

/// The client's three streams: our own stdin and stdout, and stderr for people.
///
/// # Errors
/// As [`Sink::new`].
pub fn client_streams() -> io::Result<(Source, Sink, Sink)> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    Ok((Source::new(stdin), Sink::new(stdout)?, Sink::new(stderr)?))
}

/// A stream that is read only when poll(2) reports it readable, so that a shared descriptor needs no O_NONBLOCK.
#[derive(Debug)]
pub struct Source {
    fd: Option<OwnedFd>,
    buffer: Box<[u8]>,
    /// What was read and put back, still to be handled.
    kept: Range<usize>,
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Nothing now.
    Nothing,
    /// The other end is closed; the source is closed too.
    End,
}

impl Source {
    /// Takes over `fd`.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), buffer: vec![0; READ_BYTES].into_boxed_slice(), kept: 0..0 }
    }

    /// Whether bytes were put back: there is something to handle, whatever poll(2) says.
    #[must_use]
    pub fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Puts the last `count` bytes of the last read back: the next read brings them again. A turn handles so many lines and
    /// no more, so that one side cannot keep us from hearing the others.
    pub fn put_back(&mut self, count: usize) {
        self.kept.start = self.kept.end.saturating_sub(count);
    }

    /// The descriptor to poll; none when closed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Reads once. Call it only after poll(2) reported POLLIN or POLLHUP.
    ///
    /// # Errors
    /// Whatever read(2) says besides "try again"; EIO of a vanished terminal is an end.
    pub fn read(&mut self) -> io::Result<ReadStep<'_>> {
        if self.has_kept() {
            let kept = self.kept.clone();
            self.kept.start = self.kept.end;
            return Ok(ReadStep::Bytes(&self.buffer[kept]));
        }
        let Some(fd) = &self.fd else { return Ok(ReadStep::End) };
        match read(fd, &mut self.buffer) {
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => {
                self.fd = None;
                Ok(ReadStep::End)
            }
            Ok(count) => {
                self.kept = count..count;
                Ok(ReadStep::Bytes(&self.buffer[..count]))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(ReadStep::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// How a sink avoids blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkKind {
    /// The description is ours and non-blocking.
    NonBlocking,
    /// MSG_DONTWAIT on each send.
    Socket,
    /// A file or a terminal: its writes are waited for.
    Blocking,
}

/// A stream that is written as far as it takes bytes; the rest waits here.
#[derive(Debug)]
pub struct Sink {
    fd: Option<OwnedFd>,
    kind: SinkKind,
    waiting: VecDeque<u8>,
}

impl Sink {
    /// Takes over `fd`. A pipe is opened again through /proc, so that O_NONBLOCK stays ours and does not reach whoever
    /// shares the description with us. Root only: called by the monitor before it forks the relay.
    ///
    /// # Errors
    /// When the descriptor cannot be examined or opened again.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
        if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            // Opened again by root, it could be written where the caller himself may only read.
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "an output stream is not open for writing"));
        }
        let stat = fstat(&fd)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        let (fd, kind) = match kind {
            SFlag::S_IFSOCK => (fd, SinkKind::Socket),
            SFlag::S_IFIFO => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let again = std::fs::OpenOptions::new()
                    .write(true)
                    .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
                    .open(path)?;
                (again.into(), SinkKind::NonBlocking)
            }
            _ => (fd, SinkKind::Blocking),
        };
        Ok(Self { fd: Some(fd), kind, waiting: VecDeque::new() })
    }

    /// The descriptor to poll for writing; none when nothing waits or it is closed.
    #[must_use]
    pub fn fd_if_waiting(&self) -> Option<BorrowedFd<'_>> {
        if self.waiting.is_empty() { None } else { self.fd.as_ref().map(AsFd::as_fd) }
    }

    /// The descriptor itself.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Bytes that wait for the reader.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the stream still takes bytes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// Writes `bytes` after what waits. A reader that is gone closes the sink; its bytes are dropped.
    ///
    /// # Errors
    /// Whatever write(2) says besides "try again" and "no reader".
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let taken = if self.waiting.is_empty() { self.write_now(bytes)? } else { 0 };
        if self.is_open() {
            self.waiting.extend(&bytes[taken..]);
        }
        Ok(())
    }

    /// Writes what waits, as far as the reader takes it.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        while self.is_open() && !self.waiting.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            let taken = self.write_now(waiting.as_slices().0)?;
            waiting.drain(..taken);
            let stuck = taken == 0;
            if self.is_open() {
                self.waiting = waiting;
            }
            if stuck {
                break;
            }
        }
        Ok(())
    }

    /// Closes the stream: the reader sees its end.
    pub fn close(&mut self) {
        self.fd = None;
        self.waiting = VecDeque::new();
    }

    /// Writes until the reader takes no more; says how many bytes went.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            let Some(fd) = &self.fd else { break };
            let rest = &bytes[taken..];
            let step = match self.kind {
                SinkKind::Socket => send(fd.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                SinkKind::NonBlocking | SinkKind::Blocking => write(fd, rest),
            };
            match step {
                Ok(count) => taken += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.close();
                    return Ok(bytes.len());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::unistd::pipe2;

    use super::*;

    #[test]
    fn a_full_pipe_keeps_the_rest_and_loses_nothing() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut sink = Sink::new(writer).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        sink.write(&bytes).unwrap();
        assert!(sink.waiting_bytes() > 900_000, "a pipe holds 64 KiB");
        let mut source = Source::new(reader);
        let mut read_back = Vec::new();
        while read_back.len() < bytes.len() {
            match source.read().unwrap() {
                ReadStep::Bytes(part) => read_back.extend_from_slice(part),
                other => panic!("{other:?}"),
            }
            sink.flush().unwrap();
        }
        assert_eq!(read_back, bytes);
        assert_eq!(sink.waiting_bytes(), 0);
        sink.close();
        assert_eq!(source.read().unwrap(), ReadStep::End);
        assert!(source.fd().is_none());
    }

    #[test]
    fn o_nonblock_does_not_reach_who_shares_the_pipe() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let shared = writer.try_clone().unwrap();
        let mut sink = Sink::new(writer).unwrap();
        let flags = nix::fcntl::fcntl(&shared, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
        sink.write(b"x").unwrap();
        let mut byte = [0];
        std::fs::File::from(reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_descriptor_that_the_caller_may_only_read_is_not_opened_for_writing() {
        let (reader, _writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        assert_eq!(Sink::new(reader).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn what_is_put_back_comes_again() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut source = Source::new(reader);
        nix::unistd::write(&writer, b"abcdef").unwrap();
        drop(writer);
        assert_eq!(source.read().unwrap(), ReadStep::Bytes(b"abcdef"));
        source.put_back(4);
        assert!(source.has_kept());
        assert_eq!(source.read().unwrap(), ReadStep::Bytes(b"cdef"));
        source.put_back(1);
        assert_eq!(source.read().unwrap(), ReadStep::Bytes(b"f"));
        assert!(!source.has_kept());
        assert_eq!(source.read().unwrap(), ReadStep::End);
    }

    #[test]
    fn a_reader_that_is_gone_closes_the_sink() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut sink = Sink::new(writer).unwrap();
        drop(reader);
        sink.write(b"lost").unwrap();
        assert!(!sink.is_open());
        assert_eq!(sink.waiting_bytes(), 0);
    }
}
