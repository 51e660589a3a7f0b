//! Each kind of change, the way it goes and its words.

use super::*;
use crate::policy::testing::loaded;

/// The lines of a change.
fn lines(old: &str, new: &str) -> Vec<String> {
    loaded(old).diff(&loaded(new)).iter().map(ToString::to_string).collect()
}

/// Asserts one change, and the opposite one the other way round.
fn there_and_back(old: &str, new: &str, there: &str, back: &str) {
    assert_eq!(lines(old, new), [there], "{old}\n{new}");
    assert_eq!(lines(new, old), [back], "{new}\n{old}");
}

fn ruled(rule: &str) -> String {
    format!("tools: {{t: {{rules: [{{{rule}}}]}}}}")
}

fn condition(condition: &str) -> String {
    ruled(&format!("conditions: [{{path: args.a, {condition}}}]"))
}

#[test]
fn tools_and_defaults() {
    there_and_back(
        "tools: {t: {}}",
        "tools: {t: {}, u: {rules: [{}]}}",
        "opens: u may be called, under 1 rule",
        "closes: u is not listed and is refused",
    );
    there_and_back(
        "tools: {t: {}}",
        "tools: {t: {}, u: {rules: [{action: deny}]}}",
        "changes: u is listed, and every call of it is refused",
        "changes: u is not listed; every call of it was refused before",
    );
    there_and_back(
        "tools: {t: {}}",
        "{hide: [t], tools: {t: {}}}",
        "closes: t is hidden",
        "opens: t may be called, freely",
    );
    there_and_back(
        "tools: {}",
        "hide: [t]",
        "changes: t is hidden; it was refused as not listed",
        "changes: t is refused as not listed; it was hidden",
    );
    there_and_back(
        "default: deny",
        "{default: allow, methods: {'*': deny}}",
        "opens: tools that the policy does not name may be called",
        "closes: tools that the policy does not name are refused",
    );
    assert_eq!(
        lines("{default: allow, hide: [t]}", "{default: allow, hide: ['*']}"),
        ["closes: tools that the policy does not name are hidden"]
    );
    // Listing a tool that passes anyway opens nothing.
    assert_eq!(lines("default: allow", "{default: allow, tools: {t: {}}}"), [""; 0]);
    assert_eq!(
        lines("default: allow", "{default: allow, tools: {t: {rules: [{action: deny}]}}}"),
        ["closes: t.rules[0] is new: every call is refused"]
    );
}

#[test]
fn rules_come_and_go() {
    let rate = "tools: {t: {rules: [{name: r, rate_limit: 1/day}]}}";
    there_and_back(
        "tools: {t: {}}",
        rate,
        "closes: t.r is new: at most 1 a UTC day",
        "opens: t.r is gone: at most 1 a UTC day",
    );
    there_and_back(
        "tools: {t: {}}",
        &ruled(""),
        "changes: t.rules[0] is new: it asks nothing",
        "changes: t.rules[0] is gone: it asks nothing",
    );
    there_and_back(
        &ruled("action: allow"),
        &ruled("action: deny"),
        "closes: t.rules[0]: every call is refused",
        "opens: t.rules[0]: calls pass by themselves (it asks nothing)",
    );
    there_and_back(
        &ruled(""),
        &ruled("validate: {required_args: true}"),
        "closes: t.rules[0]: the arguments that the tool's schema requires must be given",
        "opens: t.rules[0]: the arguments that the tool's schema requires need not be given",
    );
    there_and_back(
        &ruled("action: deny, reason: a"),
        &ruled("action: deny, reason: b"),
        "changes: t.rules[0]: the agent reads another message",
        "changes: t.rules[0]: the agent reads another message",
    );
    // A deny rule has no checks, so what stands beside the new action closes nothing.
    assert_eq!(
        lines(&ruled("action: deny"), &condition("op: lte, value: 5")),
        ["opens: t.rules[0]: calls pass by themselves (args.a must be at most 5)"]
    );
}

#[test]
fn a_rule_that_moved_or_was_renamed_is_the_same_rule_with_another_count() {
    let moved = lines(
        "tools: {t: {rules: [{rate_limit: 1/day}]}}",
        "tools: {t: {rules: [{action: deny}, {rate_limit: 1/day}]}}",
    );
    assert_eq!(
        moved,
        [
            "opens: t.rules[0] is called t.rules[1] now: its count starts anew",
            "closes: t.rules[0] is new: every call is refused",
        ]
    );
    assert_eq!(
        lines(
            "tools: {t: {rules: [{name: a, conditions: [{path: args.a, op: exists}]}]}}",
            "tools: {t: {rules: [{name: b, conditions: [{path: args.a, op: exists}]}]}}"
        ),
        ["changes: t.a is called t.b now"]
    );
    assert_eq!(
        lines(
            "tools: {t: {rules: [{name: a, action: deny}, {name: b, rate_limit: 1/day}]}}",
            "tools: {t: {rules: [{name: b, rate_limit: 1/day}, {name: a, action: deny}]}}"
        ),
        ["changes: the rules of t stand in another order: the first that fails words the refusal"]
    );
}

#[test]
fn rules_that_no_call_reaches_open_and_close_nothing() {
    let hidden = |limit: u32| format!("{{hide: [t], tools: {{t: {{rules: [{{rate_limit: {limit}/day}}]}}}}}}");
    assert_eq!(lines(&hidden(1), &hidden(2)), ["changes: t.rules[0]: at most 2 a UTC day, was 1 a UTC day"]);
    let starred = |limit: u32| format!("tools: {{'*': {{rules: [{{rate_limit: {limit}/day}}]}}}}");
    assert_eq!(lines(&starred(1), &starred(2)), ["changes: *.rules[0]: at most 2 a UTC day, was 1 a UTC day"]);
    let reached = |limit: u32| format!("tools: {{u: {{}}, '*': {{rules: [{{rate_limit: {limit}/day}}]}}}}");
    assert_eq!(lines(&reached(1), &reached(2)), ["opens: *.rules[0]: at most 2 a UTC day, was 1 a UTC day"]);
}

#[test]
fn conditions_are_compared_by_what_they_let_pass() {
    let opens: &[(&str, &str)] = &[
        ("op: lte, value: 5", "op: lte, value: 6"),
        ("op: lt, value: 5", "op: lte, value: 5.0"),
        ("op: gte, value: 5", "op: gte, value: 4.99"),
        ("op: gt, value: 5", "op: gte, value: 5"),
        ("op: eq, value: a", "op: in, value: [b, a]"),
        ("op: in, value: [a]", "op: in, value: [a, b]"),
        ("op: not_in, value: [a, b]", "op: not_in, value: [a]"),
        ("op: not_in, value: [a, b]", "op: neq, value: a"),
        ("op: length_lte, value: 5", "op: length_lte, value: 6"),
        ("op: under_path, value: /a/b", "op: under_path, value: /a"),
        ("op: lte, value: 5", "op: lte, value: 5, if_present: true"),
        ("op: lte, value: 5", "op: lte, value: 9, if_present: true"),
    ];
    for (old, new) in opens {
        let way = |old: &str, new: &str| {
            let changes = loaded(&condition(old)).diff(&loaded(&condition(new)));
            assert_eq!(changes.len(), 1, "{old} {new}: {changes:?}");
            changes[0].way
        };
        assert_eq!(way(old, new), Way::Opens, "{old} -> {new}");
        assert_eq!(way(new, old), Way::Closes, "{new} -> {old}");
    }
    let changes: &[(&str, &str)] = &[
        ("op: in, value: [a, b]", "op: in, value: [b, c]"),
        ("op: regex, value: a", "op: regex, value: b"),
        ("op: not_in, value: [a]", "op: not_in, value: [1]"),
        ("op: not_in, value: [a, 1]", "op: not_in, value: [a]"),
        ("op: not_in, value: [[a]]", "op: not_in, value: [[a], [b]]"),
        ("op: not_in, value: [[a]]", "op: not_in, value: [[a], [[b]]]"),
        ("op: neq, value: [a]", "op: not_in, value: [[a], [1]]"),
        ("op: under_path, value: /a", "op: under_path, value: /ab"),
        ("op: lte, value: 5", "op: lte, value: 4, if_present: true"),
        ("op: exists", "op: exists, value: false"),
    ];
    for (old, new) in changes {
        let found = loaded(&condition(old)).diff(&loaded(&condition(new)));
        let ways: Vec<_> = found.iter().map(|change| change.way).collect();
        assert_eq!(ways, [Way::Changes], "{old} -> {new}: {found:?}");
    }
    there_and_back(
        &condition("op: lte, value: 5"),
        &condition("op: lte, value: 6, if_present: true"),
        "opens: t.rules[0]: args.a must be at most 6, if present; was: args.a must be at most 5",
        "closes: t.rules[0]: args.a must be at most 5; was: args.a must be at most 6, if present",
    );
}

#[test]
fn a_long_pattern_that_differs_at_its_end_shows() {
    let pattern = |end: &str| condition(&format!("op: regex, value: '{}{end}'", "a".repeat(400)));
    assert_eq!(loaded(&pattern("b")).diff(&loaded(&pattern("c"))).len(), 1);
}

#[test]
fn one_bound_that_moves_leaves_the_other_unsaid() {
    let size = |low: u32, high: u32| {
        ruled(&format!(
            "conditions: [{{path: args.w, op: gte, value: {low}}}, {{path: args.w, op: lte, value: {high}}}]"
        ))
    };
    assert_eq!(
        lines(&size(128, 2048), &size(64, 1024)),
        [
            "opens: t.rules[0]: args.w must be at least 64; was: args.w must be at least 128",
            "closes: t.rules[0]: args.w must be at most 1024; was: args.w must be at most 2048",
        ]
    );
}

#[test]
fn limits_that_cannot_be_ordered_change() {
    let limit = |limit: &str| ruled(&format!("rate_limit: {limit}"));
    there_and_back(
        &limit("{max: 10, window: 60}"),
        &limit("{max: 20, window: 60}"),
        "opens: t.rules[0]: at most 20 in any 60 s, was 10 in any 60 s",
        "closes: t.rules[0]: at most 10 in any 60 s, was 20 in any 60 s",
    );
    assert_eq!(
        lines(&limit("{max: 10, window: 60}"), &limit("{max: 100, window: 3600}")),
        ["changes: t.rules[0]: at most 100 in any 60 min, was 10 in any 60 s"]
    );
    assert_eq!(
        lines(&limit("10/minute"), &limit("{max: 10, window: 60}")),
        ["closes: t.rules[0]: at most 10 in any 60 s, was 10 a UTC minute"]
    );
    assert_eq!(
        lines(&limit("10/day"), &limit("{max: 10, window: 1d}")),
        ["closes: t.rules[0]: at most 10 in any 24 h, was 10 a UTC day"]
    );
    let spent = |window: &str| {
        ruled(&format!(
            "state: {{counter: spent, window: {window}}}, conditions: [{{path: state.t.spent, op: lte, value: 9}}]"
        ))
    };
    assert_eq!(
        lines(&spent("1d"), &spent("7d")),
        [
            "changes: t.rules[0]: adds 1 to the counter spent in any 7 days, was: adds 1 to the counter spent in any 24 h",
            "changes: t.rules[0]: state.t.spent must be at most 9 in any 7 days, was at most 9 in any 24 h",
        ]
    );
}

#[test]
fn the_sandbox() {
    let net = |hosts: &str| format!("sandbox: {{network: {{allow: [{hosts}]}}}}");
    there_and_back(
        &net(""),
        &net("{host: a.b, tls: none, reason: r}"),
        "opens: the server may reach a.b, ports 443, plain TCP",
        "closes: the server may no longer reach a.b",
    );
    there_and_back(
        &net("{host: a.b, ports: [443]}"),
        &net("{host: a.b, ports: [443, 80]}"),
        "opens: a.b: ports 80",
        "closes: a.b: no longer ports 80",
    );
    there_and_back(
        &net("{host: a.b, max_bytes_out: 1K}"),
        &net("{host: a.b}"),
        "opens: a.b: bytes out in a session: without bound, was at most 1024",
        "closes: a.b: bytes out in a session: at most 1024, was without bound",
    );
    let files = |files: &str| format!("sandbox: {{filesystem: {{{files}}}}}");
    there_and_back(
        &files(""),
        &files("read: [/opt/a]"),
        "opens: /opt/a may be read",
        "closes: /opt/a is not seen any more",
    );
    assert_eq!(
        lines(&files("read: [/opt/a]"), &files("read: [/opt/a, /opt/a/b]")),
        ["changes: /opt/a/b is named to be read; it was shown before"]
    );
    assert_eq!(
        lines(&files("write: [/srv/a/b]"), &files("write: [/srv/a]")),
        ["opens: /srv/a may be written", "changes: /srv/a/b is not named to be written; it is all the same"]
    );
    assert_eq!(
        lines(&files("write: [/srv/a]"), &files("read: [/srv/a]")),
        ["closes: /srv/a may not be written any more", "changes: /srv/a is named to be read; it was shown before",]
    );
    there_and_back(
        "sandbox: {resources: {memory: 512M}}",
        "sandbox: {resources: {memory: 1G}}",
        "opens: memory: 1G, was 512M",
        "closes: memory: 512M, was 1G",
    );
    assert_eq!(lines("sandbox: {}", "sandbox: {resources: {memory: 512M, cpu: 1}, process: {max: 64}}"), [""; 0]);
    there_and_back(
        "sandbox: {}",
        "sandbox: {resources: {wall: 1h}}",
        "closes: seconds that a session lives: at most 3600, was without bound",
        "opens: seconds that a session lives: without bound, was at most 3600",
    );
}

#[test]
fn one_policy_in_two_dialects_is_no_difference() {
    let intercept = r#"
version: "1"
default: deny
tools:
  t:
    rules:
      - name: a
        action: evaluate
        conditions:
          - {path: args.x, op: lte, value: 5.0}
          - {path: args.y, op: in, value: [a, b]}
        on_deny: no more
  u: {}
"#;
    let ours = r#"
methods: {"*": allow}
tools:
  u: {rules: []}
  t:
    rules:
      - reason: no more
        name: a
        conditions:
          - {if_present: false, value: [b, a], op: in, path: args.y}
          - {path: args.x, op: lte, value: 5}
"#;
    assert_eq!(lines(intercept, ours), [""; 0]);
    assert_eq!(lines(&loaded(ours).normalised(), ours), [""; 0]);
}

#[test]
fn bounds_of_counters_name_their_windows_and_paces_their_seconds() {
    let spent = |window: &str| {
        ruled(&format!(
            "name: r, state: {{counter: c, window: {window}}}, conditions: [{{path: state.t.c, op: lte, value: 10}}]"
        ))
    };
    let found = lines(&spent("hour"), &spent("day"));
    assert!(
        found.contains(&"changes: t.r: state.t.c must be at most 10 in a UTC day, was at most 10 in a UTC hour".into()),
        "{found:?}"
    );
    assert_eq!(lines(&ruled(""), &ruled("pace: {every: 2s}")), ["closes: t.rules[0]: a call every 2 s"]);
}

#[test]
fn methods() {
    there_and_back(
        "tools: {}",
        "methods: {resources/read: allow}",
        "opens: resources/read passes",
        "closes: resources/read is refused",
    );
    there_and_back(
        "default: allow",
        "{default: allow, methods: {sampling/*: deny}}",
        "closes: sampling/* is refused",
        "opens: sampling/* passes",
    );
    there_and_back(
        "methods: {}",
        "methods: {'*': allow}",
        "opens: methods that the policy does not name pass (resources, prompts, sampling ...)",
        "closes: methods that the policy does not name are refused (resources, prompts, sampling ...)",
    );
    there_and_back(
        "methods: {'*': allow}",
        "methods: {'*': allow, prompts/*: allow}",
        "opens: methods under prompts/* that MCP does not have pass",
        "closes: methods under prompts/* that MCP does not have are refused",
    );
    assert_eq!(
        lines("methods: {resources/read: allow}", "methods: {resources/*: allow, resources/read: allow}").len(),
        1
    );
    assert_eq!(lines("{version: '1', default: deny}", "methods: {'*': allow}"), [""; 0]);
    assert_eq!(lines("methods: {prompts/*: deny}", "methods: {}"), [""; 0]);
}
