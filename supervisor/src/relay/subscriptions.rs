//! subscriptions/listen (2026-07-28): a request that stays open. The server knows it by our id, the client by its own; what
//! comes on its stream, and its end, carry the one and are given the other.

use super::gate::{Asked, Gate};
use crate::bounds::SUBSCRIPTIONS_MAX;
use crate::wire::json::Value;
use crate::wire::jsonrpc::{Notification, RequestId};
use crate::wire::methods::{Era, SUBSCRIPTION_ID};

/// The request that opens a stream.
pub(super) const LISTEN: &str = "subscriptions/listen";
/// Notifications that come on a stream alone.
const STREAMED: [&str; 5] = [
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tools/list_changed",
];

/// The subscription that `params` or a result names in its `_meta`.
fn named<'v>(holder: Option<&'v Value<'_>>) -> Option<&'v Value<'v>> {
    holder?.member("_meta")?.member(SUBSCRIPTION_ID)
}

/// Whether a notification says that it belongs to a stream.
pub(super) fn is_streamed(note: &Notification<'_>) -> bool {
    named(note.params.as_ref()).is_some()
}

/// Puts `id` in the place of the subscription that `holder` names.
fn rename(holder: &mut Value<'_>, id: &RequestId) {
    let place = holder.member_mut("_meta").and_then(|meta| meta.member_mut(SUBSCRIPTION_ID));
    if let (Some(place), Some(id)) = (place, id.to_value()) {
        *place = id;
    }
}

impl Gate {
    /// Whether one more stream may be opened.
    pub(super) fn has_room_to_listen(&self) -> bool {
        self.asked.pending().filter(|(_, entry)| is_listen(&entry.payload)).count() < SUBSCRIPTIONS_MAX
    }

    /// The client's id of an open stream.
    fn listener(&self, ours: &RequestId) -> Option<RequestId> {
        self.asked.get(ours).filter(|entry| is_listen(&entry.payload)).and_then(|entry| entry.origin.clone())
    }

    /// Gives a server's notification the client's id of its stream. The notification as it is to be passed on, none where
    /// nothing changes.
    ///
    /// # Errors
    /// When it belongs to a stream that nobody opened, or to none where it must.
    pub(super) fn on_its_stream<'n>(&self, note: &Notification<'n>) -> Result<Option<Notification<'n>>, &'static str> {
        let Some(named) = named(note.params.as_ref()) else {
            let needs_one = self.era == Some(Era::V2026_07_28) && STREAMED.contains(&&*note.method);
            return if needs_one { Err("it names no subscription") } else { Ok(None) };
        };
        let listener = RequestId::of(named).and_then(|ours| self.listener(&ours));
        let mut renamed = note.clone();
        match (listener, renamed.params.as_mut()) {
            (Some(listener), Some(params)) => rename(params, &listener),
            _ => return Err("nobody opened this subscription"),
        }
        Ok(Some(renamed))
    }

    /// The server ends the stream `ours`. The client's id of it.
    pub(super) fn end_of_stream(&mut self, ours: &RequestId) -> Option<RequestId> {
        let listener = self.listener(ours)?;
        self.asked.abandon(ours);
        Some(listener)
    }
}

fn is_listen(asked: &Asked) -> bool {
    matches!(asked, Asked::Other { method } if method == LISTEN)
}

/// The answer that ends a stream, under the client's id; none where it names no stream.
pub(super) fn last_word<'v>(asked: &Asked, result: &Value<'v>, origin: &RequestId) -> Option<Value<'v>> {
    named(Some(result)).filter(|_| is_listen(asked))?;
    let mut result = result.clone();
    rename(&mut result, origin);
    Some(result)
}
