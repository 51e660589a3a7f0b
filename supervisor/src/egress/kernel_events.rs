//! The probes' ring as the egress process reads it: typed events, and how many there was no room for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{Array, MapData};
use intercept_sandbox_abi as abi;

use super::events::{EventReader, HostNames, RingEvent};
use super::report::NetEvent;
use super::serve::{EventSource, KernelEvent, Lost};

/// The ring, the counters of what it lost, and the policy's names for synthetic addresses.
pub struct KernelEvents {
    reader: EventReader,
    counters: Array<MapData, u64>,
    counters_fd: RawFd,
    names: HostNames,
    lost_told: Lost,
    gate_ns: u64,
}

impl KernelEvents {
    pub(super) fn new(reader: EventReader, counters: (Array<MapData, u64>, RawFd), names: HostNames) -> Self {
        Self { reader, counters: counters.0, counters_fd: counters.1, names, lost_told: Lost::default(), gate_ns: 0 }
    }

    /// Its descriptors, for the confinement to keep.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        vec![self.reader.as_raw_fd(), self.counters_fd]
    }
}

impl std::fmt::Debug for KernelEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelEvents").field("lost_told", &self.lost_told).finish_non_exhaustive()
    }
}

impl AsFd for KernelEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl EventSource for KernelEvents {
    fn next(&mut self) -> Option<KernelEvent> {
        loop {
            match self.reader.next_event()? {
                Ok(RingEvent::Net(event)) => {
                    let self_test = event.time_ns < self.gate_ns;
                    return Some(KernelEvent::Net(NetEvent { self_test, ..event.net_event(&self.names) }));
                }
                // Before the gate it is the sandbox's pid 1, and the answers of the layers tell of it.
                Ok(RingEvent::Exec(event)) if event.time_ns < self.gate_ns => {}
                Ok(RingEvent::File(event)) if event.time_ns < self.gate_ns => {}
                Ok(RingEvent::File(event)) => return Some(KernelEvent::Open(event.open)),
                Ok(RingEvent::Exec(event)) => return Some(KernelEvent::Exec(event.start)),
                Err(error) => {
                    // Our own probe and this reader were built from one struct; a wrong item is a broken build, and it is
                    // told as a loss rather than passed over.
                    tracing::error!("kernel event: {error}");
                    self.lost_told.events = self.lost_told.events.wrapping_sub(1);
                }
            }
        }
    }

    fn lost(&mut self) -> Lost {
        // A count that cannot be read is told as one loss: the record says that something is missing.
        let count = |index, told: u64| self.counters.get(&index, 0).unwrap_or(told.wrapping_add(1));
        let lost = Lost {
            events: count(abi::COUNTER_LOST, self.lost_told.events),
            execs: count(abi::COUNTER_EXECS_LOST, self.lost_told.execs),
            opens: count(abi::COUNTER_OPENS_LOST, self.lost_told.opens),
        };
        let new = Lost {
            events: lost.events.wrapping_sub(self.lost_told.events),
            execs: lost.execs.wrapping_sub(self.lost_told.execs),
            opens: lost.opens.wrapping_sub(self.lost_told.opens),
        };
        self.lost_told = lost;
        new
    }

    fn gate_opened(&mut self, since_ns: u64) {
        self.gate_ns = since_ns;
    }
}
