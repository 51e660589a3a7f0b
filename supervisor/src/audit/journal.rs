//! The one writer of a session's records. Needs only its descriptor: write, fdatasync, fallocate. Dropping it closes the
//! segment; the monitor gives the reserve back when it closes the session.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::chain::Head;
use super::error::{AuditError, code_of};
use super::event::Event;
use super::kind::Kind;
use super::medium::{self, Ahead, Medium};
use super::record;
use crate::bounds::{
    AUDIT_CHECKPOINT_RECORDS, AUDIT_CHECKPOINT_SECONDS, AUDIT_RESERVE_BYTES, AUDIT_RESERVE_CHUNK_BYTES,
    AUDIT_SESSION_BYTES_MAX, AUDIT_SUCCESSOR_RESERVE_BYTES,
};
use crate::clock::Now;
use crate::policy::Durability;
use crate::weaken;
use crate::wire::secrets::Secrets;

/// Proof that records are written as durably as the policy asks. Only the journal makes one; whatever has an effect
/// takes one.
#[derive(Debug)]
#[must_use = "the effect that this record allows has not happened yet"]
pub struct Committed {
    head: Head,
}

impl Committed {
    /// The last record that it vouches for.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }
}

/// A place in a segment that is known to be good; see [`super::SessionDirectory::take_over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Where the chain stands.
    pub head: Head,
    /// Bytes of the segment up to there.
    pub length: u64,
}

/// The journal of one session. Inherited by the relay through fork and from then on its alone.
#[derive(Debug)]
pub struct Journal<M: Medium = File> {
    medium: M,
    session: String,
    segment: u32,
    durability: Durability,
    head: Head,
    ahead: Ahead,
    quota: u64,
    failed: Option<&'static str>,
    /// Records stand in the page cache alone.
    unsynced: bool,
    asked: (u64, u64),
    /// Blanked in every record.
    secrets: Secrets,
    lines: Vec<u8>,
}

impl Journal {
    /// The segment's descriptor, for the confinement to keep.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.medium.as_fd()
    }
}

impl<M: Medium> Journal<M> {
    /// A journal that continues at `from` on an empty segment.
    ///
    /// # Errors
    /// When the reserve cannot be allocated: a session that could not say why it stopped does not start.
    pub(crate) fn begin(
        mut medium: M,
        session: String,
        durability: Durability,
        from: Mark,
        now: Now,
    ) -> Result<Self, AuditError> {
        // A successor writes a few records of our own making, and has to live on what its predecessor left of a full disk.
        let mut ahead = match from.segment {
            1 => Ahead::new(0, AUDIT_RESERVE_BYTES, AUDIT_RESERVE_CHUNK_BYTES),
            _ => Ahead::new(0, AUDIT_SUCCESSOR_RESERVE_BYTES, AUDIT_SUCCESSOR_RESERVE_BYTES),
        };
        ahead
            .ensure(&mut medium, 0)
            .map_err(|error| AuditError::Stopped { code: code_of(&error), source: Some(error) })?;
        Ok(Self {
            medium,
            session,
            segment: from.segment,
            durability,
            head: from.head,
            ahead,
            quota: AUDIT_SESSION_BYTES_MAX,
            failed: None,
            unsynced: false,
            asked: (from.head.seq, now.boot_ns),
            secrets: Secrets::default(),
            lines: Vec::with_capacity(4096),
        })
    }

    /// From here on these values stand in no record, whoever brings them: a server's words, a command line, a host name.
    pub fn hide(&mut self, secrets: Secrets) {
        self.secrets = secrets;
    }

    /// Records one event. When this returns `Ok`, it is on disk (`Durability::Strict`).
    ///
    /// # Errors
    /// Any failure is final: the journal takes nothing more (A2).
    pub fn append(&mut self, now: Now, event: &Event<'_>) -> Result<Committed, AuditError> {
        self.append_all(now, std::slice::from_ref(event))
    }

    /// Records several events, all or an error, with one write and one fdatasync.
    ///
    /// # Errors
    /// As [`Self::append`]. Some of them may be on disk then.
    pub fn append_all(&mut self, now: Now, events: &[Event<'_>]) -> Result<Committed, AuditError> {
        self.recorded(now, events, true)
    }

    /// Records an event whose effect is not the policy's to allow, such as the passing of an answer: written before the
    /// effect, on disk with the next [`Self::append`] or [`Self::sync`]. A full disk or a failed write stops it as any other.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_unsynced(&mut self, now: Now, event: &Event<'_>) -> Result<Committed, AuditError> {
        self.recorded(now, std::slice::from_ref(event), false)
    }

    /// Puts what [`Self::append_unsynced`] left in the page cache on disk.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn sync(&mut self) -> Result<(), AuditError> {
        if self.unsynced
            && let Err(error) = self.medium.sync_data()
        {
            return Err(self.poison(error));
        }
        self.unsynced = false;
        Ok(())
    }

    fn recorded(&mut self, now: Now, events: &[Event<'_>], sync: bool) -> Result<Committed, AuditError> {
        match self.commit(now, events, sync) {
            Ok(head) => Ok(Committed { head }),
            Err(error) => {
                if weaken::in_force("audit-fail-closed") {
                    return Err(error);
                }
                Ok(Committed { head: self.head })
            }
        }
    }

    /// The last record's place, for a checkpoint, when one is due: after 1000 records or 60 s, whichever is first.
    /// Asked once; the next is counted from there.
    pub fn checkpoint_due(&mut self, now: Now) -> Option<Head> {
        let (seq, boot_ns) = self.asked;
        let records = self.head.seq - seq;
        let seconds = now.boot_ns.saturating_sub(boot_ns) / 1_000_000_000;
        let due = records >= AUDIT_CHECKPOINT_RECORDS || (records > 0 && seconds >= AUDIT_CHECKPOINT_SECONDS);
        due.then(|| {
            self.asked = (self.head.seq, now.boot_ns);
            self.head
        })
    }

    /// Where the chain stands: the last record that was written whole.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The session's name.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The place that a successor continues from.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { segment: self.segment, head: self.head, length: self.ahead.length() }
    }

    /// Whether the file system keeps a reserve for the last record. Without it a full disk still stops the session, but
    /// without an `audit.stopped`.
    #[must_use]
    pub const fn has_reserve(&self) -> bool {
        self.ahead.supported()
    }

    /// Why the journal takes nothing more, if so.
    #[must_use]
    pub const fn failed(&self) -> Option<&'static str> {
        self.failed
    }

    fn commit(&mut self, now: Now, events: &[Event<'_>], sync: bool) -> Result<Head, AuditError> {
        if let Some(code) = self.failed {
            return Err(AuditError::Poisoned { code });
        }
        self.lines.clear();
        let mut head = self.head;
        for event in events {
            head =
                record::write(&mut self.lines, head, now, (&self.session, event), &self.secrets).inspect_err(|_| {
                    self.failed = Some("record");
                })?;
        }

        let bytes = self.lines.len() as u64;
        if self.ahead.length() + bytes + AUDIT_RESERVE_BYTES > self.quota {
            return Err(self.stop(now, "quota", None));
        }
        if let Err(error) = self.ahead.ensure(&mut self.medium, bytes) {
            return Err(self.stop(now, code_of(&error), Some(error)));
        }
        match medium::write_all(&mut self.medium, &self.lines) {
            Ok(()) => self.ahead.grew(bytes),
            // Nothing of it is in the file: the last word still stands on a line of its own.
            Err((0, error)) if code_of(&error) == "no_space" => return Err(self.stop(now, "no_space", Some(error))),
            Err((_, error)) => return Err(self.poison(error)),
        }
        self.unsynced |= self.durability == Durability::Strict;
        if sync && weaken::in_force("audit-fdatasync") {
            self.sync()?;
        }
        self.head = head;
        Ok(head)
    }

    /// Writes the last record into the reserve, on disk whatever the durability, and takes nothing more.
    fn stop(&mut self, now: Now, code: &'static str, source: Option<io::Error>) -> AuditError {
        self.failed = Some(code);
        let why = source.as_ref().map_or_else(|| "the session's log is full".to_owned(), ToString::to_string);
        let event = Event::new(Kind::AuditStopped).with_reason(code, &why);
        self.lines.clear();
        let head = match record::write(&mut self.lines, self.head, now, (&self.session, &event), &self.secrets) {
            Ok(head) => head,
            Err(error) => return error.into(),
        };
        match medium::write_all(&mut self.medium, &self.lines) {
            Ok(()) => self.ahead.grew(self.lines.len() as u64),
            Err((_, error)) => return AuditError::Stopped { code, source: source.or(Some(error)) },
        }
        match self.medium.sync_data() {
            Ok(()) => self.head = head,
            Err(error) => return AuditError::Stopped { code, source: source.or(Some(error)) },
        }
        AuditError::Stopped { code, source }
    }

    /// The file is in an unknown state: nothing more is written to it, not even a last word.
    fn poison(&mut self, error: io::Error) -> AuditError {
        let code = code_of(&error);
        self.failed = Some(code);
        AuditError::Stopped { code, source: Some(error) }
    }

    /// Whether records stand in the page cache alone.
    #[cfg(test)]
    pub(crate) const fn owes_sync(&self) -> bool {
        self.unsynced
    }

    #[cfg(test)]
    pub(super) fn set_quota(&mut self, bytes: u64) {
        self.quota = bytes;
    }
}

#[cfg(test)]
mod tests;
