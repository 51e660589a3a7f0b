//! subscriptions/listen (2026-07-28): a request that stays open. The server knows it by our id, the client by its own; what
//! comes on its stream, and its end, carry the one and are given the other.

use super::gate::{Asked, Gate};
use crate::bounds::SUBSCRIPTIONS_MAX;
use crate::wire::json::Value;
use crate::wire::jsonrpc::{Notification, RequestId};
use crate::wire::methods::{Era, SUBSCRIPTION_ID};

/// The request that opens a stream.
pub(super) const LISTEN: &str = "subscriptions/listen";

/// What a client asked to hear on its stream (`params.notifications`): each kind is opt-in, and a server must not send others
/// (MCP 2026-07-28, SubscriptionFilter).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    prompts: bool,
    resources: bool,
    /// Some resources; which of them is not told apart, for the server may name a part of one that was asked for.
    updates: bool,
    tools: bool,
}

impl Filter {
    /// That of a request; nothing where it says nothing.
    pub(super) fn of(params: Option<&Value<'_>>) -> Self {
        let asked = |key: &str| params?.member("notifications")?.member(key);
        let is_true = |key: &str| asked(key) == Some(&Value::Bool(true));
        let updates = asked("resourceSubscriptions");
        Self {
            prompts: is_true("promptsListChanged"),
            resources: is_true("resourcesListChanged"),
            updates: matches!(updates, Some(Value::Array(uris)) if !uris.is_empty()),
            tools: is_true("toolsListChanged"),
        }
    }

    /// Whether a notification may come on the stream.
    fn has(self, method: &str) -> bool {
        match method {
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => self.updates,
            "notifications/tools/list_changed" => self.tools,
            _ => true,
        }
    }
}

/// Why a notification does not come on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffStream {
    /// It names none where it must.
    Unnamed,
    /// Nobody opened the one that it names.
    Unknown,
    /// The client did not ask for its kind.
    NotAsked,
}

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

    /// The client's id of an open stream, and what it asked for.
    fn listener(&self, ours: &RequestId) -> Option<(RequestId, Filter)> {
        let entry = self.asked.get(ours)?;
        let Asked::Listen(filter) = entry.payload else { return None };
        Some((entry.origin.clone()?, filter))
    }

    /// Gives a server's notification the client's id of its stream. The notification as it is to be passed on, none where
    /// nothing changes.
    ///
    /// # Errors
    /// When it belongs to a stream that nobody opened, or that was not opened for its kind, or to none where it must.
    pub(super) fn on_its_stream<'n>(&self, note: &Notification<'n>) -> Result<Option<Notification<'n>>, OffStream> {
        let Some(named) = named(note.params.as_ref()) else {
            let needs_one = self.era == Some(Era::V2026_07_28) && STREAMED.contains(&&*note.method);
            return if needs_one { Err(OffStream::Unnamed) } else { Ok(None) };
        };
        let listener = RequestId::of(named).and_then(|ours| self.listener(&ours));
        let mut renamed = note.clone();
        match (listener, renamed.params.as_mut()) {
            (Some((_, filter)), _) if !filter.has(&note.method) => return Err(OffStream::NotAsked),
            (Some((listener, _)), Some(params)) => rename(params, &listener),
            _ => return Err(OffStream::Unknown),
        }
        Ok(Some(renamed))
    }

    /// The server ends the stream `ours`. The client's id of it.
    pub(super) fn end_of_stream(&mut self, ours: &RequestId) -> Option<RequestId> {
        let (listener, _) = self.listener(ours)?;
        self.asked.abandon(ours);
        Some(listener)
    }
}

const fn is_listen(asked: &Asked) -> bool {
    matches!(asked, Asked::Listen(_))
}

/// The answer that ends a stream, under the client's id; none where it names no stream.
pub(super) fn last_word<'v>(asked: &Asked, result: &Value<'v>, origin: &RequestId) -> Option<Value<'v>> {
    named(Some(result)).filter(|_| is_listen(asked))?;
    let mut result = result.clone();
    rename(&mut result, origin);
    Some(result)
}
