//! What to write instead, for what people write first.

use super::suggest::nearest;
use super::tools::{RULE, TOOL};

/// The right form of what has the wrong type: the names of sections and lists as messages have them, and an example.
const EXAMPLES: &[(&str, &str)] = &[
    ("hide", "hide: [delete_file]"),
    ("tools", "tools: {read_file: {rules: [{action: require_approval}]}}"),
    ("methods", "methods: {resources/read: allow, 'prompts/*': deny}"),
    ("a tool", "read_file: {rules: [{action: require_approval}]}"),
    ("rules", "rules: [{action: require_approval}]"),
    ("a rule", "rules: [{action: require_approval}]"),
    ("validate", "validate: {required_args: true}"),
    ("conditions", "conditions: [{path: args.count, op: lte, value: 5}]"),
    ("a condition", "{path: args.count, op: lte, value: 5}"),
    ("a rate limit", "rate_limit: {max: 10, window: 1m}"),
    ("pace", "pace: {every: 2s}"),
    ("state", "state: {counter: calls, window: day}"),
    ("limits", "limits: {scope: session}"),
    ("approvals", "approvals: {timeout: 50s}"),
    ("audit", "audit: {durability: strict}"),
    ("server", "server: {command: [node, /opt/server/index.js]}"),
    ("pins", "server: {pins: {lock: tools.lock}}"),
    ("server.pins", "server: {pins: session}"),
    ("server.command", "server: {command: [node, /opt/server/index.js]}"),
    ("cli", "cli: {allow: [observe]}"),
    ("cli.allow", "cli: {allow: [observe]}"),
    ("sandbox", "sandbox: {network: {allow: [{host: api.example.com}]}}"),
    ("sandbox.network", "network: {allow: [{host: api.example.com}]}"),
    ("network.allow", "network: {allow: [{host: api.example.com}]}"),
    ("an allowed host", "{host: api.example.com}"),
    ("sandbox.filesystem", "filesystem: {read: [/opt/server]}"),
    ("filesystem.read", "filesystem: {read: [/opt/server]}"),
    ("filesystem.write", "filesystem: {write: [/srv/images]}"),
    ("a write folder", "{path: /images, from: /srv/images}"),
    ("sandbox.process", "process: {max: 64}"),
    ("process.exec", "process: {exec: [/usr/bin/node]}"),
    ("sandbox.resources", "resources: {memory: 512M, cpu: 1.0}"),
    ("sandbox.env", "env: {pass: [API_KEY]}"),
    ("env.pass", "env: {pass: [API_KEY]}"),
    ("env.set", "env: {set: {LANG: C.UTF-8}}"),
    ("a passed variable", "{name: API_KEY, optional: true}"),
];

/// Names of operators elsewhere, and ours.
const OPERATORS: &[(&str, &str)] = &[
    ("<=", "lte"),
    ("<", "lt"),
    (">", "gt"),
    (">=", "gte"),
    ("=", "eq"),
    ("==", "eq"),
    ("!=", "neq"),
    ("ne", "neq"),
    ("equals", "eq"),
    ("matches", "regex"),
    ("startswith", "starts_with"),
];

/// An example of `what`, where a mapping or a list was expected.
pub(super) fn example(what: &str) -> Option<String> {
    EXAMPLES.iter().find(|(name, _)| *name == what).map(|(_, example)| format!("for example {example}"))
}

/// Where a key that is unknown in `section` belongs.
pub(super) fn belongs(section: &str, key: &str) -> Option<String> {
    (section == TOOL.what && RULE.keys.contains(&key)).then(|| match key {
        "action" => "put it into rules: [{action: ...}]".to_owned(),
        _ => format!("put it into a rule: rules: [{{{key}: ...}}]"),
    })
}

/// Which of `known` was meant by an unknown operator.
pub(super) fn operator(name: &str, known: &[&'static str]) -> String {
    let other = OPERATORS.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, ours)| *ours);
    match other.filter(|ours| known.contains(ours)).or_else(|| nearest(name, known.iter().copied())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::condition::Test;
    use crate::policy::load::schema::SECTIONS;
    use crate::policy::testing::{errors, loaded};

    fn help(text: &str) -> String {
        errors(text)[0].help.clone().unwrap_or_default()
    }

    fn rule(entries: &str) -> String {
        format!("tools: {{t: {{rules: [{{{entries}}}]}}}}")
    }

    #[test]
    fn every_mapping_has_an_example_and_it_loads() {
        // These two stand under keys with words of their own.
        let other = ["a policy", "a condition on a counter"];
        for section in SECTIONS.iter().filter(|section| !other.contains(&section.what)) {
            assert!(example(section.what).is_some(), "{}", section.what);
        }
        for (what, example) in EXAMPLES {
            let text = match *what {
                "a tool" => format!("tools: {{{example}}}"),
                "rules" | "a rule" => format!("tools: {{t: {{{example}}}}}"),
                "validate" | "conditions" | "a rate limit" | "pace" => rule(example),
                "state" => rule(&format!("conditions: [{{path: state.t.calls, op: lte, value: 1}}], {example}")),
                "a condition" => rule(&format!("conditions: [{example}]")),
                "an allowed host" => format!("sandbox: {{network: {{allow: [{example}]}}}}"),
                "a write folder" => format!("sandbox: {{filesystem: {{write: [{example}]}}}}"),
                "a passed variable" => format!("sandbox: {{env: {{pass: [{example}]}}}}"),
                _ if example.starts_with("sandbox:") || !what.contains('.') => (*example).to_owned(),
                "server.command" | "server.pins" | "cli.allow" => (*example).to_owned(),
                _ => format!("sandbox: {{{example}}}"),
            };
            let _ = loaded(&text);
        }
    }

    #[test]
    fn wrong_types_are_answered_with_an_example() {
        assert!(help(&rule("pace: 2s")).contains("pace: {every: 2s}"));
        assert!(help(&rule("validate: required_args")).contains("validate: {required_args: true}"));
        assert!(help("tools: {t: deny}").contains("rules: ["));
        assert!(help("tools: [t]").contains("tools: {read_file: {"));
        let found = errors("tools: {t: deny}");
        assert_eq!(found[0].message, "a tool must be a mapping, not a string");
        let condition =
            |op: &str, value: &str| rule(&format!("conditions: [{{path: args.a, op: {op}, value: {value}}}]"));
        assert_eq!(errors(&condition("in", "a"))[0].message, "`in` needs a list such as [a, b]");
        assert_eq!(errors(&condition("host_in", "a.b"))[0].message, "`host_in` needs a list such as [example.com]");
    }

    #[test]
    fn operators_of_other_languages_lead_to_ours() {
        for (other, ours) in OPERATORS {
            let text = rule(&format!("conditions: [{{path: args.a, op: '{other}', value: 1}}]"));
            assert_eq!(help(&text), format!("did you mean \"{ours}\"?"), "{other}");
            assert!(Test::OPERATORS.contains(ours), "{ours}");
        }
        let counter = |op: &str| {
            let state = "state: {counter: c, window: day}";
            help(&rule(&format!("conditions: [{{path: state.t.c, op: '{op}', value: 1}}], {state}")))
        };
        assert_eq!(counter("<="), "did you mean \"lte\"?");
        assert_eq!(counter("matches"), "one of lt, lte, gt, gte, eq");
    }

    #[test]
    fn keys_of_a_rule_under_a_tool_are_sent_into_one() {
        assert_eq!(help("tools: {t: {action: deny}}"), "put it into rules: [{action: ...}]");
        assert_eq!(help("tools: {t: {rate_limit: 5/hour}}"), "put it into a rule: rules: [{rate_limit: ...}]");
        assert_eq!(help("tools: {t: {rulez: []}}"), "did you mean \"rules\"?");
    }

    #[test]
    fn rates_and_windows_say_how_they_are_written() {
        assert_eq!(help(&rule("rate_limit: 5 / hour")), "write 5/hour");
        assert_eq!(help(&rule("rate_limit: 5/ day")), "write 5/day");
        for (unit, window) in [("minute", "1m"), ("hour", "1h"), ("day", "1d")] {
            let said = help(&rule(&format!("rate_limit: {{max: 5, window: {unit}}}")));
            assert_eq!(said, format!("write {window}, or rate_limit: N/{unit} for the UTC calendar's"));
        }
    }

    #[test]
    fn what_yaml_takes_for_its_own_is_to_be_quoted() {
        let value = r#"conditions: [{path: args.a, op: regex, value: "\w+"}]"#;
        assert!(help(&rule(value)).contains("write it in single quotes"));
        assert!(help(&rule("conditions: [{path: args.items[*].price, op: lte, value: 5}]")).contains("quote the path"));
        assert!(help(&rule("conditions: [{path: args.to[0], op: exists}]")).contains("quote the path"));
        assert!(help(&rule("conditions: [{op: exists, path: args.größe[], value: true}]")).contains("quote the path"));
        assert!(help("tools:\n  *: {rules: []}\n").contains("quote"));
        let _ = loaded(&rule(r"conditions: [{path: 'args.items[*].price', op: regex, value: '\w+'}]"));
    }
}
