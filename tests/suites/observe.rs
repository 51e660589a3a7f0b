//! `--observe`, end to end: what a policy would refuse passes and is told; without the flag it does not pass.

use std::fs;

use harness::arena;
use harness::records;
use harness::run::{self, said};
use harness::session::{Session, denial_code};
use harness::together::Together;
use serde_json::{Value, json};

/// Two calls that the ready policy refuses: a width over the bound, and a tool that it does not list.
fn offend(session: &mut Session) -> [Value; 2] {
    [session.call("generate_image", json!({"prompt": "p", "width": 4096})), session.call("purge_images", json!({}))]
}

fn decided(effect: &str) -> Vec<String> {
    let calls = records::of_type(records::DEFAULT_DIRECTORY, "mcp.request");
    let calls = calls.iter().filter(|record| record["effect"] == effect && record["mcp"]["tool"].is_string());
    calls.map(|record| record["reason"]["code"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn observing_passes_what_would_be_denied_and_says_so() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.clone().flag("--observe").begin();
        assert!(session.stderr().contains("--observe: NO tool rule"), "{}", session.stderr());
        assert!(session.tool_names().contains(&"purge_images".to_owned()), "the list is not filtered");
        for answer in offend(&mut session) {
            assert_eq!(denial_code(&answer), None, "{answer}");
        }
        assert_eq!(stage.stand_in.requests().len(), 1, "it reached the API");
        assert_eq!(decided("observed"), ["condition_failed", "not_listed"]);

        session.send_line(
            r#"{"jsonrpc":"2.0","id":90,"method":"tools/call","params":{"name":"generate_image","Name":"x"}}"#,
        );
        assert!(session.answer_to(&json!(90))["error"].is_object(), "a malformed line is refused all the same");
        let ambiguous = session.call("generate_image", json!({"prompt": "p", "Width": 5}));
        assert!(ambiguous["error"].is_object(), "so is an ambiguous argument: {ambiguous}");
        assert_eq!(session.finish().code, 0);
        let start = &records::of_type(records::DEFAULT_DIRECTORY, "session.start")[0];
        assert_eq!(start["mode"], "observe", "{start}");
        let verified = run::subcommand(["audit", "verify"]);
        assert!(verified.status.success(), "{}", said(&verified));
        let tail = said(&run::subcommand(["audit", "tail", "-n", "50"]));
        assert!(tail.contains("observed") && tail.contains("mode observe"), "{tail}");
    });
}

#[test]
fn without_the_flag_nothing_is_softened() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.begin();
        assert_eq!(session.tool_names(), ["generate_image"]);
        let codes = offend(&mut session).map(|answer| denial_code(&answer).map(str::to_owned));
        assert_eq!(codes, [Some("condition_failed".to_owned()), Some("not_listed".to_owned())]);
        assert_eq!(stage.stand_in.requests().len(), 0);
        assert_eq!(session.finish().code, 0);
        assert_eq!(decided("observed"), [] as [String; 0]);
        let start = &records::of_type(records::DEFAULT_DIRECTORY, "session.start")[0];
        assert!(start.get("mode").is_none(), "{start}");
        assert!(fs::read_dir("/var/lib/together/images").expect("planted").next().is_none(), "nothing was executed");
    });
}

#[test]
fn observing_still_counts_the_calls_that_fit() {
    arena::run(|arena| {
        let stage = Together::stage(arena);
        let mut session = stage.run.clone().flag("--observe").begin();
        for number in 1..=11 {
            let answer = session.call("generate_image", json!({"prompt": "p"}));
            assert_eq!(denial_code(&answer), None, "call {number}: {answer}");
        }
        assert_eq!(decided("observed"), ["rate_limited"], "the eleventh would have been refused");
        assert_eq!(session.finish().code, 0);

        let mut session = stage.run.begin();
        let answer = session.call("generate_image", json!({"prompt": "p"}));
        assert_eq!(denial_code(&answer), Some("rate_limited"), "the ten stand: {answer}");
        assert_eq!(session.finish().code, 0);
    });
}
