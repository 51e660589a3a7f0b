//! The messages that we write ourselves.

use super::json;
use super::jsonrpc::{RequestId, write_call};
use super::methods::{self, Era};

/// JSON-RPC 2.0: not a request that can be taken.
pub const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC 2.0: the method does not exist or is not available.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC 2.0: invalid parameters. MCP answers an unknown tool with it.
pub const INVALID_PARAMS: i32 = -32602;
/// JSON-RPC 2.0: internal error. Sent for what a server left unanswered when it ended.
pub const INTERNAL_ERROR: i32 = -32603;

/// MCP 2026-07-28: the request's revision is not supported (UnsupportedProtocolVersionError).
pub const UNSUPPORTED_REVISION: i32 = -32022;

/// Marks what the agent reads of a denial.
const DENIED: &str = "[INTERCEPT POLICY DENIED] ";

/// What `_meta["intercept-sandbox/decision"]` says of a denial.
#[derive(Clone, Copy, Debug)]
pub struct DecisionMeta<'a> {
    /// Where the decision stands in the audit log.
    pub id: &'a str,
    /// The rule that refused.
    pub rule: Option<&'a str>,
    /// Stable code (`rate_limited`, ..).
    pub code: &'a str,
    /// When the call could be granted, milliseconds from now.
    pub retry_after_ms: Option<u64>,
}

/// Appends an error response, one line without LF. No `id` writes `"id":null`: the request's could not be read.
pub fn error_reply(id: Option<&RequestId>, code: i32, message: &str, out: &mut Vec<u8>) {
    open(id, out);
    out.extend_from_slice(format!(r#","error":{{"code":{code},"message":"#).as_bytes());
    json::write_string(message, out);
    out.extend_from_slice(b"}}");
}

/// Appends the error for a request in a revision that is not spoken, one line without LF.
pub fn unsupported_revision(id: &RequestId, requested: &str, message: &str, out: &mut Vec<u8>) {
    open(Some(id), out);
    out.extend_from_slice(format!(r#","error":{{"code":{UNSUPPORTED_REVISION},"message":"#).as_bytes());
    json::write_string(message, out);
    out.extend_from_slice(br#","data":{"supported":["#);
    for (index, era) in Era::ALL.into_iter().enumerate() {
        out.extend_from_slice(if index > 0 { b"," } else { b"" });
        json::write_string(era.as_str(), out);
    }
    out.extend_from_slice(br#"],"requested":"#);
    json::write_string(requested, out);
    out.extend_from_slice(b"}}}");
}

/// Appends the result of a denied call, one line without LF: `isError`, `text` behind the mark, the decision in `_meta`, and
/// `resultType` where the request's revision asks for it.
pub fn denied_reply(id: &RequestId, era: Option<Era>, text: &str, decision: &DecisionMeta<'_>, out: &mut Vec<u8>) {
    open(Some(id), out);
    out.extend_from_slice(br#","result":{"#);
    if era.is_some_and(|era| era >= Era::V2026_07_28) {
        out.extend_from_slice(br#""resultType":"complete","#);
    }
    out.extend_from_slice(br#""content":[{"type":"text","text":"#);
    json::write_string(&[DENIED, text].concat(), out);
    out.extend_from_slice(br#"}],"isError":true,"_meta":{"intercept-sandbox/decision":{"id":"#);
    json::write_string(decision.id, out);
    if let Some(rule) = decision.rule {
        out.extend_from_slice(br#","rule":"#);
        json::write_string(rule, out);
    }
    out.extend_from_slice(br#","code":"#);
    json::write_string(decision.code, out);
    if let Some(retry_after_ms) = decision.retry_after_ms {
        out.extend_from_slice(format!(r#","retry_after_ms":{retry_after_ms}"#).as_bytes());
    }
    out.extend_from_slice(b"}}}}");
}

/// Appends a request of our own, one line without LF. `params` is JSON that we wrote.
pub fn own_request(id: &RequestId, method: &str, params: Option<&json::Value<'_>>, out: &mut Vec<u8>) {
    open(Some(id), out);
    out.push(b',');
    write_call(method, params, out);
}

/// The parameters of a tools/list of our own in a session of `era`, which in 2026-07-28 says who asks (RequestMetaObject).
#[must_use]
pub fn list_params(era: Option<Era>, cursor: Option<String>) -> Option<json::Value<'static>> {
    use json::Value::{Object, String as Text};
    let mut params = Vec::new();
    if let Some(cursor) = cursor {
        params.push(("cursor".into(), Text(cursor.into())));
    }
    if let Some(era) = era.filter(|era| !era.has_handshake()) {
        let us = [("name", "intercept-sandbox"), ("version", env!("CARGO_PKG_VERSION"))];
        let us = us.map(|(key, value)| (key.into(), Text(value.into())));
        let meta = vec![
            (methods::PROTOCOL_VERSION.into(), Text(era.as_str().into())),
            (methods::CLIENT_INFO.into(), Object(us.into())),
            (methods::CLIENT_CAPABILITIES.into(), Object(Vec::new())),
        ];
        params.push(("_meta".into(), Object(meta)));
    }
    (!params.is_empty()).then_some(Object(params))
}

/// Appends a notification of our own without parameters, one line without LF.
pub fn own_notification(method: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
    json::write_string(method, out);
    out.push(b'}');
}

/// Appends the cancellation of a request that was sent on under our id `ours`, one line without LF (MCP, "Cancellation").
pub fn own_cancellation(ours: &RequestId, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#);
    ours.write(out);
    out.extend_from_slice(br#","reason":"#);
    json::write_string(reason, out);
    out.extend_from_slice(b"}}");
}

fn open(id: Option<&RequestId>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    match id {
        Some(id) => id.write(out),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jsonrpc::{Message, read_line};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn error_carries_the_exact_id_or_null() {
        let id = RequestId::String("a\"1".to_owned());
        assert_eq!(
            written(|out| error_reply(Some(&id), -32600, "no\n", out)),
            r#"{"jsonrpc":"2.0","id":"a\"1","error":{"code":-32600,"message":"no\n"}}"#
        );
        assert_eq!(
            written(|out| error_reply(None, -32700, "x", out)),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#
        );
    }

    #[test]
    fn denial_is_a_result_in_the_words_of_the_catalogue() {
        let decision =
            DecisionMeta { id: "s/7", rule: Some("t.rules[0]"), code: "rate_limited", retry_after_ms: Some(42_000) };
        let line = written(|out| {
            denied_reply(
                &RequestId::Integer(3),
                Some(Era::V2025_11_25),
                "Rate limit of 10 per 60 s reached. Try again in 42 s.",
                &decision,
                out,
            )
        });
        assert_eq!(
            line,
            r#"{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"[INTERCEPT POLICY DENIED] Rate limit of 10 per 60 s reached. Try again in 42 s."}],"isError":true,"_meta":{"intercept-sandbox/decision":{"id":"s/7","rule":"t.rules[0]","code":"rate_limited","retry_after_ms":42000}}}}"#
        );
        assert!(matches!(read_line(line.as_bytes()).unwrap().message, Message::Response(_)));
    }

    #[test]
    fn a_notification_of_our_own_has_a_method_and_nothing_else() {
        let line = written(|out| own_notification("notifications/tools/list_changed", out));
        assert_eq!(line, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    }

    #[test]
    fn our_own_list_says_who_asks_where_that_is_required() {
        let line = |era, cursor: Option<&str>| {
            let params = list_params(era, cursor.map(str::to_owned));
            written(|out| own_request(&RequestId::Integer(1), "tools/list", params.as_ref(), out))
        };
        assert_eq!(line(Some(Era::V2025_11_25), None), r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        assert!(line(None, Some("n")).ends_with(r#""params":{"cursor":"n"}}"#));
        let new = line(Some(Era::V2026_07_28), Some("n"));
        assert!(
            new.contains(r#""cursor":"n","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#),
            "{new}"
        );
        assert!(new.ends_with(r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#), "{new}");
    }

    #[test]
    fn what_2026_07_28_asks_of_our_answers_is_there() {
        let decision = DecisionMeta { id: "s/7", rule: None, code: "not_listed", retry_after_ms: None };
        let denied = written(|out| denied_reply(&RequestId::Integer(3), Some(Era::V2026_07_28), "no", &decision, out));
        assert!(denied.contains(r#""result":{"resultType":"complete","content":"#), "{denied}");
        let error = written(|out| unsupported_revision(&RequestId::Integer(3), "2027-\"", "no", out));
        assert_eq!(
            error,
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32022,"message":"no","data":{"supported":["2024-11-05","2025-03-26","2025-06-18","2025-11-25","2026-07-28"],"requested":"2027-\""}}}"#
        );
        assert!(read_line(error.as_bytes()).is_ok());
    }

    #[test]
    fn a_cancellation_names_the_request_as_the_other_side_knows_it() {
        let line = written(|out| own_cancellation(&RequestId::Integer(7), "timeout", out));
        let params = r#"{"requestId":7,"reason":"timeout"}"#;
        assert_eq!(line, format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#));
        assert!(matches!(read_line(line.as_bytes()).unwrap().message, Message::Notification(_)));
    }

    #[test]
    fn denial_leaves_out_what_it_does_not_have() {
        let decision = DecisionMeta { id: "s/7", rule: None, code: "not_listed", retry_after_ms: None };
        let line = written(|out| denied_reply(&RequestId::Integer(3), None, "no", &decision, out));
        assert!(
            line.ends_with(r#""_meta":{"intercept-sandbox/decision":{"id":"s/7","code":"not_listed"}}}}"#),
            "{line}"
        );
    }

    #[test]
    fn own_request_reads_as_a_request() {
        let line = written(|out| own_request(&RequestId::Integer(1), "tools/list", None, out));
        assert_eq!(line, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    }
}
