//! Both stores against a brute-force oracle; the SQLite store against other supervisors, kills, reboots, earlier builds and damage.

mod amounts;
mod concurrency;
mod migration;
mod oracle;

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::bounds::{LIMIT_PRUNE_ROWS_MAX, LIMIT_STORE_WAIT_MS};
use crate::clock::Now;
use crate::limits::{Amount, CalendarUnit, Quota, Store, StoreError, Window};

const MS: u64 = 1_000_000;
/// 2026-11-22 15:30:00 UTC, on a minute's boundary.
const WALL: u64 = 1_795_361_400_000 * MS;

/// A reading `ns` after the boot at [`WALL`].
const fn at(ns: u64) -> Now {
    Now { wall_ns: WALL + ns, boot_ns: ns }
}

fn sliding(key: &str, max: u64, window_ms: u64) -> Claim {
    Claim::call(key.to_owned(), Quota::Sliding { max, window_ms })
}

const fn amount(billionths: i128) -> Amount {
    Amount::from_billionths(billionths)
}

/// `brings` billionths of at most `at_most` in any window.
fn sliding_claim(key: &str, window_ms: u64, brings: i128, at_most: i128) -> Claim {
    let window = Window::Sliding { window_ms };
    Claim { key: key.to_owned(), window, amount: amount(brings), at_least: Amount::MIN, at_most: amount(at_most) }
}

fn open(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(directory.path(), "boot-1").unwrap()
}

fn is_granted(store: &mut impl Store, now: Now, claims: &[Claim]) -> bool {
    matches!(store.reserve(now, claims).unwrap(), Reservation::Granted { .. })
}

fn rows(directory: &TempDir, table: &str) -> u64 {
    let connection = Connection::open(directory.path().join("limits.db")).unwrap();
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned()
}

#[test]
fn eleventh_call_in_a_minute_is_refused_and_granted_exactly_when_said() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let claims = [sliding("k", 10, 60_000)];
    for second in 0..10 {
        assert_eq!(
            store.reserve(at(second * 1000 * MS), &claims).unwrap(),
            Reservation::Granted { used: vec![Amount::calls(second + 1)] }
        );
    }
    let now = 18_000 * MS + 1;
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(10), retry_after_ms: 42_000 };
    assert_eq!(store.reserve(at(now), &claims).unwrap(), refused);
    assert!(!is_granted(&mut store, at(now + 41_999 * MS - 1), &claims));
    assert!(is_granted(&mut store, at(now + 42_000 * MS), &claims));
    assert!(!is_granted(&mut store, at(now + 42_000 * MS), &claims));
}

#[test]
fn all_claims_are_charged_or_none() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let (wide, narrow) = (sliding("wide", 5, 60_000), sliding("narrow", 1, 60_000));
    assert!(is_granted(&mut store, at(0), &[wide.clone(), narrow.clone()]));
    for _ in 0..9 {
        let refused = Reservation::Exhausted { index: 1, used: Amount::calls(1), retry_after_ms: 60_000 };
        assert_eq!(store.reserve(at(0), &[wide.clone(), narrow.clone()]).unwrap(), refused);
    }
    assert_eq!(store.reserve(at(1), &[wide]).unwrap(), Reservation::Granted { used: vec![Amount::calls(2)] });
}

#[test]
fn no_claims_are_granted_and_a_maximum_of_zero_never() {
    let directory = TempDir::new().unwrap();
    for store in [&mut open(&directory) as &mut dyn Store, &mut MemoryStore::new()] {
        assert_eq!(store.reserve(at(0), &[]).unwrap(), Reservation::Granted { used: vec![] });
        let refused = Reservation::Exhausted { index: 0, used: Amount::calls(0), retry_after_ms: NEVER_MS };
        assert_eq!(store.reserve(at(0), &[sliding("k", 0, 1)]).unwrap(), refused);
    }
}

#[test]
fn count_survives_reopening_and_counters_are_apart() {
    let directory = TempDir::new().unwrap();
    assert!(is_granted(&mut open(&directory), at(0), &[sliding("a", 1, 60_000)]));
    let mut store = open(&directory);
    assert!(!is_granted(&mut store, at(5), &[sliding("a", 1, 60_000)]));
    assert!(is_granted(&mut store, at(5), &[sliding("b", 1, 60_000)]));
}

#[test]
fn changed_quota_finds_its_count_again() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    for _ in 0..3 {
        assert!(is_granted(&mut store, at(0), &[sliding("a", 3, 60_000)]));
    }
    assert_eq!(
        store.reserve(at(0), &[sliding("a", 4, 60_000)]).unwrap(),
        Reservation::Granted { used: vec![Amount::calls(4)] }
    );
    let calendar = Claim::call("a".to_owned(), Quota::Calendar { max: 4, unit: CalendarUnit::Minute });
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(4), retry_after_ms: 60_000 };
    assert_eq!(store.reserve(at(0), &[calendar]).unwrap(), refused);
}

#[test]
fn wall_clock_steps_free_nothing() {
    let directory = TempDir::new().unwrap();
    let claims =
        [sliding("a", 1, 60_000), Claim::call("c".to_owned(), Quota::Calendar { max: 1, unit: CalendarUnit::Day })];
    assert!(is_granted(&mut open(&directory), at(0), &claims));
    let forward = Now { wall_ns: WALL + 400_000_000 * MS, boot_ns: 5 };
    assert!(!is_granted(&mut open(&directory), forward, &claims[..1]));
    assert!(!is_granted(&mut open(&directory), forward, &claims[1..]));
}

#[test]
fn count_survives_a_reboot_even_with_the_clock_set_back() {
    let directory = TempDir::new().unwrap();
    let claims = [sliding("a", 1, 60_000)];
    assert!(is_granted(&mut open(&directory), at(0), &claims));
    let mut store = SqliteStore::open(directory.path(), "boot-2").unwrap();
    let back = |ns| Now { wall_ns: 5 + ns, boot_ns: 7 + ns };
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(1), retry_after_ms: 60_000 };
    assert_eq!(store.reserve(back(0), &claims).unwrap(), refused);
    drop(store);
    let mut store = SqliteStore::open(directory.path(), "boot-2").unwrap();
    assert!(
        !is_granted(&mut store, back(60_000 * MS - 1), &claims),
        "the new boot is remembered though nothing was granted"
    );
    assert!(is_granted(&mut store, back(60_000 * MS), &claims));
}

#[test]
fn time_across_a_reboot_is_that_of_the_wall_clock() {
    let directory = TempDir::new().unwrap();
    let claims = [sliding("a", 1, 60_000)];
    assert!(is_granted(&mut open(&directory), at(0), &claims));
    let mut store = SqliteStore::open(directory.path(), "boot-2").unwrap();
    assert!(!is_granted(&mut store, Now { wall_ns: WALL + 60_000 * MS - 1, boot_ns: 3 }, &claims));
    assert!(
        is_granted(&mut store, Now { wall_ns: 0, boot_ns: 4 }, &claims),
        "one nanosecond later, whatever the wall clock says now"
    );
}

#[test]
fn reading_behind_another_supervisors_is_refused_with_its_own_wait() {
    let directory = TempDir::new().unwrap();
    let claims = [sliding("a", 1, 60_000)];
    assert!(is_granted(&mut open(&directory), at(5 * MS), &claims));
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(1), retry_after_ms: 60_002 };
    assert_eq!(open(&directory).reserve(at(3 * MS), &claims).unwrap(), refused);
}

#[test]
fn rows_that_no_longer_stand_are_pruned() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let burst = LIMIT_PRUNE_ROWS_MAX + 9;
    for _ in 0..burst {
        assert!(is_granted(&mut store, at(0), &[sliding("a", 1000, 1)]));
    }
    assert_eq!(rows(&directory, "calls"), burst);
    assert_eq!(
        store.reserve(at(MS), &[sliding("a", 1000, 1)]).unwrap(),
        Reservation::Granted { used: vec![Amount::calls(1)] }
    );
    assert_eq!(rows(&directory, "calls"), 9 + 1, "the bound's worth is gone");
    assert!(is_granted(&mut store, at(MS), &[sliding("a", 1000, 1)]));
    assert_eq!(rows(&directory, "calls"), 2);
}

#[test]
fn counters_that_nobody_uses_are_swept() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    for session in 0..30 {
        assert!(is_granted(&mut store, at(0), &[sliding(&format!("session-{session}"), 1, 1)]));
    }
    assert_eq!(rows(&directory, "counters"), 30);
    for _ in 0..30 {
        assert!(is_granted(&mut store, at(MS), &[sliding("live", 1000, 60_000)]));
    }
    assert_eq!((rows(&directory, "counters"), rows(&directory, "calls")), (1, 30));
}

#[test]
fn store_that_another_holds_too_long_is_an_error_and_charges_nothing() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let holder = Connection::open(directory.path().join("limits.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    assert!(matches!(store.reserve(at(0), &[sliding("a", 1, 60_000)]), Err(StoreError::Database { .. })));
    let waited_ms = begun.elapsed().as_millis() as u64;
    assert!((LIMIT_STORE_WAIT_MS - 200..LIMIT_STORE_WAIT_MS + 2_000).contains(&waited_ms), "{waited_ms} ms");
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(is_granted(&mut store, at(0), &[sliding("a", 1, 60_000)]));
}

#[test]
fn file_is_private_to_its_owner() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    assert!(is_granted(&mut store, at(0), &[sliding("a", 1, 60_000)]));
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn what_is_no_store_of_this_version_is_refused() {
    let refused = |directory: &TempDir| match SqliteStore::open(directory.path(), "boot-1") {
        Err(StoreError::Database { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let damaged = TempDir::new().unwrap();
    std::fs::write(damaged.path().join("limits.db"), [b'x'; 4096]).unwrap();
    assert!(refused(&damaged).contains("not a database"));

    let newer = TempDir::new().unwrap();
    Connection::open(newer.path().join("limits.db")).unwrap().execute_batch("PRAGMA user_version = 3").unwrap();
    assert!(refused(&newer).contains("version 3"));

    let linked = TempDir::new().unwrap();
    std::os::unix::fs::symlink(newer.path().join("limits.db"), linked.path().join("limits.db")).unwrap();
    assert!(!refused(&linked).is_empty());

    let gone = TempDir::new().unwrap();
    std::fs::remove_dir(gone.path()).unwrap();
    assert!(refused(&gone).contains("No such file"));
}
