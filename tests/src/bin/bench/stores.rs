//! What a reservation costs in each limit store.

use std::path::Path;
use std::time::{Duration, Instant};

use intercept_sandbox::clock;
use intercept_sandbox::limits::{Claim, MemoryStore, Quota, Reservation, SqliteStore, Store};

/// Reservations that one figure is the median of.
const RESERVATIONS: usize = 2000;

/// The stores, each with the median time of a granted reservation of one call.
pub(crate) fn rows(directory: &Path) -> Vec<(&'static str, Duration)> {
    let sqlite = SqliteStore::open(directory, "bench").expect("a limit store");
    vec![("memory", median(MemoryStore::new())), ("SQLite, synchronous", median(sqlite))]
}

fn median(mut store: impl Store) -> Duration {
    let claims = [Claim::call("bench".to_owned(), Quota::Sliding { max: 1_000_000, window_ms: 60_000 })];
    let reserve = |_| {
        let begun = Instant::now();
        let answer = store.reserve(clock::now(), &claims).expect("the store answers");
        let took = begun.elapsed();
        assert!(matches!(answer, Reservation::Granted { .. }), "{answer:?}");
        took
    };
    let mut times: Vec<Duration> = (0..RESERVATIONS).map(reserve).collect();
    times.sort_unstable();
    times[times.len() / 2]
}
