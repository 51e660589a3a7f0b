//! Both stores against what the contract of [`Store`] says, worked out by adding up the whole log each time.

use proptest::prelude::*;

use super::{MS, WALL, amount, at, open, sliding_claim};
use crate::limits::store::MemoryStore;
use crate::limits::{Amount, CalendarUnit, Claim, NEVER_MS, Reservation, Store, Window};

/// One charge: when, to which counter, how much in billionths.
#[derive(Clone, Debug)]
struct Charge {
    at_ns: u64,
    key: String,
    amount: i128,
}

/// All charges ever made. It forgets none.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle(Vec<Charge>);

/// When a charge made at `at_ns` leaves the window.
fn ends_ns(window: Window, at_ns: u64) -> u64 {
    match window {
        Window::Sliding { window_ms } => at_ns + window_ms * MS,
        Window::Calendar { unit } => {
            let length_ns = unit.seconds() * 1_000 * MS;
            ((WALL + at_ns) / length_ns + 1) * length_ns - WALL
        }
    }
}

impl Oracle {
    /// The sum of what stands at `ns`.
    fn standing(&self, claim: &Claim, ns: u64) -> i128 {
        let stands = |charge: &&Charge| charge.key == claim.key && ends_ns(claim.window, charge.at_ns) > ns;
        self.0.iter().filter(stands).map(|charge| charge.amount).sum()
    }

    /// What stands with claim `index` and the earlier ones of its counter charged; before the call where it only reads.
    fn with_call(&self, claims: &[Claim], index: usize, ns: u64) -> i128 {
        let claim = &claims[index];
        let same = claims[..=index].iter().filter(|other| other.key == claim.key && claim.amount != Amount::ZERO);
        self.standing(claim, ns) + same.map(|other| other.amount.billionths()).sum::<i128>()
    }

    fn upper_holds(&self, claims: &[Claim], index: usize, ns: u64) -> bool {
        self.with_call(claims, index, ns) <= claims[index].at_most.billionths()
    }

    fn lower_holds(&self, claims: &[Claim], index: usize, ns: u64) -> bool {
        self.standing(&claims[index], ns) >= claims[index].at_least.billionths()
    }

    fn fits(&self, claims: &[Claim], index: usize, ns: u64) -> bool {
        self.upper_holds(claims, index, ns) && self.lower_holds(claims, index, ns)
    }

    /// Whether a retry after the wait would be granted.
    pub(super) fn all_fit(&self, claims: &[Claim], ns: u64) -> bool {
        (0..claims.len()).all(|index| self.fits(claims, index, ns))
    }

    /// The first wait after which `holds`, of those after which anything changes, milliseconds.
    fn first_wait_ms(&self, claims: &[Claim], ns: u64, holds: impl Fn(u64) -> bool) -> u64 {
        let ends = claims.iter().flat_map(|claim| self.0.iter().map(|charge| ends_ns(claim.window, charge.at_ns)));
        let mut waits: Vec<u64> = ends.map(|end_ns| end_ns.saturating_sub(ns).div_ceil(MS)).collect();
        waits.sort_unstable();
        waits.into_iter().find(|wait_ms| holds(ns + wait_ms * MS)).unwrap_or(NEVER_MS)
    }

    pub(super) fn reserve(&mut self, ns: u64, claims: &[Claim]) -> Reservation {
        if self.all_fit(claims, ns) {
            let stands = |index| Amount::from_billionths(self.with_call(claims, index, ns));
            let used = (0..claims.len()).map(stands).collect();
            let charge =
                |claim: &Claim| Charge { at_ns: ns, key: claim.key.clone(), amount: claim.amount.billionths() };
            self.0.extend(claims.iter().filter(|claim| claim.amount != Amount::ZERO).map(charge));
            return Reservation::Granted { used };
        }
        // How long each claim alone is refused.
        let wait_ms = |index: usize| match (self.lower_holds(claims, index, ns), self.upper_holds(claims, index, ns)) {
            (true, true) => 0,
            (false, _) => NEVER_MS,
            (true, false) => self.first_wait_ms(claims, ns, |then_ns| self.upper_holds(claims, index, then_ns)),
        };
        let waits: Vec<u64> = (0..claims.len()).map(wait_ms).collect();
        let index = (0..claims.len()).rev().max_by_key(|index| waits[*index]).unwrap();
        let retry_after_ms = self.first_wait_ms(claims, ns, |then_ns| self.all_fit(claims, then_ns));
        let used = Amount::from_billionths(self.standing(&claims[index], ns));
        Reservation::Exhausted { index, used, retry_after_ms }
    }
}

/// The longest window of the counters that are used under several.
const LONGEST: Window = Window::Sliding { window_ms: 3_600_000 };

/// A counter and a window. Counters `s` have one window each and run dry within a trace; counters `m` are used under several, like those
/// of an edited policy, and each trace begins by charging them under the longest.
fn counter() -> impl Strategy<Value = (String, Window)> {
    let minute = Window::Calendar { unit: CalendarUnit::Minute };
    let several = [LONGEST, minute, Window::Sliding { window_ms: 4 }, Window::Sliding { window_ms: 9_000 }].to_vec();
    prop_oneof![
        (1u64..4).prop_map(|number| (format!("s{number}"), Window::Sliding { window_ms: 3 * number })),
        Just(("s-minute".to_owned(), minute)),
        (0u64..2, prop::sample::select(several)).prop_map(|(number, window)| (format!("m{number}"), window)),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    let brings = prop_oneof![Just(0i128), 1i128..4, Just(1_000_000_000)];
    let at_least = prop_oneof![4 => Just(i128::MIN), 1 => -1i128..6];
    let at_most = prop_oneof![1 => Just(i128::MAX), 4 => -1i128..12, 1 => 1_000_000_000i128..2_000_000_006];
    (counter(), brings, at_least, at_most).prop_map(|((key, window), brings, at_least, at_most)| Claim {
        key,
        window,
        amount: amount(brings),
        at_least: amount(at_least),
        at_most: amount(at_most),
    })
}

fn trace() -> impl Strategy<Value = Vec<(u64, Vec<Claim>)>> {
    let step = prop_oneof![Just(0u64), 1..3 * MS, Just(MS), 1..20_000 * MS];
    prop::collection::vec((step, prop::collection::vec(claim(), 1..4)), 1..60).prop_map(|mut trace| {
        let longest = |key| sliding_claim(key, 3_600_000, 1, i128::MAX);
        trace.insert(0, (0, vec![longest("m0"), longest("m1")]));
        trace
    })
}

/// Runs a trace on a store and the oracle. Where the store refuses, the wait it names is tried on the oracle: too short by one
/// millisecond it is refused, in full it is granted.
fn compare(store: &mut impl Store, trace: Vec<(u64, Vec<Claim>)>) -> Result<(), TestCaseError> {
    let (mut oracle, mut ns) = (Oracle::default(), 0);
    for (step, claims) in trace {
        ns += step;
        let answer = store.reserve(at(ns), &claims).unwrap();
        prop_assert_eq!(&answer, &oracle.reserve(ns, &claims), "{:?} at {}", claims, ns);
        if let Reservation::Exhausted { retry_after_ms, .. } = answer
            && retry_after_ms != NEVER_MS
        {
            prop_assert!(oracle.all_fit(&claims, ns + retry_after_ms * MS));
            prop_assert!(!oracle.all_fit(&claims, ns + (retry_after_ms - 1) * MS));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn memory_answers_as_the_oracle(trace in trace()) {
        compare(&mut MemoryStore::new(), trace)?;
    }

    #[test]
    fn no_span_as_long_as_the_window_ever_holds_more_than_the_bound(
        window_ms in 1u64..20,
        at_most in 0i128..12,
        calls in prop::collection::vec((0..9 * MS, 0i128..5), 1..80),
    ) {
        let (mut store, mut ns, mut charged) = (MemoryStore::new(), 0, Vec::new());
        for (step, brings) in calls {
            ns += step;
            let claim = sliding_claim("k", window_ms, brings, at_most);
            if matches!(store.reserve(at(ns), &[claim]).unwrap(), Reservation::Granted { .. }) {
                charged.push((ns, brings));
            }
            let begun = |(at_ns, _): &&(u64, i128)| at_ns + window_ms * MS > ns;
            prop_assert!(charged.iter().filter(begun).map(|(_, brings)| brings).sum::<i128>() <= at_most);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sqlite_answers_as_the_oracle(trace in trace()) {
        let directory = tempfile::TempDir::new().unwrap();
        compare(&mut open(&directory), trace)?;
    }

    /// Each reservation by a process that has just started.
    #[test]
    fn sqlite_answers_as_the_oracle_across_restarts(mut trace in trace()) {
        let directory = tempfile::TempDir::new().unwrap();
        trace.truncate(20);
        let (mut oracle, mut ns) = (Oracle::default(), 0);
        for (step, claims) in trace {
            ns += step;
            let answer = open(&directory).reserve(at(ns), &claims).unwrap();
            prop_assert_eq!(&answer, &oracle.reserve(ns, &claims), "{:?} at {}", claims, ns);
        }
    }
}
