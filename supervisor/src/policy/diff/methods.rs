//! Which methods pass besides tools/call.

use std::collections::BTreeSet;

use super::{Changes, Way};
use crate::policy::methods::Methods;
use crate::policy::model::{DefaultEffect, Policy};
use crate::wire::methods::{Standing, names, standing};

/// Compares the effect of every key of either policy, and of what no key names.
pub(super) fn compare(old: &Policy, new: &Policy, changes: &mut Changes) {
    let (old, new) = (&old.methods, &new.methods);
    if old.others != new.others {
        let opens = new.others == DefaultEffect::Allow;
        let how = if opens { "pass" } else { "are refused" };
        changes
            .either(opens, format!("methods that the policy does not name {how} (resources, prompts, sampling ...)"));
    }
    let keys: BTreeSet<&String> = old.named.keys().chain(new.named.keys()).collect();
    for key in keys {
        let said = old.named.contains_key(key) && new.named.contains_key(key);
        match (effect(old, key), effect(new, key)) {
            (was, is) if was == is => {}
            // The one that does not name it says it above.
            (was, is) if !said && old.others != new.others && was == follows(old, key) && is == follows(new, key) => {}
            (_, DefaultEffect::Allow) => changes.add(Way::Opens, format!("{key} passes")),
            (_, DefaultEffect::Deny) => changes.add(Way::Closes, format!("{key} is refused")),
        }
        match (opens_foreign(old, key), opens_foreign(new, key)) {
            (was, is) if was == is || effect(old, key) != effect(new, key) => {}
            (_, is) => {
                let how = if is { "pass" } else { "are refused" };
                changes.either(is, format!("methods under {key} that MCP does not have {how}"));
            }
        }
    }
}

/// What becomes of the method or the family that `key` names.
fn effect(methods: &Methods, key: &str) -> DefaultEffect {
    methods
        .named
        .get(key)
        .copied()
        .or_else(|| methods.effect_of(key.trim_end_matches("/*")))
        .unwrap_or(follows(methods, key))
}

/// What becomes of it where no key names it.
fn follows(methods: &Methods, key: &str) -> DefaultEffect {
    let of_mcp = |name: &&str| match key.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *name == key,
    };
    match names().find(of_mcp).and_then(standing) {
        Some(Standing::Judged) => methods.others,
        Some(Standing::Essential | Standing::Free) => DefaultEffect::Allow,
        None => DefaultEffect::Deny,
    }
}

/// Whether a method under the prefix `key` passes that no revision has.
fn opens_foreign(methods: &Methods, key: &str) -> bool {
    let Some(prefix) = key.strip_suffix('*') else { return false };
    methods.effect_of(&format!("{prefix}\0")) == Some(DefaultEffect::Allow)
}
