//! Programs that are not on the policy's list, where the LSM program alone is left to refuse them.

use std::fs;

use harness::arena::{self, Arena};
use harness::paths;
use harness::records::{self, DEFAULT_DIRECTORY};
use serde_json::{Value, json};

use super::{of_call, paths_of, program, run_with, start, starts, told};

const LIST: &str = "exec: [/bin/true, /bin/sh]";

/// Whether this kernel calls such programs. Where it does not, the record of the last run says why; that is checked here, and said.
fn is_called() -> bool {
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let called = list.trim().split(',').any(|module| module == "bpf");
    let answer = records::layer("lsm");
    if !called {
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("lsm= list") || reason.contains("security/lsm"), "{answer}");
        eprintln!("  not applicable, this kernel calls no LSM programs: {reason}");
    }
    called
}

/// What comes of a listed program, of one that is not listed, and of such a script that a listed program runs, without the protections in
/// `dropped`.
fn attempts(arena: &Arena, dropped: &str) -> Value {
    let unlisted = program(arena, "unlisted", &fs::read("/bin/true").expect("coreutils"));
    let script = program(arena, "script", b"#!/bin/sh\nexit 0\n");
    let run = run_with(arena, LIST, "").by(paths::weakenable()).env("ISB_WEAKEN", dropped);
    let mut session = start(&run);
    let answer = told(&session.call("attempt", json!({"commands": [["/bin/true"], [unlisted], [script]]})));
    assert_eq!(session.finish().code, 0);
    answer
}

fn denials() -> Vec<Value> {
    records::of_type(DEFAULT_DIRECTORY, "proc.denied")
}

#[test]
fn what_is_not_listed_is_refused_by_the_lsm_alone_and_recorded() {
    arena::run(|arena| {
        let came = attempts(arena, "exec-list");
        if !is_called() {
            return assert_eq!(came, json!([0, 0, 0]), "nothing is left that could refuse");
        }
        assert_eq!(came, json!([0, -13, -13]));
        assert_eq!(records::layer("lsm")["state"], "enforced", "{}", records::layer("lsm"));
        let denied = denials();
        let unlisted = [arena.path("bin/unlisted"), arena.path("bin/script")];
        assert_eq!(paths_of(&denied), unlisted.each_ref().map(|path| path.to_str().expect("text")), "{denied:#?}");
        let called = of_call("attempt");
        assert_eq!(paths_of(&called), ["/bin/true"], "started: {called:#?}");
        for record in &denied {
            assert_eq!((&record["effect"], &record["proc"]["op"]), (&json!("denied"), &json!("exec")), "{record}");
            assert_eq!((&record["corr"], &record["proc"]["count"]), (&called[0]["corr"], &json!(1)), "{record}");
            assert_eq!(record["reason"]["code"], "unlisted_program", "{record}");
            assert_eq!(record["proc"]["ppid"], called[0]["proc"]["ppid"], "{record}");
        }
    });
}

#[test]
fn without_the_lsm_program_too_nothing_refuses() {
    arena::run(|arena| {
        assert_eq!(attempts(arena, "exec-list,lsm-exec"), json!([0, 0, 0]));
        assert_eq!(denials(), [] as [Value; 0]);
        is_called();
    });
}

#[test]
fn with_a_list_the_layer_is_in_force_and_landlock_refuses_first() {
    arena::run(|arena| {
        let unlisted = program(arena, "unlisted", &fs::read("/bin/true").expect("coreutils"));
        let mut session = start(&run_with(arena, LIST, ""));
        let answer = told(&session.call("attempt", json!({"commands": [[unlisted], ["/bin/sh", "-c", "/bin/true"]]})));
        assert_eq!(answer, json!([-13, 0]));
        assert_eq!(session.finish().code, 0);
        // The self-test is in no log, and neither is what Landlock refused: it tells nobody.
        assert_eq!(denials(), [] as [Value; 0]);
        assert_eq!(starts().len(), 3, "the server, the shell, and what that starts: {:#?}", starts());
        let called = is_called();
        assert_eq!(
            records::layer("lsm")["state"],
            if called { "enforced" } else { "unsupported" },
            "{}",
            records::layer("lsm")
        );
        let ended = run_with(arena, LIST, "  require: [lsm]\n").start().finish();
        assert_eq!(ended.code, if called { 0 } else { 125 }, "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("lsm"), !called, "{}", ended.stderr);
    });
}
