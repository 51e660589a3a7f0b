//! A store that is opened when it is first asked: under a policy that counts nothing a session needs none, and the next version of
//! that policy may.

use crate::clock::Now;
use crate::limits::{Claim, Reservation, Store, StoreError};

/// Opens the store of a session on the first reservation. One that cannot be opened charges nothing, and is tried again.
#[derive(Debug)]
pub struct LateStore<S, F> {
    open: F,
    opened: Option<S>,
}

impl<S, F> LateStore<S, F> {
    /// A store that `open` opens.
    pub const fn new(open: F) -> Self {
        Self { open, opened: None }
    }
}

impl<S: Store, F: FnMut() -> Result<S, StoreError>> Store for LateStore<S, F> {
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError> {
        let store = match &mut self.opened {
            Some(store) => store,
            none => none.insert((self.open)()?),
        };
        store.reserve(now, claims)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::limits::MemoryStore;

    #[test]
    fn it_is_opened_once_when_it_is_asked_and_a_failure_is_no_grant() {
        let tries = Cell::new(0);
        let mut store = LateStore::new(|| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(StoreError::MemoryFull { calls_max: 0 }),
                _ => Ok(MemoryStore::new()),
            }
        });
        assert_eq!(tries.get(), 0);
        let now = Now { wall_ns: 1, boot_ns: 1 };
        assert!(store.reserve(now, &[]).is_err());
        for _ in 0..3 {
            assert!(matches!(store.reserve(now, &[]), Ok(Reservation::Granted { .. })));
        }
        assert_eq!(tries.get(), 2);
    }
}
