//! Which tools can be called at all.

use std::collections::BTreeSet;

use super::{Changes, Way};
use crate::policy::decide::EVERY_TOOL;
use crate::policy::model::{DefaultEffect, Policy, RuleAction};
use crate::policy::verdict::Visibility;

/// Compares the decision itself, for every tool that either policy names and for all that none does.
pub(super) fn compare(old: &Policy, new: &Policy, changes: &mut Changes) {
    let named: BTreeSet<&str> =
        [old, new].into_iter().flat_map(|policy| policy.tools.keys().chain(&policy.hide)).map(String::as_str).collect();
    for tool in named.iter().copied().filter(|tool| *tool != EVERY_TOOL) {
        one(tool, old, new, changes);
    }
    match (of_others(old), of_others(new)) {
        (was, is) if was == is => {}
        (_, Visibility::Listed) => changes.add(Way::Opens, "tools that the policy does not name may be called"),
        (Visibility::Listed, Visibility::Hidden) => {
            changes.add(Way::Closes, "tools that the policy does not name are hidden");
        }
        (Visibility::Listed, _) => changes.add(Way::Closes, "tools that the policy does not name are refused"),
        (_, Visibility::Hidden) => {
            changes.add(Way::Changes, "tools that the policy does not name are hidden; they were refused");
        }
        (_, Visibility::Unlisted) => {
            changes.add(Way::Changes, "tools that the policy does not name are refused; they were hidden");
        }
    }
    let every = |policy: &Policy| policy.hide.contains(EVERY_TOOL);
    if old.default != new.default && every(old) && every(new) {
        changes.add(Way::Changes, "the default is another, which says nothing while every tool is hidden");
    }
    if old.hide != new.hide && every(old) && every(new) {
        changes.add(Way::Changes, "hide names other tools, which says nothing beside \"*\"");
    }
}

/// What becomes of a tool that no entry names.
fn of_others(policy: &Policy) -> Visibility {
    match (policy.hide.contains(EVERY_TOOL), policy.default) {
        (true, _) => Visibility::Hidden,
        (false, DefaultEffect::Allow) => Visibility::Listed,
        (false, DefaultEffect::Deny) => Visibility::Unlisted,
    }
}

fn one(tool: &str, old: &Policy, new: &Policy, changes: &mut Changes) {
    let refuses = |policy: &Policy| policy.rules_for(tool).any(|rule| rule.action == RuleAction::Deny);
    match (old.visibility(tool), new.visibility(tool)) {
        (was, is) if was == is => {}
        // No call passed, or passes, where a rule refuses all of them.
        (_, Visibility::Listed) if refuses(new) => {
            changes.add(Way::Changes, format!("{tool} is listed, and every call of it is refused"));
        }
        (Visibility::Listed, is) if refuses(old) => {
            let how = if is == Visibility::Hidden { "hidden" } else { "not listed" };
            changes.add(Way::Changes, format!("{tool} is {how}; every call of it was refused before"));
        }
        (_, Visibility::Listed) => {
            let under = match new.rules_for(tool).count() {
                0 => "freely".into(),
                1 => "under 1 rule".into(),
                rules => format!("under {rules} rules"),
            };
            changes.add(Way::Opens, format!("{tool} may be called, {under}"));
        }
        (Visibility::Listed, Visibility::Hidden) => changes.add(Way::Closes, format!("{tool} is hidden")),
        (Visibility::Listed, _) => changes.add(Way::Closes, format!("{tool} is not listed and is refused")),
        (_, Visibility::Hidden) => changes.add(Way::Changes, format!("{tool} is hidden; it was refused as not listed")),
        (_, Visibility::Unlisted) => {
            changes.add(Way::Changes, format!("{tool} is refused as not listed; it was hidden"));
        }
    }
}
