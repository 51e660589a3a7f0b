//! What the server says: answers matched to questions, lists filtered, its own requests under ids of ours. Everything
//! that is not MCP goes to people, never to the client.

use super::gate::{Asked, Gate, SESSION_OVER, Step, corr, record_id, write_line};
use super::outbox::Outbox;
use super::schemas::Listing;
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpResult};
use crate::bounds::SERVER_LINE_BYTES_MAX;
use crate::clock::Now;
use crate::policy::Visibility;
use crate::wire::frame::Frame;
use crate::wire::ids::{self, Answered, Entry};
use crate::wire::json::{Number, Value};
use crate::wire::jsonrpc::{self, Line, Message, Notification, Outcome, Request, RequestId, Response};
use crate::wire::methods::{self, Direction, Era, Knowledge};
use crate::wire::tools::Page;
use crate::wire::{reply, tools};

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
        let mut step = Step { now, line, journal, outbox };
        match jsonrpc::read_line(line) {
            Ok(read) => self.server_message(&mut step, read).map(|()| None),
            Err(_) if !self.noise.admits(now) => Ok(Some(line)),
            Err(refusal) => {
                let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied);
                event.mcp = Some(Mcp { dir: "s2c", bytes: step.bytes(), ..Mcp::default() });
                step.record(&event.with_reason(refusal.code.as_str(), &refusal.text))?;
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
            Message::Request(request) => self.server_request(step, request),
            Message::Notification(notification) => self.server_notification(step, &read, notification),
        }
    }

    fn server_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        read: &Line<'_>,
        response: &Response<'_>,
        Entry { origin, payload }: Entry<Asked>,
    ) -> Result<(), AuditError> {
        let Some(origin) = origin else { return self.own_answer(step, response) };
        let corr = corr(&response.id);
        let (is_error, code) = verdict(&response.outcome);
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
        let mut mcp = Mcp { dir: "s2c", id: Some(record_id(&origin)), kind: Some("response"), ..Mcp::default() };
        let mut result = McpResult { is_error, code, bytes: step.line.len() as u64, latency_ms: 0 };
        match &payload {
            Asked::Call { tool, since_ns } => {
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
        match (&payload, &response.outcome) {
            (Asked::ToolsList, Outcome::Result(list)) => {
                if let Err(text) = self.filtered_list(read, list, &origin, step.outbox.client()) {
                    return refuse_answer(step, &origin, event, "bad_tools_list", &text);
                }
            }
            (Asked::Initialize, Outcome::Result(result)) => {
                let version = result.member("protocolVersion").and_then(Value::as_str).unwrap_or_default();
                let Some(era) = Era::of(version) else {
                    let text = format!("MCP revision \"{version}\" is not supported");
                    return refuse_answer(step, &origin, event, "unknown_revision", &text);
                };
                self.era = Some(era);
                let tools = result.member("capabilities").and_then(|all| all.member("tools"));
                self.tells_tools = tools.and_then(|tools| tools.member("listChanged")) == Some(&Value::Bool(true));
                read.pass_on(Some(&origin), step.outbox.client());
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

    /// The client sees the tools that the policy lists, as they are pinned, and nothing else changes.
    fn filtered_list(
        &mut self,
        read: &Line<'_>,
        list: &Value<'_>,
        origin: &RequestId,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut list = list.clone();
        let Self { policy, pins, observe, .. } = self;
        let seen = |name: &str, entry: &Value<'_>| {
            *observe || (policy.visibility(name) == Visibility::Listed && pins.shows(name, entry))
        };
        let dropped = tools::filter(&mut list, seen).map_err(|error| error.to_string())?;
        if dropped == 0 {
            read.pass_on(Some(origin), out);
        } else {
            let response = Response { id: origin.clone(), outcome: Outcome::Result(list) };
            Message::Response(response).write(None, out);
        }
        Ok(())
    }

    /// The answer to our own tools/list.
    fn own_answer(&mut self, step: &mut Step<'_, '_>, response: &Response<'_>) -> Result<(), AuditError> {
        let page = match &response.outcome {
            Outcome::Result(result) => tools::read_page(result).ok().filter(|_| self.pins.page(result)),
            // A server without tools.
            Outcome::Error(_) if verdict(&response.outcome).1 == Some(i64::from(reply::METHOD_NOT_FOUND)) => {
                Some(Page { tools: Vec::new(), next_cursor: None })
            }
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
        match self.schemas.listing() {
            Listing::Known => self.pins.known(&self.policy, self.observe),
            Listing::Unavailable if !self.schemas.is_listing() => self.pins.failed(),
            Listing::Pending | Listing::Unavailable => {}
        }
        self.woken = true;
        step.record(&event)?;
        match next {
            Some(cursor) => self.ask_for_tools(step, Some(cursor)),
            None => Ok(()),
        }
    }

    /// Sends our own tools/list: the first page, or the one at `cursor`.
    pub(super) fn ask_for_tools(&mut self, step: &mut Step<'_, '_>, cursor: Option<String>) -> Result<(), AuditError> {
        if cursor.is_none() {
            self.forget_own_questions(); // pages of the list before say nothing of this one
        }
        let ours = match self.asked.open_own(Asked::OwnToolsList) {
            Ok(ours) => ours,
            Err(error) => {
                tracing::warn!("tools/list: {error}");
                self.schemas.failed();
                self.pins.failed();
                self.woken = true;
                return Ok(());
            }
        };
        let params = match cursor {
            Some(cursor) => Some(Value::Object(vec![("cursor".into(), Value::String(cursor.into()))])),
            None => {
                self.schemas.asked(step.now.boot_ns);
                self.pins.asked();
                None
            }
        };
        reply::own_request(&ours, "tools/list", params.as_ref(), step.outbox.server());
        step.outbox.server().push(b'\n');
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "c2s", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
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
        let kind = methods::Kind::Request;
        let known = methods::lookup(&request.method, Direction::ServerToClient, kind, self.era) == Knowledge::Known;
        let refused = if known {
            match self.server_asked.open(request.id.clone(), request.method.clone().into_owned()) {
                Ok(ours) => {
                    write_line(&Message::Request(request.clone()), Some(&ours), step.outbox.client());
                    return step.record(&event.with_effect(Effect::Allowed));
                }
                Err(error) => (super::gate::NOT_TAKEN, "not_taken", error.to_string()),
            }
        } else {
            (reply::METHOD_NOT_FOUND, "unknown_method", format!("Method not permitted: {}", request.method))
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
        let kind = methods::Kind::Notification;
        if methods::lookup(&note.method, Direction::ServerToClient, kind, self.era) == Knowledge::Unknown {
            return step.record(&event.with_reason("unknown_method", "no such notification in this direction"));
        }
        if note.method == "notifications/cancelled" {
            let mut note = note.clone();
            if !self.cancel_for_server(&mut note) {
                return step.record(&event.with_reason("unknown_id", "cancels nothing that is in flight"));
            }
            write_line(&Message::Notification(note), None, step.outbox.client());
        } else {
            read.pass_on(None, step.outbox.client());
            step.outbox.client().push(b'\n');
        }
        step.note(&event.with_effect(Effect::Allowed))?;
        if note.method == "notifications/tools/list_changed" && self.needs_list() {
            self.ask_for_tools(step, None)?;
        }
        Ok(())
    }

    fn cancel_for_server(&mut self, note: &mut Notification<'_>) -> bool {
        let Some(params) = note.params.as_mut() else { return false };
        let Some(cancelled) = ids::cancelled_request(params).and_then(|origin| self.server_asked.cancel(&origin))
        else {
            return false;
        };
        ids::rewrite_cancelled(params, &cancelled.ours)
    }
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
