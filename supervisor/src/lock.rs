//! Waiting for a file's lock (flock(2)) that other sessions take as well. None of them keeps it for longer than a few writes, so one
//! that is not to be had in time is held by a process that stands still, and whoever wants it fails instead of standing still, too.

use std::fs::{File, TryLockError};
use std::io;
use std::thread::sleep;
use std::time::Duration;

use crate::bounds::{LOCK_RETRY_MS, LOCK_WAIT_MS};
use crate::clock;

/// Takes the lock for this process alone. Waits at most [`LOCK_WAIT_MS`].
///
/// # Errors
/// Those of flock(2); `TimedOut` when another holds it all that time.
pub fn exclusive(file: &File) -> io::Result<()> {
    exclusive_within(LOCK_WAIT_MS, file)
}

/// As [`exclusive`], where it is another wait than that for what all sessions share: at most `wait_ms`.
///
/// # Errors
/// As [`exclusive`].
pub fn exclusive_within(wait_ms: u64, file: &File) -> io::Result<()> {
    within(wait_ms, || file.try_lock())
}

/// Takes the lock together with others that only read. Waits at most [`LOCK_WAIT_MS`].
///
/// # Errors
/// As [`exclusive`].
pub fn shared(file: &File) -> io::Result<()> {
    within(LOCK_WAIT_MS, || file.try_lock_shared())
}

fn within(wait_ms: u64, attempt: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    let deadline_ns = clock::now().boot_ns.saturating_add(wait_ms * 1_000_000);
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if clock::now().boot_ns < deadline_ns => {
                sleep(Duration::from_millis(LOCK_RETRY_MS));
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("another process has held its lock for {wait_ms} ms");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_waited_for_and_not_for_good() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (held, wanted) = (file.reopen().unwrap(), file.reopen().unwrap());
        exclusive(&held).unwrap();
        let begun_ns = clock::now().boot_ns;
        assert_eq!(exclusive_within(30, &wanted).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(within(30, || wanted.try_lock_shared()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(clock::now().boot_ns - begun_ns >= 60_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(20));
                held.unlock().unwrap();
            });
            within(600_000, || wanted.try_lock_shared()).unwrap();
        });
        shared(&held).unwrap();
        assert!(exclusive_within(0, &held).is_err(), "others read");
    }
}
