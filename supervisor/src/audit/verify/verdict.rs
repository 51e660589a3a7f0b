//! The words of `audit verify`.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What is to be said of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Verdict {
    /// Whole, ended in order, and signed to its last record.
    Ok,
    /// Whole so far, and a running supervisor is writing it.
    Live,
    /// A record is not what was written.
    Edited,
    /// Records, a segment or a session are not there any more.
    Removed,
    /// The records are all there, in another order.
    Reordered,
    /// Something is there that was not written there.
    Inserted,
    /// Bytes behind the last whole record: the writer died while it wrote, or someone cut the file there.
    Torn,
    /// Whole, but not ended in order or not signed to the end: what stands after the last note could be rewritten by
    /// whoever holds the file.
    Unterminated,
    /// It ends before a record that a signed note or the host index says it had.
    Truncated,
    /// A note that the host's key did not sign.
    BadSignature,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Live => "live",
            Self::Edited => "edited",
            Self::Removed => "removed",
            Self::Reordered => "reordered",
            Self::Inserted => "inserted",
            Self::Torn => "torn",
            Self::Unterminated => "unterminated",
            Self::Truncated => "truncated",
            Self::BadSignature => "bad signature",
        }
    }
}

/// One thing that is wrong, at the first place where it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub verdict: Verdict,
    /// The file or directory.
    pub file: PathBuf,
    /// Its line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The record's seq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// More, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict.word(), self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, " seq {seq}")?;
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sessions that were looked at.
    pub sessions: u64,
    /// Segments that were looked at on their own.
    pub segments: u64,
    /// Records that were found good.
    pub records: u64,
    /// Sessions that are being written.
    pub live: u64,
    /// What is wrong; at most one a session.
    pub findings: Vec<Finding>,
    /// What is not wrong but worth knowing.
    pub remarks: Vec<String>,
}

impl Report {
    /// The verdict over all.
    pub fn verdict(&self) -> Verdict {
        match self.findings.first() {
            Some(finding) => finding.verdict,
            None if self.live > 0 && self.live == self.sessions => Verdict::Live,
            None => Verdict::Ok,
        }
    }

    /// Adds another report to this one.
    pub fn merge(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.segments += other.segments;
        self.records += other.records;
        self.live += other.live;
        self.findings.extend(other.findings);
        self.remarks.extend(other.remarks);
    }
}

impl fmt::Display for Report {
    /// `ok: 3 sessions, 214 records`, or one line a finding; remarks after them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        if self.findings.is_empty() {
            write!(f, "{}: ", self.verdict().word())?;
            if self.sessions > 0 || self.segments == 0 {
                write!(f, "{}, ", plural(self.sessions, "session"))?;
            }
            if self.segments > 0 {
                write!(f, "{}, ", plural(self.segments, "segment"))?;
            }
            write!(f, "{}", plural(self.records, "record"))?;
            if self.live > 0 && self.verdict() == Verdict::Ok {
                write!(f, ", {} live", self.live)?;
            }
            writeln!(f)?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        self.remarks.iter().try_for_each(|remark| writeln!(f, "note: {remark}"))
    }
}
