//! Tests of what a call owes.

use super::*;
use crate::limits::{CalendarUnit, Window};
use crate::policy::testing::{call, loaded, value};
use crate::policy::verdict::Verdict;

fn allowed<'p>(policy: &'p Policy, tool: &str, arguments: &str) -> Allowance<'p> {
    match policy.judge(&call(tool, Some(&value(arguments)))) {
        Verdict::Allow(allowance) => allowance,
        other => panic!("{other:?}"),
    }
}

/// Tool, counter, amount, at_least, at_most; whole amounts.
type Counted<'p> = (&'p str, &'p str, i128, Option<i128>, Option<i128>);

/// Each counter that the call touches.
fn counted<'p>(allowance: &Allowance<'p>) -> Vec<Counted<'p>> {
    let whole = |amount: Amount| amount.billionths() / Amount::ONE.billionths();
    let bound = |amount: Amount, none| (amount != none).then(|| whole(amount));
    let one = |limit: &PlannedLimit<'p>| match limit.what {
        Limited::Calls(_) => None,
        Limited::Counter { tool, counter, amount, at_least, at_most, .. } => {
            let (at_least, at_most) = (bound(at_least, Amount::MIN), bound(at_most, Amount::MAX));
            Some((tool, counter, whole(amount), at_least, at_most))
        }
    };
    allowance.limits.iter().filter_map(one).collect()
}

const SPENT: &str = "state: {counter: spent, window: day, increment_from: args.order.usd}";

fn spending(conditions: &str) -> Policy {
    loaded(&format!("tools: {{t: {{rules: [{{name: cap, conditions: [{conditions}], {SPENT}}}]}}}}"))
}

#[test]
fn all_bounds_of_a_rule_on_its_own_counter_are_one_claim() {
    let policy = spending(
        "{path: state.t.spent, op: lte, value: 100}, {path: state.t.spent, op: lte, value: 90}, {path: state.t.spent, op: gte, value: 2}, {path: state.t.spent, op: gt, value: 4}",
    );
    let allowance = allowed(&policy, "t", "{\"order\": {\"usd\": 7}}");
    let [PlannedLimit { rule, what: Limited::Counter { tool, counter, window, amount, at_least, at_most } }] =
        allowance.limits.as_slice()
    else {
        panic!("{allowance:?}")
    };
    assert_eq!((rule.id.as_str(), *tool, *counter), ("t.cap", "t", "spent"));
    assert_eq!(*window, Window::Calendar { unit: CalendarUnit::Day });
    assert_eq!((*amount, *at_most), (Amount::calls(7), Amount::calls(90)));
    assert_eq!(*at_least, Amount::from_billionths(4_000_000_001));
}

#[test]
fn equality_is_on_what_stands_before_the_call_also_on_the_own_counter() {
    let policy = spending("{path: state.t.spent, op: eq, value: 5}");
    let allowance = allowed(&policy, "t", "{\"order\": {\"usd\": 7}}");
    assert_eq!(counted(&allowance), [("t", "spent", 7, Some(5), Some(12))]);
}

#[test]
fn a_counter_without_an_upper_bound_of_its_rule_is_charged_all_the_same() {
    let policy = loaded(
        "tools:\n  t: {rules: [{name: feed, state: {counter: c, window: day, increment: 3}}]}\n  u: {rules: [{conditions: [{path: state.t.c, op: gte, value: 1}, {path: state.t.c, op: lte, value: 30}]}]}\n",
    );
    assert_eq!(counted(&allowed(&policy, "t", "{}")), [("t", "c", 3, None, None)]);
    let read = [("t", "c", 0, Some(1), None), ("t", "c", 0, None, Some(30))];
    assert_eq!(counted(&allowed(&policy, "u", "{}")), read, "a condition on another counter reads and charges nothing");
}

#[test]
fn an_upper_bound_in_another_rule_counts_the_call_in() {
    let policy = loaded(
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lte, value: 3}], state: {counter: c, window: hour}}, {conditions: [{path: state.t.c, op: lt, value: 9}, {path: state._global.all, op: lt, value: 5}]}]}, '*': {rules: [{state: {counter: all, window: 60s}}]}}",
    );
    let owed = counted(&allowed(&policy, "t", "{}"));
    assert_eq!(
        owed,
        [
            ("t", "c", 1, None, Some(3)),
            ("t", "c", 0, None, Some(7)),
            ("*", "all", 0, None, Some(3)),
            ("*", "all", 1, None, None)
        ]
    );
}

#[test]
fn amounts_that_cannot_be_counted_refuse_the_call() {
    let policy = spending("{path: state.t.spent, op: lte, value: 100}");
    for arguments in [
        "{}",
        "{\"order\": 5}",
        "{\"order\": {}}",
        "{\"order\": {\"usd\": null}}",
        "{\"order\": {\"usd\": \"5\"}}",
        "{\"order\": {\"usd\": [5]}}",
        "{\"order\": {\"usd\": -1}}",
        "{\"order\": {\"usd\": -0.01}}",
        "{\"order\": {\"usd\": 1e19}}",
        "{\"order\": {\"usd\": 0.0000000001}}",
        "{\"order\": {\"USD\": 5}}",
    ] {
        let arguments = value(arguments);
        let verdict = policy.judge(&call("t", Some(&arguments)));
        let Verdict::Deny(denial) = verdict else { panic!("{arguments:?} {verdict:?}") };
        assert_eq!(
            (denial.code, denial.rule.map(|rule| rule.id.as_str())),
            (DenialCode::ConditionFailed, Some("t.cap"))
        );
        assert_eq!(
            denial.message,
            "args.order.usd must be a number from 0 to 10^18 with at most nine decimals: the counter \"spent\" adds it up (rule t.cap)."
        );
    }
    assert!(matches!(policy.judge(&call("t", None)), Verdict::Deny(_)));
    assert_eq!(counted(&allowed(&policy, "t", "{\"order\": {\"usd\": 0}}")), [("t", "spent", 0, None, Some(100))]);
}

#[test]
fn a_rules_own_words_are_said_for_an_amount_too() {
    let text = format!(
        "tools: {{t: {{rules: [{{reason: No., conditions: [{{path: state.t.spent, op: lt, value: 1}}], {SPENT}}}]}}}}"
    );
    let policy = loaded(&text);
    let Verdict::Deny(denial) = policy.judge(&call("t", None)) else { panic!("allowed") };
    assert_eq!(denial.message, "No.");
}

#[test]
fn an_earlier_rule_decides_before_an_amount_and_a_later_one_after() {
    let rule =
        "{conditions: [{path: state.t.c, op: lt, value: 1}], state: {counter: c, window: day, increment_from: args.n}}";
    let decided = |text: String| match loaded(&text).judge(&call("t", None)) {
        Verdict::Deny(denial) => denial.code,
        other => panic!("{other:?}"),
    };
    let deny = "{name: stop, action: deny}";
    assert_eq!(decided(format!("tools: {{t: {{rules: [{deny}, {rule}]}}}}")), DenialCode::DeniedByRule);
    assert_eq!(decided(format!("tools: {{t: {{rules: [{rule}, {deny}]}}}}")), DenialCode::ConditionFailed);
}

#[test]
fn the_argument_that_is_counted_is_one_that_matters() {
    let policy = spending("{path: state.t.spent, op: lte, value: 100}, {path: args.note, op: exists}");
    assert_eq!(policy.argument_names("t").collect::<Vec<_>>(), ["note", "order"]);
}

#[test]
fn approval_is_asked_for_by_the_first_rule_that_wants_it_when_all_rules_pass() {
    let policy = loaded(
        "tools:\n  t:\n    rules:\n      - {rate_limit: 5/day}\n      - {name: ask, action: require_approval, conditions: [{path: args.n, op: lte, value: 4}], pace: {every: 6s, burst: 3}}\n      - {name: too, action: require_approval}\n  only: {rules: [{action: require_approval}]}\n",
    );
    let allowance = allowed(&policy, "t", "{\"n\": 4}");
    assert_eq!(allowance.approval.map(|rule| rule.id.as_str()), Some("t.ask"));
    assert_eq!((allowance.limits.len(), allowance.paces.len()), (1, 1));
    let Verdict::Deny(denial) = policy.judge(&call("t", Some(&value("{\"n\": 5}")))) else { panic!("allowed") };
    assert_eq!(denial.code, DenialCode::ConditionFailed, "its conditions are requirements, nobody is asked");
    assert_eq!(allowed(&policy, "only", "{}").approval.map(|rule| rule.id.as_str()), Some("only.rules[0]"));
}

#[test]
fn every_pace_is_owed() {
    let policy = loaded("tools: {t: {rules: [{pace: {every: 6s, burst: 3}}]}, '*': {rules: [{pace: {every: 100ms}}]}}");
    let allowance = allowed(&policy, "t", "{}");
    let paces: Vec<_> =
        allowance.paces.iter().map(|pace| (pace.rule.id.as_str(), pace.pace.every_ms, pace.pace.burst)).collect();
    assert_eq!(paces, [("t.rules[0]", 6_000, 3), ("*.rules[0]", 100, 1)]);
}

#[test]
fn a_call_of_rules_without_limits_allocates_nothing_for_them() {
    let policy =
        loaded("tools: {t: {rules: [{conditions: [{path: args.n, op: lte, value: 4}]}, {action: require_approval}]}}");
    let allowance = allowed(&policy, "t", "{\"n\": 4}");
    assert_eq!((allowance.limits.capacity(), allowance.paces.capacity()), (0, 0));
}

#[test]
fn a_policy_counts_where_any_rule_of_it_may_charge_or_read_a_counter() {
    let counts = |rules: &str| loaded(&format!("tools: {{a: {{rules: []}}, t: {{rules: [{rules}]}}}}")).counts();
    assert!(!counts(
        "{pace: {every: 6s}}, {conditions: [{path: args.n, op: lte, value: 4}]}, {action: require_approval}"
    ));
    assert!(counts("{rate_limit: 5/day}"));
    assert!(counts("{action: require_approval, rate_limit: 5/day}"));
    assert!(spending("{path: state.t.spent, op: lte, value: 100}").counts());
    let reads = "tools: {t: {rules: [{state: {counter: spent, window: day}}]}, u: {rules: [{conditions: [{path: state.t.spent, op: lte, value: 1}]}]}}";
    let mut reads = loaded(reads);
    assert!(reads.counts());
    reads.tools.remove("t");
    assert!(reads.counts(), "reading is asking, too");
}
