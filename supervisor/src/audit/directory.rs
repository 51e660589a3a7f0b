//! A session's directory: `<root>/<date>/<session>/` with the segments, the notes and the lock that says "running".
//! Stays with the monitor; the relay inherits only the [`Journal`].

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use sha2::{Digest, Sha256};

use super::chain::{self, Head, SESSION_DOMAIN};
use super::error::AuditError;
use super::event::{Event, Segment};
use super::index;
use super::journal::{Journal, Mark};
use super::kind::Kind;
use super::medium::{self, Ahead, Medium};
use super::notes::Signer;
use super::tail;
use super::timestamp::Timestamp;
use super::trusted;
use crate::bounds::AUDIT_SIDECAR_RESERVE_BYTES;
use crate::clock::Now;
use crate::lock;
use crate::policy::Durability;

/// The lock file of a session.
pub(super) const LOCK: &str = "lock";
/// The signed notes of a session.
pub(super) const NOTES: &str = "notes";
/// Bytes of a torn tail that are hashed for the header of the next segment.
const TORN_BYTES_MAX: u64 = 16 << 20;

/// A running session's directory. The session counts as live while this exists in any process.
#[derive(Debug)]
pub struct SessionDirectory {
    root: PathBuf,
    path: PathBuf,
    relative: String,
    session: String,
    directory: OwnedFd,
    notes: File,
    notes_ahead: Ahead,
    segments: u32,
    _lock: File,
}

/// A session's beginning.
#[derive(Debug)]
pub struct Opened {
    /// Stays with the monitor.
    pub directory: SessionDirectory,
    /// Goes with the relay.
    pub journal: Journal,
    /// For `previous` of `session.start`: the hash of this session's line in the host index.
    pub previous: String,
}

impl SessionDirectory {
    /// Makes the directory (0750) and the first segment (0640), and enters the session into the host index.
    /// `root` is made if absent. The caller's next step is `session.start`.
    ///
    /// # Errors
    /// When a directory belongs to another or others can write it, or anything cannot be made.
    pub fn create(root: &Path, session: &str, durability: Durability, now: Now) -> Result<Opened, AuditError> {
        let date = Timestamp(now.wall_ns).date();
        let opened_root = trusted::directory(root, 0o750)?;
        let day = root.join(&date);
        let opened_day = trusted::directory(&day, 0o750)?;
        let path = day.join(session);
        mkdirat(&opened_day, session, Mode::from_bits_truncate(0o750))
            .map_err(|errno| AuditError::file("make", &path)(errno.into()))?;
        let directory = trusted::open_directory(&path)?;

        let lock = trusted::create(&directory, &path, LOCK, 0o640)?;
        lock::exclusive(&lock).map_err(AuditError::file("lock", &path.join(LOCK)))?;
        let mut notes = trusted::create(&directory, &path, NOTES, 0o640)?;
        let mut notes_ahead = Ahead::new(0, AUDIT_SIDECAR_RESERVE_BYTES, AUDIT_SIDECAR_RESERVE_BYTES);
        notes_ahead.ensure(&mut notes, 0).map_err(AuditError::file("reserve space for", &path.join(NOTES)))?;

        let mut this = Self {
            root: root.to_owned(),
            relative: format!("{date}/{session}"),
            path,
            session: session.to_owned(),
            directory,
            notes,
            notes_ahead,
            segments: 0,
            _lock: lock,
        };
        let journal = this.next_segment(durability, Head::START, now)?;
        trusted::sync_directory(&this.directory, &this.path)?;
        trusted::sync_directory(&opened_day, &day)?;
        trusted::sync_directory(&opened_root, root)?;
        let previous = index::begin(root, &this.session, &this.relative, now)?.to_string();
        Ok(Opened { directory: this, journal, previous })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The session's name.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Bytes of the current segment: it grows with every record.
    ///
    /// # Errors
    /// As fstatat(2).
    pub fn segment_bytes(&self) -> Result<u64, AuditError> {
        let name = segment_name(self.segments);
        let stat = fstatat(&self.directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| AuditError::file("look at", &self.path.join(&name))(errno.into()))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Appends a signed note for `head` to the notes, on disk when it returns, and hands it back for the mirrors.
    ///
    /// # Errors
    /// When it cannot be written. The session has to end: its log can no longer be vouched for.
    pub fn checkpoint(&mut self, signer: &Signer, head: Head) -> Result<String, AuditError> {
        let note = signer.sign(&self.session, head);
        let path = self.path.join(NOTES);
        // Where the reserve cannot be renewed it is used up.
        let _ = self.notes_ahead.ensure(&mut self.notes, note.len() as u64);
        medium::write_all(&mut self.notes, note.as_bytes())
            .map_err(|(_, error)| AuditError::file("write", &path)(error))?;
        self.notes_ahead.grew(note.len() as u64);
        Medium::sync_data(&mut self.notes).map_err(AuditError::file("sync", &path))?;
        Ok(note)
    }

    /// Continues the session in a new segment after its writer was killed. Call it when the writer is reaped, never
    /// before. `mark` is the last place that the caller knows of itself; the header says where the segment before
    /// really stopped and what is torn behind it. The caller goes on with `session.end`.
    ///
    /// # Errors
    /// When the old segment cannot be read or the new one cannot be made.
    pub fn take_over(&mut self, durability: Durability, mark: Mark, now: Now) -> Result<Journal, AuditError> {
        let path = self.path.join(segment_name(mark.segment));
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let old: File = openat(&self.directory, segment_name(mark.segment).as_str(), flags, Mode::empty())
            .map_err(|errno| AuditError::file("open", &path)(errno.into()))?
            .into();
        let length = old.metadata().map_err(AuditError::file("look at", &path))?.len();
        let found = tail::last_good(&old, SESSION_DOMAIN, length).map_err(AuditError::file("read", &path))?;
        let (head, end) = match found {
            Some(last) if last.head.seq > mark.head.seq => (last.head, last.end),
            _ => (mark.head, mark.length),
        };
        let torn = length.saturating_sub(end);
        let torn_sha256 =
            if torn > 0 { Some(hash_range(&old, end, torn).map_err(AuditError::file("read", &path))?) } else { None };

        // The killed writer's reserve is what the new segment lives on when the disk is full. Where it cannot be given
        // back, the new segment's own allocation decides.
        let _ = medium::release(&old);

        let last_hash = head.hash.to_string();
        let mut journal = self.next_segment(durability, head, now)?;
        trusted::sync_directory(&self.directory, &self.path)?;
        let mut header = Event::new(Kind::AuditSegment);
        header.segment = Some(Segment {
            previous: mark.segment,
            last_seq: head.seq,
            last_hash: &last_hash,
            torn_bytes: torn,
            torn_sha256: torn_sha256.as_deref(),
        });
        let _ = journal.append(now, &header)?;
        Ok(journal)
    }

    /// Ends the session in order: the signed note for its last record, and its line in the host index. Call it when the
    /// last writer is reaped or its [`Journal`] dropped.
    ///
    /// # Errors
    /// When either cannot be written; `audit verify` will call the session unterminated then.
    pub fn close(mut self, signer: &Signer, head: Head, now: Now) -> Result<String, AuditError> {
        let note = self.checkpoint(signer, head)?;
        self.release_reserves();
        index::end(&self.root, &self.session, &self.relative, head, now)?;
        Ok(note)
    }

    /// Gives back what was allocated ahead. Where that fails, some hundred KiB of disk are lost and no record.
    fn release_reserves(&self) {
        let _ = medium::release(&self.notes);
        for number in 1..=self.segments {
            let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let opened = openat(&self.directory, segment_name(number).as_str(), flags, Mode::empty());
            let _ = opened.map_err(std::io::Error::from).and_then(|segment| medium::release(&segment.into()));
        }
    }

    fn next_segment(&mut self, durability: Durability, head: Head, now: Now) -> Result<Journal, AuditError> {
        let number = self.segments + 1;
        let file = trusted::create(&self.directory, &self.path, &segment_name(number), 0o640)?;
        self.segments = number;
        Journal::begin(file, self.session.clone(), durability, Mark { segment: number, head, length: 0 }, now)
    }
}

/// The file name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:06}.jsonl")
}

/// The number of a segment from its file name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

/// SHA-256 of a range of a file, 64 hex digits; of at most 16 MiB of it.
pub(super) fn hash_range(file: &File, mut offset: u64, bytes: u64) -> std::io::Result<String> {
    let end = offset + bytes.min(TORN_BYTES_MAX);
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    while offset < end {
        let count = usize::try_from(end - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
        file.read_exact_at(&mut buffer[..count], offset)?;
        sha.update(&buffer[..count]);
        offset += count as u64;
    }
    let digest: [u8; 32] = sha.finalize().into();
    Ok(chain::hex(&digest))
}
