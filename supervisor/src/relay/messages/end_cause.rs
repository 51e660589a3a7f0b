//! Why a session ended.

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
    /// The relay did not say in time that the client is gone, or did not end the log in time.
    RelaySilent = 11,
    /// A writable folder holds more than its `max`.
    WriteLimit = 12,
    /// The process that counts writable folders died.
    MeterDied = 13,
    /// The process that connects to the hosts of the policy died.
    DialerDied = 14,
    /// Egress asked the dialer for what egress never asks for: it was taken over, or is broken.
    EgressOverstepped = 15,
}

impl EndCause {
    pub(in crate::relay) const ALL: [Self; 15] = [
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
        Self::RelaySilent,
        Self::WriteLimit,
        Self::MeterDied,
        Self::DialerDied,
        Self::EgressOverstepped,
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
            Self::RelaySilent => "relay_silent",
            Self::WriteLimit => "write_limit",
            Self::MeterDied => "meter_died",
            Self::DialerDied => "dialer_died",
            Self::EgressOverstepped => "egress_overstepped",
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u32 == number)
    }
}
