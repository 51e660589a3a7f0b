//! No accepted key is inert: for each, a policy whose normal form differs with and without it.

use super::sandbox;
use super::schema::SECTIONS;
use crate::policy::testing::{errors, loaded};

/// Section, key, policy with `@` where the key goes, the key with its value.
pub(in crate::policy) const KEYS: &[(&str, &str, &str, &str)] = &[
    ("a policy", "version", "{@ tools: {}}", "version: '1',"),
    ("a policy", "name", "{@ tools: {}}", "name: p,"),
    ("a policy", "description", "{@ tools: {}}", "description: d,"),
    ("a policy", "default", "{@ tools: {}}", "default: allow,"),
    ("a policy", "hide", "{@ tools: {}}", "hide: [t],"),
    ("a policy", "tools", "{@ name: p}", "tools: {t: {}},"),
    ("a policy", "methods", "{@ tools: {}}", "methods: {prompts/list: allow},"),
    ("a policy", "limits", "{@ name: p}", "limits: {scope: global},"),
    ("a policy", "sandbox", "{@ name: p}", "sandbox: {},"),
    ("a policy", "audit", "{@ name: p}", "audit: {durability: write},"),
    ("a policy", "server", "{@ name: p}", "server: {command: [node]},"),
    ("a policy", "cli", "{@ name: p}", "cli: {allow: [audit-dir]},"),
    ("limits", "scope", "limits: {@}", "scope: session"),
    ("audit", "durability", "audit: {@}", "durability: write"),
    ("server", "command", "server: {@}", "command: [node]"),
    ("server", "pins", "server: {@}", "pins: session"),
    ("pins", "lock", "server: {pins: {@}}", "lock: tools.lock"),
    ("cli", "allow", "cli: {@}", "allow: [state-dir]"),
    ("a tool", "rules", "tools: {t: {@}}", "rules: [{}]"),
    ("a rule", "name", "tools: {t: {rules: [{@}]}}", "name: n"),
    ("a rule", "action", "tools: {t: {rules: [{@}]}}", "action: deny"),
    ("a rule", "conditions", "tools: {t: {rules: [{@}]}}", "conditions: [{path: args.a, op: exists}]"),
    ("a rule", "rate_limit", "tools: {t: {rules: [{@}]}}", "rate_limit: 1/day"),
    ("a rule", "validate", "tools: {t: {rules: [{@}]}}", "validate: {required_args: true}"),
    ("a rule", "reason", "tools: {t: {rules: [{@}]}}", "reason: r"),
    ("a rule", "on_deny", "tools: {t: {rules: [{@}]}}", "on_deny: r"),
    ("validate", "required_args", "tools: {t: {rules: [{validate: {@}}]}}", "required_args: true"),
    ("validate", "schema", "tools: {t: {rules: [{validate: {@}}]}}", "schema: true"),
    ("validate", "output", "tools: {t: {rules: [{validate: {@}}]}}", "output: true"),
    ("a condition", "path", "tools: {t: {rules: [{conditions: [{op: exists, @}]}]}}", "path: args.a"),
    ("a condition", "op", "tools: {t: {rules: [{conditions: [{path: args.a, @}]}]}}", "op: exists"),
    ("a condition", "value", "tools: {t: {rules: [{conditions: [{path: args.a, op: exists, @}]}]}}", "value: false"),
    (
        "a condition",
        "if_present",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: eq, value: 1, @}]}]}}",
        "if_present: true",
    ),
    ("a policy", "approvals", "{@ name: p}", "approvals: {timeout: 20s},"),
    ("approvals", "timeout", "approvals: {@}", "timeout: 20s"),
    ("approvals", "valid", "approvals: {@}", "valid: 1h"),
    ("a rule", "pace", "tools: {t: {rules: [{@}]}}", "pace: {every: 6s}"),
    (
        "a rule",
        "state",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], @}]}}",
        "state: {counter: c, window: day}",
    ),
    ("pace", "every", "tools: {t: {rules: [{pace: {burst: 2, @}}]}}", "every: 6s"),
    ("pace", "burst", "tools: {t: {rules: [{pace: {every: 6s, @}}]}}", "burst: 3"),
    (
        "state",
        "counter",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {window: hour, @}}]}}",
        "counter: c",
    ),
    (
        "state",
        "window",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, @}}]}}",
        "window: hour",
    ),
    (
        "state",
        "align",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: hour, @}}]}}",
        "align: sliding",
    ),
    (
        "state",
        "increment",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: hour, @}}]}}",
        "increment: 0.5",
    ),
    (
        "state",
        "increment_from",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: hour, @}}]}}",
        "increment_from: args.a",
    ),
    (
        "a condition on a counter",
        "path",
        "tools: {t: {rules: [{conditions: [{op: lt, value: 2, @}], state: {counter: c, window: day}}]}}",
        "path: state.t.c",
    ),
    (
        "a condition on a counter",
        "op",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, value: 2, @}], state: {counter: c, window: day}}]}}",
        "op: lt",
    ),
    (
        "a condition on a counter",
        "value",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, @}], state: {counter: c, window: day}}]}}",
        "value: 2",
    ),
    ("a rate limit", "align", "tools: {t: {rules: [{rate_limit: {max: 1, window: 1h, @}}]}}", "align: calendar"),
    ("a condition", "any", "tools: {t: {rules: [{conditions: [{@}]}]}}", "any: [{path: args.a, op: exists}]"),
    ("a condition", "all", "tools: {t: {rules: [{conditions: [{@}]}]}}", "all: [{path: args.a, op: exists}]"),
    ("a condition", "not", "tools: {t: {rules: [{conditions: [{@}]}]}}", "not: {path: args.a, op: exists}"),
    ("a rate limit", "max", "tools: {t: {rules: [{rate_limit: {window: 60, @}}]}}", "max: 1"),
    ("a rate limit", "window", "tools: {t: {rules: [{rate_limit: {max: 1, @}}]}}", "window: 60"),
    ("sandbox", "network", "sandbox: {@}", "network: {allow: [{host: a.b}]}"),
    ("sandbox", "filesystem", "sandbox: {@}", "filesystem: {read: [/opt/a]}"),
    ("sandbox", "process", "sandbox: {@}", "process: {max: 1}"),
    ("sandbox", "resources", "sandbox: {@}", "resources: {cpu: 0.5}"),
    ("sandbox", "env", "sandbox: {@}", "env: {pass: [A]}"),
    ("sandbox", "require", "sandbox: {@}", "require: [landlock]"),
    ("sandbox.network", "allow", "sandbox: {network: {@}}", "allow: [{host: a.b}]"),
    ("an allowed host", "host", "sandbox: {network: {allow: [{@}]}}", "host: a.b"),
    ("an allowed host", "ports", "sandbox: {network: {allow: [{host: a.b, @}]}}", "ports: [80]"),
    ("an allowed host", "tls", "sandbox: {network: {allow: [{host: a.b, reason: r, @}]}}", "tls: none"),
    ("an allowed host", "reason", "sandbox: {network: {allow: [{host: a.b, tls: none, @}]}}", "reason: r"),
    ("an allowed host", "max_bytes_out", "sandbox: {network: {allow: [{host: a.b, @}]}}", "max_bytes_out: 1M"),
    ("sandbox.filesystem", "read", "sandbox: {filesystem: {@}}", "read: [/opt/a]"),
    ("sandbox.filesystem", "write", "sandbox: {filesystem: {@}}", "write: [/opt/a]"),
    ("a write folder", "path", "sandbox: {filesystem: {write: [{from: /opt/b, @}]}}", "path: /opt/a"),
    ("a write folder", "from", "sandbox: {filesystem: {write: [{path: /opt/b, @}]}}", "from: /opt/a"),
    ("a write folder", "owner", "sandbox: {filesystem: {write: [{path: /opt/b, @}]}}", "owner: ada"),
    ("a write folder", "max", "sandbox: {filesystem: {write: [{path: /opt/b, @}]}}", "max: 1M"),
    ("a write folder", "quota", "sandbox: {filesystem: {write: [{path: /opt/b, max: 1M, @}]}}", "quota: project"),
    ("sandbox.process", "max", "sandbox: {process: {@}}", "max: 2"),
    ("sandbox.process", "exec", "sandbox: {process: {@}}", "exec: [node]"),
    ("sandbox.resources", "memory", "sandbox: {resources: {@}}", "memory: 1M"),
    ("sandbox.resources", "cpu", "sandbox: {resources: {@}}", "cpu: 0.5"),
    ("sandbox.resources", "open_files", "sandbox: {resources: {@}}", "open_files: 64"),
    ("sandbox.resources", "tmp", "sandbox: {resources: {@}}", "tmp: 1M"),
    ("sandbox.resources", "wall", "sandbox: {resources: {@}}", "wall: 60s"),
    ("sandbox.resources", "call_timeout", "sandbox: {resources: {@}}", "call_timeout: 60s"),
    ("sandbox.resources", "client_line", "sandbox: {resources: {@}}", "client_line: 1M"),
    ("sandbox.resources", "server_line", "sandbox: {resources: {@}}", "server_line: 1M"),
    ("sandbox.env", "pass", "sandbox: {env: {@}}", "pass: [A]"),
    ("sandbox.env", "set", "sandbox: {env: {@}}", "set: {A: x}"),
    ("a passed variable", "name", "sandbox: {env: {pass: [{@}]}}", "name: A"),
    ("a passed variable", "optional", "sandbox: {env: {pass: [{name: A, @}]}}", "optional: true"),
];

fn outcome(text: &str) -> String {
    match super::load(&super::Source { path: std::path::Path::new("/p.yaml"), text }) {
        Ok(loaded) => loaded.policy.normalised(),
        Err(errors) => errors.iter().map(|error| error.code).collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn every_accepted_key_changes_the_policy() {
    for (section, key, text, entry) in KEYS {
        let with = text.replace('@', entry);
        let _ = loaded(&with);
        assert_ne!(outcome(&with), outcome(&text.replace('@', "")), "{section}: {key} is inert");
    }
}

/// Section, key, and the policies to compare where leaving the key of [`KEYS`] out does not load, or gives its default.
const OTHERWISE: &[(&str, &str, &str, &str)] = &[
    (
        "a condition",
        "path",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: exists}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.b, op: exists}]}]}}",
    ),
    (
        "a condition",
        "op",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: lt, value: 1}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: gt, value: 1}]}]}}",
    ),
    ("a rate limit", "max", "tools: {t: {rules: [{rate_limit: 1/day}]}}", "tools: {t: {rules: [{rate_limit: 2/day}]}}"),
    (
        "a rate limit",
        "window",
        "tools: {t: {rules: [{rate_limit: {max: 1, window: 1}}]}}",
        "tools: {t: {rules: [{rate_limit: {max: 1, window: 2}}]}}",
    ),
    (
        "a rule",
        "state",
        "tools: {t: {rules: [{}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
    ),
    (
        "state",
        "counter",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.d, op: lt, value: 2}], state: {counter: d, window: day}}]}}",
    ),
    (
        "state",
        "window",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: hour}}]}}",
    ),
    (
        "a condition on a counter",
        "path",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}, {path: state.u.c, op: lt, value: 2}], state: {counter: c, window: day}}]}, u: {rules: [{conditions: [{path: state.u.c, op: lt, value: 9}], state: {counter: c, window: day}}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}, {path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}, u: {rules: [{conditions: [{path: state.u.c, op: lt, value: 9}], state: {counter: c, window: day}}]}}",
    ),
    (
        "a condition on a counter",
        "op",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: gt, value: 2}], state: {counter: c, window: day}}]}}",
    ),
    (
        "a condition on a counter",
        "value",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 3}], state: {counter: c, window: day}}]}}",
    ),
    ("pins", "lock", "server: {pins: {lock: a.lock}}", "server: {pins: {lock: b.lock}}"),
    ("pace", "every", "tools: {t: {rules: [{pace: {every: 6s}}]}}", "tools: {t: {rules: [{pace: {every: 7s}}]}}"),
    (
        "a condition",
        "any",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: exists}]}]}}",
        "tools: {t: {rules: [{conditions: [{any: [{path: args.a, op: exists}]}]}]}}",
    ),
    (
        "a condition",
        "all",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: exists}]}]}}",
        "tools: {t: {rules: [{conditions: [{all: [{path: args.a, op: exists}]}]}]}}",
    ),
    (
        "a condition",
        "not",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: exists}]}]}}",
        "tools: {t: {rules: [{conditions: [{not: {path: args.a, op: exists}}]}]}}",
    ),
    ("sandbox", "resources", "sandbox: {resources: {cpu: 1.0}}", "sandbox: {resources: {cpu: 1.5}}"),
    ("sandbox.network", "allow", "sandbox: {network: {allow: []}}", "sandbox: {network: {allow: [{host: a.b}]}}"),
    (
        "an allowed host",
        "host",
        "sandbox: {network: {allow: [{host: a.b}]}}",
        "sandbox: {network: {allow: [{host: c.d}]}}",
    ),
    (
        "an allowed host",
        "tls",
        "sandbox: {network: {allow: [{host: a.b}]}}",
        "sandbox: {network: {allow: [{host: a.b, tls: none, reason: r}]}}",
    ),
    (
        "an allowed host",
        "reason",
        "sandbox: {network: {allow: [{host: a.b, tls: none, reason: r}]}}",
        "sandbox: {network: {allow: [{host: a.b, tls: none, reason: s}]}}",
    ),
    (
        "a write folder",
        "path",
        "sandbox: {filesystem: {write: [{path: /opt/a, from: /opt/b}]}}",
        "sandbox: {filesystem: {write: [{path: /opt/c, from: /opt/b}]}}",
    ),
    ("a passed variable", "name", "sandbox: {env: {pass: [{name: A}]}}", "sandbox: {env: {pass: [{name: B}]}}"),
];

#[test]
fn every_accepted_key_shows_in_a_diff() {
    let load = |text: &str| super::load(&super::Source { path: std::path::Path::new("/p.yaml"), text });
    for (section, key, text, entry) in KEYS {
        let other = OTHERWISE.iter().find(|(what, named, ..)| what == section && named == key);
        let (with, without) = match other {
            Some((_, _, one, other)) => ((*one).to_owned(), (*other).to_owned()),
            None => (text.replace('@', entry), text.replace('@', "")),
        };
        let policies = (load(&with), load(&without));
        let (Ok(with), Ok(without)) = policies else {
            panic!("{section}: {key} cannot be left out; give two policies to compare in OTHERWISE")
        };
        assert_ne!(without.policy.diff(&with.policy), [], "{section}: {key} does not show when it is added");
        assert_ne!(with.policy.diff(&without.policy), [], "{section}: {key} does not show when it goes");
        assert_eq!(with.policy.diff(&with.policy), [], "{section}: {key} shows when nothing changed");
    }
}

#[test]
fn every_accepted_key_is_in_the_walk_and_every_later_key_is_refused() {
    for section in SECTIONS {
        for key in section.keys {
            // The only value of `capture` is its default; load/tests.rs shows that any other is refused.
            let exempt = (section.what, *key) == ("audit", "capture");
            let walked = KEYS.iter().any(|(what, walked, ..)| what == &section.what && walked == key);
            assert!(walked || exempt, "{}: {key} is accepted and not walked", section.what);
        }
        for key in section.later {
            let template =
                KEYS.iter().find(|(what, ..)| what == &section.what).map(|(_, _, text, entry)| (text, entry));
            let (text, entry) = template.expect("every section has a key");
            let comma = if text.starts_with("{@") { "," } else { "" };
            let entries = format!("{}, {key}: {{}}{comma}", entry.trim_end_matches(','));
            let found = errors(&text.replace('@', &entries));
            assert!(found.iter().any(|error| error.code == "ISB-P030"), "{}: {key} is not refused", section.what);
        }
    }
}

#[test]
fn the_extra_layers_of_require_are_those_of_the_sandbox() {
    let known: Vec<&str> = sandbox::LAYERS.iter().filter_map(|(_, layer)| *layer).collect();
    let layers = crate::sandbox::Layer::ALL.iter().filter(|layer| !layer.is_core()).map(|layer| layer.name());
    assert_eq!(known, layers.collect::<Vec<_>>());
}

#[test]
fn the_reference_names_every_key_operator_and_refusal() {
    let reference = include_str!("../../../../docs/policy.md");
    let named = |word: &str| {
        reference.match_indices(word).any(|(at, _)| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(reference[..at].chars().next_back()) && edge(reference[at + word.len()..].chars().next())
        })
    };
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().chain(section.later)).copied();
    for word in keys.chain(crate::policy::Test::OPERATORS) {
        assert!(named(word), "docs/policy.md does not name {word}");
    }
}

#[test]
fn the_example_of_the_reference_loads() {
    let reference = include_str!("../../../../docs/policy.md");
    let example: Vec<&str> = reference
        .lines()
        .skip_while(|line| !line.starts_with("    name: example"))
        .take_while(|line| line.starts_with("    "))
        .map(|line| &line[4..])
        .collect();
    assert_eq!(loaded(&example.join("\n")).tools["generate_image"].rules.len(), 2);
}
