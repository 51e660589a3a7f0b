//! What the server says of its own accord: requests for the client, under ids of ours, and notifications.

use super::answers::MISLEADING;
use super::events::{notification_event, request_event};
use super::gate::{Gate, NOT_TAKEN, Step, write_request};
use super::subscriptions::OffStream;
use super::{progress, subscriptions};
use crate::audit::{AuditError, Effect, Event};
use crate::wire::jsonrpc::{Notification, Raw, Request};
use crate::wire::methods::{Direction, Era, Kind as MethodKind};
use crate::wire::{elicitation, ids, reply};

impl Gate {
    /// A question to a person: without what steers a screen, or not at all.
    pub(super) fn elicitation(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        if self.closed(&request.method, Direction::ServerToClient, MethodKind::Request, self.era).is_some() {
            return self.server_request(step, request); // which says so
        }
        let mut request = request.clone();
        let error = match request.params.as_mut().map(elicitation::clean) {
            None | Some(Ok(_)) => return self.server_request(step, &request),
            Some(Err(error)) => error.to_string(),
        };
        let event = request_event(step, Direction::ServerToClient, self.era, &request);
        refuse_request(step, &request, event, (reply::INVALID_PARAMS, MISLEADING, &error))
    }

    /// A request of the server: passed on under an id of ours when the revision and the policy have it.
    pub(super) fn server_request(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let event = request_event(step, Direction::ServerToClient, self.era, request);
        if let Some(closed) = self.closed(&request.method, Direction::ServerToClient, MethodKind::Request, self.era) {
            return refuse_request(step, request, event, (reply::METHOD_NOT_FOUND, closed.code, &closed.text));
        }
        match self.server_asked.open(request.id.clone(), request.method.clone().into_owned()) {
            Ok(ours) => {
                if let Some(entry) = self.server_asked.get_mut(&ours) {
                    entry.token = progress::token_of(request.params.as_ref());
                }
                write_request(request, &ours, step.outbox.client());
                step.record(&event.with_effect(Effect::Allowed))
            }
            Err(error) => refuse_request(step, request, event, (NOT_TAKEN, "not_taken", &error.to_string())),
        }
    }

    /// A notification of the server: passed on as it came, or with the client's id of what it speaks of.
    pub(super) fn server_notification(
        &mut self,
        step: &mut Step<'_, '_>,
        note: &Notification<'_>,
        raw: &Raw<'_>,
    ) -> Result<(), AuditError> {
        let event = notification_event(step, Direction::ServerToClient, self.era, note);
        // What names a subscription is of the one revision that has them, whatever was negotiated.
        let era = if subscriptions::is_streamed(note) { Some(Era::V2026_07_28) } else { self.era };
        if let Some(closed) = self.closed(&note.method, Direction::ServerToClient, MethodKind::Notification, era) {
            return step.record(&event.with_reason(closed.code, &closed.text));
        }
        if note.method == "notifications/progress" && !self.client_awaits_progress(note.params.as_ref()) {
            return step.record(&event.with_reason("unknown_progress", "tells of no request that is in flight"));
        }
        let mut renamed = match self.on_its_stream(note) {
            Ok(renamed) => renamed,
            Err(why) => {
                let (code, text) = match why {
                    OffStream::Unnamed => ("unknown_subscription", "it names no subscription"),
                    OffStream::Unknown => ("unknown_subscription", "nobody opened this subscription"),
                    OffStream::NotAsked => ("unasked_notification", "this subscription was not opened for it"),
                };
                return step.record(&event.with_reason(code, text));
            }
        };
        if note.method == "notifications/cancelled" {
            let cancelled = renamed.get_or_insert_with(|| note.clone());
            if !self.cancel_for_server(cancelled) {
                return step.record(&event.with_reason("unknown_id", "cancels nothing that is in flight"));
            }
        }
        match renamed {
            None => step.outbox.pass_on(raw, None),
            Some(renamed) => {
                renamed.write(step.outbox.client());
                step.outbox.client().push(b'\n');
            }
        }
        step.note(&event.with_effect(Effect::Allowed))?;
        if note.method == "notifications/tools/list_changed" && self.needs_list() {
            self.ask_for_tools(step, None)?;
        }
        Ok(())
    }

    fn cancel_for_server(&mut self, note: &mut Notification<'_>) -> bool {
        let Some(params) = note.params.as_mut() else { return false };
        let Some(named) = ids::cancelled_request(params) else { return false };
        // Its own request, which the client knows by our id; or a stream of the client's, which it knows by its own.
        match self.server_asked.cancel(&named).map(|cancelled| cancelled.ours).or_else(|| self.end_of_stream(&named)) {
            Some(theirs) => ids::rewrite_cancelled(params, &theirs),
            None => false,
        }
    }
}

/// The server gets an error, the client nothing.
fn refuse_request(
    step: &mut Step<'_, '_>,
    request: &Request<'_>,
    event: Event<'_>,
    (rpc_code, code, text): (i32, &str, &str),
) -> Result<(), AuditError> {
    reply::error_reply(Some(&request.id), rpc_code, text, step.outbox.server());
    step.outbox.server().push(b'\n');
    step.record(&event.with_effect(Effect::Denied).with_reason(code, text))
}
