//! Servers that are not Redis, or mean harm. Whatever they say, the call is denied and nobody panics.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;
use crate::bounds::{REDIS_BULK_BYTES_MAX, REDIS_ITEMS_MAX};

const DIGEST: &[u8] = b"$40\r\n0123456789012345678901234567890123456789\r\n";
const GRANTED: &[u8] = b"*2\r\n$7\r\ngranted\r\n$1\r\n0\r\n";

/// A store on a server that answers each command with the next of `answers`, and then hangs up.
fn store_on(answers: Vec<Vec<u8>>) -> RedisStore {
    let link = Connect(move || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let answers = answers.clone();
        std::thread::spawn(move || {
            for answer in answers {
                let mut command = vec![0; 64 << 10];
                let mut heard = 0;
                // The script is longer than one read; every command ends in CR LF and nothing is sent ahead.
                while heard == 0 || !command[..heard].ends_with(b"\r\n") {
                    match theirs.read(&mut command[heard..]) {
                        Ok(count) if count > 0 => heard += count,
                        _ => return,
                    }
                }
                if theirs.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        Ok(ours.into())
    });
    RedisStore::new(Box::new(link))
}

#[test]
fn the_stand_in_is_believed_when_it_speaks_properly() {
    let mut store = store_on(vec![DIGEST.to_vec(), GRANTED.to_vec()]);
    assert_eq!(
        store.reserve(ANY, &[sliding("a", 1, 1)]).unwrap(),
        Reservation::Granted { used: vec![Amount::calls(1)] }
    );
}

#[test]
fn whatever_else_it_says_the_call_is_denied() {
    let one_over = |kind: char, max: usize| format!("{kind}{}\r\n", max + 1).into_bytes();
    let long = [b"*2\r\n$7\r\ngranted\r\n$60\r\n".as_slice(), &[b'9'; 60], b"\r\n"].concat();
    let answers: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        b"+OK\r\n".to_vec(),
        b":1\r\n".to_vec(),
        b"$-1\r\n".to_vec(),
        b"*0\r\n".to_vec(),
        b"*2\r\n$7\r\ngranted\r\n:0\r\n".to_vec(),
        b"*1\r\n*1\r\n*1\r\n".to_vec(),
        b"*4\r\n$9\r\nexhausted\r\n$1\r\n7\r\n$1\r\n0\r\n$1\r\n0\r\n".to_vec(),
        b"-ERR no \x1b[31m\r\n".to_vec(),
        b"-MOVED 1 10.0.0.1:6379\r\n".to_vec(),
        b"$99999999999999999999\r\n".to_vec(),
        b"$-9223372036854775808\r\n".to_vec(),
        one_over('$', REDIS_BULK_BYTES_MAX),
        one_over('*', REDIS_ITEMS_MAX),
        vec![b'+'; 1 << 20],
        [b"*4096\r\n".to_vec(), b"$65536\r\n".repeat(64)].concat(),
        long,
        [GRANTED, GRANTED].concat(),
        Vec::new(),
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        for script in [vec![answer.clone(), GRANTED.to_vec()], vec![DIGEST.to_vec(), answer.clone()]] {
            let refused = why(store_on(script).reserve(ANY, &[sliding("a", 1, 1)]));
            assert!(refused.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown:?}: {refused:?}");
        }
    }
}

#[test]
fn an_endless_answer_ends_with_the_bound_on_its_length() {
    let items = b"$0\r\n\r\n".repeat(REDIS_ITEMS_MAX - 1);
    let endless = [format!("*{REDIS_ITEMS_MAX}\r\n").into_bytes(), items, vec![b'$'; 1 << 20]].concat();
    assert!(!why(store_on(vec![DIGEST.to_vec(), endless]).reserve(ANY, &[sliding("a", 1, 1)])).is_empty());
}

#[test]
fn a_byte_at_a_time_does_not_outlast_the_deadline() {
    let link = Connect(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            while theirs.write_all(b"+").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(ours.into())
    });
    let mut store = RedisStore::new(Box::new(link));
    let begun = Instant::now();
    assert!(!why(store.reserve(ANY, &[sliding("a", 1, 1)])).is_empty());
    assert!(begun.elapsed() < Duration::from_millis(LIMIT_STORE_WAIT_MS + 1_000), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut ours = Some(OwnedFd::from(ours));
    let link = Connect(move || ours.take().ok_or_else(|| "no second connection".to_owned()));
    let mut store = RedisStore::new(Box::new(link));
    theirs.write_all(DIGEST).unwrap();
    let helper = std::thread::spawn(move || {
        let mut heard = vec![0; 64 << 10];
        // The script, then the reservation: two commands, told apart by the word in the second.
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains("EVALSHA") {
            let count = theirs.read(&mut heard).unwrap();
            all.extend_from_slice(&heard[..count]);
        }
        theirs.write_all(GRANTED).unwrap();
        theirs
    });
    assert!(is_granted(&mut store, &[sliding("a", 1, 1)]));
    let mut theirs = helper.join().unwrap();
    theirs.write_all(GRANTED).unwrap();
    assert!(why(store.reserve(ANY, &[sliding("a", 1, 1)])).contains("no second connection"));
}
