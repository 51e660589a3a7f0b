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
    let allocations = allocation_counter::measure(|| {
        black_box(decide());
    })
    .count_total;
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
    match policy::load(&Source { path: Path::new("/bench.yaml"), text: &text }) {
        Ok(loaded) => loaded.policy,
        Err(errors) => panic!("{}", errors[0]),
    }
}
