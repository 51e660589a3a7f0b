//! What the server says: answers matched to questions, lists filtered, its own requests under ids of ours. Everything
//! that is not MCP goes to people, never to the client.

use super::continuations;
use super::gate::{Asked, Gate, SESSION_OVER, Step, corr, record_id, write_line};
use super::method_policy::Closed;
use super::outbox::Outbox;
use super::{progress, subscriptions};
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpResult};
use crate::bounds::SERVER_LINE_BYTES_MAX;
use crate::clock::Now;
use crate::policy::Visibility;
use crate::wire::frame::Frame;
use crate::wire::ids::{self, Answered, Entry};
use crate::wire::json::{Number, Value};
use crate::wire::jsonrpc::{self, Line, Message, Notification, Outcome, Request, RequestId, Response};
use crate::wire::methods::{Direction, Era, Kind as MethodKind};
use crate::wire::reply::DecisionMeta;
use crate::wire::secrets::Redaction;
use crate::wire::{elicitation, reply, tools};

/// The reason code of a question that would mislead a person.
const MISLEADING: &str = "misleading_elicitation";

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
            Frame::TooLong { bytes } => {
                let text = format!("a line of {bytes} bytes; at most {SERVER_LINE_BYTES_MAX} are accepted");
                let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied);
                event.mcp = Some(Mcp { dir: "s2c", bytes: Some(bytes), ..Mcp::default() });
                Step { now, line: &[], journal, outbox }.record(&event.with_reason("line_too_long", &text))?;
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
        match jsonrpc::read_line(step.line) {
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

    fn server_message(&mut self, step: &mut Step<'_, '_>, read: Line<'_>) -> Result<(), AuditError> {
        match &read.message {
            // A call that waits here was never sent: an answer to it is invented.
            Message::Response(response) if self.is_parked(&response.id) => {
                unasked(step, response, "unknown_id", "answers no request")
            }
            Message::Response(response) => match self.asked.answer(&response.id) {
                Answered::Pending(entry) => self.server_answer(step, &read, response, entry),
                Answered::Cancelled(_) => unasked(step, response, "cancelled", "answers a cancelled request"),
                Answered::Unknown => unasked(step, response, "unknown_id", "answers no request"),
            },
            Message::Request(request) if request.method == "elicitation/create" => self.elicitation(step, request),
            Message::Request(request) => self.server_request(step, request),
            Message::Notification(notification) => self.server_notification(step, &read, notification),
        }
    }

    fn server_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        read: &Line<'_>,
        response: &Response<'_>,
        Entry { origin, payload, token }: Entry<Asked>,
    ) -> Result<(), AuditError> {
        let Some(origin) = origin else { return self.own_answer(step, response) };
        let corr = corr(&response.id);
        let (is_error, code) = verdict(&response.outcome);
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
        let mut mcp = Mcp { dir: "s2c", id: Some(record_id(&origin)), kind: Some("response"), ..Mcp::default() };
        let mut result = McpResult { is_error, code, bytes: step.line.len() as u64, latency_ms: 0 };
        match &payload {
            Asked::Call { tool, since_ns, .. } => {
                event.corr = Some(&corr);
                mcp.method = Some("tools/call");
                mcp.tool = Some(tool);
                result.latency_ms = step.now.boot_ns.saturating_sub(*since_ns) / 1_000_000;
            }
            Asked::ToolsList => mcp.method = Some("tools/list"),
            Asked::Initialize => mcp.method = Some("initialize"),
            Asked::Other { method } => mcp.method = Some(method),
            Asked::OwnToolsList => {}
        }
        mcp.result = Some(result);
        event.mcp = Some(mcp);
        if let Outcome::Result(result) = &response.outcome {
            if let Some(closed) = self.closed_input(result) {
                return self.refuse_input(step, (&origin, &payload), event, &closed, &corr);
            }
            self.goes_on(&payload, token, result, step.now);
        }
        match (&payload, &response.outcome) {
            (Asked::ToolsList, Outcome::Result(list)) => {
                if let Err(text) = self.filtered_list(read, list, &origin, step.outbox.client()) {
                    return refuse_answer(step, &origin, event, "bad_tools_list", &text);
                }
            }
            (Asked::Initialize, Outcome::Result(result)) => {
                let version = result.member("protocolVersion").and_then(Value::as_str).unwrap_or_default();
                let Some(era) = Era::of(version).filter(|era| era.has_handshake()) else {
                    let text = format!("MCP revision \"{version}\" is not supported");
                    return refuse_answer(step, &origin, event, "unknown_revision", &text);
                };
                self.era = Some(era);
                let tools = result.member("capabilities").and_then(|all| all.member("tools"));
                self.tells_tools = tools.and_then(|tools| tools.member("listChanged")) == Some(&Value::Bool(true));
                self.pass_or_write(read, self.announced(result), &origin, step.outbox.client());
            }
            (Asked::Other { method }, Outcome::Result(result)) if method == "server/discover" => {
                self.pass_or_write(read, self.announced(result), &origin, step.outbox.client());
            }
            (Asked::Other { .. }, Outcome::Result(result)) => {
                let changed = subscriptions::last_word(&payload, result, &origin);
                self.pass_or_write(read, changed, &origin, step.outbox.client());
            }
            (_, outcome) if elicitation::asks(outcome) => {
                let mut outcome = outcome.clone();
                match elicitation::clean_answer(&mut outcome) {
                    Ok(0) => read.pass_on(Some(&origin), step.outbox.client()),
                    Ok(_) => {
                        let cleaned = Message::Response(Response { id: origin.clone(), outcome });
                        cleaned.write(None, step.outbox.client());
                    }
                    Err(error) => return refuse_answer(step, &origin, event, MISLEADING, &error.to_string()),
                }
            }
            _ => read.pass_on(Some(&origin), step.outbox.client()),
        }
        step.outbox.client().push(b'\n');
        let noted = step.note(&event);
        if noted.is_err() {
            self.unanswered = Some(origin);
        }
        noted
    }

    /// The client sees the tools that the policy lists, and nothing else changes.
    fn filtered_list(
        &self,
        read: &Line<'_>,
        list: &Value<'_>,
        origin: &RequestId,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut list = list.clone();
        let seen = |name: &str| self.observe || self.policy.visibility(name) == Visibility::Listed;
        let dropped = tools::filter(&mut list, seen).map_err(|error| error.to_string())?;
        self.pass_or_write(read, (dropped > 0).then_some(list), origin, out);
        Ok(())
    }

    /// Stages an answer: written anew with `changed` as its result, or as it came.
    fn pass_or_write(&self, read: &Line<'_>, changed: Option<Value<'_>>, origin: &RequestId, out: &mut Vec<u8>) {
        match changed {
            None => read.pass_on(Some(origin), out),
            Some(result) => {
                let response = Response { id: origin.clone(), outcome: Outcome::Result(result) };
                Message::Response(response).write(None, out);
            }
        }
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

    /// In place of an answer that asks for input by a method that the policy closes. A call is told as any denial.
    fn refuse_input(
        &self,
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
        out.push(b'\n');
        step.record(&event.with_effect(Effect::Denied).with_reason(closed.code, &closed.text))
    }

    /// The answer to our own tools/list.
    fn own_answer(&mut self, step: &mut Step<'_, '_>, response: &Response<'_>) -> Result<(), AuditError> {
        let page = match &response.outcome {
            Outcome::Result(result) => tools::read_page(result).ok(),
            Outcome::Error(_) => None,
        };
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "s2c", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        let next = match page {
            Some(page) => self.schemas.page(page, |tool| self.policy.needs_schema(tool)),
            None => {
                self.schemas.failed();
                event = event.with_effect(Effect::Denied).with_reason("bad_tools_list", "the schemas cannot be had");
                None
            }
        };
        step.record(&event)?;
        match next {
            Some(cursor) => self.ask_for_tools(step, Some(cursor)),
            None => Ok(()),
        }
    }

    /// Sends our own tools/list: the first page, or the one at `cursor`.
    pub(super) fn ask_for_tools(&mut self, step: &mut Step<'_, '_>, cursor: Option<String>) -> Result<(), AuditError> {
        let ours = match self.asked.open_own(Asked::OwnToolsList) {
            Ok(ours) => ours,
            Err(error) => {
                tracing::warn!("tools/list: {error}");
                self.schemas.failed();
                return Ok(());
            }
        };
        if cursor.is_none() {
            self.schemas.asked(step.now.boot_ns);
        }
        let params = reply::list_params(self.era, cursor);
        reply::own_request(&ours, "tools/list", params.as_ref(), step.outbox.server());
        step.outbox.server().push(b'\n');
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "c2s", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        step.record(&event)
    }

    /// A question to a person: without what steers a screen, or not at all.
    fn elicitation(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let mut request = request.clone();
        let error = match request.params.as_mut().map(elicitation::clean) {
            None | Some(Ok(_)) => return self.server_request(step, &request),
            Some(Err(error)) => error.to_string(),
        };
        reply::error_reply(Some(&request.id), reply::INVALID_PARAMS, &error, step.outbox.server());
        step.outbox.server().push(b'\n');
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Denied).with_reason(MISLEADING, &error);
        event.mcp = Some(Mcp {
            dir: "s2c",
            method: Some(&request.method),
            id: Some(record_id(&request.id)),
            kind: Some("request"),
            bytes: step.bytes(),
            ..Mcp::default()
        });
        step.record(&event)
    }

    fn server_request(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Denied);
        event.mcp = Some(Mcp {
            dir: "s2c",
            method: Some(&request.method),
            id: Some(record_id(&request.id)),
            kind: Some("request"),
            protocol: self.era.map(Era::as_str),
            bytes: step.bytes(),
            ..Mcp::default()
        });
        let closed = self.closed(&request.method, Direction::ServerToClient, MethodKind::Request, self.era);
        let refused = match closed {
            Some(closed) => (reply::METHOD_NOT_FOUND, closed.code, closed.text),
            None => match self.server_asked.open(request.id.clone(), request.method.clone().into_owned()) {
                Ok(ours) => {
                    if let Some(entry) = self.server_asked.get_mut(&ours) {
                        entry.token = progress::token_of(request.params.as_ref());
                    }
                    write_line(&Message::Request(request.clone()), Some(&ours), step.outbox.client());
                    return step.record(&event.with_effect(Effect::Allowed));
                }
                Err(error) => (super::gate::NOT_TAKEN, "not_taken", error.to_string()),
            },
        };
        let (rpc_code, code, text) = refused;
        reply::error_reply(Some(&request.id), rpc_code, &text, step.outbox.server());
        step.outbox.server().push(b'\n');
        step.record(&event.with_reason(code, &text))
    }

    fn server_notification(
        &mut self,
        step: &mut Step<'_, '_>,
        read: &Line<'_>,
        note: &Notification<'_>,
    ) -> Result<(), AuditError> {
        let mut event = Event::new(Kind::McpNotification).with_effect(Effect::Denied);
        event.mcp = Some(Mcp {
            dir: "s2c",
            method: Some(&note.method),
            kind: Some("notification"),
            protocol: self.era.map(Era::as_str),
            bytes: step.bytes(),
            ..Mcp::default()
        });
        // What names a subscription is of the one revision that has them, whatever was negotiated.
        let era = if subscriptions::is_streamed(note) { Some(Era::V2026_07_28) } else { self.era };
        if let Some(closed) = self.closed(&note.method, Direction::ServerToClient, MethodKind::Notification, era) {
            return step.record(&event.with_reason(closed.code, &closed.text));
        }
        if note.method == "notifications/progress" && !self.client_awaits_progress(note.params.as_ref()) {
            return step.record(&event.with_reason("unknown_progress", "tells of no request that is in flight"));
        }
        let renamed = match self.on_its_stream(note) {
            Ok(renamed) => renamed,
            Err(text) => return step.record(&event.with_reason("unknown_subscription", text)),
        };
        if note.method == "notifications/cancelled" {
            let mut note = renamed.unwrap_or_else(|| note.clone());
            if !self.cancel_for_server(&mut note) {
                return step.record(&event.with_reason("unknown_id", "cancels nothing that is in flight"));
            }
            write_line(&Message::Notification(note), None, step.outbox.client());
        } else if let Some(renamed) = renamed {
            write_line(&Message::Notification(renamed), None, step.outbox.client());
        } else {
            read.pass_on(None, step.outbox.client());
            step.outbox.client().push(b'\n');
        }
        step.note(&event.with_effect(Effect::Allowed))?;
        if note.method == "notifications/tools/list_changed" && self.policy.needs_schemas() {
            self.ask_for_tools(step, None)?;
        }
        Ok(())
    }

    fn cancel_for_server(&mut self, note: &mut Notification<'_>) -> bool {
        let Some(params) = note.params.as_mut() else { return false };
        let Some(named) = ids::cancelled_request(params) else { return false };
        // Its own request, which the client knows by our id; or a stream of the client's, which it knows by ours.
        match self.server_asked.cancel(&named).map(|cancelled| cancelled.ours).or_else(|| self.end_of_stream(&named)) {
            Some(theirs) => ids::rewrite_cancelled(params, &theirs),
            None => false,
        }
    }
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
fn unasked(step: &mut Step<'_, '_>, response: &Response<'_>, code: &str, text: &str) -> Result<(), AuditError> {
    let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Denied).with_reason(code, text);
    let id = Some(record_id(&response.id));
    event.mcp = Some(Mcp { dir: "s2c", id, kind: Some("response"), bytes: step.bytes(), ..Mcp::default() });
    step.record(&event)
}

/// The client asked, but what came back cannot be passed on.
fn refuse_answer(
    step: &mut Step<'_, '_>,
    origin: &RequestId,
    event: Event<'_>,
    code: &str,
    text: &str,
) -> Result<(), AuditError> {
    step.outbox.client().clear();
    reply::error_reply(Some(origin), SESSION_OVER, text, step.outbox.client());
    step.outbox.client().push(b'\n');
    step.record(&event.with_effect(Effect::Denied).with_reason(code, text))
}

/// Whether an outcome is an error, and its JSON-RPC code.
fn verdict(outcome: &Outcome<'_>) -> (bool, Option<i64>) {
    match outcome {
        Outcome::Error(error) => {
            let code = match error.member("code") {
                Some(Value::Number(number)) => Number::as_integer(number),
                _ => None,
            };
            (true, code)
        }
        Outcome::Result(result) => (result.member("isError") == Some(&Value::Bool(true)), None),
    }
}
