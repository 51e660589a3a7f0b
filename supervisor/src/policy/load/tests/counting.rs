//! What counts, from text to model: `state`, conditions on it, `pace`, `align`, `approvals`.

use std::time::{Duration, Instant};

use super::place;
use crate::bounds::{POLICY_BYTES_MAX, POLICY_CONDITIONS_MAX};
use crate::limits::{Amount, CalendarUnit, Quota, Window};
use crate::policy::codes::Code;
use crate::policy::model::{Approvals, Counter, Increment, Pace, Rule, RuleAction};
use crate::policy::testing::{errors, loaded, rendered, warnings};

const READING: &str = "{path: state.t.c, op: lte, value: 9}";

/// Code, policy, line and column of the one error. `@` stands for a condition that reads the counter `c` of `t`; columns are
/// those of the text with `@`.
pub(super) const ERRORS: &[(Code, &str, u32, u32)] = &[
    (Code::WrongType, "tools: {t: {rules: [{conditions: [@], state: c}]}}\n", 1, 46),
    (Code::MissingKey, "tools: {t: {rules: [{conditions: [@], state: {window: day}}]}}\n", 1, 46),
    (Code::MissingKey, "tools: {t: {rules: [{conditions: [@], state: {counter: c}}]}}\n", 1, 46),
    (Code::UnknownKey, "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, max: 1}}]}}\n", 1, 72),
    (Code::BadName, "tools: {t: {rules: [{conditions: [@], state: {counter: ' c', window: day}}]}}\n", 1, 56),
    (Code::OutOfRange, "tools: {t: {rules: [{conditions: [@], state: {counter: '', window: day}}]}}\n", 1, 56),
    (Code::BadRateLimit, "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: hourly}}]}}\n", 1, 67),
    (
        Code::BadRateLimit,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: 2h, align: calendar}}]}}\n",
        1,
        78,
    ),
    (Code::BadRateLimit, "tools: {t: {rules: [{rate_limit: {max: 1, window: 90s, align: calendar}}]}}\n", 1, 63),
    (Code::UnknownValue, "tools: {t: {rules: [{rate_limit: {max: 1, window: 60s, align: utc}}]}}\n", 1, 63),
    (Code::BadUnit, "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: 5x}}]}}\n", 1, 67),
    (Code::OutOfRange, "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: 367d}}]}}\n", 1, 67),
    (Code::OutOfRange, "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: 0s}}]}}\n", 1, 67),
    (
        Code::Exclusive,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: 1, increment_from: args.a}}]}}\n",
        1,
        86,
    ),
    (
        Code::OutOfRange,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: 0}}]}}\n",
        1,
        83,
    ),
    (
        Code::OutOfRange,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: -1}}]}}\n",
        1,
        83,
    ),
    (
        Code::OutOfRange,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: 1e-10}}]}}\n",
        1,
        83,
    ),
    (
        Code::OutOfRange,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: 1e19}}]}}\n",
        1,
        83,
    ),
    (
        Code::WrongType,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: '1'}}]}}\n",
        1,
        83,
    ),
    (
        Code::Ambiguous,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment: 010}}]}}\n",
        1,
        83,
    ),
    (
        Code::BadArgumentPath,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment_from: amount}}]}}\n",
        1,
        88,
    ),
    (
        Code::BadArgumentPath,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment_from: 'args.a[*].b'}}]}}\n",
        1,
        88,
    ),
    (
        Code::BadArgumentPath,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day, increment_from: state.t.c}}]}}\n",
        1,
        88,
    ),
    (Code::BadStatePath, "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 9}]}]}}\n", 1, 42),
    (Code::BadStatePath, "tools: {t: {rules: [{conditions: [{path: state, op: lt, value: 1}]}]}}\n", 1, 42),
    (Code::BadStatePath, "tools: {t: {rules: [{conditions: [{path: state.t, op: lt, value: 1}]}]}}\n", 1, 42),
    (
        Code::BadStatePath,
        "tools: {'*': {rules: [{conditions: [{path: state._global.c, op: lt, value: 1}, {path: 'state.*.c', op: lt, value: 1}], state: {counter: c, window: day}}]}}\n",
        1,
        87,
    ),
    (Code::UnreadCounter, "tools: {t: {rules: [{state: {counter: c, window: day}}]}}\n", 1, 39),
    (
        Code::DuplicateCounter,
        "tools: {t: {rules: [{conditions: [@], state: {counter: c, window: day}}, {state: {counter: c, window: hour}}]}}\n",
        1,
        92,
    ),
    (
        Code::UnknownOperator,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: neq, value: 1}], state: {counter: c, window: day}}]}}\n",
        1,
        57,
    ),
    (
        Code::UnknownOperator,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: in, value: [1]}], state: {counter: c, window: day}}]}}\n",
        1,
        57,
    ),
    (
        Code::UnknownOperator,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: exists, value: true}], state: {counter: c, window: day}}]}}\n",
        1,
        57,
    ),
    (
        Code::UnknownOperator,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: most, value: 1}], state: {counter: c, window: day}}]}}\n",
        1,
        57,
    ),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lte, value: '1'}], state: {counter: c, window: day}}]}}\n",
        1,
        69,
    ),
    (
        Code::OutOfRange,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: eq, value: 1e-10}], state: {counter: c, window: day}}]}}\n",
        1,
        68,
    ),
    (
        Code::Exclusive,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 1, if_present: true}], state: {counter: c, window: day}}]}}\n",
        1,
        71,
    ),
    (
        Code::MissingKey,
        "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt}], state: {counter: c, window: day}}]}}\n",
        1,
        35,
    ),
    (Code::MissingKey, "tools: {t: {rules: [{pace: {burst: 2}}]}}\n", 1, 28),
    (Code::OutOfRange, "tools: {t: {rules: [{pace: {every: 0}}]}}\n", 1, 36),
    (Code::OutOfRange, "tools: {t: {rules: [{pace: {every: 86400001ms}}]}}\n", 1, 36),
    (Code::OutOfRange, "tools: {t: {rules: [{pace: {every: 1s, burst: 0}}]}}\n", 1, 47),
    (Code::OutOfRange, "tools: {t: {rules: [{pace: {every: 1s, burst: 10001}}]}}\n", 1, 47),
    (Code::BadUnit, "tools: {t: {rules: [{pace: {every: 6/minute}}]}}\n", 1, 36),
    (Code::DenyWithChecks, "tools: {t: {rules: [{action: deny, pace: {every: 1s}}]}}\n", 1, 36),
    (
        Code::DenyWithChecks,
        "tools: {t: {rules: [{conditions: [@]}, {action: deny, state: {counter: c, window: day}}]}}\n",
        1,
        55,
    ),
    (Code::OutOfRange, "approvals: {timeout: 0s}\ntools: {t: {rules: [{action: require_approval}]}}\n", 1, 22),
    (Code::OutOfRange, "approvals: {timeout: 3601s}\ntools: {t: {rules: [{action: require_approval}]}}\n", 1, 22),
    (Code::OutOfRange, "approvals: {valid: 8d}\ntools: {t: {rules: [{action: require_approval}]}}\n", 1, 20),
    (Code::UnknownKey, "approvals: {timeot: 1s}\ntools: {t: {rules: [{action: require_approval}]}}\n", 1, 13),
    (Code::WrongType, "approvals:\ntools: {t: {rules: [{action: require_approval}]}}\n", 1, 10),
];

#[test]
fn every_error_of_what_counts_names_its_exact_place() {
    let mut wrong = String::new();
    for (code, text, line, column) in ERRORS {
        let found = errors(&text.replace('@', READING));
        let before = text.lines().nth(*line as usize - 1).map_or("", |text| &text[..*column as usize - 1]);
        let shift = before.matches('@').count() * (READING.len() - 1);
        let wanted = (code.as_str(), *line, *column + u32::try_from(shift).expect("small"));
        if found.len() != 1 || place(&found[0]) != wanted {
            wrong.push_str(&format!("{text}wanted {wanted:?}, column {column}\n{}\n", rendered(&found)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn rule(text: &str) -> Rule {
    loaded(&format!("tools: {{t: {{rules: [{text}]}}}}")).tools["t"].rules[0].clone()
}

fn counter(state: &str) -> Counter {
    let text = format!("{{conditions: [{READING}], state: {{counter: c, {state}}}}}");
    rule(&text).state.expect("a counter")
}

#[test]
fn windows_of_counters_are_calendar_units_or_sliding_times_and_align_flips_either() {
    let sliding = |seconds: u64| Window::Sliding { window_ms: seconds * 1000 };
    let calendar = |unit| Window::Calendar { unit };
    for (text, window) in [
        ("window: minute", calendar(CalendarUnit::Minute)),
        ("window: hour", calendar(CalendarUnit::Hour)),
        ("window: day", calendar(CalendarUnit::Day)),
        ("window: day, align: calendar", calendar(CalendarUnit::Day)),
        ("window: day, align: sliding", sliding(86_400)),
        ("window: 1d", sliding(86_400)),
        ("window: 60", sliding(60)),
        ("window: 90s, align: sliding", sliding(90)),
        ("window: 1m, align: calendar", calendar(CalendarUnit::Minute)),
        ("window: 3600s, align: calendar", calendar(CalendarUnit::Hour)),
        ("window: 1d, align: calendar", calendar(CalendarUnit::Day)),
    ] {
        assert_eq!(counter(text).window, window, "{text}");
    }
}

#[test]
fn rate_limits_align_too() {
    let quota = |text: &str| rule(&format!("{{rate_limit: {{max: 5, {text}}}}}")).rate_limit;
    assert_eq!(quota("window: 1h, align: calendar"), Some(Quota::Calendar { max: 5, unit: CalendarUnit::Hour }));
    assert_eq!(quota("window: 1h, align: sliding"), Some(Quota::Sliding { max: 5, window_ms: 3_600_000 }));
    assert_eq!(quota("window: 1h"), Some(Quota::Sliding { max: 5, window_ms: 3_600_000 }));
}

#[test]
fn increments_are_one_or_exact_decimals_or_an_argument() {
    assert_eq!(counter("window: day").increment, Increment::Fixed(Amount::ONE));
    let cent = Increment::Fixed(Amount::from_billionths(10_000_000));
    assert_eq!(counter("window: day, increment: 0.01").increment, cent);
    let from = Increment::From(vec!["a".into(), "b".into()]);
    assert_eq!(counter("window: day, increment_from: args.a.b").increment, from);
}

#[test]
fn pace_and_approvals_take_their_bounds_and_defaults() {
    assert_eq!(rule("{pace: {every: 6s}}").pace, Some(Pace { every_ms: 6_000, burst: 1 }));
    assert_eq!(rule("{pace: {every: 250ms, burst: 10000}}").pace, Some(Pace { every_ms: 250, burst: 10_000 }));
    assert_eq!(rule("{pace: {every: 1d}}").pace, Some(Pace { every_ms: 86_400_000, burst: 1 }));
    let rule = "tools: {t: {rules: [{action: require_approval}]}}";
    assert_eq!(loaded(rule).approvals, Approvals::default());
    assert_eq!(loaded(rule).tools["t"].rules[0].action, RuleAction::RequireApproval);
    let seconds = Duration::from_secs;
    let given = loaded(&format!("approvals: {{timeout: 1h, valid: 0}}\n{rule}\nsandbox: {{}}")).approvals;
    assert_eq!(given, Approvals { timeout: seconds(3600), valid: seconds(0) });
    let given = loaded(&format!("approvals: {{timeout: 1, valid: 7d}}\n{rule}\nsandbox: {{}}")).approvals;
    assert_eq!(given, Approvals { timeout: seconds(1), valid: seconds(604_800) });
    assert!(warnings(&format!("approvals: {{timeout: 1, valid: 7d}}\n{rule}\nsandbox: {{}}")).is_empty());
}

/// What the conditions of a rule read, and whether it is the rule's own counter.
fn reads(text: &str, tool: &str, rule: usize) -> Vec<(String, String, bool)> {
    let policy = loaded(text);
    let conditions = &policy.tools[tool].rules[rule].state_conditions;
    conditions.iter().map(|condition| (condition.tool.clone(), condition.counter.clone(), condition.own)).collect()
}

fn counted(tool: &str, counter: &str, own: bool) -> (String, String, bool) {
    (tool.into(), counter.into(), own)
}

#[test]
fn a_path_finds_the_block_of_its_tool_wherever_that_stands() {
    let text = "tools:\n  a:\n    rules:\n      - conditions: [{path: state.b.n, op: lt, value: 5}, {path: state._global.all, op: lt, value: 5}]\n  b:\n    rules:\n      - {conditions: [{path: state.b.n, op: lt, value: 3}], state: {counter: n, window: hour}}\n      - conditions: [{path: state.b.n, op: gte, value: 0}]\n  '*': {rules: [{state: {counter: all, window: 90s}}]}\n";
    assert_eq!(reads(text, "a", 0), [counted("b", "n", false), counted("*", "all", false)]);
    assert_eq!(reads(text, "b", 0), [counted("b", "n", true)]);
    assert_eq!(reads(text, "b", 1), [counted("b", "n", false)], "another rule of the tool does not feed it");
    let condition = &loaded(text).tools["a"].rules[0].state_conditions[1];
    assert_eq!(condition.window, Window::Sliding { window_ms: 90_000 });
}

#[test]
fn names_with_dots_find_the_one_block_that_fits_and_two_are_an_error() {
    let block = |tool: &str, counter: &str| {
        format!(
            "  {tool}: {{rules: [{{conditions: [{{path: state.{tool}.{counter}, op: lt, value: 3}}], state: {{counter: {counter}, window: day}}}}]}}\n"
        )
    };
    let dotted_tool = format!("tools:\n{}  a: {{}}\n", block("a.b", "c"));
    assert_eq!(reads(&dotted_tool, "a.b", 0), [counted("a.b", "c", true)]);
    let dotted_counter = format!("tools:\n{}  a.b: {{}}\n", block("a", "b.c"));
    assert_eq!(reads(&dotted_counter, "a", 0), [counted("a", "b.c", true)]);
    let found = errors(&format!("tools:\n{}{}", block("a", "b.c"), block("a.b", "c")));
    assert_eq!(found.iter().map(place).collect::<Vec<_>>()[0], ("ISB-P027", 2, 36), "{}", rendered(&found));
    assert!(found[0].message.contains("lines 2 and 3"), "{}", found[0]);
}

#[test]
fn global_is_the_tool_of_that_name_where_there_is_one_and_every_tool_where_not() {
    let tool = "tools: {_global: {rules: [{conditions: [{path: state._global.c, op: lt, value: 3}], state: {counter: c, window: day}}]}}";
    assert_eq!(reads(tool, "_global", 0), [counted("_global", "c", true)]);
    let both = "tools:\n  _global: {rules: [{state: {counter: c, window: day}}]}\n  '*': {rules: [{conditions: [{path: state._global.c, op: lt, value: 3}], state: {counter: c, window: day}}]}\n";
    assert!(errors(both).iter().any(|error| error.message.contains("two counters")));
}

#[test]
fn a_mistyped_counter_is_suggested_and_a_broken_block_is_said_once() {
    let text = "tools: {t: {rules: [{conditions: [{path: state.t.spendings, op: lt, value: 3}, {path: state.t.spending, op: lt, value: 3}], state: {counter: spending, window: day}}]}}";
    let found = errors(text);
    assert_eq!(found[0].help.as_deref(), Some("did you mean \"state.t.spending\"?"));
    let text = "tools: {t: {rules: [{conditions: [{path: state.t.c, op: lt, value: 3}], state: {window: day}}]}}";
    assert_eq!(errors(text).iter().map(|error| error.code).collect::<Vec<_>>(), ["ISB-P015"]);
}

#[test]
fn two_counters_of_one_name_under_two_tools_are_two() {
    let of = |tool: &str| {
        format!(
            "  {tool}: {{rules: [{{conditions: [{{path: state.{tool}.c, op: lt, value: 3}}], state: {{counter: c, window: day}}}}]}}\n"
        )
    };
    let text = format!("tools:\n{}{}", of("a"), of("b"));
    assert_eq!(reads(&text, "b", 0), [counted("b", "c", true)]);
}

#[test]
fn policies_full_of_counters_load_in_bounded_time() {
    let started = Instant::now();
    let counters = |count: usize, reading: &str| {
        let one = |n: usize| {
            format!(
                " t{n}: {{rules: [{{state: {{counter: c, window: day}}, conditions: [{{path: state.t{n}.{reading}, op: lt, value: 1}}]}}]}}\n"
            )
        };
        format!("tools:\n{}", (0..count).map(one).collect::<String>())
    };
    let full = counters(9_500, "c");
    assert!(full.len() > POLICY_BYTES_MAX as usize * 9 / 10, "{}", full.len());
    assert_eq!(loaded(&full).tools["t9499"].rules[0].state_conditions.len(), 1);
    // Neither a path nor a block finds the other.
    assert_eq!(errors(&counters(9_500, "d")).len(), crate::bounds::POLICY_DIAGNOSTICS_MAX + 1);
    // A path that could be split in many places.
    let dots = ".a".repeat(POLICY_BYTES_MAX as usize / 2 - 200);
    let long = format!("tools: {{t: {{rules: [{{conditions: [{{path: state{dots}, op: lt, value: 1}}]}}]}}}}");
    assert_eq!(errors(&long)[0].code, Code::BadStatePath.as_str());
    // Many rules that read one counter.
    let readers = "   - {conditions: [{path: state.t.c, op: lt, value: 1}]}\n".repeat(10_000);
    let text = format!("tools:\n t:\n  rules:\n   - {{state: {{counter: c, window: day}}}}\n{readers}");
    assert_eq!(loaded(&text).tools["t"].rules[10_000].state_conditions[0].counter, "c");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn conditions_on_counters_are_within_the_bound_of_all_conditions() {
    let conditions = |count: usize| {
        let again = ", *c".repeat(count - 1);
        format!(
            "tools: {{t: {{rules: [{{state: {{counter: c, window: day}}, conditions: [&c {{path: state.t.c, op: lt, value: 1}}{again}]}}]}}}}"
        )
    };
    let most = loaded(&conditions(POLICY_CONDITIONS_MAX));
    assert_eq!(most.tools["t"].rules[0].state_conditions.len(), POLICY_CONDITIONS_MAX);
    assert_eq!(errors(&conditions(POLICY_CONDITIONS_MAX + 1))[0].code, Code::TooMany.as_str());
}
