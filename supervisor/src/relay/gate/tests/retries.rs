//! Calls that the server answers with a request for input (InputRequiredResult): one charge, judged each time.

use super::*;
use crate::bounds::{CALL_ROUNDS_MAX, CONTINUATION_SECONDS};
use crate::relay::control;
use crate::relay::desk::Asker;

/// Two calls an hour.
const TWO: &str = "methods: {elicitation/create: allow}
tools:
  pay: {rules: [{name: few, rate_limit: {max: 2, window: 1h}}, {conditions: [{path: args.sum, op: lte, value: 5}]}]}
  other: {rules: [{rate_limit: {max: 0, window: 1h}}]}
sandbox: {}";

fn pay(arguments: Value, retry: Value) -> Value {
    let mut params = new(json!({"name": "pay", "arguments": arguments}));
    for (key, value) in retry.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

fn retry(state: &str) -> Value {
    json!({"requestState": state, "inputResponses": {"a": {"action": "accept"}}})
}

fn wanted(state: &str) -> Value {
    let asked = json!({"a": {"method": "elicitation/create", "params": {"message": "really?"}}});
    json!({"resultType": "input_required", "inputRequests": asked, "requestState": state})
}

impl Stage {
    /// Sends a call; the id under which the server got it, or none when it was refused.
    fn pays(&mut self, id: u64, arguments: Value, with: Value) -> Option<Value> {
        let (up, down) = self.client(&request(id, "tools/call", pay(arguments, with)));
        assert_eq!(up.len() + down.len(), 1, "{up:?} {down:?}");
        up.first().map(|line| line["id"].clone())
    }

    fn asks(&mut self, ours: &Value, state: &str) {
        let (_, down) = self.server(&answer(ours, wanted(state)));
        assert_eq!(down[0]["result"]["requestState"], state);
    }

    /// How many more calls the limit lets pass.
    fn left(&mut self) -> usize {
        (0..3).take_while(|id| self.pays(9000 + id, json!({"sum": 1}), json!({})).is_some()).count()
    }
}

#[test]
fn a_call_and_its_retries_are_charged_once_and_the_record_says_so() {
    let mut stage = stage(TWO);
    let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    stage.asks(&ours, "s1");
    let again = stage.pays(2, json!({"sum": 1}), retry("s1")).unwrap();
    let record = stage.records().pop().unwrap();
    assert_eq!((&record["mcp"]["continues"], &record["corr"]), (&json!("call-1"), &json!("call-2")));
    assert!(record["mcp"]["request_state"].is_object() && record["mcp"]["input_responses"].is_object(), "{record}");
    assert!(!record.to_string().contains("accept"), "hashed, as arguments are: {record}");
    assert_eq!(record.get("limit"), None);
    stage.asks(&again, "s2");
    assert!(stage.pays(3, json!({"sum": 1}), retry("s2")).is_some());
    assert_eq!(stage.records().pop().unwrap()["mcp"]["continues"], "call-1");
    assert_eq!(stage.left(), 1);
}

#[test]
fn a_forged_retry_is_charged() {
    let mut stage = stage(TWO);
    let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    assert!(stage.pays(2, json!({"sum": 1}), retry("before the server asked")).is_some());
    stage.asks(&ours, "s");
    assert_eq!(stage.pays(3, json!({"sum": 1}), retry("forged")), None, "the third charge of two");
    assert!(stage.pays(4, json!({"sum": 1}), retry("s")).is_some(), "the one that was asked for is free");
    assert_eq!(stage.pays(5, json!({"sum": 1}), retry("s")), None, "and only once");
}

#[test]
fn an_answer_that_the_server_did_not_ask_for_is_refused_and_uses_nothing_up() {
    let mut stage = stage(TWO);
    let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    stage.asks(&ours, "s");
    for smuggled in [json!({"b": 1}), json!({"a": {"action": "accept"}, "b": 1}), json!({"A": {}}), json!({"": {}})] {
        let retry = json!({"requestState": "s", "inputResponses": smuggled});
        let (up, down) = stage.client(&request(2, "tools/call", pay(json!({"sum": 1}), retry)));
        assert_eq!((up.len(), &down[0]["error"]["code"]), (0, &json!(-32602)), "{smuggled}");
        let text = down[0]["error"]["message"].as_str().unwrap();
        assert!(text.contains("did not ask for"), "{text}");
        let record = stage.records().pop().unwrap();
        assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("denied"), &json!("unasked_input")));
    }
    assert!(stage.pays(3, json!({"sum": 1}), retry("s")).is_some(), "the right one still passes");
    assert_eq!(stage.left(), 1, "and is free");
}

#[test]
fn two_of_the_same_call_are_told_apart_by_what_was_asked() {
    let mut stage = stage(TWO);
    for (id, key) in [(1, "a"), (2, "b")] {
        let ours = stage.pays(id, json!({"sum": 1}), json!({})).unwrap();
        let asked = json!({key: {"method": "elicitation/create", "params": {"message": "really?"}}});
        stage.server(&answer(&ours, json!({"resultType": "input_required", "inputRequests": asked})));
    }
    for (id, key) in [(3, "b"), (4, "a")] {
        assert!(stage.pays(id, json!({"sum": 1}), json!({"inputResponses": {key: {}}})).is_some(), "{key}");
    }
    assert_eq!(stage.left(), 0);
}

#[test]
fn a_state_without_questions_is_sent_back_without_answers() {
    let mut stage = stage(TWO);
    for (id, responses) in [(1, json!({"a": {}})), (3, json!({}))] {
        let ours = stage.pays(id, json!({"sum": 1}), json!({})).unwrap();
        stage.server(&answer(&ours, json!({"resultType": "input_required", "requestState": "s"})));
        let retry = json!({"requestState": "s", "inputResponses": responses});
        let sent = stage.pays(id + 1, json!({"sum": 1}), retry).is_some();
        assert_eq!(sent, responses == json!({}), "{responses}");
    }
}

#[test]
fn more_questions_than_a_form_has_leave_nothing_to_continue() {
    for (count, left) in [(crate::bounds::INPUT_REQUESTS_MAX, 1), (crate::bounds::INPUT_REQUESTS_MAX + 1, 0)] {
        let mut stage = stage(TWO);
        let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
        let question = json!({"method": "elicitation/create", "params": {"message": "?"}});
        let asked: serde_json::Map<_, _> = (0..count).map(|n| (n.to_string(), question.clone())).collect();
        stage.server(&answer(
            &ours,
            json!({"resultType": "input_required", "inputRequests": asked, "requestState": "s"}),
        ));
        let retry = json!({"requestState": "s", "inputResponses": {"0": {"action": "accept"}}});
        assert!(stage.pays(2, json!({"sum": 1}), retry).is_some());
        assert_eq!(stage.left(), left, "{count} questions");
    }
}

#[test]
fn another_tool_or_argument_is_charged_and_rules_are_judged_again() {
    let mut stage = stage(TWO);
    let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    stage.asks(&ours, "s");
    assert!(stage.pays(2, json!({"sum": 2}), retry("s")).is_some(), "charged as a call of its own");
    assert_eq!(stage.pays(3, json!({"sum": 3}), retry("s")), None);
    assert_eq!(stage.pays(4, json!({"sum": 6}), retry("s")), None);
    let mut params = pay(json!({"sum": 1}), retry("s"));
    params["name"] = json!("other");
    assert_eq!(stage.client(&request(5, "tools/call", params)).0.len(), 0);
    assert!(stage.pays(6, json!({"sum": 1}), retry("s")).is_some(), "the right one still passes");
}

#[test]
fn the_ninth_round_is_charged() {
    let mut stage = stage(TWO);
    let mut ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    for round in 1..=CALL_ROUNDS_MAX {
        stage.asks(&ours, "s");
        ours = stage.pays(u64::from(round) + 1, json!({"sum": 1}), retry("s")).unwrap();
    }
    stage.asks(&ours, "s");
    assert!(stage.pays(20, json!({"sum": 1}), retry("s")).is_some(), "paid by the second charge");
    assert_eq!(stage.records().pop().unwrap()["mcp"].get("continues"), None);
    assert_eq!(stage.left(), 0);
}

#[test]
fn a_continuation_ends_in_time() {
    let mut stage = stage(TWO);
    let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
    stage.asks(&ours, "s");
    stage.seconds = CONTINUATION_SECONDS;
    assert!(stage.pays(2, json!({"sum": 1}), retry("s")).is_some());
    assert_eq!(stage.left(), 0);
}

#[test]
fn a_denied_call_leaves_nothing_to_continue() {
    let mut stage = stage(TWO);
    assert_eq!(stage.pays(1, json!({"sum": 6}), json!({})), None);
    stage.server(&answer(&json!(1), wanted("s")));
    assert_eq!(stage.reason(), "unknown_id");
    assert_eq!(stage.pays(2, json!({"sum": 6}), retry("s")), None);
    assert_eq!(stage.left(), 2);
}

#[test]
fn input_by_a_closed_method_is_refused_in_our_words() {
    for (asked, code) in [
        (json!({"a": {"method": "elicitation/create"}, "b": {"method": "sampling/createMessage"}}), "denied_by_policy"),
        (json!({"a": {"method": "roots/list"}}), "denied_by_policy"),
        (json!({"a": {"method": "tools/call"}}), "unknown_method"),
        (json!({"a": {"method": "ping"}}), "unknown_method"),
        (json!({"a": {"method": "vendor/x"}}), "unknown_method"),
        (json!({"a": {}}), "bad_input_request"),
        (json!({"a": 1}), "bad_input_request"),
        (json!([{"method": "elicitation/create"}]), "bad_input_request"),
    ] {
        let mut stage = stage(TWO);
        let ours = stage.pays(1, json!({"sum": 1}), json!({})).unwrap();
        let result = json!({"resultType": "input_required", "inputRequests": asked, "requestState": "s"});
        let (_, down) = stage.server(&answer(&ours, result));
        let denied = &down[0]["result"];
        assert_eq!((&denied["isError"], &denied["resultType"]), (&json!(true), &json!("complete")), "{asked}");
        assert_eq!(denied["_meta"]["intercept-sandbox/decision"]["code"], code, "{asked}");
        assert_eq!(denied.get("inputRequests"), None);
        assert_eq!(stage.reason(), code);
        assert!(stage.pays(2, json!({"sum": 1}), retry("s")).is_some());
        assert_eq!(stage.left(), 0, "{asked}: it left nothing to continue");
    }
}

#[test]
fn input_is_judged_in_every_answer_and_in_any_case_of_its_keys() {
    let mut stage = stage("methods: {'resources/*': allow, 'prompts/*': allow}\nsandbox: {}\ntools: {pay: {}}");
    let asked = json!({"a": {"method": "sampling/createMessage"}});
    for (id, method) in ["resources/read", "prompts/get"].into_iter().enumerate() {
        let (up, _) = stage.client(&request(id as u64, method, new(json!({}))));
        let result = json!({"resultType": "input_required", "inputRequests": asked});
        let (_, down) = stage.server(&answer(&up[0]["id"], result));
        assert_eq!(down[0]["error"]["code"], -32601, "{method}");
        assert_eq!(down[0]["id"], json!(id));
    }
    for result in
        [json!({"inputRequests": asked}), json!({"InputRequests": asked}), json!({"resulttype": "input_required"})]
    {
        let ours = stage.pays(50, json!({}), json!({})).unwrap();
        let (_, down) = stage.server(&answer(&ours, result.clone()));
        assert_eq!(down[0]["result"]["isError"], true, "{result}");
    }
}

#[test]
fn an_approval_holds_for_the_retries_of_its_call() {
    let mut stage =
        stage("methods: {elicitation/create: allow}\ntools: {pay: {rules: [{action: require_approval}]}}\nsandbox: {}");
    let params = pay(json!({"sum": 1}), json!({}));
    let (up, _) = stage.client(&request(1, "tools/call", params));
    assert_eq!(up.len(), 0, "it waits for a person");
    let id = stage.gate.approvals.listed(0).next().unwrap().id.clone();
    let (asker, approve) = (Asker { uid: 0, pid: 1 }, control::Request::Approve { id });
    stage.gate.hear_person(approve, asker, at(0), &mut stage.journal, &mut stage.outbox).unwrap();
    let (up, _) = stage.taken();
    stage.asks(&up[0]["id"], "s");
    assert!(stage.pays(2, json!({"sum": 1}), retry("s")).is_some(), "nobody is asked twice");
    let (up, _) = stage.client(&request(3, "tools/call", pay(json!({"sum": 1}), retry("s"))));
    assert_eq!(up.len(), 0, "a retry of nothing asks again");
}
