//! What the policy costs a call: `judge` alone, without pipe, log or store.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use intercept_sandbox::policy::{self, Call, Policy, SchemaKnowledge, Source, Verdict};
use intercept_sandbox::wire::json;

/// Decisions that one figure is the median of; each is the mean of `BATCH`.
const ROUNDS: usize = 101;
const BATCH: u32 = 200;

/// One row: rules that the call must pass, the median time of a decision, its allocations.
pub(crate) struct Row {
    pub(crate) rules: usize,
    pub(crate) median: Duration,
    pub(crate) allocations: u64,
}

/// An allowed call that must pass 1, 100 and 10,000 rules of one tool, each with one condition.
pub(crate) fn rows() -> Vec<Row> {
    [1, 100, 10_000].into_iter().map(row).collect()
}

fn row(rules: usize) -> Row {
    let policy = policy_of(rules);
    let arguments = json::parse(br#"{"width": 1024, "prompt": "a fox", "model": "m"}"#).expect("JSON");
    let call = Call { tool: "t", arguments: Some(&arguments), schema: SchemaKnowledge::Unavailable };
    let decide = || matches!(policy.judge(black_box(&call)), Verdict::Allow(_));
    assert!(decide(), "the bench measures an allowed call");
    let allocations = allocations(decide);
    let batch = if rules > 1000 { 1 } else { BATCH };
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..batch {
                black_box(decide());
            }
            begun.elapsed() / batch
        })
        .collect();
    times.sort_unstable();
    Row { rules, median: times[ROUNDS / 2], allocations }
}

/// Allocations of one decision.
fn allocations(decide: impl Fn() -> bool) -> u64 {
    let measured = allocation_counter::measure(|| {
        black_box(decide());
    });
    measured.count_total
}

/// Conditions of four kinds in turn, as the ready policies have them.
fn policy_of(rules: usize) -> Policy {
    let conditions = [
        "{path: args.width, op: lte, value: 2048}",
        "{path: args.prompt, op: length_lte, value: 4000}",
        "{path: args.model, op: in, value: [k, l, m]}",
        "{path: args.steps, op: gte, value: 1, if_present: true}",
    ];
    let mut text = String::from("tools:\n  t:\n    rules:\n");
    for rule in 0..rules {
        text += &format!("      - conditions: [{}]\n", conditions[rule % conditions.len()]);
    }
    loaded(&text)
}

fn loaded(text: &str) -> Policy {
    match policy::load(&Source { path: Path::new("/bench.yaml"), text }) {
        Ok(loaded) => loaded.policy,
        Err(errors) => panic!("{}", errors[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allocations of a decision that is made for the second time: a pattern keeps what its first search set up.
    fn allocations_of(policy: &Policy, arguments: &str, required: &[String], allowed: bool) -> u64 {
        let arguments = json::parse(arguments.as_bytes()).expect("JSON");
        let call = Call {
            tool: "t",
            arguments: Some(&arguments),
            schema: SchemaKnowledge::Known(policy::KnownTool::requiring(required)),
        };
        let decide = || matches!(policy.judge(&call), Verdict::Allow(_));
        assert_eq!(decide(), allowed, "{arguments:?}");
        allocations(decide)
    }

    #[test]
    fn an_allowed_call_allocates_nothing_however_many_rules_it_passes() {
        for rules in [1, 100, 10_000] {
            let call = r#"{"width": 1024, "prompt": "a fox", "model": "m"}"#;
            assert_eq!(allocations_of(&policy_of(rules), call, &[], true), 0, "{rules} rules");
        }
    }

    #[test]
    fn no_kind_of_check_allocates_when_it_passes() {
        let call = r#"{"n": 5.50, "s": "abc", "p": "/srv/data/x", "u": "https://api.example.com/v1", "l": ["a", "b"], "i": [{"price": 1}, {"price": 2.5}]}"#;
        let checks = [
            "conditions: [{path: args.n, op: eq, value: 5.5}]",
            "conditions: [{path: args.s, op: neq, value: x}]",
            "conditions: [{path: args.s, op: in, value: [abc, d]}]",
            "conditions: [{path: args.s, op: not_in, value: [x, y]}]",
            "conditions: [{path: args.n, op: lt, value: 6}]",
            "conditions: [{path: args.n, op: gte, value: 5.5}]",
            "conditions: [{path: args.s, op: regex, value: '^[a-c]+$'}]",
            "conditions: [{path: args.s, op: not_regex, value: '[0-9]'}]",
            "conditions: [{path: args.l, op: contains, value: a}]",
            "conditions: [{path: args.s, op: not_contains, value: z}]",
            "conditions: [{path: args.s, op: starts_with, value: ab}]",
            "conditions: [{path: args.s, op: length_lte, value: 3}]",
            "conditions: [{path: args.p, op: under_path, value: /srv/data}]",
            "conditions: [{path: args.u, op: host_in, value: ['*.example.com']}]",
            "conditions: [{path: args.s, op: exists}]",
            "conditions: [{path: args.absent, op: eq, value: 1, if_present: true}]",
            "conditions: [{path: 'args.i[*].price', op: lte, value: 3}]",
            "conditions: [{any: [{path: args.n, op: gt, value: 9}, {not: {path: args.s, op: eq, value: x}}]}]",
            "validate: {required_args: true}",
        ];
        let allocating = checks.map(|check| {
            let policy = loaded(&format!("tools: {{t: {{rules: [{{{check}}}]}}}}\nsandbox: {{}}\n"));
            (check, allocations_of(&policy, call, &["n".to_owned(), "s".to_owned()], true))
        });
        let allocating: Vec<_> = allocating.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(allocating, []);
    }

    #[test]
    fn the_count_is_not_blind() {
        let refused = allocations_of(&policy_of(1), r#"{"width": 4096}"#, &[], false);
        assert!(refused > 0, "a refusal has a message");
    }
}
