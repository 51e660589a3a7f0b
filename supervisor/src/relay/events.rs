//! What the log says of a message as such: who spoke, in which revision, how long the line was. Denied until somebody allows it.

use super::gate::{Step, record_id};
use crate::audit::{Effect, Event, Kind, Mcp};
use crate::wire::jsonrpc::{Notification, Request};
use crate::wire::methods::{Direction, Era};

/// The record of a request, of the line that `step` judges.
pub(super) fn request_event<'e>(
    step: &Step<'_, '_>,
    direction: Direction,
    era: Option<Era>,
    request: &'e Request<'_>,
) -> Event<'e> {
    let mcp = Mcp {
        method: Some(&request.method),
        id: Some(record_id(&request.id)),
        kind: Some("request"),
        ..line(step, direction, era)
    };
    denied(Kind::McpRequest, mcp)
}

/// The record of a notification, of the line that `step` judges.
pub(super) fn notification_event<'e>(
    step: &Step<'_, '_>,
    direction: Direction,
    era: Option<Era>,
    note: &'e Notification<'_>,
) -> Event<'e> {
    let mcp = Mcp { method: Some(&note.method), kind: Some("notification"), ..line(step, direction, era) };
    denied(Kind::McpNotification, mcp)
}

fn line(step: &Step<'_, '_>, direction: Direction, era: Option<Era>) -> Mcp<'static> {
    let dir = match direction {
        Direction::ClientToServer => "c2s",
        Direction::ServerToClient => "s2c",
    };
    Mcp { dir, protocol: era.map(Era::as_str), bytes: step.bytes(), ..Mcp::default() }
}

fn denied<'e>(kind: Kind, mcp: Mcp<'e>) -> Event<'e> {
    let mut event = Event::new(kind).with_effect(Effect::Denied);
    event.mcp = Some(mcp);
    event
}
