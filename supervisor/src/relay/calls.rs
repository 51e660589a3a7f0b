//! tools/call: the one message that has effects. Judged on the parsed value, charged, recorded, then written anew.

use super::gate::{Asked, Gate, NOT_TAKEN, Parked, Step, corr, deny_request, record_id, write_request};
use super::outbox::Outbox;
use super::schemas::Lookup;
use crate::audit::{self, AuditError, Effect, Event, Journal, Kind, Mcp};
use crate::bounds::PARKED_BYTES_MAX;
use crate::clock::Now;
use crate::limits::{Amount, Claim, NEVER_MS, Reservation, Window};
use crate::policy::{self, Call, Denial, DenialCode, SchemaKnowledge, Verdict};
use crate::wire::fold;
use crate::wire::jsonrpc::{self, Message, Request, RequestId};
use crate::wire::methods::Era;
use crate::wire::reply::{self, DecisionMeta, INVALID_PARAMS};
use crate::wire::tools::ToolCall;

/// A refusal with everything that its record and its reply say.
struct Refused<'p> {
    denial: Denial<'p>,
    limit: Option<LimitHit>,
}

/// The limit that refused a call, or the one that it was charged to.
#[derive(Debug)]
struct LimitHit {
    claim: Claim,
    used: Amount,
    retry_after_ms: Option<u64>,
}

/// What became of a call.
enum Ruling<'p> {
    Refused(Refused<'p>),
    Wait,
    Granted { rule: Option<&'p policy::Rule>, limit: Option<LimitHit> },
}

impl Gate {
    /// A tools/call of the client: refused, parked until the schemas are here, or forwarded.
    pub(super) fn client_call(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let call = match ToolCall::of(request.params.as_ref()) {
            Ok(call) => call,
            Err(error) => return deny_request(step, request, INVALID_PARAMS, "bad_call", &error.to_string()),
        };
        let asked = Asked::Call { tool: call.name.to_owned(), since_ns: step.now.boot_ns };
        let ours = match self.asked.open(request.id.clone(), asked) {
            Ok(ours) => ours,
            Err(error) => return deny_request(step, request, NOT_TAKEN, "not_taken", &error.to_string()),
        };
        self.rule_on(step, request, call, ours)
    }

    /// Decides an opened call; on anything but a forward its place in the table is given back or kept parked.
    fn rule_on(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &Request<'_>,
        call: ToolCall<'_>,
        ours: RequestId,
    ) -> Result<(), AuditError> {
        let Self { policy, schemas, store, session, redactor, era, asked, parked, .. } = self;
        let ruling = match ambiguous(call, policy, schemas.lookup(call.name)) {
            Some(text) => {
                asked.abandon(&ours);
                return deny_request(step, request, INVALID_PARAMS, "ambiguous_argument", &text);
            }
            None => rule(policy, schemas.lookup(call.name), store.as_mut(), session, call, step.now),
        };
        let corr = corr(&ours);
        let mut event = Event::new(Kind::McpRequest);
        event.corr = Some(&corr);
        event.mcp = Some(Mcp {
            dir: "c2s",
            method: Some("tools/call"),
            id: Some(record_id(&request.id)),
            kind: Some("request"),
            tool: Some(call.name),
            protocol: era.map(Era::as_str),
            bytes: step.bytes(),
            args: call.arguments.map(|arguments| redactor.redact(arguments)),
            ..Mcp::default()
        });
        match ruling {
            Ruling::Wait => {
                let held: usize = parked.iter().map(|parked| parked.line.len()).sum();
                if held + step.line.len() > PARKED_BYTES_MAX {
                    asked.abandon(&ours);
                    return deny_request(
                        step,
                        request,
                        NOT_TAKEN,
                        "not_taken",
                        "too much waits for the tools' schemas",
                    );
                }
                schemas.wait(step.now.boot_ns);
                parked.push_back(Parked { ours, line: step.line.to_vec() });
                Ok(())
            }
            Ruling::Granted { rule, limit } => {
                event.effect = Some(Effect::Allowed);
                event.rule = rule.map(record_rule);
                event.limit = limit.as_ref().map(record_limit);
                write_request(request, &ours, step.outbox.server());
                step.record(&event)
            }
            Ruling::Refused(refused) => {
                let Refused { denial, limit } = refused;
                event.effect = Some(Effect::Denied);
                event.rule = denial.rule.map(record_rule);
                event.limit = limit.as_ref().map(record_limit);
                event.reason = Some(audit::Reason { code: denial.code.as_str(), text: &denial.message });
                let decision = format!("{session}/{corr}");
                write_denial(&request.id, &denial, limit.as_ref(), &decision, step.outbox.client());
                // Its place is given back when the refusal is on record: until then it counts as an open question, which
                // gets an answer even if nothing can be recorded any more.
                step.record(&event)?;
                asked.abandon(&ours);
                Ok(())
            }
        }
    }

    /// Lets waiting calls go on when the schemas are here or the wait is over.
    ///
    /// # Errors
    /// Only when a decision cannot be recorded.
    pub(super) fn tick(&mut self, now: Now, journal: &mut Journal, outbox: &mut Outbox) -> Result<(), AuditError> {
        if let Some(count) = self.noise.due(now) {
            let mut event = Event::new(Kind::AuditGap);
            event.gap = Some(audit::Gap { source: "server_noise", count });
            let _on_disk = journal.append(now, &event)?;
        }
        if self.schemas.deadline_ns().is_some_and(|deadline_ns| now.boot_ns >= deadline_ns) {
            self.schemas.failed();
        }
        while self.schemas.settled()
            && let Some(parked) = self.parked.pop_front()
        {
            self.judge_parked(parked, now, journal, outbox)?;
        }
        Ok(())
    }

    /// Judges a waiting call by what is known and in force now; it may have to wait on.
    pub(super) fn judge_parked(
        &mut self,
        Parked { ours, line }: Parked,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        let mut step = Step { now, line: &line, journal, outbox };
        // It parsed once; the same bytes parse again.
        if let Ok(read) = jsonrpc::read_line(&line)
            && let Message::Request(request) = &read.message
            && let Ok(call) = ToolCall::of(request.params.as_ref())
        {
            self.rule_on(&mut step, request, call, ours)?;
        }
        Ok(())
    }
}

/// An argument key that some servers would take for another one: equal under case folding to a name that matters, along the
/// paths of the policy or among the properties of the schema.
fn ambiguous(call: ToolCall<'_>, policy: &policy::Policy, schema: Lookup<'_>) -> Option<String> {
    let arguments = call.arguments?;
    let properties: &[String] = match schema {
        Lookup::Known(schema) => &schema.properties,
        Lookup::Pending | Lookup::Unavailable => &[],
    };
    let property = || {
        arguments.as_object()?.iter().find_map(|(key, _)| {
            fold::collision(key, properties.iter().map(String::as_str)).map(|known| (&**key, known))
        })
    };
    let (key, known) = policy.ambiguous_argument(call.name, arguments).or_else(property)?;
    Some(format!("argument \"{key}\" differs from \"{known}\" only in case"))
}

fn rule<'p>(
    policy: &'p policy::Policy,
    schema: Lookup<'_>,
    store: &mut dyn crate::limits::Store,
    session: &str,
    call: ToolCall<'_>,
    now: Now,
) -> Ruling<'p> {
    let schema = match schema {
        Lookup::Pending => SchemaKnowledge::Pending,
        Lookup::Unavailable => SchemaKnowledge::Unavailable,
        Lookup::Known(schema) => SchemaKnowledge::Required(&schema.required),
    };
    let allowance = match policy.judge(&Call { tool: call.name, arguments: call.arguments, schema }) {
        Verdict::Deny(denial) => return Ruling::Refused(Refused { denial, limit: None }),
        Verdict::NeedsSchema => return Ruling::Wait,
        Verdict::Allow(allowance) => allowance,
    };
    if allowance.limits.is_empty() {
        return Ruling::Granted { rule: allowance.rule, limit: None };
    }
    let claims: Vec<Claim> = allowance.limits.iter().map(|limit| limit.claim(policy, session)).collect();
    match store.reserve(now, &claims) {
        Ok(Reservation::Granted { used }) => {
            let limit = claims.into_iter().zip(used).next();
            let limit = limit.map(|(claim, used)| LimitHit { claim, used, retry_after_ms: None });
            Ruling::Granted { rule: allowance.rule, limit }
        }
        Ok(Reservation::Exhausted { index, used, retry_after_ms }) => {
            let planned = allowance.limits[index];
            let code = DenialCode::RateLimited;
            let retry_after_ms = Some(retry_after_ms).filter(|wait_ms| *wait_ms != NEVER_MS);
            let message = limit_text(planned, retry_after_ms);
            let claim = claims.into_iter().nth(index);
            Ruling::Refused(Refused {
                denial: Denial { rule: Some(planned.rule), code, message },
                limit: claim.map(|claim| LimitHit { claim, used, retry_after_ms }),
            })
        }
        Err(error) => {
            tracing::error!("{error}");
            let message = "The limit store cannot be reached; calls with a limit are refused.".to_owned();
            let denial = Denial { rule: allowance.rule, code: DenialCode::StoreDown, message };
            Ruling::Refused(Refused { denial, limit: None })
        }
    }
}

/// `Rate limit of 10 per 60 s reached. Try again in 42 s.`; the policy's own words in place of the first sentence.
fn limit_text(limit: policy::PlannedLimit<'_>, retry_after_ms: Option<u64>) -> String {
    let first = limit.rule.reason.clone().unwrap_or_else(|| limit.reached());
    match retry_after_ms {
        Some(wait_ms) => format!("{first} Try again in {} s.", wait_ms.div_ceil(1000)),
        None => first,
    }
}

/// A hidden tool does not exist for the client; every other refusal is a tool result that the agent can read.
fn write_denial(id: &RequestId, denial: &Denial<'_>, limit: Option<&LimitHit>, decision: &str, out: &mut Vec<u8>) {
    if denial.code == DenialCode::Hidden {
        reply::error_reply(Some(id), INVALID_PARAMS, &denial.message, out);
    } else {
        let meta = DecisionMeta {
            id: decision,
            rule: denial.rule.map(|rule| rule.id.as_str()),
            code: denial.code.as_str(),
            retry_after_ms: limit.and_then(|limit| limit.retry_after_ms),
        };
        reply::denied_reply(id, &denial.message, &meta, out);
    }
    out.push(b'\n');
}

fn record_rule(rule: &policy::Rule) -> audit::Rule<'_> {
    audit::Rule { id: &rule.id, name: rule.name.as_deref().unwrap_or_default(), line: rule.line }
}

fn record_limit(hit: &LimitHit) -> audit::Limit<'_> {
    let window_s = match hit.claim.window {
        Window::Sliding { window_ms } => window_ms / 1000,
        Window::Calendar { unit } => unit.seconds(),
    };
    let (max, used) = (hit.claim.at_most.whole(), hit.used.whole());
    audit::Limit { key: &hit.claim.key, max, window_s, used, retry_after_ms: hit.retry_after_ms }
}
