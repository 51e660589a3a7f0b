//! `explain` agrees with `judge` on random conditions: groups, array paths, every operator.

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{call_with, loaded, value};

/// A test on a path of the arguments below, any operator.
fn test(negated: bool) -> impl Strategy<Value = String> {
    let paths: &[&str] = if negated { &["a", "b", "o.k"] } else { &["a", "b", "o.k", "l[*]", "l[*].k", "m[*][*]"] };
    let tests = vec![
        "eq, value: 1",
        "eq, value: a",
        "eq, value: null",
        "neq, value: a",
        "in, value: [a, 1, null]",
        "not_in, value: [a, 2]",
        "lt, value: 2",
        "lte, value: 1.5",
        "gt, value: 1",
        "gte, value: 1",
        "regex, value: '^a'",
        "not_regex, value: b",
        "contains, value: a",
        "not_contains, value: 1",
        "starts_with, value: /",
        "under_path, value: /a",
        "length_lte, value: 1",
        "host_in, value: [a, '*.a.example']",
    ];
    let exists = vec!["exists", "exists, value: false"];
    let judged = (prop::sample::select(tests), any::<bool>())
        .prop_map(|(test, leave)| format!("{test}{}", if leave { ", if_present: true" } else { "" }));
    let op = prop_oneof![4 => judged, 1 => prop::sample::select(exists).prop_map(str::to_owned)];
    (prop::sample::select(paths), op).prop_map(|(path, op)| format!("{{path: 'args.{path}', op: {op}}}"))
}

fn clause() -> impl Strategy<Value = String> {
    let grouped = |leaf: BoxedStrategy<String>| {
        leaf.prop_recursive(3, 12, 3, |inner| {
            let many = prop::collection::vec(inner.clone(), 1..4).prop_map(|clauses| clauses.join(", "));
            prop_oneof![
                many.clone().prop_map(|clauses| format!("{{any: [{clauses}]}}")),
                many.prop_map(|clauses| format!("{{all: [{clauses}]}}")),
            ]
        })
    };
    let negated = grouped(test(true).boxed()).prop_map(|clause| format!("{{not: {clause}}}"));
    let twice = negated.clone().prop_map(|clause| format!("{{not: {clause}}}"));
    grouped(prop_oneof![4 => test(false), 2 => negated, 1 => twice].boxed())
}

fn argument() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "1",
        "1.5",
        "2",
        "\"a\"",
        "\"b\"",
        "\"/a/x\"",
        "\"/a/../x\"",
        "\"http://x.a.example\"",
        "\"\"",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::option::of(inner).prop_map(|k| k.map_or("{}".to_owned(), |value| format!("{{\"k\": {value}}}"))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn explain_agrees_with_judge_on_groups_arrays_and_every_operator(
        clauses in prop::collection::vec(clause(), 1..4),
        members in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "o", "l", "m"]), argument(), 0..5),
    ) {
        let entries: String = clauses.iter().map(|clause| format!("          - {clause}\n")).collect();
        let policy = loaded(&format!("tools:\n  t:\n    rules:\n      - conditions:\n{entries}"));
        let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let arguments = value(&format!("{{{}}}", members.join(", ")));
        let call = call_with("t", Some(&arguments), 1);
        let explained = policy.explain(&call);
        prop_assert_eq!(format!("{:?}", explained.verdict), format!("{:?}", policy.judge(&call)));
        let rule = &policy.tools["t"].rules[0];
        for (clause, check) in rule.conditions.iter().zip(&explained.rules[0].checks) {
            let told = check.tree.as_ref().map(|tree| tree.outcome);
            prop_assert_eq!(told, Some(clause.check(Some(&arguments))));
        }
        // What is printed decides the same.
        let again = loaded(&policy.normalised());
        let allows = |policy: &Policy| matches!(policy.judge(&call), Verdict::Allow(_));
        prop_assert_eq!(allows(&again), allows(&policy));
    }
}
