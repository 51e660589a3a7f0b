//! What the contract of [`Store`] says, by counting; then every trace on a real Redis must answer the same.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::server::Server;
use super::*;
use crate::bounds::LIMIT_PRUNE_ROWS_MAX;
use crate::limits::{CalendarUnit, NEVER_MS, Window};

const MINUTE: u64 = 60_000 * MS;

#[derive(Default)]
struct Oracle(Vec<(u64, String, i128)>);

impl Oracle {
    fn standing(&self, claim: &Claim, us: u64) -> i128 {
        let stands = |at: u64| match claim.window {
            Window::Sliding { window_ms } => at + window_ms * MS > us,
            Window::Calendar { .. } => (WALL_US + at) / MINUTE == (WALL_US + us) / MINUTE,
        };
        self.0.iter().filter(|(at, key, _)| *key == claim.key && stands(*at)).map(|(_, _, amount)| amount).sum()
    }

    fn most_holds(&self, claims: &[Claim], index: usize, us: u64) -> bool {
        let claim = &claims[index];
        let sum = self.standing(claim, us) + earlier(claims, index) + claim.amount.billionths();
        (0..=Amount::CALL_MAX.billionths()).contains(&claim.amount.billionths()) && sum <= claim.at_most.billionths()
    }

    fn least_holds(&self, claim: &Claim, us: u64) -> bool {
        self.standing(claim, us) >= claim.at_least.billionths()
    }

    fn all_hold(&self, claims: &[Claim], us: u64) -> bool {
        (0..claims.len()).all(|index| self.most_holds(claims, index, us) && self.least_holds(&claims[index], us))
    }

    /// Milliseconds until claim `index` holds its upper bound: one of the instants at which anything changes.
    fn wait_ms(&self, claims: &[Claim], index: usize, us: u64) -> u64 {
        if !self.least_holds(&claims[index], us) {
            return NEVER_MS;
        }
        let ends = |at: u64| match claims[index].window {
            Window::Sliding { window_ms } => at + window_ms * MS,
            Window::Calendar { .. } => (at / MINUTE + 1) * MINUTE,
        };
        let mut waits: Vec<u64> = self.0.iter().map(|(at, ..)| ends(*at).saturating_sub(us).div_ceil(MS)).collect();
        waits.sort_unstable();
        waits.into_iter().find(|wait| self.most_holds(claims, index, us + wait * MS)).unwrap_or(NEVER_MS)
    }

    fn reserve(&mut self, us: u64, claims: &[Claim]) -> Reservation {
        let fits = |index: usize| self.most_holds(claims, index, us) && self.least_holds(&claims[index], us);
        let full: Vec<usize> = (0..claims.len()).filter(|index| !fits(*index)).collect();
        let Some(longest) = full.iter().map(|index| self.wait_ms(claims, *index, us)).max() else {
            let used = (0..claims.len()).map(|index| {
                let claim = &claims[index];
                let sum = self.standing(claim, us) + earlier(claims, index) + claim.amount.billionths();
                Amount::from_billionths(sum)
            });
            let used = used.collect();
            let charged = claims.iter().filter(|claim| claim.amount != Amount::ZERO);
            self.0.extend(charged.map(|claim| (us, claim.key.clone(), claim.amount.billionths())));
            return Reservation::Granted { used };
        };
        let index = full.into_iter().find(|index| self.wait_ms(claims, *index, us) == longest).unwrap();
        let is_met = longest != NEVER_MS && self.all_hold(claims, us + longest * MS);
        let used = Amount::from_billionths(self.standing(&claims[index], us));
        Reservation::Exhausted { index, used, retry_after_ms: if is_met { longest } else { NEVER_MS } }
    }
}

fn earlier(claims: &[Claim], index: usize) -> i128 {
    let same = claims[..index].iter().filter(|earlier| earlier.key == claims[index].key);
    if claims[index].amount == Amount::ZERO { 0 } else { same.map(|earlier| earlier.amount.billionths()).sum() }
}

/// Amounts around every border that the script's arithmetic has: one billionth, a double's last whole number, a limb, the most.
fn amount() -> impl Strategy<Value = i128> {
    let borders = vec![
        0,
        1,
        1_000_000_000,
        9_007_199_254_740_993,
        9_999_999_999_999,
        10_000_000_000_001,
        10i128.pow(26) - 1,
        10i128.pow(27),
    ];
    prop_oneof![12 => prop::sample::select(borders), 6 => 0..=10i128.pow(27), 1 => Just(-1), 1 => Just(10i128.pow(27) + 1)]
}

fn bound() -> impl Strategy<Value = Amount> {
    let sums = (amount(), 1..6i128, -1..=1i128).prop_map(|(amount, times, off)| amount.saturating_mul(times) + off);
    prop_oneof![
        1 => Just(Amount::MIN),
        3 => Just(Amount::MAX),
        6 => sums.prop_map(Amount::from_billionths),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    // One window a key, so that what the store has forgotten is what no longer stands.
    let place = prop_oneof![
        (0u64..3).prop_map(|n| (format!("s{n}"), Window::Sliding { window_ms: 2 + 3_000 * n })),
        Just(("c".to_owned(), Window::Calendar { unit: CalendarUnit::Minute })),
    ];
    let least = prop_oneof![6 => Just(Amount::MIN), 1 => bound()];
    (place, amount(), least, bound()).prop_map(|((key, window), amount, at_least, at_most)| Claim {
        key,
        window,
        amount: Amount::from_billionths(amount),
        at_least,
        at_most,
    })
}

fn trace() -> impl Strategy<Value = Vec<(u64, Vec<Claim>)>> {
    let step = prop_oneof![Just(0u64), 1..3 * MS, Just(MS), 1..20_000 * MS];
    let quota = (0u64..4).prop_map(|max| sliding(&format!("q{max}"), max, 2 + 3 * max));
    prop::collection::vec((step, prop::collection::vec(prop_oneof![claim(), quota], 1..4)), 1..40)
}

#[test]
fn redis_answers_as_the_oracle() {
    let server = Server::start();
    let [granted, waits, never] = [const { Cell::new(0) }; 3];
    let compare = |trace: Vec<(u64, Vec<Claim>)>| {
        server.ask(&["FLUSHALL"]);
        let (mut store, mut oracle, mut us) = (server.store_with_test_clock(), Oracle::default(), 0);
        for (step, claims) in trace {
            us += step;
            server.set_clock(us);
            let expected = oracle.reserve(us, &claims);
            prop_assert_eq!(&store.reserve(ANY, &claims).unwrap(), &expected, "{:?} at {}", claims, us);
            match expected {
                Reservation::Granted { .. } => granted.set(granted.get() + 1),
                Reservation::Exhausted { retry_after_ms: NEVER_MS, .. } => never.set(never.get() + 1),
                Reservation::Exhausted { retry_after_ms, .. } => {
                    waits.set(waits.get() + 1);
                    prop_assert!(oracle.all_hold(&claims, us + retry_after_ms * MS), "granted after the wait");
                    prop_assert!(!oracle.all_hold(&claims, us + retry_after_ms * MS - MS), "and not before");
                }
            }
        }
        Ok(())
    };
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) };
    TestRunner::new(cases).run(&trace(), compare).unwrap();
    let seen = (granted.get(), waits.get(), never.get());
    assert!(seen.0 > 50 && seen.1 > 50 && seen.2 > 50, "too one-sided to show anything: {seen:?}");
}

#[test]
fn eleventh_call_in_a_minute_is_refused_and_granted_exactly_when_said() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let claims = [sliding("k", 10, 60_000)];
    for second in 0..10 {
        server.set_clock(second * 1_000 * MS);
        let granted = Reservation::Granted { used: vec![Amount::calls(second + 1)] };
        assert_eq!(store.reserve(ANY, &claims).unwrap(), granted);
    }
    let now = 18_000 * MS + 1;
    server.set_clock(now);
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(10), retry_after_ms: 42_000 };
    assert_eq!(store.reserve(ANY, &claims).unwrap(), refused);
    server.set_clock(now + 42_000 * MS - MS);
    assert!(!is_granted(&mut store, &claims));
    server.set_clock(now + 42_000 * MS);
    assert!(is_granted(&mut store, &claims));
    assert!(!is_granted(&mut store, &claims));
}

#[test]
fn sums_beyond_what_a_double_holds_are_exact() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let (window, whole) = (Window::Sliding { window_ms: 60_000 }, Amount::CALL_MAX.billionths());
    let claim = |amount: i128, at_most: i128| Claim {
        key: "money".into(),
        window,
        amount: Amount::from_billionths(amount),
        at_least: Amount::MIN,
        at_most: Amount::from_billionths(at_most),
    };
    for count in 1..=20 {
        let granted = Reservation::Granted { used: vec![Amount::from_billionths(whole * count)] };
        assert_eq!(store.reserve(ANY, &[claim(whole, 20 * whole)]).unwrap(), granted);
    }
    let refused =
        Reservation::Exhausted { index: 0, used: Amount::from_billionths(20 * whole), retry_after_ms: 60_000 };
    assert_eq!(store.reserve(ANY, &[claim(1, 20 * whole)]).unwrap(), refused, "a billionth too much");
    assert!(is_granted(&mut store, &[claim(1, 20 * whole + 1)]), "and not too much");
}

#[test]
fn all_claims_are_charged_or_none() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let (wide, narrow) = (sliding("wide", 5, 60_000), sliding("narrow", 1, 60_000));
    assert!(is_granted(&mut store, &[wide.clone(), narrow.clone()]));
    for _ in 0..9 {
        let refused = Reservation::Exhausted { index: 1, used: Amount::calls(1), retry_after_ms: 60_000 };
        assert_eq!(store.reserve(ANY, &[wide.clone(), narrow.clone()]).unwrap(), refused);
    }
    assert_eq!(store.reserve(ANY, &[wide]).unwrap(), Reservation::Granted { used: vec![Amount::calls(2)] });
}

#[test]
fn a_clock_set_back_frees_nothing_and_waits_are_counted_from_it() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let claims = [sliding("a", 1, 60_000)];
    server.set_clock(5_000 * MS);
    assert!(is_granted(&mut store, &claims));
    server.set_clock(3_000 * MS);
    let refused = Reservation::Exhausted { index: 0, used: Amount::calls(1), retry_after_ms: 62_000 };
    assert_eq!(store.reserve(ANY, &claims).unwrap(), refused);
    assert!(is_granted(&mut store, &[sliding("b", 1, 1_000)]));
    server.set_clock(4_500 * MS);
    assert!(!is_granted(&mut store, &[sliding("b", 1, 1_000)]), "it was logged at the last instant seen, 5 s");
    server.set_clock(6_000 * MS);
    assert!(is_granted(&mut store, &[sliding("b", 1, 1_000)]));
}

#[test]
fn a_shorter_window_forgets_nothing_that_a_longer_one_counts() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let (short, long) = ([sliding("a", 1, 10)], [sliding("a", 4, 60_000)]);
    assert!(is_granted(&mut store, &long));
    for step in 1..4 {
        server.set_clock(step * 10 * MS);
        assert!(is_granted(&mut store, &short));
    }
    assert!(!is_granted(&mut store, &long));
}

#[test]
fn calls_that_no_longer_stand_are_forgotten_some_at_a_time() {
    let server = Server::start();
    let mut store = server.store_with_test_clock();
    let (claims, burst) = ([sliding("a", 1_000, 1)], LIMIT_PRUNE_ROWS_MAX as i64 + 9);
    let kept = || match server.ask(&["HLEN", &request::counter_key("intercept-sandbox", "a")]) {
        Reply::Integer(fields) => fields - 4,
        other => panic!("{other:?}"),
    };
    for _ in 0..burst {
        assert!(is_granted(&mut store, &claims));
    }
    assert_eq!(kept(), burst);
    server.set_clock(MS);
    assert_eq!(store.reserve(ANY, &claims).unwrap(), Reservation::Granted { used: vec![Amount::calls(1)] });
    assert_eq!(kept(), 9 + 1, "the bound's worth is gone");
    assert!(is_granted(&mut store, &claims));
    assert_eq!(kept(), 2);
}
