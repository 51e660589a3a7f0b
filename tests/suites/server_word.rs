//! The server held to its own word and to a time: its schemas judge calls and results, a call that it does not answer ends, and its
//! lines have a length.

use std::time::{Duration, Instant};

use harness::arena::{self, ROOT};
use harness::run::Run;
use harness::session::{denial_code, text_of};
use harness::{policies, records, wait};
use serde_json::json;

fn policy(rules: &str, resources: &str) -> String {
    let plain = policies::plain(&["echo"], &format!("{ROOT}/bin"));
    format!("{}  resources: {{{resources}}}\n", plain.replace("rules: []", &format!("rules: [{rules}]")))
}

#[test]
fn a_call_that_the_server_never_answers_ends_in_time_and_the_session_lives() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        // It does not say either what tools it has.
        let run = Run::new(arena, &format!("server: {{pins: off}}\n{}", policy("", "call_timeout: 1s")));
        let mut session = run.command([program.as_os_str(), "mute".as_ref()]).begin();
        let begun = Instant::now();
        let answer = session.call("echo", json!({"text": "x"}));
        assert_eq!(answer["error"]["code"], -31_004, "{answer}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(1) && took < wait::on_this_machine(Duration::from_secs(20)), "{took:?}");
        assert!(session.request("ping", json!({}))["result"].is_object());
        let ended = session.finish();
        assert_eq!(ended.code, 0);
        assert!(ended.stderr.contains("told {"), "the server hears of it: {}", ended.stderr);
        let timed_out: Vec<_> = records::read(records::DEFAULT_DIRECTORY)
            .into_iter()
            .filter(|record| record["reason"]["code"] == "call_timeout")
            .collect();
        assert_eq!(timed_out.len(), 1, "{timed_out:?}");
    });
}

#[test]
fn calls_and_results_are_held_to_what_the_server_lists() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let mut session = Run::new(arena, &policy("{validate: {schema: true}}", "")).command([&program]).begin();
        let denied = session.call("echo", json!({"text": 5}));
        assert_eq!(denial_code(&denied), Some("schema_mismatch"));
        assert!(text_of(&denied).contains("args.text must be a string, not number"), "{denied}");
        assert_eq!(denial_code(&session.call("echo", json!({}))), Some("schema_mismatch"));
        assert_eq!(text_of(&session.call("echo", json!({"text": "on", "more": 1}))), "on");
        assert_eq!(session.finish().code, 0);
        // The server has no outputSchema: what cannot be judged is not called.
        let mut session = Run::new(arena, &policy("{validate: {output: true}}", "")).command([&program]).begin();
        assert_eq!(denial_code(&session.call("echo", json!({"text": "x"}))), Some("schema_unavailable"));
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_longest_line_of_the_client_is_the_policys() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let mut session = Run::new(arena, &policy("", "client_line: 2K")).command([&program]).begin();
        session.send_line(&"x".repeat(3000));
        let refused = session.receive();
        assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("2048")), "{refused}");
        assert_eq!(text_of(&session.call("echo", json!({"text": "y".repeat(1500)}))), "y".repeat(1500));
        assert_eq!(session.finish().code, 0);
    });
}
