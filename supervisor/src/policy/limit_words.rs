//! The words of what a call owes: limits, counters, paces, approvals. They name what the policy wants, never what the call
//! brought; only a person who asks to have a call explained is told the amount that it adds.

use std::fmt;

use super::model::{Counter, Increment, Rule, StateCondition};
use super::verdict::{Allowance, Limited, PlannedLimit, PlannedPace};
use super::wording::quoted;
use crate::limits::{Quota, Window};
use crate::report::printable;

/// `any 60 s`, `any 24 h` or `a UTC hour`: what slides never reads like a unit of the calendar.
pub(super) struct Within(pub(super) Window);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Window::Sliding { window_ms } => write!(f, "any {}", whole_span(window_ms)),
            Window::Calendar { unit } => write!(f, "a UTC {}", unit.name()),
        }
    }
}

/// `10 in any 60 s`, `100 a UTC hour`.
pub(super) fn quota_in_words(quota: Quota) -> String {
    match quota.window() {
        window @ Window::Sliding { .. } => format!("{} in {}", quota.max(), Within(window)),
        Window::Calendar { unit } => format!("{} a UTC {}", quota.max(), unit.name()),
    }
}

/// A length of time for people, exact: in the largest unit of which it has two or more, `60 s`, `90 s`, `2 min`, `60 min`,
/// `24 h`, `7 days`.
pub(super) fn whole_span(ms: u64) -> String {
    const UNITS_MS: [(u64, &str); 3] = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min")];
    let unit = UNITS_MS.iter().find(|(unit_ms, _)| ms.is_multiple_of(*unit_ms) && ms / unit_ms >= 2);
    match unit {
        Some((unit_ms, name)) => format!("{} {name}", ms / unit_ms),
        None if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        None => format!("{ms} ms"),
    }
}

/// What a rule wants of a counter: `state.t.spent must be at most 100 in a UTC day, with this call counted`.
pub(super) struct Standing<'l>(pub(super) &'l PlannedLimit<'l>);

impl fmt::Display for Standing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limited::Counter { tool, counter, window, .. } = self.0.what else { return Ok(()) };
        f.write_str(&state_path(tool, counter))?;
        let on_it = |condition: &&StateCondition| condition.tool == tool && condition.counter == counter;
        let mut bounds = self.0.rule.state_conditions.iter().filter(on_it).peekable();
        if bounds.peek().is_none() {
            return write!(f, " counts in {}", Within(window));
        }
        for (index, condition) in bounds.enumerate() {
            let (and, wanted) = (if index > 0 { " and" } else { "" }, in_words(condition.op));
            write!(f, "{and} must be {wanted} {}", condition.value.text())?;
            if !matches!(condition.op, "lt" | "lte") {
                f.write_str(" before this call")?;
            }
        }
        write!(f, " in {}", Within(window))
    }
}

fn in_words(op: &str) -> &'static str {
    match op {
        "lt" => "less than",
        "lte" => "at most",
        "gt" => "more than",
        "gte" => "at least",
        _ => "exactly",
    }
}

/// The path of a counter as conditions name it.
fn state_path(tool: &str, counter: &str) -> String {
    let tool = if tool == "*" { "_global" } else { tool };
    printable(&format!("state.{tool}.{counter}")).into_owned()
}

/// What an argument must be to be counted.
pub(super) fn countable(keys: &[String]) -> String {
    format!(
        "{} must be a number from 0 to 10^18 with at most nine decimals",
        printable(&format!("args.{}", keys.join(".")))
    )
}

/// A call that its counter cannot count. Names the argument, never its value.
pub(super) fn uncountable(rule: &Rule, counter: &Counter) -> String {
    let what = match &counter.increment {
        Increment::From(keys) => countable(keys),
        Increment::Fixed(amount) => format!("The call counts {amount}"), // which can always be counted
    };
    format!("{what}: the counter {} adds it up (rule {}).", quoted(&counter.name), rule.id)
}

impl fmt::Display for PlannedLimit<'_> {
    /// `t.rules[0]: at most 10 in any 60 s`; `t.cap: adds 5.5 to state.t.spent, which must be at most 100 in a UTC day`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule.id)?;
        match self.what {
            Limited::Calls(quota) => write!(f, "at most {}", quota_in_words(quota)),
            Limited::Counter { amount, tool, counter, .. } if self.rule.feeds(tool, counter) => {
                write!(f, "adds {amount}: {}", Standing(self))
            }
            Limited::Counter { .. } => write!(f, "{}", Standing(self)),
        }
    }
}

impl fmt::Display for PlannedPace<'_> {
    /// `t.rules[0]: a call every 6 s, 3 at once after a rest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a call every {}", self.rule.id, whole_span(self.pace.every_ms))?;
        match self.pace.burst {
            1 => Ok(()),
            burst => write!(f, ", {burst} at once after a rest"),
        }
    }
}

impl Allowance<'_> {
    /// What the call still owes, a line each: a person's approval, paces, limits.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let approval = self.approval.map(|rule| format!("needs a person's approval (rule {})", rule.id));
        let paces = self.paces.iter().map(|pace| format!("pace {pace}"));
        approval.into_iter().chain(paces).chain(self.limits.iter().map(|limit| format!("limit {limit}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::whole_span;
    use crate::policy::Verdict;
    use crate::policy::testing::{call, loaded, value};

    const POLICY: &str = "tools:\n  t:\n    rules:\n      - {name: ask, action: require_approval, pace: {every: 6s, burst: 3}}\n      - {name: slow, pace: {every: 500ms}}\n      - name: cap\n        state: {counter: spent, window: day, increment_from: args.usd}\n        conditions: [{path: state.t.spent, op: lte, value: 100}, {path: state.t.spent, op: gte, value: 0}]\n      - conditions: [{path: state._global.calls, op: lt, value: 9}]\n  '*':\n    rules:\n      - {name: all, state: {counter: calls, window: 90s}}\n";

    #[test]
    fn a_span_is_told_in_the_largest_unit_of_which_it_has_two() {
        let spans = [
            (500, "500 ms"),
            (1_500, "1500 ms"),
            (60_000, "60 s"),
            (90_000, "90 s"),
            (120_000, "2 min"),
            (3_600_000, "60 min"),
            (3_601_000, "3601 s"),
            (7_200_000, "2 h"),
            (86_400_000, "24 h"),
            (172_800_000, "2 days"),
            (366 * 86_400_000, "366 days"),
        ];
        for (ms, words) in spans {
            assert_eq!(whole_span(ms), words);
        }
    }

    #[test]
    fn what_a_call_owes_is_told_in_words() {
        let policy = loaded(POLICY);
        let arguments = value("{\"usd\": 5.50}");
        let Verdict::Allow(allowance) = policy.judge(&call("t", Some(&arguments))) else { panic!("denied") };
        assert_eq!(
            allowance.in_words(),
            [
                "needs a person's approval (rule t.ask)",
                "pace t.ask: a call every 6 s, 3 at once after a rest",
                "pace t.slow: a call every 500 ms",
                "limit t.cap: adds 5.5: state.t.spent must be at most 100 and must be at least 0 before this call in a UTC day",
                "limit t.rules[3]: state._global.calls must be less than 9 in any 90 s",
                "limit *.all: adds 1: state._global.calls counts in any 90 s",
            ]
        );
        assert_eq!(
            allowance.limits[0].reached(),
            "state.t.spent must be at most 100 and must be at least 0 before this call in a UTC day (rule t.cap)."
        );
    }
}
