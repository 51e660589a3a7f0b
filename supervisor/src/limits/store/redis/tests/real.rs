//! The product's script, with Redis' own clock.

use std::time::{Duration, Instant};

use super::server::Server;
use super::*;
use crate::limits::Window;

#[test]
fn the_wait_it_names_is_enough_by_redis_own_clock() {
    let server = Server::start();
    let mut store = server.store();
    let claims = [sliding("k", 2, 400)];
    for _ in 0..3 {
        let (mut used, mut wait_ms) = (Amount::ZERO, 0);
        for _ in 0..10 {
            match store.reserve(ANY, &claims).unwrap() {
                Reservation::Granted { .. } => {}
                Reservation::Exhausted { used: standing, retry_after_ms, .. } => {
                    (used, wait_ms) = (standing, retry_after_ms);
                    break;
                }
            }
        }
        assert!((1..=400).contains(&wait_ms) && used == Amount::calls(2), "{used} stand, {wait_ms} ms");
        std::thread::sleep(Duration::from_millis(wait_ms));
        assert!(is_granted(&mut store, &claims));
    }
}

#[test]
fn clients_at_once_allow_exactly_the_maximum() {
    let server = Server::start();
    let claims = [sliding("a", 10, 60_000), sliding("b", 40, 60_000)];
    let granted: usize = std::thread::scope(|scope| {
        let client = || {
            let mut store = server.store();
            (0..10).filter(|_| is_granted(&mut store, &claims)).count()
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(granted, 10);
    let b = server.store().reserve(ANY, &claims[1..]).unwrap();
    assert_eq!(b, Reservation::Granted { used: vec![Amount::calls(11)] }, "the refused ones charged nothing");
}

#[test]
fn a_new_client_finds_the_count_and_another_prefix_does_not() {
    let server = Server::start();
    let claims = [sliding("a", 1, 60_000)];
    assert!(is_granted(&mut server.store(), &claims));
    assert!(!is_granted(&mut server.store(), &claims));
    struct Other(Box<dyn Link>);
    impl Link for Other {
        fn connect(&mut self, deadline_ns: u64) -> Result<Connection, String> {
            self.0.connect(deadline_ns).map(|connection| Connection { prefix: "other".to_owned(), ..connection })
        }
    }
    assert!(is_granted(&mut RedisStore::new(Box::new(Other(server.link()))), &claims));
    assert!(is_granted(&mut server.store(), &[sliding("b", 1, 60_000)]));
}

#[test]
fn a_forgotten_script_is_given_again_and_charges_once() {
    let server = Server::start();
    let mut store = server.store();
    let claims = [sliding("a", 5, 60_000)];
    assert!(is_granted(&mut store, &claims));
    server.ask(&["SCRIPT", "FLUSH"]);
    let second = Reservation::Granted { used: vec![Amount::calls(2)] };
    assert_eq!(store.reserve(ANY, &claims).unwrap(), second);
}

#[test]
fn a_counter_that_nobody_feeds_vanishes() {
    let server = Server::start();
    let mut store = server.store();
    assert!(is_granted(&mut store, &[sliding("a", 1, 100)]));
    let key = request::counter_key("intercept-sandbox", "a");
    let begun = Instant::now();
    while server.ask(&["EXISTS", &key]) != Reply::Integer(0) {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn reading_leaves_no_mark() {
    let server = Server::start();
    let window = Window::Sliding { window_ms: 60_000 };
    let read = Claim { key: "a".into(), window, amount: Amount::ZERO, at_least: Amount::MIN, at_most: Amount::ZERO };
    assert!(is_granted(&mut server.store(), &[read]));
    assert_eq!(server.ask(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn a_damaged_counter_is_an_error_and_charges_nothing() {
    let server = Server::start();
    let (damaged, fine) = (sliding("a", 5, 60_000), sliding("b", 5, 60_000));
    let key = request::counter_key("intercept-sandbox", "a");
    for damage in [
        vec!["SET", &key, "x"],
        vec!["HSET", &key, "first", "0"],
        vec!["HSET", &key, "first", "0", "next", "x", "sum", "0", "keep", "0"],
        vec!["HSET", &key, "first", "0", "next", "1", "sum", "1", "keep", "60000000"],
        vec!["HSET", &key, "first", "0", "next", "1", "sum", "-1", "keep", "60000000", "0", "1 0"],
        vec!["HSET", &key, "first", "0", "next", "1", "sum", "0", "keep", "1", "0", "9999999999999999 5"],
        vec!["HSET", &key, "first", "0", "next", "1", "sum", "0", "keep", "1", "0", "1"],
    ] {
        server.ask(&["FLUSHALL"]);
        server.ask(&damage);
        let refused = why(server.store().reserve(ANY, &[fine.clone(), damaged.clone()]));
        assert!(refused.contains("refused"), "{damage:?}: {refused}");
        let alone = server.store().reserve(ANY, std::slice::from_ref(&fine)).unwrap();
        assert_eq!(alone, Reservation::Granted { used: vec![Amount::calls(1)] }, "{damage:?}");
    }
}

#[test]
fn a_wrong_login_or_database_is_refused_and_a_right_one_is_not() {
    let server = Server::with(&["--requirepass", "s3cret"]);
    let try_login = |login: &str, db: u32| {
        let dsn = Dsn { db, ..Dsn::parse(&format!("redis://{login}h")).unwrap() };
        handshake(server.connect().into(), &dsn, deadline()).map(|(_, warnings)| warnings)
    };
    assert!(try_login("", 0).unwrap_err().contains("NOAUTH"));
    for wrong in [":wrong@", "default:wrong@", "nobody:s3cret@"] {
        let refused = try_login(wrong, 0).unwrap_err();
        assert!(refused.contains("WRONGPASS") && !refused.contains("s3cret"), "{wrong}: {refused}");
    }
    assert!(try_login(":s3cret@", 99).unwrap_err().contains("database 99"));
    assert!(try_login(":s3cret@", 1).unwrap()[0].contains("append-only"));
    assert!(try_login("default:s3cret@", 15).is_ok());
}

#[test]
fn a_redis_that_evicts_is_not_taken() {
    let server = Server::with(&["--maxmemory-policy", "volatile-lru"]);
    let refused = why(server.store().reserve(ANY, &[sliding("a", 1, 1)]));
    assert!(refused.contains("maxmemory-policy"), "{refused}");
}

#[test]
fn an_account_that_may_only_count_is_enough() {
    let server = Server::start();
    let rights = ["ACL", "SETUSER", "isb", "on", ">pw", "~intercept-sandbox:*", "-@all"];
    let commands = [
        "+select",
        "+evalsha",
        "+eval",
        "+script|load",
        "+time",
        "+get",
        "+set",
        "+hget",
        "+hmget",
        "+hset",
        "+hdel",
        "+pexpireat",
    ];
    assert_eq!(server.ask(&[rights.as_slice(), &commands].concat()), Reply::Simple(b"OK".to_vec()));
    let dsn = Dsn::parse("redis://isb:pw@h").unwrap();
    let (connection, warnings) = handshake(server.connect().into(), &dsn, deadline()).unwrap();
    assert!(warnings[0].contains("NOPERM"), "{warnings:?}");
    let mut fd = Some(connection.fd);
    let link = Connect(move || fd.take().ok_or_else(|| "once".to_owned()));
    let mut store = RedisStore::new(Box::new(link));
    assert!(is_granted(&mut store, &[sliding("a", 1, 60_000)]));
    assert!(!is_granted(&mut store, &[sliding("a", 1, 60_000)]));
}
