//! What stands behind each key. Keys that the loader refuses so far may have their entry already: it is used once the loader's
//! own table lists them.

use serde_json::{Value, json};

use super::kinds::{described, kind, list, whole, word};
use super::reference;
use crate::bounds::{
    METHOD_BYTES_MAX, POLICY_METHODS_MAX, POLICY_NAME_BYTES_MAX, POLICY_PROGRAMS_MAX, TOOL_NAME_BYTES_MAX,
    WINDOW_CALLS_MAX,
};
use crate::policy::condition::Test;
use crate::policy::load::{conditions, hosts, limits, sandbox, server, tools, top};

/// The schema of `key` in the mapping `what`.
pub(super) fn of(what: &str, key: &str) -> Option<Value> {
    match what {
        "a policy" => policy(key),
        "limits" | "audit" | "server" | "pins" | "cli" | "approvals" => section_of_the_top(what, key),
        "a tool" | "a rule" | "validate" => rule(key),
        "a condition" => condition(key),
        "a rate limit" => rate_limit(key),
        "state" | "pace" | "a condition on a counter" => counted(what, key),
        "an allowed host" | "sandbox.network" => network(key),
        _ => sandbox(what, key),
    }
}

fn mapping(what: &str) -> Value {
    json!({"$ref": reference(what)})
}

fn policy(key: &str) -> Option<Value> {
    let name = json!({"type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "maxLength": POLICY_NAME_BYTES_MAX});
    let tool_name = json!({"minLength": 1, "maxLength": TOOL_NAME_BYTES_MAX,
        "pattern": "^(\\*|[^*\\u0000-\\u001f\\u007f-\\u009f]+)$"});
    let tools = json!({"type": ["object", "null"], "propertyNames": tool_name,
        "additionalProperties": {"anyOf": [mapping(tools::TOOL.what), {"type": "null"}]}});
    let hide = json!({"type": ["array", "null"], "items": kind("text")});
    Some(match key {
        "version" => described("The language's version: \"1\".", json!({"enum": ["1", 1]})),
        "name" => described("Names the counters and the installed file.", name),
        "description" => described("For people.", kind("text")),
        "default" => described("What happens to a tool that `tools` does not name.", word(top::EFFECTS)),
        "hide" => described("Tools that are left out of tools/list and refused as unknown.", hide),
        "tools" => described("Rules by tool; \"*\" holds for every listed tool besides.", tools),
        "methods" => {
            let key = json!({"maxLength": METHOD_BYTES_MAX, "pattern": "^(\\*|[!-)+-~]+(/\\*)?)$"});
            let names = json!({"type": ["object", "null"], "propertyNames": key, "additionalProperties": word(top::EFFECTS),
                "maxProperties": POLICY_METHODS_MAX});
            described("Methods besides tools/call, by name or \"prefix/*\"; \"*\" for all others that MCP has.", names)
        }
        "limits" => mapping(top::LIMITS.what),
        "sandbox" => {
            described("What the server gets; absent, no network and no writes.", mapping(sandbox::SANDBOX.what))
        }
        "audit" => mapping(top::AUDIT.what),
        "server" => mapping(server::SERVER.what),
        "cli" => mapping(top::CLI.what),
        "approvals" => mapping("approvals"),
        _ => return None,
    })
}

fn section_of_the_top(what: &str, key: &str) -> Option<Value> {
    Some(match (what, key) {
        ("limits", "scope") => described("Where counters are kept apart.", word(top::SCOPES)),
        ("approvals", "timeout") => described("How long a call waits for a person.", kind("seconds")),
        ("approvals", "valid") => described("How long an approval holds.", kind("seconds")),
        ("audit", "durability") => {
            described("strict: on disk before each effect; write: handed to the kernel.", word(top::DURABILITY))
        }
        ("audit", "capture") => described("How arguments stand in the log.", json!({"enum": ["hmac"]})),
        ("server", "command") => {
            let words = json!({"type": "array", "items": kind("text"), "minItems": 1});
            described("The only command that this policy starts.", words)
        }
        ("server", "pins") => {
            let forms = json!({"anyOf": [word(server::WORDS), mapping(server::PINS.what)]});
            described("Which definitions of its tools are taken: those first seen, or those of a lock file.", forms)
        }
        ("pins", "lock") => {
            let file = json!({"type": "string", "pattern": "^(/.*|[^/]+)$"});
            described("The lock file: a name beside the policy, or an absolute path.", file)
        }
        ("cli", "allow") => {
            described("Loosening flags that a caller who is not real root may use.", list(&word(top::FLAGS)))
        }
        _ => return None,
    })
}

fn rule(key: &str) -> Option<Value> {
    let units: Vec<&str> = limits::UNITS.iter().map(|(unit, _)| *unit).collect();
    let calendar = json!({"type": "string", "pattern": format!("^(0|[1-9][0-9]*)/({})$", units.join("|"))});
    let name = json!({"type": ["string", "number", "boolean"], "minLength": 1, "maxLength": POLICY_NAME_BYTES_MAX});
    Some(match key {
        "rules" => json!({"type": ["array", "null"], "items": mapping(tools::RULE.what)}),
        "name" => described("Names the rule in records and counters.", name),
        "action" => described("allow and evaluate pass on; deny refuses every call.", word(tools::ACTIONS)),
        "conditions" => described("All must hold of the arguments.", list(&mapping(conditions::CONDITION.what))),
        "rate_limit" => {
            let forms = json!({"anyOf": [calendar, mapping(limits::RATE_LIMIT.what)]});
            described("10/minute of the UTC calendar, or {max: 10, window: 60} for any 60 seconds.", forms)
        }
        "validate" => mapping(tools::VALIDATE.what),
        "reason" | "on_deny" => described("The message that the agent reads on a denial by this rule.", kind("reason")),
        "required_args" => {
            described("What the tool's inputSchema requires must be there and not null.", json!({"type": "boolean"}))
        }
        "schema" => described("The arguments must fit the tool's inputSchema.", json!({"type": "boolean"})),
        "output" => {
            described("The result's structuredContent must fit the tool's outputSchema.", json!({"type": "boolean"}))
        }
        "pace" => described("One call every so often; a burst may come at once.", mapping("pace")),
        "state" => described("A counter that each allowed call adds to.", mapping("state")),
        _ => return None,
    })
}

/// Counters, and what is paced.
fn counted(what: &str, key: &str) -> Option<Value> {
    let units: Vec<&str> = limits::UNITS.iter().map(|(unit, _)| *unit).collect();
    let bounds = ["lt", "lte", "gt", "gte", "eq"];
    Some(match (what, key) {
        ("state", "counter") => described("Conditions read it as state.TOOL.COUNTER.", kind("text")),
        ("state", "window") => {
            let forms = json!({"anyOf": [{"enum": units}, kind("seconds")]});
            described("minute, hour or day of the UTC calendar, or a sliding time such as 60s.", forms)
        }
        ("state", "align") => json!({"enum": ["calendar", "sliding"]}),
        ("state", "increment") => described("What each call adds; absent, 1.", json!({"type": "number"})),
        ("state", "increment_from") => described("The argument that says what a call adds.", json!({"type": "string"})),
        ("pace", "every") => described("Time between two calls: 6s.", kind("pause")),
        ("pace", "burst") => {
            described("Calls that may come at once; absent, 1.", json!({"type": "integer", "minimum": 1}))
        }
        ("a condition on a counter", "path") => described("state.TOOL.COUNTER", json!({"type": "string"})),
        ("a condition on a counter", "op") => json!({"enum": bounds}),
        ("a condition on a counter", "value") => json!({"type": "number"}),
        _ => return None,
    })
}

fn condition(key: &str) -> Option<Value> {
    let itself = mapping(conditions::CONDITION.what);
    let some = json!({"type": "array", "items": itself, "minItems": 1});
    Some(match key {
        "path" => described("args.NAME, or args.NAME.KEY for a value inside.", json!({"type": "string"})),
        "op" => json!({"enum": Test::OPERATORS}),
        "value" => kind("literal"),
        "if_present" => described("An absent path passes.", json!({"type": "boolean"})),
        "any" => described("One of these holds.", some),
        "all" => described("Each of these holds.", some),
        "not" => described("This can be judged and does not hold.", itself),
        _ => return None,
    })
}

/// What `value` must be for an operator.
pub(super) fn operand(operator: &str) -> Option<Value> {
    let text = || json!({"type": "string"});
    Some(match operator {
        "eq" | "neq" | "contains" | "not_contains" => kind("literal"),
        "in" | "not_in" => json!({"type": "array", "items": kind("literal"), "minItems": 1}),
        "lt" | "lte" | "gt" | "gte" => json!({"type": "number"}),
        "regex" | "not_regex" | "starts_with" => text(),
        "exists" => json!({"type": "boolean"}),
        "under_path" => kind("path"),
        "length_lte" => json!({"type": "integer", "minimum": 0}),
        "host_in" => json!({"type": "array", "items": text(), "minItems": 1}),
        _ => return None,
    })
}

fn rate_limit(key: &str) -> Option<Value> {
    Some(match key {
        "max" => described("Calls.", whole(0, WINDOW_CALLS_MAX)),
        "window" => described("Seconds, or 60s, 5m, 1h, 1d.", kind("seconds")),
        "align" => json!({"enum": ["calendar", "sliding"]}),
        _ => return None,
    })
}

fn network(key: &str) -> Option<Value> {
    let name = json!({"type": "string", "pattern": "^[a-z0-9_][a-z0-9._-]*$", "maxLength": 253});
    let ports = json!({"type": "array", "items": whole(1, 65_535), "minItems": 1, "uniqueItems": true});
    Some(match key {
        "allow" => described("The hosts that the server reaches; no other.", list(&mapping(hosts::HOST.what))),
        "host" => described("One exact DNS name in lower case.", name),
        "ports" => described("Absent, 443.", ports),
        "tls" => {
            described("passthrough: the TLS name must be the host's; none: plain TCP, with a reason.", word(hosts::TLS))
        }
        "reason" => described("Why plain TCP is fine here.", kind("reason")),
        "max_bytes_out" => described("Most bytes to this host in one session.", kind("bytes")),
        _ => return None,
    })
}

fn sandbox(what: &str, key: &str) -> Option<Value> {
    let or_mapping = |kind: Value, what: &str| list(&json!({"anyOf": [kind, mapping(what)]}));
    let layers: Vec<&str> = sandbox::LAYERS.iter().map(|(word, _)| *word).collect();
    Some(match (what, key) {
        ("sandbox", "network") => described("Absent, no network at all.", mapping(hosts::NETWORK.what)),
        ("sandbox", "filesystem") => mapping(sandbox::FILESYSTEM.what),
        ("sandbox", "process") => mapping(sandbox::PROCESS.what),
        ("sandbox", "resources") => mapping(sandbox::RESOURCES.what),
        ("sandbox", "env") => mapping(sandbox::ENV.what),
        ("sandbox", "require") => json!({"type": "array", "items": {"enum": layers}}),
        ("sandbox.filesystem", "read") => described("Shown read-only under the same path.", list(&kind("path"))),
        ("sandbox.filesystem", "write") => {
            described("Folders that the server may write.", or_mapping(kind("path"), sandbox::WRITE.what))
        }
        ("a write folder", "path") => described("Its path inside.", kind("path")),
        ("a write folder", "from") => described("The folder on the host; absent, the same path.", kind("path")),
        ("a write folder", "owner") => described("Who owns what is written; never root.", kind("text")),
        ("a write folder", "max") => described("Most bytes that it may hold.", kind("bytes")),
        ("a write folder", "quota") => {
            described("What holds it to its max; absent, we count.", json!({"const": "project"}))
        }
        ("sandbox.process", "exec") => described(
            "Programs that the server may execute besides its command; absent, all that it sees.",
            json!({"type": "array", "items": {"type": "string"}, "maxItems": POLICY_PROGRAMS_MAX, "uniqueItems": true}),
        ),
        ("sandbox.process", "max") => described("Processes and threads.", whole(1, 32_768)),
        ("sandbox.resources", "memory" | "tmp") => kind("bytes"),
        ("sandbox.resources", "cpu") => described("Cores, such as 1.0 or 0.25.", json!({"type": "number"})),
        ("sandbox.resources", "open_files") => whole(16, 1 << 20),
        ("sandbox.resources", "call_timeout") => {
            described("Longest wait for the answer to one call; 0 is no limit.", kind("seconds"))
        }
        ("sandbox.resources", "client_line" | "server_line") => {
            described("Longest line that is read from it.", kind("bytes"))
        }
        ("sandbox.resources", "wall") => described("Longest run; 0 is no limit.", kind("seconds")),
        ("sandbox.env", "pass") => {
            described("Variables of the caller.", or_mapping(kind("variable"), sandbox::ENV_PASS.what))
        }
        ("sandbox.env", "set") => json!({"type": "object", "propertyNames": kind("variable"),
            "additionalProperties": kind("text")}),
        ("a passed variable", "name") => kind("variable"),
        ("a passed variable", "optional") => described("May be unset.", json!({"type": "boolean"})),
        _ => return None,
    })
}
