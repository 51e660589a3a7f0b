//! What can be told of a line that is too long to be read: whom an error about it is for.
//!
//! The line is dropped while it comes in, so it is looked at byte by byte, in bounded memory: strings, escapes and depth are followed,
//! and of the top-level keys those of the envelope are noted. Nothing here is a judgement: the line goes nowhere. A guess that is
//! wrong answers a peer that wrote no JSON with the wrong error.

use memchr::memchr2;

use super::json;
use super::jsonrpc::RequestId;
use crate::bounds::{OVERLONG_KEY_BYTES_MAX, REQUEST_ID_BYTES_MAX};

/// A line over the bound. Its content is gone; the stream goes on behind its LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlong {
    /// How long it was, bytes, without the LF.
    pub bytes: u64,
    /// Its id, where there is exactly one and it is one.
    pub id: Option<RequestId>,
    /// What it would have been.
    pub kind: OverlongKind,
}

/// What an over-long line would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlongKind {
    /// An object with `method` and `id`.
    Request,
    /// An object with `method` and no `id`.
    Notification,
    /// An object with `result` or `error` and no `method`.
    Response,
    /// No object, not a whole one, or none of these.
    Unclear,
}

/// Takes in the bytes of one line.
#[derive(Debug, Default)]
pub(super) struct Probe {
    bytes: u64,
    depth: u64,
    place: Place,
    /// The last byte was a backslash inside a string.
    is_escaped: bool,
    is_in_string: bool,
    /// The bytes of the top-level key, or of the value of `id`, that is being read; with the quotes.
    text: Vec<u8>,
    ids: u32,
    id: Option<RequestId>,
    has_method: bool,
    has_outcome: bool,
    /// Something that no object has.
    is_broken: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the object.
    #[default]
    Before,
    /// In a key of the object, or about it.
    Key,
    /// In the value of `id`.
    Id,
    /// In another value.
    Value,
    /// Behind the object.
    Behind,
}

impl Probe {
    pub(super) fn push(&mut self, mut part: &[u8]) {
        self.bytes += part.len() as u64;
        while let Some((&byte, rest)) = part.split_first() {
            if self.is_in_string && !self.is_escaped {
                let length = memchr2(b'"', b'\\', part).unwrap_or(part.len());
                self.keep(&part[..length]);
                part = &part[length..];
                let Some((&byte, rest)) = part.split_first() else { return };
                self.keep(&[byte]);
                self.is_escaped = byte == b'\\';
                self.is_in_string = byte != b'"';
                part = rest;
                continue;
            }
            part = rest;
            if self.is_in_string {
                self.is_escaped = false;
                self.keep(&[byte]);
            } else {
                self.outside(byte);
            }
        }
    }

    /// A byte outside of any string.
    fn outside(&mut self, byte: u8) {
        if byte.is_ascii_whitespace() {
            return;
        }
        match byte {
            b'{' if self.place == Place::Before => {
                self.place = Place::Key;
                self.depth = 1;
            }
            _ if matches!(self.place, Place::Before | Place::Behind) => self.is_broken = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth == 1 => {
                self.end_value();
                self.place = Place::Behind;
                self.is_broken |= byte == b']';
            }
            b'}' | b']' => self.depth -= 1,
            b':' if self.depth == 1 && self.place == Place::Key => self.end_key(),
            b',' if self.depth == 1 => {
                self.end_value();
                self.place = Place::Key;
            }
            b'"' => {
                self.is_in_string = true;
                self.keep(b"\"");
            }
            _ => self.keep(&[byte]),
        }
    }

    /// Keeps what is wanted of a key or an id; one byte over is enough to know that it is neither.
    fn keep(&mut self, part: &[u8]) {
        let bytes_max = match self.place {
            Place::Key => OVERLONG_KEY_BYTES_MAX,
            // Each byte of an id can be written in six.
            Place::Id => 6 * REQUEST_ID_BYTES_MAX + 2,
            Place::Before | Place::Value | Place::Behind => return,
        };
        let room = (bytes_max + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_key(&mut self) {
        let text = std::mem::take(&mut self.text);
        let key = json::parse(&text).ok();
        self.place = match key.as_ref().and_then(json::Value::as_str) {
            Some("id") => Place::Id,
            Some("method") => {
                self.has_method = true;
                Place::Value
            }
            Some("result" | "error") => {
                self.has_outcome = true;
                Place::Value
            }
            _ => Place::Value,
        };
    }

    fn end_value(&mut self) {
        let text = std::mem::take(&mut self.text);
        if self.place == Place::Id {
            self.ids += 1;
            self.id = json::parse(&text).ok().as_ref().and_then(RequestId::of);
        }
    }

    /// The line has ended.
    pub(super) fn finish(self) -> Overlong {
        let is_whole = self.place == Place::Behind && !self.is_broken;
        let kind = match (self.has_method, self.has_outcome) {
            _ if !is_whole => OverlongKind::Unclear,
            (true, false) if self.ids == 0 => OverlongKind::Notification,
            (true, false) => OverlongKind::Request,
            (false, true) => OverlongKind::Response,
            _ => OverlongKind::Unclear,
        };
        Overlong { bytes: self.bytes, id: self.id.filter(|_| self.ids == 1 && !self.is_broken), kind }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probed(line: &str) -> (Option<RequestId>, OverlongKind) {
        let mut probe = Probe::default();
        probe.push(line.as_bytes());
        let overlong = probe.finish();
        assert_eq!(overlong.bytes, line.len() as u64);
        (overlong.id, overlong.kind)
    }

    fn integer(id: i64) -> Option<RequestId> {
        Some(RequestId::Integer(id))
    }

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let text = "x".repeat(100_000);
        for (line, kind) in [
            (format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{{"a":"{text}"}}}}"#), OverlongKind::Request),
            (format!(r#"{{"params":{{"a":"{text}","id":9}},"method":"m","id":7}}"#), OverlongKind::Request),
            (format!(r#" {{ "result" : [{{"id":1}},"{text}"] , "i\u0064" : 7 }} "#), OverlongKind::Response),
            (format!(r#"{{"error":{{"m":"\"id\":8,\\"}},"id":7,"x":"{text}"}}"#), OverlongKind::Response),
        ] {
            assert_eq!(probed(&line), (integer(7), kind), "{}", &line[..60]);
        }
        assert_eq!(probed(r#"{"method":"m","id":"a\"b"}"#).0, Some(RequestId::String("a\"b".to_owned())));
    }

    #[test]
    fn what_has_no_id_is_told_from_what_cannot_be_told() {
        assert_eq!(probed(r#"{"method":"m","params":{"id":1}}"#), (None, OverlongKind::Notification));
        assert_eq!(probed(r#"{"method":"m","id":null}"#), (None, OverlongKind::Request));
        for line in
            ["", "xxxx", "[1,2]", r#"{"method":"m""#, r#"{"method":"m"}}"#, r#"{"a":1}"#, r#"{"id":1]"#, "\"{}\""]
        {
            assert_eq!(probed(line), (None, OverlongKind::Unclear), "{line}");
        }
    }

    #[test]
    fn two_ids_are_none() {
        assert_eq!(probed(r#"{"id":1,"result":{},"id":2}"#), (None, OverlongKind::Response));
        assert_eq!(probed(r#"{"id":1,"method":"m","\u0069d":1}"#), (None, OverlongKind::Request));
    }

    #[test]
    fn memory_is_bounded_by_key_and_id() {
        let mut probe = Probe::default();
        probe.push(b"{\"");
        for _ in 0..1000 {
            probe.push(&[b'k'; 1000]);
        }
        probe.push(b"\":1,\"id\":\"");
        for _ in 0..1000 {
            probe.push(&[b'i'; 1000]);
        }
        assert!(probe.text.capacity() < 8192, "{}", probe.text.capacity());
        probe.push(b"\"}");
        assert_eq!(probe.finish().id, None);
    }

    proptest! {
        #[test]
        fn chunks_change_nothing(line in r#"[\{\}\[\]",:\\a1 ]{0,40}|\{"id":[0-9]{1,3},"(method|result)":"[a\\"]{0,4}"\}"#, cut in any::<prop::sample::Index>()) {
            let (head, tail) = line.as_bytes().split_at(cut.index(line.len() + 1));
            let mut probe = Probe::default();
            probe.push(head);
            probe.push(tail);
            let whole = probed(&line);
            let parted = probe.finish();
            prop_assert_eq!((parted.id, parted.kind), whole);
        }

        #[test]
        fn a_message_is_told_as_the_parser_reads_it(id in 0i64..99, text in any::<String>(), last in any::<bool>()) {
            let quoted = serde_json::Value::from(text).to_string();
            let params = format!(r#""params":{{"t":{quoted},{quoted}:[{quoted}]}}"#);
            let line = if last { format!(r#"{{"method":"m",{params},"id":{id}}}"#) } else { format!(r#"{{"id":{id},{params},"method":"m"}}"#) };
            prop_assert_eq!(probed(&line), (integer(id), OverlongKind::Request));
        }
    }
}
