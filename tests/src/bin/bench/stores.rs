//! What a reservation costs in each limit store.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::arena::Arena;
use harness::redis::Redis;
use intercept_sandbox::clock;
use intercept_sandbox::limits::redis::{RedisStore, Source};
use intercept_sandbox::limits::{Claim, MemoryStore, Quota, Reservation, SqliteStore, Store};
use intercept_sandbox::monitor::store_link::{self, Dial, LinkError};
use intercept_sandbox::trust::Caller;

/// Reservations that one figure is the median of.
const RESERVATIONS: usize = 2000;

/// What one reservation is, and what the stores wait for.
pub(crate) const WHAT: &str = "one call on one limit, median of 2000. SQLite waits for the disk. Redis is a redis-server of this \
                               machine on loopback TCP, with a password and without an append-only file, over a connection \
                               that the product's own link made; a network between the two comes on top";

/// The stores, each with the median time of a granted reservation of one call.
///
/// # Panics
/// When a store cannot be had: a row is never left out.
pub(crate) fn rows(arena: &Arena, directory: &Path) -> Vec<(&'static str, Duration)> {
    let memory = median(&mut MemoryStore::new());
    let sqlite = median(&mut SqliteStore::open(directory, "bench").expect("a limit store"));
    let server = Redis::start(arena);
    let (mut store, dialling) = redis(&server.dsn_file(arena));
    let redis = median(&mut store);
    drop(store); // hangs up
    dialling.join().expect("it does not panic").expect("it hears that we hung up");
    vec![("memory", memory), ("SQLite, synchronous", sqlite), ("Redis, loopback TCP", redis)]
}

/// The store as a session has it, but for the confinement of the process that connects: here it is a thread. It hands the
/// connection over before the first reservation and has no part in any.
fn redis(dsn: &str) -> (RedisStore, JoinHandle<Result<(), LinkError>>) {
    let caller = Caller { uid: 0, behind: None, login_uid: None, wrapped: false };
    let source = Source::parse(dsn, &caller).expect("a file of root's");
    let (ours, theirs) = store_link::pair().expect("a pair of sockets");
    let dial = move |theirs: OwnedFd| Dial::prepare(&source, theirs)?.serve(|| Ok(()));
    (RedisStore::new(Box::new(ours)), thread::spawn(move || dial(theirs)))
}

fn median(store: &mut impl Store) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root, as the bench does; the unprivileged run has nothing to measure with.
    #[test]
    fn every_store_has_a_row() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        harness::arena::run(|arena| {
            let rows = rows(arena, &arena.folder("limits"));
            let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, ["memory", "SQLite, synchronous", "Redis, loopback TCP"]);
            let took = |at: usize| rows[at].1;
            assert!(took(0) < took(2), "a store over a socket is no slower than memory: {rows:?}");
        });
    }
}
