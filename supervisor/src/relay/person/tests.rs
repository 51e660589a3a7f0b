//! The gate with a person at the control socket: lines in, lines and records out, the time told.

use serde_json::{Value, json};

use super::*;
use crate::bounds::APPROVALS_LISTED_MAX;
use crate::relay::gate::Terms;
use crate::relay::stage::{Stage, at, call, loaded, stage_of};
use crate::wire::frame::Frame;

const ROOT: Asker = Asker { uid: 0, pid: 77 };

fn asks() -> Stage {
    stage("tools: {pay: {rules: [{name: ask, action: require_approval}]}}\nsandbox: {}", false)
}

fn stage(text: &str, observe: bool) -> Stage {
    let secrets = crate::wire::secrets::Secrets::new([&b"hunter2-hunter2"[..]]).unwrap();
    stage_of(Terms { observe, secrets, ..Terms::plain(loaded(text)) })
}

impl Stage {
    fn calls(&mut self, seconds: u64, id: u64, arguments: Value) -> (Vec<Value>, Vec<Value>) {
        self.says(seconds, &call(id, "pay", arguments))
    }

    fn hears(&mut self, seconds: u64, request: Request) -> (Reply, Vec<Value>, Vec<Value>) {
        let reply = self.gate.hear_person(request, ROOT, at(seconds), &mut self.journal, &mut self.outbox).unwrap();
        let (server, client) = self.taken();
        (reply, server, client)
    }

    fn approves(&mut self, seconds: u64) -> (Reply, Vec<Value>, Vec<Value>) {
        let id = self.only_question(seconds).id;
        self.hears(seconds, Request::Approve { id })
    }

    fn only_question(&self, seconds: u64) -> Listed {
        let listed = self.gate.list(at(seconds).boot_ns);
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed[0].clone()
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |record: &Value| {
            let effect = record["effect"].as_str().map_or_else(String::new, |effect| format!(" {effect}"));
            format!("{}{effect}", record["type"].as_str().unwrap_or_default())
        };
        self.records().iter().map(kind).collect()
    }
}

fn code(answers: &[Value]) -> &str {
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0]["result"]["_meta"]["intercept-sandbox/decision"]["code"].as_str().unwrap_or("allowed")
}

fn text(answers: &[Value]) -> &str {
    answers[0]["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn an_approved_call_goes_on_and_each_step_is_recorded_before_it() {
    let mut stage = asks();
    let (server, client) = stage.calls(1, 5, json!({"to": "a", "password": "hunter2-hunter2"}));
    assert_eq!((server.len(), client.len()), (0, 0), "it waits");
    assert_eq!(stage.gate.calls_in_flight(u64::MAX), [""; 0], "no flow can belong to it yet");
    let question = stage.only_question(2);
    assert_eq!((question.tool.as_str(), question.waiting, question.gives_up_in_s), ("pay", 1, Some(49)));
    assert_eq!(question.arguments, r#"{"password":"[secret]","to":"a"}"#);

    let (reply, server, client) = stage.approves(3);
    let decided = Decided { id: question.id.clone(), tool: "pay".into(), released: 1, refused: 0, kept: false };
    assert_eq!((reply, client.len()), (Reply::Decided(decided), 0));
    assert_eq!(server[0]["params"], json!({"name": "pay", "arguments": {"to": "a", "password": "hunter2-hunter2"}}));
    assert_eq!(stage.kinds(), ["approval.requested", "approval.granted allowed", "mcp.request allowed"]);
    let records = stage.records();
    assert!(records.iter().all(|record| record["approval"]["id"] == question.id && record["corr"] == "call-1"));
    assert_eq!((&records[1]["approval"]["by_uid"], &records[1]["approval"]["by_pid"]), (&json!(0), &json!(77)));
    assert!(!records.iter().any(|record| record.to_string().contains("hunter2")), "no value in the log");

    let (server, _) = stage.calls(4, 6, json!({"to": "a", "password": "hunter2-hunter2"}));
    assert_eq!(server.len(), 0, "one approval, one call");
}

#[test]
fn a_call_nobody_decides_is_refused_in_time_and_a_late_approval_serves_the_retry_once() {
    let mut stage = asks();
    stage.calls(0, 1, json!({"sum": 1}));
    assert_eq!(stage.gate.deadline_ns(), Some(at(50).boot_ns));
    assert_eq!(stage.ticks(49), (vec![], vec![]));
    let (server, client) = stage.ticks(50);
    assert_eq!((server.len(), code(&client)), (0, "approval_required"));
    let id = stage.only_question(50).id;
    let told = format!("Approval id {id}; ask for it and call again.");
    assert!(text(&client).ends_with(&told), "{client:?}");

    let (reply, server, _) = stage.approves(100);
    assert!(matches!(reply, Reply::Decided(Decided { kept: true, released: 0, .. })), "{reply:?}");
    assert_eq!(server.len(), 0);
    let (again, ..) = stage.hears(101, Request::Approve { id });
    assert!(matches!(again, Reply::Refused { code, .. } if code == "already_approved"));
    assert_eq!(stage.calls(102, 2, json!({"sum": 2})).0.len(), 0, "other arguments do not pass on it");
    assert_eq!(stage.calls(103, 3, json!({"sum": 1})).0.len(), 1, "the same call does");
    assert_eq!(stage.calls(104, 4, json!({"sum": 1})).0.len(), 0, "and no second one");
}

#[test]
fn what_stands_beside_the_arguments_is_shown_approved_and_recorded() {
    let mut stage = asks();
    let mut sent = call(1, "pay", json!({"to": "a"}));
    sent["params"]["_meta"] = json!({"progressToken": 1, "to": "mallory"});
    stage.says(0, &sent);
    assert_eq!(stage.only_question(1).arguments, r#"{"to":"a"} with _meta {"to":"mallory"}"#);
    let records = stage.records();
    assert!(records[0]["mcp"]["meta"]["keys"].to_string().contains("to"), "{records:?}");
    stage.ticks(50);
    stage.approves(51);
    assert_eq!(stage.calls(52, 2, json!({"to": "a"})).0.len(), 0, "another call");
    sent["params"]["_meta"]["progressToken"] = json!(2);
    sent["id"] = json!(3);
    assert_eq!(stage.says(53, &sent).0.len(), 1);
    sent["params"]["extra"] = json!({"to": "mallory"});
    sent["id"] = json!(4);
    let (server, client) = stage.says(54, &sent);
    assert_eq!((server.len(), &client[0]["error"]["code"]), (0, &json!(-32602)));
    assert_eq!(stage.records().pop().unwrap()["reason"]["code"], "bad_call");
}

/// Some clients put a new id into `_meta` with each call. The server can read it, so it is another call.
#[test]
fn a_retry_with_another_meta_asks_anew() {
    let mut stage = asks();
    let sent = |id: u64, mark: &str| {
        let mut sent = call(id, "pay", json!({"to": "a"}));
        sent["params"]["_meta"] = json!({"progressToken": id, "claudecode/toolUseId": mark});
        sent
    };
    stage.says(0, &sent(1, "use-1"));
    stage.ticks(50);
    let late = stage.only_question(50).id;
    assert!(matches!(stage.approves(60).0, Reply::Decided(Decided { kept: true, .. })));

    assert_eq!(stage.says(70, &sent(2, "use-2")), (vec![], vec![]), "the approval is for another call");
    let asked = stage.gate.list(at(71).boot_ns);
    let waits: Vec<_> = asked.iter().filter(|listed| listed.waiting > 0).collect();
    assert!(waits.len() == 1 && waits[0].id != late && waits[0].arguments.contains("use-2"), "{asked:?}");
    let (server, _) = stage.says(72, &sent(3, "use-1"));
    let meta = &server[0]["params"]["_meta"];
    assert_eq!(meta["claudecode/toolUseId"], "use-1", "what was approved is what the server gets");
    assert_eq!(meta["progressToken"], 3, "the progress token alone is the retry's own");
}

#[test]
fn an_ambiguous_argument_is_recorded_and_counted_like_any_denial_of_a_call() {
    let text = "hide: [secret]\ntools: {pay: {rules: [{conditions: [{path: args.sum, op: exists}]}]}, secret: {rules: \
                [{conditions: [{path: args.sum, op: exists}]}]}}\nsandbox: {}";
    for observe in [false, true] {
        let mut stage = stage(text, observe);
        let (server, client) = stage.calls(1, 5, json!({"to": "a", "Sum": "hunter2-hunter2"}));
        assert_eq!((server.len(), &client[0]["error"]["code"]), (0, &json!(-32_602)), "{client:?}");
        let records = stage.records();
        let [record] = &records[..] else { panic!("{records:?}") };
        let said = (&record["effect"], &record["reason"]["code"], &record["mcp"]["tool"], &record["corr"]);
        assert_eq!(said, (&json!("denied"), &json!("ambiguous_argument"), &json!("pay"), &json!("call-1")));
        assert_eq!(record["mcp"]["args"]["keys"], json!(["Sum", "to"]));
        assert!(!record.to_string().contains("hunter2"), "no value in the log");
        assert_eq!((stage.gate.status().denied, stage.gate.status().allowed), (1, 0));
        assert_eq!(stage.calls(2, 5, json!({"sum": 1})).0.len(), 1, "its id is free again");
    }
    let mut stage = stage(text, false);
    let (_, client) = stage.says(1, &call(1, "secret", json!({"Sum": 1})));
    assert!(!client[0].to_string().to_lowercase().contains("sum"), "{client:?}");
    assert_eq!(stage.records()[0]["reason"]["code"], "hidden");
}

#[test]
fn an_approval_that_nobody_uses_ends() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    stage.ticks(50);
    stage.approves(60);
    stage.ticks(660);
    assert_eq!(stage.records().last().map(|record| record["reason"]["code"].clone()), Some(json!("unused")));
    assert_eq!(stage.calls(661, 2, json!({})).0.len(), 0);
}

#[test]
fn an_approval_that_ran_out_before_the_clock_struck_lets_nothing_through() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    stage.ticks(50);
    stage.approves(60);
    // No tick between the end of `valid` and the call.
    assert_eq!(stage.calls(661, 2, json!({})), (vec![], vec![]), "it asks anew");
    assert_eq!(stage.calls(662, 3, json!({})), (vec![], vec![]), "and so does the next");
    let question = stage.only_question(662);
    assert_eq!((question.approved, question.asked, question.waiting), (false, 2, 2));
    assert_eq!(stage.kinds()[3..], ["approval.expired", "approval.requested", "approval.requested"]);
}

#[test]
fn an_approval_that_is_not_kept_serves_the_waiting_call_alone() {
    let text = "approvals: {valid: 0}\ntools: {pay: {rules: [{action: require_approval}]}}\nsandbox: {}";
    let mut stage = stage(text, false);
    stage.calls(0, 1, json!({}));
    assert_eq!(stage.approves(1).1.len(), 1);
    assert_eq!(stage.calls(2, 2, json!({})).0.len(), 0);
    assert_eq!(code(&stage.ticks(52).1), "approval_required");
    assert_eq!(stage.gate.list(at(52).boot_ns), [], "nor is the question");
}

#[test]
fn a_refusal_answers_every_waiting_call_at_once() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    stage.calls(1, 2, json!({}));
    let id = stage.only_question(2).id;
    let (reply, server, client) = stage.hears(2, Request::Deny { id, reason: Some("not\u{1b}[2J today".into()) });
    assert!(matches!(reply, Reply::Decided(Decided { refused: 2, .. })), "{reply:?}");
    assert_eq!((server.len(), client.len()), (0, 2));
    for answer in client {
        assert_eq!(code(std::slice::from_ref(&answer)), "approval_denied");
        assert!(text(&[answer]).ends_with("refused by a person: not\\u{1b}[2J today"));
    }
    assert_eq!(stage.kinds()[2..], ["approval.denied denied", "mcp.request denied", "mcp.request denied"]);
    stage.calls(3, 3, json!({}));
    assert_eq!(stage.only_question(3).asked, 1, "a retry asks anew");
}

#[test]
fn a_cancelled_call_is_not_sent_when_the_approval_comes() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(stage.says(1, &cancel), (vec![], vec![]), "the server never heard of it");
    let (reply, server, client) = stage.approves(2);
    assert!(matches!(reply, Reply::Decided(Decided { kept: true, .. })), "{reply:?}");
    assert_eq!((server.len(), client.len()), (0, 0));
}

#[test]
fn an_approval_does_not_lift_a_limit_and_outlives_its_refusal() {
    let rule = "tools: {pay: {rules: [{action: require_approval}, {rate_limit: {max: 1, window: 60}}]}}\nsandbox: {}";
    let mut stage = stage(rule, false);
    stage.calls(0, 1, json!({}));
    assert_eq!(stage.approves(1).1.len(), 1);
    stage.calls(2, 2, json!({}));
    let (reply, server, client) = stage.approves(3);
    assert!(matches!(reply, Reply::Decided(Decided { refused: 1, released: 0, kept: true, .. })), "{reply:?}");
    assert_eq!((server.len(), code(&client)), (0, "rate_limited"));
    assert_eq!(stage.calls(61, 3, json!({})).0.len(), 1, "the approval was not used up");
    assert_eq!(stage.calls(122, 4, json!({})).0.len(), 0, "now it is");
}

#[test]
fn a_pace_refuses_with_the_exact_time_and_takes_nothing_that_a_limit_refuses() {
    let rules =
        "tools: {pay: {rules: [{name: slow, pace: {every: 6s, burst: 2}}, {rate_limit: {max: 3, window: 100}}]}}
sandbox: {}";
    let mut stage = stage(rules, false);
    let allowed = |(server, client): (Vec<Value>, Vec<Value>)| match client.first() {
        None => Ok(server.len()),
        Some(answer) => {
            let decision = &answer["result"]["_meta"]["intercept-sandbox/decision"];
            assert_eq!(decision["code"], "rate_limited", "{answer}");
            Err((decision["rule"].as_str().unwrap().to_owned(), decision["retry_after_ms"].as_u64().unwrap()))
        }
    };
    assert_eq!(allowed(stage.calls(0, 1, json!({}))), Ok(1));
    assert_eq!(allowed(stage.calls(0, 2, json!({}))), Ok(1));
    assert_eq!(allowed(stage.calls(4, 3, json!({}))), Err(("pay.slow".to_owned(), 2000)));
    assert_eq!(allowed(stage.calls(6, 4, json!({}))), Ok(1), "the early one charged no limit");
    assert_eq!(allowed(stage.calls(90, 5, json!({}))), Err(("pay.rules[1]".to_owned(), 10_000)));
    assert_eq!(allowed(stage.calls(100, 6, json!({}))), Ok(1), "what the limit refused took none of the burst");
    assert_eq!(allowed(stage.calls(100, 7, json!({}))), Ok(1));
}

#[test]
fn another_policy_judges_the_waiting_calls_anew() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    stage.calls(0, 2, json!({"sum": 1}));
    let listed = stage.gate.list(0);
    stage.gate.policy = std::rc::Rc::new(loaded(
        "tools: {pay: {rules: [{conditions: [{path: args.sum, op: exists, value: false}]}]}}\nsandbox: {}",
    ));
    let (reply, server, _) = stage.hears(1, Request::Approve { id: listed[0].id.clone() });
    assert!(matches!(reply, Reply::Refused { .. }), "an answer to the old policy's question: {reply:?}");
    assert_eq!(server.len(), 0);
    let (server, client) = stage.ticks(1);
    assert_eq!((server.len(), code(&client)), (1, "condition_failed"));
    assert_eq!(stage.gate.list(0), []);
}

#[test]
fn a_servers_answer_to_a_call_it_never_saw_is_dropped() {
    let mut stage = asks();
    stage.calls(0, 1, json!({}));
    let forged = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).to_string();
    let frame = Frame::Line(forged.as_bytes());
    let _ = stage.gate.server_frame(frame, at(1), &mut stage.journal, &mut stage.outbox).unwrap();
    assert_eq!(stage.taken(), (vec![], vec![]));
    assert_eq!(stage.approves(2).1.len(), 1, "it still waits");
}

#[test]
fn a_crowd_of_questions_is_refused_past_the_bound() {
    let mut stage = asks();
    for number in 0..APPROVALS_LISTED_MAX as u64 {
        assert_eq!(stage.calls(0, number, json!({"sum": number})), (vec![], vec![]));
    }
    let (server, client) = stage.calls(0, 9999, json!({"sum": 9999}));
    assert_eq!((server.len(), code(&client)), (0, "approval_required"));
    assert!(text(&client).contains("Too many calls"), "{client:?}");
}

#[test]
fn observing_lets_through_and_says_what_it_would_have_refused() {
    let rules = "default: deny
tools:
  pay: {rules: [{name: ask, action: require_approval}]}
  draw: {rules: [{name: small, conditions: [{path: args.width, op: lte, value: 10}]}, {name: slow, rate_limit: {max: 1, window: 60}}]}
  never: {rules: [{action: deny}]}
hide: [secret]
sandbox: {}";
    let sent = [
        ("pay", json!({}), "approval_required"),
        ("draw", json!({"width": 11}), "condition_failed"),
        ("draw", json!({"width": 9}), ""),
        ("draw", json!({"width": 9}), "rate_limited"),
        ("never", json!({}), "denied_by_rule"),
        ("unlisted", json!({}), "not_listed"),
        ("secret", json!({}), "hidden"),
    ];
    let mut observing = stage(rules, true);
    for (id, (tool, arguments, reason)) in (1..).zip(&sent) {
        let (server, client) = observing.says(0, &call(id, tool, arguments.clone()));
        assert_eq!((server.len(), client.len()), (1, 0), "{tool} {arguments}");
        let record = observing.records().pop().unwrap();
        let effect = if reason.is_empty() { "allowed" } else { "observed" };
        assert_eq!(
            (record["effect"].as_str(), record["reason"]["code"].as_str().unwrap_or("")),
            (Some(effect), *reason)
        );
    }
    assert_eq!(observing.gate.status().observed, 6);
    assert_eq!(observing.gate.list(0), [], "nobody is asked");
    let ambiguous = call(100, "draw", json!({"Width": 5, "width": 5}));
    assert_eq!(observing.says(0, &ambiguous).0.len(), 0, "ambiguity is no tool rule");

    let mut enforcing = stage(rules, false);
    for (id, (tool, arguments, reason)) in (1..).zip(&sent) {
        let (server, _) = enforcing.says(0, &call(id, tool, arguments.clone()));
        assert_eq!(server.len(), usize::from(reason.is_empty()), "{tool} {arguments}");
    }
}

#[test]
fn a_person_reads_the_arguments_in_full_also_after_the_time_is_over() {
    let mut stage = asks();
    let long = "x".repeat(50_000);
    stage.calls(0, 1, json!({"to": format!("{long}\u{202e} hunter2-hunter2"), "sum": 1}));
    let question = stage.only_question(1);
    assert!(question.arguments.contains("NOT SHOWN"));
    let whole = format!("{{\"sum\":1,\"to\":\"{long}\\u202e [secret]\"}}");
    for seconds in [1, 60] {
        stage.ticks(seconds);
        let (reply, server, _) = stage.hears(seconds, Request::Show { id: question.id.clone() });
        let Reply::Shown(shown) = reply else { panic!("{reply:?}") };
        assert_eq!((&shown.listed.arguments, shown.held, shown.cut_bytes), (&whole, true, 0));
        assert_eq!(server.len(), 0, "reading lets nothing go");
    }
    let records = stage.records().len();
    stage.gate.approvals.let_go_of_lines();
    let (reply, ..) = stage.hears(61, Request::Show { id: question.id });
    let Reply::Shown(shown) = reply else { panic!("{reply:?}") };
    assert!(!shown.held && shown.listed.arguments.contains("NOT SHOWN"), "what is gone is not called whole");
    assert_eq!(stage.records().len(), records, "reading is no decision");
    let (reply, ..) = stage.hears(61, Request::Show { id: "ffffffffffff".into() });
    assert!(matches!(reply, Reply::Refused { code, .. } if code == "unknown_id"));
}

#[test]
fn a_record_names_the_rule_of_its_limit() {
    let rules = "tools:
  pay: {rules: [{name: slow, rate_limit: {max: 2, window: 60}}, {name: last, conditions: [{path: args.sum, op: exists}]}]}
  ask: {rules: [{name: person, action: require_approval}, {name: slow, rate_limit: {max: 2, window: 60}}, {name: last}]}
  free: {rules: [{name: one}, {name: last}]}
sandbox: {}";
    let mut stage = stage(rules, false);
    let mut allowed = |id: u64, tool: &str| {
        stage.says(0, &call(id, tool, json!({"sum": 1})));
        if tool == "ask" {
            assert_eq!(stage.approves(0).1.len(), 1);
        }
        let records = stage.records();
        let record = records.iter().rev().find(|record| record["effect"] == "allowed").unwrap();
        (record["rule"]["id"].as_str().unwrap().to_owned(), record["limit"]["max"].clone())
    };
    assert_eq!(allowed(1, "pay"), ("pay.slow".to_owned(), json!(2)));
    assert_eq!(allowed(2, "ask"), ("ask.slow".to_owned(), json!(2)));
    assert_eq!(allowed(3, "free"), ("free.last".to_owned(), Value::Null));
}
