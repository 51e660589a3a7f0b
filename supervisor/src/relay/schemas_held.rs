//! Arguments and results against what the server itself says of its tools, through the gate.

use serde_json::{Value, json};

use super::stage::{Said, Stage, call, stage};

const BOTH: &str = "tools: {draw: {rules: [{name: shape, validate: {schema: true, output: true}}]}}\nsandbox: {}";

fn draw() -> Value {
    json!({
        "name": "draw",
        "inputSchema": {
            "type": "object",
            "properties": {"width": {"type": "integer", "maximum": 64}, "at": {"properties": {"x": {"type": "number"}}}},
            "required": ["width"],
            "additionalProperties": false,
        },
        "outputSchema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    })
}

/// A session whose server lists `tool`, ready for calls.
fn ready(policy: &str, observe: bool, tool: &Value) -> Stage {
    let mut stage = stage(policy, observe);
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let (server, _) = stage.says(1, &note);
    assert_eq!(server.last().unwrap()["method"], "tools/list");
    let id = server.last().unwrap()["id"].clone();
    stage.answers(1, &json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [tool]}}));
    stage
}

fn code(said: &Said) -> (&str, &str) {
    assert!(said.0.is_empty(), "it reached the server: {said:?}");
    let result = &said.1[0]["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    (result["_meta"]["intercept-sandbox/decision"]["code"].as_str().unwrap_or_default(), text)
}

#[test]
fn arguments_that_do_not_fit_never_reach_the_server() {
    let mut stage = ready(BOTH, false, &draw());
    for (id, arguments, text) in [
        (1, json!({"width": 65}), "args.width must be at most 64 (rule draw.shape)."),
        (2, json!({"width": "64"}), "args.width must be an integer, not string (rule draw.shape)."),
        (3, json!({}), "args must have the key \"width\" (rule draw.shape)."),
        (
            4,
            json!({"width": 1, "at": {"X": 1}}),
            "args.at has the key \"X\", which differs from \"x\" only in case (rule draw.shape).",
        ),
    ] {
        let said = stage.says(2, &call(id, "draw", arguments));
        let expected = format!("[INTERCEPT POLICY DENIED] {text}");
        assert_eq!(code(&said), ("schema_mismatch", expected.as_str()));
    }
    let bare = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "draw"}});
    assert_eq!(code(&stage.says(2, &bare)).0, "schema_mismatch", "absent arguments are an empty object");
    let case = stage.says(2, &call(6, "draw", json!({"WIDTH": 1})));
    assert_eq!(case.1[0]["error"]["code"], -32602, "{case:?}");
    assert_eq!(stage.records().iter().filter(|record| record["reason"]["code"] == "schema_mismatch").count(), 5);
    assert_eq!(stage.says(2, &call(7, "draw", json!({"width": 64, "at": {"x": 0.5, "y": 1}}))).0.len(), 1);
}

#[test]
fn a_schema_that_cannot_be_judged_refuses_every_call() {
    for (key, schema) in [
        ("inputSchema", json!({"$ref": "https://evil.example/s"})),
        ("inputSchema", json!({"$schema": "http://json-schema.org/draft-04/schema#"})),
        ("inputSchema", json!({"properties": {"width": {"pattern": "(?=a)"}}})),
        ("inputSchema", json!({"$ref": "#"})),
        ("outputSchema", json!({"unevaluatedProperties": false})),
        ("outputSchema", Value::Null),
    ] {
        let mut tool = draw();
        tool[key] = schema;
        if tool[key].is_null() {
            tool.as_object_mut().unwrap().remove(key);
        }
        let mut stage = ready(BOTH, false, &tool);
        let said = stage.says(2, &call(1, "draw", json!({"width": 1})));
        assert_eq!(code(&said).0, "schema_unavailable", "{tool}");
    }
    let mut stage = ready(BOTH, false, &json!({"name": "other"}));
    assert_eq!(code(&stage.says(2, &call(1, "draw", json!({"width": 1})))).0, "schema_unavailable", "not listed");
}

#[test]
fn a_call_waits_for_the_schema_and_no_longer_than_it_may() {
    let mut stage = stage(BOTH, false);
    assert_eq!(stage.says(1, &call(1, "draw", json!({"width": 65}))), (vec![], vec![]));
    assert_eq!(stage.ticks(5), (vec![], vec![]));
    assert_eq!(code(&stage.ticks(6)).0, "schema_unavailable");
}

#[test]
fn a_result_that_does_not_fit_is_withheld_and_recorded() {
    let mut stage = ready(BOTH, false, &draw());
    let ours = |stage: &mut Stage, id: u64| stage.says(2, &call(id, "draw", json!({"width": 1}))).0[0]["id"].clone();
    let result = |id: Value, result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let good = json!({"content": [], "structuredContent": {"url": "u"}});
    let id = ours(&mut stage, 1);
    assert_eq!(stage.answers(3, &result(id, good.clone())).1, [result(json!(1), good)]);
    for (number, wrong) in [
        (2, json!({"content": [{"type": "text", "text": "SECRET"}], "structuredContent": {"url": 5}})),
        (3, json!({"content": [{"type": "text", "text": "SECRET"}]})),
    ] {
        let id = ours(&mut stage, number);
        let (_, client) = stage.answers(3, &result(id, wrong));
        let text = client[0].to_string();
        assert!(text.contains("output_mismatch") && text.contains("draw.shape"), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
        assert_eq!((&client[0]["id"], &client[0]["result"]["isError"]), (&json!(number), &json!(true)));
        let record = stage.records().pop().unwrap();
        assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("denied"), &json!("output_mismatch")));
    }
    let id = ours(&mut stage, 4);
    let failed = json!({"content": [{"type": "text", "text": "no"}], "isError": true});
    assert_eq!(stage.answers(3, &result(id, failed.clone())).1, [result(json!(4), failed)]);
}

#[test]
fn a_result_is_judged_by_the_schema_that_stood_when_the_call_was_let_go() {
    let mut stage = ready(BOTH, false, &draw());
    let id = stage.says(2, &call(1, "draw", json!({"width": 1}))).0[0]["id"].clone();
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    stage.answers(2, &changed);
    let wrong = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    let (_, client) = stage.answers(3, &wrong);
    assert!(client[0].to_string().contains("output_mismatch"), "{client:?}");
}

#[test]
fn a_session_that_only_observes_says_what_would_not_fit_and_passes_it_on() {
    let mut stage = ready(BOTH, true, &draw());
    let (server, _) = stage.says(2, &call(1, "draw", json!({"width": 65})));
    let record = stage.records().pop().unwrap();
    assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("observed"), &json!("schema_mismatch")));
    let wrong = json!({"jsonrpc": "2.0", "id": server[0]["id"], "result": {"content": []}});
    assert_eq!(stage.answers(3, &wrong).1[0]["result"], json!({"content": []}));
    let record = stage.records().pop().unwrap();
    assert_eq!((&record["effect"], &record["reason"]["code"]), (&json!("observed"), &json!("output_mismatch")));
}
