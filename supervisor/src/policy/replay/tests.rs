//! What a replay says of single calls, and what it cannot know it does not say.

mod truth;

use std::collections::BTreeMap;

use super::*;
use crate::audit::Redactor;
use crate::policy::testing::{loaded, value};

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
    let ambiguous = || Was::Denied("ambiguous_argument".into(), None);
    assert_eq!(said(Some(&["p"]), r#"{"P": 1}"#, ambiguous()), Finding::Same);
    // An optional property of the schema may have been the reason.
    let open = said(Some(&["p"]), r#"{"p": 1, "Q": 1}"#, ambiguous());
    assert!(matches!(&open, Finding::CannotSay(why) if why.contains("of the schema")), "{open:?}");
}

#[test]
fn a_hidden_tool_tells_nothing_of_its_arguments() {
    let policy = loaded("hide: [t]\ntools: {t: {rules: [{conditions: [{path: args.x, op: exists}]}]}}");
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    let hidden = Was::Denied("hidden".into(), None);
    assert_eq!(replay.judge(&recorded(r#"{"X": 1}"#, hidden)), Finding::Same);
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

#[test]
fn groups_are_open_as_far_as_their_tests_are() {
    let said = |condition: &str, arguments: &str| {
        let policy = loaded(&format!("tools: {{t: {{rules: [{{conditions: [{condition}]}}]}}}}"));
        Replay::new(&policy, "s", BTreeMap::new(), None).judge(&recorded(arguments, Was::Allowed))
    };
    let any = "{any: [{path: args.x, op: lt, value: 5}, {path: args.y, op: exists}]}";
    assert_eq!(said(any, r#"{"x": 1, "y": 1}"#), Finding::Same);
    assert!(matches!(said(any, r#"{"x": 1}"#), Finding::CannotSay(why) if why.contains("args.x")));
    assert!(matches!(said(any, r#"{"x": "1"}"#), Finding::Differs(..)));
    // What cannot be judged is not thereby harmless.
    let not = "{not: {path: args.x, op: starts_with, value: /etc}}";
    assert!(matches!(said(not, r#"{"x": ["/etc"]}"#), Finding::Differs(..)));
    assert!(matches!(said(not, r#"{"x": "/var"}"#), Finding::CannotSay(_)));
    assert_eq!(said(not, r#"{"x": "/et"}"#), Finding::Same);
    let each = "{path: 'args.x[*]', op: lt, value: 5, if_present: true}";
    assert_eq!(said(each, "{}"), Finding::Same);
    assert_eq!(said(each, r#"{"x": []}"#), Finding::Same);
    assert!(matches!(said(each, r#"{"x": 1}"#), Finding::Differs(..)));
    assert!(matches!(said(each, r#"{"x": {"a": 1}}"#), Finding::Differs(..)));
    assert!(matches!(said(each, r#"{"x": [1]}"#), Finding::CannotSay(_)));
}

#[test]
fn keys_that_may_differ_in_case_leave_the_call_open() {
    let policy = loaded("tools: {t: {rules: [{conditions: [{path: args.x.y, op: lt, value: 5, if_present: true}]}]}}");
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    let mut said = |arguments: &str| replay.judge(&recorded(arguments, Was::Allowed));
    assert_eq!(said(r#"{"x": {"z": 1}}"#), Finding::Same);
    assert!(matches!(said(r#"{"x": {"Y": 1}}"#), Finding::CannotSay(why) if why.contains("in case")));
}

#[test]
fn of_several_full_limits_the_one_that_is_full_the_longest_is_named() {
    let policy = loaded(
        "tools: {t: {rules: [{name: short, rate_limit: {max: 1, window: 10}}, {name: long, rate_limit: {max: 1, window: 60}}, \
         {name: open, rate_limit: {max: 2, window: 1000}, conditions: [{path: args.x, op: lt, value: 5, if_present: true}]}]}}",
    );
    let judge = |replay: &mut Replay<'_>, arguments: &str, at_s: u64| {
        replay.judge(&Recorded { at_ns: START_NS + at_s * SECOND_NS, ..recorded(arguments, Was::Allowed) })
    };
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    assert_eq!(judge(&mut replay, "{}", 0), Finding::Same);
    let Finding::Differs(_, now) = judge(&mut replay, "{}", 1) else { panic!("two limits are full") };
    assert_eq!(now, "denied (rate_limited by rule t.long: at most 1 in any 60 s)");
    // A call of which it cannot be said whether it stands may have filled the third for longer.
    let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
    assert!(matches!(judge(&mut replay, r#"{"x": 1}"#, 0), Finding::CannotSay(_)));
    assert_eq!(judge(&mut replay, "{}", 60), Finding::Same);
    let Finding::Differs(_, now) = judge(&mut replay, "{}", 61) else { panic!("two limits are full, or three") };
    assert_eq!(now, "denied (rate_limited: several limits may be full; another rule may refuse it first)");
}

#[test]
fn a_call_that_was_ambiguous_or_may_be_counts_as_one_that_may_stand() {
    let calls = [
        ("{path: args.x, op: neq, value: null}", r#"{"x": {"Y": 9}}"#, Was::Denied(AMBIGUOUS_ARGUMENT.into(), None)),
        ("{path: args.x.y, op: lt, value: 5, if_present: true}", r#"{"x": {"Y": 9}}"#, Was::Allowed),
    ];
    for (condition, arguments, was) in calls {
        let policy = loaded(&format!(
            "tools: {{t: {{rules: [{{rate_limit: {{max: 1, window: 30}}}}, {{conditions: [{condition}]}}]}}}}"
        ));
        let mut replay = Replay::new(&policy, "s", BTreeMap::new(), None);
        let first = replay.judge(&recorded(arguments, was));
        assert!(matches!(&first, Finding::CannotSay(why) if why.contains("in case")), "{first:?}");
        let second = replay.judge(&recorded(r#"{"x": {}}"#, Was::Allowed));
        assert!(matches!(&second, Finding::CannotSay(why) if why.contains("depends on calls")), "{second:?}");
    }
}

#[test]
fn a_rule_that_refuses_every_call_also_refuses_a_doubtful_one() {
    let policy = loaded("tools: {t: {rules: [{name: d, action: deny}]}}");
    let ambiguous = Was::Denied(AMBIGUOUS_ARGUMENT.into(), None);
    assert_eq!(Replay::new(&policy, "s", BTreeMap::new(), None).judge(&recorded("{}", ambiguous)), Finding::Same);
}
