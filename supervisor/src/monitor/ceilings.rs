//! What happens at the run's ceilings, told to the relay, which records it: memory that ran out, processes that were refused.
//!
//! An observation and not a protection: the kernel holds the ceilings whether or not we hear of it. A server that is refused a
//! process a million times wakes the monitor once a second.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

use crate::bounds::{CEILING_LOOK_MS, CEILING_REST_MS};
use crate::clock;
use crate::sandbox::cgroup::{Incidents, Leaf};

/// The counters of a run and what was told of them.
#[derive(Debug)]
pub struct Ceilings {
    files: Vec<File>,
    told: Incidents,
    /// When to look next; until then no descriptor is waited for.
    next_ns: Option<u64>,
    /// Time between two looks where the kernel does not tell of a change.
    every_ns: Option<u64>,
    broken: bool,
}

impl Ceilings {
    /// Opens the counters of `leaf`. Where they cannot be had, the run is watched without them, and that is said.
    #[must_use]
    pub fn watch(leaf: &Leaf) -> Self {
        let every_ns = (!leaf.tells_of_incidents()).then_some(CEILING_LOOK_MS * 1_000_000);
        let next_ns = every_ns.map(|every| clock::now().boot_ns.saturating_add(every));
        let mut own = Self { files: Vec::new(), told: Incidents::default(), next_ns, every_ns, broken: false };
        match leaf.incident_fds() {
            Ok(fds) => own.files = fds.into_iter().map(File::from).collect(),
            Err(error) => own.give_up(&error),
        }
        own.arm();
        own
    }

    /// What to poll for `POLLPRI`; nothing while the time of the next look is set.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().filter(|_| self.next_ns.is_none()).map(AsFd::as_fd)
    }

    /// When [`Ceilings::look`] has something to do without a descriptor's word, nanoseconds since boot.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// The counters, where they rose since the last look. Then it rests.
    pub fn look(&mut self, leaf: &Leaf, now_ns: u64) -> Option<Incidents> {
        self.next_ns = self.every_ns.filter(|_| !self.broken).map(|every| now_ns.saturating_add(every));
        self.arm();
        let seen = match leaf.incidents() {
            Ok(seen) => seen,
            Err(error) => {
                self.give_up(&error);
                return None;
            }
        };
        if seen == self.told {
            return None;
        }
        self.told = seen;
        self.next_ns = Some(now_ns.saturating_add(CEILING_REST_MS * 1_000_000));
        Some(seen)
    }

    /// The kernel reports a change to whoever has read since the last one (kernfs).
    fn arm(&mut self) {
        let mut text = Vec::new();
        for file in &mut self.files {
            if let Err(error) = file.rewind().and_then(|()| file.read_to_end(&mut text)) {
                tracing::warn!("a counter of the cgroup cannot be read: {error}");
            }
        }
    }

    fn give_up(&mut self, error: &dyn std::error::Error) {
        self.files.clear();
        self.next_ns = None;
        if !std::mem::replace(&mut self.broken, true) {
            tracing::warn!("what happens at the run's ceilings is not recorded: {}", crate::report::chain(error));
        }
    }
}
