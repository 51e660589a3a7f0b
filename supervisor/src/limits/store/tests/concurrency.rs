//! Several supervisors on one directory: as threads, as processes, and killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::oracle::Oracle;
use super::{amount, at, is_granted, open, rows, sliding, sliding_claim};
use crate::limits::store::SqliteStore;
use crate::limits::{Amount, Claim, Reservation, Store};

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

/// Amounts that are no multiples of each other; each call is charged to two counters with bounds of their own.
fn mixed(thread: u64, call: u64) -> [Claim; 2] {
    let brings = i128::from((thread * 7 + call * 13) % 29 + 1);
    [sliding_claim("money", 60_000, brings, 700), sliding_claim("calls", 60_000, 1, 45)]
}

#[test]
fn answers_to_concurrent_supervisors_are_those_of_the_oracle_in_one_order() {
    let directory = TempDir::new().unwrap();
    let mut answers: Vec<([Claim; 2], Reservation)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let directory = &directory;
                scope.spawn(move || {
                    let mut store = open(directory);
                    let answer = |call| (mixed(thread, call), store.reserve(at(0), &mixed(thread, call)).unwrap());
                    (0..30).map(answer).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // What stands at the end of a grant names its place; nothing leaves the window meanwhile.
    answers.retain(|(_, answer)| matches!(answer, Reservation::Granted { .. }));
    answers.sort_by_key(|(_, answer)| match answer {
        Reservation::Granted { used } => used[1],
        Reservation::Exhausted { .. } => Amount::MAX,
    });
    let mut oracle = Oracle::default();
    for (claims, answer) in &answers {
        assert_eq!(*answer, oracle.reserve(0, claims));
    }
    assert!((20..=45).contains(&answers.len()), "{} granted", answers.len());
    let smallest = [sliding_claim("money", 60_000, 0, i128::MAX), sliding_claim("calls", 60_000, 0, i128::MAX)];
    assert_eq!(open(&directory).reserve(at(0), &smallest).unwrap(), oracle.reserve(0, &smallest));
}

/// Starts this test program again as another supervisor: the ignored test `role` of this module.
#[allow(clippy::disallowed_methods, reason = "a test needs a process of its own to kill")]
fn start_process(directory: &Path, role: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("limits::store::tests::concurrency::{role}"), "--ignored", "--nocapture"])
        .env("ISB_TEST_LIMITS_DIR", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// The store of a process that [`start_process`] started.
fn inherited() -> SqliteStore {
    let directory = std::env::var("ISB_TEST_LIMITS_DIR").unwrap();
    SqliteStore::open(Path::new(&directory), "boot-1").unwrap()
}

/// A tenth of at most one: ten fit exactly, and binary fractions would not add up to it.
fn tenth() -> Claim {
    sliding_claim("a", 60_000, 100_000_000, 1_000_000_000)
}

/// How many calls the process was granted.
fn granted_by(output: &mut BufReader<ChildStdout>) -> u64 {
    output
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.rsplit_once("granted=").map(|(_, count)| count.parse().unwrap()))
        .unwrap()
}

#[test]
#[ignore = "the other process of the tests below"]
fn supervisor_process() {
    let mut store = inherited();
    let granted = (0..10).filter(|_| is_granted(&mut store, at(0), &[tenth()])).count();
    writeln!(std::io::stdout(), "granted={granted}").unwrap();
    // Holds the store open until killed.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn two_processes_allow_the_maximum_together_and_a_kill_forgets_nothing() {
    let directory = TempDir::new().unwrap();
    let start = || start_process(directory.path(), "supervisor_process");
    let mut processes = [start(), start()];
    let granted: u64 = processes.iter_mut().map(|(_, output)| granted_by(output)).sum();
    assert_eq!(granted, 10);
    for (child, _) in &mut processes {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let refused = Reservation::Exhausted { index: 0, used: amount(1_000_000_000), retry_after_ms: 60_000 };
    assert_eq!(open(&directory).reserve(at(0), &[tenth()]).unwrap(), refused);
}

#[test]
#[ignore = "the process that is killed at work"]
fn busy_process() {
    let mut store = inherited();
    let mut call = 0;
    while is_granted(&mut store, at(call), &[sliding("a", u64::MAX, 60_000)]) {
        call += 1;
        writeln!(std::io::stdout(), "\ngranted={call};").unwrap();
    }
}

#[test]
fn a_kill_during_reservations_loses_no_call_that_was_granted() {
    let directory = TempDir::new().unwrap();
    let (mut child, mut output) = start_process(directory.path(), "busy_process");
    let (mut granted, mut line) = (0, String::new());
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(count) = line.trim_end().strip_suffix(';').and_then(|line| line.strip_prefix("granted=")) {
            granted = count.parse().unwrap();
            if granted == 200 {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(granted >= 200, "{granted}");
    // The one that was in work may or may not have been charged; it was not granted.
    let reading = [sliding_claim("a", 60_000, 0, i128::MAX)];
    let Reservation::Granted { used } = open(&directory).reserve(at(granted), &reading).unwrap() else {
        panic!("a reading is granted");
    };
    assert!([granted, granted + 1].contains(&used[0].whole()), "{granted} granted, {} stand", used[0]);
    assert_eq!(rows(&directory, "calls"), used[0].whole());
}
