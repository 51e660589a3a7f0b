//! Which messages pass, family by family, in both directions.

use super::*;

const CLOSED: &str = "default: deny\ntools: {t: {}}\nsandbox: {}";

/// One request of each family of the client.
const CLIENT: [&str; 8] = [
    "resources/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "resources/templates/list",
];
/// One request of each family of the server.
const SERVER: [&str; 4] = ["sampling/createMessage", "elicitation/create", "roots/list", "tasks/list"];

#[test]
fn default_deny_refuses_every_family_of_the_client() {
    let mut stage = stage(CLOSED);
    stage.handshake("2025-11-25");
    for method in CLIENT {
        let (up, down) = stage.client(&request(7, method, json!({})));
        assert_eq!(up, [] as [Value; 0], "{method} reached the server");
        assert_eq!(down[0]["error"]["code"], -32601, "{method}");
        assert_eq!(down[0]["error"]["message"], format!("Method not permitted by policy: {method}"));
        assert_eq!(down[0]["id"], 7);
        assert_eq!(stage.reason(), "denied_by_policy", "{method}");
    }
    let (up, _) = stage.client(&request(8, "tools/call", json!({"name": "t"})));
    assert_eq!(up.len(), 1, "the session lives, and tools are judged by their rules");
}

#[test]
fn default_deny_refuses_every_family_of_the_server_and_no_client_sees_it() {
    let mut stage = stage(CLOSED);
    stage.handshake("2025-11-25");
    for method in SERVER {
        let (up, down) = stage.server(&request(7, method, json!({})));
        assert_eq!(down, [] as [Value; 0], "{method} reached the client");
        assert_eq!((&up[0]["error"]["code"], &up[0]["id"]), (&json!(-32601), &json!(7)), "{method}");
        assert_eq!(stage.reason(), "denied_by_policy", "{method}");
    }
}

#[test]
fn version_1_lets_them_pass_as_intercept_does() {
    let mut stage = stage("version: '1'\ndefault: deny\ntools: {}\nsandbox: {}");
    stage.handshake("2025-11-25");
    for (id, method) in CLIENT.into_iter().enumerate() {
        let (up, down) = stage.client(&request(id as u64 + 10, method, json!({})));
        assert_eq!((up.len(), down.len()), (1, 0), "{method}");
    }
    for (id, method) in SERVER.into_iter().enumerate() {
        let (up, down) = stage.server(&request(id as u64 + 10, method, json!({})));
        assert_eq!((up.len(), down.len()), (0, 1), "{method}");
    }
}

#[test]
fn keys_open_and_close_requests_and_notifications() {
    let mut stage = stage(
        "methods: {resources/read: allow, roots/list: allow, notifications/message: deny, vendor/*: allow,
         notifications/vendor/hello: allow}\nsandbox: {}",
    );
    stage.handshake("2025-06-18");
    assert_eq!(stage.client(&request(1, "resources/read", json!({"uri": "a:b"}))).0.len(), 1);
    assert_eq!(stage.client(&request(2, "resources/list", json!({}))).0.len(), 0);
    assert_eq!(stage.client(&request(3, "vendor/thing", json!({}))).0.len(), 1, "what MCP does not have");
    assert_eq!(stage.client(&note("notifications/vendor/hello", json!({}))).0.len(), 1);
    assert_eq!(stage.client(&note("notifications/other", json!({}))).0.len(), 0);
    assert_eq!(stage.reason(), "unknown_method");
    assert_eq!(stage.server(&request(1, "roots/list", json!({}))).1.len(), 1);
    assert_eq!(stage.server(&note("notifications/message", json!({"level": "info", "data": "x"}))).1.len(), 0);
    assert_eq!(stage.reason(), "denied_by_policy");
    assert_eq!(stage.server(&note("notifications/prompts/list_changed", json!({}))).1.len(), 1);
}

#[test]
fn nothing_of_mcp_goes_the_wrong_way_whatever_the_policy_opens() {
    let mut stage =
        stage("default: allow\nmethods: {'resources/*': allow, 'sampling/*': allow, '*': allow}\nsandbox: {}");
    stage.handshake("2025-11-25");
    for method in ["tools/call", "tools/list", "initialize", "resources/read"] {
        assert_eq!(stage.server(&request(5, method, json!({"name": "t"}))).1.len(), 0, "{method}");
        assert_eq!(stage.reason(), "unknown_method");
    }
    assert_eq!(stage.client(&request(5, "sampling/createMessage", json!({}))).0.len(), 0);
    assert_eq!(stage.client(&note("tools/call", json!({"name": "t"}))).0.len(), 0);
}

#[test]
fn what_is_closed_whole_is_not_announced() {
    let mut stage = stage("methods: {roots/list: allow, prompts/get: allow}\nsandbox: {}");
    let all = json!({"roots": {}, "sampling": {}, "elicitation": {}, "experimental": {}});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": all, "clientInfo": {}});
    let (up, _) = stage.client(&request(1, "initialize", params));
    assert_eq!(up[0]["params"]["capabilities"], json!({"roots": {}, "experimental": {}}));
    let all = json!({"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true}, "completions": {}, "logging": {}});
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": all, "serverInfo": {"name": "s"}});
    let (_, down) = stage.server(&answer(&up[0]["id"], result));
    let told = json!({"tools": {"listChanged": true}, "prompts": {}, "logging": {}});
    assert_eq!(down[0]["result"]["capabilities"], told);
    assert_eq!((&down[0]["id"], &down[0]["result"]["serverInfo"]["name"]), (&json!(1), &json!("s")));

    let (up, _) = stage.client(&request(2, "tools/list", new(json!({}))));
    let meta = &up[0]["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"x": {}}));
}

#[test]
fn an_unknown_revision_is_refused_in_the_form_of_its_own() {
    let mut stage = stage("default: allow\nsandbox: {}");
    for version in [json!("2027-01-01"), json!("2026-07-28 "), json!(7), Value::Null] {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": version});
        let (up, down) = stage.client(&request(3, "tools/call", json!({"name": "t", "_meta": meta})));
        assert_eq!(up, [] as [Value; 0], "{version}");
        let error = &down[0]["error"];
        assert_eq!(error["code"], -32022);
        assert_eq!(error["data"]["requested"], json!(version.as_str().unwrap_or_default()));
        assert!(error["data"]["supported"].as_array().unwrap().contains(&json!("2026-07-28")));
        assert_eq!(stage.reason(), "unknown_revision");
    }
    let (up, _) = stage.client(&request(0, "initialize", json!({"protocolVersion": "2026-07-28"})));
    for version in ["2026-07-28", "2027-01-01"] {
        let (_, down) = stage.server(&answer(&up[0]["id"], json!({"protocolVersion": version})));
        if version == "2026-07-28" {
            assert_eq!(down[0]["error"]["code"], SESSION_OVER, "no handshake leads to that revision");
        }
    }
}

#[test]
fn a_client_that_tried_2026_07_28_first_can_fall_back_to_the_handshake() {
    let mut stage = stage("default: allow\nsandbox: {}");
    let (up, _) = stage.client(&request(1, "server/discover", new(json!({}))));
    assert_eq!(up[0]["method"], "server/discover");
    assert_eq!(stage.gate.era, Some(Era::V2026_07_28));
    let (_, down) =
        stage.server(&json!({"jsonrpc": "2.0", "id": up[0]["id"], "error": {"code": -32601, "message": "?"}}));
    assert_eq!(down[0]["error"]["code"], -32601);
    stage.handshake("2025-11-25");
    assert_eq!(stage.gate.era, Some(Era::V2025_11_25));
    assert_eq!(stage.client(&request(2, "ping", json!({}))).0.len(), 1);
}

#[test]
fn in_2026_07_28_the_server_asks_nothing_and_gone_methods_are_gone() {
    let mut stage = stage("default: allow\nmethods: {'sampling/*': allow, vendor/x: allow, '*': allow}\nsandbox: {}");
    stage.client(&request(1, "tools/list", new(json!({}))));
    for method in ["sampling/createMessage", "roots/list", "elicitation/create", "ping", "vendor/x"] {
        let (up, down) = stage.server(&request(9, method, json!({})));
        assert_eq!((down.len(), &up[0]["error"]["code"]), (0, &json!(-32601)), "{method}");
    }
    for gone in ["ping", "resources/subscribe", "logging/setLevel"] {
        assert_eq!(stage.client(&request(2, gone, new(json!({})))).1[0]["error"]["code"], -32601, "{gone}");
    }
    let denied = stage.client(&request(3, "tools/call", new(json!({"name": "t", "task": {}})))).1;
    assert_eq!(denied[0]["error"]["code"], -32602, "tasks are no parameter there: {denied:?}");
}

#[test]
fn our_denials_are_complete_where_the_revision_asks() {
    let mut stage = stage("default: deny\ntools: {}\nsandbox: {}");
    let (_, down) = stage.client(&request(1, "tools/call", new(json!({"name": "t"}))));
    assert_eq!((&down[0]["result"]["resultType"], &down[0]["result"]["isError"]), (&json!("complete"), &json!(true)));
    stage.handshake("2025-11-25");
    let (_, down) = stage.client(&request(1, "tools/call", json!({"name": "t"})));
    assert_eq!(down[0]["result"].get("resultType"), None);
}

#[test]
fn without_a_handshake_our_own_list_is_asked_for_when_a_call_needs_it() {
    let mut stage = stage("tools: {t: {rules: [{validate: {required_args: true}}]}}\nsandbox: {}");
    let (up, down) = stage.client(&request(1, "tools/call", new(json!({"name": "t", "arguments": {"a": 1}}))));
    assert_eq!((up.len(), down.len()), (1, 0), "{up:?}");
    assert_eq!(up[0]["method"], "tools/list");
    assert_eq!(up[0]["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(up[0]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"], json!({}));
    assert_eq!(up[0]["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"], "intercept-sandbox");
    let tools = json!({"tools": [{"name": "t", "inputSchema": {"type": "object", "required": ["a"]}}]});
    stage.server(&answer(&up[0]["id"], tools));
    stage.gate.tick(at(0), &mut stage.journal, &mut stage.outbox).unwrap();
    let (up, _) = stage.taken();
    assert_eq!(up[0]["method"], "tools/call");
    assert_eq!(
        stage.client(&request(2, "tools/call", new(json!({"name": "t", "arguments": {}})))).1.len(),
        1,
        "known now"
    );
}

/// A question can also come in an error (-32042, 2025-11-25), and with a second method that a reader without case would take.
#[test]
fn questions_inside_answers_are_bound_too() {
    let mut stage = stage("methods: {roots/list: allow}\ndefault: deny\ntools: {t: {}}\nsandbox: {}");
    stage.handshake("2025-11-25");
    let question = json!({"mode": "url", "elicitationId": "1", "message": "m", "url": "https://evil.example/"});
    let smuggled = json!({"r": {"method": "roots/list", "Method": "sampling/createMessage", "params": {}}});
    for (number, body) in [
        json!({"error": {"code": -32042, "message": "m", "data": {"elicitations": [question]}}}),
        json!({"error": {"code": -32042, "message": "m", "Data": {"elicitations": [question]}}}),
        json!({"error": {"code": -32042, "message": "m", "data": {"Elicitations": [question]}}}),
        json!({"result": {"resultType": "input_required", "inputRequests": smuggled}}),
    ]
    .into_iter()
    .enumerate()
    {
        let (up, _) = stage.client(&request(number as u64 + 1, "tools/call", json!({"name": "t"})));
        let mut line = body.clone();
        line["jsonrpc"] = json!("2.0");
        line["id"] = up[0]["id"].clone();
        let (_, down) = stage.server(&line);
        assert_eq!(down.len(), 1, "{body}");
        let told = down[0].to_string();
        assert!(!told.contains("evil.example") && !told.contains("Method\""), "{told}");
        assert!(["denied_by_policy", "bad_input_request"].contains(&stage.reason().as_str()), "{body}");
    }
}
