use std::collections::VecDeque;

use super::*;
use crate::audit::chain::{Link, SESSION_DOMAIN};
use crate::bounds::AUDIT_RECORD_BYTES_MAX;

const NOW: Now = Now { wall_ns: 1_735_689_599_000_000_001, boot_ns: 42 };

/// A disk of so many bytes whose next operations can be told to fail.
#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    capacity: u64,
    no_allocate: bool,
    writes: VecDeque<Result<usize, i32>>,
    sync_errno: Option<i32>,
    syncs: u64,
}

impl Disk {
    fn of(capacity: u64) -> Self {
        Self { capacity, ..Self::default() }
    }
}

impl Medium for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.capacity - self.bytes.len() as u64;
        let count = match self.writes.pop_front() {
            Some(Err(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Ok(count)) => count.min(bytes.len()),
            None if room == 0 => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            None => bytes.len().min(room as usize),
        };
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.syncs += 1;
        self.sync_errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn allocate(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        if self.no_allocate {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        if offset + bytes > self.capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

const START: Mark = Mark { segment: 1, head: Head::START, length: 0 };

fn open(disk: Disk, durability: Durability) -> Journal<Disk> {
    Journal::begin(disk, "s".repeat(32), durability, START, NOW).unwrap()
}

fn event() -> Event<'static> {
    Event::new(Kind::McpRequest)
}

/// Appends until the journal stops: the last seq that it vouched for, and why it stopped.
fn fill(journal: &mut Journal<Disk>) -> (u64, AuditError) {
    let mut written = 0;
    for _ in 0..10_000 {
        match journal.append(NOW, &event()) {
            Ok(committed) => written = committed.head().seq,
            Err(error) => return (written, error),
        }
    }
    panic!("it never stops");
}

/// The types of the records on a disk, each checked against the chain.
fn types(disk: &Disk) -> Vec<String> {
    let mut head = Head::START;
    let text = std::str::from_utf8(&disk.bytes).unwrap();
    text.lines()
        .map(|line| {
            let link = Link::read(SESSION_DOMAIN, line.as_bytes()).unwrap();
            assert!(link.intact && link.follows(head));
            head = link.head();
            serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn strict_syncs_before_it_returns_and_write_does_not() {
    let mut strict = open(Disk::of(1 << 30), Durability::Strict);
    let head = strict.append(NOW, &event()).unwrap().head();
    assert_eq!((strict.medium.syncs, head.seq), (1, 1));
    let head = strict.append_all(NOW, &[event(), event(), event()]).unwrap().head();
    assert_eq!((strict.medium.syncs, head.seq), (2, 4));
    assert_eq!(types(&strict.medium).len(), 4);

    let mut write = open(Disk::of(1 << 30), Durability::Write);
    assert_eq!(write.append(NOW, &event()).unwrap().head().seq, 1);
    assert_eq!(write.medium.syncs, 0);
}

#[test]
fn short_and_interrupted_writes_are_completed() {
    let mut disk = Disk::of(1 << 30);
    disk.writes = [Ok(10), Err(libc::EINTR), Ok(1)].into();
    let mut journal = open(disk, Durability::Strict);
    assert_eq!(journal.append(NOW, &event()).unwrap().head().seq, 1);
    assert_eq!(types(&journal.medium), ["mcp.request"]);
}

#[test]
fn a_full_disk_takes_the_last_word_and_nothing_after_it() {
    let capacity = AUDIT_RESERVE_BYTES + AUDIT_RESERVE_CHUNK_BYTES;
    let mut journal = open(Disk::of(capacity), Durability::Strict);
    let (written, error) = fill(&mut journal);
    assert!(matches!(error, AuditError::Stopped { code: "no_space", source: Some(_) }), "{error}");
    assert!(written > 500);
    let types = types(&journal.medium);
    assert_eq!(types.len() as u64, written + 1);
    assert_eq!(types.last().unwrap(), "audit.stopped");
    assert_eq!(journal.head().seq, written + 1);

    let length = journal.medium.bytes.len();
    assert!(length as u64 <= capacity - AUDIT_RESERVE_BYTES + AUDIT_RECORD_BYTES_MAX as u64);
    let again = journal.append(NOW, &event()).unwrap_err();
    assert!(matches!(again, AuditError::Poisoned { code: "no_space" }), "{again}");
    assert_eq!(journal.medium.bytes.len(), length);
}

#[test]
fn a_disk_without_room_for_the_reserve_starts_no_session() {
    let begun = Journal::begin(Disk::of(AUDIT_RESERVE_BYTES - 1), "s".into(), Durability::Strict, START, NOW);
    assert!(matches!(begun.unwrap_err(), AuditError::Stopped { code: "no_space", .. }));
    let begun = Journal::begin(Disk::of(AUDIT_RESERVE_BYTES), "s".into(), Durability::Strict, START, NOW);
    assert!(begun.unwrap().has_reserve());
}

#[test]
fn a_successor_lives_on_what_its_predecessor_left() {
    let left = AUDIT_RESERVE_BYTES - 12_000; // after an audit.stopped, on a full disk
    let from = Mark { segment: 2, head: Head { seq: 7, ..Head::START }, length: 0 };
    let mut journal = Journal::begin(Disk::of(left), "s".into(), Durability::Strict, from, NOW).unwrap();
    let head = journal.append_all(NOW, &[Event::new(Kind::AuditSegment), Event::new(Kind::SessionEnd)]).unwrap().head();
    assert_eq!(head.seq, 9);
}

#[test]
fn a_failed_fsync_is_final_and_not_retried() {
    let mut journal = open(Disk::of(1 << 30), Durability::Strict);
    journal.medium.sync_errno = Some(libc::EIO);
    let error = journal.append(NOW, &event()).unwrap_err();
    assert!(matches!(error, AuditError::Stopped { code: "io_error", .. }), "{error}");
    journal.medium.sync_errno = None;
    let length = journal.medium.bytes.len();
    assert!(matches!(journal.append(NOW, &event()), Err(AuditError::Poisoned { code: "io_error" })));
    assert_eq!((journal.medium.syncs, journal.medium.bytes.len()), (1, length));
    assert_eq!(journal.head(), Head::START);
}

#[test]
fn a_torn_write_is_final_and_nothing_is_written_behind_it() {
    for (errno, code) in [(libc::EIO, "io_error"), (libc::ENOSPC, "no_space"), (libc::EROFS, "read_only")] {
        let mut disk = Disk::of(1 << 30);
        disk.writes = [Ok(17), Err(errno)].into();
        let mut journal = open(disk, Durability::Strict);
        let error = journal.append(NOW, &event()).unwrap_err();
        assert!(matches!(error, AuditError::Stopped { code: c, .. } if c == code), "{error}");
        assert!(journal.append(NOW, &event()).is_err());
        assert_eq!(journal.medium.bytes.len(), 17);
    }
}

#[test]
fn without_a_reserve_a_full_disk_still_stops() {
    let mut disk = Disk::of(1000);
    disk.no_allocate = true;
    let mut journal = open(disk, Durability::Strict);
    assert!(!journal.has_reserve());
    let _ = fill(&mut journal);
    assert!(matches!(journal.append(NOW, &event()), Err(AuditError::Poisoned { code: "no_space" })));
}

#[test]
fn dev_full_stops_the_journal() {
    let full = File::options().append(true).open("/dev/full").unwrap();
    let mut journal = Journal::begin(full, "s".into(), Durability::Write, START, NOW).unwrap();
    assert!(!journal.has_reserve());
    let error = journal.append(NOW, &event()).unwrap_err();
    assert!(matches!(error, AuditError::Stopped { code: "no_space", .. }), "{error}");
    assert_eq!(journal.head(), Head::START);
}

#[test]
fn the_quota_ends_the_session_with_a_record_within_it() {
    let mut journal = open(Disk::of(1 << 30), Durability::Strict);
    let quota = AUDIT_RESERVE_BYTES + 5_000;
    journal.set_quota(quota);
    let _ = fill(&mut journal);
    assert_eq!(journal.failed(), Some("quota"));
    assert_eq!(types(&journal.medium).last().unwrap(), "audit.stopped");
    assert!(journal.medium.bytes.len() as u64 <= quota);
    assert!(journal.medium.bytes.len() > 4_000);
}

#[test]
fn a_checkpoint_is_due_after_1000_records_or_60_seconds() {
    let at = |seconds: u64| Now { boot_ns: NOW.boot_ns + seconds * 1_000_000_000, ..NOW };
    let mut journal = open(Disk::of(1 << 30), Durability::Write);
    assert_eq!(journal.checkpoint_due(at(100)), None, "nothing to sign");
    for _ in 0..AUDIT_CHECKPOINT_RECORDS - 1 {
        let _ = journal.append(NOW, &event()).unwrap();
    }
    assert_eq!(journal.checkpoint_due(at(59)), None);
    let _ = journal.append(NOW, &event()).unwrap();
    assert_eq!(journal.checkpoint_due(at(0)).map(|head| head.seq), Some(1000));
    assert_eq!(journal.checkpoint_due(at(0)), None, "asked once");
    let _ = journal.append(NOW, &event()).unwrap();
    assert_eq!(journal.checkpoint_due(at(59)), None);
    assert_eq!(journal.checkpoint_due(at(60)).map(|head| head.seq), Some(1001));
}
