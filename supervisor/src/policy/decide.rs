//! The decision on one call.
//!
//! Hidden first, then default deny (`*` does not rescue an unlisted tool), then the tool's rules and those of `*`, in
//! order; every one must pass and the first that does not decides.

use super::model::{DefaultEffect, Policy, Rule, RuleAction, ToolPolicy, Validate};
use super::validation::Validated;
use super::verdict::{Allowance, Call, Denial, DenialCode, Verdict, Visibility};
use super::wording;
use crate::weaken::in_force;

/// The name that stands for every tool.
pub(super) const EVERY_TOOL: &str = "*";

impl Policy {
    /// Whether the tool can be seen and called at all. tools/list is filtered by it.
    pub fn visibility(&self, tool: &str) -> Visibility {
        let hidden = self.hide.contains(tool) || self.hide.contains(EVERY_TOOL);
        if hidden && in_force("policy-hide") {
            return Visibility::Hidden;
        }
        let listed = tool != EVERY_TOOL && self.tools.contains_key(tool);
        if !listed && self.default == DefaultEffect::Deny && in_force("policy-default-deny") {
            return Visibility::Unlisted;
        }
        Visibility::Listed
    }

    /// Decides one call. Pure. Allocates only for a denial's message, for limits and for paces.
    pub fn judge<'p>(&'p self, call: &Call<'_>) -> Verdict<'p> {
        if let Some(denial) = refused_by_visibility(self.visibility(call.tool), call.tool) {
            return Verdict::Deny(denial);
        }
        let mut allowance = Allowance::default();
        for rule in self.rules_for(call.tool) {
            match rule.decide(call) {
                RuleVerdict::Passes => {}
                RuleVerdict::NeedsSchema => return Verdict::NeedsSchema,
                RuleVerdict::Denies(denial) => return Verdict::Deny(denial),
            }
            allowance.rule = Some(rule);
            if let Err(denial) = rule.owes(call, &mut allowance) {
                return Verdict::Deny(denial);
            }
        }
        allowance.settle();
        Verdict::Allow(allowance)
    }

    /// The rules that a call of `tool` must pass: its own, then those of `*`.
    pub fn rules_for<'p>(&'p self, tool: &str) -> impl Iterator<Item = &'p Rule> + use<'p> {
        self.governing(tool).flat_map(|tool| &tool.rules)
    }

    /// What stands under the tool's own name, then what stands under `*`.
    pub(super) fn governing<'p>(&'p self, tool: &str) -> impl Iterator<Item = &'p ToolPolicy> + use<'p> {
        let own = self.tools.get(tool).filter(|_| tool != EVERY_TOOL);
        own.into_iter().chain(self.tools.get(EVERY_TOOL))
    }

    /// The tools that the policy writes by name: those under `tools` and those that it hides.
    #[must_use]
    pub fn written_tools(&self) -> Vec<&str> {
        let named = self.tools.keys().filter(|tool| *tool != EVERY_TOOL).chain(&self.hide);
        named.map(String::as_str).collect()
    }

    /// What the rules for `tool` want of its schemas.
    #[must_use]
    pub fn wants_of_schemas(&self, tool: &str) -> Validate {
        self.rules_for(tool).fold(Validate::NOTHING, |wants, rule| wants.or(rule.validate))
    }

    /// Whether a call of `tool` may need its schemas.
    #[must_use]
    pub fn needs_schema(&self, tool: &str) -> bool {
        self.wants_of_schemas(tool).asks()
    }

    /// Whether a call of any tool may.
    #[must_use]
    pub fn needs_schemas(&self) -> bool {
        self.tools.values().flat_map(|tool| &tool.rules).any(|rule| rule.validate.asks())
    }
}

pub(super) fn refused_by_visibility<'p>(visibility: Visibility, tool: &str) -> Option<Denial<'p>> {
    let (code, message) = match visibility {
        Visibility::Listed => return None,
        Visibility::Hidden => {
            (DenialCode::Hidden, format!("Unknown tool: {}", wording::quoted(tool).trim_matches('"')))
        }
        Visibility::Unlisted => {
            (DenialCode::NotListed, format!("Tool {} is not permitted by policy", wording::quoted(tool)))
        }
    };
    Some(Denial { rule: None, code, message })
}

/// What one rule says.
#[derive(Debug)]
#[must_use]
pub(super) enum RuleVerdict<'p> {
    Passes,
    NeedsSchema,
    Denies(Denial<'p>),
}

impl Rule {
    /// Action, then what the server's schemas say, then conditions in order. What counts comes last, in `owes`; limits are reserved by the
    /// caller, after every rule passed.
    pub(super) fn decide<'p>(&'p self, call: &Call<'_>) -> RuleVerdict<'p> {
        let deny = |code, default: &dyn Fn() -> String| {
            RuleVerdict::Denies(Denial { rule: Some(self), code, message: wording::message(self, default) })
        };
        if self.action == RuleAction::Deny && in_force("policy-deny-rule") {
            return deny(DenialCode::DeniedByRule, &|| wording::denied_by_rule(self));
        }
        for validation in self.validations() {
            match self.validated(validation, call) {
                Validated::Passes => {}
                Validated::Pending => return RuleVerdict::NeedsSchema,
                Validated::Refuses(code, message) => return deny(code, &|| message.clone()),
            }
        }
        let failed = self.conditions.iter().find(|clause| !clause.check(call.arguments).passes());
        match failed {
            Some(clause) => deny(DenialCode::ConditionFailed, &|| wording::condition_failed(self, clause)),
            None => RuleVerdict::Passes,
        }
    }
}

#[cfg(test)]
mod tests;
