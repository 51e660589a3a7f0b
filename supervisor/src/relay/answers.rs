//! What the server says: answers matched to questions and passed on. Everything that is not MCP goes to people, never to
//! the client. Its own requests and notifications are judged in `server_asks`.

use super::continuations;
use super::gate::{Asked, Gate, SESSION_OVER, Step, corr, record_id};
use super::method_policy::Closed;
use super::outbox::Outbox;
use super::results;
use super::subscriptions::{self, LISTEN};
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpResult};
use crate::clock::Now;
use crate::weaken;
use crate::wire::frame::Frame;
use crate::wire::ids::{Answered, Entry};
use crate::wire::json::Value;
use crate::wire::jsonrpc::{self, Answer, Outcome, RequestId, Response, ServerLine};
use crate::wire::methods::Era;
use crate::wire::reply::{self, DecisionMeta};
use crate::wire::secrets::Redaction;
use crate::wire::{elicitation, fold};

#[cfg(test)]
mod tests;

/// The reason code of a question that would mislead a person.
pub(super) const MISLEADING: &str = "misleading_elicitation";

/// The reason code of a result that does not fit its schema.
const OUTPUT_MISMATCH: &str = "output_mismatch";

/// Why an answer is not passed on: the reason code, and the words for the client and the record.
pub(super) type Unfit = (&'static str, String);

impl Gate {
    /// One line of the server. Returns the line when it is not MCP and people should see it.
    ///
    /// # Errors
    /// Only when it cannot be recorded: the session is over then.
    pub(super) fn server_frame<'f>(
        &mut self,
        frame: Frame<'f>,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<Option<&'f [u8]>, AuditError> {
        let line = match frame {
            Frame::Line(line) => line,
            Frame::TooLong(line) => {
                self.server_overlong(&mut Step { now, line: &[], journal, outbox }, &line)?;
                return Ok(None);
            }
        };
        let redaction = self.secrets.redact_line(line);
        let mut step = Step { now, line, journal, outbox };
        let quotable = match &redaction {
            Redaction::Clean => true,
            Redaction::Redacted { line, count } => {
                step.line = line;
                step.outbox.note_redacted(*count);
                true
            }
            Redaction::Envelope { asked } => return refuse_envelope(&mut step, asked.as_ref()).map(|()| None),
            Redaction::NoMessage => false,
        };
        match jsonrpc::read_server_line(step.line) {
            Ok(read) => self.server_message(&mut step, read).map(|()| None),
            Err(_) if !self.noise.admits(now) => Ok(Some(line)),
            Err(refusal) => {
                let text = if quotable { refusal.text.as_str() } else { "it holds a secret and is not quoted" };
                let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied);
                event.mcp = Some(Mcp { dir: "s2c", bytes: step.bytes(), ..Mcp::default() });
                step.record(&event.with_reason(refusal.code.as_str(), text))?;
                Ok(Some(line))
            }
        }
    }

    fn server_message(&mut self, step: &mut Step<'_, '_>, read: ServerLine<'_>) -> Result<(), AuditError> {
        match read {
            // A call that waits here was never sent: an answer to it is invented.
            ServerLine::Answer(answer) if self.is_parked(&answer.id) => {
                unasked(step, &answer.id, "unknown_id", "answers no request")
            }
            ServerLine::Answer(answer) => match self.asked.answer(&answer.id) {
                Answered::Pending(entry) => self.server_answer(step, &answer, entry),
                Answered::Cancelled(_) => unasked(step, &answer.id, "cancelled", "answers a cancelled request"),
                Answered::Unknown => unasked(step, &answer.id, "unknown_id", "answers no request"),
            },
            ServerLine::Request(request) if request.method == "elicitation/create" => self.elicitation(step, &request),
            ServerLine::Request(request) => self.server_request(step, &request),
            ServerLine::Notification(note, raw) => self.server_notification(step, &note, &raw),
        }
    }

    /// An answer goes on as it came, under the asker's id. A tree of it is built only where it is looked into.
    fn server_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        answer: &Answer<'_>,
        Entry { origin, payload, token }: Entry<Asked>,
    ) -> Result<(), AuditError> {
        let Some(origin) = origin else {
            return self.own_answer(step, answer.outcome().ok().as_ref());
        };
        self.call_clock.done(&answer.id);
        let corr = corr(&answer.id);
        let fields = answer.fields();
        let bytes = step.line.len() as u64;
        let result = McpResult { is_error: fields.is_error, code: fields.code, bytes, latency_ms: 0 };
        let event = answer_event(step.now, &origin, &payload, &corr, result);
        let mut event = event;
        let mut changed = None;
        let unfit;
        if looks_into(&payload, answer) {
            let outcome = match answer.outcome() {
                Ok(outcome) => outcome,
                Err(reject) => {
                    let what = (SESSION_OVER, reject.code.as_str(), reject.code.text());
                    return self.answered(&origin, refuse_answer(step, &origin, event, what));
                }
            };
            if let Outcome::Error(error) = &outcome
                && let Some(closed) = self.closed_questions(error)
            {
                return self.refuse_input(step, (&origin, &payload), event, &closed, &corr);
            }
            if let Outcome::Result(result) = &outcome {
                if let Some(text) = self.unfit(&payload, result) {
                    if !self.observe {
                        return self.withhold(step, (&origin, &payload), event, &text, &corr);
                    }
                    unfit = text;
                    event = event.with_effect(Effect::Observed).with_reason(OUTPUT_MISMATCH, &unfit);
                }
                if let Some(closed) = self.closed_input(result) {
                    return self.refuse_input(step, (&origin, &payload), event, &closed, &corr);
                }
                self.goes_on(&payload, token, result, step.now);
            }
            changed = match self.changed(&payload, outcome, &origin) {
                Ok(changed) => changed,
                Err((code, text)) => {
                    let what = (SESSION_OVER, code, text.as_str());
                    return self.answered(&origin, refuse_answer(step, &origin, event, what));
                }
            };
        }
        match changed {
            None => step.outbox.pass_on(&answer.raw, Some(&origin)),
            Some(outcome) => {
                Response { id: origin.clone(), outcome }.write(&origin, step.outbox.client());
                step.outbox.client().push(b'\n');
            }
        }
        self.answered(&origin, step.note(&event))
    }

    /// An answer without its record does not leave: its question is open again, for the last word.
    fn answered(&mut self, origin: &RequestId, recorded: Result<(), AuditError>) -> Result<(), AuditError> {
        if recorded.is_err() {
            self.unanswered = Some(origin.clone());
        }
        recorded
    }

    /// What the client is to get in the place of an answer; none when it gets it as it came.
    fn changed<'v>(
        &mut self,
        asked: &Asked,
        outcome: Outcome<'v>,
        origin: &RequestId,
    ) -> Result<Option<Outcome<'v>>, Unfit> {
        let changed = match (asked, &outcome) {
            (Asked::ToolsList, Outcome::Result(list)) => self.filtered_list(list)?,
            (Asked::Initialize, Outcome::Result(result)) => {
                self.negotiated(result)?;
                self.announced(result)
            }
            (Asked::Other { method }, Outcome::Result(result)) if method == "server/discover" => self.announced(result),
            (Asked::Listen(_), Outcome::Result(result)) => subscriptions::last_word(asked, result, origin),
            _ => None,
        };
        if changed.is_none() && elicitation::asks(&outcome) {
            let mut outcome = outcome;
            let cleaned = elicitation::clean_answer(&mut outcome).map_err(|error| (MISLEADING, error.to_string()))?;
            return Ok((cleaned > 0).then_some(outcome));
        }
        Ok(changed.map(Outcome::Result))
    }

    /// Takes the revision from the answer to `initialize`.
    fn negotiated(&mut self, result: &Value<'_>) -> Result<(), Unfit> {
        if let Some(key) = fold::misnamed(result, ["protocolVersion", "capabilities"]) {
            return Err(("ambiguous_keys", format!("key {key:?} differs from MCP's only in case")));
        }
        let version = result.member("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let Some(era) = Era::of(version).filter(|era| era.has_handshake()) else {
            return Err(("unknown_revision", format!("MCP revision \"{version}\" is not supported")));
        };
        self.era = Some(era);
        let tools = result.member("capabilities").and_then(|all| all.member("tools"));
        self.tells_tools = tools.and_then(|tools| tools.member("listChanged")) == Some(&Value::Bool(true));
        Ok(())
    }

    /// What an answer leaves behind: a call that waits for input, a task whose progress is still told.
    fn goes_on(&mut self, asked: &Asked, token: Option<RequestId>, result: &Value<'_>, now: Now) {
        if let Asked::Call { turn: Some(turn), .. } = asked
            && continuations::asks_for_input(result)
        {
            self.continuations.leave(turn.clone(), result, now.boot_ns);
        }
        if let Some(token) = token.filter(|_| result.member("task").is_some()) {
            self.task_tokens.keep(token);
        }
    }

    /// What is wrong with the result of a call that must fit its tool's outputSchema.
    fn unfit(&self, asked: &Asked, result: &Value<'_>) -> Option<String> {
        let Asked::Call { output: Some(schema), turn, .. } = asked else { return None };
        results::fault(result, schema, turn.is_some()).filter(|_| weaken::in_force("result-schema"))
    }

    /// The client gets a refusal in our words in the place of the result.
    fn withhold(
        &mut self,
        step: &mut Step<'_, '_>,
        (origin, asked): (&RequestId, &Asked),
        event: Event<'_>,
        text: &str,
        corr: &str,
    ) -> Result<(), AuditError> {
        let Asked::Call { tool, turn, .. } = asked else { return Ok(()) };
        let rule = self.policy.rules_for(tool).find(|rule| rule.validate.output).map(|rule| rule.id.as_str());
        let id = format!("{}/{corr}", self.session);
        let decision = DecisionMeta { id: &id, rule, code: OUTPUT_MISMATCH, retry_after_ms: None };
        let era = if turn.is_some() { Some(Era::V2026_07_28) } else { self.era };
        reply::denied_reply(origin, era, text, &decision, step.outbox.client());
        self.refused(step, origin, event.with_reason(OUTPUT_MISMATCH, text))
    }

    /// In place of an answer that asks for input by a method that the policy closes. A call is told as any denial.
    fn refuse_input(
        &mut self,
        step: &mut Step<'_, '_>,
        (origin, asked): (&RequestId, &Asked),
        event: Event<'_>,
        closed: &Closed,
        corr: &str,
    ) -> Result<(), AuditError> {
        let out = step.outbox.client();
        if let Asked::Call { .. } = asked {
            let id = format!("{}/{corr}", self.session);
            let decision = DecisionMeta { id: &id, rule: None, code: closed.code, retry_after_ms: None };
            reply::denied_reply(origin, Some(Era::V2026_07_28), &closed.text, &decision, out);
        } else {
            reply::error_reply(Some(origin), reply::METHOD_NOT_FOUND, &closed.text, out);
        }
        self.refused(step, origin, event.with_reason(closed.code, &closed.text))
    }

    /// Ends the line of a refusal in an answer's place, and records it.
    fn refused(&mut self, step: &mut Step<'_, '_>, origin: &RequestId, event: Event<'_>) -> Result<(), AuditError> {
        step.outbox.client().push(b'\n');
        let recorded = step.record(&event.with_effect(Effect::Denied));
        self.answered(origin, recorded)
    }
}

/// Whether an answer needs a tree: what was asked says so, or a member that is judged. `resultType: "complete"` stands in
/// every result of 2026-07-28 and says nothing more.
fn looks_into(asked: &Asked, answer: &Answer<'_>) -> bool {
    let by_question = match asked {
        Asked::ToolsList | Asked::Initialize | Asked::Listen(_) => true,
        Asked::Other { method } => method == "server/discover",
        Asked::Call { output, .. } => output.is_some() && answer.is_result(),
        Asked::OwnToolsList => false,
    };
    let is_judged = |key: &str| match key {
        "resultType" => answer.text("resultType") != Some(br#""complete""#),
        "task" => true,
        key if !answer.is_result() => fold::equal(key, "data"),
        key => ["inputRequests", "resultType"].iter().any(|judged| fold::equal(key, judged)),
    };
    by_question || answer.keys().any(is_judged)
}

/// What the record of an answer says.
pub(super) fn answer_event<'e>(
    now: Now,
    origin: &'e RequestId,
    payload: &'e Asked,
    corr: &'e str,
    mut result: McpResult,
) -> Event<'e> {
    let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
    let mut mcp = Mcp { dir: "s2c", id: Some(record_id(origin)), kind: Some("response"), ..Mcp::default() };
    match payload {
        Asked::Call { tool, since_ns, .. } => {
            event.corr = Some(corr);
            mcp.method = Some("tools/call");
            mcp.tool = Some(tool);
            result.latency_ms = now.boot_ns.saturating_sub(*since_ns) / 1_000_000;
        }
        Asked::ToolsList => mcp.method = Some("tools/list"),
        Asked::Initialize => mcp.method = Some("initialize"),
        Asked::Listen(_) => mcp.method = Some(LISTEN),
        Asked::Other { method } => mcp.method = Some(method),
        Asked::OwnToolsList => {}
    }
    mcp.result = Some(result);
    event.mcp = Some(mcp);
    event
}

/// A message with a secret in its id or method: the client gets nothing of it, the server an error where it asked.
fn refuse_envelope(step: &mut Step<'_, '_>, asked: Option<&RequestId>) -> Result<(), AuditError> {
    const TEXT: &str = "a secret stands in the id or the method";
    if asked.is_some() {
        reply::error_reply(asked, reply::INVALID_REQUEST, TEXT, step.outbox.server());
        step.outbox.server().push(b'\n');
    }
    let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied);
    event.mcp = Some(Mcp { dir: "s2c", bytes: step.bytes(), ..Mcp::default() });
    step.record(&event.with_reason("secret_in_envelope", TEXT))
}

/// An answer to no question is dropped and recorded.
fn unasked(step: &mut Step<'_, '_>, id: &RequestId, code: &str, text: &str) -> Result<(), AuditError> {
    let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Denied).with_reason(code, text);
    let id = Some(record_id(id));
    event.mcp = Some(Mcp { dir: "s2c", id, kind: Some("response"), bytes: step.bytes(), ..Mcp::default() });
    step.record(&event)
}

/// The client asked, but what came back cannot be passed on.
pub(super) fn refuse_answer(
    step: &mut Step<'_, '_>,
    origin: &RequestId,
    event: Event<'_>,
    (rpc_code, code, text): (i32, &str, &str),
) -> Result<(), AuditError> {
    reply::error_reply(Some(origin), rpc_code, text, step.outbox.client());
    step.outbox.client().push(b'\n');
    step.record(&event.with_effect(Effect::Denied).with_reason(code, text))
}
