//! The audit log: what happened, on whose policy, and proof that nothing is missing. docs/audit-format.md is its
//! contract.
//!
//! Pure: `kind`, `event`, `record`, `text`, `timestamp`, `chain`, `redact`, `notes`, `base64`, `verify::walk`.
//! The rest does I/O; after [`SessionDirectory::create`] the [`Journal`] needs nothing but its own descriptor.

/// Root of the logs.
pub const DIRECTORY: &str = "/var/log/intercept-sandbox";
/// Where the host's keys are.
pub const KEY_DIRECTORY: &str = "/etc/intercept-sandbox/keys";

mod base64;
pub mod chain;
mod directory;
mod error;
pub mod event;
mod index;
mod journal;
pub mod keys;
pub mod kind;
mod medium;
pub mod net;
pub mod notes;
pub mod read;
pub mod record;
pub mod redact;
mod refusal;
mod tail;
pub(crate) mod text;
pub mod timestamp;
mod trusted;
pub mod verify;

pub use chain::{Hash, Head};
pub use directory::{Opened, SessionDirectory};
pub use error::AuditError;
pub use event::{
    Actor, Approval, Checkpoint, Event, Fs, Gap, Limit, Mcp, McpId, McpResult, Pin, Policy, Proc, Reason, Rule,
    Sandbox, Segment, Server,
};
pub use journal::{Committed, Journal, Mark};
pub use kind::{Effect, Kind, Severity};
pub use medium::Medium;
pub use notes::{Signer, Verifier};
pub use redact::{Args, Redactor};
pub use refusal::{Refusal, record_refusal};
