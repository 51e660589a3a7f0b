//! A gate to say lines to, with the time told and the records read back.

use std::path::Path;

use serde_json::{Value, json};

use super::gate::{Gate, Terms};
use super::outbox::Outbox;
use super::pins::{PinSource, Pins};
use super::test_log;
use crate::audit::{Journal, SessionDirectory};
use crate::clock::Now;
use crate::policy::{self, Durability, Policy};
use crate::wire::frame::Frame;

/// Lines to the server, lines to the client.
pub(super) type Said = (Vec<Value>, Vec<Value>);

pub(super) struct Stage {
    pub(super) gate: Gate,
    pub(super) journal: Journal,
    pub(super) outbox: Outbox,
    pub(super) root: tempfile::TempDir,
}

pub(super) fn loaded(text: &str) -> Policy {
    let source = policy::Source { path: Path::new("/etc/p.yaml"), text };
    policy::load(&source).unwrap_or_else(|errors| panic!("{errors:?}")).policy
}

pub(super) fn stage(text: &str, observe: bool) -> Stage {
    stage_of(Terms { observe, ..Terms::plain(loaded(text)) })
}

pub(super) fn stage_of(terms: Terms) -> Stage {
    let root = tempfile::tempdir().unwrap();
    let session = "a".repeat(32);
    let journal = SessionDirectory::create(root.path(), &session, Durability::Write, at(0)).unwrap().journal;
    Stage { gate: Gate::new(terms, at(0)), journal, outbox: Outbox::default(), root }
}

/// A session whose pins are as the policy says; the list is for the test to give, and the monitor's answers too.
pub(super) fn pinned_stage(text: &str, observe: bool) -> Stage {
    let mut stage = stage(text, observe);
    let policy = loaded(text);
    let pins = Pins::new(&policy, PinSource::default()).unwrap();
    stage.gate = Gate::new(Terms { observe, pins, policy, ..Terms::plain(loaded(text)) }, at(0));
    stage
}

pub(super) fn at(seconds: u64) -> Now {
    Now { wall_ns: seconds * 1_000_000_000, boot_ns: seconds * 1_000_000_000 }
}

pub(super) fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

impl Stage {
    /// A line of the client.
    pub(super) fn says(&mut self, seconds: u64, line: &Value) -> Said {
        let line = line.to_string();
        let frame = Frame::Line(line.as_bytes());
        self.gate.client_frame(frame, at(seconds), &mut self.journal, &mut self.outbox).unwrap();
        self.taken()
    }

    /// A line of the server.
    pub(super) fn answers(&mut self, seconds: u64, line: &Value) -> Said {
        let line = line.to_string();
        let frame = Frame::Line(line.as_bytes());
        let noise = self.gate.server_frame(frame, at(seconds), &mut self.journal, &mut self.outbox).unwrap();
        assert_eq!(noise, None, "{line}");
        self.taken()
    }

    pub(super) fn ticks(&mut self, seconds: u64) -> Said {
        self.gate.tick(at(seconds), &mut self.journal, &mut self.outbox).unwrap();
        self.taken()
    }

    /// What waits in the outbox since the last look.
    pub(super) fn taken(&mut self) -> Said {
        let read = |line: &[u8]| serde_json::from_slice(line).unwrap();
        let lines =
            |bytes: Vec<u8>| bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read).collect();
        (lines(std::mem::take(self.outbox.server())), lines(std::mem::take(self.outbox.client())))
    }

    /// Every record so far.
    pub(super) fn records(&self) -> Vec<Value> {
        test_log::records(self.root.path())
    }
}
