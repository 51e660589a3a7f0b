//! What a replay says is true, and what it cannot know it does not say.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::audit::Redactor;
use crate::clock::Now;
use crate::limits::MemoryStore;
use crate::limits::pace::Paces;
use crate::policy::testing::{loaded, value};
use crate::policy::{Call, Charged, SchemaKnowledge, Tills, Verdict};

const SECOND_NS: u64 = 1_000_000_000;
/// 2026-01-01 00:00:00 UTC.
const START_NS: u64 = 1_767_225_600 * SECOND_NS;

fn redactor() -> Redactor {
    Redactor::new(&[7; 32])
}

/// The arguments as the log has them.
fn shape(arguments: &str) -> Shape {
    let arguments = value(arguments);
    let logged = serde_json::to_value(redactor().redact(&arguments)).expect("JSON");
    let text = |leaf: &serde_json::Value, name: &str| leaf[name].as_str().expect("text").to_owned();
    let leaves = logged["hmac"].as_array().expect("a list").iter().map(|leaf| Leaf {
        pointer: text(leaf, "path"),
        kind: text(leaf, "type"),
        bytes: leaf["bytes"].as_u64().expect("a number"),
        hmac: text(leaf, "hmac"),
    });
    let keys = logged["keys"].as_array().expect("a list").iter().map(|key| key.as_str().expect("text").to_owned());
    Shape {
        keys: keys.collect(),
        all_keys: logged.get("keys_omitted").is_none(),
        leaves: leaves.collect(),
        all_leaves: logged.get("leaves_omitted").is_none(),
    }
}

fn recorded(arguments: &str, was: Was) -> Recorded {
    Recorded { at_ns: START_NS, tool: "t".into(), arguments: shape(arguments), was, limit: None }
}

/// What is said of an allowed call whose one condition is this, with and without the key.
fn said(condition: &str, arguments: &str) -> [String; 2] {
    let policy = loaded(&format!("tools: {{t: {{rules: [{{conditions: [{{path: args.x, {condition}}}]}}]}}}}"));
    let redactor = redactor();
    let hash = |kind: &str, text: &str| redactor.hash(kind, text);
    [Some(&hash as Hash<'_>), None].map(|hash| {
        let mut replay = Replay::new(&policy, "s", BTreeMap::new(), hash);
        match replay.judge(&recorded(arguments, Was::Allowed)) {
            Finding::Same => "passes".into(),
            Finding::Differs(..) => "fails".into(),
            Finding::CannotSay(why) => {
                assert_eq!(why, "rule t.rules[0] reads args.x, whose value is not in the log");
                "open".into()
            }
        }
    })
}

#[test]
fn what_types_lengths_and_hashes_tell() {
    let cases = [
        // condition, arguments, with the key, without
        ("op: exists", r#"{"x": 5}"#, "passes", "passes"),
        ("op: exists", r#"{"x": [1]}"#, "passes", "passes"),
        ("op: exists", "{}", "fails", "fails"),
        ("op: exists, value: false", r#"{"y": 5}"#, "passes", "passes"),
        ("op: exists", r#"{"x": null}"#, "fails", "fails"),
        ("op: exists, value: false", r#"{"x": null}"#, "passes", "passes"),
        ("op: lte, value: 5", r#"{"x": 5}"#, "open", "open"),
        ("op: lte, value: 5", r#"{"x": "5"}"#, "fails", "fails"),
        ("op: lte, value: 5", r#"{"x": null}"#, "fails", "fails"),
        ("op: lte, value: 5", r#"{"x": {"a": 1}}"#, "fails", "fails"),
        ("op: lte, value: 5", "{}", "fails", "fails"),
        ("op: lte, value: 5, if_present: true", "{}", "passes", "passes"),
        ("op: eq, value: cat", r#"{"x": "cat"}"#, "passes", "open"),
        ("op: eq, value: cat", r#"{"x": "dog"}"#, "fails", "open"),
        ("op: eq, value: cat", r#"{"x": "lion"}"#, "fails", "fails"),
        ("op: eq, value: cat", r#"{"x": ["cat"]}"#, "fails", "fails"),
        ("op: eq, value: true", r#"{"x": true}"#, "passes", "passes"),
        ("op: eq, value: true", r#"{"x": false}"#, "fails", "fails"),
        ("op: eq, value: null", r#"{"x": null}"#, "passes", "passes"),
        ("op: eq, value: 12", r#"{"x": 12}"#, "passes", "open"),
        ("op: eq, value: 12", r#"{"x": 13}"#, "fails", "open"),
        ("op: eq, value: 12", r#"{"x": 7}"#, "fails", "fails"),
        // 12.0 is 12, and 99.9 is not: four bytes, and only the text was hashed.
        ("op: eq, value: 12", r#"{"x": 12.0}"#, "open", "open"),
        ("op: eq, value: 12", r#"{"x": 99.9}"#, "open", "open"),
        ("op: eq, value: 100", r#"{"x": 1e2}"#, "open", "open"),
        ("op: eq, value: 100", r#"{"x": 7}"#, "open", "open"),
        ("op: in, value: [cat, dog]", r#"{"x": "dog"}"#, "passes", "open"),
        ("op: in, value: [cat, dog]", r#"{"x": "cow"}"#, "fails", "open"),
        ("op: in, value: [cat, null]", r#"{"x": null}"#, "passes", "passes"),
        ("op: neq, value: admin", r#"{"x": "admin"}"#, "fails", "open"),
        ("op: neq, value: admin", r#"{"x": "guest"}"#, "passes", "open"),
        ("op: neq, value: admin", r#"{"x": "user"}"#, "passes", "passes"),
        ("op: neq, value: admin", r#"{"x": 5}"#, "fails", "fails"),
        ("op: neq, value: null", r#"{"x": [1]}"#, "passes", "passes"),
        ("op: not_in, value: [a, b]", r#"{"x": "c"}"#, "passes", "open"),
        ("op: not_in, value: [a, b]", r#"{"x": ["a"]}"#, "fails", "fails"),
        ("op: not_in, value: [a, 12]", r#"{"x": 12.0}"#, "open", "open"),
        ("op: regex, value: '^a*$'", r#"{"x": ""}"#, "passes", "passes"),
        ("op: regex, value: '^a*$'", r#"{"x": "aa"}"#, "open", "open"),
        ("op: regex, value: '^a*$'", r#"{"x": 1}"#, "fails", "fails"),
        ("op: length_lte, value: 4", r#"{"x": "abcd"}"#, "passes", "passes"),
        ("op: length_lte, value: 4", r#"{"x": "äöüß"}"#, "open", "open"),
        ("op: length_lte, value: 1", r#"{"x": "abcde"}"#, "fails", "fails"),
        ("op: length_lte, value: 0", r#"{"x": []}"#, "passes", "passes"),
        ("op: length_lte, value: 9", r#"{"x": [1]}"#, "open", "open"),
        ("op: contains, value: cat", r#"{"x": "at"}"#, "fails", "fails"),
        ("op: contains, value: cat", r#"{"x": "tac"}"#, "open", "open"),
        ("op: under_path, value: /a", r#"{"x": ["/a"]}"#, "fails", "fails"),
        ("op: not_regex, value: '^a'", r#"{"x": "b"}"#, "open", "open"),
        ("op: not_regex, value: '^a'", r#"{"x": ["a"]}"#, "fails", "fails"),
        ("op: not_contains, value: cat", r#"{"x": "at"}"#, "passes", "passes"),
        ("op: not_contains, value: cat", r#"{"x": 5}"#, "fails", "fails"),
        ("op: not_contains, value: cat", r#"{"x": ["at"]}"#, "open", "open"),
        ("op: starts_with, value: cat", r#"{"x": "ca"}"#, "fails", "fails"),
        ("op: starts_with, value: cat", r#"{"x": "cat"}"#, "open", "open"),
        ("op: host_in, value: [a.b]", r#"{"x": "a.b"}"#, "open", "open"),
        ("op: host_in, value: [a.b]", r#"{"x": ["a.b"]}"#, "fails", "fails"),
    ];
    for (condition, arguments, with, without) in cases {
        assert_eq!(said(condition, arguments), [with, without], "{condition} {arguments}");
    }
}

#[test]
fn paths_that_an_array_could_answer_are_open() {
    let said = |path: &str, arguments: &str| {
        let policy = loaded(&format!("tools: {{t: {{rules: [{{conditions: [{{path: {path}, op: exists}}]}}]}}}}"));
        Replay::new(&policy, "s", BTreeMap::new(), None).judge(&recorded(arguments, Was::Allowed))
    };
    assert_eq!(said("args.a.b", r#"{"a": {"b": 1}}"#), Finding::Same);
    assert!(matches!(said("args.a.c", r#"{"a": {"b": 1}}"#), Finding::Differs(..)));
    assert!(matches!(said("args.a.b", r#"{"a": 1}"#), Finding::Differs(..)));
    assert!(matches!(said("args.a.0", r#"{"a": [1]}"#), Finding::CannotSay(_)));
    assert!(matches!(said("args.a.0", r#"{"a": {"0": 1}}"#), Finding::CannotSay(_)));
    assert_eq!(said("args.a/b.c~d", r#"{"a/b": {"c~d": 1}}"#), Finding::Same);
}

#[test]
fn what_the_log_cut_off_is_not_said_to_be_absent() {
    let policy = loaded("tools: {t: {rules: [{conditions: [{path: args.x, op: exists, value: false}]}]}}");
    let members: Vec<String> = (0..70).map(|n| format!("\"k{n}\": 1")).collect();
    let call = recorded(&format!("{{{}}}", members.join(", ")), Was::Allowed);
    assert!(!call.arguments.all_keys);
    let finding = Replay::new(&policy, "s", BTreeMap::new(), None).judge(&call);
    assert!(matches!(finding, Finding::CannotSay(_)), "{finding:?}");
}

#[test]
fn required_arguments_need_to_be_told_and_are_then_read_from_the_keys() {
    let policy = loaded("tools: {t: {rules: [{validate: {required_args: true}}]}}");
    let said = |required: Option<&[&str]>, arguments: &str, was: Was| {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let required = required.map(|required| ("t".to_owned(), names(required))).into_iter().collect();
        Replay::new(&policy, "s", required, None).judge(&recorded(arguments, was))
    };
    let open = said(None, "{}", Was::Allowed);
    assert!(matches!(&open, Finding::CannotSay(why) if why.contains("--required t=")), "{open:?}");
    assert_eq!(said(Some(&[]), "{}", Was::Allowed), Finding::Same);
    assert_eq!(said(Some(&["p"]), r#"{"p": 1}"#, Was::Allowed), Finding::Same);
    for arguments in ["{}", r#"{"p": null}"#] {
        let Finding::Differs(_, now) = said(Some(&["p"]), arguments, Was::Allowed) else { panic!("{arguments}") };
        assert_eq!(now, "denied (missing_argument by rule t.rules[0]: \"p\" is not given)");
    }
    let missing = Was::Denied("missing_argument".into(), Some("t.rules[0]".into()));
    assert_eq!(said(Some(&["p"]), "{}", missing), Finding::Same);
    let unavailable = Was::Denied("schema_unavailable".into(), Some("t.rules[0]".into()));
    assert_eq!(said(None, "{}", unavailable), Finding::Same);
    assert!(
        matches!(said(Some(&["p"]), r#"{"P": 1}"#, Was::Allowed), Finding::Differs(_, now) if now.contains("ambiguous_argument"))
    );
}

#[test]
fn what_the_host_refused_says_nothing_of_the_policy() {
    let policy = loaded("tools: {t: {}}");
    let finding =
        Replay::new(&policy, "s", BTreeMap::new(), None).judge(&recorded("{}", Was::Denied("store_down".into(), None)));
    assert!(matches!(finding, Finding::CannotSay(_)), "{finding:?}");
}

#[test]
fn a_counter_that_others_use_too_grants_nothing_for_certain() {
    let policy = loaded("name: p\ntools: {t: {rules: [{name: r, rate_limit: {max: 3, window: 60}}]}}");
    let key = "profile/name/p/t/name/r";
    let call = |used| Recorded {
        limit: Some(RecordedLimit { key: key.into(), window_s: 60, used }),
        ..recorded("{}", Was::Allowed)
    };
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    assert_eq!(replay.judge(&call(1)), Finding::Same);
    let finding = replay.judge(&call(3)); // the log explains one
    assert!(matches!(&finding, Finding::CannotSay(why) if why.contains("more than this log explains")), "{finding:?}");
}

#[test]
fn limits_count_what_may_stand_beside_what_stands_for_certain() {
    let policy = loaded(
        "tools: {t: {rules: [{rate_limit: {max: 2, window: 60}}, {conditions: [{path: args.x, op: lt, value: 5, if_present: true}]}]}}",
    );
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    let mut judge = |arguments: &str, at_s: u64| {
        replay.judge(&Recorded { at_ns: START_NS + at_s * SECOND_NS, ..recorded(arguments, Was::Allowed) })
    };
    assert_eq!(judge("{}", 0), Finding::Same);
    assert!(matches!(judge(r#"{"x": 1}"#, 1), Finding::CannotSay(_)), "its value is not in the log");
    assert!(matches!(judge("{}", 2), Finding::CannotSay(why) if why.contains("depends on calls")), "one or two stand");
    assert!(matches!(judge("{}", 60), Finding::CannotSay(_)), "the first has left, the third may stand");
    assert_eq!(judge("{}", 200), Finding::Same);
    assert_eq!(judge("{}", 201), Finding::Same);
    let Finding::Differs(was, now) = judge("{}", 202) else { panic!("the third for certain") };
    assert_eq!(
        (was.as_str(), now.as_str()),
        ("allowed", "denied (rate_limited by rule t.rules[0]: at most 2 in any 60 s)")
    );
}

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
    if policy.ambiguity(tool, Some(&arguments), &[]).is_some() {
        return (Was::Denied("ambiguous_argument".into(), None), None);
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
