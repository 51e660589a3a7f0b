//! The script against a brute-force oracle on a real Redis; then outages, other clients, and servers that lie.

mod hostile;
mod oracle;
mod outage;
mod real;
mod server;

use std::os::fd::OwnedFd;

use super::*;
use crate::limits::{Amount, Quota};

const MS: u64 = 1_000;
/// 2033-05-18 03:34:00 UTC in microseconds, on a minute's boundary; in the future, so that nothing expires under a test.
const WALL_US: u64 = 2_000_000_040_000_000;
/// Nobody reads it: the store's time is Redis'.
const ANY: Now = Now { wall_ns: 0, boot_ns: 0 };
/// The same script with a clock that a test sets: the product's text has no such line.
const SCRIPT_WITH_TEST_CLOCK: &str =
    concat!("local raw = tonumber(redis.call('GET', 'test-clock'))\n", include_str!("../reserve.lua"));

fn deadline() -> u64 {
    clock::now().boot_ns + 5_000_000_000
}

fn sliding(key: &str, max: u64, window_ms: u64) -> Claim {
    Claim::call(key.to_owned(), Quota::Sliding { max, window_ms })
}

fn is_granted(store: &mut RedisStore, claims: &[Claim]) -> bool {
    matches!(store.reserve(ANY, claims).unwrap(), Reservation::Granted { .. })
}

fn why(answer: Result<Reservation, StoreError>) -> String {
    answer.expect_err("no answer was possible").to_string()
}

/// A link of a closure.
struct Connect<F>(F);

impl<F: FnMut() -> Result<OwnedFd, String>> Link for Connect<F> {
    fn connect(&mut self, _: u64) -> Result<Connection, String> {
        let (prefix, place) = ("intercept-sandbox".to_owned(), "redis://h".to_owned());
        (self.0)().map(|fd| Connection { fd, prefix, place })
    }
}
