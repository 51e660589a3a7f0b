//! Amounts: what is read, what is added, what is forgotten, what is refused.

use tempfile::TempDir;

use super::{MS, amount, at, is_granted, open, rows, sliding_claim};
use crate::bounds::{LIMIT_PRUNE_ROWS_MAX, MEMORY_STORE_CALLS_MAX};
use crate::limits::store::{MemoryStore, SqliteStore};
use crate::limits::{Amount, CalendarUnit, Claim, NEVER_MS, Reservation, Store, StoreError, Window};

const DAY_MS: u64 = 86_400_000;

/// Runs a story on both stores.
fn on_both(story: impl Fn(&mut dyn Store)) {
    story(&mut MemoryStore::new());
    let directory = TempDir::new().unwrap();
    story(&mut open(&directory));
}

fn granted(used: &[i128]) -> Reservation {
    Reservation::Granted { used: used.iter().copied().map(amount).collect() }
}

fn at_least(key: &str, bound: i128) -> Claim {
    Claim { at_least: amount(bound), ..sliding_claim(key, 1_000, 0, i128::MAX) }
}

#[test]
fn money_adds_up_to_the_last_billionth() {
    on_both(|store| {
        let cent = |brings| [sliding_claim("k", 1_000, brings, 300_000_000)];
        for sum in 1..=3 {
            assert_eq!(store.reserve(at(0), &cent(100_000_000)).unwrap(), granted(&[sum * 100_000_000]));
        }
        let refused = Reservation::Exhausted { index: 0, used: amount(300_000_000), retry_after_ms: 1_000 };
        assert_eq!(store.reserve(at(0), &cent(1)).unwrap(), refused);
    });
}

#[test]
fn reading_logs_nothing_and_needs_no_counter() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    for bound in [0, 5, i128::MAX] {
        assert_eq!(store.reserve(at(0), &[sliding_claim("k", 1_000, 0, bound)]).unwrap(), granted(&[0]));
    }
    assert_eq!(["counters", "calls", "timeline"].map(|table| rows(&directory, table)), [0, 0, 0]);
}

#[test]
fn reading_sees_what_stands_before_the_call() {
    on_both(|store| {
        assert_eq!(store.reserve(at(0), &[sliding_claim("k", 1_000, 3, 10)]).unwrap(), granted(&[3]));
        let claims =
            [sliding_claim("k", 1_000, 4, 10), sliding_claim("k", 1_000, 0, 3), sliding_claim("k", 1_000, 1, 10)];
        assert_eq!(store.reserve(at(0), &claims).unwrap(), granted(&[7, 3, 8]));
        let refused = Reservation::Exhausted { index: 1, used: amount(8), retry_after_ms: 1_000 };
        assert_eq!(store.reserve(at(0), &[claims[2].clone(), claims[1].clone()]).unwrap(), refused);
    });
}

#[test]
fn lower_bound_that_is_not_met_is_never_met_by_waiting() {
    on_both(|store| {
        let refused = |used| Reservation::Exhausted { index: 0, used: amount(used), retry_after_ms: NEVER_MS };
        assert_eq!(store.reserve(at(0), &[at_least("k", 1)]).unwrap(), refused(0));
        assert_eq!(store.reserve(at(0), &[sliding_claim("k", 1_000, 2, 9)]).unwrap(), granted(&[2]));
        assert_eq!(store.reserve(at(0), &[at_least("k", 2)]).unwrap(), granted(&[2]));
        assert_eq!(store.reserve(at(0), &[at_least("k", 3)]).unwrap(), refused(2));
        assert_eq!(store.reserve(at(1_000 * MS), &[at_least("k", 1)]).unwrap(), refused(0));
    });
}

#[test]
fn waiting_that_undoes_a_lower_bound_is_no_way_out() {
    on_both(|store| {
        let charges = [sliding_claim("full", 500, 1, 1), sliding_claim("needed", 1_000, 1, 9)];
        assert_eq!(store.reserve(at(0), &charges).unwrap(), granted(&[1, 1]));
        let both = |window_ms| [sliding_claim("full", window_ms, 1, 1), at_least("needed", 1)];
        let refused = |retry_after_ms| Reservation::Exhausted { index: 0, used: amount(1), retry_after_ms };
        assert_eq!(store.reserve(at(0), &both(999)).unwrap(), refused(999));
        assert_eq!(store.reserve(at(0), &both(1_000)).unwrap(), refused(NEVER_MS));
        let exactly = Claim { at_least: amount(1), at_most: amount(1), ..sliding_claim("full", 500, 1, 1) };
        assert_eq!(store.reserve(at(0), &[exactly]).unwrap(), refused(NEVER_MS));
    });
}

#[test]
fn amounts_that_no_call_may_bring_are_refused_and_charge_nothing() {
    on_both(|store| {
        let too_much = Amount::CALL_MAX.billionths() + 1;
        for brings in [-1, too_much, i128::MIN, i128::MAX] {
            let claims = [sliding_claim("other", 1_000, 1, i128::MAX), sliding_claim("k", 1_000, brings, i128::MAX)];
            let refused = Reservation::Exhausted { index: 1, used: Amount::ZERO, retry_after_ms: NEVER_MS };
            assert_eq!(store.reserve(at(0), &claims).unwrap(), refused, "{brings}");
        }
        assert_eq!(store.reserve(at(0), &[sliding_claim("other", 1_000, 0, 0)]).unwrap(), granted(&[0]));
        let most = [sliding_claim("k", 1_000, too_much - 1, i128::MAX)];
        assert_eq!(store.reserve(at(0), &most).unwrap(), granted(&[too_much - 1]));
    });
}

#[test]
fn a_counter_whose_total_would_overflow_denies() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    assert!(is_granted(&mut store, at(0), &[sliding_claim("k", DAY_MS, 1, i128::MAX)]));
    let file = rusqlite::Connection::open(directory.path().join("limits.db")).unwrap();
    file.execute("UPDATE counters SET base = ?1, total = ?2", [i128::MAX - 2, i128::MAX - 1].map(i128::to_be_bytes))
        .unwrap();
    file.execute("UPDATE calls SET total = ?1", [(i128::MAX - 1).to_be_bytes()]).unwrap();
    let brings = |brings| [sliding_claim("k", DAY_MS, brings, i128::MAX)];
    let refused = Reservation::Exhausted { index: 0, used: amount(1), retry_after_ms: NEVER_MS };
    assert_eq!(store.reserve(at(0), &brings(2)).unwrap(), refused);
    assert_eq!(store.reserve(at(0), &brings(1)).unwrap(), granted(&[2]));
    assert!(!is_granted(&mut store, at(0), &brings(1)));
}

#[test]
fn a_shorter_window_forgets_nothing_that_a_longer_one_counts() {
    on_both(|store| {
        let day = |brings| [sliding_claim("k", DAY_MS, brings, 5)];
        let second = [sliding_claim("k", 1_000, 1, i128::MAX)];
        let today = [Claim { window: Window::Calendar { unit: CalendarUnit::Day }, ..day(0)[0].clone() }];
        assert_eq!(store.reserve(at(0), &day(1)).unwrap(), granted(&[1]));
        for minute in 1..=4 {
            assert_eq!(store.reserve(at(minute * 60_000 * MS), &second).unwrap(), granted(&[1]));
        }
        let refused = Reservation::Exhausted { index: 0, used: amount(5), retry_after_ms: DAY_MS - 240_000 };
        assert_eq!(store.reserve(at(240_000 * MS), &day(1)).unwrap(), refused);
        assert_eq!(store.reserve(at(240_000 * MS), &today).unwrap(), granted(&[5]));
        assert_eq!(store.reserve(at((DAY_MS + 60_000) * MS), &day(1)).unwrap(), granted(&[4]));
    });
}

#[test]
fn sums_stay_right_while_calls_are_forgotten_in_parts() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    let burst = i128::from(3 * LIMIT_PRUNE_ROWS_MAX);
    for number in 1..=burst {
        assert!(is_granted(&mut store, at(0), &[sliding_claim("k", 1_000, number, i128::MAX)]));
    }
    let mut sum = 0;
    for number in 1..=5 {
        sum += number;
        let answer = store.reserve(at(1_000 * MS), &[sliding_claim("k", 1_000, number, sum)]).unwrap();
        assert_eq!(answer, granted(&[sum]), "nothing of the burst stands, forgotten or not");
    }
    assert_eq!(rows(&directory, "calls"), 5);
    let refused = Reservation::Exhausted { index: 0, used: amount(sum), retry_after_ms: 1_000 };
    assert_eq!(store.reserve(at(1_000 * MS), &[sliding_claim("k", 1_000, 1, sum)]).unwrap(), refused);
}

#[test]
fn a_counter_that_is_half_swept_still_counts_right() {
    let directory = TempDir::new().unwrap();
    let mut store = open(&directory);
    for _ in 0..LIMIT_PRUNE_ROWS_MAX + 5 {
        assert!(is_granted(&mut store, at(0), &[sliding_claim("old", 10, 7, i128::MAX)]));
    }
    assert!(is_granted(&mut store, at(10 * MS), &[sliding_claim("live", 1_000, 1, 9)]));
    assert_eq!(rows(&directory, "calls"), 5 + 1, "a part of the old one is gone");
    assert_eq!(store.reserve(at(10 * MS), &[sliding_claim("old", 10, 4, 9)]).unwrap(), granted(&[4]));
    assert_eq!(store.reserve(at(10 * MS), &[sliding_claim("old", 10, 4, 9)]).unwrap(), granted(&[8]));
}

#[test]
fn a_full_memory_refuses_and_recovers_when_calls_have_fallen_out() {
    let mut store = MemoryStore::new();
    let call = |key: &str| sliding_claim(key, 1_000, 1, i128::MAX);
    for number in 0..MEMORY_STORE_CALLS_MAX - 1 {
        assert!(is_granted(&mut store, at(0), &[call(&format!("k{}", number % 1_000))]));
    }
    let error = store.reserve(at(0), &[call("x"), call("y")]).unwrap_err();
    assert!(matches!(error, StoreError::MemoryFull { calls_max: MEMORY_STORE_CALLS_MAX }), "{error}");
    assert_eq!(store.reserve(at(0), &[call("x")]).unwrap(), granted(&[1]), "the refusal charged nothing");
    assert!(store.reserve(at(0), &[call("x")]).is_err());
    assert!(is_granted(&mut store, at(0), &[sliding_claim("x", 1_000, 0, 1)]), "reading needs no room");
    assert_eq!(store.reserve(at(1_000 * MS), &[call("x")]).unwrap(), granted(&[1]));
}

/// `ISB_MEASURE_DIR=/a/folder/on/a/disk cargo test -p intercept-sandbox --lib -- --ignored --nocapture reserve_takes`
#[test]
#[ignore = "a measurement"]
fn reserve_takes() {
    let parent = std::env::var_os("ISB_MEASURE_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = TempDir::new_in(parent).unwrap();
    let mut stores: [(&str, u64, Box<dyn Store>); 2] = [
        ("memory", 50_000, Box::new(MemoryStore::new())),
        ("sqlite", 2_000, Box::new(SqliteStore::open(directory.path(), "boot-1").unwrap())),
    ];
    for (name, calls, store) in &mut stores {
        for (answer, at_most, begun_ns) in [("granted", i128::MAX, 0), ("refused", 1, *calls)] {
            let begun = std::time::Instant::now();
            for call in 0..*calls {
                let _ = store.reserve(at(begun_ns + call), &[sliding_claim("k", 60_000, 1, at_most)]).unwrap();
            }
            let each_ns = begun.elapsed().as_nanos() / u128::from(*calls);
            eprintln!("{name}: {each_ns} ns, {answer}, up to {calls} calls standing");
        }
    }
}
