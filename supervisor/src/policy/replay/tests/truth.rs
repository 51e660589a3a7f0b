//! What a replay says is true: against the values themselves, the changed policy and its own store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{SECOND_NS, START_NS, redactor, shape};
use crate::clock::Now;
use crate::limits::MemoryStore;
use crate::limits::pace::Paces;
use crate::policy::replay::{Finding, Hash, Recorded, RecordedLimit, Replay, Was};
use crate::policy::testing::{loaded, value};
use crate::policy::{AMBIGUOUS_ARGUMENT, Call, Charged, Policy, SchemaKnowledge, Tills, Verdict, Visibility};

/// A policy of the two traces: limits, conditions, deny, hide.
fn policy_text(max: u64, unit: bool, op: &str, deny: bool, hide: bool) -> String {
    let limit = if unit { format!("{max}/minute") } else { format!("{{max: {max}, window: 30}}") };
    let hide = if hide { "hide: [u]\n" } else { "" };
    let deny = if deny { ", {name: d, action: deny}" } else { "" };
    format!(
        "name: p\n{hide}tools:\n  t: {{rules: [{{name: r, rate_limit: {limit}}}, {{name: c, conditions: [{op}]}}]}}\n  u: {{rules: [{{name: e, conditions: [{{path: args.x, op: exists}}]}}{deny}]}}\n  '*': {{rules: [{{name: all, rate_limit: 9/hour}}]}}\n"
    )
}

/// What the policy and a store say of a call, for real.
fn truth(
    policy: &Policy,
    store: &mut MemoryStore,
    tool: &str,
    arguments: &str,
    at_ns: u64,
) -> (Was, Option<RecordedLimit>) {
    let arguments = value(arguments);
    let is_listed = policy.visibility(tool) == Visibility::Listed;
    if is_listed && policy.ambiguity(tool, Some(&arguments), &[]).is_some() {
        return (Was::Denied(AMBIGUOUS_ARGUMENT.into(), None), None);
    }
    let denied = |denial: crate::policy::Denial<'_>| {
        Was::Denied(denial.code.as_str().to_owned(), denial.rule.map(|rule| rule.id.clone()))
    };
    let call = Call { tool, arguments: Some(&arguments), schema: SchemaKnowledge::Unavailable };
    let allowance = match policy.judge(&call) {
        Verdict::Allow(allowance) => allowance,
        Verdict::Deny(denial) => return (denied(denial), None),
        Verdict::NeedsSchema => panic!("the schema is not pending"),
    };
    let now = Now { wall_ns: START_NS + at_ns, boot_ns: at_ns };
    let (was, hit) = match allowance
        .charge(policy, Tills { store, paces: &mut Paces::new(), session: "s" }, now)
        .expect("in memory")
    {
        Charged::Granted(hit) => (Was::Allowed, hit),
        Charged::Refused { denial, limit, .. } => (denied(denial), limit),
    };
    let limit = hit.map(|hit| RecordedLimit {
        key: hit.claim.key,
        window_s: hit.claim.window.length_ms() / 1000,
        used: hit.used.whole(),
    });
    (was, limit)
}

const CONDITIONS: &[&str] = &[
    "{path: args.x, op: lte, value: 5, if_present: true}",
    "{path: args.x, op: eq, value: 12}",
    "{path: args.x, op: in, value: [a, bb]}",
    "{path: args.x, op: in, value: [a, null, 12]}",
    "{path: args.x, op: neq, value: a}",
    "{path: args.x, op: neq, value: null}",
    "{path: args.x, op: not_in, value: [a, 5]}",
    "{path: args.x, op: length_lte, value: 2, if_present: true}",
    "{path: args.x, op: exists}",
    "{path: args.x, op: exists, value: false}",
    "{path: args.x, op: regex, value: '^[ab]*$', if_present: true}",
    "{path: args.x, op: not_regex, value: '^b'}",
    "{path: args.x, op: not_contains, value: bb, if_present: true}",
    "{path: args.x, op: starts_with, value: bb}",
    "{path: args.x, op: host_in, value: [a, bb]}",
    "{path: args.x, op: under_path, value: /a}",
    "{not: {path: args.x, op: starts_with, value: a}}",
    "{not: {path: args.x, op: eq, value: bb, if_present: true}}",
    "{not: {path: args.x.y, op: exists}}",
    "{any: [{path: args.x, op: eq, value: 5}, {path: args.x, op: eq, value: a, if_present: true}]}",
    "{any: [{not: {path: args.x, op: lt, value: 9}}, {path: args.y, op: exists}]}",
    "{all: [{path: args.x, op: neq, value: 5}, {not: {path: args.x, op: in, value: [12, 7]}}]}",
    "{all: [{path: args.x, op: length_lte, value: 2, if_present: true}, {path: args.y, op: exists, value: false}]}",
    "{path: args.x.y, op: lte, value: 5, if_present: true}",
    "{path: args.x.y, op: exists, value: false}",
    "{path: args.x.y, op: eq, value: a}",
    "{path: 'args.x[*]', op: eq, value: 1}",
    "{path: 'args.x[*]', op: length_lte, value: 2, if_present: true}",
    "{path: 'args.x[*]', op: exists, value: false}",
    "{path: 'args.x[*].y', op: exists}",
    "{path: args.x.0, op: neq, value: 2}",
];
const ARGUMENTS: &[&str] = &[
    "{}",
    r#"{"x": 12}"#,
    r#"{"x": 5}"#,
    r#"{"x": 12.0}"#,
    r#"{"x": "a"}"#,
    r#"{"x": "bb"}"#,
    r#"{"x": ""}"#,
    r#"{"x": null}"#,
    r#"{"x": true}"#,
    r#"{"x": []}"#,
    r#"{"x": {}}"#,
    r#"{"x": [1]}"#,
    r#"{"x": ["a", null]}"#,
    r#"{"x": {"y": 5}}"#,
    r#"{"x": {"y": "a"}}"#,
    r#"{"x": {"y": null}}"#,
    r#"{"x": {"Y": 9}}"#,
    r#"{"x": {"z": 1}}"#,
    r#"{"x": {"0": 1}}"#,
    r#"{"x": [{"y": 1}, {}]}"#,
    r#"{"x": "a", "y": null}"#,
    r#"{"X": 5}"#,
    r#"{"x": "äöü"}"#,
];

proptest! {
    /// Against the truth: the values, the changed policy and its own store.
    #[test]
    fn whatever_is_said_is_true(
        max in 0_u64..4, unit in any::<bool>(), deny in any::<bool>(), hide in any::<bool>(),
        new_max in 0_u64..4, new_unit in any::<bool>(), new_deny in any::<bool>(), new_hide in any::<bool>(),
        ops in prop::array::uniform2(prop::sample::select(CONDITIONS)),
        calls in prop::collection::vec((0_u64..20, any::<bool>(), prop::sample::select(ARGUMENTS)), 1..40),
        keyed in any::<bool>(),
    ) {
        let old = loaded(&policy_text(max, unit, ops[0], deny, hide));
        let new = loaded(&policy_text(new_max, new_unit, ops[1], new_deny, new_hide));
        let redactor = redactor();
        let hash = |kind: &str, text: &str| redactor.hash(kind, text);
        let mut replay = Replay::new(&new, "s", BTreeMap::new(), keyed.then_some(&hash as Hash<'_>));
        let (mut old_store, mut new_store) = (MemoryStore::new(), MemoryStore::new());
        let mut at_ns = 0;
        for (pause_s, is_t, arguments) in calls {
            at_ns += pause_s * SECOND_NS;
            let tool = if is_t { "t" } else { "u" };
            let (was, limit) = truth(&old, &mut old_store, tool, arguments, at_ns);
            let (would, _) = truth(&new, &mut new_store, tool, arguments, at_ns);
            let call = Recorded {
                at_ns: START_NS + at_ns, tool: tool.into(), arguments: shape(arguments), was: was.clone(), limit,
            };
            match replay.judge(&call) {
                Finding::CannotSay(_) => {}
                Finding::Same => match (&was, &would) {
                    (Was::Allowed, would) => prop_assert_eq!(would, &Was::Allowed),
                    (_, would) => prop_assert_ne!(would, &Was::Allowed),
                },
                Finding::Differs(_, now) => {
                    prop_assert_ne!(&was, &would);
                    prop_assert_eq!(now == "allowed", would == Was::Allowed, "{} {:?}", now, would);
                    if let Was::Denied(code, rule) = &would && !now.contains("another rule") {
                        prop_assert!(now.contains(code.as_str()), "{} {:?}", now, would);
                        prop_assert!(rule.as_ref().is_none_or(|rule| now.contains(rule.as_str())), "{} {:?}", now, would);
                    }
                }
            }
        }
    }

    /// A policy that did not change makes no difference, and where each call has one limit nothing is left open.
    #[test]
    fn an_unchanged_policy_changes_nothing(
        max in 0_u64..4, unit in any::<bool>(),
        calls in prop::collection::vec((0_u64..20, prop::sample::select(vec!["{}", r#"{"x": 12}"#, r#"{"x": "a"}"#])), 1..30),
    ) {
        let text = policy_text(max, unit, "{path: args.x, op: exists}", false, false);
        let policy = loaded(text.split("  '*'").next().expect("the text before"));
        let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
        let mut store = MemoryStore::new();
        let mut at_ns = 0;
        for (pause_s, arguments) in calls {
            at_ns += pause_s * SECOND_NS;
            let (was, limit) = truth(&policy, &mut store, "t", arguments, at_ns);
            let call = Recorded { at_ns: START_NS + at_ns, tool: "t".into(), arguments: shape(arguments), was, limit };
            prop_assert_eq!(replay.judge(&call), Finding::Same);
        }
    }
}
