//! A Redis that dies, hangs and comes back.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::server::Server;
use super::*;

/// Reserves until it works again.
fn recovers(store: &mut RedisStore, claims: &[Claim]) -> Reservation {
    let begun = Instant::now();
    loop {
        match store.reserve(ANY, claims) {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_redis_is_an_error_at_once_and_found_again_when_it_is_back() {
    let mut server = Server::start();
    let mut store = server.store();
    let claims = [sliding("a", 5, 60_000)];
    assert!(is_granted(&mut store, &claims));
    server.kill();
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(!why(store.reserve(ANY, &claims)).is_empty());
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    server.restart();
    assert!(matches!(recovers(&mut store, &claims), Reservation::Granted { .. }));
}

#[test]
fn a_hanging_redis_costs_no_more_than_the_bound_and_charges_no_call_twice() {
    let server = Server::start();
    let mut store = server.store();
    let claims = [sliding("a", 5, 60_000)];
    assert!(is_granted(&mut store, &claims));
    server.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    assert!(why(store.reserve(ANY, &claims)).contains("in time"));
    let waited_ms = begun.elapsed().as_millis() as u64;
    assert!((LIMIT_STORE_WAIT_MS - 50..LIMIT_STORE_WAIT_MS + 1_000).contains(&waited_ms), "{waited_ms} ms");
    server.signal(Signal::SIGCONT);
    let third = Reservation::Granted { used: vec![Amount::calls(3)] };
    assert_eq!(recovers(&mut store, &claims), third, "the call without an answer was charged, and once");
}

#[test]
fn while_no_connection_can_be_had_calls_are_refused_without_waiting() {
    let mut asked = 0;
    let link = Connect(move || {
        asked += 1;
        Err(format!("try {asked}"))
    });
    let mut store = RedisStore::new(Box::new(link));
    let claims = [sliding("a", 1, 1)];
    for _ in 0..100 {
        assert_eq!(why(store.reserve(ANY, &claims)), "limit store shared: try 1");
    }
    std::thread::sleep(Duration::from_millis(REDIS_RETRY_MIN_MS));
    for _ in 0..100 {
        assert!(why(store.reserve(ANY, &claims)).ends_with("try 2"));
    }
    assert_eq!(store.outage.as_ref().map(|outage| outage.pause_ms), Some(2 * REDIS_RETRY_MIN_MS));
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_no_call() {
    let server = Server::start();
    let mut store = server.store();
    let claims = [sliding("a", 5, 60_000)];
    assert!(is_granted(&mut store, &claims));
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(store.reserve(ANY, &claims).unwrap(), Reservation::Granted { used: vec![Amount::calls(2)] });
}
