//! Tests of the decision.

use super::*;
use crate::policy::testing::{call, call_with, loaded, value};

fn code(policy: &Policy, call: &Call<'_>) -> Option<DenialCode> {
    match policy.judge(call) {
        Verdict::Deny(denial) => Some(denial.code),
        Verdict::Allow(_) => None,
        Verdict::NeedsSchema => panic!("needs a schema"),
    }
}

fn message(policy: &Policy, call: &Call<'_>) -> String {
    match policy.judge(call) {
        Verdict::Deny(denial) => denial.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unlisted_tools_are_denied_by_default_and_every_tool_rules_do_not_rescue_them() {
    let policy = loaded("tools: {a: {}, '*': {rules: []}}");
    assert_eq!(code(&policy, &call("a", None)), None);
    assert_eq!(code(&policy, &call("b", None)), Some(DenialCode::NotListed));
    assert_eq!(code(&policy, &call("*", None)), Some(DenialCode::NotListed));
    assert_eq!(policy.visibility("b"), Visibility::Unlisted);
    assert_eq!(message(&policy, &call("b", None)), "Tool \"b\" is not permitted by policy");
    assert_eq!(code(&loaded("tools: {}"), &call("a", None)), Some(DenialCode::NotListed));
    assert_eq!(code(&loaded("default: deny"), &call("A", None)), Some(DenialCode::NotListed));
}

#[test]
fn default_allow_lets_unlisted_tools_pass_the_rules_of_every_tool() {
    let policy = loaded("default: allow\ntools: {'*': {rules: [{conditions: [{path: args.x, op: exists}]}]}}");
    assert_eq!(code(&policy, &call("b", Some(&value("{\"x\": 1}")))), None);
    assert_eq!(code(&policy, &call("b", None)), Some(DenialCode::ConditionFailed));
}

#[test]
fn hidden_comes_first() {
    let policy = loaded("default: allow\nhide: [a]\ntools: {a: {rules: [{action: deny}]}}");
    assert_eq!(policy.visibility("a"), Visibility::Hidden);
    assert_eq!(code(&policy, &call("a", None)), Some(DenialCode::Hidden));
    assert_eq!(message(&policy, &call("a", None)), "Unknown tool: a");
    assert_eq!(code(&policy, &call("b", None)), None);
    assert_eq!(loaded("default: allow\nhide: ['*']").visibility("anything"), Visibility::Hidden);
}

#[test]
fn every_rule_must_pass_and_allow_never_short_circuits() {
    let policy = loaded(
        "tools:\n  t:\n    rules:\n      - action: allow\n      - {name: bound, conditions: [{path: args.n, op: lte, value: 4}]}\n      - {action: deny, name: stop}\n",
    );
    let Verdict::Deny(denial) = policy.judge(&call("t", Some(&value("{\"n\": 5}")))) else { panic!("allowed") };
    assert_eq!((denial.rule.map(|rule| rule.id.as_str()), denial.code), (Some("t.bound"), DenialCode::ConditionFailed));
    assert_eq!(denial.message, "args.n must be at most 4 (rule t.bound).");
    let Verdict::Deny(denial) = policy.judge(&call("t", Some(&value("{\"n\": 4}")))) else { panic!("allowed") };
    assert_eq!((denial.rule.map(|rule| rule.id.as_str()), denial.code), (Some("t.stop"), DenialCode::DeniedByRule));
}

#[test]
fn messages_are_the_rules_own_or_name_the_condition_never_the_value() {
    let policy = loaded(
        "tools:\n  a: {rules: [{action: deny, reason: Ask Ada.}]}\n  b: {rules: [{on_deny: No., conditions: [{path: args.k, op: eq, value: 1}]}]}\n  c: {rules: [{conditions: [{path: args.k, op: regex, value: '^x$'}]}]}\n",
    );
    assert_eq!(message(&policy, &call("a", None)), "Ask Ada.");
    assert_eq!(message(&policy, &call("b", None)), "No.");
    let told = message(&policy, &call("c", Some(&value("{\"k\": \"hunter2\"}"))));
    assert_eq!(told, "args.k must match the regular expression \"^x$\" (rule c.rules[0]).");
}

#[test]
fn required_arguments_need_the_schema_and_say_what_is_missing() {
    let policy = loaded("tools: {t: {rules: [{validate: {required_args: true}}]}, u: {rules: [{action: allow}]}}");
    let (given, null, other) = (value("{\"p\": 0}"), value("{\"p\": null}"), value("{\"P\": 1}"));
    assert!(matches!(policy.judge(&call_with("t", Some(&given), 0)), Verdict::NeedsSchema));
    assert_eq!(code(&policy, &call_with("t", Some(&given), 1)), Some(DenialCode::SchemaUnavailable));
    assert_eq!(code(&policy, &call_with("t", Some(&given), 2)), None);
    for arguments in [None, Some(&null), Some(&other)] {
        assert_eq!(code(&policy, &call_with("t", arguments, 2)), Some(DenialCode::MissingArgument));
    }
    let told = message(&policy, &call_with("t", None, 2));
    assert_eq!(told, "The required argument \"p\" is missing (rule t.rules[0]).");
    assert!(policy.needs_schema("t") && !policy.needs_schema("u"));
    assert_eq!(code(&policy, &call_with("u", None, 0)), None, "a tool without the check waits for no schema");
}

#[test]
fn arguments_must_fit_the_schema_where_a_rule_says_so() {
    let policy = loaded("tools: {t: {rules: [{validate: {schema: true}}]}, u: {rules: [{validate: {output: true}}]}}");
    let (fits, long, other) =
        (value("{\"p\": \"abcd\"}"), value("{\"p\": \"hunter2\"}"), value("{\"p\": \"a\", \"N\": 1}"));
    assert!(matches!(policy.judge(&call_with("t", Some(&fits), 0)), Verdict::NeedsSchema));
    assert_eq!(code(&policy, &call_with("t", Some(&fits), 1)), Some(DenialCode::SchemaUnavailable));
    assert_eq!(code(&policy, &call_with("t", Some(&fits), 2)), None);
    for arguments in [None, Some(&long), Some(&other)] {
        assert_eq!(code(&policy, &call_with("t", arguments, 2)), Some(DenialCode::SchemaMismatch));
    }
    let told = message(&policy, &call_with("t", Some(&long), 2));
    assert_eq!(told, "args.p must have at most 4 characters, not 7 (rule t.rules[0]).");
    assert_eq!(message(&policy, &call_with("t", None, 2)), "args must have the key \"p\" (rule t.rules[0]).");
    let told = message(&policy, &call_with("u", Some(&fits), 2));
    assert_eq!(told, "The tool's output schema cannot be judged, and rule u.rules[0] needs it: the server gives none.");
    assert_eq!(code(&policy, &call_with("u", None, 2)), Some(DenialCode::SchemaUnavailable));
    assert!(policy.needs_schema("u") && policy.wants_of_schemas("u").output && !policy.wants_of_schemas("u").schema);
}

#[test]
fn a_denial_that_needs_no_schema_does_not_wait_for_it_when_it_stands_first() {
    let policy = loaded("tools: {t: {rules: [{action: deny}, {validate: {required_args: true}}]}}");
    assert_eq!(code(&policy, &call_with("t", None, 0)), Some(DenialCode::DeniedByRule));
}

#[test]
fn an_allowed_call_owes_the_limits_of_all_its_rules() {
    let policy = loaded(
        "tools:\n  t:\n    rules: [{rate_limit: {max: 10, window: 60}}, {}, {rate_limit: 3/hour}]\n  '*': {rules: [{rate_limit: 9/day}]}\n",
    );
    let Verdict::Allow(allowance) = policy.judge(&call("t", None)) else { panic!("denied") };
    let told: Vec<String> = allowance.limits.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["t.rules[0]: at most 10 in any 60 s", "t.rules[2]: at most 3 a UTC hour", "*.rules[0]: at most 9 a UTC day"]
    );
    assert_eq!(allowance.rule.map(|rule| rule.id.as_str()), Some("*.rules[0]"));
}

#[test]
fn an_argument_that_equals_a_policy_path_but_for_case_is_the_callers_to_refuse() {
    let policy = loaded("tools: {t: {rules: [{conditions: [{path: args.n, op: lte, value: 4, if_present: true}]}]}}");
    assert_eq!(code(&policy, &call("t", Some(&value("{\"N\": 9}")))), None, "keys are exact; see ambiguous_argument");
}
