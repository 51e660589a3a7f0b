//! The audit log: what happened, on whose policy, and proof that nothing is missing. docs/audit-format.md is its
//! contract.
//!
//! Pure: `kind`, `event`, `record`, `text`, `timestamp`, `chain`, `redact`, `notes`, `base64`, `verify::walk`.
//! The rest does I/O, all of it on descriptors that were opened before the first foreign byte.

pub mod chain;
pub mod event;
pub mod kind;
pub mod record;
pub mod redact;
mod text;
pub mod timestamp;

pub use event::{
    Actor, Checkpoint, Event, Fs, Gap, Limit, Mcp, McpId, McpResult, Policy, Proc, Reason, Rule, Sandbox, Segment,
    Server,
};
pub use kind::{Effect, Kind, Severity};
pub use redact::{Args, Redactor};
