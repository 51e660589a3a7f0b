//! What a change of a policy opens and what it closes, in words.
//!
//! A line says `opens` only where more is possible than before, `closes` only where less is; what cannot be ordered, or
//! touches only words and counters, `changes`. Nothing that differs goes unsaid.

mod access;
mod conditions;
mod limits;
mod methods;
mod rules;
mod sandbox;

#[cfg(test)]
mod tests;

use std::fmt;

use super::model::{Durability, LimitScope, Pins, Policy};

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// More is possible.
    Opens,
    /// Less is possible.
    Closes,
    /// Something else is, or only words and counters differ.
    Changes,
}

impl Way {
    /// `opens`, `closes` or `changes`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::Closes => "closes",
            Self::Changes => "changes",
        }
    }

    /// From what each side implies of the other: whatever passes the new also passes the old, and the other way round.
    const fn of(new_implies_old: bool, old_implies_new: bool) -> Self {
        match (new_implies_old, old_implies_new) {
            (true, false) => Self::Closes,
            (false, true) => Self::Opens,
            _ => Self::Changes,
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which way it goes.
    pub way: Way,
    /// What it is, in words.
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.way.as_str(), self.text)
    }
}

/// Collects the differences.
#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, way: Way, text: impl Into<String>) {
        self.0.push(Change { way, text: text.into() });
    }

    /// A difference that opens where `opens`, and closes else.
    fn either(&mut self, opens: bool, text: impl Into<String>) {
        self.add(if opens { Way::Opens } else { Way::Closes }, text);
    }

    /// A difference where the two are not equal; said with both.
    fn unless_equal<T: PartialEq>(&mut self, old: T, new: T, say: impl FnOnce(T, T) -> String) {
        if old != new {
            self.add(Way::Changes, say(old, new));
        }
    }
}

impl Policy {
    /// What is different in `new`: what opens, then what closes, then the rest. Empty where both decide, count and say the
    /// same, whatever the dialect and the order of keys. The files' places and bytes are no difference.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let mut changes = Changes::default();
        access::compare(self, new, &mut changes);
        methods::compare(self, new, &mut changes);
        rules::compare(self, new, &mut changes);
        counting(self, new, &mut changes);
        sandbox::compare(&self.sandbox, &new.sandbox, &mut changes);
        running(self, new, &mut changes);
        let mut found = changes.0;
        found.sort_by_key(|change| change.way); // stable: within a way, the order of the language
        found
    }
}

fn counting(old: &Policy, new: &Policy, changes: &mut Changes) {
    let identity = |policy: &Policy| policy.named.then(|| policy.name.clone());
    changes.unless_equal(identity(old), identity(new), |old, new| {
        let known = |name: Option<String>| name.unwrap_or_else(|| "its file's path".into());
        format!("counters are known by {} instead of {}, so all counts begin anew", known(new), known(old))
    });
    let scope = |scope| match scope {
        LimitScope::Profile => "for this policy, over all its sessions",
        LimitScope::Session => "for each session apart",
        LimitScope::Global => "together with other policies that name the same tool and rule",
    };
    if old.limit_scope != new.limit_scope {
        // A session's own count is the loosest; whether sharing with other policies is tighter depends on them.
        let way = match (old.limit_scope, new.limit_scope) {
            (_, LimitScope::Session) => Way::Opens,
            (LimitScope::Session, _) => Way::Closes,
            _ => Way::Changes,
        };
        let (was, is) = (scope(old.limit_scope), scope(new.limit_scope));
        changes.add(way, format!("limits count {is}, no longer {was}; counts begin anew"));
    }
    let (was, is) = (old.approvals, new.approvals);
    changes.unless_equal(was.timeout, is.timeout, |was, is| {
        format!("a call waits {} s for approval, was {} s", is.as_secs(), was.as_secs())
    });
    if was.valid != is.valid {
        let text =
            format!("an approval that comes late is good for {} s, was {} s", is.valid.as_secs(), was.valid.as_secs());
        changes.either(is.valid > was.valid, text);
    }
}

fn running(old: &Policy, new: &Policy, changes: &mut Changes) {
    if old.audit.durability != new.audit.durability {
        let text = match new.audit.durability {
            Durability::Write => {
                "records wait in the page cache: a power loss can take effects that were let through out of the log"
            }
            Durability::Strict => "every record is on disk before its effect",
        };
        changes.either(new.audit.durability == Durability::Write, text);
    }
    match (&old.server_command, &new.server_command) {
        (None, Some(command)) => changes.add(Way::Closes, format!("the command must be {}", words(command))),
        (Some(command), None) => changes.add(Way::Opens, format!("the command need not be {}", words(command))),
        (Some(was), Some(is)) if was != is => {
            changes.add(Way::Changes, format!("the command is {}, was {}", words(is), words(was)));
        }
        _ => {}
    }
    pins(&old.pins, &new.pins, changes);
    for flag in new.cli_allow.difference(&old.cli_allow) {
        changes.add(Way::Opens, format!("a caller who is not root may use --{flag}"));
    }
    for flag in old.cli_allow.difference(&new.cli_allow) {
        changes.add(Way::Closes, format!("a caller who is not root may no longer use --{flag}"));
    }
    if old.description != new.description {
        changes.add(Way::Changes, "the description reads otherwise");
    }
}

fn pins(old: &Pins, new: &Pins, changes: &mut Changes) {
    let words = |pins: &Pins| match pins {
        Pins::Off => (0, "tools are taken as the server lists them".to_owned()),
        Pins::Session => (1, "a tool keeps the definition that it had first in a session".to_owned()),
        Pins::FirstUse => (2, "a tool keeps the definition that it had when it was first seen".to_owned()),
        Pins::Lock(file) => (3, format!("tools are taken only as `{}` has them", file.display())),
    };
    let ((was, _), (is, text)) = (words(old), words(new));
    if old != new {
        let way = match is.cmp(&was) {
            std::cmp::Ordering::Less => Way::Opens,
            std::cmp::Ordering::Greater => Way::Closes,
            std::cmp::Ordering::Equal => Way::Changes,
        };
        changes.add(way, text);
    }
}

fn words(command: &[String]) -> String {
    format!("`{}`", command.join(" "))
}
