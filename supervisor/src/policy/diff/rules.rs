//! The rules of each tool, paired and compared.

use std::collections::BTreeSet;

use super::{Changes, Way, conditions, limits};
use crate::policy::decide::EVERY_TOOL;
use crate::policy::limit_words::quota_in_words;
use crate::policy::model::{DefaultEffect, Policy, Rule, RuleAction};
use crate::policy::verdict::Visibility;

pub(super) fn compare(old: &Policy, new: &Policy, changes: &mut Changes) {
    let tools: BTreeSet<&String> = old.tools.keys().chain(new.tools.keys()).collect();
    for tool in tools {
        let rules = |policy: &'_ Policy| policy.tools.get(tool).map(|tool| tool.rules.clone()).unwrap_or_default();
        let mut found = Changes::default();
        match (reached(old, tool), reached(new, tool)) {
            (true, true) => of_tool(tool, &rules(old), &rules(new), &mut found),
            // That the tool can or cannot be called is said already, and what it must pass is in the policy.
            (false, true) | (true, false) => {}
            (false, false) => {
                of_tool(tool, &rules(old), &rules(new), &mut found);
                for change in &mut found.0 {
                    change.way = Way::Changes; // no call reaches them
                }
            }
        }
        changes.0.append(&mut found.0);
    }
}

/// Whether some call comes to the rules under `tool`.
fn reached(policy: &Policy, tool: &str) -> bool {
    let listed = |tool: &str| policy.visibility(tool) == Visibility::Listed;
    if tool != EVERY_TOOL {
        return listed(tool);
    }
    let others = policy.default == DefaultEffect::Allow && !policy.hide.contains(EVERY_TOOL);
    others || policy.tools.keys().any(|name| name != EVERY_TOOL && listed(name))
}

fn of_tool(tool: &str, old: &[Rule], new: &[Rule], changes: &mut Changes) {
    let pairs = pair(old, new);
    let mut order = Vec::new();
    for (rule, partner) in old.iter().zip(&pairs) {
        match partner {
            Some(at) => {
                order.push(*at);
                one(rule, &new[*at], changes);
            }
            None => changes.add(
                if asks_nothing(rule) { Way::Changes } else { Way::Opens },
                format!("{} is gone: {}", rule.id, in_words(rule)),
            ),
        }
    }
    for (at, rule) in new.iter().enumerate() {
        if !pairs.contains(&Some(at)) {
            let way = if asks_nothing(rule) { Way::Changes } else { Way::Closes };
            changes.add(way, format!("{} is new: {}", rule.id, in_words(rule)));
        }
    }
    if !order.is_sorted() {
        let text = format!("the rules of {tool} stand in another order: the first that fails words the refusal");
        changes.add(Way::Changes, text);
    }
}

/// For each old rule its new one: of the same name, else of the same content, else, both nameless, of the same place.
fn pair(old: &[Rule], new: &[Rule]) -> Vec<Option<usize>> {
    let mut pairs = vec![None; old.len()];
    let mut taken = vec![false; new.len()];
    let passes: [fn(&Rule, &Rule) -> bool; 3] = [
        |old, new| old.name.is_some() && old.name == new.name,
        same_content,
        |old, new| old.name.is_none() && new.name.is_none() && old.index == new.index,
    ];
    for fits in passes {
        for (rule, partner) in old.iter().zip(&mut pairs).filter(|(_, partner)| partner.is_none()) {
            let found = (0..new.len()).find(|at| !taken[*at] && fits(rule, &new[*at]));
            if let Some(at) = found {
                taken[at] = true;
                *partner = Some(at);
            }
        }
    }
    pairs
}

/// Whether two rules differ in nothing but name, place and line.
fn same_content(old: &Rule, new: &Rule) -> bool {
    let mut found = Changes::default();
    of_pair(old, new, &mut found);
    found.0.is_empty()
}

fn one(old: &Rule, new: &Rule, changes: &mut Changes) {
    of_pair(old, new, changes);
    if old.name == new.name && (old.name.is_some() || old.index == new.index) {
        return;
    }
    // What was counted stands no more. A `state` block goes by its own name; a pace lives in the session, by its rule.
    let counts = |rule: &Rule| rule.rate_limit.is_some() || rule.pace.is_some();
    if counts(old) && counts(new) {
        changes.add(Way::Opens, format!("{} is called {} now: its count starts anew", old.id, new.id));
    } else if old.name != new.name {
        // A nameless rule that moved is known by its place for nothing but a count.
        changes.add(Way::Changes, format!("{} is called {} now", old.id, new.id));
    }
}

fn of_pair(old: &Rule, new: &Rule, changes: &mut Changes) {
    let id = &new.id;
    if old.action != new.action {
        let opens = strictness(new.action) < strictness(old.action);
        changes.either(opens, format!("{id}: {}", action_in_words(new)));
        if old.action == RuleAction::Deny || new.action == RuleAction::Deny {
            reason(old, new, changes);
            return; // a rule that refuses always has no checks; what stands on the other side is said above
        }
    }
    if old.validate.required_args != new.validate.required_args {
        let is = new.validate.required_args;
        let text = if is { "must be given" } else { "need not be given" };
        changes.either(!is, format!("{id}: the arguments that the tool's schema requires {text}"));
    }
    if old.validate.schema != new.validate.schema {
        let is = new.validate.schema;
        let text = if is { "must fit" } else { "need not fit" };
        changes.either(!is, format!("{id}: the arguments {text} the tool's schema"));
    }
    if old.validate.output != new.validate.output {
        let is = new.validate.output;
        let text = if is { "must fit" } else { "need not fit" };
        changes.either(!is, format!("{id}: results {text} the tool's output schema"));
    }
    conditions::compare(id, &old.conditions, &new.conditions, changes);
    limits::compare(old, new, changes);
    reason(old, new, changes);
}

fn reason(old: &Rule, new: &Rule, changes: &mut Changes) {
    if old.reason != new.reason {
        changes.add(Way::Changes, format!("{}: the agent reads another message", new.id));
    }
}

const fn strictness(action: RuleAction) -> u8 {
    match action {
        RuleAction::Evaluate => 0,
        RuleAction::RequireApproval => 1,
        RuleAction::Deny => 2,
    }
}

fn action_in_words(rule: &Rule) -> String {
    match rule.action {
        RuleAction::Deny => "every call is refused".into(),
        RuleAction::RequireApproval => format!("a person must approve ({})", in_words(rule)),
        RuleAction::Evaluate => format!("calls pass by themselves ({})", in_words(rule)),
    }
}

fn asks_nothing(rule: &Rule) -> bool {
    rule.action == RuleAction::Evaluate
        && rule.conditions.is_empty()
        && rule.state_conditions.is_empty()
        && rule.rate_limit.is_none()
        && rule.pace.is_none()
        && rule.state.is_none()
        && !rule.validate.asks()
}

/// What a rule asks.
fn in_words(rule: &Rule) -> String {
    let mut asks = Vec::new();
    match rule.action {
        RuleAction::Deny => return "every call is refused".into(),
        RuleAction::RequireApproval => asks.push("a person must approve".to_owned()),
        RuleAction::Evaluate => {}
    }
    if rule.validate.required_args {
        asks.push("the arguments that the tool's schema requires must be given".into());
    }
    if rule.validate.schema {
        asks.push("the arguments must fit the tool's schema".into());
    }
    if rule.validate.output {
        asks.push("results must fit the tool's output schema".into());
    }
    asks.extend(rule.conditions.iter().map(ToString::to_string));
    asks.extend(rule.state_conditions.iter().map(limits::state_condition));
    asks.extend(rule.rate_limit.map(|quota| format!("at most {}", quota_in_words(quota))));
    asks.extend(rule.pace.map(limits::pace));
    asks.extend(rule.state.as_ref().map(limits::counter));
    if asks.is_empty() { "it asks nothing".into() } else { asks.join("; ") }
}
