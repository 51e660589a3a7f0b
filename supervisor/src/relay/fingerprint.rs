//! What an approval is bound to: one tool as it is pinned, one set of arguments, one policy, in bytes that no other call has.
#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

use crate::weaken;
use crate::wire::json::Value;
use crate::wire::tools::ToolCall;

/// Keeps these hashes apart from all others of the program.
const DOMAIN: &[u8] = b"intercept-sandbox/approval/v1\n";

/// As [`DOMAIN`], for what joins a call and its retry.
const RETRY_DOMAIN: &[u8] = b"intercept-sandbox/retry/v1\n";

/// SHA-256 of a call under a policy. Two calls have the same only if a server could not tell them apart but by the order
/// of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `call` of a tool with the definition `pin`, under the policy whose file has the hash `policy_sha256`.
    pub(super) fn of(call: ToolCall<'_>, pin: Option<&[u8; 32]>, policy_sha256: &str) -> Self {
        let mut bytes = DOMAIN.to_vec();
        field(b'p', policy_sha256.as_bytes(), &mut bytes);
        field(b't', call.name.as_bytes(), &mut bytes);
        if let Some(pin) = pin {
            field(b'i', pin, &mut bytes);
        }
        if weaken::in_force("approval-bound") {
            match call.arguments {
                Some(arguments) => canonical(arguments, &mut bytes),
                // No arguments and an empty object are forwarded differently.
                None => bytes.push(b'-'),
            }
            if let Some(task) = call.task {
                bytes.push(b'j');
                canonical(task, &mut bytes);
            }
            for (tag, value) in [(b'i', call.input_responses), (b'q', call.request_state)] {
                if let Some(value) = value {
                    bytes.push(tag);
                    canonical(value, &mut bytes);
                }
            }
            if call.meta_members().next().is_some() {
                canonical_meta(call, &mut bytes);
            }
        }
        Self(Sha256::digest(&bytes).into())
    }

    /// What a call and its retry have in common: all that a person was shown of it, but for what answers the server.
    pub(super) fn of_retried(call: ToolCall<'_>) -> Self {
        let mut bytes = RETRY_DOMAIN.to_vec();
        field(b't', call.name.as_bytes(), &mut bytes);
        for part in [call.arguments, call.task] {
            match part {
                Some(part) => canonical(part, &mut bytes),
                None => bytes.push(b'-'),
            }
        }
        canonical_meta(call, &mut bytes);
        Self(Sha256::digest(&bytes).into())
    }

    /// The fingerprint of one value.
    pub(super) fn of_value(value: &Value<'_>) -> Self {
        let mut bytes = RETRY_DOMAIN.to_vec();
        canonical(value, &mut bytes);
        Self(Sha256::digest(&bytes).into())
    }

    /// Lower-case hex.
    pub(super) fn hex(self) -> String {
        crate::audit::Hash(self.0).to_string()
    }
}

/// Appends the members of `_meta` that a fingerprint covers, whatever their order.
fn canonical_meta(call: ToolCall<'_>, out: &mut Vec<u8>) {
    let mut meta: Vec<_> = call.meta_members().collect();
    meta.sort_unstable_by_key(|(key, _)| key.as_bytes());
    head(b'm', meta.len(), out);
    for (key, value) in meta {
        field(b'k', key.as_bytes(), out);
        canonical(value, out);
    }
}

/// Appends bytes that no other value has, but for the order of an object's keys: each part is a tag, a length and, of
/// that length, what it holds. Numbers are their text: `1` and `1.0` are two calls.
fn canonical(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Number(number) => field(b'd', number.text().as_bytes(), out),
        Value::String(text) => field(b's', text.as_bytes(), out),
        Value::Array(items) => {
            head(b'a', items.len(), out);
            items.iter().for_each(|item| canonical(item, out));
        }
        Value::Object(members) => {
            head(b'o', members.len(), out);
            let mut sorted: Vec<_> = members.iter().collect();
            // Keys are unique: the parser saw to it.
            sorted.sort_unstable_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
            for (key, value) in sorted {
                field(b'k', key.as_bytes(), out);
                canonical(value, out);
            }
        }
    }
}

fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    head(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn head(tag: u8, length: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::{parse, write};

    fn bytes(value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        canonical(value, &mut out);
        out
    }

    fn print(tool: &str, arguments: &str, policy: &str) -> Fingerprint {
        let value = parse(arguments.as_bytes()).unwrap();
        Fingerprint::of(ToolCall::plain(tool, Some(&value)), None, policy)
    }

    #[test]
    fn a_fingerprint_covers_tool_arguments_and_policy() {
        let one = print("pay", r#"{"to":"a","sum":1}"#, "p");
        assert_eq!(one, print("pay", r#"{"sum":1,"to":"a"}"#, "p"), "the order of keys is no difference");
        let others = [
            print("pay", r#"{"to":"a","sum":2}"#, "p"),
            print("pay", r#"{"to":"a","sum":1.0}"#, "p"),
            print("pay", r#"{"to":"a","sum":"1"}"#, "p"),
            print("pay", r#"{"to":"a","sum":[1]}"#, "p"),
            print("pay", r#"{"to":"a","sum":1,"x":null}"#, "p"),
            print("Pay", r#"{"to":"a","sum":1}"#, "p"),
            print("pay", r#"{"to":"a","sum":1}"#, "q"),
        ];
        assert!(others.iter().all(|other| *other != one));
        let none = Fingerprint::of(ToolCall::plain("pay", None), None, "p");
        assert_ne!(none, print("pay", "{}", "p"));
    }

    #[test]
    fn a_fingerprint_covers_the_definition_of_the_tool() {
        let of = |pin: Option<[u8; 32]>| Fingerprint::of(ToolCall::plain("pay", None), pin.as_ref(), "p");
        let all = [of(None), of(Some([1; 32])), of(Some([2; 32]))];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
    }

    #[test]
    fn a_fingerprint_covers_task_and_meta_but_no_progress_token() {
        let of = |text: &str| {
            let params = parse(text.as_bytes()).unwrap();
            Fingerprint::of(ToolCall::of(Some(&params)).unwrap(), None, "p")
        };
        let plain = of(r#"{"name":"pay","arguments":{}}"#);
        assert_eq!(of(r#"{"name":"pay","arguments":{},"_meta":{"progressToken":7}}"#), plain);
        let others = [
            of(r#"{"name":"pay","arguments":{},"_meta":{"to":1}}"#),
            of(r#"{"name":"pay","arguments":{},"task":{"to":1}}"#),
            of(r#"{"name":"pay","arguments":{},"_meta":{"to":2}}"#),
            of(r#"{"name":"pay","arguments":{},"task":{}}"#),
            plain,
        ];
        assert!((1..others.len()).all(|at| !others[..at].contains(&others[at])), "all differ");
    }

    #[test]
    fn a_fingerprint_covers_what_answers_an_input_required_result() {
        let of = |rest: &str| {
            let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
            let text = format!(r#"{{"name":"pay",{meta}{rest}}}"#);
            let params = parse(text.as_bytes()).unwrap();
            Fingerprint::of(ToolCall::of(Some(&params)).unwrap(), None, "p")
        };
        let all = [
            of(""),
            of(r#","requestState":"a""#),
            of(r#","requestState":"b""#),
            of(r#","inputResponses":{}"#),
            of(r#","inputResponses":{"a":{"action":"accept"}}"#),
            of(r#","inputResponses":{"a":{"action":"accept"}},"requestState":"a""#),
        ];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "all differ");
    }

    #[test]
    fn parts_cannot_slide_into_each_other() {
        let pairs = [
            (r#"["a","b"]"#, r#"["ab"]"#),
            (r#"["a",["b"]]"#, r#"[["a"],"b"]"#),
            (r#"[[],[]]"#, r#"[[[]]]"#),
            (r#"{"a":"b"}"#, r#"["a","b"]"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{},"b":1}"#),
            (r#"{"ab":"c"}"#, r#"{"a":"bc"}"#),
            (r#"[null]"#, r#"["n"]"#),
            (r#"[12]"#, r#"[1,2]"#),
        ];
        for (left, right) in pairs {
            assert_ne!(bytes(&parse(left.as_bytes()).unwrap()), bytes(&parse(right.as_bytes()).unwrap()), "{left}");
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-3i64..30).prop_map(Into::into),
            "[a-c\"{}:,]{0,3}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::btree_map("[a-c]{0,2}", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same value with the keys of every object the other way round.
    fn reversed(value: Value<'_>) -> Value<'_> {
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(reversed).collect()),
            Value::Object(members) => {
                Value::Object(members.into_iter().rev().map(|(key, value)| (key, reversed(value))).collect())
            }
            leaf => leaf,
        }
    }

    proptest! {
        #[test]
        fn distinct_values_have_distinct_bytes_and_key_order_is_none(left in values(), right in values()) {
            let (left_text, right_text) = (left.to_string(), right.to_string());
            let one = parse(left_text.as_bytes()).unwrap();
            let two = parse(right_text.as_bytes()).unwrap();
            // serde_json keeps objects sorted, so equal values have equal texts.
            prop_assert_eq!(bytes(&one) == bytes(&two), left_text == right_text);
            let turned = reversed(one.clone());
            prop_assert_eq!(bytes(&turned), bytes(&one));
            let mut text = Vec::new();
            write(&turned, &mut text);
            prop_assert_eq!(bytes(&parse(&text).unwrap()), bytes(&one), "what is forwarded has the same fingerprint");
        }
    }
}
