//! The five byte streams of a session: reads after poll(2) said so, writes that never block the other direction.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, IoSlice, IsTerminal};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendmsg};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};
use nix::sys::uio::writev;
use nix::unistd::read;

use crate::weaken;
use crate::wire::frame::OwnedLine;
use crate::wire::jsonrpc::HandOver;

/// Small writes that wait are gathered in chunks of this size, bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Most chunks of one write(2).
const CHUNKS_A_WRITE: usize = 8;

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
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// So many bytes; at least one.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The other end is closed; the source is closed too.
    End,
}

impl Source {
    /// Takes over `fd`.
    #[must_use]
    pub const fn new(fd: OwnedFd) -> Self {
        Self { fd: Some(fd) }
    }

    /// The descriptor to poll; none when closed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Reads once, into `room`, which is not empty. Call it only after poll(2) reported POLLIN or POLLHUP.
    ///
    /// # Errors
    /// Whatever read(2) says besides "try again"; EIO of a vanished terminal is an end.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<ReadStep> {
        let Some(fd) = &self.fd else { return Ok(ReadStep::End) };
        match read(fd, room) {
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => {
                self.fd = None;
                Ok(ReadStep::End)
            }
            Ok(count) => Ok(ReadStep::Bytes(count)),
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
    /// A file: its writes are waited for.
    Blocking,
}

/// A stream that is written as far as it takes bytes; the rest waits here.
#[derive(Debug)]
pub struct Sink {
    fd: Option<OwnedFd>,
    kind: SinkKind,
    /// No chunk is empty.
    waiting: VecDeque<Chunk>,
    waiting_bytes: usize,
}

/// Bytes that wait. A large line's buffer is shared by its parts and freed when the last of them is written.
#[derive(Debug)]
struct Chunk {
    buffer: Rc<Vec<u8>>,
    part: Range<usize>,
}

impl Chunk {
    fn new(buffer: Vec<u8>) -> Self {
        Self { part: 0..buffer.len(), buffer: Rc::new(buffer) }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.part.clone()]
    }

    /// Takes more bytes in, if it is a small one of its own.
    fn append(&mut self, bytes: &[u8]) -> bool {
        match Rc::get_mut(&mut self.buffer) {
            Some(buffer) if self.part.end == buffer.len() && buffer.len() + bytes.len() <= CHUNK_BYTES => {
                buffer.extend_from_slice(bytes);
                self.part.end = buffer.len();
                true
            }
            _ => false,
        }
    }
}

/// What an output stream is.
pub enum Output {
    /// A pipe or a terminal, opened again through /proc: O_NONBLOCK is ours and does not reach whoever shares the description with us.
    OpenedAgain(OwnedFd),
    /// A socket.
    Socket,
    /// A file, or one of the devices that take everything at once.
    AsItIs,
    /// Whoever gave it to us may be able to keep a write(2) of ours waiting, and O_NONBLOCK is his as well: a terminal that cannot be
    /// opened again (its keeper can lock it for that long, TIOCSPTLCK of ioctl_tty(2)), a file of FUSE, an eventfd, another device.
    MayWait,
}

/// Major number of the memory devices, and the minor ones of null, zero and full (Documentation/admin-guide/devices.txt).
const MEMORY_DEVICES: (u64, [u64; 3]) = (1, [3, 5, 7]);

fn takes_all(device: u64) -> bool {
    let (of, taking) = MEMORY_DEVICES;
    major(device) == of && taking.contains(&minor(device))
}

/// Examines an output stream of the caller's. Root only: called by the monitor before it forks.
///
/// # Errors
/// `PermissionDenied` where it is not open for writing: opened again by root it could be written where the caller himself may only
/// read it, or name it (O_PATH). Those of opening a pipe again.
pub fn output(fd: BorrowedFd<'_>) -> io::Result<Output> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY && weaken::in_force("output-mode") {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "an output stream is not open for writing"));
    }
    let again = || {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
            .map(OwnedFd::from)
    };
    let stat = fstat(fd)?;
    Ok(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFSOCK => Output::Socket,
        SFlag::S_IFIFO => Output::OpenedAgain(again()?),
        // A terminal that was hung up is another's now, and its name leads to him: asked when it is open, so that there is no between.
        SFlag::S_IFCHR if fd.is_terminal() => match again() {
            Ok(again) if fd.is_terminal() => Output::OpenedAgain(again),
            Ok(_) | Err(_) => Output::MayWait,
        },
        SFlag::S_IFREG if fstatfs(fd)?.filesystem_type() != FUSE_SUPER_MAGIC => Output::AsItIs,
        SFlag::S_IFCHR if takes_all(stat.st_rdev) => Output::AsItIs,
        _ => Output::MayWait,
    })
}

impl Sink {
    /// Takes over `fd`, opened again where it can be.
    ///
    /// # Errors
    /// As [`output`].
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let (fd, kind) = match output(fd.as_fd())? {
            Output::Socket => (fd, SinkKind::Socket),
            Output::OpenedAgain(again) => (again, SinkKind::NonBlocking),
            Output::AsItIs | Output::MayWait => (fd, SinkKind::Blocking),
        };
        Ok(Self { fd: Some(fd), kind, waiting: VecDeque::new(), waiting_bytes: 0 })
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
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
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
        let mut rest = bytes;
        while self.waiting.is_empty() && !rest.is_empty() {
            match self.write_once(&[IoSlice::new(rest)])? {
                0 => break,
                taken => rest = &rest[taken..],
            }
        }
        if self.is_open() && !rest.is_empty() && !self.waiting.back_mut().is_some_and(|last| last.append(rest)) {
            self.waiting.push_back(Chunk::new(rest.to_vec()));
        }
        self.waiting_bytes += if self.is_open() { rest.len() } else { 0 };
        Ok(())
    }

    /// As [`Sink::write`], out of `buffer` itself.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn write_buffer(&mut self, buffer: Vec<u8>) -> io::Result<()> {
        self.hold([Chunk::new(buffer)]);
        self.flush()
    }

    /// Writes a line after what waits: its parts, with an LF behind them, out of the buffer that it stands in.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn write_line(&mut self, line: OwnedLine, parts: HandOver) -> io::Result<()> {
        let OwnedLine { buffer, line } = line;
        let buffer = Rc::new(buffer);
        let part = |place: Range<usize>| Chunk { buffer: Rc::clone(&buffer), part: place };
        let head = part(line.start + parts.head.start..line.start + parts.head.end);
        // The LF stands behind the line.
        let tail = part(line.start + parts.tail.start..line.start + parts.tail.end + 1);
        self.hold([head, Chunk::new(parts.id), tail]);
        self.flush()
    }

    /// Puts `chunks` behind what waits; a closed sink drops them.
    fn hold(&mut self, chunks: impl IntoIterator<Item = Chunk>) {
        if self.is_open() {
            for chunk in chunks.into_iter().filter(|chunk| !chunk.part.is_empty()) {
                self.waiting_bytes += chunk.part.len();
                self.waiting.push_back(chunk);
            }
        }
    }

    /// Writes what waits, as far as the reader takes it.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let chunks: Vec<IoSlice<'_>> =
                self.waiting.iter().take(CHUNKS_A_WRITE).map(|chunk| IoSlice::new(chunk.bytes())).collect();
            let taken = self.write_once_to(&chunks);
            match self.outcome(taken)? {
                0 => break,
                taken => self.advance(taken),
            }
        }
        Ok(())
    }

    /// Closes the stream: the reader sees its end.
    pub fn close(&mut self) {
        self.fd = None;
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// Drops the first `taken` bytes of what waits.
    fn advance(&mut self, mut taken: usize) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(taken);
        while let Some(first) = self.waiting.front_mut()
            && taken > 0
        {
            let step = taken.min(first.part.len());
            first.part.start += step;
            taken -= step;
            if first.part.is_empty() {
                self.waiting.pop_front();
            }
        }
    }

    fn write_once(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.write_once_to(chunks);
        self.outcome(taken)
    }

    /// One write; EAGAIN when the sink is closed.
    fn write_once_to(&self, chunks: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let fd = self.fd.as_ref().ok_or(Errno::EAGAIN)?;
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let step = match self.kind {
                SinkKind::Socket => sendmsg::<SockaddrStorage>(fd.as_raw_fd(), chunks, &[], flags, None),
                SinkKind::NonBlocking | SinkKind::Blocking => writev(fd, chunks),
            };
            if step != Err(Errno::EINTR) {
                return step;
            }
        }
    }

    /// How many bytes went; 0 when the reader takes none now, or is gone: the sink is closed then.
    fn outcome(&mut self, taken: Result<usize, Errno>) -> io::Result<usize> {
        match taken {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN) => Ok(0),
            // A file that is as long as the relay may write one takes no more, either.
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::EFBIG) => {
                self.close();
                Ok(0)
            }
            Err(errno) => Err(errno.into()),
        }
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
        assert_eq!(drain(&mut source, &mut sink, bytes.len()), bytes);
        assert_eq!(sink.waiting_bytes(), 0);
        sink.close();
        assert_eq!(source.read(&mut [0; 8]).unwrap(), ReadStep::End);
        assert!(source.fd().is_none());
    }

    /// Reads until `count` bytes are here, while the sink writes on.
    fn drain(source: &mut Source, sink: &mut Sink, count: usize) -> Vec<u8> {
        let (mut read_back, mut room) = (Vec::new(), vec![0; 64 << 10]);
        while read_back.len() < count {
            match source.read(&mut room).unwrap() {
                ReadStep::Bytes(part) => read_back.extend_from_slice(&room[..part]),
                other => panic!("{other:?}"),
            }
            sink.flush().unwrap();
        }
        read_back
    }

    #[test]
    fn a_large_line_leaves_in_order_out_of_its_own_buffer() {
        for socket in [false, true] {
            let (reader, writer) = if socket {
                let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
                (OwnedFd::from(reader), OwnedFd::from(writer))
            } else {
                pipe2(OFlag::O_CLOEXEC).unwrap()
            };
            let mut sink = Sink::new(writer).unwrap();
            let text = "x".repeat(1_000_000);
            let buffer = format!("before\n{{\"id\":5,\"r\":\"{text}\"}}\nbehind").into_bytes();
            let line = 7..buffer.len() - 7;
            let parts = HandOver { head: 0..6, id: b"\"mine\"".to_vec(), tail: 7..line.len() };
            let place = buffer.as_ptr();
            sink.write(b"first\n").unwrap();
            sink.write_line(OwnedLine { buffer, line }, parts).unwrap();
            sink.write(b"last\n").unwrap();
            assert_eq!(sink.waiting.front().unwrap().buffer.as_ptr(), place, "it waits where it was read");
            let expected = format!("first\n{{\"id\":\"mine\",\"r\":\"{text}\"}}\nlast\n").into_bytes();
            assert!(drain(&mut Source::new(reader), &mut sink, expected.len()) == expected);
            assert!(sink.waiting.is_empty() && sink.waiting_bytes() == 0);
        }
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
    fn a_reader_that_is_gone_closes_the_sink() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut sink = Sink::new(writer).unwrap();
        drop(reader);
        sink.write(b"lost").unwrap();
        assert!(!sink.is_open());
        assert_eq!(sink.waiting_bytes(), 0);
    }
}
