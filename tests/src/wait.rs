//! Waiting for a condition that nothing announces: looked at again and again until a deadline, never slept through.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value or `limit` is over.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(LOOK_EVERY);
    }
}

/// Whether `condition` came true within `limit`.
#[must_use]
pub fn becomes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    until(limit, || condition().then_some(())).is_some()
}
