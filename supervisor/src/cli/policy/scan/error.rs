//! Why there is no draft.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use super::server::Ended;
use crate::bounds::{POLICY_TOOLS_MAX, SCAN_BYTES_MAX, SCAN_CURSOR_BYTES_MAX, SCAN_LINE_BYTES_MAX, SCHEMA_PAGES_MAX};
use crate::trust::TrustError;

/// Why there is no draft. What a server said stands in it raw; who prints it escapes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error("policy scan needs root; run it through sudo")]
    NotRoot,
    #[error("-o is for real root alone; behind sudo, redirect stdout to a file of your own")]
    OutputBehindSudo,
    #[error(
        "--read and --env are for real root alone; behind sudo they would show a server what the caller may not read"
    )]
    LooserBehindSudo,
    #[error("{} is there already; nothing is replaced", .0.display())]
    OutputExists(PathBuf),
    #[error("the command is not UTF-8, so no policy can name it")]
    Word,
    #[error("--read or --env: {0}")]
    Flags(String),
    #[error("cannot write {}", path.display())]
    Output { path: PathBuf, source: io::Error },
    #[error("the directory for scans is not root's alone")]
    Trust(#[from] TrustError),
    #[error("cannot {doing} {}", path.display())]
    Ground { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {0}")]
    Start(&'static str, #[source] Errno),
    #[error("the server did not answer `{method}` within {seconds} s")]
    Silent { method: &'static str, seconds: u64 },
    #[error("the server was gone before it answered `{method}`")]
    Gone { method: &'static str },
    #[error("the server answered `{method}` with the error: {text}")]
    Refused { method: &'static str, text: String },
    #[error("the server's answer to `{method}` cannot be read: {why}")]
    Unreadable { method: &'static str, why: String },
    #[error("the server speaks the protocol version {0}, which is not known here")]
    Version(String),
    #[error("the server wrote more than {SCAN_BYTES_MAX} bytes, or a line of more than {SCAN_LINE_BYTES_MAX}")]
    TooMuch,
    #[error("the server lists more than {POLICY_TOOLS_MAX} tools")]
    TooManyTools,
    #[error("the pages of tools/list do not end: more than {SCHEMA_PAGES_MAX}, or a cursor that was there before")]
    Endless,
    #[error("the cursor of tools/list is longer than {SCAN_CURSOR_BYTES_MAX} bytes")]
    Cursor,
    #[error("interrupted")]
    Interrupted,
    #[error("the run did not end and was killed")]
    Stuck,
    #[error("the draft does not load, which is our mistake: {0}")]
    Draft(String),
    #[error("{error}; the run ended with {code}{said}")]
    During { error: Box<ScanError>, code: i32, said: String },
}

impl ScanError {
    /// The same with what the run itself said, which often is the reason.
    pub(super) fn with(self, ended: &Ended) -> Self {
        let lines: Vec<&str> = ended.said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        let said = if last.is_empty() { String::new() } else { format!(" and said: {}", last.join(" | ")) };
        Self::During { error: Box::new(self), code: ended.code, said }
    }

    /// The same without what the run said. Its lines and the server's are one stream, in which the server can imitate ours, so
    /// none of them is shown.
    pub(super) fn without_stderr(self) -> Self {
        match self {
            Self::During { error, code, .. } => Self::During { error, code, said: String::new() },
            other => other,
        }
    }
}
