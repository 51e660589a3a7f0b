//! Paces against an oracle that tries every millisecond, and all-or-none.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// A reading `ns` after some boot. The wall clock plays no part: it stands.
const fn at(ns: u64) -> Now {
    Now { wall_ns: 7, boot_ns: ns }
}

fn passes(paces: &mut Paces, ns: u64, asked: &[(&str, u64, u32)]) -> Result<(), Early> {
    paces.check(at(ns), asked).map(Permit::commit)
}

/// GCRA by its definition: a bucket of `burst` calls that drips one each `every_ms`, counted in nanoseconds of fill.
struct Bucket {
    every_ns: u128,
    burst: u128,
    fill_ns: u128,
    seen_ns: u64,
}

impl Bucket {
    fn new(every_ms: u64, burst: u32) -> Self {
        Self { every_ns: u128::from(every_ms * MS), burst: u128::from(burst), fill_ns: 0, seen_ns: 0 }
    }

    /// What is in it at `ns`.
    fn fill_at(&self, ns: u64) -> u128 {
        self.fill_ns.saturating_sub(u128::from(ns - self.seen_ns))
    }

    fn has_room(&self, ns: u64) -> bool {
        self.fill_at(ns) + self.every_ns <= self.every_ns * self.burst
    }

    fn pour(&mut self, ns: u64) {
        (self.fill_ns, self.seen_ns) = (self.fill_at(ns) + self.every_ns, ns);
    }
}

proptest! {
    #[test]
    fn paces_answer_as_the_oracle(
        kinds in prop::collection::vec((1u64..20, 1u32..4), 3),
        trace in prop::collection::vec((0..25 * MS, prop::sample::subsequence(vec![0usize, 1, 2], 1..=3)), 1..60),
    ) {
        let names = ["a", "b", "c"];
        let (mut paces, mut ns) = (Paces::new(), 5);
        let mut buckets: Vec<Bucket> = kinds.iter().map(|&(every_ms, burst)| Bucket::new(every_ms, burst)).collect();
        for (step, rules) in trace {
            ns += step;
            let asked: Vec<_> = rules.iter().map(|&rule| (names[rule], kinds[rule].0, kinds[rule].1)).collect();
            let all_have_room = |ns| rules.iter().all(|&rule| buckets[rule].has_room(ns));
            match passes(&mut paces, ns, &asked) {
                Ok(()) => {
                    prop_assert!(all_have_room(ns));
                    rules.iter().for_each(|&rule| buckets[rule].pour(ns));
                }
                Err(Early { index, retry_after_ms }) => {
                    let first = (0..).find(|wait_ms| all_have_room(ns + wait_ms * MS)).unwrap();
                    prop_assert_eq!(retry_after_ms, first);
                    prop_assert!(first > 0 && !buckets[rules[index]].has_room(ns + (first - 1) * MS));
                }
            }
        }
    }

    #[test]
    fn no_span_ever_holds_more_than_its_drips_and_the_burst(
        every_ms in 1u64..20, burst in 1u32..5, steps in prop::collection::vec(0..15 * MS, 1..80),
    ) {
        let (mut paces, mut ns, mut granted) = (Paces::new(), 0, Vec::new());
        for step in steps {
            ns += step;
            if passes(&mut paces, ns, &[("r", every_ms, burst)]).is_ok() {
                granted.push(ns);
            }
        }
        for (first, begun) in granted.iter().enumerate() {
            for (last, ended) in granted.iter().enumerate().skip(first) {
                let calls = (last - first + 1) as u64;
                prop_assert!(calls <= u64::from(burst) + (ended - begun) / (every_ms * MS));
            }
        }
    }
}

#[test]
fn a_burst_then_one_each_six_seconds_granted_exactly_when_said() {
    let mut paces = Paces::new();
    let asked = [("t.rules[0]", 6_000, 3)];
    let begun = 1_234_567_891;
    for _ in 0..3 {
        assert_eq!(passes(&mut paces, begun, &asked), Ok(()));
    }
    assert_eq!(passes(&mut paces, begun, &asked), Err(Early { index: 0, retry_after_ms: 6_000 }));
    assert_eq!(passes(&mut paces, begun + 1, &asked), Err(Early { index: 0, retry_after_ms: 6_000 }), "rounded up");
    assert!(passes(&mut paces, begun + 6_000 * MS - 1, &asked).is_err());
    assert_eq!(passes(&mut paces, begun + 6_000 * MS, &asked), Ok(()));
    assert!(passes(&mut paces, begun + 6_000 * MS, &asked).is_err());
}

#[test]
fn a_permit_that_is_dropped_consumes_nothing() {
    let mut paces = Paces::new();
    for _ in 0..5 {
        drop(paces.check(at(1), &[("a", 1_000, 1)]).unwrap());
    }
    assert_eq!(passes(&mut paces, 1, &[("a", 1_000, 1)]), Ok(()));
    assert!(passes(&mut paces, 1, &[("a", 1_000, 1)]).is_err());
}

#[test]
fn one_pace_too_early_consumes_none_of_the_others() {
    let mut paces = Paces::new();
    assert_eq!(passes(&mut paces, 0, &[("slow", 9_000, 1)]), Ok(()));
    let both = [("fast", 1_000, 1), ("slow", 9_000, 1)];
    assert_eq!(passes(&mut paces, 5 * MS, &both), Err(Early { index: 1, retry_after_ms: 8_995 }));
    assert_eq!(passes(&mut paces, 5 * MS, &both[..1]), Ok(()));
    assert_eq!(passes(&mut paces, 5 * MS, &both), Err(Early { index: 1, retry_after_ms: 8_995 }), "the longest wait");
}

#[test]
fn changed_parameters_start_that_rule_anew_and_no_other() {
    let mut paces = Paces::new();
    let before = [("a", 9_000, 1), ("b", 9_000, 1)];
    assert_eq!(passes(&mut paces, 0, &before), Ok(()));
    assert_eq!(passes(&mut paces, 1, &[("a", 9_001, 1)]), Ok(()));
    assert!(passes(&mut paces, 1, &[("a", 9_001, 1)]).is_err());
    assert!(passes(&mut paces, 1, &before[1..]).is_err());
}

#[test]
fn a_rule_given_twice_takes_two_of_its_burst() {
    let mut paces = Paces::new();
    assert_eq!(passes(&mut paces, 0, &[("a", 10, 1), ("a", 10, 1)]), Err(Early { index: 1, retry_after_ms: NEVER_MS }));
    assert_eq!(passes(&mut paces, 0, &[("a", 10, 3), ("a", 10, 3)]), Ok(()));
    let refused = Early { index: 1, retry_after_ms: 10 };
    assert_eq!(passes(&mut paces, 0, &[("a", 10, 3), ("a", 10, 3)]), Err(refused));
    assert_eq!(passes(&mut paces, 0, &[("a", 10, 3)]), Ok(()));
}

#[test]
fn a_pace_that_cannot_be_kept_allows_nothing() {
    let never = Err(Early { index: 0, retry_after_ms: NEVER_MS });
    let century_ms = PACE_REST_MS_MAX;
    for (every_ms, burst) in [(0, 1), (1, 0), (century_ms + 1, 1), (century_ms / 2 + 1, 2), (u64::MAX, u32::MAX)] {
        assert_eq!(passes(&mut Paces::new(), 5, &[("a", every_ms, burst)]), never, "{every_ms} {burst}");
    }
    let often = [("a", century_ms, 1); 9];
    assert_eq!(passes(&mut Paces::new(), 5, &often), Err(Early { index: 1, retry_after_ms: NEVER_MS }));
    let mut paces = Paces::new();
    assert_eq!(passes(&mut paces, u64::MAX / 4, &[("a", century_ms, 1)]), Ok(()));
    assert_eq!(
        passes(&mut paces, u64::MAX / 4, &[("a", century_ms, 1)]),
        Err(Early { index: 0, retry_after_ms: century_ms })
    );
}

#[test]
fn no_more_rules_than_the_bound_are_remembered() {
    let mut paces = Paces::new();
    let names: Vec<String> = (0..PACES_MAX).map(|number| number.to_string()).collect();
    for (number, name) in names.iter().enumerate() {
        assert_eq!(passes(&mut paces, number as u64, &[(name, 10, 1)]), Ok(()));
    }
    let ns = PACES_MAX as u64;
    let two = [("x", 10, 1), ("y", 10, 1)];
    assert_eq!(passes(&mut paces, ns, &two), Err(Early { index: 0, retry_after_ms: 10 }));
    assert_eq!(paces.rules.len(), PACES_MAX);
    assert_eq!(passes(&mut paces, 10 * MS, &two[..1]), Ok(()), "the first rule has rested and makes room");
    assert_eq!(passes(&mut paces, 10 * MS, &two[1..]), Err(Early { index: 0, retry_after_ms: 1 }));
    assert_eq!(passes(&mut paces, 10 * MS + 1, &two[1..]), Ok(()));
    assert_eq!(paces.rules.len(), PACES_MAX);
}
