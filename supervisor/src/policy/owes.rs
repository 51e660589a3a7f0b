//! What a call that passes a rule still owes: a person's approval, a pace, room in its counters.

use std::collections::HashMap;

use super::model::{Counter, Increment, Policy, Rule, RuleAction, StateCondition};
use super::verdict::{Allowance, Call, Denial, DenialCode, Limited, PlannedLimit, PlannedPace};
use super::{amount, limit_words, wording};
use crate::limits::Amount;
use crate::weaken::in_force;
use crate::wire::json::Value;

impl Rule {
    /// Adds to the allowance what this rule wants of the call. Allocates only for a rule that has limits.
    ///
    /// # Errors
    /// The denial (`condition_failed`) of a call whose argument cannot be counted.
    pub(super) fn owes<'p>(&'p self, call: &Call<'_>, allowance: &mut Allowance<'p>) -> Result<(), Denial<'p>> {
        let rule = self;
        if rule.action == RuleAction::RequireApproval && in_force("approval-asked") {
            allowance.approval = allowance.approval.or(Some(rule));
        }
        allowance.paces.extend(rule.pace.map(|pace| PlannedPace { rule, pace }));
        allowance.limits.extend(rule.rate_limit.map(|quota| PlannedLimit { rule, what: Limited::Calls(quota) }));
        if let Some(counter) = &rule.state {
            let amount = counter.amount(call.arguments).ok_or_else(|| rule.uncountable(counter))?;
            allowance.limits.push(PlannedLimit { rule, what: rule.charge(counter, amount) });
        }
        let others = rule.state_conditions.iter().filter(|condition| !condition.own);
        allowance.limits.extend(others.map(|condition| PlannedLimit { rule, what: condition.reading() }));
        Ok(())
    }

    /// The rule's own counter with all of its bounds on it: one claim. Without an upper bound the call is counted all the same.
    fn charge<'p>(&'p self, counter: &'p Counter, amount: Amount) -> Limited<'p> {
        let own = self.state_conditions.iter().filter(|condition| condition.own);
        let (at_least, at_most) = own.fold((Amount::MIN, Amount::MAX), |(at_least, at_most), condition| {
            (at_least.max(condition.at_least), at_most.min(condition.at_most_with(amount)))
        });
        Limited::Counter { tool: &self.tool, counter: &counter.name, window: counter.window, amount, at_least, at_most }
    }

    /// Whether a call that passes it may have to be counted.
    const fn counts(&self) -> bool {
        self.rate_limit.is_some() || self.state.is_some() || !self.state_conditions.is_empty()
    }

    /// Whether it is this rule that adds to the counter.
    pub(super) fn feeds(&self, tool: &str, counter: &str) -> bool {
        self.tool == tool && self.state.as_ref().is_some_and(|own| own.name == counter)
    }

    fn uncountable(&self, counter: &Counter) -> Denial<'_> {
        let message = wording::message(self, || limit_words::uncountable(self, counter));
        Denial { rule: Some(self), code: DenialCode::ConditionFailed, message }
    }
}

impl Policy {
    /// Whether a call may have to be counted in the limit store: without that no call ever asks it.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.tools.values().any(|tool| tool.rules.iter().any(Rule::counts))
    }
}

impl Allowance<'_> {
    /// Counts the call in where a rule bounds from above a counter that another of its rules feeds. Without that one call
    /// could bring any amount past a bound that stands in a rule of its own.
    pub(super) fn settle(&mut self) {
        if self.limits.len() < 2 {
            return;
        }
        let charges: HashMap<(&str, &str), Amount> = self.limits.iter().filter_map(charged).collect();
        for limit in &mut self.limits {
            // `eq` and lower bounds are on what stands before the call.
            if let Limited::Counter { tool, counter, amount: Amount::ZERO, at_least: Amount::MIN, at_most, .. } =
                &mut limit.what
                && let Some(amount) = charges.get(&(*tool, *counter))
            {
                *at_most = at_most.saturating_sub(*amount);
            }
        }
    }
}

fn charged<'p>(limit: &PlannedLimit<'p>) -> Option<((&'p str, &'p str), Amount)> {
    match limit.what {
        Limited::Counter { tool, counter, amount, .. } if amount != Amount::ZERO => Some(((tool, counter), amount)),
        Limited::Counter { .. } | Limited::Calls(_) => None,
    }
}

impl StateCondition {
    /// What may stand with a call that adds `amount`. `eq` is on what stands before the call, also on the rule's own counter.
    fn at_most_with(&self, amount: Amount) -> Amount {
        if self.op == "eq" { self.at_most.saturating_add(amount) } else { self.at_most }
    }

    fn reading(&self) -> Limited<'_> {
        Limited::Counter {
            tool: &self.tool,
            counter: &self.counter,
            window: self.window,
            amount: Amount::ZERO,
            at_least: self.at_least,
            at_most: self.at_most,
        }
    }
}

impl Counter {
    /// What this call adds. None when the argument that should say it is absent, no number, negative, above 10^18, or has more
    /// than nine decimals.
    pub(super) fn amount(&self, arguments: Option<&Value<'_>>) -> Option<Amount> {
        match &self.increment {
            Increment::Fixed(amount) => Some(*amount),
            Increment::From(keys) => amount::brought(find(keys, arguments)),
        }
    }
}

/// The value below `args` that the keys lead to.
pub(super) fn find<'v, 'a>(keys: &[String], arguments: Option<&'v Value<'a>>) -> Option<&'v Value<'a>> {
    keys.iter().try_fold(arguments?, |value, key| value.member(key))
}

#[cfg(test)]
mod tests;
