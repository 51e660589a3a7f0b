//! What the relay and the monitor tell each other: a short closed list of fixed-size messages over SOCK_SEQPACKET.
//!
//! The monitor is root and parses nothing that the server, the client or the network wrote: a message is 48 bytes,
//! a tag and numbers. A text goes in sealed memory beside the message ([`super::sealed`]); one that goes up is a blob that the
//! monitor keeps and does not read.

mod end_cause;

use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, send, sendmsg};

use crate::sandbox::cgroup::Incidents;
use crate::sys::fds;

pub use end_cause::EndCause;

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
    /// `session.end` is written; this is the last record. What it still does is to deliver to the client what is the client's.
    Finished(LogPoint),
    /// `policy.reload` is on disk and the policy with this SHA-256 decides from here on.
    PolicyTaken([u8; 32]),
    /// `policy.reject` is on disk.
    RejectionTaken,
    /// A tool's definition is to be kept: what it is filed under, and the blob attached.
    Pin(PinKind, Attached),
}

/// What a pin is to the monitor, which reads none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PinKind {
    /// It holds from here, in all later sessions of the policy.
    New = 1,
    /// It holds when a person has approved it.
    Proposed = 2,
}

/// What became of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PinAnswer {
    /// It is on disk.
    Kept = 1,
    /// It is not.
    Failed = 2,
    /// There was one already, which is attached.
    Stood = 3,
}

impl PinKind {
    fn from_number(number: u32) -> Option<Self> {
        [Self::New, Self::Proposed].into_iter().find(|kind| *kind as u32 == number)
    }
}

impl PinAnswer {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Kept, Self::Failed, Self::Stood].into_iter().find(|answer| *answer as u32 == number)
    }
}

/// Why a changed policy file did not take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rejection {
    /// The file cannot be read, or is not root's alone.
    Untrusted = 1,
    /// It does not load.
    Invalid = 2,
    /// It asks for something that cannot change while the server runs.
    Fixed = 3,
    /// Its lock file cannot be used.
    Lock = 4,
}

impl Rejection {
    const ALL: [Self; 4] = [Self::Untrusted, Self::Invalid, Self::Fixed, Self::Lock];

    /// The code that stands in `policy.reject` (docs/errors.md).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Untrusted => "ISB-R004",
            Self::Invalid => "ISB-R005",
            Self::Fixed => "ISB-R018",
            Self::Lock => "ISB-R021",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|why| *why as u32 == number)
    }
}

/// A text that goes with a message: its length and hash. The text itself is in the descriptor beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Length, bytes.
    pub bytes: u64,
    /// SHA-256 of the policy or lock that it is, or is about; zeros where the file could not be read. Of a pin, that of its
    /// tool's name.
    pub sha256: [u8; 32],
}

/// A system call that the server's filter refused, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Its number on this architecture.
    pub call: u32,
    /// How many calls this stands for.
    pub count: u64,
    /// The thread that made the first of them, on the host; 0 where it was gone.
    pub tid: u32,
    /// The name that this thread gives itself (comm), filled with zeros; any bytes.
    pub comm: [u8; 16],
    /// When the first of them was made, nanoseconds since boot, where it is the first of its name. None of later ones, which stand for
    /// up to a minute.
    pub since_ns: Option<NonZeroU64>,
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
    /// This policy takes over: the text is attached.
    Policy(Attached),
    /// The lock of the policy that is named next is attached.
    Lock(Attached),
    /// What became of a pin.
    Pin(PinAnswer, Attached),
    /// The changed file was refused: the reason, for people, is attached.
    Rejected(Rejection, Attached),
    /// Counters at the run's ceilings rose.
    Ceilings(Incidents),
    /// The filter refused a call.
    Denied(Denied),
}

const TAG_APPLIED: u32 = 1;
const TAG_CHECKPOINT: u32 = 2;
const TAG_CLIENT_GONE: u32 = 3;
const TAG_FAILED: u32 = 4;
const TAG_FINISHED: u32 = 5;
const TAG_POLICY_TAKEN: u32 = 6;
const TAG_REJECTION_TAKEN: u32 = 7;
const TAG_PIN: u32 = 8;
const TAG_GATE_OPEN: u32 = 16;
const TAG_FINISH: u32 = 17;
const TAG_POLICY: u32 = 18;
const TAG_REJECTED: u32 = 19;
const TAG_LOCK: u32 = 20;
const TAG_PIN_ANSWER: u32 = 21;
const TAG_CEILINGS: u32 = 22;
const TAG_DENIED: u32 = 23;

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
            Self::PolicyTaken(hash) => Raw { tag: TAG_POLICY_TAKEN, number: 0, point: LogPoint { seq: 0, hash } },
            Self::RejectionTaken => Raw { tag: TAG_REJECTION_TAKEN, number: 0, point: NOWHERE },
            Self::Pin(kind, blob) => Raw { tag: TAG_PIN, number: kind as u32, point: blob.point() },
        }
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        Some(match raw.tag {
            TAG_APPLIED => Self::Applied,
            TAG_CHECKPOINT => Self::Checkpoint(raw.point),
            TAG_CLIENT_GONE => Self::ClientGone,
            TAG_FAILED => Self::Failed(EndCause::from_number(raw.number)?),
            TAG_FINISHED => Self::Finished(raw.point),
            TAG_POLICY_TAKEN => Self::PolicyTaken(raw.point.hash),
            TAG_REJECTION_TAKEN => Self::RejectionTaken,
            TAG_PIN => Self::Pin(PinKind::from_number(raw.number)?, Attached::at(raw.point)),
            _ => return None,
        })
    }

    /// Sends one message; blocks while the monitor is behind.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send_raw(socket, &self.raw(), MsgFlags::empty())
    }

    /// Sends one message with its blob, sealed.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn send_with(self, socket: BorrowedFd<'_>, blob: BorrowedFd<'_>) -> io::Result<()> {
        send_raw_with(socket, &self.raw(), blob, MsgFlags::empty())
    }

    /// Receives one message, with the descriptor of its blob where it has one; `Ok(None)` when the relay has closed its end. The
    /// monitor never waits for the relay to speak: another process may keep the end of one that is dead.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is said; `InvalidData` for anything that is not one of the messages: also a blob that does not belong there or is missing.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Self, Option<OwnedFd>)>> {
        let flags = if crate::weaken::in_force("monitor-waits") { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        let Some((raw, blob)) = receive_with_text(socket, flags)? else { return Ok(None) };
        let message = Self::from_raw(&raw).ok_or_else(unknown)?;
        let wanted = matches!(message, Self::Pin(..));
        if wanted == blob.is_some() { Ok(Some((message, blob))) } else { Err(unknown()) }
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
            Self::Lock(text) => Raw { tag: TAG_LOCK, number: 0, point: text.point() },
            Self::Pin(answer, blob) => Raw { tag: TAG_PIN_ANSWER, number: answer as u32, point: blob.point() },
            Self::Policy(text) => Raw { tag: TAG_POLICY, number: 0, point: text.point() },
            Self::Rejected(why, text) => Raw { tag: TAG_REJECTED, number: why as u32, point: text.point() },
            Self::Ceilings(Incidents { oom_kills, forks_refused }) => Raw {
                tag: TAG_CEILINGS,
                number: u32::try_from(oom_kills).unwrap_or(u32::MAX),
                point: LogPoint { seq: forks_refused, hash: [0; 32] },
            },
            Self::Denied(Denied { call, count, tid, comm, since_ns }) => {
                let mut who = [0; 32];
                who[..4].copy_from_slice(&tid.to_le_bytes());
                who[4..20].copy_from_slice(&comm);
                who[20..28].copy_from_slice(&since_ns.map_or(0, NonZeroU64::get).to_le_bytes());
                Raw { tag: TAG_DENIED, number: call, point: LogPoint { seq: count, hash: who } }
            }
        }
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        Some(match raw.tag {
            TAG_GATE_OPEN => Self::GateOpen { opened_ns: raw.point.seq },
            TAG_FINISH => Self::Finish {
                cause: EndCause::from_number(raw.number)?,
                status: u32::try_from(raw.point.seq).ok()?.cast_signed(),
            },
            TAG_LOCK => Self::Lock(Attached::at(raw.point)),
            TAG_PIN_ANSWER => Self::Pin(PinAnswer::from_number(raw.number)?, Attached::at(raw.point)),
            TAG_POLICY => Self::Policy(Attached::at(raw.point)),
            TAG_REJECTED => Self::Rejected(Rejection::from_number(raw.number)?, Attached::at(raw.point)),
            TAG_DENIED => {
                let (mut tid, mut comm, mut since) = ([0; 4], [0; 16], [0; 8]);
                tid.copy_from_slice(&raw.point.hash[..4]);
                comm.copy_from_slice(&raw.point.hash[4..20]);
                since.copy_from_slice(&raw.point.hash[20..28]);
                let (call, count, tid) = (raw.number, raw.point.seq, u32::from_le_bytes(tid));
                Self::Denied(Denied { call, count, tid, comm, since_ns: NonZeroU64::new(u64::from_le_bytes(since)) })
            }
            TAG_CEILINGS => Self::Ceilings(Incidents { oom_kills: raw.number.into(), forks_refused: raw.point.seq }),
            _ => return None,
        })
    }

    /// Whether a text goes with it.
    const fn has_text(self) -> bool {
        matches!(self, Self::Policy(_) | Self::Lock(_) | Self::Rejected(..) | Self::Pin(PinAnswer::Stood, _))
    }

    /// Sends one message without a text. The monitor never waits for the relay to read.
    ///
    /// # Errors
    /// When the relay is gone, or has left so many messages unread that it hangs.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send_raw(socket, &self.raw(), MsgFlags::MSG_DONTWAIT)
    }

    /// Sends one message with its text, sealed.
    ///
    /// # Errors
    /// As [`ToRelay::send`].
    pub fn send_with(self, socket: BorrowedFd<'_>, text: BorrowedFd<'_>) -> io::Result<()> {
        send_raw_with(socket, &self.raw(), text, MsgFlags::MSG_DONTWAIT)
    }

    /// Receives one message, with the descriptor of its text where it has one; `Ok(None)` when the monitor has closed its
    /// end.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not one of the messages: also a text that does not belong there or is missing.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Self, Option<OwnedFd>)>> {
        let Some((raw, text)) = receive_with_text(socket, MsgFlags::empty())? else { return Ok(None) };
        let message = Self::from_raw(&raw).ok_or_else(unknown)?;
        if message.has_text() == text.is_some() { Ok(Some((message, text))) } else { Err(unknown()) }
    }
}

impl Attached {
    const fn point(self) -> LogPoint {
        LogPoint { seq: self.bytes, hash: self.sha256 }
    }

    const fn at(point: LogPoint) -> Self {
        Self { bytes: point.seq, sha256: point.hash }
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is not one of ours")
}

fn send_raw(socket: BorrowedFd<'_>, raw: &Raw, flags: MsgFlags) -> io::Result<()> {
    loop {
        match send(socket.as_raw_fd(), &raw.encode(), flags | MsgFlags::MSG_NOSIGNAL) {
            Ok(MESSAGE_BYTES) => return Ok(()),
            Ok(_) => return Err(unknown()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn send_raw_with(socket: BorrowedFd<'_>, raw: &Raw, text: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<()> {
    let (bytes, fds) = (raw.encode(), [text.as_raw_fd()]);
    let (data, rights) = ([IoSlice::new(&bytes)], [ControlMessage::ScmRights(&fds)]);
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &data, &rights, flags | MsgFlags::MSG_NOSIGNAL, None) {
            Ok(MESSAGE_BYTES) => return Ok(()),
            Ok(_) => return Err(unknown()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One message and at most one descriptor. More of them are closed, and the message is refused.
fn receive_with_text(socket: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<Option<(Raw, Option<OwnedFd>)>> {
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut bytes = [0; MESSAGE_BYTES + 1];
    let mut space = nix::cmsg_space!(RawFd);
    let (length, cut, received) = loop {
        let mut data = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut space), flags) {
            Ok(message) => break (message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC), rights(&message)?),
            // Said once, where the other side closed before it read all of ours; what it had sent comes after it (unix(7)).
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut received = received.into_iter();
    let text = received.next();
    match length {
        0 => Ok(None),
        MESSAGE_BYTES if !cut && received.next().is_none() => {
            let mut message = [0; MESSAGE_BYTES];
            message.copy_from_slice(&bytes[..MESSAGE_BYTES]);
            Ok(Some((Raw::decode(&message), text)))
        }
        _ => Err(unknown()),
    }
}

/// Takes over every descriptor that came with a message, so that none stays open by accident.
fn rights(message: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                all.push(fds::adopt(number)?);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
