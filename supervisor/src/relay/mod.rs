//! Where policy, wire, limits and audit meet: one process, one thread, two pipes.
//!
//! `gate` decides one message, `pump` moves bytes; nothing leaves `outbox` before its record is on disk.

mod answers;
mod approvals;
mod call_clock;
mod calls;
mod capabilities;
mod ceilings;
mod compiled;
mod continuations;
pub mod control;
mod denials;
mod desk;
#[cfg(test)]
mod documented;
mod egress_desk;
mod events;
mod fingerprint;
mod gate;
#[cfg(test)]
mod ground;
mod list_pace;
mod lists;
pub mod messages;
mod method_policy;
mod noise;
mod notifications;
mod outbox;
mod overlong;
mod parking;
mod person;
mod pin_desk;
mod pins;
pub mod pipes;
mod progress;
mod pump;
#[cfg(fuzzing)]
pub mod rehearsal;
mod results;
mod ruling;
mod schemas;
#[cfg(test)]
mod schemas_held;
pub mod sealed;
mod server_asks;
mod shown;
#[cfg(test)]
mod stage;
pub mod stderr;
mod subscriptions;
mod swap;
#[cfg(test)]
mod test_log;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

pub use pins::PinSource;
pub use pump::{Pipes, RelayError};

use crate::audit::Journal;
use crate::policy::Policy;
use crate::sandbox::LayerReport;

/// Everything that the relay holds: pipes, sockets, the open log and the policy. It opens nothing but the limit store.
pub struct Parts {
    /// The session's name.
    pub session: String,
    /// The log; from the fork on the relay is its one writer.
    pub journal: Journal,
    /// Keyed hashes of arguments.
    pub redactor: crate::audit::Redactor,
    /// The loaded policy.
    pub policy: Policy,
    /// What its pins begin with.
    pub pins: PinSource,
    /// Tool rules refuse nothing, they are recorded.
    pub observe: bool,
    /// Where counts are kept.
    pub store: Box<dyn crate::limits::Store>,
    /// The five streams.
    pub pipes: Pipes,
    /// To the monitor.
    pub control: OwnedFd,
    /// Where people's commands come in; non-blocking.
    pub people: UnixListener,
    /// To egress.
    pub egress: crate::egress::channel::Channel,
    /// Values that are blanked in what the server says and in what people are shown.
    pub secrets: crate::wire::secrets::Secrets,
    /// Every layer's answer, for `sandbox.applied`.
    pub layers: Vec<LayerReport>,
    /// The server's pid 1, for `sandbox.applied`.
    pub server_pid: u32,
    /// Longest line accepted from the client, bytes.
    pub client_line_bytes_max: usize,
    /// Longest line accepted from the server, bytes.
    pub server_line_bytes_max: usize,
}

/// The relay's life: records `sandbox.applied`, says so, then pumps until the monitor ends the session.
///
/// # Errors
/// [`RelayError`] when the log, a pipe or one of our own sockets fails; the session is over then.
pub fn serve(parts: Parts) -> Result<(), RelayError> {
    pump::Pump::new(parts)?.run()
}
