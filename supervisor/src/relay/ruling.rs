//! What becomes of a call: the policy's verdict, a person's approval where it asks for one, then the limits.

use super::fingerprint::Fingerprint;
use super::parking::Awaits;
use super::pins;
use super::schemas::Lookup;
use crate::audit;
use crate::clock::Now;
use crate::limits::pace::Paces;
use crate::limits::{Store, Window};
use crate::policy::{
    self, Allowance, Call, Charged, Denial, DenialCode, LimitHit, Policy, Rule, SchemaKnowledge, Tills, Verdict,
};
use crate::weaken;
use crate::wire::tools::ToolCall;

/// A refusal with everything that its record and its reply say.
pub(super) struct Refused<'p> {
    pub(super) denial: Denial<'p>,
    pub(super) limit: Option<LimitHit>,
    /// Milliseconds until the call could be granted, where time alone frees it.
    pub(super) retry_after_ms: Option<u64>,
}

impl<'p> Refused<'p> {
    /// Without a limit and a time.
    pub(super) const fn plain(rule: Option<&'p Rule>, code: DenialCode, message: String) -> Self {
        Self { denial: Denial { rule, code, message }, limit: None, retry_after_ms: None }
    }
}

/// A limit as its record says it.
pub(super) fn record_limit(hit: &LimitHit) -> audit::Limit<'_> {
    let window_s = match hit.claim.window {
        Window::Sliding { window_ms } => window_ms / 1000,
        Window::Calendar { unit } => unit.seconds(),
    };
    let (max, used) = (hit.claim.at_most.whole(), hit.used.whole());
    audit::Limit { key: &hit.claim.key, max, window_s, used, retry_after_ms: hit.retry_after_ms }
}

/// A call that goes on to the server.
pub(super) struct Granted<'p> {
    /// The rule of `limit`; without one the rule that asked a person, or the last that was evaluated.
    pub(super) rule: Option<&'p Rule>,
    pub(super) limit: Option<LimitHit>,
    /// The approval that it uses up.
    pub(super) approved: Option<Fingerprint>,
    /// What would have refused it, in a session that only observes.
    pub(super) despite: Option<(DenialCode, String)>,
}

/// What became of a call.
pub(super) enum Ruling<'p> {
    Refused(Refused<'p>),
    /// It waits, and is decided when what it waits for is here.
    Wait(Awaits),
    /// It waits for a person.
    Ask {
        rule: &'p Rule,
        print: Fingerprint,
    },
    Granted(Granted<'p>),
}

impl<'p> Ruling<'p> {
    /// The same in a session that only observes: a refusal by a tool rule is told and goes through.
    pub(super) fn observed(self) -> Self {
        match self {
            Self::Refused(Refused { denial: Denial { rule, code, message }, limit, .. }) => {
                Self::Granted(Granted { rule, limit, approved: None, despite: Some((code, message)) })
            }
            other => other,
        }
    }
}

/// What a ruling is made from.
pub(super) struct Judge<'p, 'g> {
    pub(super) policy: &'p Policy,
    pub(super) store: &'g mut dyn Store,
    pub(super) paces: &'g mut Paces,
    pub(super) session: &'g str,
    /// Nobody is asked: what needs an approval is told and goes through.
    pub(super) observe: bool,
    /// The call goes on with one that was charged and approved: only what its arguments may be is judged again.
    pub(super) continues: bool,
    pub(super) now: Now,
}

impl<'p> Judge<'p, '_> {
    /// Decides one call. `in_hand` says whether an unused approval for a fingerprint is there.
    pub(super) fn rule(
        &mut self,
        schema: Lookup<'_>,
        pin: pins::Lookup<'_>,
        call: ToolCall<'_>,
        in_hand: impl FnOnce(Fingerprint) -> bool,
    ) -> Ruling<'p> {
        let schema = match schema {
            Lookup::Pending => SchemaKnowledge::Pending,
            Lookup::Unavailable => SchemaKnowledge::Unavailable,
            Lookup::Known(tool) => SchemaKnowledge::Known(tool.into()),
        };
        let allowance = match self.policy.judge(&Call { tool: call.name, arguments: call.arguments, schema }) {
            Verdict::Deny(denial) => return Ruling::Refused(Refused { denial, limit: None, retry_after_ms: None }),
            Verdict::NeedsSchema => return Ruling::Wait(Awaits::Tools),
            Verdict::Allow(allowance) => allowance,
        };
        let pin = match pin {
            pins::Lookup::Off => None,
            pins::Lookup::Good(pin) => Some(pin),
            pins::Lookup::Pending => return Ruling::Wait(Awaits::Tools),
            pins::Lookup::Storing => return Ruling::Wait(Awaits::Pin),
            pins::Lookup::Unavailable => {
                let message = "The server has not listed its tools, so no definition can be compared.".to_owned();
                return Ruling::Refused(Refused::plain(None, DenialCode::SchemaUnavailable, message));
            }
            pins::Lookup::Refused(code, message) => return Ruling::Refused(Refused::plain(None, code, message)),
        };
        if self.continues {
            let rule = allowance.rule;
            return Ruling::Granted(Granted { rule, limit: None, approved: None, despite: None });
        }
        let asks = allowance.approval.filter(|_| weaken::in_force("approval-needed"));
        let (mut approved, mut despite) = (None, None);
        match asks {
            None => {}
            Some(rule) if self.observe => {
                despite =
                    Some((DenialCode::ApprovalRequired, format!("A person has to approve it (rule {}).", rule.id)));
            }
            Some(rule) => {
                let print = Fingerprint::of(call, pin, &self.policy.sha256);
                if !in_hand(print) {
                    return Ruling::Ask { rule, print };
                }
                approved = Some(print);
            }
        }
        match self.charge(&allowance) {
            Ok(limit) => {
                // Rule and limit of a record belong together, but where it says what would have refused the call.
                let counts = allowance.limits.first().filter(|_| limit.is_some() && despite.is_none());
                let rule = counts.map(|limit| limit.rule).or(asks).or(allowance.rule);
                Ruling::Granted(Granted { rule, limit, approved, despite })
            }
            Err(refused) => Ruling::Refused(*refused),
        }
    }

    /// Takes the call from every pace and limit, or from none.
    fn charge(&mut self, allowance: &Allowance<'p>) -> Result<Option<LimitHit>, Box<Refused<'p>>> {
        let tills = Tills { store: &mut *self.store, paces: &mut *self.paces, session: self.session };
        match allowance.charge(self.policy, tills, self.now) {
            Ok(Charged::Granted(limit)) => Ok(limit),
            Ok(Charged::Refused { denial, limit, retry_after_ms }) => {
                Err(Box::new(Refused { denial, limit, retry_after_ms }))
            }
            Err(error) => {
                tracing::error!("{error}");
                let message = "The limit store cannot be reached; calls with a limit are refused.".to_owned();
                Err(Box::new(Refused::plain(allowance.rule, DenialCode::StoreDown, message)))
            }
        }
    }
}

/// An argument key that some servers would take for another one: equal under case folding to a name that matters, along the
/// paths of the policy or among the properties of the schema.
pub(super) fn ambiguous(call: ToolCall<'_>, policy: &policy::Policy, schema: Lookup<'_>) -> Option<String> {
    let properties: &[String] = match schema {
        Lookup::Known(tool) => tool.properties(),
        Lookup::Pending | Lookup::Unavailable => &[],
    };
    policy.ambiguity(call.name, call.arguments, properties)
}

pub(super) fn record_rule(rule: &policy::Rule) -> audit::Rule<'_> {
    audit::Rule { id: &rule.id, name: rule.name.as_deref().unwrap_or_default(), line: rule.line }
}
