//! The gate between a scripted client and a scripted server: lines in, lines and records out.

mod lists;
mod methods;
mod retries;
mod streams;

use serde_json::{Value, json};

use super::*;
use crate::audit::SessionDirectory;
use crate::policy::Durability;
use crate::relay::stage::{at, loaded};
use crate::relay::test_log;

struct Stage {
    gate: Gate,
    journal: Journal,
    outbox: Outbox,
    root: tempfile::TempDir,
    seconds: u64,
}

/// Lines as messages.
type Lines = Vec<Value>;

fn stage(text: &str) -> Stage {
    let root = tempfile::tempdir().unwrap();
    let session = "a".repeat(32);
    let journal = SessionDirectory::create(root.path(), &session, Durability::Write, at(0)).unwrap().journal;
    let terms = Terms::plain(loaded(text));
    Stage { gate: Gate::new(terms, at(0)), journal, outbox: Outbox::default(), root, seconds: 0 }
}

impl Stage {
    /// A line of the client; what goes to the server and to the client then.
    fn client(&mut self, line: &Value) -> (Lines, Lines) {
        let line = line.to_string();
        let (frame, now) = (Frame::Line(line.as_bytes()), at(self.seconds));
        self.gate.client_frame(frame, now, &mut self.journal, &mut self.outbox).unwrap();
        self.taken()
    }

    /// A line of the server; what goes to the server and to the client then.
    fn server(&mut self, line: &Value) -> (Lines, Lines) {
        let line = line.to_string();
        let (frame, now) = (Frame::Line(line.as_bytes()), at(self.seconds));
        self.gate.server_frame(frame, now, &mut self.journal, &mut self.outbox).unwrap();
        self.taken()
    }

    fn taken(&mut self) -> (Lines, Lines) {
        let lines = |bytes: &mut Vec<u8>| {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        (lines(self.outbox.server()), lines(self.outbox.client()))
    }

    /// The handshake; the server chose `version`.
    fn handshake(&mut self, version: &str) {
        let (up, _) = self.client(&request(0, "initialize", json!({"protocolVersion": version, "capabilities": {}})));
        let result = json!({"protocolVersion": version, "capabilities": {}});
        let (_, down) = self.server(&answer(&up[0]["id"], result));
        assert!(down[0]["result"].is_object(), "{down:?}");
        self.client(&note("notifications/initialized", json!({})));
    }

    /// The records so far.
    fn records(&self) -> Lines {
        test_log::records(self.root.path())
    }

    /// `reason.code` of the last record.
    fn reason(&self) -> String {
        let records = self.records();
        records.last().unwrap()["reason"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn note(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

fn answer(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

/// Parameters of a request of 2026-07-28.
fn new(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}, "elicitation": {}, "x": {}},
    });
    params
}
