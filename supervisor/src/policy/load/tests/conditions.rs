//! Errors of conditions on arguments, and their bounds.

use super::*;

/// Code, policy, line and column of the first error.
pub(super) const ERRORS: &[(Code, &str, u32, u32)] = &[
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: 'args.a[0]', op: exists}]}]}}\n", 1, 42),
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: 'args.a[*', op: exists}]}]}}\n", 1, 42),
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: 'args[*].a', op: exists}]}]}}\n", 1, 42),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: not_regex, value: 5}]}]}}\n", 1, 72),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: not_contains, value: {a: 1}}]}]}}\n",
        1,
        75,
    ),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: starts_with, value: 1}]}]}}\n", 1, 74),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: starts_with, value: ''}]}]}}\n", 1, 74),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: a.example}]}]}}\n",
        1,
        70,
    ),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: []}]}]}}\n", 1, 70),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: [a.example, A.example]}]}]}}\n",
        1,
        82,
    ),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: ['*.com']}]}]}}\n",
        1,
        71,
    ),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: ['a.*.com']}]}]}}\n",
        1,
        71,
    ),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: ['https://a.example']}]}]}}\n",
        1,
        71,
    ),
    (
        Code::OperandType,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: [192.0.2.01]}]}]}}\n",
        1,
        71,
    ),
    (
        Code::DuplicateEntry,
        "tools: {t: {rules: [{conditions: [{path: args.a, op: host_in, value: [a.example, a.example]}]}]}}\n",
        1,
        82,
    ),
    (Code::BadRegex, "tools: {t: {rules: [{conditions: [{path: args.a, op: not_regex, value: '('}]}]}}\n", 1, 72),
    (Code::BadRegex, "tools: {t: {rules: [{conditions: [{path: args.a, op: regex, value: '[a-z&&b]'}]}]}}\n", 1, 68),
    (Code::Exclusive, "tools: {t: {rules: [{conditions: [{any: [{path: args.a, op: exists}], op: eq}]}]}}\n", 1, 71),
    (
        Code::Exclusive,
        "tools: {t: {rules: [{conditions: [{any: [{path: args.a, op: exists}], all: [{path: args.a, op: exists}]}]}]}}\n",
        1,
        71,
    ),
    (
        Code::Exclusive,
        "tools: {t: {rules: [{conditions: [{not: {path: args.a, op: exists}, if_present: true}]}]}}\n",
        1,
        69,
    ),
    (Code::WrongType, "tools: {t: {rules: [{conditions: [{any: {path: args.a, op: exists}}]}]}}\n", 1, 41),
    (Code::WrongType, "tools: {t: {rules: [{conditions: [{not: [{path: args.a, op: exists}]}]}]}}\n", 1, 41),
    (Code::BadGroup, "tools: {t: {rules: [{conditions: [{any: []}]}]}}\n", 1, 36),
    (Code::BadGroup, "tools: {t: {rules: [{conditions: [{not: {all: []}}]}]}}\n", 1, 42),
    (Code::BadGroup, "tools: {t: {rules: [{conditions: [{any: [{path: state.t.c, op: lte, value: 1}]}]}]}}\n", 1, 42),
    (Code::BadGroup, "tools: {t: {rules: [{conditions: [{not: {path: state.t.c, op: lte, value: 1}}]}]}}\n", 1, 41),
    (Code::BadGroup, "tools: {t: {rules: [{conditions: [{not: {path: 'args.a[*]', op: eq, value: 1}}]}]}}\n", 1, 48),
    (
        Code::BadGroup,
        "tools: {t: {rules: [{conditions: [{not: {any: [{all: [{path: 'args.a[*]', op: eq, value: 1}]}]}}]}]}}\n",
        1,
        62,
    ),
    (Code::MissingKey, "tools: {t: {rules: [{conditions: [{any: [{op: exists}]}]}]}}\n", 1, 42),
    (
        Code::UnknownKey,
        "tools: {t: {rules: [{conditions: [{none: [{path: args.a, op: exists}], path: args.a, op: exists}]}]}}\n",
        1,
        36,
    ),
    (Code::DuplicateEntry, "hide: [a, b, a]\n", 1, 14),
    (Code::BadName, "hide: [' ']\n", 1, 8),
];

#[test]
fn groups_at_the_bound_load_and_one_deeper_do_not() {
    use crate::bounds::POLICY_GROUP_DEPTH_MAX;
    let nested = |depth: usize, open: &str, close: &str| {
        let test = "{path: args.a, op: exists}";
        format!("tools: {{t: {{rules: [{{conditions: [{}{test}{}]}}]}}}}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("{any: [", "]}"), ("{not: ", "}")] {
        let _ = loaded(&nested(POLICY_GROUP_DEPTH_MAX, open, close));
        let found = errors(&nested(POLICY_GROUP_DEPTH_MAX + 1, open, close));
        assert_eq!(found.iter().map(|error| error.code).collect::<Vec<_>>(), ["ISB-P032"]);
    }
}

#[test]
fn conditions_inside_groups_count_against_the_bound() {
    use crate::bounds::POLICY_CONDITIONS_MAX;
    let anchored = "- &c {path: args.a, op: exists}\n";
    let text = |count: usize| {
        let members = "              - *c\n".repeat(count);
        format!("tools:\n  t:\n    rules:\n      - conditions:\n          {anchored}          - any:\n{members}")
    };
    let code = |text: &str| load(&Source { path: Path::new("/p"), text }).map_err(|errors| errors[0].code.to_owned());
    assert!(code(&text(POLICY_CONDITIONS_MAX - 2)).is_ok());
    assert_eq!(code(&text(POLICY_CONDITIONS_MAX - 1)).map(|_| ()), Err("ISB-P019".to_owned()));
}

#[test]
fn groups_say_what_to_write_instead() {
    let help = |condition: &str| {
        let found = errors(&format!("tools: {{t: {{rules: [{{conditions: [{condition}]}}]}}}}"));
        found[0].help.clone().unwrap_or_default()
    };
    assert!(help("{not: {path: 'args.a[*]', op: eq, value: x}}").contains("neq, not_in, not_contains"));
    assert!(help("{not: [{path: args.a, op: exists}]}").contains("not: {any: [...]}"));
    assert!(help("{any: [{path: state.t.c, op: lte, value: 1}]}").contains("its own entry"));
    assert!(help("{path: 'args.a[0]', op: exists}").contains("args.items[*].price"));
    assert!(help("{path: args.a, op: host_in, value: ['*.com']}").contains("*.example.com"));
}
