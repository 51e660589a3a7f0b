//! `audit verify`: can you prove that nothing is missing?
//!
//! `walk` judges a chain of lines and is pure; `session` and `host` read the files.

mod host;
mod lines;
mod session;
mod verdict;
pub mod walk;

use std::path::Path;

pub(super) use self::host::sessions;
pub(super) use self::session::segments;
pub use self::verdict::{Finding, Report, Verdict};

use self::lines::{Lines, Piece};
use self::session::finding;
use self::walk::Walk;
use super::chain::{Head, Link, SESSION_DOMAIN};
use super::directory::{LOCK, NOTES, segment_name, segment_number};
use super::error::AuditError;
use super::index::INDEX;
use super::notes::{Note, Notes, Verifier};

/// Verifies `path`: a segment, a session or a log root.
///
/// `anchor` is a file of notes that were kept elsewhere: what they say must be in the log.
///
/// # Errors
/// When something cannot be read, or `path` is none of the three.
pub fn verify(path: &Path, verifier: &Verifier, anchor: Option<&Path>) -> Result<Report, AuditError> {
    let anchors = match anchor {
        Some(file) => match read_anchor(file, verifier)? {
            Ok(notes) => notes,
            Err(finding) => return Ok(Report { findings: vec![finding], ..Report::default() }),
        },
        None => Vec::new(),
    };
    let useless =
        |why: &str| Err(AuditError::Untrusted { path: anchor.unwrap_or(path).to_owned(), why: why.to_owned() });
    match kind_of(path)? {
        Subject::Segment(_) if anchor.is_some() => {
            useless("is an anchor, and a segment on its own cannot be held to it")
        }
        Subject::Segment(number) => verify_segment(path, number),
        Subject::Session => {
            let name = path.file_name().unwrap_or_default();
            let pins: Vec<_> = anchors.iter().filter(|note| *note.session == *name).map(host::anchor_pin).collect();
            if pins.is_empty() && anchor.is_some() {
                return useless("is an anchor of another session");
            }
            Ok(session::verify(path, verifier, &pins)?.report)
        }
        Subject::Root => host::verify(path, verifier, &anchors),
    }
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A segment of this number.
    Segment(u32),
    /// A session's directory.
    Session,
    /// A log root.
    Root,
}

/// Tells a segment, a session and a root apart.
pub(super) fn kind_of(path: &Path) -> Result<Subject, AuditError> {
    let metadata = path.metadata().map_err(AuditError::file("look at", path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let other = || AuditError::Untrusted { path: path.to_owned(), why: "is no segment, session or log root".into() };
    if !metadata.is_dir() {
        return segment_number(&name).map(Subject::Segment).ok_or_else(other);
    }
    if [LOCK, NOTES, &segment_name(1)].iter().any(|file| path.join(file).exists()) {
        return Ok(Subject::Session);
    }
    let mut empty = true;
    for entry in std::fs::read_dir(path).map_err(AuditError::file("list", path))? {
        let entry = entry.map_err(AuditError::file("list", path))?;
        let name = entry.file_name();
        if name == INDEX || host::is_date(&name.to_string_lossy()) {
            return Ok(Subject::Root);
        }
        empty = false;
    }
    if empty { Ok(Subject::Root) } else { Err(other()) }
}

/// Verifies one segment on its own: its chain, from whatever record it begins with.
fn verify_segment(path: &Path, number: u32) -> Result<Report, AuditError> {
    let mut lines = Lines::open(path)?;
    let mut walk = Walk::new(SESSION_DOMAIN, Head::START);
    let mut report = Report { segments: 1, ..Report::default() };
    let mut tail = None;
    while let Some(piece) = lines.next().map_err(AuditError::file("read", path))? {
        if piece == Piece::Tail {
            tail = Some(lines.bytes.len());
            break;
        }
        let bytes: &[u8] = if piece == Piece::Line { &lines.bytes } else { b"" };
        if walk.line() == 0
            && number > 1
            && let Some(link) = Link::read(SESSION_DOMAIN, bytes).filter(|link| link.seq > 0)
        {
            walk = Walk::new(SESSION_DOMAIN, Head { seq: link.seq - 1, hash: link.prev });
        }
        report.records += u64::from(walk.step(bytes).is_some());
    }
    if let Some(fault) = walk.fault() {
        report.findings.push(finding(fault.verdict, path.to_owned(), Some(fault.line), Some(fault.seq), &fault.detail));
    } else if let Some(tail) = tail {
        let detail = format!("{tail} bytes after seq {}", walk.head().seq);
        report.findings.push(finding(Verdict::Torn, path.to_owned(), Some(walk.line() + 1), None, &detail));
    }
    report.remarks.push("a segment on its own: the signed notes are checked with its session".into());
    Ok(report)
}

fn read_anchor(path: &Path, verifier: &Verifier) -> Result<Result<Vec<Note>, Finding>, AuditError> {
    let bytes = std::fs::read(path).map_err(AuditError::file("read", path))?;
    let Notes { notes, spoiled_at } = Notes::parse(&bytes);
    let forged = notes.iter().find(|note| !note.is_signed_by(verifier)).map(|note| note.line);
    Ok(match forged.or(spoiled_at).or(notes.is_empty().then_some(1)) {
        Some(line) => {
            let detail = "the host's key did not sign this note";
            Err(finding(Verdict::BadSignature, path.to_owned(), Some(line as u64), None, detail))
        }
        None => Ok(notes),
    })
}

#[cfg(test)]
mod python;
#[cfg(test)]
mod tests;
