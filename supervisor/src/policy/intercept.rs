//! Policies in the words of Intercept v1, as they stand, decided call by call as Intercept decides them. The expected decisions
//! follow its engine (rules in order, every one must pass, counters reserved last); docs/policy.md lists where we differ.

use std::collections::HashMap;

use super::model::Policy;
use super::testing::{call, errors, loaded, value};
use super::verdict::Verdict;
use crate::limits::Amount;

/// Counts of one calendar window, judged as the stores judge claims: each bound on what stands before the call, the upper one
/// with what the call adds.
#[derive(Default)]
struct Ledger(HashMap<String, Amount>);

impl Ledger {
    /// The message of the denial, or none where the call passes and is counted.
    fn decide(&mut self, policy: &Policy, tool: &str, arguments: &str) -> Option<String> {
        let arguments = value(arguments);
        let allowance = match policy.judge(&call(tool, Some(&arguments))) {
            Verdict::Allow(allowance) => allowance,
            Verdict::Deny(denial) => return Some(denial.message),
            Verdict::NeedsSchema => panic!("Intercept knows no schemas"),
        };
        let claims: Vec<_> = allowance.limits.iter().map(|limit| limit.claim(policy, "5e55")).collect();
        for (limit, claim) in allowance.limits.iter().zip(&claims) {
            let before = self.0.get(&claim.key).copied().unwrap_or_default();
            if before < claim.at_least || before.saturating_add(claim.amount) > claim.at_most {
                return Some(limit.rule.reason.clone().unwrap_or_else(|| limit.reached()));
            }
        }
        for claim in claims {
            let standing = self.0.entry(claim.key).or_default();
            *standing = standing.saturating_add(claim.amount);
        }
        None
    }

    /// Makes the calls; each is a tool, its arguments, and the words that its denial must hold, or none.
    fn run(&mut self, policy: &Policy, calls: &[(&str, &str, Option<&str>)]) {
        for (index, (tool, arguments, denied)) in calls.iter().enumerate() {
            let found = self.decide(policy, tool, arguments);
            let as_wanted = match (&found, denied) {
                (Some(found), Some(denied)) => found.contains(denied),
                (found, denied) => found.is_none() && denied.is_none(),
            };
            assert!(as_wanted, "call {index}, {tool} {arguments}: {found:?}, wanted {denied:?}");
        }
    }
}

const CODE_HOST: &str = r#"
version: "1"
description: "An agent that triages a code host"
hide:
  - transfer_repository
  - list_webhooks
tools:
  create_issue:
    rules:
      - name: "issues an hour"
        rate_limit: 2/hour
        on_deny: "Two issues an hour are enough"
      - name: "only our repositories"
        conditions:
          - {path: "args.repository.owner", op: "in", value: ["acme", "acme-labs"]}
          - {path: "args.title", op: "regex", value: "^\\[bot\\] "}
        on_deny: "Not our repository, or no [bot] title"
  merge_pull_request:
    rules:
      - name: "never the main branch"
        conditions:
          - path: "args.base"
            op: "neq"
            value: "main"
  delete_repository:
    rules:
      - name: "no deletion"
        action: "deny"
        on_deny: "Repositories are deleted by people"
  "*":
    rules:
      - name: "calls a minute"
        rate_limit: 5/minute
"#;

#[test]
fn a_code_host_with_hidden_tools_short_limits_and_a_limit_on_all_tools() {
    let policy = loaded(CODE_HOST);
    let issue = r#"{"repository": {"owner": "acme"}, "title": "[bot] flaky test"}"#;
    let mut minute = Ledger::default();
    minute.run(
        &policy,
        &[
            ("transfer_repository", "{}", Some("transfer_repository")),
            ("delete_repository", "{}", Some("Repositories are deleted by people")),
            // A refused call is charged to nothing.
            ("create_issue", r#"{"repository": {"owner": "evil"}, "title": "[bot] x"}"#, Some("Not our repository")),
            ("create_issue", r#"{"repository": {"owner": "acme"}, "title": "x"}"#, Some("Not our repository")),
            ("create_issue", r#"{"title": "[bot] x"}"#, Some("Not our repository")),
            ("create_issue", issue, None),
            ("create_issue", issue, None),
            ("create_issue", issue, Some("Two issues an hour are enough")),
            ("merge_pull_request", r#"{"base": "main"}"#, Some("main")),
            ("merge_pull_request", "{}", Some("main")),
            ("merge_pull_request", r#"{"base": "dev"}"#, None),
            // Tools that nothing lists pass, under the limit of all tools: 3 calls stand.
            ("get_file", "{}", None),
            ("get_file", "{}", None),
            ("get_file", "{}", Some("Rate limit of 5 per minute reached.")),
            ("merge_pull_request", r#"{"base": "dev"}"#, Some("Rate limit of 5 per minute reached.")),
        ],
    );
}

const PAYMENTS: &str = r#"
version: "1"
description: "Payments under a daily budget"
default: "allow"
tools:
  create_charge:
    rules:
      - name: "largest charge"
        conditions:
          - {path: "args.amount", op: "lte", value: 50000}
        on_deny: "A charge is at most 500.00"
      - name: "daily spend"
        conditions:
          - path: "state.create_charge.daily_spend"
            op: "lt"
            value: 100000
        on_deny: "The day's budget is used up"
        state:
          counter: "daily_spend"
          window: "day"
          increment_from: "args.amount"
      - name: "currency"
        conditions:
          - {path: "args.currency", op: "not_in", value: ["btc", "eth"]}
        on_deny: "No crypto"
  create_refund:
    rules:
      - name: "small refunds"
        conditions:
          - {path: "args.amount", op: "lt", value: 10000}
          - {path: "args.amount", op: "gt", value: 0}
        on_deny: "Larger refunds need a person"
      - name: "refund points"
        conditions:
          - {path: "state.create_refund.points", op: "lte", value: 5}
        state: {counter: "points", window: "day", increment: 2}
        on_deny: "No refunds left today"
  close_day:
    rules:
      - name: "after spending only"
        conditions:
          - {path: "state.create_charge.daily_spend", op: "gte", value: 50000}
        on_deny: "Nothing to close"
  "*":
    rules:
      - name: "calls"
        conditions:
          - {path: "state._global.calls", op: "lte", value: 9}
        on_deny: "Nine calls a minute"
        state: {counter: "calls", window: "minute"}
"#;

#[test]
fn payments_with_a_budget_from_arguments_and_counters_read_across_tools() {
    let policy = loaded(PAYMENTS);
    let charge = |amount: &str| format!(r#"{{"amount": {amount}, "currency": "usd"}}"#);
    let (half, over, odd, text) = (charge("50000"), charge("50001"), charge("49999"), charge("\"5\""));
    let (one, none) = (charge("1"), charge("0"));
    let mut day = Ledger::default();
    day.run(
        &policy,
        &[
            ("close_day", "{}", Some("Nothing to close")),
            ("create_charge", &over, Some("at most 500.00")),
            ("create_charge", &half, None),
            ("close_day", "{}", None),
            // 50000 stand; with 50000 more they are not less than 100000.
            ("create_charge", &half, Some("budget is used up")),
            ("create_charge", r#"{"amount": 1, "currency": "btc"}"#, Some("No crypto")),
            ("create_charge", &odd, None),
            ("create_charge", &one, Some("budget is used up")),
            ("create_charge", &none, None),
            ("create_charge", &text, Some("at most 500.00")),
            ("create_charge", r#"{"currency": "usd"}"#, Some("at most 500.00")),
            ("create_refund", r#"{"amount": 10000}"#, Some("need a person")),
            ("create_refund", r#"{"amount": 0}"#, Some("need a person")),
            ("create_refund", r#"{"amount": 9999}"#, None),
            ("create_refund", r#"{"amount": 1}"#, None),
            // Two each: four stand, and six are more than five.
            ("create_refund", r#"{"amount": 1}"#, Some("No refunds left today")),
            ("list_charges", "{}", None),
            ("list_charges", "{}", None),
            ("list_charges", "{}", None),
            ("list_charges", "{}", Some("Nine calls a minute")),
        ],
    );
    Ledger::default().run(&policy, &[("create_charge", &half, None), ("create_refund", r#"{"amount": 1}"#, None)]);
}

const ALLOWLIST: &str = r#"
version: "1"
default: deny
hide: ["debug"]
tools:
  read_file:
    rules: []
  debug:
    rules: []
  search:
    rules:
      - name: "bounded"
        action: "evaluate"
        conditions:
          - {path: "args.limit", op: "gte", value: 1}
          - {path: "args.limit", op: "lte", value: 100.5}
          - {path: "args.tags", op: "contains", value: "public"}
          - {path: "args.cursor", op: "exists", value: false}
          - {path: "args.query", op: "contains", value: "site:"}
          - {path: "args.exact", op: "eq", value: true}
  "*":
    rules:
      - name: "a day"
        rate_limit: 3/day
"#;

#[test]
fn an_allowlist_that_the_rules_of_all_tools_do_not_widen() {
    let policy = loaded(ALLOWLIST);
    let good = r#"{"limit": 100.5, "tags": ["public", "x"], "query": "site:a b", "exact": true}"#;
    let bad = [
        r#"{"limit": 101, "tags": ["public"], "query": "site:a", "exact": true}"#,
        r#"{"limit": 0, "tags": ["public"], "query": "site:a", "exact": true}"#,
        r#"{"limit": 1, "tags": ["publicx"], "query": "site:a", "exact": true}"#,
        r#"{"limit": 1, "tags": ["public"], "query": "a", "exact": true}"#,
        r#"{"limit": 1, "tags": ["public"], "query": "site:a", "exact": false}"#,
        r#"{"limit": 1, "tags": ["public"], "query": "site:a", "exact": true, "cursor": "c"}"#,
    ];
    let mut day = Ledger::default();
    day.run(&policy, &[("delete_file", "{}", Some("not permitted")), ("*", "{}", Some("not permitted"))]);
    day.run(&policy, &[("debug", "{}", Some("Unknown tool")), ("read_file", "{}", None), ("search", good, None)]);
    day.run(&policy, &bad.map(|arguments| ("search", arguments, Some("rule search.bounded"))));
    day.run(&policy, &[("read_file", "{}", None), ("read_file", "{}", Some("Rate limit of 3 per day reached."))]);
}

/// A policy that Intercept accepts and we refuse: the row of docs/policy.md, the rest of the file, the code.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "a `state` block that no condition reads",
        "tools: {t: {rules: [{name: n, conditions: [{path: args.a, op: exists, value: true}], state: {counter: c, window: day}}]}}",
        "ISB-P028",
    ),
    (
        "`state.*.COUNTER`",
        "tools: {'*': {rules: [{name: n, conditions: [{path: 'state.*.c', op: lt, value: 2}, {path: state._global.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "ISB-P027",
    ),
    (
        "on a counter",
        "tools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: neq, value: 2}], state: {counter: c, window: day}}]}}",
        "ISB-P012",
    ),
    (
        "on a counter",
        "tools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: eq, value: '2'}], state: {counter: c, window: day}}]}}",
        "ISB-P021",
    ),
    (
        "`increment: 0`",
        "tools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day, increment: 0}}]}}",
        "ISB-P017",
    ),
    (
        "negative increments",
        "tools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day, increment: -1}}]}}",
        "ISB-P017",
    ),
    (
        "`increment` beside `increment_from`",
        "tools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: lt, value: 2}], state: {counter: c, window: day, increment: 1, increment_from: args.a}}]}}",
        "ISB-P016",
    ),
    ("the same name", "tools: {t: {rules: [{name: n, rate_limit: 1/day}, {name: n, rate_limit: 1/hour}]}}", "ISB-P025"),
    (
        "or `state`",
        "tools: {t: {rules: [{name: n, action: deny, state: {counter: c, window: day}}, {name: m, conditions: [{path: state.t.c, op: lt, value: 2}]}]}}",
        "ISB-P024",
    ),
    (
        "share a count",
        "tools: {a: {rules: [{name: n, conditions: [{path: state.a.b.c, op: lt, value: 2}], state: {counter: b.c, window: day}}]}, a.b: {rules: [{name: n, conditions: [{path: state.a.b.c, op: lt, value: 2}], state: {counter: c, window: day}}]}}",
        "ISB-P027",
    ),
];

#[test]
fn what_is_refused_on_purpose_is_a_row_of_the_reference() {
    let reference = include_str!("../../../docs/policy.md");
    let rows: Vec<&str> = reference.lines().skip_while(|line| !line.starts_with("## Differences")).collect();
    for (row, text, code) in REFUSED {
        let found = errors(&format!("version: '1'\ndefault: deny\n{text}\n"));
        assert!(found.iter().any(|error| error.code == *code), "{row}: {found:?}");
        assert!(rows.iter().any(|line| line.contains(row)), "no row for {row}");
    }
}

#[test]
fn what_is_decided_otherwise_on_purpose() {
    // An amount is not cut: 0.5 counts.
    let half = loaded(
        "version: '1'\ntools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: lte, value: 1}], state: {counter: c, window: day, increment_from: args.n}}]}}",
    );
    let half_call = ("t", r#"{"n": 0.5}"#, None);
    Ledger::default().run(&half, &[half_call, half_call, ("t", r#"{"n": 0.5}"#, Some("at most 1"))]);
    Ledger::default().run(&half, &[("t", r#"{"n": -100}"#, Some("from 0 to 10^18"))]);
    // Both upper bounds count the call in.
    let both = loaded(
        "version: '1'\ntools: {t: {rules: [{name: n, conditions: [{path: state.t.c, op: lte, value: 10}, {path: state.t.c, op: lte, value: 3}], state: {counter: c, window: day, increment: 2}}]}}",
    );
    Ledger::default().run(&both, &[("t", "{}", None), ("t", "{}", Some("at most 3"))]);
    // A block that only other rules read is charged.
    let read = loaded(
        "version: '1'\ntools: {look: {rules: [{name: n, conditions: [{path: state.look.c, op: gte, value: 0}], state: {counter: c, window: day}}]}, act: {rules: [{name: n, conditions: [{path: state.look.c, op: gte, value: 1}]}]}}",
    );
    Ledger::default().run(&read, &[("act", "{}", Some("at least 1")), ("look", "{}", None), ("act", "{}", None)]);
    // Two limits of one window, and a limit beside conditions.
    let two = loaded(
        "tools: {t: {rules: [{rate_limit: 2/day, conditions: [{path: args.a, op: exists}]}, {rate_limit: 1/day}]}}",
    );
    let given = r#"{"a": 1}"#;
    Ledger::default()
        .run(&two, &[("t", "{}", Some("must be given")), ("t", given, None), ("t", given, Some("1 per day"))]);
}
