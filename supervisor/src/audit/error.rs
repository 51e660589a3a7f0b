//! What can fail in the log. Every one of these means: nothing more is forwarded (A2).

use std::io;
use std::path::{Path, PathBuf};

use super::record::RecordError;

/// Why something is not on record.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or directory of the log could not be had or used.
    #[error("cannot {what} {path}")]
    File {
        /// The step, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A directory or file that others than us could have written.
    #[error("{path} {why}")]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The event is no record.
    #[error("the event cannot be recorded")]
    Record(#[from] RecordError),
    /// The journal just failed. Where it could, it has said so in an `audit.stopped` record.
    #[error("the audit log stopped ({code})")]
    Stopped {
        /// `no_space`, `quota`, `read_only` or `io_error`.
        code: &'static str,
        /// What the kernel said; none for the quota.
        #[source]
        source: Option<io::Error>,
    },
    /// The journal failed before; it takes nothing more.
    #[error("the audit log has stopped before ({code}); nothing more is recorded")]
    Poisoned {
        /// The code of the first failure.
        code: &'static str,
    },
    /// A note was asked for a place that is not behind the last one that a note was written for.
    #[error("record {seq} is not behind record {signed}, which is signed already")]
    NotRising {
        /// The place that was named.
        seq: u64,
        /// The last one that was signed.
        signed: u64,
    },
    /// More notes were asked for than the log and the time account for.
    #[error("a note for record {seq} is one more than the log and the time account for")]
    TooManyNotes {
        /// The place that was named.
        seq: u64,
    },
    /// The host index does not end in a readable line.
    #[error("{path} does not end in a readable line; run `intercept-sandbox audit verify`")]
    IndexDamaged {
        /// The index.
        path: PathBuf,
    },
    /// The key file is not what we write.
    #[error("{path} is no key file of ours: {why}")]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl AuditError {
    /// Whether the session's log quota is what stopped it.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        matches!(self, Self::Stopped { code: "quota", .. } | Self::Poisoned { code: "quota" })
    }

    /// For `map_err`.
    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

/// The stable code of a failed write.
pub(super) fn code_of(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => "no_space",
        Some(libc::EROFS) => "read_only",
        _ => "io_error",
    }
}
