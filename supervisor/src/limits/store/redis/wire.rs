//! One connection to Redis: a command out, a reply in, by a deadline. After any failure it is of no more use.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::resp::{Malformed, Reply, read_reply, write_command};
use crate::bounds::REDIS_REPLY_BYTES_MAX;
use crate::clock;
use crate::weaken;

/// Why there is no reply. Whether the command was executed is then unknown, unless nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("it did not answer in time")]
    Late,
    #[error("it closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    System(#[from] Errno),
    #[error("it answered what it must not: {0}")]
    Malformed(#[from] Malformed),
    #[error("it refused: {0}")]
    Refused(String),
    #[error("it answered another thing than was asked for")]
    Unexpected,
}

/// A connected socket, used without blocking whatever its flags: the process that uses it may not set any.
#[derive(Debug)]
pub(super) struct Wire(OwnedFd);

impl Wire {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Whether a command may be sent: the other end is there, and has said nothing that was not asked for. A late byte would be
    /// taken for the beginning of the next answer, and every answer after it would be the one before.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let heard = recv(self.0.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK);
        matches!(heard, Err(Errno::EAGAIN)) || !weaken::in_force("redis-quiet")
    }

    /// Sends a command and reads its reply.
    pub(super) fn ask(&mut self, words: &[&[u8]], deadline_ns: u64) -> Result<Reply, WireError> {
        let mut command = Vec::new();
        write_command(words, &mut command);
        self.send(&command, deadline_ns)?;
        self.receive(deadline_ns)
    }

    fn send(&self, mut rest: &[u8], deadline_ns: u64) -> Result<(), WireError> {
        while !rest.is_empty() {
            self.wait(PollFlags::POLLOUT, deadline_ns)?;
            match send(self.0.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn receive(&self, deadline_ns: u64) -> Result<Reply, WireError> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
        loop {
            self.wait(PollFlags::POLLIN, deadline_ns)?;
            match recv(self.0.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if bytes.len() > REDIS_REPLY_BYTES_MAX {
                return Err(Malformed::TooLong.into());
            }
            if let Some(reply) = read_reply(&bytes)? {
                return Ok(reply);
            }
        }
    }

    /// Waits until the socket is ready. One that is always ready, a byte at a time, does not outlast the deadline either.
    fn wait(&self, flags: PollFlags, deadline_ns: u64) -> Result<(), WireError> {
        loop {
            let left_ms = deadline_ns.saturating_sub(clock::now().boot_ns).div_ceil(1_000_000);
            if left_ms == 0 {
                return Err(WireError::Late);
            }
            let mut wanted = [PollFd::new(self.0.as_fd(), flags)];
            match poll(&mut wanted, PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// What a server says, fit for a log: one line of plain ASCII, not too long.
pub(super) fn printable(text: &[u8]) -> String {
    let plain = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
    text.iter().take(200).map(plain).collect()
}
