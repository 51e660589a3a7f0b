//! What the client says without asking: that it is ready, that a request is cancelled, how one of the server's goes on.

use super::events::notification_event;
use super::gate::{Gate, Step};
use crate::audit::{AuditError, Effect};
use crate::wire::ids;
use crate::wire::jsonrpc::Notification;
use crate::wire::methods::{Direction, Kind as MethodKind};

/// What a cancellation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancelled {
    /// No open request of that id.
    Nothing,
    /// A call that the server has not seen yet.
    Parked,
    /// A request that the server works on.
    Forwarded,
}

impl Gate {
    /// A notification of the client: passed on when it may be, and when what it speaks of is there.
    pub(super) fn client_notification(
        &mut self,
        step: &mut Step<'_, '_>,
        note: &Notification<'_>,
    ) -> Result<(), AuditError> {
        let event = notification_event(step, Direction::ClientToServer, self.era, note);
        if let Some(closed) = self.closed(&note.method, Direction::ClientToServer, MethodKind::Notification, self.era) {
            return step.record(&event.with_reason(closed.code, &closed.text));
        }
        if note.method == "notifications/progress" && !self.server_awaits_progress(note.params.as_ref()) {
            return step.record(&event.with_reason("unknown_progress", "tells of no request that is in flight"));
        }
        let mut rewritten = None;
        if note.method == "notifications/cancelled" {
            match self.cancel_for_client(rewritten.insert(note.clone())) {
                Cancelled::Forwarded => {}
                Cancelled::Parked => {
                    let event = event.with_effect(Effect::Allowed);
                    return step.record(&event.with_reason("parked", "cancels a call that the server has not seen"));
                }
                Cancelled::Nothing => {
                    return step.record(&event.with_reason("unknown_id", "cancels nothing that is in flight"));
                }
            }
        }
        rewritten.as_ref().unwrap_or(note).write(step.outbox.server());
        step.outbox.server().push(b'\n');
        step.record(&event.with_effect(Effect::Allowed))?;
        if note.method == "notifications/initialized" {
            self.initialized = true;
            if self.needs_list() {
                self.ask_for_tools(step, None)?;
            }
        }
        Ok(())
    }

    /// Takes a cancelled request out of what waits, and puts our id into a cancellation that the server should hear.
    fn cancel_for_client(&mut self, note: &mut Notification<'_>) -> Cancelled {
        let Some(params) = note.params.as_mut() else { return Cancelled::Nothing };
        let Some(cancelled) = ids::cancelled_request(params).and_then(|origin| self.asked.cancel(&origin)) else {
            return Cancelled::Nothing;
        };
        self.call_clock.done(&cancelled.ours);
        if self.is_parked(&cancelled.ours) {
            drop(self.parking.remove(&cancelled.ours));
            self.approvals.cancel(&cancelled.ours);
            return Cancelled::Parked;
        }
        if ids::rewrite_cancelled(params, &cancelled.ours) { Cancelled::Forwarded } else { Cancelled::Nothing }
    }
}
