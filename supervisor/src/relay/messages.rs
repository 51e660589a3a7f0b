//! What the relay and the monitor tell each other: a short closed list of fixed-size messages over SOCK_SEQPACKET.
//!
//! The monitor is root and parses nothing that the server, the client or the network wrote: a message is 48 bytes,
//! a tag and numbers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// Size of every message, bytes.
pub const MESSAGE_BYTES: usize = 48;

/// A place in the log: what a note signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPoint {
    /// Number of the last record.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Why a session ends before the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EndCause {
    /// The server ended by itself.
    Server = 1,
    /// The client closed its end.
    Client = 2,
    /// SIGTERM or SIGINT.
    Signal = 3,
    /// The log cannot be written.
    AuditFailure = 4,
    /// The session's log quota is used up.
    LogQuota = 5,
    /// `resources.wall` is over.
    WallTime = 6,
    /// The egress process died.
    EgressDied = 7,
    /// The relay died.
    RelayDied = 8,
    /// The janitor died.
    JanitorDied = 9,
    /// The server could not be executed.
    ExecFailed = 10,
}

impl EndCause {
    const ALL: [Self; 10] = [
        Self::Server,
        Self::Client,
        Self::Signal,
        Self::AuditFailure,
        Self::LogQuota,
        Self::WallTime,
        Self::EgressDied,
        Self::RelayDied,
        Self::JanitorDied,
        Self::ExecFailed,
    ];

    /// The code that stands in `session.end`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Server => "server_exit",
            Self::Client => "client_eof",
            Self::Signal => "signal",
            Self::AuditFailure => "audit_failure",
            Self::LogQuota => "log_quota",
            Self::WallTime => "wall_time",
            Self::EgressDied => "egress_died",
            Self::RelayDied => "relay_died",
            Self::JanitorDied => "janitor_died",
            Self::ExecFailed => "exec_failed",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u32 == number)
    }
}

/// Relay to monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromRelay {
    /// Confined, and `sandbox.applied` is on disk: the gate may open.
    Applied,
    /// Sign this point.
    Checkpoint(LogPoint),
    /// The client closed its end and everything it sent is delivered.
    ClientGone,
    /// The relay cannot go on.
    Failed(EndCause),
    /// `session.end` is written; this is the last record.
    Finished(LogPoint),
}

/// Monitor to relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToRelay {
    /// The server runs.
    GateOpen {
        /// When its gate opened, nanoseconds since boot.
        opened_ns: u64,
    },
    /// The server is gone: drain, answer what is pending, write `session.end`.
    Finish {
        /// Why.
        cause: EndCause,
        /// wait(2) status of the server, when it ran.
        status: i32,
    },
}

const TAG_APPLIED: u32 = 1;
const TAG_CHECKPOINT: u32 = 2;
const TAG_CLIENT_GONE: u32 = 3;
const TAG_FAILED: u32 = 4;
const TAG_FINISHED: u32 = 5;
const TAG_GATE_OPEN: u32 = 16;
const TAG_FINISH: u32 = 17;

/// Tag, number, point: the one layout of every message.
struct Raw {
    tag: u32,
    number: u32,
    point: LogPoint,
}

const NOWHERE: LogPoint = LogPoint { seq: 0, hash: [0; 32] };

impl Raw {
    fn encode(&self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[..4].copy_from_slice(&self.tag.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.point.seq.to_le_bytes());
        bytes[16..].copy_from_slice(&self.point.hash);
        bytes
    }

    fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut seq = [0; 8];
        seq.copy_from_slice(&bytes[8..16]);
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[16..]);
        Self { tag: word(0), number: word(4), point: LogPoint { seq: u64::from_le_bytes(seq), hash } }
    }
}

impl FromRelay {
    fn raw(self) -> Raw {
        match self {
            Self::Applied => Raw { tag: TAG_APPLIED, number: 0, point: NOWHERE },
            Self::Checkpoint(point) => Raw { tag: TAG_CHECKPOINT, number: 0, point },
            Self::ClientGone => Raw { tag: TAG_CLIENT_GONE, number: 0, point: NOWHERE },
            Self::Failed(cause) => Raw { tag: TAG_FAILED, number: cause as u32, point: NOWHERE },
            Self::Finished(point) => Raw { tag: TAG_FINISHED, number: 0, point },
        }
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        Some(match raw.tag {
            TAG_APPLIED => Self::Applied,
            TAG_CHECKPOINT => Self::Checkpoint(raw.point),
            TAG_CLIENT_GONE => Self::ClientGone,
            TAG_FAILED => Self::Failed(EndCause::from_number(raw.number)?),
            TAG_FINISHED => Self::Finished(raw.point),
            _ => return None,
        })
    }

    /// Sends one message; blocks while the monitor is behind.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send_raw(socket, &self.raw())
    }

    /// Receives one message; `Ok(None)` when the relay has closed its end.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not one of the messages.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        receive_raw(socket)?.map(|raw| Self::from_raw(&raw).ok_or_else(unknown)).transpose()
    }
}

impl ToRelay {
    fn raw(self) -> Raw {
        match self {
            Self::GateOpen { opened_ns } => {
                Raw { tag: TAG_GATE_OPEN, number: 0, point: LogPoint { seq: opened_ns, hash: [0; 32] } }
            }
            Self::Finish { cause, status } => Raw {
                tag: TAG_FINISH,
                number: cause as u32,
                point: LogPoint { seq: u64::from(status.cast_unsigned()), hash: [0; 32] },
            },
        }
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        Some(match raw.tag {
            TAG_GATE_OPEN => Self::GateOpen { opened_ns: raw.point.seq },
            TAG_FINISH => Self::Finish {
                cause: EndCause::from_number(raw.number)?,
                status: u32::try_from(raw.point.seq).ok()?.cast_signed(),
            },
            _ => return None,
        })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the relay is gone.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send_raw(socket, &self.raw())
    }

    /// Receives one message; `Ok(None)` when the monitor has closed its end.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not one of the messages.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        receive_raw(socket)?.map(|raw| Self::from_raw(&raw).ok_or_else(unknown)).transpose()
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is not one of ours")
}

fn send_raw(socket: BorrowedFd<'_>, raw: &Raw) -> io::Result<()> {
    loop {
        match send(socket.as_raw_fd(), &raw.encode(), MsgFlags::MSG_NOSIGNAL) {
            Ok(MESSAGE_BYTES) => return Ok(()),
            Ok(_) => return Err(unknown()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn receive_raw(socket: BorrowedFd<'_>) -> io::Result<Option<Raw>> {
    // One byte more than a message, so that a longer datagram shows.
    let mut bytes = [0; MESSAGE_BYTES + 1];
    loop {
        match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(MESSAGE_BYTES) => {
                let mut message = [0; MESSAGE_BYTES];
                message.copy_from_slice(&bytes[..MESSAGE_BYTES]);
                return Ok(Some(Raw::decode(&message)));
            }
            Ok(_) => return Err(unknown()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn every_message_comes_through_as_it_went_in() {
        let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let point = LogPoint { seq: u64::MAX, hash: [7; 32] };
        let mut up = vec![FromRelay::Applied, FromRelay::Checkpoint(point), FromRelay::ClientGone];
        up.extend(EndCause::ALL.map(FromRelay::Failed));
        up.push(FromRelay::Finished(point));
        for message in up {
            message.send(left.as_fd()).unwrap();
            assert_eq!(FromRelay::receive(right.as_fd()).unwrap(), Some(message));
        }
        for message in [ToRelay::GateOpen { opened_ns: 7 }, ToRelay::Finish { cause: EndCause::Signal, status: -1 }] {
            message.send(right.as_fd()).unwrap();
            assert_eq!(ToRelay::receive(left.as_fd()).unwrap(), Some(message));
        }
        drop(right);
        assert_eq!(ToRelay::receive(left.as_fd()).unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        for wrong in [&[0_u8; 1][..], &[0; MESSAGE_BYTES], &[0; MESSAGE_BYTES + 1], &[255; MESSAGE_BYTES]] {
            send(left.as_raw_fd(), wrong, MsgFlags::empty()).unwrap();
            assert!(FromRelay::receive(right.as_fd()).is_err(), "{wrong:?}");
        }
        ToRelay::GateOpen { opened_ns: 7 }.send(left.as_fd()).unwrap();
        assert!(FromRelay::receive(right.as_fd()).is_err(), "a message of the other direction");
    }
}
