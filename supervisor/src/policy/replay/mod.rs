//! A recorded session against a changed policy: which calls would end otherwise.
//!
//! A log has the names of the arguments, their types, lengths and keyed hashes, never their values (docs/audit-format.md).
//! What follows from these is said; of everything else it is said that it cannot be. Nothing is guessed.

mod counts;
mod facts;
mod possible;
mod shape;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::counts::{Answer, Charge, Counts};
use self::facts::{Fact, Facts};
use super::argument_keys::AMBIGUOUS_ARGUMENT;
use super::condition::{Clause, Step};
use super::model::{Increment, Policy, Rule, RuleAction};
use super::verdict::{DenialCode, Limited, PlannedLimit, Visibility};
use crate::limits::Window;
use crate::wire::fold;

pub use shape::{Leaf, Shape};

/// The keyed hash of a leaf: JSON type and text to hex digits.
pub type Hash<'h> = &'h dyn Fn(&str, &str) -> String;

/// One tools/call of a log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it was decided, nanoseconds since the Unix epoch by a clock that never goes back.
    pub at_ns: u64,
    /// The tool.
    pub tool: String,
    /// What is known of the arguments.
    pub arguments: Shape,
    /// How it ended.
    pub was: Was,
    /// The limit that the record names.
    pub limit: Option<RecordedLimit>,
}

/// How a recorded call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Was {
    /// It was forwarded.
    Allowed,
    /// It was refused, with this code and by this rule.
    Denied(String, Option<String>),
}

/// What a record says of a limit.
#[derive(Clone, Debug)]
pub struct RecordedLimit {
    /// The counter.
    pub key: String,
    /// Its window, seconds.
    pub window_s: u64,
    /// Calls in it: with this one where it was allowed.
    pub used: u64,
}

/// What the replay says of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It ends as it did.
    Same,
    /// It does not: how it ended, and how it would end.
    Differs(String, String),
    /// The log does not say enough, or the end was not the policy's doing. Why.
    CannotSay(String),
}

/// How a call would end.
#[derive(Debug)]
enum End {
    Allowed,
    Approval(String),
    /// Code, rule, and what decided.
    Denied(&'static str, Option<String>, String),
    /// Refused in any case, but perhaps by another rule than the one named here.
    DeniedSomehow(String),
    CannotSay(String),
}

/// A replay in progress: calls are judged in the order of the log.
pub struct Replay<'p> {
    policy: &'p Policy,
    session: String,
    required: BTreeMap<String, Vec<String>>,
    hash: Option<Hash<'p>>,
    counts: Counts,
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("policy", &self.policy.name).finish_non_exhaustive()
    }
}

impl<'p> Replay<'p> {
    /// A replay of the session `session`. `required`: what each tool's inputSchema requires, which no log says. `hash`: the
    /// host's keyed hash, where it can be had: then equality with a value of the policy can be told.
    #[must_use]
    pub fn new(
        policy: &'p Policy,
        session: &str,
        required: BTreeMap<String, Vec<String>>,
        hash: Option<Hash<'p>>,
    ) -> Self {
        Self { policy, session: session.to_owned(), required, hash, counts: Counts::default() }
    }

    /// Judges the next call of the log.
    pub fn judge(&mut self, call: &Recorded) -> Finding {
        self.learn(call);
        let end = self.end_of(call);
        compare(&call.was, end)
    }

    fn end_of(&mut self, call: &Recorded) -> End {
        if let Some(end) = self.refused_before_the_rules(call) {
            return end;
        }
        // Ambiguous or not: a rule that refuses it for certain still does, and where none does it may be charged.
        let mut unknown = self.doubtful_keys(call);
        let mut approval = None;
        for rule in self.policy.rules_for(&call.tool) {
            match self.rule(rule, call) {
                Fact::Yes => {}
                Fact::No(Refusal { code, why, first }) => {
                    let why = format!("{} by rule {}: {why}", code.as_str(), rule.id);
                    return match (first, unknown) {
                        (true, None) => End::Denied(code.as_str(), Some(rule.id.clone()), why),
                        _ => End::DeniedSomehow(why),
                    };
                }
                Fact::Unknown(why) => unknown = unknown.or(Some(why)),
            }
            if rule.action == RuleAction::RequireApproval {
                approval = approval.or(Some(rule.id.clone()));
            }
            // An amount that cannot be counted refuses the call before the next rule is asked.
            if rule.state.as_ref().is_some_and(|counter| matches!(counter.increment, Increment::From(_))) {
                unknown = unknown.or_else(|| not_counted(rule));
            }
        }
        let uncounted = self.policy.rules_for(&call.tool).find_map(not_counted);
        if let (None, Some(rule)) = (&unknown, approval) {
            self.charge(call, false);
            return End::Approval(rule);
        }
        let unknown = unknown.or(uncounted);
        let limited = DenialCode::RateLimited.as_str();
        match (self.charge(call, unknown.is_none()), unknown) {
            (Answer::Refused(rule, limit), None) => {
                let why = format!("{limited} by rule {rule}: {limit}");
                End::Denied(limited, Some(rule), why)
            }
            (Answer::Refused(rule, limit), Some(_)) => End::DeniedSomehow(format!("{limited} by rule {rule}: {limit}")),
            (Answer::RefusedBySome, _) => End::DeniedSomehow(format!("{limited}: several limits may be full")),
            (_, Some(why)) | (Answer::CannotSay(why), None) => End::CannotSay(why),
            (Answer::Granted, None) => End::Allowed,
        }
    }

    /// Visibility, and keys that differ in case: in the relay's order.
    fn refused_before_the_rules(&self, call: &Recorded) -> Option<End> {
        let code = match self.policy.visibility(&call.tool) {
            Visibility::Listed => None,
            Visibility::Hidden => Some(DenialCode::Hidden),
            Visibility::Unlisted => Some(DenialCode::NotListed),
        };
        if let Some(code) = code {
            return Some(End::Denied(code.as_str(), None, code.as_str().to_owned()));
        }
        let required = self.required.get(&call.tool).map(Vec::as_slice).unwrap_or_default();
        let collides = |key: &String| {
            let known = self.policy.argument_names(&call.tool).chain(required.iter().map(String::as_str));
            fold::collision(key, known).is_some()
        };
        let key = call.arguments.keys.iter().find(|key| collides(key))?;
        let why =
            format!("{AMBIGUOUS_ARGUMENT}: \"{key}\" differs only in case from an argument that the policy reads");
        Some(End::Denied(AMBIGUOUS_ARGUMENT, None, why))
    }

    /// Keys that may make the call ambiguous: those that the log cut off, those below the first level that differ in case
    /// only from one of the policy's, on whatever level that stands, and those that made it ambiguous when it was recorded.
    fn doubtful_keys(&self, call: &Recorded) -> Option<String> {
        let tests = || self.policy.rules_for(&call.tool).flat_map(|rule| &rule.conditions).flat_map(Clause::tests);
        let shape = &call.arguments;
        let required = self.required.get(&call.tool).is_some_and(|names| !names.is_empty());
        let reads = required || self.policy.argument_names(&call.tool).next().is_some();
        if reads && !(shape.all_keys && shape.all_leaves) {
            return Some("the log cuts off keys, which may differ only in case from one that the policy reads".into());
        }
        let in_tests = tests().flat_map(|test| test.steps.iter().skip(1)).filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::EachItem => None,
        });
        let amounts = self.policy.rules_for(&call.tool).filter_map(|rule| rule.state.as_ref());
        let in_amounts = amounts.filter_map(|counter| match &counter.increment {
            Increment::From(keys) => Some(keys.iter().skip(1).map(String::as_str)),
            Increment::Fixed(_) => None,
        });
        let known: Vec<&str> = in_tests.chain(in_amounts.flatten()).collect();
        if let Some(key) = shape.keys_below().find(|key| fold::collision(key, known.iter().copied()).is_some()) {
            let why =
                format!("\"{key}\" differs only in case from a key that the policy reads, perhaps at another level");
            return Some(why);
        }
        // The schema may have named the key; what is optional in it stands in no log and in no `--required`.
        matches!(&call.was, Was::Denied(code, _) if code == AMBIGUOUS_ARGUMENT).then(|| {
            "an argument's key differed only in case from one of the schema, which the log does not have".into()
        })
    }

    /// Whether the call passes a rule, its limits aside.
    fn rule(&self, rule: &Rule, call: &Recorded) -> Fact<Refusal> {
        if rule.action == RuleAction::Deny {
            return Fact::No(Refusal::first(DenialCode::DeniedByRule, "every call is refused"));
        }
        let mut unknown = None;
        match self.required_arguments(rule, call) {
            Fact::Yes => {}
            Fact::No(refusal) => return Fact::No(refusal),
            Fact::Unknown(why) => unknown = Some(why),
        }
        if rule.validate.schema || rule.validate.output {
            unknown = unknown.or(Some(format!("rule {} needs the tool's schemas, which are not in the log", rule.id)));
        }
        let facts = Facts { arguments: &call.arguments, hash: self.hash };
        for clause in &rule.conditions {
            match facts.passes(clause) {
                Fact::Yes => {}
                Fact::No(()) => {
                    let refusal = Refusal::first(DenialCode::ConditionFailed, &clause.to_string());
                    return Fact::No(Refusal { first: unknown.is_none(), ..refusal });
                }
                Fact::Unknown(why) => unknown = unknown.or(Some(format!("rule {} {why}", rule.id))),
            }
        }
        unknown.map_or(Fact::Yes, Fact::Unknown)
    }

    fn required_arguments(&self, rule: &Rule, call: &Recorded) -> Fact<Refusal> {
        if !rule.validate.required_args {
            return Fact::Yes;
        }
        if matches!(&call.was, Was::Denied(code, _) if code == DenialCode::SchemaUnavailable.as_str()) {
            return Fact::No(Refusal::first(DenialCode::SchemaUnavailable, "the schema could not be had then"));
        }
        let Some(names) = self.required.get(&call.tool) else {
            let tool = &call.tool;
            let why =
                format!("rule {} needs what the schema of {tool} requires; give it with --required {tool}=", rule.id);
            return Fact::Unknown(why);
        };
        for name in names {
            match call.arguments.is_given(name) {
                Some(true) => {}
                Some(false) => {
                    let why = format!("\"{name}\" is not given");
                    return Fact::No(Refusal::first(DenialCode::MissingArgument, &why));
                }
                None => return Fact::Unknown(format!("rule {} reads args.{name}, which the log cuts off", rule.id)),
            }
        }
        Fact::Yes
    }

    /// Charges the rate limits that govern the call: for certain, or perhaps.
    fn charge(&mut self, call: &Recorded, certain: bool) -> Answer {
        let charges = self.charges(call);
        self.counts.charge(&charges, call.at_ns, certain)
    }

    /// What the record says of a counter. Its window is the policy's where the two agree on its length: a record does not
    /// tell a minute of the calendar from any 60 seconds.
    fn learn(&mut self, call: &Recorded) {
        let Some(limit) = &call.limit else { return };
        let same = |window: Window| window.length_ms() == limit.window_s.saturating_mul(1000);
        let charges = self.charges(call);
        let window = charges.iter().find(|charge| charge.claim.key == limit.key && same(charge.claim.window));
        let any = Window::Sliding { window_ms: limit.window_s.saturating_mul(1000) };
        let window = window.map_or(any, |charge| charge.claim.window);
        self.counts.note(limit, window, call.at_ns, call.was == Was::Allowed);
    }

    /// The rate limits that govern the call.
    fn charges(&self, call: &Recorded) -> Vec<Charge> {
        let quotas = self.policy.rules_for(&call.tool).filter_map(|rule| Some((rule, rule.rate_limit?)));
        quotas
            .map(|(rule, quota)| Charge {
                rule: rule.id.clone(),
                limit: super::limit_words::quota_in_words(quota),
                claim: PlannedLimit { rule, what: Limited::Calls(quota) }.claim(self.policy, &self.session),
            })
            .collect()
    }
}

/// Why a rule refuses a call.
#[derive(Debug)]
struct Refusal {
    code: DenialCode,
    why: String,
    /// Whether it is the rule's first: no check before it is open.
    first: bool,
}

impl Refusal {
    fn first(code: DenialCode, why: &str) -> Self {
        Self { code, why: why.to_owned(), first: true }
    }
}

/// Why a rule's limits are not counted here.
fn not_counted(rule: &Rule) -> Option<String> {
    let what = if rule.pace.is_some() {
        "keeps a pace"
    } else if rule.state.is_some() || !rule.state_conditions.is_empty() {
        "counts amounts"
    } else {
        return None;
    };
    Some(format!("rule {} {what}, which a replay does not count", rule.id))
}

fn compare(was: &Was, end: End) -> Finding {
    // What the host or a person did then says nothing of the policy.
    const NOT_THE_POLICY: [DenialCode; 2] = [DenialCode::StoreDown, DenialCode::AuditUnavailable];
    if let Was::Denied(code, _) = was
        && NOT_THE_POLICY.iter().any(|known| known.as_str() == code)
    {
        return Finding::CannotSay(format!("the call was refused by the host ({code}), not by the policy"));
    }
    let before = match was {
        Was::Allowed => "allowed".to_owned(),
        Was::Denied(code, Some(rule)) => format!("denied ({code} by rule {rule})"),
        Was::Denied(code, None) => format!("denied ({code})"),
    };
    match (was, end) {
        (_, End::CannotSay(why)) => Finding::CannotSay(why),
        (Was::Allowed, End::Allowed) | (Was::Denied(..), End::DeniedSomehow(_)) => Finding::Same,
        (Was::Denied(code, by), End::Denied(now, rule, _)) if code == now && *by == rule => Finding::Same,
        (Was::Denied(code, _), End::Approval(_))
            if [DenialCode::ApprovalRequired, DenialCode::ApprovalDenied]
                .iter()
                .any(|asked| code == asked.as_str()) =>
        {
            Finding::Same
        }
        (_, End::Allowed) => Finding::Differs(before, "allowed".into()),
        (_, End::Approval(rule)) => Finding::Differs(before, format!("held until a person approves (rule {rule})")),
        (_, End::Denied(_, _, why)) => Finding::Differs(before, format!("denied ({why})")),
        (_, End::DeniedSomehow(why)) => {
            Finding::Differs(before, format!("denied ({why}; another rule may refuse it first)"))
        }
    }
}
