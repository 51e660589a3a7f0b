//! One test a rejection, with the lines that got past an existing proxy.

use proptest::prelude::*;

use super::*;

fn refusal(line: &str) -> Refusal {
    read_line(line.as_bytes()).unwrap_err()
}

fn code(line: &str) -> Option<RefusalCode> {
    read_line(line.as_bytes()).err().map(|refusal| refusal.code)
}

/// A call whose params are `params`.
fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

fn integer(id: i64) -> Option<RequestId> {
    Some(RequestId::Integer(id))
}

#[test]
fn three_kinds_of_message_are_read() {
    let line = read_line(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
    assert_eq!(
        line.message,
        Message::Request(Request { id: RequestId::String("a".to_owned()), method: "ping".into(), params: None })
    );
    let line = read_line(br#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#).unwrap();
    assert_eq!(
        line.message,
        Message::Notification(Notification { method: "notifications/initialized".into(), params: None })
    );
    let line = read_line(br#"{"jsonrpc":"2.0","result":{},"id":-3}"#).unwrap();
    assert_eq!(
        line.message,
        Message::Response(Response { id: RequestId::Integer(-3), outcome: Outcome::Result(Value::Object(vec![])) })
    );
    let line = read_line(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m"}}"#).unwrap();
    assert!(matches!(line.message, Message::Response(Response { outcome: Outcome::Error(_), .. })));
}

#[test]
fn known_bypasses_of_an_existing_proxy_are_refused() {
    let deep = "[".repeat(10_001) + &"]".repeat(10_001);
    for (line, expected) in [
        (call(r#"{"name":"t","arguments":{"n":1e400}}"#), RefusalCode::Json(RejectCode::InexactDecimal)),
        (call(r#"{"name":"safe","Name":"t"}"#), RefusalCode::ParameterKeyCase),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#.to_owned(), RefusalCode::EnvelopeKeyCase),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","PARAMS":{"name":"t"}}"#.to_owned(),
            RefusalCode::EnvelopeKeyCase,
        ),
        (format!("{{}}\r{}", call("{}")), RefusalCode::Json(RejectCode::ControlByte)),
        (call(r#"{"name":"t","arguments":{"n":NaN}}"#), RefusalCode::Json(RejectCode::NonFinite)),
        (format!("[{}]", call(r#"{"name":"t"}"#)), RefusalCode::Batch),
        (r#"{"jsonrpc":"2.0","id":1,"#.to_owned(), RefusalCode::Json(RejectCode::Truncated)),
        (r#""method":"tools/call"}"#.to_owned(), RefusalCode::Json(RejectCode::TrailingData)),
        (call(&format!(r#"{{"name":"t","arguments":{{"a":{deep}}}}}"#)), RefusalCode::Json(RejectCode::TooDeep)),
    ] {
        assert_eq!(code(&line), Some(expected), "{}", &line[..line.len().min(200)]);
    }
}

#[test]
fn what_is_no_json_is_answered_with_a_null_id() {
    let refusal = refusal(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#);
    assert_eq!(refusal.code, RefusalCode::Json(RejectCode::DuplicateKey));
    assert_eq!((refusal.code.rpc_code(), refusal.id, refusal.answered), (-32700, None, true));
    assert_eq!(refusal.text, "key occurs twice in one object at byte 24");
}

#[test]
fn batches_and_scalars_are_no_messages() {
    let refusal = refusal("[]");
    assert_eq!((refusal.code.rpc_code(), refusal.id, refusal.answered), (-32600, None, true));
    assert_eq!(refusal.code, RefusalCode::Batch);
    for line in ["1", "null", "\"x\"", "true"] {
        assert_eq!(code(line), Some(RefusalCode::NotAnObject), "{line}");
    }
}

#[test]
fn envelope_keys_are_exact() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method ":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","_meta":{}}"#,
    ] {
        assert_eq!(code(line), Some(RefusalCode::UnknownEnvelopeKey), "{line}");
    }
    for line in [
        r#"{"jsonrpc":"2.0","ID":1,"method":"ping"}"#,
        r#"{"JsonRpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"Error":{}}"#,
    ] {
        assert_eq!(code(line), Some(RefusalCode::EnvelopeKeyCase), "{line}");
    }
}

#[test]
fn version_is_two_point_zero() {
    for line in [
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        "{}",
    ] {
        assert_eq!(code(line), Some(RefusalCode::Version), "{line}");
    }
}

#[test]
fn ids_are_integers_or_short_strings() {
    for id in ["null", "1.0", "1.5", "1e2", "true", "[]", "{}"] {
        let refusal = refusal(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
        assert_eq!((refusal.code, refusal.id, refusal.answered), (RefusalCode::BadId, None, true), "{id}");
    }
    let line = |length: usize| format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "i".repeat(length));
    assert_eq!(code(&line(REQUEST_ID_BYTES_MAX)), None);
    assert_eq!(code(&line(REQUEST_ID_BYTES_MAX + 1)), Some(RefusalCode::BadId));
}

#[test]
fn method_is_a_short_string() {
    for method in ["null", "1", "\"\"", "[\"ping\"]"] {
        assert_eq!(
            code(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method}}}"#)),
            Some(RefusalCode::BadMethod),
            "{method}"
        );
    }
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1}"#), Some(RefusalCode::BadMethod));
    let line = |length: usize| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "m".repeat(length));
    assert_eq!(code(&line(METHOD_BYTES_MAX)), None);
    assert_eq!(code(&line(METHOD_BYTES_MAX + 1)), Some(RefusalCode::BadMethod));
}

#[test]
fn params_are_an_object() {
    for params in ["null", "[]", "\"x\"", "1"] {
        assert_eq!(code(&call(params)), Some(RefusalCode::BadParams), "{params}");
    }
}

#[test]
fn parameter_keys_may_not_differ_in_case_alone() {
    for params in [
        r#"{"Name":"t"}"#,
        r#"{"name":"t","ARGUMENTS":{}}"#,
        r#"{"name":"t","argument\u017f":{}}"#,
        r#"{"name":"t","_META":{}}"#,
        r#"{"name":"t","_meta":{"progresstoken":1}}"#,
    ] {
        assert_eq!(code(&call(params)), Some(RefusalCode::ParameterKeyCase), "{params}");
    }
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestid":1}}"#),
        Some(RefusalCode::ParameterKeyCase)
    );
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"URI":1}}"#),
        Some(RefusalCode::ParameterKeyCase)
    );
    assert_eq!(
        code(&call(r#"{"name":"t","URI":1,"arguments":{"Name":1}}"#)),
        None,
        "another method's parameter, and an argument"
    );
}

#[test]
fn argument_keys_may_not_differ_from_each_other_in_case_alone() {
    for arguments in [r#"{"n":1,"N":2}"#, r#"{"a":[{"\u212a":1,"k":2}]}"#] {
        assert_eq!(
            code(&call(&format!(r#"{{"name":"t","arguments":{arguments}}}"#))),
            Some(RefusalCode::AmbiguousKeys),
            "{arguments}"
        );
    }
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"result":{"n":1,"N":2}}"#), None, "results are not arguments");
}

#[test]
fn responses_have_a_result_or_an_error_object() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
    ] {
        let refusal = refusal(line);
        assert_eq!(
            (refusal.code, refusal.id, refusal.answered),
            (RefusalCode::BadResponse, integer(1), false),
            "{line}"
        );
    }
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#), Some(RefusalCode::BadResponse));
}

#[test]
fn refusal_says_whom_to_answer() {
    let told = |line: &str| {
        let refusal = refusal(line);
        (refusal.id, refusal.answered)
    };
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":7,"method":"ping","x":1}"#), (integer(7), true));
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":null,"method":"ping","x":1}"#), (None, true));
    assert_eq!(told(r#"{"jsonrpc":"2.0","method":"ping","x":1}"#), (None, false), "a notification gets no answer");
    assert_eq!(told(r#"{"jsonrpc":"1.0","id":7,"result":{}}"#), (integer(7), false), "a response gets no answer");
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":7}"#), (integer(7), true));
    assert_eq!(told(r#"{"jsonrpc":"2.0"}"#), (None, false));
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#), (None, false));
}

#[test]
fn message_is_written_from_what_was_judged() {
    let line = read_line(br#"{ "params" : { "name":"t" , "arguments":{"a":"\u0041"}} , "method":"tools\/call","id":"x","jsonrpc":"2.0" }"#).unwrap();
    let mut out = Vec::new();
    line.message.write(Some(&RequestId::Integer(9)), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"t","arguments":{"a":"A"}}}"#
    );
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"m"}}"#,
    ] {
        let mut out = Vec::new();
        read_line(text.as_bytes()).unwrap().message.write(None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn line_is_passed_on_as_it_came_but_for_its_id() {
    let bytes = br#" {"result" : {"id":5, "x":"\u0041"}, "id" : 5 ,"jsonrpc":"2.0"}"#;
    let line = read_line(bytes).unwrap();
    let mut out = Vec::new();
    line.raw.pass_on(Some(&RequestId::String("a\"b".to_owned())), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#" {"result" : {"id":5, "x":"\u0041"}, "id" : "a\"b" ,"jsonrpc":"2.0"}"#
    );
    let mut out = Vec::new();
    line.raw.pass_on(None, &mut out);
    assert_eq!(out, bytes);
}

#[test]
fn line_that_some_reader_would_split_is_written_anew() {
    let text = "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":\"a\u{2028}b\"}";
    let mut out = Vec::new();
    read_line(text.as_bytes()).unwrap().raw.pass_on(Some(&RequestId::Integer(6)), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"jsonrpc":"2.0","id":6,"result":"a\u2028b"}"#);
}

#[test]
fn large_result_is_passed_on_whole() {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"data":"{}"}}}}"#, "A".repeat(1_500_000));
    let mut out = Vec::new();
    read_line(text.as_bytes()).unwrap().raw.pass_on(Some(&RequestId::Integer(77)), &mut out);
    assert_eq!(out.len(), text.len() + 1);
    assert!(out.starts_with(br#"{"jsonrpc":"2.0","id":77,"result""#));
}

#[test]
fn id_round_trips_through_a_value() {
    for id in [RequestId::Integer(-5), RequestId::String("x".to_owned())] {
        assert_eq!(RequestId::of(&id.to_value().unwrap()), Some(id));
    }
    assert_eq!(RequestId::Integer(i64::MAX).to_value(), None);
}

/// What a line is to both readings, which must agree: the message, or why it is refused.
fn assert_same_to_both(line: &str) {
    let whole = read_line(line.as_bytes());
    let scanned = read_server_line(line.as_bytes()).map(|read| match read {
        ServerLine::Request(request) => Message::Request(request),
        ServerLine::Notification(notification, _) => Message::Notification(notification),
        ServerLine::Answer(answer) => {
            Message::Response(Response { id: answer.id.clone(), outcome: answer.outcome().unwrap() })
        }
    });
    assert_eq!(whole.map(|line| line.message), scanned, "{line}");
}

#[test]
fn servers_lines_are_read_as_strictly_as_clients_lines() {
    let long = "i".repeat(REQUEST_ID_BYTES_MAX);
    let escaped = "\\u0069".repeat(REQUEST_ID_BYTES_MAX);
    for line in [
        format!(r#"{{"jsonrpc":"2.0","id":"{long}","result":{{}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"{long}i","result":{{}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"{escaped}","result":{{}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"{escaped}i","result":{{}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":[{}1],"result":{{}}}}"#, "1,".repeat(5000)),
        format!(r#"{{"jsonrpc":"{}","id":1,"result":{{}}}}"#, "2".repeat(5000)),
        r#"{"j\u0073onrpc":"2\u002e0","i\u0064":1,"res\u0075lt":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"n":1,"N":2}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{},"id":1}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{}} {}"#.to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
    ] {
        assert_same_to_both(&line);
    }
}

proptest! {
    #[test]
    fn any_envelope_is_the_same_to_both_readings(members in prop::collection::vec((
        prop::sample::select(vec!["jsonrpc", "jsonrpc", "id", "id", "method", "params", "result", "result", "error", "Error", "x", "i\\u0064"]),
        prop::sample::select(vec!["\"2.0\"", "\"2.0\"", "1", "\"a\"", "null", "1.5", "{}", "[]", "{\"code\":1}", "\"ping\""]),
    ), 0..6)) {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        assert_same_to_both(&format!("{{{}}}", members.join(",")));
        assert_same_to_both(&format!("{{\"jsonrpc\":\"2.0\",{}}}", members.join(",")));
        assert_same_to_both(&format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{}}}", members.join(",")));
    }
}
