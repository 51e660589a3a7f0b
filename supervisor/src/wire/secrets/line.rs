//! A server's line without the secrets in it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Secrets;
use crate::weaken;
use crate::wire::json::{Number, Value};
use crate::wire::jsonrpc::{self, Message, Outcome, RequestId};

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// No secret in it: it stays as it came.
    Clean,
    /// Written anew with the secrets blanked.
    Redacted {
        /// The line, without LF.
        line: Vec<u8>,
        /// How many there were.
        count: u64,
    },
    /// A secret in the id or the method: nothing of the message can be passed on.
    Envelope {
        /// The id, where it is a request's: its sender is told.
        asked: Option<RequestId>,
    },
    /// No message, and something in it that is or looks like a secret: nothing of it is quoted.
    NoMessage,
}

impl Secrets {
    /// Takes the secrets out of a line of the server: out of strings, keys and numbers, however they are written. The
    /// envelope is never changed. A line without a secret is read once and not copied.
    #[must_use]
    pub fn redact_line(&self, line: &[u8]) -> Redaction {
        if !self.occur_in(line) || !weaken::in_force("redact-results") {
            return Redaction::Clean;
        }
        let Ok(read) = jsonrpc::read_line(line) else { return Redaction::NoMessage };
        let mut message = read.message;
        if self.in_envelope(&message) {
            let asked = match message {
                Message::Request(request) => Some(request.id),
                Message::Notification(_) | Message::Response(_) => None,
            };
            return Redaction::Envelope { asked };
        }
        let body = match &mut message {
            Message::Request(request) => request.params.as_mut(),
            Message::Notification(note) => note.params.as_mut(),
            Message::Response(response) => match &mut response.outcome {
                Outcome::Result(value) | Outcome::Error(value) => Some(value),
            },
        };
        match body.map_or(0, |body| redact_value(self, body)) {
            0 => Redaction::Clean,
            count => {
                let mut line = Vec::new();
                message.write(None, &mut line);
                Redaction::Redacted { line, count }
            }
        }
    }

    fn in_envelope(&self, message: &Message<'_>) -> bool {
        let (id, method) = match message {
            Message::Request(request) => (Some(&request.id), Some(&request.method)),
            Message::Notification(note) => (None, Some(&note.method)),
            Message::Response(response) => (Some(&response.id), None),
        };
        let in_id = id.is_some_and(|id| match id {
            RequestId::Integer(number) => self.occur_in(number.to_string().as_bytes()),
            RequestId::String(text) => self.occur_in(text.as_bytes()),
        });
        in_id || method.is_some_and(|method| self.occur_in(method.as_bytes()))
    }
}

/// Takes the secrets out of `value`, keys included; how many there were. A number that is one becomes 0. Two keys that
/// come out alike are told apart by a number behind them.
pub fn redact_value(secrets: &Secrets, value: &mut Value<'_>) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => {
            let is_secret = secrets.occur_in(number.text().as_bytes());
            if let Some(zero) = Number::integer(0).filter(|_| is_secret) {
                *number = zero;
            }
            u64::from(is_secret)
        }
        Value::String(text) => redact_text(secrets, text),
        Value::Array(items) => items.iter_mut().map(|item| redact_value(secrets, item)).sum(),
        Value::Object(members) => {
            let inside: u64 = members.iter_mut().map(|(_, item)| redact_value(secrets, item)).sum();
            let in_keys: u64 = members.iter_mut().map(|(key, _)| redact_text(secrets, key)).sum();
            if in_keys > 0 {
                tell_apart(members);
            }
            inside + in_keys
        }
    }
}

fn redact_text(secrets: &Secrets, text: &mut Cow<'_, str>) -> u64 {
    let (starred, count) = secrets.starred(text);
    if count > 0 {
        *text = Cow::Owned(starred.into_owned());
    }
    count
}

fn tell_apart(members: &mut [(Cow<'_, str>, Value<'_>)]) {
    let mut seen: HashSet<String> = HashSet::new();
    for (index, (key, _)) in members.iter_mut().enumerate() {
        if !seen.insert(key.to_string()) {
            // A server that foresaw this name too has made a line with a duplicate key, which is refused when it is read.
            *key = Cow::Owned(format!("{key}{index}"));
            seen.insert(key.to_string());
        }
    }
}
