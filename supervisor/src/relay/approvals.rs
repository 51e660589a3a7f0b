//! Questions to a person: calls that wait, answers that are kept, all of it bounded and by the clock that never goes back.
//!
//! Pure: a time goes in, what is due comes out. Whoever uses it writes the record first.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;

use super::fingerprint::Fingerprint;
use crate::bounds::{APPROVAL_ID_DIGITS_MIN, APPROVALS_BYTES_MAX, APPROVALS_LISTED_MAX, APPROVALS_WAITING_MAX};
use crate::policy::Approvals as Terms;
use crate::wire::jsonrpc::RequestId;

/// A call that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Its id in the table of requests.
    pub(super) ours: RequestId,
    /// Its line, as it came.
    pub(super) line: Rc<[u8]>,
    /// When it is refused, nanoseconds since boot.
    pub(super) deadline_ns: u64,
}

/// What is asked of a person. It stays after its calls have given up, so that a late approval can still be given.
#[derive(Debug)]
pub(super) struct Question {
    /// What the answer is bound to.
    pub(super) print: Fingerprint,
    /// Its name for people, lower-case hex.
    pub(super) id: String,
    /// The tool.
    pub(super) tool: String,
    /// The arguments as a person may see them.
    pub(super) shown: String,
    /// Id of the rule that asks.
    pub(super) rule: String,
    /// The policy that asks: under another one it is no question any more.
    pub(super) policy_sha256: String,
    /// When it was first asked, nanoseconds since boot.
    pub(super) asked_ns: u64,
    /// How often it was asked.
    pub(super) asks: u64,
    /// When it is forgotten, nanoseconds since boot.
    pub(super) until_ns: u64,
    /// Whether a person approved it and no call has gone through on that.
    pub(super) approved: bool,
    /// The line of its last call, so that a person can read it in full; none where the room was needed for calls that wait.
    pub(super) line: Option<Rc<[u8]>>,
    /// Its calls, oldest first. None while it is approved, but for the moment in which they are let go.
    pub(super) waiting: VecDeque<Waiting>,
}

impl Question {
    /// Bytes of a line that is kept for people alone.
    fn idle_bytes(&self) -> usize {
        let is_idle = |line: &&Rc<[u8]>| !self.waiting.iter().any(|waiting| Rc::ptr_eq(&waiting.line, line));
        self.line.as_ref().filter(is_idle).map_or(0, |line| line.len())
    }

    /// Whether its time is over and no call waits for it any more.
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns && self.waiting.is_empty()
    }
}

/// A new question, before it is listed.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) print: Fingerprint,
    pub(super) id: String,
    pub(super) tool: String,
    pub(super) shown: String,
    pub(super) rule: String,
    pub(super) policy_sha256: String,
}

/// Why an id names no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FindError {
    /// Too short, or no hex.
    #[error("an approval id is at least {APPROVAL_ID_DIGITS_MIN} hex digits")]
    NoId,
    /// Nothing is listed under it.
    #[error("no such approval: it may have been decided, used or forgotten")]
    Unknown,
    /// More than one question begins so.
    #[error("more than one approval id begins so: give more digits")]
    Ambiguous,
}

/// The questions of one session.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    /// In the order in which they were first asked.
    questions: Vec<Question>,
}

impl Approvals {
    /// Whether a call with a line of `bytes` may wait under `print`.
    pub(super) fn has_room(&self, print: Fingerprint, bytes: usize) -> bool {
        let is_listed = self.questions.iter().any(|question| question.print == print);
        let held: usize = self.waiting().map(|waiting| waiting.line.len()).sum();
        (is_listed || self.questions.len() < APPROVALS_LISTED_MAX)
            && self.waiting().count() < APPROVALS_WAITING_MAX
            && held + bytes <= APPROVALS_BYTES_MAX
    }

    /// Lists a question, or adds to the one that is listed and not over: the call waits. Whoever asks has no approval in hand:
    /// one that its question still shows has run out, and is not revived. `opened_ns` is when the call came; its waiting
    /// ends `terms.timeout` later, whatever happens in between, because its client counts too.
    pub(super) fn ask(
        &mut self,
        asking: Asking,
        (ours, line): (RequestId, Vec<u8>),
        opened_ns: u64,
        now_ns: u64,
        terms: Terms,
    ) {
        let line: Rc<[u8]> = line.into();
        let held = Some(Rc::clone(&line));
        let waiting = Waiting { ours, line, deadline_ns: opened_ns.saturating_add(nanoseconds(terms.timeout)) };
        let until_ns = now_ns.saturating_add(nanoseconds(terms.valid));
        self.questions.retain(|question| question.print != asking.print || !question.is_over(now_ns));
        if let Some(question) = self.questions.iter_mut().find(|question| question.print == asking.print) {
            question.approved = false;
            question.asks += 1;
            question.until_ns = question.until_ns.max(until_ns);
            question.line = held;
            question.waiting.push_back(waiting);
            self.make_room();
            return;
        }
        let Asking { print, id, tool, shown, rule, policy_sha256 } = asking;
        let waiting = VecDeque::from([waiting]);
        let (asked_ns, asks, approved) = (now_ns, 1, false);
        self.questions.push(Question {
            print,
            id,
            tool,
            shown,
            rule,
            policy_sha256,
            asked_ns,
            asks,
            until_ns,
            approved,
            line: held,
            waiting,
        });
        self.make_room();
    }

    /// Lets go of lines that no call waits with, oldest question first, until all lines keep within the bound.
    fn make_room(&mut self) {
        let mut held: usize = self.waiting().map(|waiting| waiting.line.len()).sum();
        held += self.questions.iter().map(Question::idle_bytes).sum::<usize>();
        for question in &mut self.questions {
            if held <= APPROVALS_BYTES_MAX {
                return;
            }
            if question.idle_bytes() > 0 {
                held -= question.idle_bytes();
                question.line = None;
            }
        }
    }

    /// The id of the unused approval that a call with this fingerprint has. With `valid: 0` it is there for the instant in
    /// which it is given: for the call that waits.
    pub(super) fn in_hand(&self, print: Fingerprint, now_ns: u64) -> Option<&str> {
        let question = self.questions.iter().find(|question| question.print == print)?;
        (question.approved && now_ns <= question.until_ns).then_some(question.id.as_str())
    }

    /// The approval let its call through: it is none any more. Calls that still wait for one go on waiting.
    pub(super) fn spend(&mut self, print: Fingerprint) {
        if let Some(at) = self.questions.iter().position(|question| question.print == print) {
            if self.questions[at].waiting.is_empty() {
                self.questions.remove(at);
            } else {
                self.questions[at].approved = false;
            }
        }
    }

    /// The question whose id begins with `prefix`.
    ///
    /// # Errors
    /// When it is not exactly one.
    pub(super) fn find(&self, prefix: &str, now_ns: u64) -> Result<&Question, FindError> {
        let is_hex = prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if prefix.len() < APPROVAL_ID_DIGITS_MIN || !is_hex {
            return Err(FindError::NoId);
        }
        let mut named = self.listed(now_ns).filter(|question| question.id.starts_with(prefix));
        match (named.next(), named.next()) {
            (Some(question), None) => Ok(question),
            (None, _) => Err(FindError::Unknown),
            (Some(_), Some(_)) => Err(FindError::Ambiguous),
        }
    }

    /// A person agreed: exactly one call with this fingerprint may pass within `terms.valid`.
    pub(super) fn approve(&mut self, print: Fingerprint, now_ns: u64, terms: Terms) {
        if let Some(question) = self.questions.iter_mut().find(|question| question.print == print) {
            question.approved = true;
            question.until_ns = now_ns.saturating_add(nanoseconds(terms.valid));
        }
    }

    /// A person refused, or the question is moot: it is forgotten, with the calls that waited for it.
    pub(super) fn forget(&mut self, print: Fingerprint) -> Option<Question> {
        let at = self.questions.iter().position(|question| question.print == print)?;
        Some(self.questions.remove(at))
    }

    /// As if the room were needed.
    #[cfg(test)]
    pub(super) fn let_go_of_lines(&mut self) {
        self.questions.iter_mut().for_each(|question| question.line = None);
    }

    /// The oldest call that an unused approval can let go.
    pub(super) fn next_released(&mut self) -> Option<Waiting> {
        self.questions.iter_mut().filter(|question| question.approved).find_map(|question| question.waiting.pop_front())
    }

    /// A call whose waiting is over, with its question's fingerprint.
    pub(super) fn next_timed_out(&mut self, now_ns: u64) -> Option<(Fingerprint, Waiting)> {
        self.questions.iter_mut().find_map(|question| {
            let due = question.waiting.iter().position(|waiting| now_ns >= waiting.deadline_ns)?;
            question.waiting.remove(due).map(|waiting| (question.print, waiting))
        })
    }

    /// Id of the rule that asks.
    pub(super) fn rule_of(&self, print: Fingerprint) -> Option<String> {
        self.questions.iter().find(|question| question.print == print).map(|question| question.rule.clone())
    }

    /// A question whose time is over and for which no call waits any more.
    pub(super) fn next_expired(&mut self, now_ns: u64) -> Option<Question> {
        self.questions.iter().position(|question| question.is_over(now_ns)).map(|at| self.questions.remove(at))
    }

    /// A question of another policy than the one with this hash.
    pub(super) fn next_stale(&mut self, policy_sha256: &str) -> Option<Question> {
        let is_stale = |question: &Question| question.policy_sha256 != policy_sha256;
        self.questions.iter().position(is_stale).map(|at| self.questions.remove(at))
    }

    /// The client cancelled the call: it waits no more; the question stays. False when it did not wait here.
    pub(super) fn cancel(&mut self, ours: &RequestId) -> bool {
        self.questions.iter_mut().any(|question| {
            let before = question.waiting.len();
            question.waiting.retain(|waiting| waiting.ours != *ours);
            question.waiting.len() < before
        })
    }

    /// The client is gone: nothing waits any more.
    pub(super) fn drop_waiting(&mut self) {
        self.questions.iter_mut().for_each(|question| question.waiting.clear());
    }

    /// When something is due, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let calls = self.waiting().map(|waiting| waiting.deadline_ns);
        let questions = self.questions.iter().filter(|question| question.waiting.is_empty());
        calls.chain(questions.map(|question| question.until_ns)).min()
    }

    /// Every call that waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.questions.iter().flat_map(|question| &question.waiting)
    }

    /// The questions that can be decided now, in the order in which they were asked.
    pub(super) fn listed(&self, now_ns: u64) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(move |question| now_ns < question.until_ns || !question.waiting.is_empty())
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
