//! The steps of a launch, and how the child tells its parent of them: fixed-size messages, over a socket that takes a
//! descriptor along, or a pipe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use crate::bounds::LAUNCH_DETAIL_BYTES_MAX;
use crate::fault;
use crate::sys::pass;

use super::{Answer, Layer, LayerReport};

/// One step of the child; a launch that fails names the one that did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Keep the listed descriptors, close all others.
    Descriptors,
    /// Join the version 1 cgroups; version 2 is joined by the clone.
    Cgroups,
    /// Take a middle OOM score, whatever the caller's was.
    OomScore,
    /// Join the network namespace.
    NetworkNamespace,
    /// Set a host name that says nothing.
    HostName,
    /// Cut mount propagation.
    Propagation,
    /// Build the view.
    Rootfs,
    /// pivot_root and detach the old root.
    Pivot,
    /// Wait until the parent has found us in every cgroup and put the network's programs in force.
    Release,
    /// unshare(CLONE_NEWCGROUP).
    CgroupNamespace,
    /// setgroups([]) while it is still permitted.
    Groups,
    /// unshare(CLONE_NEWUSER | CLONE_NEWNS).
    UserNamespace,
    /// The new user namespace's own ceilings.
    UserLimits,
    /// Wait until the parent has written the id maps.
    Mapping,
    /// Fork the workload.
    Fork,
    /// pid 1: become the run's uid, empty, and non-dumpable.
    InitConfine,
    /// pid 1: execveat the static init.
    InitExec,
    /// setsid.
    Session,
    /// Default actions and an empty mask.
    Signals,
    /// Resource limits.
    Rlimits,
    /// close_range.
    CloseRange,
    /// setresgid, setresuid.
    Identity,
    /// Empty every capability set, lock securebits.
    Capabilities,
    /// PR_SET_PDEATHSIG.
    ParentDeath,
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// Change to the working directory, as the run's uid.
    WorkingDirectory,
    /// landlock_restrict_self.
    Landlock,
    /// Install the system call filter.
    Seccomp,
    /// Read back from /proc/self/status what was set.
    Verify,
    /// The network self-test of egress.md 10.
    SelfTest,
    /// Wait for the gate.
    Gate,
    /// execve of the server.
    Exec,
}

impl Step {
    /// Every step. The index is the code on the pipe.
    pub const ALL: [Self; 32] = [
        Self::Descriptors,
        Self::Cgroups,
        Self::OomScore,
        Self::NetworkNamespace,
        Self::HostName,
        Self::Propagation,
        Self::Rootfs,
        Self::Pivot,
        Self::Release,
        Self::CgroupNamespace,
        Self::Groups,
        Self::UserNamespace,
        Self::UserLimits,
        Self::Mapping,
        Self::Fork,
        Self::InitConfine,
        Self::InitExec,
        Self::Session,
        Self::Signals,
        Self::Rlimits,
        Self::CloseRange,
        Self::Identity,
        Self::Capabilities,
        Self::ParentDeath,
        Self::NoNewPrivs,
        Self::WorkingDirectory,
        Self::Landlock,
        Self::Seccomp,
        Self::Verify,
        Self::SelfTest,
        Self::Gate,
        Self::Exec,
    ];

    /// Passed, unless a test plants a fault here (`fault.rs`): every step goes through this, so none can be left out.
    fn passed(self) -> Result<(), Failure> {
        fault::passed("sandbox", self.name()).map_err(|errno| Failure {
            step: self,
            errno: Some(errno),
            detail: String::new(),
        })
    }

    /// The name in messages and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Cgroups => "cgroups",
            Self::Release => "release",
            Self::OomScore => "oom-score",
            Self::NetworkNamespace => "network-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::HostName => "host-name",
            Self::Propagation => "propagation",
            Self::Rootfs => "rootfs",
            Self::Pivot => "pivot",
            Self::Groups => "groups",
            Self::UserNamespace => "user-namespace",
            Self::UserLimits => "user-limits",
            Self::Mapping => "mapping",
            Self::Fork => "fork",
            Self::InitConfine => "init-confine",
            Self::InitExec => "init-exec",
            Self::Session => "session",
            Self::Signals => "signals",
            Self::Rlimits => "rlimits",
            Self::CloseRange => "close-range",
            Self::Identity => "identity",
            Self::Capabilities => "capabilities",
            Self::ParentDeath => "parent-death",
            Self::NoNewPrivs => "no-new-privs",
            Self::WorkingDirectory => "working-directory",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Verify => "verify",
            Self::SelfTest => "self-test",
            Self::Gate => "gate",
            Self::Exec => "exec",
        }
    }
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// What the kernel said; `None` when the failure is not a system call's.
    pub errno: Option<Errno>,
    /// What it was about: a path, a probe, a layer's reason. May be empty.
    pub detail: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {}", self.step.name())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        self.errno.map_or(Ok(()), |errno| write!(f, ": {} ({errno:?})", errno.desc()))
    }
}

/// Names the step that an error belongs to.
pub(super) trait At<T> {
    /// `self`, its error as the failure of `step`.
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Failure> {
        let value = self.map_err(|errno| Failure { step, errno: Some(errno), detail: String::new() })?;
        step.passed().map(|()| value)
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        let value = self.map_err(|error| Failure {
            step,
            errno: error.raw_os_error().map(Errno::from_raw),
            detail: if error.raw_os_error().is_some() { String::new() } else { error.to_string() },
        })?;
        step.passed().map(|()| value)
    }
}

/// An error that says already which step it belongs to.
impl<T> At<T> for Result<T, Failure> {
    fn at(self, step: Step) -> Result<T, Failure> {
        let value = self?;
        step.passed().map(|()| value)
    }
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The user namespace exists: write its maps.
    WantsMaps,
    /// The view is built and the cgroups are joined: say when to go on.
    WantsRelease,
    /// A layer's answer.
    Layer(LayerReport),
    /// Everything is in force; the workload waits.
    AtGate,
    /// A step failed; the sender ends.
    Failed(Failure),
    /// The listener of the filter, which comes with it.
    Listener,
}

const HEADER_BYTES: usize = 12;
/// Size of every message. Below PIPE_BUF, so a write is whole or not at all (pipe(7)).
pub(super) const MESSAGE_BYTES: usize = HEADER_BYTES + LAUNCH_DETAIL_BYTES_MAX;

impl Message {
    /// Fixed size: kind, code, state, 0, errno (4, little-endian), length (2), 0, 0, text.
    fn encode(&self) -> [u8; MESSAGE_BYTES] {
        let (kind, code, state, errno, text) = match self {
            Self::WantsMaps => (0, 0, 0, 0, ""),
            Self::Layer(LayerReport { layer, answer }) => match answer {
                Answer::Enforced => (1, *layer as u8, 0, 0, ""),
                Answer::Partial(reason) => (1, *layer as u8, 1, 0, reason.as_str()),
                Answer::Unsupported(reason) => (1, *layer as u8, 2, 0, reason.as_str()),
            },
            Self::AtGate => (2, 0, 0, 0, ""),
            Self::WantsRelease => (4, 0, 0, 0, ""),
            Self::Listener => (5, 0, 0, 0, ""),
            Self::Failed(failure) => {
                (3, failure.step as u8, 0, failure.errno.map_or(0, |e| e as i32), failure.detail.as_str())
            }
        };
        // Up to three bytes less than fit, so that no character is cut.
        let end =
            (0..=text.len().min(LAUNCH_DETAIL_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let text = &text[..end];
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[..3].copy_from_slice(&[kind, code, state]);
        bytes[4..8].copy_from_slice(&errno.to_le_bytes());
        bytes[8..10].copy_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
        bytes[HEADER_BYTES..HEADER_BYTES + text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    /// The inverse of `encode`; `None` for anything else.
    fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Option<Self> {
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let text = String::from_utf8(bytes.get(HEADER_BYTES..HEADER_BYTES + length)?.to_vec()).ok()?;
        let code = usize::from(bytes[1]);
        match (bytes[0], bytes[2]) {
            (0, 0) => Some(Self::WantsMaps),
            (1, state) => {
                let layer = *Layer::ALL.get(code)?;
                let answer = match state {
                    0 => Answer::Enforced,
                    1 => Answer::Partial(text),
                    2 => Answer::Unsupported(text),
                    _ => return None,
                };
                Some(Self::Layer(LayerReport { layer, answer }))
            }
            (2, 0) => Some(Self::AtGate),
            (3, 0) => {
                let number = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                let errno = (number != 0).then(|| Errno::from_raw(number));
                Some(Self::Failed(Failure { step: *Step::ALL.get(code)?, errno, detail: text }))
            }
            (4, 0) => Some(Self::WantsRelease),
            (5, 0) => Some(Self::Listener),
            _ => None,
        }
    }
}

/// The child's end.
#[derive(Debug)]
pub(super) struct Reporter(pub(super) OwnedFd);

impl Reporter {
    /// Sends one message.
    pub(super) fn send(&self, message: &Message) -> Result<(), Errno> {
        loop {
            match nix::unistd::write(self.0.as_fd(), &message.encode()) {
                Ok(MESSAGE_BYTES) => return Ok(()),
                Ok(_) => return Err(Errno::EIO), // cannot be: atomic below PIPE_BUF
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Reporter {
    /// Sends the listener of this process' filter, and closes it here.
    pub(super) fn hand_listener(&self, listener: OwnedFd) -> Result<(), Errno> {
        loop {
            match pass::send(self.0.as_fd(), &Message::Listener.encode(), Some(listener.as_fd())) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }
}

/// Receives one message of the child, and the descriptor of the one that has one; `None` at the end.
pub(super) fn hear(socket: &OwnedFd) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0; MESSAGE_BYTES];
    let (length, fd) = loop {
        match pass::receive(socket.as_fd(), &mut bytes, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            done => break done?,
        }
    };
    match length {
        0 => Ok(None),
        MESSAGE_BYTES => {
            let message = Message::decode(&bytes).ok_or(Errno::EBADMSG)?;
            if (message == Message::Listener) == fd.is_some() { Ok(Some((message, fd))) } else { Err(Errno::EBADMSG) }
        }
        _ => Err(Errno::EIO),
    }
}

/// Reads one message; `None` at the end of the pipe.
pub(super) fn receive(pipe: &OwnedFd) -> Result<Option<Message>, Errno> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut filled = 0;
    while filled < MESSAGE_BYTES {
        match nix::unistd::read(pipe.as_fd(), &mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Message::decode(&bytes).map(Some).ok_or(Errno::EBADMSG)
}

/// Writes every layer's answer to our own process at the other end of `pipe`, and closes it. They fit into a pipe: nobody
/// waits here.
///
/// # Errors
/// Those of write(2); `EPIPE` when that process is gone.
pub fn send_layers(pipe: OwnedFd, layers: &[LayerReport]) -> Result<(), Errno> {
    let reporter = Reporter(pipe);
    layers.iter().try_for_each(|layer| reporter.send(&Message::Layer(layer.clone())))
}

/// Reads what [`send_layers`] wrote.
///
/// # Errors
/// `EBADMSG` unless it is one answer of each layer, in their order; those of read(2).
pub fn receive_layers(pipe: &OwnedFd) -> Result<Vec<LayerReport>, Errno> {
    let mut layers = Vec::with_capacity(Layer::ALL.len());
    for wanted in Layer::ALL {
        match receive(pipe)? {
            Some(Message::Layer(report)) if report.layer == wanted => layers.push(report),
            _ => return Err(Errno::EBADMSG),
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests;
