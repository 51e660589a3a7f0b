//! Rate limits, paces and counters.

use super::{Changes, Way};
use crate::limits::{Quota, Window};
use crate::policy::limit_words::{Within, quota_in_words, whole_span};
use crate::policy::model::{Counter, Increment, Pace, Rule, StateCondition};

pub(super) fn compare(old: &Rule, new: &Rule, changes: &mut Changes) {
    let id = &new.id;
    match (old.rate_limit, new.rate_limit) {
        (None, Some(is)) => {
            changes.add(Way::Closes, format!("{id}: at most {}; there was no limit", quota_in_words(is)))
        }
        (Some(was), None) => changes.add(Way::Opens, format!("{id}: no limit; at most {} before", quota_in_words(was))),
        (Some(was), Some(is)) if was != is => {
            let way = Way::of(implies(is, was), implies(was, is));
            changes.add(way, format!("{id}: at most {}, was {}", quota_in_words(is), quota_in_words(was)));
        }
        _ => {}
    }
    match (old.pace, new.pace) {
        (None, Some(is)) => changes.add(Way::Closes, format!("{id}: {}", pace(is))),
        (Some(was), None) => changes.add(Way::Opens, format!("{id}: no pace; {} before", pace(was))),
        (Some(was), Some(is)) if was != is => {
            let slower = |a: Pace, b: Pace| a.every_ms >= b.every_ms && a.burst <= b.burst;
            changes.add(Way::of(slower(is, was), slower(was, is)), format!("{id}: {}, was: {}", pace(is), pace(was)));
        }
        _ => {}
    }
    if old.state != new.state {
        let shown = |state: &Option<Counter>| state.as_ref().map_or("feeds no counter".into(), counter);
        changes.add(Way::Changes, format!("{id}: {}, was: {}", shown(&new.state), shown(&old.state)));
    }
    state_conditions(id, &old.state_conditions, &new.state_conditions, changes);
}

fn state_conditions(id: &str, old: &[StateCondition], new: &[StateCondition], changes: &mut Changes) {
    let about = |a: &StateCondition, b: &StateCondition| a.path == b.path && a.op == b.op && a.own == b.own;
    let same = |a: &StateCondition, b: &StateCondition| {
        about(a, b) && a.window == b.window && (a.at_least, a.at_most) == (b.at_least, b.at_most)
    };
    let mut gone: Vec<_> = old.iter().filter(|was| !new.iter().any(|is| same(was, is))).collect();
    for is in new.iter().filter(|is| !old.iter().any(|was| same(was, is))) {
        let Some(at) = gone.iter().position(|was| about(was, is)) else {
            changes.add(Way::Closes, format!("{id}: {}", state_condition(is)));
            continue;
        };
        let was = gone.remove(at);
        let tighter = |a: &StateCondition, b: &StateCondition| {
            a.window == b.window && a.at_least >= b.at_least && a.at_most <= b.at_most
        };
        let text = format!(
            "{id}: {}, was {} in {}",
            state_condition(is),
            in_words(was.op, was.value.text()),
            Within(was.window)
        );
        changes.add(Way::of(tighter(is, was), tighter(was, is)), text);
    }
    for was in gone {
        changes.add(Way::Opens, format!("{id}: no longer: {}", state_condition(was)));
    }
}

pub(super) fn state_condition(condition: &StateCondition) -> String {
    let wanted = in_words(condition.op, condition.value.text());
    format!("{} must be {wanted} in {}", condition.path, Within(condition.window))
}

fn in_words(op: &str, value: &str) -> String {
    let op = match op {
        "lt" => "less than",
        "lte" => "at most",
        "gt" => "more than",
        "gte" => "at least",
        _ => "exactly",
    };
    format!("{op} {value}")
}

pub(super) fn pace(pace: Pace) -> String {
    let every = whole_span(pace.every_ms);
    match pace.burst {
        1 => format!("a call every {every}"),
        burst => format!("a call every {every}, {burst} at once after a rest"),
    }
}

pub(super) fn counter(counter: &Counter) -> String {
    let adds = match &counter.increment {
        Increment::Fixed(amount) => amount.to_string(),
        Increment::From(keys) => format!("args.{}", keys.join(".")),
    };
    format!("adds {adds} to the counter {} in {}", counter.name, Within(counter.window))
}

/// Whether every run of calls that keeps `a` keeps `b`: the most calls that `a` lets into one window of `b` are no more
/// than `b` allows.
fn implies(a: Quota, b: Quota) -> bool {
    let most = match (a.window(), b.window()) {
        // A span is covered by so many windows of `a`.
        (Window::Sliding { window_ms }, span) => a.max().saturating_mul(span.length_ms().div_ceil(window_ms.max(1))),
        // Units lie in one another.
        (Window::Calendar { unit }, Window::Calendar { unit: span }) => {
            a.max().saturating_mul((span.seconds() / unit.seconds()).max(1))
        }
        // A span that begins inside a unit touches one more.
        (Window::Calendar { unit }, Window::Sliding { window_ms }) => {
            let touched = window_ms.div_ceil(unit.seconds() * 1000).saturating_add(1);
            a.max().saturating_mul(touched)
        }
    };
    most <= b.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CalendarUnit;

    const fn sliding(max: u64, seconds: u64) -> Quota {
        Quota::Sliding { max, window_ms: seconds * 1000 }
    }

    const fn calendar(max: u64, unit: CalendarUnit) -> Quota {
        Quota::Calendar { max, unit }
    }

    #[test]
    fn a_limit_implies_those_that_it_keeps_by_itself() {
        use CalendarUnit::{Day, Hour, Minute};
        let yes = [
            (sliding(10, 60), sliding(10, 60)),
            (sliding(9, 60), sliding(10, 60)),
            (sliding(10, 61), sliding(10, 60)),
            (sliding(10, 60), sliding(20, 61)),
            (sliding(10, 60), calendar(10, Minute)),
            (calendar(10, Minute), calendar(600, Hour)),
            (calendar(10, Day), calendar(10, Hour)),
            (calendar(10, Minute), sliding(20, 60)),
            (sliding(0, 1), sliding(0, 3600)),
        ];
        let no = [
            (sliding(11, 60), sliding(10, 60)),
            (sliding(10, 59), sliding(10, 60)),
            (sliding(10, 60), sliding(19, 61)),
            (calendar(10, Minute), sliding(10, 60)),
            (calendar(10, Minute), calendar(599, Hour)),
            (sliding(10, 59), calendar(10, Minute)),
        ];
        for (a, b) in yes {
            assert!(implies(a, b), "{a:?} keeps {b:?}");
        }
        for (a, b) in no {
            assert!(!implies(a, b), "{a:?} does not keep {b:?}");
        }
    }
}
