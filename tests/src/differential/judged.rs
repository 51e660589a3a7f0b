//! What a server executed against what the audit log says was allowed.

use std::collections::{BTreeMap, HashMap};

use intercept_sandbox::audit::redact::Redactor;
use serde_json::Value;

use super::drive::LIMITED_MAX;
use super::grammar::{N_MAX, NUMBERS, WORD};
use super::leaves::{self, Leaf};
use super::servers::Server;

/// Everything that is wrong with what `server` executed, given the records of its session. Empty when all is well.
///
/// Each execution must have an allowed record of its own, in order, whose tool is the same and whose keyed hashes are those of
/// the very arguments that the server saw; and by its own account no execution may break the policy.
#[must_use]
pub fn findings(server: &Server, executed: &[String], records: &[Value], redactor: &Redactor) -> Vec<String> {
    let hashes: HashMap<String, &str> = NUMBERS
        .into_iter()
        .chain(["0", "1", "2", "42", "7", "99.5", "1e1", "-1", "101", "1000", "1e3"])
        .map(|number| (redactor.hash("number", number), number))
        .collect();
    let is_allowed_call = |record: &&Value| {
        record["type"] == "mcp.request" && record["effect"] == "allowed" && record["mcp"]["tool"].is_string()
    };
    let mut allowed = records.iter().filter(is_allowed_call);
    let mut findings = Vec::new();
    let mut limited = 0;
    for line in executed {
        let Ok(call) = serde_json::from_str::<Value>(line) else {
            findings.push(format!("executed what cannot be written down: {line:.300}"));
            continue;
        };
        let tool = call["tool"].as_str().unwrap_or_default();
        let leaves = leaves::of(&call["arguments"]);
        limited += usize::from(tool == "limited");
        findings.extend(broken(tool, &leaves).map(|what| format!("executed {what}: {line:.300}")));
        let judged = Judged { server, redactor, hashes: &hashes };
        // A finding uses up no record: the next execution is looked for from the same place.
        let rest = allowed.clone();
        if !allowed.by_ref().any(|record| judged.is_this(record, tool, &leaves)) {
            findings.push(format!("executed what no allowed record says: {line:.300}"));
            allowed = rest;
        }
    }
    if limited > LIMITED_MAX {
        findings.push(format!("executed the tool limited {limited} times; {LIMITED_MAX} are allowed"));
    }
    findings
}

/// What the policy of the suite forbids in this call, by the server's own account.
fn broken(tool: &str, leaves: &[Leaf]) -> Option<&'static str> {
    let leaf = |path: &str| leaves.iter().find(|leaf| leaf.path == path);
    let is_over = |leaf: &Leaf| leaf.kind == "number" && !leaf.text.parse().is_ok_and(|n: f64| n <= f64::from(N_MAX));
    if tool == "denied" {
        Some("the denied tool")
    } else if tool == "allowed" && leaf("/n").is_some_and(is_over) {
        Some("more than n allows")
    } else if tool == "allowed" && leaf("/text").is_some_and(|leaf| leaf.text.contains(WORD)) {
        Some("the forbidden word")
    } else {
        None
    }
}

struct Judged<'a> {
    server: &'a Server,
    redactor: &'a Redactor,
    hashes: &'a HashMap<String, &'a str>,
}

impl Judged<'_> {
    /// Whether `record` is of a call of `tool` with exactly these arguments, as far as the server reads them.
    fn is_this(&self, record: &Value, tool: &str, seen: &[Leaf]) -> bool {
        if record["mcp"]["tool"] != tool {
            return false;
        }
        let judged: BTreeMap<&str, &Value> = record["mcp"]["args"]["hmac"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|leaf| Some((leaf["path"].as_str()?, leaf)))
            .filter(|(path, leaf)| self.is_read(path, leaf))
            .collect();
        // No arguments and empty ones are one to a server.
        let seen: Vec<&Leaf> = seen.iter().filter(|leaf| !leaf.path.is_empty()).collect();
        judged.len() == seen.len()
            && seen.iter().all(|leaf| judged.get(&*leaf.path).is_some_and(|judged| self.is_leaf(judged, leaf)))
    }

    /// A server that has fields and no map sees nothing where `null` stands for one.
    fn is_read(&self, path: &str, leaf: &Value) -> bool {
        let (key, has_fields) = (leaves::top(path), !(self.server.reads)("any other key"));
        let is_absent = has_fields && leaf["type"] == "null" && path == format!("/{key}");
        !path.is_empty() && (self.server.reads)(key) && !is_absent
    }

    fn is_leaf(&self, judged: &Value, seen: &Leaf) -> bool {
        let hash = judged["hmac"].as_str().unwrap_or_default();
        judged["type"] == *seen.kind
            && match &*seen.kind {
                "number" => self.hashes.get(hash).is_some_and(|text| leaves::same_number(text, &seen.text)),
                kind => self.redactor.hash(kind, &seen.text) == hash,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::servers::{GO, TS};
    use super::*;

    fn record(redactor: &Redactor, tool: &str, leaves: &[(&str, &str, &str)]) -> Value {
        let hmac: Vec<Value> = leaves
            .iter()
            .map(|(path, kind, text)| json!({"path": path, "type": kind, "hmac": redactor.hash(kind, text)}))
            .collect();
        json!({"type": "mcp.request", "effect": "allowed", "mcp": {"tool": tool, "args": {"hmac": hmac}}})
    }

    fn executed(text: Value) -> String {
        text.to_string()
    }

    #[test]
    fn what_was_judged_has_no_finding_and_anything_else_has() {
        let redactor = Redactor::new(&[7; 32]);
        let two = [
            record(&redactor, "allowed", &[("/tag", "string", "a"), ("/n", "number", "1e2")]),
            record(&redactor, "allowed", &[("/tag", "string", "b"), ("/extra", "number", "1"), ("/n", "null", "null")]),
        ];
        let first = executed(json!({"tool": "allowed", "arguments": {"tag": "string:a", "n": "number:100.0"}}));
        let second =
            executed(json!({"tool": "allowed", "arguments": {"tag": "string:b", "extra": "number:1", "n": "null:"}}));
        let in_go = executed(json!({"tool": "allowed", "arguments": {"tag": "string:b"}}));
        let none: [String; 0] = [];
        assert_eq!(findings(&TS, &[first.clone(), second.clone()], &two, &redactor), none);
        assert_eq!(findings(&GO, &[first.clone(), in_go.clone()], &two, &redactor), none);
        assert_eq!(
            findings(&TS, std::slice::from_ref(&second), &two, &redactor),
            none,
            "a server may refuse what we allow"
        );
        for wrong in [
            vec![second.clone(), first.clone()],
            vec![first.clone(), first.clone()],
            vec![in_go],
            vec![executed(json!({"tool": "limited", "arguments": {"tag": "string:a", "n": "number:100"}}))],
            vec![executed(json!({"tool": "allowed", "arguments": {"tag": "string:a", "n": "number:99"}}))],
            vec![executed(json!({"tool": "allowed", "arguments": {"tag": "string:a", "n": "string:100"}}))],
            vec![executed(json!({"tool": "allowed", "arguments": {"tag": "string:a", "n": "number:Infinity"}}))],
            vec!["{\"tool\":\"allowed\",\"arguments\":{\"tag\":\"string:\\ud800\"}}".to_owned()],
        ] {
            assert!(!findings(&TS, &wrong, &two, &redactor).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn a_record_does_not_excuse_what_the_policy_forbids() {
        let redactor = Redactor::new(&[7; 32]);
        for (tool, leaf) in [
            ("denied", ("/tag", "string", "a")),
            ("allowed", ("/n", "number", "101")),
            ("allowed", ("/text", "string", "forbidden")),
        ] {
            let call = json!({"tool": tool, "arguments": {&leaf.0[1..]: format!("{}:{}", leaf.1, leaf.2)}});
            let records = [record(&redactor, tool, &[leaf])];
            assert_eq!(findings(&TS, &[executed(call)], &records, &redactor).len(), 1, "{tool} {leaf:?}");
        }
    }
}
