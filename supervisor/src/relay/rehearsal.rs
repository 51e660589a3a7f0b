//! A conversation without pipes, for the fuzzer: the gate, a log in memory, a clock that the caller moves. Built with
//! `--cfg fuzzing` alone.

use std::fs::File;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::gate::{Gate, Terms};
use super::outbox::Outbox;
use crate::audit::{Head, Journal, Mark};
use crate::clock::Now;
use crate::policy::{Durability, Policy};
use crate::wire::frame::Frame;

/// One session that nobody sees.
pub struct Rehearsal {
    gate: Gate,
    journal: Journal,
    outbox: Outbox,
    now: Now,
}

/// What left after one step: whole lines, each ended by LF.
#[derive(Debug, Default)]
pub struct Sent {
    /// To the server.
    pub to_server: Vec<u8>,
    /// To the client.
    pub to_client: Vec<u8>,
}

impl Rehearsal {
    /// A session under `policy`.
    ///
    /// # Panics
    /// When the kernel has no memory file to give.
    #[must_use]
    pub fn begin(policy: Policy) -> Self {
        let now = Now { wall_ns: 1_000_000_000, boot_ns: 1_000_000_000 };
        let log = memfd_create(c"isb-rehearsal", MFdFlags::MFD_CLOEXEC).expect("a memory file");
        let from = Mark { segment: 2, head: Head::START, length: 0 };
        let terms = Terms::plain(policy);
        let journal =
            Journal::begin(File::from(log), terms.session.clone(), Durability::Write, from, now).expect("a log");
        Self { gate: Gate::new(terms, now), journal, outbox: Outbox::default(), now }
    }

    /// One line of the client.
    pub fn client(&mut self, line: &[u8]) -> Sent {
        let Self { gate, journal, outbox, now } = self;
        gate.client_frame(Frame::Line(line), *now, journal, outbox).expect("the log takes it");
        self.sent()
    }

    /// One line of the server.
    pub fn server(&mut self, line: &[u8]) -> Sent {
        let Self { gate, journal, outbox, now } = self;
        let _for_people = gate.server_frame(Frame::Line(line), *now, journal, outbox).expect("the log takes it");
        self.sent()
    }

    /// `ms` milliseconds pass.
    pub fn later(&mut self, ms: u64) -> Sent {
        self.now.wall_ns += ms * 1_000_000;
        self.now.boot_ns += ms * 1_000_000;
        let Self { gate, journal, outbox, now } = self;
        gate.tick(*now, journal, outbox).expect("the log takes it");
        self.sent()
    }

    fn sent(&mut self) -> Sent {
        let (to_server, to_client) = self.outbox.taken();
        Sent { to_server, to_client }
    }
}
