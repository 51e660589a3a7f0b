//! What a server sends, read without a tree where one is not needed: its answers, which can be large and mostly go on as they came.

use std::ops::Range;

use super::{
    Body, Envelope, Line, Message, Notification, Outcome, Refusal, RefusalCode, Request, RequestId, read_line,
};
use crate::bounds::{JSON_NUMBER_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::weaken;
use crate::wire::json::{self, Number, Outline, Reject, Value};

/// The members that are looked into.
const OPEN: &[&str] = &["result", "error"];

/// A line as it came, and what is needed to pass it on.
#[derive(Clone, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    id: Option<Range<usize>>,
    one_line_everywhere: bool,
}

/// A line that goes on in the buffer it came in: what stands before its id, the id in its place, what stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Before the id; places in the line.
    pub head: Range<usize>,
    /// The id to write; empty when the line has none.
    pub id: Vec<u8>,
    /// Behind the id, up to the end of the line.
    pub tail: Range<usize>,
}

/// One line of the server.
#[derive(Clone, Debug)]
pub enum ServerLine<'a> {
    /// Answers a request.
    Answer(Answer<'a>),
    /// Asks for an answer.
    Request(Request<'a>),
    /// Asks for none.
    Notification(Notification<'a>, Raw<'a>),
}

/// An answer of which only the envelope is read; the rest is known to be strict JSON.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The id of the request it answers.
    pub id: RequestId,
    /// The line.
    pub raw: Raw<'a>,
    outline: Outline<'a>,
    /// Whether it carries `result`; else it carries `error`.
    is_result: bool,
    body: Range<usize>,
}

/// What a record says of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// An error, or a result with `isError: true`.
    pub is_error: bool,
    /// The code of an error.
    pub code: Option<i64>,
}

/// Reads one line of the server, as strictly as [`read_line`]: what one refuses the other does. Requests and notifications become
/// trees, since they are judged.
///
/// # Errors
/// As [`read_line`].
pub fn read_server_line(line: &[u8]) -> Result<ServerLine<'_>, Refusal> {
    let mut outline = json::scan(line, OPEN)?;
    let has = |key: &str| outline.place(key).is_some();
    if has("method") || !(has("result") || has("error")) {
        let Line { message, raw } = read_line(line)?;
        return match message {
            Message::Request(request) => Ok(ServerLine::Request(request)),
            Message::Notification(notification) => Ok(ServerLine::Notification(notification, raw)),
            Message::Response(response) => Err(Refusal {
                code: RefusalCode::BadResponse,
                text: "a response without \"result\" and \"error\"".to_owned(),
                id: Some(response.id),
                answered: false,
            }),
        };
    }
    let id_place = outline.place("id");
    let members = outline.members.take().unwrap_or_default();
    let body = |place: Range<usize>| Span { is_object: line.get(place.start) == Some(&b'{'), place };
    let envelope = Envelope::gather(members.iter().cloned(), |place| small(line, place), body)?;
    let (id, envelope) = match envelope.checked_id()? {
        Some(id) => (id, envelope),
        None => return Err(envelope.refuse(RefusalCode::BadMethod, "\"method\" is missing")),
    };
    let (is_result, Span { place, .. }) = envelope.into_body(&id)?;
    let raw = Raw::new(line, id_place, outline.one_line_everywhere);
    outline.members = Some(members);
    Ok(ServerLine::Answer(Answer { id, raw, outline, is_result, body: place }))
}

/// A value that stays where it is.
struct Span {
    is_object: bool,
    place: Range<usize>,
}

impl Body for Span {
    fn is_object(&self) -> bool {
        self.is_object
    }
}

/// A value that must be small to be anything: no longer than an id whose every byte is written in six. `null` stands for a longer one,
/// which is no id and no version either.
fn small(line: &[u8], place: Range<usize>) -> Value<'_> {
    let text = line.get(place).filter(|text| text.len() <= 6 * REQUEST_ID_BYTES_MAX + 2);
    text.and_then(|text| json::parse(text).ok()).unwrap_or(Value::Null)
}

impl<'a> Answer<'a> {
    /// What a record says of it.
    #[must_use]
    pub fn fields(&self) -> Fields {
        if self.is_result {
            let is_error = self.text("isError") == Some(b"true");
            return Fields { is_error, code: None };
        }
        let code = self.text("code").filter(|text| text.len() <= JSON_NUMBER_BYTES_MAX);
        let code = match code.map(json::parse) {
            Some(Ok(Value::Number(number))) => Number::as_integer(&number),
            _ => None,
        };
        Fields { is_error: true, code }
    }

    /// Whether it carries a result.
    #[must_use]
    pub const fn is_result(&self) -> bool {
        self.is_result
    }

    /// What it carries, as a tree.
    ///
    /// # Errors
    /// Never for a line that was read; kept so that nothing is taken on trust.
    pub fn outcome(&self) -> Result<Outcome<'a>, Reject> {
        let body = self.outline.value(self.body.clone())?;
        Ok(if self.is_result { Outcome::Result(body) } else { Outcome::Error(body) })
    }

    /// The keys of the result or the error, in order; none where it is no object.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.outline.inner_keys(self.outer())
    }

    /// The member `key` of the result or the error as it stands in the line.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a [u8]> {
        self.raw.bytes.get(self.outline.inner_place(self.outer(), key)?)
    }

    const fn outer(&self) -> &'static str {
        if self.is_result { "result" } else { "error" }
    }
}

impl<'a> Raw<'a> {
    pub(super) fn new(bytes: &'a [u8], id: Option<Range<usize>>, one_line_everywhere: bool) -> Self {
        Self { bytes, id, one_line_everywhere: one_line_everywhere || !weaken::in_force("line-separators") }
    }

    /// How long the line is, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the line as it came, without LF, but under `id`. For what a server sent and nothing else of which changes. What would
    /// end the line for some reader is escaped.
    pub fn pass_on(&self, id: Option<&RequestId>, out: &mut Vec<u8>) {
        let (head, tail) = self.around_id(id);
        self.copy(head, out);
        if let (Some(_), Some(id)) = (&self.id, id) {
            id.write(out);
        }
        self.copy(tail, out);
    }

    /// As [`Raw::pass_on`], but in the buffer it came in. None for a line that some reader would split: it is written anew.
    #[must_use]
    pub fn hand_over(&self, id: Option<&RequestId>) -> Option<HandOver> {
        let (head, tail) = self.around_id(id);
        let mut text = Vec::new();
        if let (Some(_), Some(id)) = (&self.id, id) {
            id.write(&mut text);
        }
        self.one_line_everywhere.then_some(HandOver { head, id: text, tail })
    }

    /// What stands before and behind the id that is to be replaced.
    fn around_id(&self, id: Option<&RequestId>) -> (Range<usize>, Range<usize>) {
        match (&self.id, id) {
            (Some(place), Some(_)) => (0..place.start, place.end..self.bytes.len()),
            _ => (0..self.bytes.len(), self.bytes.len()..self.bytes.len()),
        }
    }

    fn copy(&self, place: Range<usize>, out: &mut Vec<u8>) {
        let part = &self.bytes[place];
        if self.one_line_everywhere {
            out.extend_from_slice(part);
        } else {
            json::write_escaping_separators(part, out);
        }
    }
}
