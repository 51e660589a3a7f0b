//! Cases: calls with the end that each must have, and policy texts with the errors that each must give.
//!
//! The cases of a file run in order on one policy and one set of counters, so a case can say what the calls before it
//! have used up. Time stands at [`START_NS`] for the first case and moves with `at`.

mod run;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::argument_keys::AMBIGUOUS_ARGUMENT;
use super::codes::Code;
use super::verdict::DenialCode;
use crate::report::Place;
use crate::wire::advertised::Advertised;

pub use run::CasesRun;

/// When the first case is: 2026-01-01 00:00:00 UTC, a Thursday, in nanoseconds since the Unix epoch. Every calendar
/// window begins here.
pub(super) const START_NS: u64 = 1_767_225_600 * 1_000_000_000;

/// A case file that was read.
#[derive(Clone, Debug)]
pub struct CaseFile {
    /// The file.
    pub path: PathBuf,
    /// Where the policy is; none where no case makes a call.
    pub policy: Option<PolicyFrom>,
    pub(super) cases: Vec<Case>,
}

/// Where a case file's policy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFrom {
    /// In this file, relative to the case file's directory.
    File(PathBuf),
    /// This is it.
    Text(String),
}

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// Where its name stands.
    pub(super) place: Place,
    pub(super) what: What,
    pub(super) expect: Expect,
}

/// What a case does.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Makes a call.
    Call(Asked),
    /// Asks whether a message of this method passes, in any place where MCP has it.
    Method(String),
    /// Loads this policy.
    Load(String),
}

/// A call that a case makes.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The `params` of the tools/call, JSON as on the pipe.
    pub(super) params: String,
    /// What the server says of the tool; none: it cannot be had.
    pub(super) tool: Option<Advertised>,
    /// Milliseconds since [`START_NS`].
    pub(super) at_ms: u64,
    /// How many times; each must end as expected.
    pub(super) repeat: u64,
}

/// How a case must end.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    Allow,
    Deny {
        code: Option<DenialCode>,
        rule: Option<String>,
        retry_after: Option<Retry>,
    },
    Hidden,
    Approval {
        rule: Option<String>,
    },
    /// By the pipe, before the policy is asked.
    Refused(&'static str),
    Loads,
    /// These, in file order, and no other.
    Errors(Vec<Code>),
    /// These, in file order, and no other; the policy loads.
    Warnings(Vec<Code>),
}

/// When a refused call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    Ms(u64),
}

/// Codes with which the pipe refuses a call before the policy is asked.
pub(super) const PIPE_CODES: &[&str] = &[
    AMBIGUOUS_ARGUMENT,
    BAD_CALL,
    "ambiguous_keys",
    "bad_params",
    "parameter_key_case",
    "duplicate_key",
    "nul_in_key",
    "lone_surrogate",
    "bad_escape",
    "control_byte",
    "non_finite",
    "integer_too_large",
    "negative_zero",
    "inexact_decimal",
    "bad_number",
    "number_too_long",
    "too_deep",
    "too_many_values",
    "trailing_data",
    "truncated",
    "syntax",
];
/// Parameters that are not those of a call.
pub(super) const BAD_CALL: &str = "bad_call";
