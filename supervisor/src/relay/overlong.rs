//! Lines that are too long to be read. They are dropped while they come in; what could be told of one says who waits for it: that
//! side gets an error, there is a record, the session lives.

use super::answers::{answer_event, refuse_answer};
use super::gate::{ANSWER_TOO_LONG, Gate, Step, corr, record_id, refuse};
use crate::audit::{AuditError, Effect, Event, Kind, Mcp, McpResult};
use crate::wire::ids::{Answered, Entry};
use crate::wire::jsonrpc::RequestId;
use crate::wire::overlong::{Overlong, OverlongKind};
use crate::wire::reply;

/// JSON-RPC 2.0: invalid request.
const INVALID_REQUEST: i32 = -32_600;
const CODE: &str = "line_too_long";

#[cfg(test)]
mod tests;

impl Gate {
    /// The client's line: an error for its request; what it would have answered is answered in its place, since the server waits.
    pub(super) fn client_overlong(&mut self, step: &mut Step<'_, '_>, line: &Overlong) -> Result<(), AuditError> {
        let text = text_of(line.bytes, self.client_line_bytes_max);
        let is_response = line.kind == OverlongKind::Response;
        if is_response
            && let Some(id) = &line.id
            && let Answered::Pending(Entry { origin: Some(origin), .. }) = self.server_asked.answer(id)
        {
            reply::error_reply(Some(&origin), ANSWER_TOO_LONG, &text, step.outbox.server());
            step.outbox.server().push(b'\n');
        }
        // A notification gets no answer; what cannot be told gets one without an id.
        let answered = !is_response && line.kind != OverlongKind::Notification;
        refuse(step, Some(line.bytes), answered, (line.id.as_ref(), INVALID_REQUEST, CODE, &text))
    }

    /// The server's line: an error for the request that it answers, or for the server if it asked.
    pub(super) fn server_overlong(&mut self, step: &mut Step<'_, '_>, line: &Overlong) -> Result<(), AuditError> {
        let text = text_of(line.bytes, self.server_line_bytes_max);
        match (&line.id, line.kind) {
            (Some(id), OverlongKind::Response) if !self.is_parked(id) => match self.asked.answer(id) {
                Answered::Pending(entry) => return self.answer_overlong(step, id, entry, line.bytes, &text),
                Answered::Cancelled(_) | Answered::Unknown => {}
            },
            (Some(id), OverlongKind::Request) => {
                reply::error_reply(Some(id), INVALID_REQUEST, &text, step.outbox.server());
                step.outbox.server().push(b'\n');
            }
            _ => {}
        }
        let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied);
        let id = line.id.as_ref().map(record_id);
        event.mcp = Some(Mcp { dir: "s2c", id, bytes: Some(line.bytes), ..Mcp::default() });
        step.record(&event.with_reason(CODE, &text))
    }

    fn answer_overlong(
        &mut self,
        step: &mut Step<'_, '_>,
        ours: &RequestId,
        Entry { origin, payload, .. }: Entry<super::gate::Asked>,
        bytes: u64,
        text: &str,
    ) -> Result<(), AuditError> {
        let Some(origin) = origin else { return self.own_answer(step, None) };
        let corr = corr(ours);
        let result = McpResult { is_error: true, code: Some(i64::from(ANSWER_TOO_LONG)), bytes, latency_ms: 0 };
        let event = answer_event(step.now, &origin, &payload, &corr, result);
        let refused = refuse_answer(step, &origin, event, (ANSWER_TOO_LONG, CODE, text));
        if refused.is_err() {
            self.unanswered = Some(origin);
        }
        refused
    }
}

fn text_of(bytes: u64, bytes_max: usize) -> String {
    format!("a line of {bytes} bytes; at most {bytes_max} are accepted")
}
