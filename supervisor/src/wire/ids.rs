//! Whose answer is this? Requests in flight, under ids of our own.
//!
//! Both directions have one table each. A request goes on under an id that we count ourselves; its answer comes back to the asker under
//! the id the asker chose. So a peer can neither answer what was not asked nor make two calls look like one by using an id twice.

use std::collections::{BTreeMap, HashMap};

use super::json::Value;
use super::jsonrpc::RequestId;
use crate::bounds::{CANCELLED_CALLS_MAX, JSON_INTEGER_MAX, PENDING_CALLS_MAX};
use crate::weaken;

/// The requests of one direction that are unanswered. `T` is what the caller wants back with the answer.
#[derive(Debug)]
pub struct InFlight<T> {
    next: u64,
    pending: BTreeMap<u64, Entry<T>>,
    /// Asker's id to ours; requests of our own are not in it.
    by_origin: HashMap<RequestId, u64>,
    cancelled: BTreeMap<u64, Entry<T>>,
}

/// One request on its way.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The asker's id; none for a request of our own.
    pub origin: Option<RequestId>,
    /// What the caller kept with it.
    pub payload: T,
    /// The token under which the asker wants to be told of its progress.
    pub token: Option<RequestId>,
}

/// Why a request cannot be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The asker has an unanswered request under this id.
    #[error("a request with this id is still unanswered")]
    DuplicateId,
    /// [`PENDING_CALLS_MAX`] requests are unanswered.
    #[error("too many unanswered requests")]
    TooMany,
}

/// Whose answer an answer is.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Answered<T> {
    /// The request it answers, now done.
    Pending(Entry<T>),
    /// A request that was cancelled; the answer is dropped quietly.
    Cancelled(Entry<T>),
    /// Nobody asked; the answer is dropped and recorded.
    Unknown,
}

/// What cancelling did.
#[derive(Debug, PartialEq, Eq)]
pub struct Cancelled<T> {
    /// The id under which the other side knows the request.
    pub ours: RequestId,
    /// The longest-cancelled request, forgotten to make room; a late answer to it will be [`Answered::Unknown`].
    pub forgotten: Option<Entry<T>>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { next: 1, pending: BTreeMap::new(), by_origin: HashMap::new(), cancelled: BTreeMap::new() }
    }
}

impl<T> InFlight<T> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a peer's request and gives the id to send it on under.
    ///
    /// # Errors
    /// When the peer has an unanswered request with this id, or too many at all.
    pub fn open(&mut self, origin: RequestId, payload: T) -> Result<RequestId, OpenError> {
        if self.by_origin.contains_key(&origin) && weaken::in_force("duplicate-id") {
            return Err(OpenError::DuplicateId);
        }
        let number = self.insert(Some(origin.clone()), payload)?;
        self.by_origin.insert(origin, number);
        Ok(our_id(number))
    }

    /// Takes in a request of our own and gives the id to send it under.
    ///
    /// # Errors
    /// When too many requests are unanswered.
    pub fn open_own(&mut self, payload: T) -> Result<RequestId, OpenError> {
        self.insert(None, payload).map(our_id)
    }

    /// Matches an answer that came under `id`.
    pub fn answer(&mut self, id: &RequestId) -> Answered<T> {
        let Some(number) = number_of(id) else {
            return Answered::Unknown;
        };
        if let Some(entry) = self.pending.remove(&number) {
            self.forget_origin(&entry, number);
            return Answered::Pending(entry);
        }
        self.cancelled.remove(&number).map_or(Answered::Unknown, Answered::Cancelled)
    }

    /// Takes back a request that was [opened](Self::open) but never sent, or whose sending failed.
    pub fn abandon(&mut self, id: &RequestId) -> Option<Entry<T>> {
        let number = number_of(id)?;
        let entry = self.pending.remove(&number)?;
        self.forget_origin(&entry, number);
        Some(entry)
    }

    /// Cancels the asker's request `origin`. None when it has no such request unanswered; the notification is dropped then.
    pub fn cancel(&mut self, origin: &RequestId) -> Option<Cancelled<T>> {
        let number = self.by_origin.remove(origin)?;
        let entry = self.pending.remove(&number)?;
        self.cancelled.insert(number, entry);
        let forgotten = if self.cancelled.len() > CANCELLED_CALLS_MAX { self.cancelled.pop_first() } else { None };
        Some(Cancelled { ours: our_id(number), forgotten: forgotten.map(|(_, entry)| entry) })
    }

    /// The unanswered requests, oldest first, with our ids.
    pub fn pending(&self) -> impl Iterator<Item = (RequestId, &Entry<T>)> {
        self.pending.iter().map(|(number, entry)| (our_id(*number), entry))
    }

    /// The unanswered request that stands under our id.
    #[must_use]
    pub fn get(&self, id: &RequestId) -> Option<&Entry<T>> {
        self.pending.get(&number_of(id)?)
    }

    /// The unanswered request that stands under our id, to change.
    pub fn get_mut(&mut self, id: &RequestId) -> Option<&mut Entry<T>> {
        self.pending.get_mut(&number_of(id)?)
    }

    /// Empties the table; the unanswered requests, oldest first. For the end of a session, when each gets an error.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry<T>> + use<T> {
        self.by_origin.clear();
        self.cancelled.clear();
        std::mem::take(&mut self.pending).into_values()
    }

    /// How many requests are unanswered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn insert(&mut self, origin: Option<RequestId>, payload: T) -> Result<u64, OpenError> {
        if self.pending.len() >= PENDING_CALLS_MAX && weaken::in_force("pending-calls") {
            return Err(OpenError::TooMany);
        }
        let number = self.next;
        self.next += 1;
        self.pending.insert(number, Entry { origin, payload, token: None });
        Ok(number)
    }

    fn forget_origin(&mut self, entry: &Entry<T>, number: u64) {
        if let Some(origin) = &entry.origin
            && self.by_origin.get(origin) == Some(&number)
        {
            self.by_origin.remove(origin);
        }
    }
}

/// The request that a `notifications/cancelled` names. None when the parameter is missing or no id (2025-11-25 lets it be absent for tasks).
#[must_use]
pub fn cancelled_request(params: &Value<'_>) -> Option<RequestId> {
    RequestId::of(params.member("requestId")?)
}

/// Puts `ours` in the place of the `requestId` of a `notifications/cancelled`. False when there is none.
#[must_use]
pub fn rewrite_cancelled(params: &mut Value<'_>, ours: &RequestId) -> bool {
    match (params.member_mut("requestId"), ours.to_value()) {
        (Some(place), Some(id)) => {
            *place = id;
            true
        }
        _ => false,
    }
}

/// Our ids are the integers from 1. At a million requests a second, 2^53 of them last 285 years.
fn our_id(number: u64) -> RequestId {
    debug_assert!(number <= JSON_INTEGER_MAX);
    RequestId::Integer(number.cast_signed())
}

fn number_of(id: &RequestId) -> Option<u64> {
    match id {
        RequestId::Integer(number) => u64::try_from(*number).ok(),
        RequestId::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{parse, write};

    fn text(id: &str) -> RequestId {
        RequestId::String(id.to_owned())
    }

    #[test]
    fn exact_id_comes_back_and_ours_goes_up() {
        let mut calls = InFlight::new();
        assert_eq!(calls.open(text("1"), 'a'), Ok(RequestId::Integer(1)));
        assert_eq!(calls.open(RequestId::Integer(1), 'b'), Ok(RequestId::Integer(2)), "\"1\" is not 1");
        assert_eq!(
            calls.answer(&RequestId::Integer(1)),
            Answered::Pending(Entry { origin: Some(text("1")), payload: 'a', token: None })
        );
        assert_eq!(
            calls.answer(&RequestId::Integer(2)),
            Answered::Pending(Entry { origin: Some(RequestId::Integer(1)), payload: 'b', token: None })
        );
        assert!(calls.is_empty());
    }

    #[test]
    fn answers_to_no_question_are_unknown() {
        let mut calls = InFlight::new();
        assert_eq!(calls.open(text("x"), ()), Ok(RequestId::Integer(1)));
        for stray in [text("x"), text("1"), RequestId::Integer(0), RequestId::Integer(2), RequestId::Integer(-1)] {
            assert_eq!(calls.answer(&stray), Answered::Unknown, "{stray:?}");
        }
        assert!(matches!(calls.answer(&RequestId::Integer(1)), Answered::Pending(_)));
        assert_eq!(calls.answer(&RequestId::Integer(1)), Answered::Unknown, "answered twice");
    }

    #[test]
    fn duplicate_in_flight_id_is_refused_and_free_after_the_answer() {
        let mut calls = InFlight::new();
        assert!(calls.open(text("x"), 1).is_ok());
        assert_eq!(calls.open(text("x"), 2), Err(OpenError::DuplicateId));
        assert_eq!(calls.len(), 1);
        assert!(matches!(calls.answer(&RequestId::Integer(1)), Answered::Pending(Entry { payload: 1, .. })));
        assert_eq!(calls.open(text("x"), 3), Ok(RequestId::Integer(2)));
    }

    #[test]
    fn late_answer_to_a_cancelled_call_is_told_apart() {
        let mut calls = InFlight::new();
        assert!(calls.open(text("x"), 1).is_ok());
        assert_eq!(calls.cancel(&text("x")), Some(Cancelled { ours: RequestId::Integer(1), forgotten: None }));
        assert_eq!(calls.cancel(&text("x")), None);
        assert!(calls.open(text("x"), 2).is_ok(), "a cancelled id is free again");
        assert!(matches!(calls.answer(&RequestId::Integer(1)), Answered::Cancelled(Entry { payload: 1, .. })));
        assert_eq!(calls.answer(&RequestId::Integer(1)), Answered::Unknown);
        assert!(matches!(calls.answer(&RequestId::Integer(2)), Answered::Pending(Entry { payload: 2, .. })));
    }

    #[test]
    fn table_holds_the_bound_and_not_one_more() {
        let mut calls = InFlight::new();
        for number in 0..PENDING_CALLS_MAX {
            assert!(calls.open(RequestId::Integer(number as i64), ()).is_ok());
        }
        assert_eq!(calls.open(text("x"), ()), Err(OpenError::TooMany));
        assert_eq!(calls.open_own(()), Err(OpenError::TooMany));
        assert!(matches!(calls.answer(&RequestId::Integer(5)), Answered::Pending(_)));
        assert!(calls.open(text("x"), ()).is_ok());
    }

    #[test]
    fn cancelled_calls_are_remembered_up_to_the_bound() {
        let mut calls = InFlight::new();
        for number in 0..CANCELLED_CALLS_MAX {
            assert!(calls.open(text("x"), number).is_ok());
            assert_eq!(calls.cancel(&text("x")).unwrap().forgotten, None);
        }
        assert!(calls.open(text("x"), 9999).is_ok());
        assert_eq!(
            calls.cancel(&text("x")).unwrap().forgotten,
            Some(Entry { origin: Some(text("x")), payload: 0, token: None })
        );
        assert_eq!(calls.answer(&RequestId::Integer(1)), Answered::Unknown);
        assert!(matches!(calls.answer(&RequestId::Integer(2)), Answered::Cancelled(_)));
    }

    #[test]
    fn own_requests_have_no_origin_and_cannot_be_cancelled_by_a_peer() {
        let mut calls = InFlight::new();
        let ours = calls.open_own('t').unwrap();
        assert_eq!(calls.cancel(&ours), None, "a peer's id is never taken for ours");
        assert_eq!(calls.answer(&ours), Answered::Pending(Entry { origin: None, payload: 't', token: None }));
    }

    #[test]
    fn abandoned_and_drained_requests_are_gone() {
        let mut calls = InFlight::new();
        let ours = calls.open(text("x"), 1).unwrap();
        assert!(calls.get_mut(&ours).is_some());
        assert_eq!(calls.abandon(&ours), Some(Entry { origin: Some(text("x")), payload: 1, token: None }));
        assert_eq!(calls.answer(&ours), Answered::Unknown);
        assert!(calls.open(text("x"), 2).is_ok() && calls.open(text("y"), 3).is_ok());
        assert_eq!(calls.pending().map(|(_, entry)| entry.payload).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(calls.drain().map(|entry| entry.payload).collect::<Vec<_>>(), [2, 3]);
        assert!(calls.is_empty() && calls.open(text("x"), 4).is_ok());
    }

    #[test]
    fn cancelled_notification_is_rewritten_to_our_id() {
        let mut params = parse(br#"{"requestId":"x","reason":"r"}"#).unwrap();
        assert_eq!(cancelled_request(&params), Some(text("x")));
        assert!(rewrite_cancelled(&mut params, &RequestId::Integer(7)));
        let mut out = Vec::new();
        write(&params, &mut out);
        assert_eq!(out, br#"{"requestId":7,"reason":"r"}"#);
        let mut none = parse(br#"{"reason":"r"}"#).unwrap();
        assert_eq!(cancelled_request(&none), None);
        assert!(!rewrite_cancelled(&mut none, &RequestId::Integer(7)));
    }
}
