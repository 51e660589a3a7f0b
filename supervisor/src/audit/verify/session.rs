//! Verifies one session: its segments as one chain, its notes, and how it ended.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::lines::{Lines, Piece};
use super::verdict::{Finding, Report, Verdict};
use super::walk::Walk;
use crate::audit::chain::{Hash, Head, Link, SESSION_DOMAIN};
use crate::audit::directory::{LOCK, NOTES, hash_range, segment_name, segment_number};
use crate::audit::error::AuditError;
use crate::audit::kind::Kind;
use crate::audit::notes::{Note, Notes, Verifier};
use crate::audit::read::open_regular;
use crate::weaken;

/// Largest notes file that is read: 150 000 notes.
const NOTES_BYTES_MAX: u64 = 64 << 20;

/// What a session turned out to be.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) report: Report,
    /// Where its chain ends.
    pub(super) head: Head,
    /// `previous` of its `session.start`.
    pub(super) previous: Option<String>,
    pub(super) live: bool,
}

/// A place that the chain must pass through, and who says so.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) head: Head,
    pub(super) by: String,
}

/// The members of a record that the end of a session is judged by. Others are ignored.
#[derive(Debug, Default, Deserialize)]
struct Record {
    r#type: Option<String>,
    session: Option<String>,
    previous: Option<String>,
    segment: Option<Header>,
}

#[derive(Clone, Debug, Deserialize)]
struct Header {
    previous: u32,
    last_seq: u64,
    last_hash: String,
    torn_bytes: u64,
    torn_sha256: Option<String>,
}

/// Where a record stands.
#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    line: u64,
    hash: Hash,
}

/// Whether a running supervisor holds the session's lock.
fn is_live(path: &Path) -> Result<bool, AuditError> {
    let path = path.join(LOCK);
    match open_regular(&path) {
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(AuditError::file("look at the lock", &path)(error)),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(AuditError::file("open", &path)(error)),
    }
}

/// Verifies the session in `path`. `pins` are places that it must contain besides those of its own notes.
pub(super) fn verify(path: &Path, verifier: &Verifier, pins: &[Pin]) -> Result<Outcome, AuditError> {
    let live = is_live(path)?;
    let mut run = Run::new(path, pins);
    // Notes before records: a note that is written meanwhile must not outrun the records that were read.
    let notes = run.read_notes(verifier)?;
    let signed = notes.iter().map(|note| note.head.seq).max().unwrap_or(0);
    let finding = match run.walk_segments(live)? {
        Some(finding) => Some(finding),
        None => run.judge_pins().or(run.notes_finding.take()).or_else(|| run.judge_end(live, signed)),
    };
    Ok(Outcome {
        report: Report {
            sessions: 1,
            records: run.records,
            live: u64::from(live),
            findings: finding.into_iter().collect(),
            remarks: run.remarks,
            ..Report::default()
        },
        head: run.head,
        previous: run.previous,
        live,
    })
}

struct Run<'a> {
    path: &'a Path,
    session: String,
    pins: Vec<Pin>,
    /// Records at the pins' seqs, filled as they are passed.
    places: BTreeMap<u64, Option<Place>>,
    head: Head,
    records: u64,
    previous: Option<String>,
    last: Record,
    last_place: (PathBuf, u64),
    torn: Option<Finding>,
    notes_finding: Option<Finding>,
    remarks: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(path: &'a Path, pins: &[Pin]) -> Self {
        Self {
            path,
            session: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            pins: pins.to_vec(),
            places: BTreeMap::new(),
            head: Head::START,
            records: 0,
            previous: None,
            last: Record::default(),
            last_place: (path.join(segment_name(1)), 1),
            torn: None,
            notes_finding: None,
            remarks: Vec::new(),
        }
    }

    /// Reads the notes, sorts out those that the key did not sign, and pins the rest.
    fn read_notes(&mut self, verifier: &Verifier) -> Result<Vec<Note>, AuditError> {
        let path = self.path.join(NOTES);
        let mut bytes = Vec::new();
        match open_regular(&path) {
            Ok(file) => {
                file.take(NOTES_BYTES_MAX).read_to_end(&mut bytes).map_err(AuditError::file("read", &path))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(AuditError::file("open", &path)(error)),
        }
        let Notes { notes, spoiled_at } = Notes::parse(&bytes);
        let bad = |line: usize, detail: &str| Finding {
            verdict: Verdict::BadSignature,
            file: path.clone(),
            line: Some(line as u64),
            seq: None,
            detail: detail.to_owned(),
        };
        let (good, forged): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| {
            note.session == self.session && (note.is_signed_by(verifier) || !weaken::in_force("audit-signature"))
        });
        self.notes_finding = match (forged.first(), spoiled_at) {
            (Some(note), _) => Some(bad(note.line, "the host's key did not sign this note for this session")),
            (None, Some(line)) => Some(bad(line, "this is no whole note")),
            (None, None) => None,
        };
        self.pins
            .extend(good.iter().map(|note| Pin { head: note.head, by: format!("a signed note, notes:{}", note.line) }));
        self.places = self.pins.iter().map(|pin| (pin.head.seq, None)).collect();
        Ok(good)
    }

    /// Walks all segments; the first fault ends it.
    fn walk_segments(&mut self, live: bool) -> Result<Option<Finding>, AuditError> {
        let numbers = segments(self.path)?;
        let last = numbers.last().copied().unwrap_or(0);
        for number in 1..=last.max(1) {
            if !numbers.contains(&number) {
                let file = self.path.join(segment_name(number));
                return Ok(Some(finding(
                    Verdict::Removed,
                    file,
                    None,
                    Some(self.head.seq + 1),
                    "the segment is missing",
                )));
            }
            let next = if number < last { self.header(number + 1)? } else { None };
            if let Some(found) = self.walk_segment(number, next, live)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The header of a segment: none when it has no line yet, `Some(None)` when its first line is no header. Its hash is
    /// checked when the walk gets there.
    fn header(&self, number: u32) -> Result<Option<Option<Header>>, AuditError> {
        let path = self.path.join(segment_name(number));
        let mut lines = Lines::open(&path)?;
        if lines.next().map_err(AuditError::file("read", &path))? != Some(Piece::Line) {
            return Ok(None);
        }
        let record: Option<Record> = serde_json::from_slice(&lines.bytes).ok();
        Ok(Some(record.and_then(|record| record.segment).filter(|header| header.previous + 1 == number)))
    }

    /// Walks one segment. `next` is what the header of the next one says of this one's end, where there is a next one.
    fn walk_segment(
        &mut self,
        number: u32,
        next: Option<Option<Header>>,
        live: bool,
    ) -> Result<Option<Finding>, AuditError> {
        let file = self.path.join(segment_name(number));
        let mut lines = Lines::open(&file)?;
        let mut walk = Walk::new(SESSION_DOMAIN, self.head);
        let stop = next.as_ref().and_then(Option::as_ref).map(|header| (header.last_seq, header.last_hash.as_str()));
        let stops = |head: Head| stop.is_some_and(|(seq, hash)| head.seq == seq && head.hash.to_string() == hash);
        let mut tail = 0;
        let mut good = 0;
        while !stops(walk.head()) {
            match lines.next().map_err(AuditError::file("read", &file))? {
                None => break,
                Some(Piece::Tail) => tail = lines.bytes.len(),
                Some(piece) => {
                    let bytes: &[u8] = if piece == Piece::Line { &lines.bytes } else { b"" };
                    if let Some(link) = walk.step(bytes) {
                        good = lines.offset;
                        if let Some(found) = self.take(&file, walk.line(), link, bytes) {
                            return Ok(Some(found));
                        }
                    }
                }
            }
        }
        self.head = walk.head();
        if let Some(fault) = walk.fault() {
            return Ok(Some(finding(fault.verdict, file, Some(fault.line), Some(fault.seq), &fault.detail)));
        }
        match next {
            Some(Some(header)) if stops(walk.head()) => self.judge_torn(&file, &walk, &header, good),
            Some(Some(header)) if header.last_seq > self.head.seq => {
                let detail = format!("the next segment says that there was seq {}", header.last_seq);
                Ok(Some(finding(Verdict::Truncated, file, Some(walk.line()), Some(self.head.seq), &detail)))
            }
            Some(_) => {
                let file = self.path.join(segment_name(number + 1));
                let detail = "it does not say where the segment before it stopped";
                Ok(Some(finding(Verdict::Edited, file, Some(1), Some(self.head.seq + 1), detail)))
            }
            None => {
                if tail > 0 && !live {
                    let detail = format!("{tail} bytes after seq {}", self.head.seq);
                    self.torn = Some(finding(Verdict::Torn, file, Some(walk.line() + 1), None, &detail));
                }
                Ok(None)
            }
        }
    }

    /// Checks that what stands behind the last good record is what the next segment says was torn.
    fn judge_torn(
        &mut self,
        file: &Path,
        walk: &Walk,
        header: &Header,
        good: u64,
    ) -> Result<Option<Finding>, AuditError> {
        let opened = open_regular(file).map_err(AuditError::file("open", file))?;
        let torn = opened.metadata().map_err(AuditError::file("look at", file))?.len().saturating_sub(good);
        let named = match torn {
            0 => None,
            torn => Some(hash_range(&opened, good, torn).map_err(AuditError::file("read", file))?),
        };
        if torn != header.torn_bytes || named != header.torn_sha256 {
            let detail = format!("{torn} bytes after seq {}, not those that the next segment names", self.head.seq);
            return Ok(Some(finding(Verdict::Torn, file.to_owned(), Some(walk.line() + 1), None, &detail)));
        }
        if torn > 0 {
            let line = walk.line() + 1;
            self.remarks.push(format!(
                "torn tail: {}:{line}: {torn} bytes after seq {}, named by the next segment",
                file.display(),
                self.head.seq
            ));
        }
        Ok(None)
    }

    /// Takes a good record into account.
    fn take(&mut self, file: &Path, line: u64, link: Link, bytes: &[u8]) -> Option<Finding> {
        self.records += 1;
        if let Some(place) = self.places.get_mut(&link.seq) {
            *place = Some(Place { file: file.to_owned(), line, hash: link.hash });
        }
        self.last = serde_json::from_slice(bytes).unwrap_or_default();
        self.last_place = (file.to_owned(), line);
        let wrong = |detail| Some(finding(Verdict::Edited, file.to_owned(), Some(line), Some(link.seq), detail));
        if self.last.session.as_deref() != Some(self.session.as_str()) {
            return wrong("it is a record of another session");
        }
        if link.seq == 1 {
            self.previous = self.last.previous.take();
            if self.last.r#type.as_deref() != Some(Kind::SessionStart.as_str()) {
                return wrong("it is no session.start");
            }
        }
        None
    }

    /// Compares the records with what notes and others say of them.
    fn judge_pins(&self) -> Option<Finding> {
        let mut pins: Vec<_> = self.pins.iter().collect();
        pins.sort_by_key(|pin| pin.head.seq);
        for Pin { head, by } in pins {
            match self.places.get(&head.seq).and_then(Option::as_ref) {
                Some(place) if place.hash == head.hash => {}
                Some(place) => {
                    let detail = format!("{by} names another hash");
                    let file = place.file.clone();
                    return Some(finding(Verdict::Edited, file, Some(place.line), Some(head.seq), &detail));
                }
                None => {
                    let (file, line) = self.last_place.clone();
                    let detail = format!("{by} says that there was seq {}", head.seq);
                    return Some(finding(Verdict::Truncated, file, Some(line), Some(self.head.seq), &detail));
                }
            }
        }
        None
    }

    /// How a session that is whole so far ended.
    fn judge_end(&mut self, live: bool, signed: u64) -> Option<Finding> {
        if let Some(torn) = self.torn.take() {
            return Some(torn);
        }
        if live {
            return None;
        }
        let (file, line) = self.last_place.clone();
        let unterminated =
            |detail: &str| Some(finding(Verdict::Unterminated, file.clone(), Some(line), Some(self.head.seq), detail));
        if self.head.seq == 0 {
            unterminated("no record")
        } else if signed < self.head.seq && signed == 0 {
            unterminated("no signed note")
        } else if signed < self.head.seq {
            unterminated(&format!("signed up to seq {signed}"))
        } else if ![Kind::SessionEnd, Kind::AuditStopped]
            .iter()
            .any(|kind| self.last.r#type.as_deref() == Some(kind.as_str()))
        {
            unterminated("the last record is no session.end")
        } else {
            None
        }
    }
}

/// The numbers of the segments in a directory, ascending.
pub(in crate::audit) fn segments(path: &Path) -> Result<Vec<u32>, AuditError> {
    let listed = || -> std::io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(path)? {
            numbers.extend(segment_number(&entry?.file_name().to_string_lossy()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    listed().map_err(AuditError::file("list", path))
}

pub(super) fn finding(verdict: Verdict, file: PathBuf, line: Option<u64>, seq: Option<u64>, detail: &str) -> Finding {
    Finding { verdict, file, line, seq, detail: detail.to_owned() }
}
