//! What a record is about, and how much it matters.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The `type` of a record. Readers ignore types that they do not know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Kind {
            /// Every type.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// The type as it stands in a record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// First record of a session: actor, server, policy and host in full.
    SessionStart = "session.start",
    /// Last record of a session that ended in order.
    SessionEnd = "session.end",
    /// Every layer's answer, before the server's first instruction.
    SandboxApplied = "sandbox.applied",
    /// The policy that decides.
    PolicyLoad = "policy.load",
    /// Another version of the policy took over.
    PolicyReload = "policy.reload",
    /// A policy was refused.
    PolicyReject = "policy.reject",
    /// A tool's definition was pinned, or a tool is refused for its definition or its name.
    PolicyPin = "policy.pin",
    /// A request, either direction.
    McpRequest = "mcp.request",
    /// The response to a request.
    McpResponse = "mcp.response",
    /// A notification, either direction.
    McpNotification = "mcp.notification",
    /// Bytes that are no message.
    McpMalformed = "mcp.malformed",
    /// A connection attempt.
    NetConnect = "net.connect",
    /// A name asked of the stub.
    NetDns = "net.dns",
    /// The gateway's verdict on a TLS connection.
    NetSni = "net.sni",
    /// A bind.
    NetBind = "net.bind",
    /// A finished connection with its byte counts.
    NetFlow = "net.flow",
    /// A program was started inside.
    ProcExec = "proc.exec",
    /// A process ended.
    ProcExit = "proc.exit",
    /// A process was refused something.
    ProcDenied = "proc.denied",
    /// A file was opened for writing.
    FsOpen = "fs.open",
    /// A file access was refused.
    FsDenied = "fs.denied",
    /// A person was asked.
    ApprovalRequested = "approval.requested",
    /// A person agreed.
    ApprovalGranted = "approval.granted",
    /// A person refused.
    ApprovalDenied = "approval.denied",
    /// Nobody answered in time, or nobody used the answer.
    ApprovalExpired = "approval.expired",
    /// Something that a person should look at.
    Alert = "alert",
    /// First record of a segment after the first: where the one before stopped.
    AuditSegment = "audit.segment",
    /// A signed note was made for an earlier record.
    AuditCheckpoint = "audit.checkpoint",
    /// Events were lost before they reached the log, and how many.
    AuditGap = "audit.gap",
    /// The log's file system or quota is nearly full.
    AuditLowSpace = "audit.low_space",
    /// The log cannot go on; nothing is forwarded from here. Ends a session like `session.end`.
    AuditStopped = "audit.stopped",
    /// Sessions were removed by retention.
    AuditPruned = "audit.pruned",
}

/// What became of the thing recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[must_use]
pub enum Effect {
    /// Let through.
    Allowed,
    /// Refused.
    Denied,
    /// Let through although the policy refuses it: the session only observes.
    Observed,
}

impl Effect {
    /// The effect as it stands in a record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Observed => "observed",
        }
    }
}

/// How much a record matters, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Business as usual.
    Info,
    /// Worth knowing.
    Notice,
    /// A denial, or something lost.
    Warning,
    /// A promise could not be kept and the session ends.
    Critical,
}

impl Severity {
    /// The severity of a record that names none.
    #[must_use]
    pub const fn of(kind: Kind, effect: Option<Effect>) -> Self {
        match kind {
            Kind::AuditStopped => Self::Critical,
            Kind::PolicyReject
            | Kind::McpMalformed
            | Kind::ProcDenied
            | Kind::FsDenied
            | Kind::ApprovalDenied
            | Kind::Alert
            | Kind::AuditGap
            | Kind::AuditLowSpace => Self::Warning,
            _ if matches!(effect, Some(Effect::Denied | Effect::Observed)) => Self::Warning,
            Kind::SessionStart
            | Kind::SessionEnd
            | Kind::PolicyReload
            | Kind::ApprovalRequested
            | Kind::ApprovalGranted
            | Kind::ApprovalExpired
            | Kind::AuditSegment
            | Kind::AuditPruned => Self::Notice,
            _ => Self::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_as_str_name_each_type_alike() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
        assert_eq!(Kind::ALL.len(), 32);
    }

    #[test]
    fn denials_are_warnings_and_a_stopped_log_is_critical() {
        assert_eq!(Severity::of(Kind::McpRequest, Some(Effect::Denied)), Severity::Warning);
        assert_eq!(Severity::of(Kind::McpRequest, Some(Effect::Observed)), Severity::Warning);
        assert_eq!(Severity::of(Kind::McpRequest, Some(Effect::Allowed)), Severity::Info);
        assert_eq!(Severity::of(Kind::AuditStopped, None), Severity::Critical);
    }
}
