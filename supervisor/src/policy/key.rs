//! Names of counters.

use std::fmt::Write as _;

use super::model::{LimitScope, Policy, Rule};
use super::verdict::{Limited, PlannedLimit};
use crate::limits::Claim;

impl PlannedLimit<'_> {
    /// The counter of this limit: the scope, who shares it, the tool and the rule. Never the file's hash, so that an edit
    /// elsewhere in the policy resets nothing.
    ///
    /// A policy is known by its `name:`, else by its real path. A rule is known by its name, else by its place in the list.
    /// A rule of `*` has one counter for all the tools it governs. Parts are escaped, so no two can run together.
    #[must_use]
    pub fn key(&self, policy: &Policy, scope: LimitScope, session: &str) -> String {
        let mut key = String::with_capacity(96);
        match scope {
            LimitScope::Profile => {
                key.push_str("profile");
                owner(&mut key, policy);
            }
            LimitScope::Session => {
                key.push_str("session");
                part(&mut key, session);
                owner(&mut key, policy);
            }
            LimitScope::Global => key.push_str("global"),
        }
        match self.what {
            Limited::Calls(_) => {
                part(&mut key, &self.rule.tool);
                rule(&mut key, self.rule);
            }
            Limited::Counter { tool, counter, .. } => {
                part(&mut key, tool);
                key.push_str("/state");
                part(&mut key, counter);
            }
        }
        key
    }
}

impl PlannedLimit<'_> {
    /// The limit as the store takes it.
    #[must_use]
    pub fn claim(&self, policy: &Policy, session: &str) -> Claim {
        let key = self.key(policy, policy.limit_scope, session);
        match self.what {
            Limited::Calls(quota) => Claim::call(key, quota),
            Limited::Counter { window, amount, at_least, at_most, .. } => {
                Claim { key, window, amount, at_least, at_most }
            }
        }
    }
}

impl Policy {
    /// Who the policy is to the counters: its `name:`, else its real path.
    #[must_use]
    pub fn limit_identity(&self) -> String {
        let mut identity = String::new();
        owner(&mut identity, self);
        identity
    }
}

fn owner(key: &mut String, policy: &Policy) {
    if policy.named {
        key.push_str("/name");
        part(key, &policy.name);
    } else {
        key.push_str("/path");
        part(key, &policy.path.to_string_lossy());
    }
}

fn rule(key: &mut String, rule: &Rule) {
    match &rule.name {
        Some(name) => {
            key.push_str("/name");
            part(key, name);
        }
        None => {
            let _ = write!(key, "/rules/{}", rule.index); // writing to a String cannot fail
        }
    }
}

/// `/part`, with `%` and `/` as escapes.
fn part(key: &mut String, text: &str) {
    key.push('/');
    for c in text.chars() {
        match c {
            '%' => key.push_str("%25"),
            '/' => key.push_str("%2F"),
            c => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::testing::{call, loaded_at};
    use crate::policy::verdict::Verdict;

    fn keys(path: &str, text: &str, tool: &str, scope: LimitScope) -> Vec<String> {
        let policy = loaded_at(path, text);
        let Verdict::Allow(allowance) = policy.judge(&call(tool, None)) else { panic!("denied") };
        allowance.limits.iter().map(|limit| limit.key(&policy, scope, "5e55")).collect()
    }

    const LIMITED: &str = "default: allow\ntools:\n  a/b:\n    rules:\n      - {rate_limit: 1/day}\n      - {name: n, rate_limit: 2/day}\n  '*':\n    rules: [{rate_limit: 3/day}]\n";

    #[test]
    fn keys_name_scope_policy_tool_and_rule() {
        let named = format!("name: p\n{LIMITED}");
        assert_eq!(
            keys("/x/q.yaml", &named, "a/b", LimitScope::Profile),
            ["profile/name/p/a%2Fb/rules/0", "profile/name/p/a%2Fb/name/n", "profile/name/p/*/rules/0"]
        );
        assert_eq!(
            keys("/x/q.yaml", LIMITED, "a/b", LimitScope::Session)[0],
            "session/5e55/path/%2Fx%2Fq.yaml/a%2Fb/rules/0"
        );
        assert_eq!(keys("/x/q.yaml", LIMITED, "a/b", LimitScope::Global)[1], "global/a%2Fb/name/n");
    }

    #[test]
    fn a_rule_of_every_tool_counts_all_of_them_together() {
        let one = keys("/x", LIMITED, "a/b", LimitScope::Profile).pop();
        let other = keys("/x", LIMITED, "c", LimitScope::Profile).pop();
        assert_eq!(one, other);
    }

    #[test]
    fn policies_share_only_by_name() {
        let text = |name: &str| format!("{name}{LIMITED}");
        let key = |path: &str, name: &str| keys(path, &text(name), "a/b", LimitScope::Profile).remove(0);
        assert_ne!(key("/a/p.yaml", ""), key("/b/p.yaml", ""));
        assert_ne!(key("/a/p.yaml", ""), key("/a/p.yaml", "name: p\n"));
        assert_eq!(key("/a/p.yaml", "name: p\n"), key("/b/q.yaml", "name: p\n"));
    }

    #[test]
    fn an_edit_elsewhere_keeps_the_counter_and_no_two_parts_run_together() {
        let edited = format!("{LIMITED}description: changed\n");
        assert_eq!(keys("/x", LIMITED, "a/b", LimitScope::Profile), keys("/x", &edited, "a/b", LimitScope::Profile));
        let texts = ["'a.b': {rules: [{name: c, rate_limit: 1/day}]}", "a: {rules: [{name: b.c, rate_limit: 1/day}]}"];
        let global: BTreeSet<String> = [(texts[0], "a.b"), (texts[1], "a")]
            .into_iter()
            .flat_map(|(text, tool)| keys("/x", &format!("tools:\n  {text}\n"), tool, LimitScope::Global))
            .collect();
        assert_eq!(global.len(), 2);
    }

    /// Every pair of tool, kind of counter and name that a policy can hold has a key of its own.
    #[test]
    fn no_two_counters_of_a_policy_share_a_key() {
        let names = ["state", "name", "rules", "0", "c", "state/c", "name/c", "rules/0", "%2F", "/", "*", "rules[0]"];
        let mut text = String::from("default: allow\ntools:\n");
        for tool in names.iter().filter(|name| **name != "*").chain(&["*"]) {
            text.push_str(&format!("  '{tool}':\n    rules:\n      - rate_limit: 1/day\n"));
            let path = if *tool == "*" { "_global" } else { tool };
            for name in names.iter().filter(|name| **name != "rules[0]") {
                text.push_str(&format!(
                    "      - {{name: '{name}', rate_limit: 1/day, state: {{counter: '{name}', window: day}}, conditions: [{{path: 'state.{path}.{name}', op: lt, value: 2}}]}}\n"
                ));
            }
        }
        let wildcard = 1 + 2 * (names.len() - 1);
        let mut seen = BTreeSet::new();
        for scope in [LimitScope::Profile, LimitScope::Session, LimitScope::Global] {
            for tool in names.iter().filter(|name| **name != "*") {
                let keys = keys("/x", &text, tool, scope);
                assert_eq!(keys.len(), 2 * wildcard);
                for key in &keys[..wildcard] {
                    assert!(seen.insert(key.clone()), "{key} twice");
                }
            }
            for key in keys("/x", &text, "unlisted", scope) {
                assert!(seen.insert(key.clone()), "{key} twice");
            }
        }
    }

    #[test]
    fn counters_go_by_tool_and_name_not_by_the_rule_that_feeds_or_reads_them() {
        let fed =
            "{name: feed, state: {counter: c/d, window: day}, conditions: [{path: state.t.c/d, op: lt, value: 2}]}";
        let read = "{name: read, conditions: [{path: state.t.c/d, op: lt, value: 9}]}";
        let text = format!("name: p\ntools: {{t: {{rules: [{fed}, {read}]}}}}");
        assert_eq!(keys("/x", &text, "t", LimitScope::Profile), ["profile/name/p/t/state/c%2Fd"; 2]);
        let moved = format!("name: p\ntools: {{t: {{rules: [{read}, {fed}]}}}}").replace("feed", "other");
        assert_eq!(keys("/x", &moved, "t", LimitScope::Profile), ["profile/name/p/t/state/c%2Fd"; 2]);
    }

    #[test]
    fn an_edit_of_the_window_or_the_bound_finds_the_count_again() {
        use crate::clock::Now;
        use crate::limits::{MemoryStore, Reservation, Store};

        let now = |second: u64| Now {
            boot_ns: second * 1_000_000_000,
            wall_ns: 1_800_000_000_000_000_000 + second * 1_000_000_000,
        };
        let ask = |store: &mut MemoryStore, second, limit: &str| {
            let policy =
                loaded_at("/x", &format!("name: p\ntools: {{t: {{rules: [{{name: r, rate_limit: {limit}}}]}}}}"));
            let Verdict::Allow(allowance) = policy.judge(&call("t", None)) else { panic!("denied") };
            let claims: Vec<_> = allowance.limits.iter().map(|limit| limit.claim(&policy, "5e55")).collect();
            matches!(store.reserve(now(second), &claims).expect("memory"), Reservation::Granted { .. })
        };
        let mut store = MemoryStore::new();
        assert!(ask(&mut store, 0, "{max: 2, window: 60}") && ask(&mut store, 1, "{max: 2, window: 60}"));
        assert!(!ask(&mut store, 2, "{max: 2, window: 1h}"), "the calls before the edit are counted");
        assert!(!ask(&mut store, 3, "2/day"), "in a calendar window as well");
        assert!(ask(&mut store, 4, "{max: 3, window: 1h}"));
    }
}
