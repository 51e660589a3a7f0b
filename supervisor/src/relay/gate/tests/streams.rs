//! Progress and subscriptions: each side hears of what it asked for, under its own names.

use super::*;

const OPEN: &str = "default: allow\nsandbox: {}";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn progress(token: &Value) -> Value {
    note("notifications/progress", json!({"progressToken": token, "progress": 1}))
}

#[test]
fn progress_is_of_a_request_in_flight_and_of_no_other() {
    let mut stage = stage(OPEN);
    stage.handshake("2025-11-25");
    let call =
        |id: u64, token: &str| request(id, "tools/call", json!({"name": "t", "_meta": {"progressToken": token}}));
    let (up, _) = stage.client(&call(1, "p"));
    assert_eq!(stage.server(&progress(&json!("p"))).1.len(), 1);
    for stray in [json!("q"), json!(1), json!("1"), json!(1.5), Value::Null] {
        assert_eq!(stage.server(&progress(&stray)).1.len(), 0, "{stray}");
        assert_eq!(stage.reason(), "unknown_progress", "{stray}");
    }
    stage.server(&answer(&up[0]["id"], json!({"content": []})));
    assert_eq!(stage.server(&progress(&json!("p"))).1.len(), 0, "after the answer");
    assert_eq!(stage.reason(), "unknown_progress");

    stage.client(&call(2, "c"));
    stage.client(&note("notifications/cancelled", json!({"requestId": 2})));
    assert_eq!(stage.server(&progress(&json!("c"))).1.len(), 0, "after it was cancelled");
}

#[test]
fn progress_of_a_task_outlives_the_answer() {
    let mut stage = stage(OPEN);
    stage.handshake("2025-11-25");
    let params = json!({"name": "t", "task": {}, "_meta": {"progressToken": "p"}});
    let (up, _) = stage.client(&request(1, "tools/call", params));
    stage.server(&answer(&up[0]["id"], json!({"task": {"taskId": "x"}})));
    assert_eq!(stage.server(&progress(&json!("p"))).1.len(), 1);
}

#[test]
fn the_client_tells_the_server_of_its_own_requests_alone() {
    let mut stage = stage(OPEN);
    stage.handshake("2025-11-25");
    assert_eq!(stage.client(&progress(&json!("s"))).0.len(), 0);
    let params = json!({"_meta": {"progressToken": "s"}});
    let (_, down) = stage.server(&request(4, "sampling/createMessage", params));
    assert_eq!(stage.client(&progress(&json!("s"))).0.len(), 1);
    stage.client(&answer(&down[0]["id"], json!({})));
    assert_eq!(stage.client(&progress(&json!("s"))).0.len(), 0, "after its answer");
    assert_eq!(stage.reason(), "unknown_progress");
}

#[test]
fn a_call_that_the_server_has_not_seen_makes_no_progress() {
    let mut stage = stage("tools: {t: {rules: [{validate: {required_args: true}}]}}\nsandbox: {}");
    stage.handshake("2025-11-25");
    let params = json!({"name": "t", "_meta": {"progressToken": "p"}});
    assert_eq!(stage.client(&request(1, "tools/call", params)).0.len(), 0, "it waits for the schemas");
    assert_eq!(stage.server(&progress(&json!("p"))).1.len(), 0);
}

/// Opens a stream under the client's id; the server's id of it.
fn listen(stage: &mut Stage, id: &Value) -> Value {
    listen_for(stage, id, json!({"toolsListChanged": true, "resourceSubscriptions": ["file:///x"]}))
}

fn listen_for(stage: &mut Stage, id: &Value, filter: Value) -> Value {
    let mut line = request(0, "subscriptions/listen", new(json!({"notifications": filter})));
    line["id"] = id.clone();
    let (up, _) = stage.client(&line);
    up[0]["id"].clone()
}

fn streamed(method: &str, id: &Value) -> Value {
    note(method, json!({"_meta": {SUBSCRIPTION: id}, "notifications": {}}))
}

#[test]
fn a_stream_has_the_clients_own_id_to_the_client() {
    let mut stage = stage(OPEN);
    let ours = listen(&mut stage, &json!("mine \u{1f98a}"));
    assert_eq!(ours, json!(1));
    for method in ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"] {
        let (_, down) = stage.server(&streamed(method, &ours));
        assert_eq!(down[0]["params"]["_meta"][SUBSCRIPTION], "mine \u{1f98a}", "{method}");
    }
    let (_, down) = stage.server(&note("notifications/cancelled", json!({"requestId": ours, "reason": "r"})));
    assert_eq!(down[0]["params"]["requestId"], "mine \u{1f98a}");
    let (_, down) = stage.server(&streamed("notifications/tools/list_changed", &ours));
    assert_eq!(down, [] as [Value; 0], "it has ended");
    assert_eq!(stage.reason(), "unknown_subscription");
}

#[test]
fn the_answer_that_ends_a_stream_names_it_as_the_client_does() {
    let mut stage = stage(OPEN);
    let ours = listen(&mut stage, &json!(77));
    let result = json!({"resultType": "complete", "_meta": {SUBSCRIPTION: ours, "x": 1}});
    let (_, down) = stage.server(&answer(&ours, result));
    assert_eq!((&down[0]["id"], &down[0]["result"]["_meta"][SUBSCRIPTION]), (&json!(77), &json!(77)));
    assert_eq!(down[0]["result"]["_meta"]["x"], 1);
}

#[test]
fn streams_that_nobody_opened_are_silent() {
    let mut stage = stage(OPEN);
    let ours = listen(&mut stage, &json!(50));
    stage.client(&request(51, "tools/call", new(json!({"name": "t"}))));
    // The client's own id, the id of a call, none at all, one of no type.
    for stray in [json!(50), json!(2), json!("1"), json!(1.5), Value::Null, json!({})] {
        let (_, down) = stage.server(&streamed("notifications/resources/updated", &stray));
        assert_eq!(down, [] as [Value; 0], "{stray}");
        assert_eq!(stage.reason(), "unknown_subscription", "{stray}");
    }
    assert_eq!(stage.server(&note("notifications/prompts/list_changed", json!({}))).1.len(), 0, "on no stream");
    assert_eq!(stage.server(&note("notifications/cancelled", json!({"requestId": 2}))).1.len(), 0, "no stream");
    assert_eq!(stage.server(&streamed("notifications/resources/updated", &ours)).1.len(), 1);
    stage.client(&note("notifications/cancelled", json!({"requestId": 50})));
    assert_eq!(stage.server(&streamed("notifications/resources/updated", &ours)).1.len(), 0, "the client left it");
}

#[test]
fn what_a_stream_was_not_opened_for_does_not_come_on_it() {
    const KINDS: [(&str, &str); 4] = [
        ("promptsListChanged", "notifications/prompts/list_changed"),
        ("resourcesListChanged", "notifications/resources/list_changed"),
        ("resourceSubscriptions", "notifications/resources/updated"),
        ("toolsListChanged", "notifications/tools/list_changed"),
    ];
    for (asked, own) in KINDS {
        let mut stage = stage(OPEN);
        let wanted = if asked == "resourceSubscriptions" { json!(["file:///x"]) } else { json!(true) };
        let ours = listen_for(&mut stage, &json!(7), json!({asked: wanted}));
        let nothing = listen_for(&mut stage, &json!(8), json!({asked: null, "x": true}));
        assert_eq!(stage.server(&streamed("notifications/subscriptions/acknowledged", &ours)).1.len(), 1);
        for (_, method) in KINDS {
            let (_, down) = stage.server(&streamed(method, &ours));
            assert_eq!(down.len(), usize::from(method == own), "{asked}: {method}");
            if method != own {
                assert_eq!(stage.reason(), "unasked_notification", "{asked}: {method}");
            }
            assert_eq!(stage.server(&streamed(method, &nothing)).1.len(), 0, "{method}");
        }
    }
    for none in [json!({"resourceSubscriptions": []}), json!({"resourceSubscriptions": true}), json!([]), json!(true)] {
        let mut stage = stage(OPEN);
        let ours = listen_for(&mut stage, &json!(7), none.clone());
        assert_eq!(stage.server(&streamed("notifications/resources/updated", &ours)).1.len(), 0, "{none}");
    }
}

#[test]
fn streams_are_bounded() {
    let mut stage = stage(OPEN);
    for id in 0..crate::bounds::SUBSCRIPTIONS_MAX {
        assert!(listen(&mut stage, &json!(id)).is_number());
    }
    let (up, down) = stage.client(&request(9999, "subscriptions/listen", new(json!({"notifications": {}}))));
    assert_eq!((up.len(), &down[0]["error"]["code"]), (0, &json!(NOT_TAKEN)));
}
