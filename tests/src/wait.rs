//! Waiting for a condition that nothing announces: looked at again and again until a deadline, never slept through.

use std::env;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Longest wait for what is bound to come and of which the product does not promise when: a record, a line, a process' end. A machine
/// that stands still for some seconds passes; only what never comes is waited for as long. What is a promise has a limit of its own.
pub const COMES_LIMIT: Duration = Duration::from_secs(30);

/// Multiplies what may take long on a machine that is emulated; a whole number, 1 when it is not set. `cargo xtask vm-test` sets
/// and prints it. It stretches the harness' patience alone, never a bound of the product.
pub const PATIENCE_VARIABLE: &str = "ISB_TEST_PATIENCE";

/// A time bound on this machine.
///
/// # Panics
/// When the variable is no whole number from 1 up: a bound that is not what was asked for tells nothing.
#[must_use]
pub fn on_this_machine(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        let text = env::var(PATIENCE_VARIABLE).unwrap_or_else(|_| "1".into());
        let factor = text.parse().ok().filter(|factor| *factor >= 1);
        factor.unwrap_or_else(|| panic!("{PATIENCE_VARIABLE}={text}: a whole number from 1 up"))
    });
    limit * *factor
}

/// Looks at `condition` until it gives a value or `limit`, stretched by [`on_this_machine`], is over; and once more then, for it is no
/// fault of what was waited for when we ourselves were not let run.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + on_this_machine(limit);
    loop {
        let is_last = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Some(value);
        }
        if is_last {
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
