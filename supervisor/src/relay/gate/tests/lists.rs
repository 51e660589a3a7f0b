//! tools/list of the client where tools are pinned: held against our own reading, and never without an answer.

use super::*;
use crate::relay::pins::{PinSource, Pins};

fn pinned() -> Stage {
    let root = tempfile::tempdir().unwrap();
    let journal = SessionDirectory::create(root.path(), &"a".repeat(32), Durability::Write, at(0)).unwrap().journal;
    let policy = loaded("server: {pins: session}\ndefault: allow\ntools: {}\nsandbox: {}");
    let pins = Pins::new(&policy, PinSource::default()).unwrap();
    let terms = Terms { pins, ..Terms::plain(policy.clone()) };
    let terms = Terms { policy, ..terms };
    Stage { gate: Gate::new(terms, at(0)), journal, outbox: Outbox::default(), root, seconds: 0 }
}

impl Stage {
    fn later(&mut self, seconds: u64) -> (Lines, Lines) {
        self.seconds = seconds;
        self.gate.tick(at(seconds), &mut self.journal, &mut self.outbox).unwrap();
        self.taken()
    }
}

#[test]
fn a_server_that_does_not_say_what_it_has_leaves_no_list_without_an_answer() {
    let mut stage = pinned();
    stage.handshake("2025-11-25");
    for (number, id) in [(0, 1), (1, 2)] {
        let (_, down) = stage.client(&request(id, "tools/list", json!({})));
        assert_eq!(down, [] as [Value; 0], "our own is read first");
        // No strict JSON: nobody can say whose answer it is.
        stage.server(
            &json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"maximum": 9_223_372_036_854_775_807_u64}]}}),
        );
        let (up, down) = stage.later(6 * (number + 1));
        assert_eq!(up, [] as [Value; 0]);
        assert_eq!((&down[0]["id"], &down[0]["error"]["code"]), (&json!(id), &json!(NOT_TAKEN)), "{down:?}");
    }
}

#[test]
fn a_list_has_the_progress_that_it_asked_for() {
    let mut stage = pinned();
    stage.handshake("2025-11-25");
    let (_, down) = stage.client(&request(1, "tools/list", json!({"_meta": {"progressToken": "p"}})));
    assert_eq!(down, [] as [Value; 0]);
    let tools = json!({"tools": [{"name": "t", "inputSchema": {}}]});
    // Our own was asked when the client was initialized; the client's follows its answer.
    let (own, _) = stage.server(&answer(&json!(2), tools));
    let (late, _) = stage.later(1);
    assert!(own.iter().chain(&late).any(|line| line["method"] == "tools/list"), "{own:?} {late:?}");
    let (_, down) = stage.server(&note("notifications/progress", json!({"progressToken": "p", "progress": 1})));
    assert_eq!(down.len(), 1);
}
