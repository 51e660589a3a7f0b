//! What the server says: answers matched to questions, lists filtered, its own requests under ids of ours. Everything
//! that is not MCP goes to people, never to the client.

use super::gate::{Asked, Gate, SESSION_OVER, Step, corr, record_id, write_request};
use super::outbox::Outbox;
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpResult};
use crate::clock::Now;
use crate::policy::Visibility;
use crate::wire::frame::Frame;
use crate::wire::ids::{self, Answered, Entry};
use crate::wire::json::Value;
use crate::wire::jsonrpc::{self, Answer, Notification, Outcome, Raw, Request, RequestId, Response, ServerLine};
use crate::wire::methods::{self, Direction, Era, Knowledge};
use crate::wire::{reply, tools};

#[cfg(test)]
mod tests;

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
        let mut step = Step { now, line, journal, outbox };
        match jsonrpc::read_server_line(line) {
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
            ServerLine::Request(request) => self.server_request(step, &request),
            ServerLine::Notification(note, raw) => self.server_notification(step, &note, &raw),
        }
    }

    /// An answer goes on as it came, under the asker's id. A tree of it is built only where it is looked into.
    fn server_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        answer: &Answer<'_>,
        Entry { origin, payload }: Entry<Asked>,
    ) -> Result<(), AuditError> {
        let Some(origin) = origin else {
            return self.own_answer(step, answer.outcome().ok().as_ref());
        };
        let corr = corr(&answer.id);
        let fields = answer.fields();
        let bytes = step.line.len() as u64;
        let result = McpResult { is_error: fields.is_error, code: fields.code, bytes, latency_ms: 0 };
        let event = answer_event(step.now, &origin, &payload, &corr, result);
        match payload {
            Asked::ToolsList if answer.is_result() => {
                if let Err(text) = self.filtered_list(answer, &origin, step.outbox) {
                    return refuse_answer(step, &origin, event, (SESSION_OVER, "bad_tools_list", &text));
                }
            }
            Asked::Initialize if answer.is_result() => {
                let version = answer.result_member("protocolVersion");
                let version = version.and_then(Result::ok);
                let version = version.as_ref().and_then(Value::as_str).unwrap_or_default();
                let Some(era) = Era::of(version) else {
                    let text = format!("MCP revision \"{version}\" is not supported");
                    return refuse_answer(step, &origin, event, (SESSION_OVER, "unknown_revision", &text));
                };
                self.era = Some(era);
                let capabilities = answer.result_member("capabilities").and_then(Result::ok);
                let tools = capabilities.as_ref().and_then(|all| all.member("tools"));
                self.tells_tools = tools.and_then(|tools| tools.member("listChanged")) == Some(&Value::Bool(true));
                step.outbox.pass_on(&answer.raw, Some(&origin));
            }
            _ => step.outbox.pass_on(&answer.raw, Some(&origin)),
        }
        let noted = step.note(&event);
        if noted.is_err() {
            self.unanswered = Some(origin);
        }
        noted
    }

    /// The client sees the tools that the policy lists, and nothing else changes.
    fn filtered_list(&self, answer: &Answer<'_>, origin: &RequestId, outbox: &mut Outbox) -> Result<(), String> {
        let outcome = answer.outcome().map_err(|reject| reject.to_string())?;
        let Outcome::Result(mut list) = outcome else { return Err("no result".to_owned()) };
        let seen = |name: &str| self.observe || self.policy.visibility(name) == Visibility::Listed;
        let dropped = tools::filter(&mut list, seen).map_err(|error| error.to_string())?;
        if dropped == 0 {
            outbox.pass_on(&answer.raw, Some(origin));
        } else {
            let response = Response { id: origin.clone(), outcome: Outcome::Result(list) };
            response.write(origin, outbox.client());
            outbox.client().push(b'\n');
        }
        Ok(())
    }

    /// The answer to our own tools/list; none when it could not be read.
    pub(super) fn own_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        outcome: Option<&Outcome<'_>>,
    ) -> Result<(), AuditError> {
        let page = match outcome {
            Some(Outcome::Result(result)) => tools::read_page(result).ok(),
            Some(Outcome::Error(_)) | None => None,
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
        let params = match cursor {
            Some(cursor) => Some(Value::Object(vec![("cursor".into(), Value::String(cursor.into()))])),
            None => {
                self.schemas.asked(step.now.boot_ns);
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
                    write_request(request, &ours, step.outbox.client());
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
        note: &Notification<'_>,
        raw: &Raw<'_>,
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
            note.write(step.outbox.client());
            step.outbox.client().push(b'\n');
        } else {
            step.outbox.pass_on(raw, None);
        }
        step.note(&event.with_effect(Effect::Allowed))?;
        if note.method == "notifications/tools/list_changed" && self.policy.needs_schemas() {
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
        Asked::Call { tool, since_ns } => {
            event.corr = Some(corr);
            mcp.method = Some("tools/call");
            mcp.tool = Some(tool);
            result.latency_ms = now.boot_ns.saturating_sub(*since_ns) / 1_000_000;
        }
        Asked::ToolsList => mcp.method = Some("tools/list"),
        Asked::Initialize => mcp.method = Some("initialize"),
        Asked::Other { method } => mcp.method = Some(method),
        Asked::OwnToolsList => {}
    }
    mcp.result = Some(result);
    event.mcp = Some(mcp);
    event
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
