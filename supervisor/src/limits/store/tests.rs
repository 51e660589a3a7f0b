//! Both stores against a brute-force oracle; the SQLite store against other supervisors, kills, reboots and damage.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::bounds::{LIMIT_PRUNE_ROWS_MAX, LIMIT_STORE_WAIT_MS};
use crate::clock::Now;
use crate::limits::{CalendarUnit, Quota, Store, StoreError};

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

/// What the contract of [`Store`] says, by counting.
#[derive(Default)]
struct Oracle(Vec<(u64, String)>);

impl Oracle {
    fn used(&self, claim: &Claim, ns: u64) -> u64 {
        let stands = |at_ns: u64| match quota_of(claim) {
            Quota::Sliding { window_ms, .. } => at_ns + window_ms * MS > ns,
            Quota::Calendar { .. } => (WALL + at_ns) / (60_000 * MS) == (WALL + ns) / (60_000 * MS),
        };
        self.0.iter().filter(|(at_ns, key)| *key == claim.key && stands(*at_ns)).count() as u64
    }

    /// Whether claim `index` fits at `ns`, the earlier ones of its key charged.
    fn fits(&self, claims: &[Claim], index: usize, ns: u64) -> bool {
        let (Quota::Sliding { max, .. } | Quota::Calendar { max, .. }) = quota_of(&claims[index]);
        self.used(&claims[index], ns) + wanted(claims, index) <= max
    }

    /// Milliseconds until claim `index` fits: the first of the instants at which anything changes.
    fn wait_ms(&self, claims: &[Claim], index: usize, ns: u64) -> u64 {
        let ends = |at_ns: u64| match quota_of(&claims[index]) {
            Quota::Sliding { window_ms, .. } => at_ns + window_ms * MS,
            Quota::Calendar { .. } => (at_ns / (60_000 * MS) + 1) * 60_000 * MS,
        };
        let mut waits: Vec<u64> =
            self.0.iter().map(|(at_ns, _)| ends(*at_ns).saturating_sub(ns).div_ceil(MS)).collect();
        waits.sort_unstable();
        waits.into_iter().find(|wait_ms| self.fits(claims, index, ns + wait_ms * MS)).unwrap_or(NEVER_MS)
    }

    fn reserve(&mut self, ns: u64, claims: &[Claim]) -> Reservation {
        let full: Vec<usize> = (0..claims.len()).filter(|index| !self.fits(claims, *index, ns)).collect();
        if full.is_empty() {
            let used = (0..claims.len())
                .map(|index| Amount::calls(self.used(&claims[index], ns) + wanted(claims, index)))
                .collect();
            self.0.extend(claims.iter().map(|claim| (ns, claim.key.clone())));
            return Reservation::Granted { used };
        }
        let retry_after_ms = full.iter().map(|index| self.wait_ms(claims, *index, ns)).max().unwrap();
        let index = full.into_iter().find(|index| self.wait_ms(claims, *index, ns) == retry_after_ms).unwrap();
        Reservation::Exhausted { index, used: Amount::calls(self.used(&claims[index], ns)), retry_after_ms }
    }
}

fn wanted(claims: &[Claim], index: usize) -> u64 {
    claims[..=index].iter().filter(|claim| claim.key == claims[index].key).count() as u64
}

fn claim() -> impl Strategy<Value = Claim> {
    // One quota a key, so that what the store has forgotten is what no longer stands.
    prop_oneof![
        (0u64..4).prop_map(|max| sliding(&format!("s{max}"), max, 2 + 3 * max)),
        (1u64..4).prop_map(|max| Claim::call(format!("c{max}"), Quota::Calendar { max, unit: CalendarUnit::Minute })),
    ]
}

fn trace() -> impl Strategy<Value = Vec<(u64, Vec<Claim>)>> {
    let step = prop_oneof![Just(0u64), 1..3 * MS, Just(MS), 1..20_000 * MS];
    prop::collection::vec((step, prop::collection::vec(claim(), 1..4)), 1..40)
}

/// Runs a trace on a store and the oracle. Where the store refuses, the wait it names is tried on a copy of the oracle: too short by one
/// millisecond it is refused, in full it is granted.
fn compare(store: &mut impl Store, trace: Vec<(u64, Vec<Claim>)>) -> Result<(), TestCaseError> {
    let (mut oracle, mut ns) = (Oracle::default(), 0);
    for (step, claims) in trace {
        ns += step;
        let answer = store.reserve(at(ns), &claims).unwrap();
        prop_assert_eq!(&answer, &oracle.reserve(ns, &claims), "{:?} at {}", claims, ns);
        if let Reservation::Exhausted { retry_after_ms, .. } = answer
            && retry_after_ms != NEVER_MS
        {
            let all_fit = |wait_ms: u64| (0..claims.len()).all(|index| oracle.fits(&claims, index, ns + wait_ms * MS));
            prop_assert!(all_fit(retry_after_ms) && !all_fit(retry_after_ms - 1));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn memory_answers_as_the_oracle(trace in trace()) {
        compare(&mut MemoryStore::new(), trace)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sqlite_answers_as_the_oracle(trace in trace()) {
        let directory = TempDir::new().unwrap();
        compare(&mut open(&directory), trace)?;
    }
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
fn supervisors_on_one_directory_allow_the_maximum_together() {
    let directory = TempDir::new().unwrap();
    let granted: usize = std::thread::scope(|scope| {
        let reserve = || {
            let mut store = open(&directory);
            (0..10).filter(|_| is_granted(&mut store, at(0), &[sliding("a", 10, 60_000)])).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(reserve)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 10);
    assert_eq!(rows(&directory, "calls"), 10);
}

/// Starts this test program again as another supervisor: [`supervisor_process`].
#[allow(clippy::disallowed_methods, reason = "a test needs a process of its own to kill")]
fn start_process(directory: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "limits::store::tests::supervisor_process", "--ignored", "--nocapture"])
        .env("ISB_TEST_LIMITS_DIR", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// How many calls the process was granted.
fn granted_by(output: &mut BufReader<std::process::ChildStdout>) -> u64 {
    output
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.rsplit_once("granted=").map(|(_, count)| count.parse().unwrap()))
        .unwrap()
}

#[test]
#[ignore = "the other process of the tests below"]
fn supervisor_process() {
    let directory = std::env::var("ISB_TEST_LIMITS_DIR").unwrap();
    let mut store = SqliteStore::open(Path::new(&directory), "boot-1").unwrap();
    let granted = (0..10).filter(|_| is_granted(&mut store, at(0), &[sliding("a", 10, 60_000)])).count();
    writeln!(std::io::stdout(), "granted={granted}").unwrap();
    // Holds the store open until killed.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn two_processes_allow_the_maximum_together_and_a_kill_forgets_nothing() {
    let directory = TempDir::new().unwrap();
    let mut processes = [start_process(directory.path()), start_process(directory.path())];
    let granted: u64 = processes.iter_mut().map(|(_, output)| granted_by(output)).sum();
    assert_eq!(granted, 10);
    for (child, _) in &mut processes {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(10), retry_after_ms: 60_000 };
    assert_eq!(open(&directory).reserve(at(0), &[sliding("a", 10, 60_000)]).unwrap(), refused);
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
        Ok(_) => panic!("opened"),
    };
    let damaged = TempDir::new().unwrap();
    std::fs::write(damaged.path().join("limits.db"), [b'x'; 4096]).unwrap();
    assert!(refused(&damaged).contains("not a database"));

    let newer = TempDir::new().unwrap();
    Connection::open(newer.path().join("limits.db")).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    assert!(refused(&newer).contains("version 2"));

    let linked = TempDir::new().unwrap();
    std::os::unix::fs::symlink(newer.path().join("limits.db"), linked.path().join("limits.db")).unwrap();
    assert!(!refused(&linked).is_empty());

    let gone = TempDir::new().unwrap();
    std::fs::remove_dir(gone.path()).unwrap();
    assert!(refused(&gone).contains("No such file"));
}
