//! Verifies a whole log root: the host index, and every session that it names or that is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::lines::{Lines, Piece};
use super::session::{self, Pin, finding};
use super::verdict::{Finding, Report, Verdict};
use super::walk::Walk;
use crate::audit::chain::{Hash, Head, INDEX_DOMAIN, Link};
use crate::audit::error::AuditError;
use crate::audit::index::{Entry, INDEX, Op};
use crate::audit::notes::{Note, Verifier};
use crate::audit::read::open_regular;
use crate::lock;

/// What the index says of one session.
#[derive(Clone, Debug)]
struct Listed {
    /// Line of the index.
    line: u64,
    /// Hash of the start line.
    hash: String,
    end: Option<Pin>,
}

/// Verifies the log root `root`. `anchors` are notes that were kept elsewhere, already checked against the key.
pub(super) fn verify(root: &Path, verifier: &Verifier, anchors: &[Note]) -> Result<Report, AuditError> {
    // The disk before the index: a session that begins meanwhile is then in the index, or not on our list.
    let on_disk = sessions(root)?;
    let mut report = Report::default();
    let listed = read_index(root, !on_disk.is_empty(), &mut report)?;

    for (relative, entry) in &listed {
        if !on_disk.contains(relative) && !root.join(relative).is_dir() {
            let detail = format!("the session stands in {INDEX}:{}", entry.line);
            report.findings.push(finding(Verdict::Removed, root.join(relative), None, None, &detail));
        }
    }
    for relative in &on_disk {
        let path = root.join(relative);
        let entry = listed.get(relative);
        let name = path.file_name().unwrap_or_default();
        let anchored = anchors.iter().filter(|note| *note.session == *name).map(anchor_pin);
        let pins: Vec<_> = entry.and_then(|entry| entry.end.clone()).into_iter().chain(anchored).collect();
        let outcome = session::verify(&path, verifier, &pins)?;
        let sound = outcome.report.findings.is_empty();
        report.merge(outcome.report);
        if sound && !outcome.live {
            report.findings.extend(judge_listing(&path, entry, outcome.head, outcome.previous.as_deref()));
        }
    }
    for note in anchors {
        if !on_disk.iter().any(|relative| relative.ends_with(&format!("/{}", note.session))) {
            let detail = format!("the anchor says that it had seq {}", note.head.seq);
            report.findings.push(finding(Verdict::Removed, root.join(&note.session), None, None, &detail));
        }
    }
    Ok(report)
}

/// The pin that an anchor sets.
pub(super) fn anchor_pin(note: &Note) -> Pin {
    Pin { head: note.head, by: "the anchor".into() }
}

/// Whether a sound session stands in the index as it should.
fn judge_listing(path: &Path, entry: Option<&Listed>, head: Head, previous: Option<&str>) -> Option<Finding> {
    let segment = path.join("000001.jsonl");
    match entry {
        None => {
            Some(finding(Verdict::Inserted, path.to_owned(), None, None, &format!("the session is not in {INDEX}")))
        }
        Some(entry) if previous != Some(&entry.hash) => {
            let detail = format!("its `previous` is not the hash of {INDEX}:{}", entry.line);
            Some(finding(Verdict::Edited, segment, Some(1), Some(1), &detail))
        }
        Some(Listed { end: Some(pin), .. }) if pin.head != head => {
            let detail = format!("{} says that it ended at seq {}", pin.by, pin.head.seq);
            Some(finding(Verdict::Inserted, path.to_owned(), None, Some(pin.head.seq + 1), &detail))
        }
        Some(_) => None,
    }
}

/// Every `<date>/<session>` below the root.
pub(in crate::audit) fn sessions(root: &Path) -> Result<BTreeSet<String>, AuditError> {
    let directories = |path: &Path| -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    };
    let mut found = BTreeSet::new();
    for day in directories(root).map_err(AuditError::file("list", root))?.into_iter().filter(|name| is_date(name)) {
        let path = root.join(&day);
        for session in directories(&path).map_err(AuditError::file("list", &path))? {
            found.insert(format!("{day}/{session}"));
        }
    }
    Ok(found)
}

/// `YYYY-MM-DD`.
pub(super) fn is_date(name: &str) -> bool {
    name.len() == 10
        && name.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Walks the index and returns what it says of each session, by path.
fn read_index(root: &Path, expected: bool, report: &mut Report) -> Result<BTreeMap<String, Listed>, AuditError> {
    let path = root.join(INDEX);
    let mut listed = BTreeMap::new();
    let file = match open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if expected {
                report.findings.push(finding(Verdict::Removed, path, None, None, "the host index is missing"));
            }
            return Ok(listed);
        }
        Err(error) => return Err(AuditError::file("open", &path)(error)),
    };
    lock::shared(&file).map_err(AuditError::file("lock", &path))?;

    let mut lines = Lines::open(&path)?;
    let mut walk = Walk::new(INDEX_DOMAIN, Head::START);
    let mut held: Option<Vec<u8>> = None;
    let mut tail = false;
    while let Some(piece) = lines.next().map_err(AuditError::file("read", &path))? {
        if piece == Piece::Tail {
            tail = true;
            break;
        }
        if let Some(torn) = held.take() {
            if explains(&lines.bytes, torn.len(), walk.head()) {
                walk.skip();
                report.remarks.push(format!("torn line: {}:{}, named by the next", path.display(), walk.line()));
            } else {
                let _ = walk.step(&torn);
            }
        }
        if !walk.is_broken() && Link::read(INDEX_DOMAIN, &lines.bytes).is_none() {
            held = Some(lines.bytes.clone());
            continue;
        }
        if let Some(link) = walk.step(&lines.bytes) {
            enter(&mut listed, &path, walk.line(), link.hash, &lines.bytes);
        }
    }
    if let Some(torn) = held {
        let _ = walk.step(&torn);
    }
    if let Some(fault) = walk.fault() {
        report.findings.push(finding(fault.verdict, path, Some(fault.line), Some(fault.seq), &fault.detail));
    } else if tail {
        report.findings.push(finding(Verdict::Torn, path, Some(walk.line() + 1), None, "bytes after the last line"));
    }
    Ok(listed)
}

/// Whether `line` continues the chain and says that so many bytes before it were torn.
fn explains(line: &[u8], torn: usize, head: Head) -> bool {
    let linked = Link::read(INDEX_DOMAIN, line).is_some_and(|link| link.intact && link.follows(head));
    let entry: Option<Entry> = serde_json::from_slice(line).ok();
    linked && entry.and_then(|entry| entry.torn_bytes) == Some(torn as u64)
}

fn enter(listed: &mut BTreeMap<String, Listed>, path: &Path, line: u64, hash: Hash, bytes: &[u8]) {
    let Ok(entry) = serde_json::from_slice::<Entry>(bytes) else { return };
    match entry.op {
        Op::Start => {
            listed.insert(entry.path, Listed { line, hash: hash.to_string(), end: None });
        }
        Op::End => {
            let hash = entry.last_hash.and_then(|hash| Hash::parse(hash.as_bytes()));
            if let (Some(listed), Some(seq), Some(hash)) = (listed.get_mut(&entry.path), entry.last_seq, hash) {
                let by = format!("{}:{line}", path.display());
                listed.end = Some(Pin { head: Head { seq, hash }, by });
            }
        }
    }
}
