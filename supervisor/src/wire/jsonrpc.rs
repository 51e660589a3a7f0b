//! The envelope: JSON-RPC 2.0 as MCP narrows it (no batches, ids never null, params always an object).

use std::borrow::Cow;
use std::io::Write as _;

use super::json::{self, Number, Reject, RejectCode, Value};
use super::{fold, methods};
use crate::bounds::{METHOD_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::weaken;

mod answer;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Fields, HandOver, Raw, ServerLine, read_server_line};

/// The keys an envelope may have.
const ENVELOPE_KEYS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A request's id: a string, or a number written as an integer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// An integer within 2^53-1.
    Integer(i64),
    /// A string of at most [`REQUEST_ID_BYTES_MAX`] bytes. `"1"` is not `1`.
    String(String),
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Asks for an answer.
    Request(Request<'a>),
    /// Asks for none and gets none.
    Notification(Notification<'a>),
    /// Answers a request of the other side.
    Response(Response<'a>),
}

/// A message that asks for an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The sender's id.
    pub id: RequestId,
    /// What is asked.
    pub method: Cow<'a, str>,
    /// An object, when present.
    pub params: Option<Value<'a>>,
}

/// A message that asks for no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification<'a> {
    /// What happened.
    pub method: Cow<'a, str>,
    /// An object, when present.
    pub params: Option<Value<'a>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response<'a> {
    /// The id of the request it answers.
    pub id: RequestId,
    /// The answer.
    pub outcome: Outcome<'a>,
}

/// What a response carries: exactly one of the two.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// `result`.
    Result(Value<'a>),
    /// `error`, an object.
    Error(Value<'a>),
}

/// A line that was refused, and whether its sender is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The reason, stable.
    pub code: RefusalCode,
    /// What a person reads. Quotes from the line are escaped.
    pub text: String,
    /// The message's id, where it could be read.
    pub id: Option<RequestId>,
    /// Whether the sender gets an error (with `"id": null` where the id could not be read). False for what reads as a notification or
    /// a response: those never get an answer, only a record.
    pub answered: bool,
}

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// Not strict JSON.
    Json(RejectCode),
    /// An array: JSON-RPC batches were in one MCP revision and are gone from it.
    Batch,
    /// JSON, but no object.
    NotAnObject,
    /// A key that differs from an envelope key only in case.
    EnvelopeKeyCase,
    /// A key that no envelope has.
    UnknownEnvelopeKey,
    /// `jsonrpc` is absent or not `"2.0"`.
    Version,
    /// `id` is null, fractional, too long, or neither string nor number.
    BadId,
    /// `method` is absent where it is needed, no string, empty or too long.
    BadMethod,
    /// `params` is present and not an object.
    BadParams,
    /// A key of `params` that differs only in case from a parameter of the method.
    ParameterKeyCase,
    /// Two keys of one object inside `params` that differ only in case.
    AmbiguousKeys,
    /// A response with both or neither of `result` and `error`, an `error` that is no object, or a request with either.
    BadResponse,
}

impl RefusalCode {
    /// The code as it stands in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json(code) => code.as_str(),
            Self::Batch => "batch",
            Self::NotAnObject => "not_an_object",
            Self::EnvelopeKeyCase => "envelope_key_case",
            Self::UnknownEnvelopeKey => "unknown_envelope_key",
            Self::Version => "version",
            Self::BadId => "bad_id",
            Self::BadMethod => "bad_method",
            Self::BadParams => "bad_params",
            Self::ParameterKeyCase => "parameter_key_case",
            Self::AmbiguousKeys => "ambiguous_keys",
            Self::BadResponse => "bad_response",
        }
    }

    /// JSON-RPC 2.0 section 5.1: -32700 for what is no JSON, -32600 for what is no message.
    #[must_use]
    pub const fn rpc_code(self) -> i32 {
        match self {
            Self::Json(_) => -32700,
            _ => -32600,
        }
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { code: RefusalCode::Json(reject.code), text: reject.to_string(), id: None, answered: true }
    }
}

/// A message and the line it came in.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The message.
    pub message: Message<'a>,
    /// The line.
    pub raw: Raw<'a>,
}

/// Reads one line: strict JSON, then the envelope.
///
/// # Errors
/// When two readers could take it for different messages, or it is none.
pub fn read_line(line: &[u8]) -> Result<Line<'_>, Refusal> {
    let parsed = json::parse_spanned(line)?;
    let place = parsed.value.as_object().and_then(|members| members.iter().position(|(key, _)| key == "id"));
    let id = place.map(|place| parsed.members[place].clone());
    let message = read(parsed.value)?;
    Ok(Line { message, raw: Raw::new(line, id, parsed.one_line_everywhere) })
}

/// Reads the envelope of a parsed line.
///
/// # Errors
/// As [`read_line`], JSON aside.
pub fn read(value: Value<'_>) -> Result<Message<'_>, Refusal> {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(_) => {
            return Err(Envelope::<Value<'_>>::default()
                .refuse(RefusalCode::Batch, "batches are not accepted; one message a line"));
        }
        _ => return Err(Envelope::<Value<'_>>::default().refuse(RefusalCode::NotAnObject, "a message is an object")),
    };
    Envelope::gather(members, |value| value, |value| value)?.into_message()
}

/// The members of the object that a line holds. `B` is what stands for the values that can be large.
struct Envelope<'a, B> {
    is_object: bool,
    jsonrpc: Option<Value<'a>>,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params: Option<B>,
    result: Option<B>,
    error: Option<B>,
}

/// What the envelope must know of a large value.
trait Body {
    fn is_object(&self) -> bool;
}

impl Body for Value<'_> {
    fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }
}

impl<B> Default for Envelope<'_, B> {
    fn default() -> Self {
        let (params, result, error) = (None, None, None);
        Self { is_object: false, jsonrpc: None, id: None, method: None, params, result, error }
    }
}

impl<'a, B: Body> Envelope<'a, B> {
    /// Sorts the members `M` of an object by their keys.
    fn gather<M>(
        members: impl IntoIterator<Item = (Cow<'a, str>, M)>,
        small: impl Fn(M) -> Value<'a>,
        body: impl Fn(M) -> B,
    ) -> Result<Self, Refusal> {
        let mut envelope = Self { is_object: true, ..Self::default() };
        let mut strange = None;
        for (key, member) in members {
            match &*key {
                "jsonrpc" => envelope.jsonrpc = Some(small(member)),
                "id" => envelope.id = Some(small(member)),
                "method" => envelope.method = Some(small(member)),
                "params" => envelope.params = Some(body(member)),
                "result" => envelope.result = Some(body(member)),
                "error" => envelope.error = Some(body(member)),
                _ => strange = strange.or(Some(key)),
            }
        }
        if let Some(key) = strange {
            if let Some(known) = fold::collision(&key, ENVELOPE_KEYS) {
                let text = format!("key {key:?} differs from \"{known}\" only in case");
                return Err(envelope.refuse(RefusalCode::EnvelopeKeyCase, &text));
            }
            if weaken::in_force("envelope-keys") {
                return Err(envelope.refuse(RefusalCode::UnknownEnvelopeKey, &format!("unknown key {:?}", clip(&key))));
            }
        }
        Ok(envelope)
    }

    /// The id, if there is one, of a message of the right version.
    fn checked_id(&self) -> Result<Option<RequestId>, Refusal> {
        if self.jsonrpc.as_ref().and_then(Value::as_str) != Some("2.0") {
            return Err(self.refuse(RefusalCode::Version, "\"jsonrpc\" is not \"2.0\""));
        }
        match &self.id {
            None => Ok(None),
            Some(value) => match RequestId::of(value) {
                Some(id) => Ok(Some(id)),
                None => Err(self.refuse(RefusalCode::BadId, "\"id\" is neither an integer nor a short string")),
            },
        }
    }

    /// What the response with this id carries: the result (true) or the error (false).
    fn into_body(self, id: &RequestId) -> Result<(bool, B), Refusal> {
        match (self.result, self.error, self.params) {
            (Some(result), None, None) => Ok((true, result)),
            (None, Some(error), None) if error.is_object() => Ok((false, error)),
            _ => Err(Refusal {
                code: RefusalCode::BadResponse,
                text: "a response needs a \"result\" or an \"error\" object, not both, and no \"params\"".to_owned(),
                id: Some(id.clone()),
                answered: false,
            }),
        }
    }

    fn refuse(&self, code: RefusalCode, text: &str) -> Refusal {
        let is_response = self.method.is_none() && (self.result.is_some() || self.error.is_some());
        Refusal {
            code,
            text: text.to_owned(),
            id: self.id.as_ref().and_then(RequestId::of),
            answered: !self.is_object || (self.id.is_some() && !is_response),
        }
    }
}

impl<'a> Envelope<'a, Value<'a>> {
    fn into_message(self) -> Result<Message<'a>, Refusal> {
        let id = self.checked_id()?;
        match (&self.method, id) {
            (Some(_), id) => self.into_call(id),
            (None, Some(id)) if self.result.is_some() || self.error.is_some() => {
                let (is_result, body) = self.into_body(&id)?;
                let outcome = if is_result { Outcome::Result(body) } else { Outcome::Error(body) };
                Ok(Message::Response(Response { id, outcome }))
            }
            _ => Err(self.refuse(RefusalCode::BadMethod, "\"method\" is missing")),
        }
    }

    fn into_call(self, id: Option<RequestId>) -> Result<Message<'a>, Refusal> {
        if self.result.is_some() || self.error.is_some() {
            return Err(self.refuse(RefusalCode::BadResponse, "a request with \"result\" or \"error\""));
        }
        let method = match &self.method {
            Some(Value::String(method)) if !method.is_empty() && method.len() <= METHOD_BYTES_MAX => method.clone(),
            _ => return Err(self.refuse(RefusalCode::BadMethod, "\"method\" is not a short string")),
        };
        if let Some(params) = &self.params {
            let Some(members) = params.as_object() else {
                return Err(self.refuse(RefusalCode::BadParams, "\"params\" is not an object"));
            };
            for (key, value) in members {
                let nested = if key == "_meta" { &methods::META_KEYS[..] } else { &[] };
                let known = fold::collision(key, methods::parameter_names(&method)).or_else(|| {
                    let keys = value.as_object().unwrap_or_default();
                    keys.iter().find_map(|(key, _)| fold::collision(key, nested.iter().copied()))
                });
                if let Some(known) = known {
                    let text = format!("a key of \"params\" differs from \"{known}\" only in case");
                    return Err(self.refuse(RefusalCode::ParameterKeyCase, &text));
                }
            }
            if let Some((one, other)) = fold::ambiguous_keys(params) {
                let text = format!("keys {:?} and {:?} differ only in case", clip(one), clip(other));
                return Err(self.refuse(RefusalCode::AmbiguousKeys, &text));
            }
        }
        Ok(match id {
            Some(id) => Message::Request(Request { id, method, params: self.params }),
            None => Message::Notification(Notification { method, params: self.params }),
        })
    }
}

/// Enough of a name to recognise it by.
fn clip(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}

impl RequestId {
    /// The id that `value` is; none when MCP does not allow it as an id.
    #[must_use]
    pub fn of(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_integer().map(Self::Integer),
            Value::String(text) if text.len() <= REQUEST_ID_BYTES_MAX => Some(Self::String(text.clone().into_owned())),
            _ => None,
        }
    }

    /// The id as a JSON value; none for an integer beyond 2^53-1, which no line can have carried.
    #[must_use]
    pub fn to_value(&self) -> Option<Value<'static>> {
        match self {
            Self::Integer(integer) => Number::integer(*integer).map(Value::Number),
            Self::String(text) => Some(Value::String(Cow::Owned(text.clone()))),
        }
    }

    /// Appends the id as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(integer) => {
                // Writing to a vector does not fail.
                let _ = write!(out, "{integer}");
            }
            Self::String(text) => json::write_string(text, out),
        }
    }
}

impl Message<'_> {
    /// Appends the message as one line without LF, under `id` in place of its own. A notification has none and takes none.
    ///
    /// This is what a server is sent: written from what was judged, never the bytes that came.
    pub fn write(&self, id: Option<&RequestId>, out: &mut Vec<u8>) {
        match self {
            Self::Request(request) => request.write(id.unwrap_or(&request.id), out),
            Self::Notification(notification) => notification.write(out),
            Self::Response(response) => response.write(id.unwrap_or(&response.id), out),
        }
    }
}

impl Request<'_> {
    /// As [`Message::write`].
    pub fn write(&self, id: &RequestId, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        id.write(out);
        out.push(b',');
        write_call(&self.method, self.params.as_ref(), out);
    }
}

impl Notification<'_> {
    /// As [`Message::write`].
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
        write_call(&self.method, self.params.as_ref(), out);
    }
}

impl Response<'_> {
    /// As [`Message::write`].
    pub fn write(&self, id: &RequestId, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        id.write(out);
        let (key, body) = match &self.outcome {
            Outcome::Result(result) => (&br#","result":"#[..], result),
            Outcome::Error(error) => (&br#","error":"#[..], error),
        };
        out.extend_from_slice(key);
        json::write(body, out);
        out.push(b'}');
    }
}

/// Appends method and parameters, and closes the message.
pub(super) fn write_call(method: &str, params: Option<&Value<'_>>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""method":"#);
    json::write_string(method, out);
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        json::write(params, out);
    }
    out.push(b'}');
}
