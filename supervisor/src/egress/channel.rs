//! One end of the SOCK_SEQPACKET pair between egress and the relay: whole datagrams, never more than
//! [`CREW_MESSAGE_BYTES_MAX`] bytes, never blocking. Both ends use it: egress under tokio, the relay under poll(2).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use thiserror::Error;

use crate::bounds::CREW_MESSAGE_BYTES_MAX;

/// Why the channel is of no more use.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The pair could not be made or set up.
    #[error("cannot set up the channel between relay and egress")]
    Setup(#[source] Errno),
    /// The other end has gone (EPIPE, ECONNRESET) or the socket failed.
    #[error("the channel between relay and egress broke")]
    Broken(#[source] Errno),
    /// A datagram over [`CREW_MESSAGE_BYTES_MAX`], sent or received.
    #[error("a message between relay and egress is over {CREW_MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// A datagram came with descriptors or other ancillary data, which neither end ever sends.
    #[error("a message between relay and egress carries ancillary data")]
    Ancillary,
}

/// Outcome of [`Channel::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The datagram is in the other end's queue.
    Done,
    /// No room now; poll for writing and send it again.
    WouldBlock,
}

/// Outcome of [`Channel::recv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// The buffer holds one datagram.
    Message,
    /// Nothing there now; poll for reading.
    WouldBlock,
    /// The other end hung up.
    Closed,
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    /// Makes a connected pair, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// [`ChannelError::Setup`] with the errno of socketpair(2).
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(ChannelError::Setup)?;
        Ok((Self::new(one)?, Self::new(other)?))
    }

    /// Takes over one end of a SOCK_SEQPACKET pair and makes it non-blocking.
    ///
    /// # Errors
    /// [`ChannelError::Setup`] when it is no socket.
    pub fn new(fd: OwnedFd) -> Result<Self, ChannelError> {
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(ChannelError::Setup)?;
        let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(ChannelError::Setup)?;
        Ok(Self { fd })
    }

    /// Sends one datagram without blocking and without SIGPIPE.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`] for what would be over the bound, [`ChannelError::Broken`] when the other end has gone.
    pub fn send(&self, datagram: &[u8]) -> Result<Sent, ChannelError> {
        if datagram.is_empty() || datagram.len() > CREW_MESSAGE_BYTES_MAX {
            return Err(ChannelError::TooLong);
        }
        loop {
            return match send(self.fd.as_raw_fd(), datagram, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
                Ok(_) => Ok(Sent::Done), // SEQPACKET: whole or not at all
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(Sent::WouldBlock),
                Err(errno) => Err(ChannelError::Broken(errno)),
            };
        }
    }

    /// Receives one datagram into `buffer`, replacing what it held, without blocking.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`] for a cut datagram, [`ChannelError::Ancillary`], [`ChannelError::Broken`].
    pub fn recv(&self, buffer: &mut Vec<u8>) -> Result<Received, ChannelError> {
        buffer.resize(CREW_MESSAGE_BYTES_MAX, 0);
        let (length, flags) = loop {
            let mut slices = [IoSliceMut::new(buffer)];
            // No room for ancillary data: descriptors that someone sends are dropped by the kernel and show as MSG_CTRUNC.
            match recvmsg::<()>(self.fd.as_raw_fd(), &mut slices, None, MsgFlags::MSG_DONTWAIT) {
                Ok(message) => break (message.bytes, message.flags),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Received::WouldBlock),
                // The peer closed with our datagrams unread; said once, before what it had sent and before the end.
                Err(Errno::ECONNRESET) => {}
                Err(errno) => return Err(ChannelError::Broken(errno)),
            }
        };
        buffer.truncate(length);
        if flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(ChannelError::TooLong);
        }
        if flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(ChannelError::Ancillary);
        }
        // Neither end sends an empty datagram, so zero bytes are the end of the stream.
        Ok(if length == 0 { Received::Closed } else { Received::Message })
    }

    /// Gives the descriptor back, to hand it to another process.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{ControlMessage, sendmsg};
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn datagrams_keep_their_borders_and_the_end_is_seen() {
        let (relay, egress) = Channel::pair().unwrap();
        let mut buffer = Vec::new();
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::WouldBlock);
        assert_eq!(egress.send(b"one").unwrap(), Sent::Done);
        assert_eq!(egress.send(&vec![b'2'; CREW_MESSAGE_BYTES_MAX]).unwrap(), Sent::Done);
        drop(egress);
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Message);
        assert_eq!(buffer, b"one");
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Message);
        assert_eq!(buffer.len(), CREW_MESSAGE_BYTES_MAX);
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Closed);
        assert!(matches!(relay.send(b"x"), Err(ChannelError::Broken(Errno::EPIPE))));
    }

    #[test]
    fn what_was_sent_before_the_end_is_read_even_if_the_peer_left_our_datagrams_unread() {
        let (relay, egress) = Channel::pair().unwrap();
        assert_eq!(relay.send(b"unread").unwrap(), Sent::Done);
        assert_eq!(egress.send(b"last words").unwrap(), Sent::Done);
        drop(egress);
        let mut buffer = Vec::new();
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Message);
        assert_eq!(buffer, b"last words");
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Closed);
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Closed);
    }

    #[test]
    fn a_full_queue_is_said_and_loses_nothing() {
        let (relay, egress) = Channel::pair().unwrap();
        let datagram = vec![b'x'; CREW_MESSAGE_BYTES_MAX];
        let mut sent = 0;
        while egress.send(&datagram).unwrap() == Sent::Done {
            sent += 1;
        }
        assert!(sent > 0);
        let mut buffer = Vec::new();
        for _ in 0..sent {
            assert_eq!(relay.recv(&mut buffer).unwrap(), Received::Message);
        }
        assert_eq!(relay.recv(&mut buffer).unwrap(), Received::WouldBlock);
        assert_eq!(egress.send(&datagram).unwrap(), Sent::Done);
    }

    #[test]
    fn one_byte_over_is_neither_sent_nor_taken() {
        let (relay, egress) = Channel::pair().unwrap();
        let over = vec![0; CREW_MESSAGE_BYTES_MAX + 1];
        assert!(matches!(egress.send(&over), Err(ChannelError::TooLong)));
        assert!(matches!(egress.send(b""), Err(ChannelError::TooLong)));
        send(egress.as_raw_fd(), &over, MsgFlags::empty()).unwrap();
        assert!(matches!(relay.recv(&mut Vec::new()), Err(ChannelError::TooLong)));
    }

    #[test]
    fn a_descriptor_is_not_taken() {
        let (relay, egress) = Channel::pair().unwrap();
        let gift = [egress.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&gift)];
        sendmsg::<()>(egress.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
        assert!(matches!(relay.recv(&mut Vec::new()), Err(ChannelError::Ancillary)));
    }
}
