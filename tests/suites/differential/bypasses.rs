//! Bypasses that are known from another proxy, each by name. The bare server executes it; under us nothing that is not judged is
//! executed, and the call behind it passes. `cargo xtask mutate` takes out what holds each and sees it succeed again.

use harness::arena;
use harness::differential::servers::{GO, PY1, PY2, Server, TS, TS_OLD};
use harness::differential::{Aim, Branch, Line, Stage, judged};

/// A call of the denied tool; the tag is of the form that the suite looks for.
const DENIED: &str =
    r#"{"jsonrpc":"2.0","id":900,"method":"tools/call","params":{"name":"denied","arguments":{"tag":"L000001"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":901,"method":"ping"}"#;

/// A call of the allowed tool with more arguments.
fn allowed(arguments: &str) -> String {
    DENIED.replace("denied", "allowed").replace(r#""L000001""#, &format!(r#""L000001",{arguments}"#))
}

fn line(text: &str, is_good: bool) -> Line {
    let (tag, branch, aim) = ("L000001".to_owned(), Branch::Plain, Aim::Denied);
    Line { bytes: format!("{text}\n").into_bytes(), tag, branch, aim, is_good }
}

/// Sends `attack` to each of `servers`, bare and under us.
fn tried(servers: &[Server], attack: &str) {
    for server in servers {
        let (server, lines) = (*server, [line(attack, false)]);
        arena::run(move |arena| {
            let stage = Stage::new(arena, server);
            let bare = stage.bare(&lines);
            assert!(!bare.executed.is_empty(), "{}: the bare server does not execute it", server.name);
            held(&stage, &server, &lines);
        });
    }
}

/// Under us: no finding, and a good call behind the attack is executed and answered.
fn held(stage: &Stage<'_>, server: &Server, attack: &[Line]) {
    let good = DENIED.replace("denied", "allowed").replace("900", "\"good\"").replace("L000001", "L000002");
    let lines: Vec<Line> = attack.iter().cloned().chain([Line { tag: "good".into(), ..line(&good, true) }]).collect();
    let policed = stage.policed(&lines);
    let findings = judged::findings(server, &policed.calls, &policed.records, &policed.redactor);
    assert!(findings.is_empty(), "{}: {}", server.name, findings.join("\n"));
    assert!(policed.calls.iter().any(|call| call.contains("L000002")), "{}: the good call", server.name);
    assert!(policed.answers["good"]["result"]["content"].is_array(), "{}", policed.answers["good"]);
}

#[test]
fn a_number_beyond_every_double() {
    tried(&[TS, TS_OLD, PY1, PY2], &allowed(r#""extra":1e400"#));
}

#[test]
fn not_a_number() {
    tried(&[PY1, PY2], &allowed(r#""extra":NaN"#));
}

#[test]
fn a_key_twice() {
    tried(&[TS, TS_OLD, PY1, PY2, GO], &DENIED.replace(r#""name":"#, r#""name":"allowed","n\u0061me":"#));
}

#[test]
fn name_and_name_in_another_case() {
    tried(&[GO], &DENIED.replace(r#""name":"#, r#""name":"allowed","Name":"#));
}

#[test]
fn method_and_method_in_another_case() {
    tried(&[GO], &DENIED.replace(r#""method":"#, r#""method":"ping","Method":"#));
}

#[test]
fn params_and_params_in_another_case() {
    tried(&[GO], &DENIED.replace(r#""params":"#, r#""params":{"name":"allowed"},"PARAMS":"#));
}

#[test]
fn an_argument_in_two_cases() {
    tried(&[GO], &allowed(r#""n":1,"N":1000"#));
    tried(&[GO], &allowed(r#""N":1000"#));
    tried(&[GO], &allowed(r#""NE\u017fted":{"a":1},"nested":{"b":1}"#));
}

#[test]
fn a_bare_carriage_return() {
    tried(&[PY1, PY2, GO], &format!("{PING}\r{DENIED}"));
}

/// One message to who ends lines at LF; to who ends them at CR as well, the inner one stands alone.
#[test]
fn a_message_between_carriage_returns() {
    let outer = r#"{"jsonrpc":"2.0","id":901,"method":"ping","params":{"_meta":{"x":@}}}"#;
    tried(&[PY1, PY2], &outer.replace('@', &format!("\r{DENIED}\r")));
}

#[test]
fn two_messages_on_a_line() {
    tried(&[GO], &format!("{PING}{DENIED}"));
}

#[test]
fn a_batch() {
    tried(&[GO], &format!("[{PING},{DENIED}]"));
}

#[test]
fn a_message_over_two_lines() {
    tried(&[GO], &DENIED.replacen(",", ",\n", 2));
}

/// Go reads up to 10,000 levels. Nobody here executes 10,001, and half a million would end a reader that calls itself for each.
#[test]
fn deep_nesting() {
    let deep = |levels: usize| {
        let nested = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        DENIED.replace(r#""L000001""#, &format!(r#""L000001","nested":{{"a":{nested}}}"#))
    };
    tried(&[GO], &deep(5_000));
    arena::run(move |arena| {
        let attack =
            [deep(10_001), deep(500_000), deep(62).replace("denied", "allowed")].map(|text| line(&text, false));
        held(&Stage::new(arena, GO), &GO, &attack);
    });
}

#[test]
fn a_quota_is_not_refunded_by_reusing_an_id() {
    arena::run(|arena| {
        let call = |number: usize| {
            let tag = format!("L{number:06}");
            line(&DENIED.replace("denied", "limited").replace("900", "\"same\"").replace("L000001", &tag), false)
        };
        let lines: Vec<Line> = (10..30).map(call).collect();
        let stage = Stage::new(arena, TS).one_by_one();
        assert_eq!(stage.bare(&lines).executed.len(), lines.len());
        held(&stage, &TS, &lines);
    });
}
