//! The monitor's side of the log: it opens it, signs points of it, and closes it, also for a relay that was killed.

use std::path::Path;

use super::lock_file::LockFile;
use crate::audit::chain::{Hash, Head};
use crate::audit::{
    self, Actor, AuditError, Effect, Event, Gap, Journal, Kind, Mark, Opened, Redactor, SessionDirectory, Signer, keys,
};
use crate::bounds::{AUDIT_CHECKPOINT_RECORDS, AUDIT_CHECKPOINT_SECONDS, AUDIT_RECORD_BYTES_MIN};
use crate::clock;
use crate::fault::Stage;
use crate::policy::{Durability, Policy};
use crate::relay::messages::LogPoint;
use crate::sandbox::Plan;
use crate::trust::Caller;
use crate::weaken::in_force;

/// The key directory: root's, never under a flag's control.
pub const KEYS: &str = "/etc/intercept-sandbox/keys";

/// A session's log as the monitor holds it.
#[derive(Debug)]
pub struct Ledger {
    directory: SessionDirectory,
    /// Loaded when first needed: after the forks, so that no other process ever held the key.
    signer: Option<Signer>,
    durability: Durability,
    /// Where the monitor's own records end: what it knows of itself when the relay dies early.
    mark: Mark,
    /// The last record that a note was asked for. A relay that was taken over must not get notes for a second history.
    signed: u64,
    notes: Notes,
}

/// How many notes the relay was given. One that was taken over may ask without end, and each is a line on the log's disk.
#[derive(Clone, Copy, Debug)]
struct Notes {
    given: u64,
    since_ns: u64,
}

impl Notes {
    /// Nobody looks at the clock at the same moment.
    const AT_ONCE: u64 = 8;

    const fn begin(now_ns: u64) -> Self {
        Self { given: 0, since_ns: now_ns }
    }

    /// Counts one more, if a relay that asks as [`Journal::checkpoint_due`] says could have come to it by now, with a segment of
    /// `log_bytes`.
    fn take(&mut self, now_ns: u64, log_bytes: u64) -> bool {
        let by_time = now_ns.saturating_sub(self.since_ns) / (AUDIT_CHECKPOINT_SECONDS * 1_000_000_000);
        let by_records = log_bytes / (AUDIT_CHECKPOINT_RECORDS * AUDIT_RECORD_BYTES_MIN);
        self.given += 1;
        self.given <= Self::AT_ONCE + by_time + by_records
    }
}

/// What the relay takes with it.
#[derive(Debug)]
pub struct RelayLog {
    /// The open journal.
    pub journal: Journal,
    /// Keyed hashes of arguments.
    pub redactor: Redactor,
}

impl Ledger {
    /// Opens the session's log and writes `session.start` and `policy.load`.
    ///
    /// # Errors
    /// No journal, no session.
    pub fn open(
        plan: &Plan,
        policy: &Policy,
        lock: Option<&LockFile>,
        caller: &Caller,
    ) -> Result<(Self, RelayLog), AuditError> {
        let directory = Path::new(KEYS);
        keys::ensure(directory)?;
        let redactor = keys::load_redactor(directory)?;
        let durability = plan.audit.durability;
        let opened = SessionDirectory::create(&plan.audit.directory, &plan.session, durability, clock::now())?;
        let Opened { directory, mut journal, previous } = opened;
        journal.hide(plan.secrets.clone());
        let mark = start(&mut journal, plan, (policy, lock), caller, &previous)?;
        Stage::Log.passed_io().map_err(|source| AuditError::File { what: "open", path: KEYS.into(), source })?;
        Ok((
            Self { directory, signer: None, durability, mark, signed: 0, notes: Notes::begin(clock::now().boot_ns) },
            RelayLog { journal, redactor },
        ))
    }

    /// Bytes that the relay has written so far: that it works, told by the file and not by the relay. A log that cannot be looked
    /// at does not grow.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.directory.segment_bytes().unwrap_or(0)
    }

    /// Loads the key that signs, so that the last note does not wait for it. Why that fails is told by whoever signs.
    pub fn make_ready(&mut self) {
        let _ = signer(&mut self.signer);
    }

    /// Signs a point of the log that the relay named.
    ///
    /// # Errors
    /// When the point is not behind the last one, or is asked for too soon, or the note cannot be written: the session has to end.
    pub fn sign(&mut self, point: LogPoint) -> Result<(), AuditError> {
        self.advance(point)?;
        if !self.notes.take(clock::now().boot_ns, self.log_bytes()) && in_force("note-pace") {
            return Err(AuditError::TooManyNotes { seq: point.seq });
        }
        let signer = signer(&mut self.signer)?;
        self.directory.checkpoint(signer, head(point)).map(drop)
    }

    /// Ends the log at the relay's last record.
    ///
    /// # Errors
    /// When the point is not behind the last one, or the note or the index line cannot be written; `audit verify` calls
    /// the session unterminated then.
    pub fn close(mut self, last: LogPoint) -> Result<(), AuditError> {
        self.advance(last)?;
        let signer = signer(&mut self.signer)?;
        self.directory.close(signer, head(last), clock::now()).map(drop)
    }

    /// Ends the log of a session without a relay that could: in a new segment that says where the old one stopped, and how many refused
    /// system calls were never told, `untold`. Call it when the relay, if there was one, is reaped.
    ///
    /// # Errors
    /// As [`Ledger::close`].
    pub fn close_for_the_dead(mut self, code: &str, text: &str, untold: u64) -> Result<(), AuditError> {
        let mut journal = self.directory.take_over(self.durability, self.mark, clock::now())?;
        let mut gap = Event::new(Kind::AuditGap);
        gap.gap = Some(Gap { source: "calls", count: untold });
        let end = Event::new(Kind::SessionEnd).with_effect(Effect::Denied).with_reason(code, text);
        let both = [gap, end];
        let last = journal.append_all(clock::now(), if untold > 0 { &both } else { &both[1..] })?.head();
        drop(journal);
        let signer = signer(&mut self.signer)?;
        self.directory.close(signer, last, clock::now()).map(drop)
    }

    /// The relay's points rise, or it is no relay of ours any more.
    fn advance(&mut self, point: LogPoint) -> Result<(), AuditError> {
        if point.seq <= self.signed {
            return Err(AuditError::NotRising { seq: point.seq, signed: self.signed });
        }
        self.signed = point.seq;
        Ok(())
    }
}

fn signer(slot: &mut Option<Signer>) -> Result<&Signer, AuditError> {
    match slot {
        Some(signer) => Ok(signer),
        None => Ok(slot.insert(keys::load_signer(Path::new(KEYS))?)),
    }
}

fn head(point: LogPoint) -> Head {
    Head { seq: point.seq, hash: Hash(point.hash) }
}

/// The first records: who, on which host, what, under whose policy.
fn start(
    journal: &mut Journal,
    plan: &Plan,
    (policy, lock): (&Policy, Option<&LockFile>),
    caller: &Caller,
    previous: &str,
) -> Result<Mark, AuditError> {
    let host = host_name();
    let mut event = Event::new(Kind::SessionStart);
    event.host = Some(&host);
    event.actor = Some(Actor { uid: caller.uid, sudo_uid: caller.behind, loginuid: caller.login_uid, client: None });
    event.server = Some(audit::Server { argv: &plan.argv, ..audit::Server::default() });
    let lock = lock.map(|lock| Hash(lock.sha256).to_string());
    let (sha256, lock) = (Some(policy.sha256.as_str()), lock.as_deref());
    event.policy = Some(audit::Policy { name: &policy.name, sha256, previous: None, lock });
    event.mode = plan.observe.then_some("observe");
    event.previous = Some(previous);
    let mut load = Event::new(Kind::PolicyLoad).with_effect(Effect::Allowed);
    load.policy = event.policy;
    let _on_disk = journal.append_all(clock::now(), &[event, load])?;
    Ok(journal.mark())
}

/// The kernel's node name.
#[must_use]
pub fn host_name() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(errno) => format!("(unknown: {errno})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::notes;
    use crate::bounds::AUDIT_SESSION_BYTES_MAX;

    fn ledger(root: &Path) -> Ledger {
        let opened = SessionDirectory::create(root, &"a".repeat(32), Durability::Write, clock::now()).unwrap();
        let signer = Some(Signer::new("host/test", &[5; 32]).unwrap());
        let mark = opened.journal.mark();
        Ledger {
            directory: opened.directory,
            signer,
            durability: Durability::Write,
            mark,
            signed: 0,
            notes: Notes::begin(0),
        }
    }

    const fn point(seq: u64, byte: u8) -> LogPoint {
        LogPoint { seq, hash: [byte; 32] }
    }

    fn notes(path: &Path) -> Vec<u64> {
        let text = std::fs::read(path.join("notes")).unwrap();
        notes::Notes::parse(&text).notes.iter().map(|note| note.head.seq).collect()
    }

    #[test]
    fn what_the_relay_was_never_told_stands_before_the_end() {
        for (untold, wanted) in
            [(0, vec!["audit.segment", "session.end"]), (7, vec!["audit.segment", "audit.gap", "session.end"])]
        {
            let root = tempfile::tempdir().unwrap();
            let ledger = ledger(root.path());
            let path = ledger.directory.path().join("000002.jsonl");
            ledger.close_for_the_dead("relay_silent", "why", untold).unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            let records: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(records.iter().map(|record| record["type"].as_str().unwrap()).collect::<Vec<_>>(), wanted);
            if untold > 0 {
                assert_eq!(records[1]["gap"], serde_json::json!({"source": "calls", "count": untold}));
            }
        }
    }

    #[test]
    fn only_rising_points_are_signed() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = ledger(root.path());
        let path = ledger.directory.path().to_owned();
        assert!(matches!(ledger.sign(point(0, 0)), Err(AuditError::NotRising { seq: 0, signed: 0 })));
        ledger.sign(point(1, 1)).unwrap();
        ledger.sign(point(9, 2)).unwrap();
        for (seq, byte) in [(9, 2), (9, 3), (8, 2), (1, 1), (0, 0)] {
            let refused = ledger.sign(point(seq, byte));
            assert!(matches!(refused, Err(AuditError::NotRising { seq: named, signed: 9 }) if named == seq), "{seq}");
        }
        ledger.sign(point(10, 4)).unwrap();
        assert_eq!(notes(&path), [1, 9, 10]);
    }

    #[test]
    fn a_relay_gets_as_many_notes_as_its_log_and_the_time_account_for() {
        const MINUTE_NS: u64 = AUDIT_CHECKPOINT_SECONDS * 1_000_000_000;
        let given = |now_ns, log_bytes| {
            let mut notes = Notes::begin(7);
            (0..10_000).take_while(|_| notes.take(now_ns, log_bytes)).count() as u64
        };
        assert_eq!((given(7, 0), given(7 + MINUTE_NS, 0), given(6 + MINUTE_NS, 0), given(0, 0)), (8, 9, 8, 8));
        assert_eq!(given(7, 3 * AUDIT_CHECKPOINT_RECORDS * AUDIT_RECORD_BYTES_MIN), 11);
        assert_eq!(
            given(7, AUDIT_SESSION_BYTES_MAX),
            8 + AUDIT_SESSION_BYTES_MAX / 128_000,
            "a full log: some MiB of notes"
        );
        let mut paced = Notes::begin(0);
        assert!((1..10_000).all(|minute| paced.take(minute * MINUTE_NS, 0)), "one a minute for a week");

        let root = tempfile::tempdir().unwrap();
        let mut ledger = ledger(root.path());
        ledger.notes = Notes::begin(clock::now().boot_ns);
        let path = ledger.directory.path().to_owned();
        let refused = (1..).find_map(|seq| ledger.sign(point(seq, 1)).err()).unwrap();
        assert!(matches!(refused, AuditError::TooManyNotes { .. }), "{refused}");
        assert!(notes(&path).len() < 100, "a flood is not signed");
    }

    #[test]
    fn no_record_is_shorter_than_is_reckoned() {
        let root = tempfile::tempdir().unwrap();
        let now = crate::clock::Now { boot_ns: 0, ..clock::now() };
        let opened = SessionDirectory::create(root.path(), &"a".repeat(32), Durability::Write, now).unwrap();
        let mut journal = opened.journal;
        let before = opened.directory.segment_bytes().unwrap();
        let _ = journal.append(now, &Event::new(Kind::AuditGap)).unwrap();
        let bytes = opened.directory.segment_bytes().unwrap() - before;
        assert!(bytes >= AUDIT_RECORD_BYTES_MIN, "{bytes}");
    }

    #[test]
    fn the_last_point_rises_too() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = ledger(root.path());
        let path = ledger.directory.path().to_owned();
        ledger.sign(point(9, 2)).unwrap();
        assert!(matches!(ledger.close(point(9, 3)), Err(AuditError::NotRising { seq: 9, signed: 9 })));
        assert_eq!(notes(&path), [9]);
    }
}
