//! Between egress and the dialer: a SOCK_SEQPACKET pair on which egress asks by number and gets connected sockets.
//!
//! A question holds the number of a host in the policy's list and a port, and nothing else: there are no words for an address or a
//! name. An answer holds a connection, or a text that says why there is none.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, setsockopt, socketpair, sockopt};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::bounds::{DIAL_ANSWER_TEXT_BYTES_MAX, DIAL_ANSWERS_BUFFER_BYTES};
use crate::sys::pass;
use crate::sys::readiness::readiness;

/// Size of every question, bytes.
pub const QUESTION_BYTES: usize = 12;
/// An answer's bytes before its text.
const ANSWER_HEAD_BYTES: usize = 9;
/// Largest answer, bytes.
pub const ANSWER_BYTES_MAX: usize = ANSWER_HEAD_BYTES + DIAL_ANSWER_TEXT_BYTES_MAX;

/// Why the link is of no more use.
#[derive(Debug, Error)]
pub enum DialLinkError {
    /// The pair could not be made or waited for.
    #[error("cannot set up the link between egress and the dialer")]
    Setup(#[source] std::io::Error),
    /// The socket failed.
    #[error("the link between egress and the dialer broke")]
    Broken(#[from] Errno),
    /// The dialer sent what is no answer.
    #[error("the dialer sent what is no answer")]
    NoAnswer,
    /// The dialer answered a question that was never asked.
    #[error("the dialer answered question {0}, which was never asked")]
    Unasked(u64),
}

/// Egress to dialer: a connection to a host of the policy, please.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Chosen by egress, repeated in the answer.
    pub ticket: u64,
    /// The host's place in the policy's list.
    pub host: u16,
    /// One of its ports.
    pub port: u16,
}

/// What the dialer says to a question, beside the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection comes with it.
    Connected,
    /// There is none, by a rule of ours: the text says which.
    Refused(String),
    /// There is none, by a mishap of the network: the text says which.
    Failed(String),
}

/// Both ends, egress's and the dialer's, for two processes to take with them.
///
/// # Errors
/// Those of socketpair(2) and setsockopt(2).
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (egress, dialer) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    setsockopt(&dialer, sockopt::SndBuf, &DIAL_ANSWERS_BUFFER_BYTES)?;
    Ok((egress, dialer))
}

impl Question {
    /// As it is sent.
    #[must_use]
    pub fn encode(self) -> [u8; QUESTION_BYTES] {
        let mut datagram = [0; QUESTION_BYTES];
        datagram[..8].copy_from_slice(&self.ticket.to_le_bytes());
        datagram[8..10].copy_from_slice(&self.host.to_le_bytes());
        datagram[10..].copy_from_slice(&self.port.to_le_bytes());
        datagram
    }

    /// Of these bytes; none of any other length.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let (ticket, rest) = datagram.split_first_chunk()?;
        let (host, rest) = rest.split_first_chunk()?;
        let port = rest.try_into().ok()?;
        Some(Self {
            ticket: u64::from_le_bytes(*ticket),
            host: u16::from_le_bytes(*host),
            port: u16::from_le_bytes(port),
        })
    }
}

impl Answer {
    /// As it is sent, a long text cut.
    #[must_use]
    pub fn encode(&self, ticket: u64) -> Vec<u8> {
        let (kind, text) = match self {
            Self::Connected => (0, ""),
            Self::Refused(text) => (1, text.as_str()),
            Self::Failed(text) => (2, text.as_str()),
        };
        let mut datagram = ticket.to_le_bytes().to_vec();
        datagram.push(kind);
        let mut end = text.len().min(DIAL_ANSWER_TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        datagram.extend(&text.as_bytes()[..end]);
        datagram
    }

    /// The ticket and the answer. A text is UTF-8 within the bound, and a connection has none.
    ///
    /// # Errors
    /// [`DialLinkError::NoAnswer`] for anything else.
    pub fn decode(datagram: &[u8]) -> Result<(u64, Self), DialLinkError> {
        let (ticket, rest) = datagram.split_first_chunk().ok_or(DialLinkError::NoAnswer)?;
        let (kind, text) = rest.split_first().ok_or(DialLinkError::NoAnswer)?;
        if text.len() > DIAL_ANSWER_TEXT_BYTES_MAX {
            return Err(DialLinkError::NoAnswer);
        }
        let text = std::str::from_utf8(text).map_err(|_| DialLinkError::NoAnswer)?;
        let answer = match kind {
            0 if text.is_empty() => Self::Connected,
            1 => Self::Refused(text.to_owned()),
            2 => Self::Failed(text.to_owned()),
            _ => return Err(DialLinkError::NoAnswer),
        };
        Ok((u64::from_le_bytes(*ticket), answer))
    }
}

/// One end, in a runtime.
#[derive(Debug)]
pub struct DialLink {
    fd: OwnedFd,
    ready: AsyncFd<OwnedFd>,
}

impl DialLink {
    /// Takes over one end of [`pair`].
    ///
    /// # Errors
    /// [`DialLinkError::Setup`].
    pub fn new(fd: OwnedFd) -> Result<Self, DialLinkError> {
        let ready = readiness(&fd, Interest::READABLE | Interest::WRITABLE).map_err(DialLinkError::Setup)?;
        Ok(Self { fd, ready })
    }

    /// Sends one datagram when there is room for it, with a descriptor or without.
    ///
    /// # Errors
    /// Those of sendmsg(2); `EPIPE` when the other end has hung up.
    pub async fn send(&self, datagram: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        loop {
            let mut writable = self.ready.writable().await.map_err(|error| crate::sys::process::errno_of(&error))?;
            match pass::send(self.fd.as_fd(), datagram, fd) {
                Err(Errno::EAGAIN) => writable.clear_ready(),
                Err(Errno::EINTR) => {}
                sent => return sent,
            }
        }
    }

    /// The length of the next datagram, cut to `buffer`; 0 is a hang-up, and none is one that came with descriptors, none of
    /// which the kernel has given to this process.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub async fn receive_alone(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        let mut parts = [IoSliceMut::new(buffer)];
        let receive = || {
            let received = recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
            Ok((!received.flags.contains(MsgFlags::MSG_CTRUNC)).then_some(received.bytes))
        };
        self.when_readable(receive).await
    }

    /// The next datagram, cut to `buffer`, and what came with it. Length 0 is a hang-up.
    ///
    /// # Errors
    /// Those of recvmsg(2); `EBADMSG` for more than one descriptor.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
        self.when_readable(|| pass::receive(self.fd.as_fd(), buffer, MsgFlags::MSG_DONTWAIT)).await
    }

    async fn when_readable<T>(&self, mut receive: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            let mut readable = self.ready.readable().await.map_err(|error| crate::sys::process::errno_of(&error))?;
            match receive() {
                Err(Errno::EAGAIN) => readable.clear_ready(),
                // The other end closed with our datagrams unread; said once, before what it had sent and before the end.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                received => return received,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn questions_and_answers_come_back_as_they_went(ticket: u64, host: u16, port: u16, text in ".{0,300}") {
            let question = Question { ticket, host, port };
            prop_assert_eq!(Question::decode(&question.encode()), Some(question));
            for answer in [Answer::Connected, Answer::Refused(text.clone()), Answer::Failed(text)] {
                prop_assert_eq!(Answer::decode(&answer.encode(ticket)).unwrap(), (ticket, answer));
            }
        }

        #[test]
        fn a_question_has_its_length_and_garbage_is_no_answer(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Question::decode(&bytes).is_some(), bytes.len() == QUESTION_BYTES);
            if let Ok((ticket, answer)) = Answer::decode(&bytes) {
                prop_assert_eq!(answer.encode(ticket), bytes);
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_a_longer_datagram_refused() {
        let datagram = Answer::Failed("é".repeat(DIAL_ANSWER_TEXT_BYTES_MAX)).encode(7);
        assert_eq!(datagram.len(), ANSWER_BYTES_MAX);
        let (7, Answer::Failed(text)) = Answer::decode(&datagram).unwrap() else { panic!("it is one") };
        assert!(text.chars().all(|character| character == 'é'));
        for wrong in [[datagram.as_slice(), b"x"].concat(), b"".to_vec(), [0; 8].to_vec(), [&[0; 9][..], b"x"].concat()]
        {
            assert!(matches!(Answer::decode(&wrong), Err(DialLinkError::NoAnswer)), "{wrong:?}");
        }
        let not_text = [&[0; 8][..], &[2, 0xff]].concat();
        assert!(matches!(Answer::decode(&not_text), Err(DialLinkError::NoAnswer)));
    }
}
