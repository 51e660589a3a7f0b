//! A file of version 1, as the build before amounts wrote it.

use rusqlite::Connection;
use tempfile::TempDir;

use super::{MS, WALL, at, is_granted, open, rows, sliding};
use crate::limits::{Amount, CalendarUnit, Claim, Quota, Reservation, Store};

/// Ten calls of `a` logged one second apart, of which the first two are already forgotten, and one counter that is spent.
fn version_1() -> TempDir {
    let directory = TempDir::new().unwrap();
    let file = Connection::open(directory.path().join("limits.db")).unwrap();
    file.execute_batch(
        "PRAGMA journal_mode = WAL;
        CREATE TABLE timeline (id INTEGER PRIMARY KEY CHECK (id = 0), boot_id TEXT NOT NULL, offset_ns INTEGER NOT NULL, seen_ns INTEGER NOT NULL) STRICT;
        CREATE TABLE counters (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, first INTEGER NOT NULL, next INTEGER NOT NULL, expires_ns INTEGER NOT NULL) STRICT;
        CREATE INDEX counters_by_expiry ON counters (expires_ns);
        CREATE TABLE calls (counter INTEGER NOT NULL, seq INTEGER NOT NULL, at_ns INTEGER NOT NULL, PRIMARY KEY (counter, seq)) STRICT, WITHOUT ROWID;
        PRAGMA user_version = 1;",
    )
    .unwrap();
    let log = |second: u64| i64::try_from(WALL + second * 1_000 * MS).unwrap();
    file.execute("INSERT INTO timeline VALUES (0, 'boot-1', ?1, ?2)", [log(0), log(10)]).unwrap();
    file.execute("INSERT INTO counters VALUES (3, 'a', 2, 10, ?1)", [log(9 + 60)]).unwrap();
    file.execute("INSERT INTO counters VALUES (5, 'spent', 4, 4, ?1)", [log(1)]).unwrap();
    for seq in 2i64..10 {
        file.execute("INSERT INTO calls VALUES (3, ?1, ?2)", [seq, log(seq.cast_unsigned())]).unwrap();
    }
    directory
}

#[test]
fn a_file_of_version_1_keeps_its_counts() {
    let directory = version_1();
    let mut store = open(&directory);
    let now = 10_000 * MS;
    assert_eq!(
        store.reserve(at(now), &[sliding("a", 9, 60_000)]).unwrap(),
        Reservation::Granted { used: vec![Amount::calls(9)] }
    );
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(9), retry_after_ms: 52_000 };
    assert_eq!(store.reserve(at(now), &[sliding("a", 9, 60_000)]).unwrap(), refused);
    let calendar = Claim::call("a".to_owned(), Quota::Calendar { max: 9, unit: CalendarUnit::Minute });
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(9), retry_after_ms: 50_000 };
    assert_eq!(store.reserve(at(now), &[calendar]).unwrap(), refused);
    assert!(is_granted(&mut store, at(now + 52_000 * MS), &[sliding("a", 9, 60_000)]));
    assert!(!is_granted(&mut store, at(now + 52_000 * MS), &[sliding("a", 9, 60_000)]));
    assert_eq!(rows(&directory, "counters"), 1, "the spent one was swept");
}

#[test]
fn the_window_of_version_1_is_kept_when_a_shorter_one_is_charged_first() {
    let directory = version_1();
    let mut store = open(&directory);
    assert!(is_granted(&mut store, at(30_000 * MS), &[sliding("a", 1, 1_000)]));
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(9), retry_after_ms: 32_000 };
    assert_eq!(store.reserve(at(30_000 * MS), &[sliding("a", 9, 60_000)]).unwrap(), refused);
}

#[test]
fn a_build_of_version_1_that_has_the_file_open_can_no_longer_charge_it() {
    let directory = version_1();
    let old = Connection::open(directory.path().join("limits.db")).unwrap();
    let charge = "INSERT INTO calls (counter, seq, at_ns) VALUES (3, 10, 5)";
    let begin = "INSERT INTO counters (key, first, next, expires_ns) VALUES ('b', 0, 1, 5)";
    for sql in [charge, begin] {
        old.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; ROLLBACK")).unwrap();
    }
    drop(open(&directory));
    for sql in [charge, begin] {
        let error = old.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("NOT NULL"), "{error}");
    }
}

#[test]
fn a_file_of_version_1_that_is_broken_stays_as_it_was() {
    let directory = version_1();
    let path = directory.path().join("limits.db");
    Connection::open(&path).unwrap().execute_batch("DROP TABLE calls").unwrap();
    assert!(super::SqliteStore::open(directory.path(), "boot-1").is_err());
    let version: i64 = Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!((version, rows(&directory, "counters")), (1, 2));
}
