//! Calls that the server answered with a request for input (InputRequiredResult, 2026-07-28): what the client then sends
//! again is the same call, charged and approved when it first came.
//!
//! Pure: a time goes in. A continuation is used once, at most [`CALL_ROUNDS_MAX`] follow one charged call, and each ends after
//! [`CONTINUATION_SECONDS`], so that what a charge buys is bounded also where client and server work together.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;
use crate::bounds::{CALL_ROUNDS_MAX, CONTINUATION_SECONDS, CONTINUATIONS_MAX, INPUT_REQUESTS_MAX};
use crate::weaken;
use crate::wire::json::Value;
use crate::wire::tools::ToolCall;

/// Where a call that was forwarded stands in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// All that a retry repeats.
    print: Fingerprint,
    /// `corr` of the call that was charged.
    pub(super) first: String,
    /// How many went before it: 0 for the call that was charged.
    rounds: u32,
    /// Which of the session's policies charged it.
    policy: u64,
}

impl Turn {
    /// A call that was charged itself.
    pub(super) fn first(call: ToolCall<'_>, corr: String, charged: &Continuations) -> Self {
        Self { print: Fingerprint::of_retried(call), first: corr, rounds: 0, policy: charged.policy }
    }
}

/// A call that may be sent again.
#[derive(Debug)]
struct Continuation {
    turn: Turn,
    /// What of `requestState` has to come back; none where the server gave none.
    state: Option<Fingerprint>,
    /// The keys of what the server asked for, hashed.
    asked: Vec<[u8; 32]>,
    /// When it ends, nanoseconds since boot.
    until_ns: u64,
}

/// The calls of one session that may be sent again, oldest first.
#[derive(Debug, Default)]
pub(super) struct Continuations {
    open: VecDeque<Continuation>,
    /// Counts the policies of the session.
    policy: u64,
}

impl Continuations {
    /// The call of `turn` was answered with a request for input. The oldest makes room. What an earlier policy charged is
    /// not continued: the one in force has not judged it.
    pub(super) fn leave(&mut self, mut turn: Turn, result: &Value<'_>, now_ns: u64) {
        if turn.rounds >= CALL_ROUNDS_MAX && weaken::in_force("continuation-rounds") {
            return;
        }
        let asked = keys_of(result.member("inputRequests"));
        if turn.policy != self.policy || asked.len() > INPUT_REQUESTS_MAX {
            return;
        }
        turn.rounds = turn.rounds.saturating_add(1);
        self.open.retain(|open| now_ns < open.until_ns);
        if self.open.len() >= CONTINUATIONS_MAX {
            self.open.pop_front();
        }
        let until_ns = now_ns.saturating_add(CONTINUATION_SECONDS * 1_000_000_000);
        self.open.push_back(Continuation { turn, state: state_of(result.member("requestState")), asked, until_ns });
    }

    /// The open call that `call` continues: the same but for what answers the server, with the `requestState` that it gave and
    /// answers to what it asked alone.
    fn find(&self, call: ToolCall<'_>, now_ns: u64) -> Option<usize> {
        let keys = keys_of(call.input_responses);
        self.same(call, now_ns)
            .find(|(_, open)| keys.iter().all(|key| open.asked.contains(key)))
            .map(|(place, _)| place)
    }

    /// The same, whatever it answers.
    fn same(&self, call: ToolCall<'_>, now_ns: u64) -> impl Iterator<Item = (usize, &Continuation)> {
        let is_retry = call.input_responses.is_some() || call.request_state.is_some();
        let wanted = is_retry.then(|| (Fingerprint::of_retried(call), state_of(call.request_state)));
        self.open.iter().enumerate().filter(move |(_, open)| {
            let is_same = |(print, state): &(_, _)| open.turn.print == *print && open.state == *state;
            wanted.as_ref().is_some_and(is_same) && now_ns < open.until_ns
        })
    }

    /// Whether `call` continues one.
    pub(super) fn has(&self, call: ToolCall<'_>, now_ns: u64) -> bool {
        self.find(call, now_ns).is_some()
    }

    /// Whether `call` would continue one, but for answers to what the server did not ask.
    pub(super) fn is_unasked(&self, call: ToolCall<'_>, now_ns: u64) -> bool {
        self.find(call, now_ns).is_none() && self.same(call, now_ns).next().is_some()
    }

    /// Uses up what `call` continues.
    pub(super) fn take(&mut self, call: ToolCall<'_>, now_ns: u64) -> Option<Turn> {
        let place = self.find(call, now_ns)?;
        if !weaken::in_force("continuation-once") {
            return self.open.get(place).map(|open| open.turn.clone());
        }
        self.open.remove(place).map(|open| open.turn)
    }

    /// Another policy decides now: every call is charged anew.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.policy += 1;
    }
}

/// Whether a result asks for input.
pub(super) fn asks_for_input(result: &Value<'_>) -> bool {
    result.member("resultType").and_then(Value::as_str) == Some("input_required")
}

/// The keys of an object, each as its hash: a server's may be as long as a line.
fn keys_of(holder: Option<&Value<'_>>) -> Vec<[u8; 32]> {
    let members = holder.and_then(Value::as_object).unwrap_or_default();
    members.iter().map(|(key, _)| Sha256::digest(key.as_bytes()).into()).collect()
}

fn state_of(state: Option<&Value<'_>>) -> Option<Fingerprint> {
    state.map(Fingerprint::of_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;

    const SECOND: u64 = 1_000_000_000;

    fn with<T>(arguments: &str, state: &str, then: impl FnOnce(ToolCall<'_>) -> T) -> T {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let text = format!(r#"{{"name":"pay","arguments":{arguments},"requestState":"{state}",{meta}}}"#);
        let params = parse(text.as_bytes()).unwrap();
        then(ToolCall::of(Some(&params)).unwrap())
    }

    fn left(calls: &mut Continuations, turn: Turn, state: &str, now_ns: u64) {
        let result = format!(r#"{{"resultType":"input_required","requestState":"{state}"}}"#);
        calls.leave(turn, &parse(result.as_bytes()).unwrap(), now_ns);
    }

    fn first(arguments: &str) -> Turn {
        with(arguments, "x", |call| Turn::first(call, "call-1".into(), &Continuations::default()))
    }

    #[test]
    fn a_call_is_continued_once_and_by_nothing_else() {
        let mut calls = Continuations::default();
        left(&mut calls, first(r#"{"to":"a","sum":1}"#), "s", 0);
        let take = |calls: &mut Continuations, arguments, state| with(arguments, state, |call| calls.take(call, 5));
        assert_eq!(take(&mut calls, r#"{"to":"b","sum":1}"#, "s"), None, "other arguments");
        assert_eq!(take(&mut calls, r#"{"to":"a","sum":1}"#, "forged"), None, "another state");
        let turn = take(&mut calls, r#"{"sum":1,"to":"a"}"#, "s").unwrap();
        assert_eq!((turn.first.as_str(), turn.rounds), ("call-1", 1));
        assert_eq!(take(&mut calls, r#"{"to":"a","sum":1}"#, "s"), None, "used");
    }

    #[test]
    fn a_row_ends_after_its_rounds() {
        let mut calls = Continuations::default();
        let mut turn = first("{}");
        for round in 1..=CALL_ROUNDS_MAX {
            left(&mut calls, turn, "s", 0);
            turn = with("{}", "s", |call| calls.take(call, 1)).unwrap();
            assert_eq!(turn.rounds, round);
        }
        left(&mut calls, turn, "s", 0);
        assert!(!with("{}", "s", |call| calls.has(call, 1)), "round {}", CALL_ROUNDS_MAX + 1);
    }

    #[test]
    fn a_continuation_ends_in_time_and_the_table_is_bounded() {
        let mut calls = Continuations::default();
        left(&mut calls, first("{}"), "s", 0);
        assert!(with("{}", "s", |call| calls.has(call, CONTINUATION_SECONDS * SECOND - 1)));
        assert!(!with("{}", "s", |call| calls.has(call, CONTINUATION_SECONDS * SECOND)));
        for number in 0..=CONTINUATIONS_MAX {
            left(&mut calls, first("{}"), &number.to_string(), 1);
        }
        assert_eq!(calls.open.len(), CONTINUATIONS_MAX);
        assert!(!with("{}", "0", |call| calls.has(call, 2)), "the oldest made room");
        assert!(with("{}", "1", |call| calls.has(call, 2)));
    }

    #[test]
    fn a_call_that_answers_nothing_continues_nothing() {
        let mut calls = Continuations::default();
        calls.leave(first("{}"), &parse(br#"{"resultType":"input_required","inputRequests":{}}"#).unwrap(), 0);
        let params = parse(br#"{"name":"pay","arguments":{}}"#).unwrap();
        assert!(!calls.has(ToolCall::of(Some(&params)).unwrap(), 1));
    }

    #[test]
    fn what_an_earlier_policy_charged_is_not_continued() {
        let mut calls = Continuations::default();
        let (before, waiting) = (first("{}"), first("{}"));
        left(&mut calls, waiting, "s", 0);
        calls.clear();
        left(&mut calls, before, "t", 0);
        assert!(!["s", "t"].iter().any(|state| with("{}", state, |call| calls.has(call, 1))));
    }

    #[test]
    fn a_retry_with_another_meta_is_another_call() {
        let mut calls = Continuations::default();
        left(&mut calls, first("{}"), "s", 0);
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","acme/to":"mallory"}"#;
        let text = format!(r#"{{"name":"pay","arguments":{{}},"requestState":"s",{meta}}}"#);
        let params = parse(text.as_bytes()).unwrap();
        assert!(!calls.has(ToolCall::of(Some(&params)).unwrap(), 1), "a person was shown the other one");
        assert!(with("{}", "s", |call| calls.has(call, 1)));
    }
}
