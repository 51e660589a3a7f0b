//! Whether a message of a method may pass at all. tools/call passes here and is judged by the rules of its tool.

use std::collections::BTreeMap;

use super::model::{DefaultEffect, Policy};
use crate::weaken;
use crate::wire::methods::{self, Direction, Era, Kind, Knowledge, Standing};

/// `methods:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods {
    /// By method name, or by `PREFIX/*`.
    pub named: BTreeMap<String, DefaultEffect>,
    /// What becomes of the methods of MCP that no key names (`"*"`). Notifications pass unless one does.
    pub others: DefaultEffect,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum MethodVerdict {
    /// It may pass.
    Passes,
    /// The policy closes it (`denied_by_policy`).
    Denied,
    /// MCP does not have it here, and the policy does not open it (`unknown_method`).
    Unknown,
}

impl Policy {
    /// Decides on a message of `method`. Before a version is negotiated (`None`) every revision counts.
    ///
    /// What MCP has elsewhere, in another direction or kind, is never opened; nor is a request of the server in 2026-07-28,
    /// which has none.
    pub fn judge_method(&self, method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> MethodVerdict {
        let named = self.methods.effect_of(method);
        let is_asked_back = direction == Direction::ServerToClient && kind == Kind::Request;
        match methods::lookup(method, direction, kind, era) {
            Knowledge::Known => match (methods::standing(method), named) {
                (Some(Standing::Essential), _) => MethodVerdict::Passes,
                (_, Some(effect)) => verdict(effect),
                (Some(Standing::Free), None) => MethodVerdict::Passes,
                (Some(Standing::Judged) | None, None) => verdict(self.methods.others),
            },
            Knowledge::Misplaced => MethodVerdict::Unknown,
            Knowledge::Unknown if is_asked_back && era.is_some_and(|era| !era.has_handshake()) => {
                MethodVerdict::Unknown
            }
            Knowledge::Unknown => match named {
                Some(DefaultEffect::Allow) => MethodVerdict::Passes,
                Some(DefaultEffect::Deny) => MethodVerdict::Denied,
                None => MethodVerdict::Unknown,
            },
        }
    }

    /// Whether a method of MCP may pass in some place and revision; one that MCP does not have, as a request of the client.
    #[must_use]
    pub fn opens_method(&self, method: &str) -> bool {
        let mut places: Vec<_> = methods::places(method).collect();
        if places.is_empty() {
            places.push((Direction::ClientToServer, Kind::Request));
        }
        let passes = |(direction, kind)| self.judge_method(method, direction, kind, None) == MethodVerdict::Passes;
        places.into_iter().any(passes)
    }
}

fn verdict(effect: DefaultEffect) -> MethodVerdict {
    match effect {
        DefaultEffect::Allow => MethodVerdict::Passes,
        DefaultEffect::Deny if weaken::in_force("policy-methods") => MethodVerdict::Denied,
        DefaultEffect::Deny => MethodVerdict::Passes,
    }
}

impl Methods {
    /// What the most exact key that covers `method` says.
    #[must_use]
    pub fn effect_of(&self, method: &str) -> Option<DefaultEffect> {
        if let Some(effect) = self.named.get(method) {
            return Some(*effect);
        }
        // The longest prefix first: `a/b/*`, then `a/*`.
        let mut rest = method;
        while let Some((prefix, _)) = rest.rsplit_once('/') {
            if let Some(effect) = self.named.get(&format!("{prefix}/*")) {
                return Some(*effect);
            }
            rest = prefix;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use Direction::{ClientToServer, ServerToClient};
    use Kind::{Notification, Request};
    use MethodVerdict::{Denied, Passes, Unknown};

    use super::*;
    use crate::policy::testing::loaded;

    fn client(policy: &str, method: &str) -> MethodVerdict {
        loaded(policy).judge_method(method, ClientToServer, Request, None)
    }

    fn server(policy: &str, method: &str) -> MethodVerdict {
        loaded(policy).judge_method(method, ServerToClient, Request, None)
    }

    #[test]
    fn the_default_binds_every_family_where_no_key_does() {
        let families = ["resources/read", "prompts/get", "completion/complete", "logging/setLevel", "tasks/get"];
        for deny in
            ["tools: {}", "default: deny", "{default: deny, methods: {}}", "{version: '1', default: deny, methods: {}}"]
        {
            assert!(families.iter().all(|method| client(deny, method) == Denied), "{deny}");
            for method in methods::INPUT_REQUESTS {
                assert_eq!(server(deny, method), Denied, "{deny}: {method}");
            }
        }
        for allow in ["default: allow", "{version: '1', default: deny}", "{methods: {'*': allow}}"] {
            assert!(families.iter().all(|method| client(allow, method) == Passes), "{allow}");
            assert_eq!(server(allow, "sampling/createMessage"), Passes, "{allow}");
        }
    }

    #[test]
    fn the_most_exact_key_wins() {
        let policy = "methods: {resources/*: allow, resources/templates/*: deny, resources/read: deny, '*': deny}";
        for (method, verdict) in [
            ("resources/list", Passes),
            ("resources/read", Denied),
            ("resources/templates/list", Denied),
            ("resources/vendor/thing", Passes),
            ("prompts/list", Denied),
        ] {
            assert_eq!(client(policy, method), verdict, "{method}");
        }
    }

    #[test]
    fn what_nothing_works_without_passes_and_notifications_pass_unless_named() {
        let closed = loaded("methods: {notifications/message: deny, '*': deny}");
        for method in ["initialize", "ping", "tools/list", "tools/call", "server/discover", "subscriptions/listen"] {
            assert_eq!(closed.judge_method(method, ClientToServer, Request, None), Passes, "{method}");
        }
        let note = |method| closed.judge_method(method, ServerToClient, Notification, None);
        assert_eq!(note("notifications/progress"), Passes);
        assert_eq!(note("notifications/cancelled"), Passes);
        assert_eq!(note("notifications/message"), Denied);
    }

    #[test]
    fn a_key_opens_what_mcp_does_not_know_and_nothing_out_of_its_place() {
        let policy = loaded("{default: allow, methods: {vendor/thing: allow, sampling/*: allow, tasks/get: allow}}");
        let judge = |method, direction, kind, era| policy.judge_method(method, direction, kind, era);
        assert_eq!(judge("vendor/thing", ClientToServer, Request, None), Passes);
        assert_eq!(judge("vendor/thing", ServerToClient, Notification, Some(Era::V2026_07_28)), Passes);
        assert_eq!(judge("vendor/other", ClientToServer, Request, None), Unknown, "the default opens none");
        assert_eq!(judge("sampling/createMessage", ClientToServer, Request, None), Unknown, "out of its place");
        assert_eq!(judge("tools/call", ServerToClient, Request, None), Unknown);
        assert_eq!(judge("tools/call", ClientToServer, Notification, None), Unknown);
        let new = Some(Era::V2026_07_28);
        assert_eq!(judge("tasks/get", ClientToServer, Request, new), Passes, "an extension of that revision");
        assert_eq!(
            judge("sampling/createMessage", ServerToClient, Request, new),
            Unknown,
            "the server asks nothing there"
        );
        assert_eq!(judge("vendor/thing", ServerToClient, Request, new), Unknown);
    }
}
