//! The parser: one pass over the line, depth-bounded, borrowing every string that has no escape.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use memchr::memchr2;
use memchr::memmem;

use super::number;
use super::{Number, Reject, RejectCode, Value};
use crate::bounds::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use crate::weaken;

/// Members up to which an object's keys are compared pairwise; above, by hash.
const PAIRWISE_MAX: usize = 16;

/// A value and what is needed to pass the line on as it came.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Where the values of the top-level object's members stand in the line, in order. Empty unless the value is an object.
    pub members: Vec<Range<usize>>,
    /// Whether the line holds no raw character that some reader takes for the end of a line (U+0085, U+2028, U+2029).
    pub one_line_everywhere: bool,
}

/// Reads the one JSON value that `line` must be.
///
/// # Errors
/// When two parsers could read the line differently, or it is not JSON: see [`RejectCode`].
pub fn parse(line: &[u8]) -> Result<Value<'_>, Reject> {
    parse_spanned(line).map(|parsed| parsed.value)
}

/// As [`parse`], and says where the top-level members stand.
///
/// # Errors
/// As [`parse`].
pub fn parse_spanned(line: &[u8]) -> Result<Parsed<'_>, Reject> {
    let text = check_bytes(line)?;
    let mut parser = Parser { text, at: 0, depth: 0, values: 0, key_offsets: Vec::new(), members: Vec::new() };
    parser.skip_spaces();
    let value = parser.value()?;
    parser.skip_spaces();
    if parser.at < text.len() && weaken::in_force("json-one-value") {
        return Err(parser.reject(RejectCode::TrailingData));
    }
    Ok(Parsed { value, members: parser.members, one_line_everywhere: !has_line_separator(line) })
}

/// What holds of the bytes before any grammar: no byte order mark, UTF-8, no control byte.
fn check_bytes(line: &[u8]) -> Result<&str, Reject> {
    if line.starts_with("\u{feff}".as_bytes()) {
        return Err(Reject { code: RejectCode::ByteOrderMark, offset: 0 });
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| Reject { code: RejectCode::InvalidUtf8, offset: error.valid_up_to() })?;
    if weaken::in_force("json-control-bytes")
        && let Some(offset) = control_byte(line)
    {
        return Err(Reject { code: RejectCode::ControlByte, offset });
    }
    Ok(text)
}

/// The first byte below 0x20. Each block is folded without a branch, so that the compiler can use vectors.
fn control_byte(line: &[u8]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let is_control = |byte: &u8| *byte < 0x20;
    let (index, block) = line
        .chunks(BLOCK)
        .enumerate()
        .find(|(_, block)| block.iter().fold(false, |any, byte| any | is_control(byte)))?;
    Some(index * BLOCK + block.iter().position(is_control)?)
}

/// Node's readline ends lines at U+2028 and U+2029, Python's `str.splitlines` at U+0085 too.
fn has_line_separator(line: &[u8]) -> bool {
    let mut found = memmem::find_iter(line, b"\xe2\x80").any(|at| matches!(line.get(at + 2), Some(0xa8 | 0xa9)));
    found |= memmem::find(line, b"\xc2\x85").is_some();
    found
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
    /// Offsets of the keys of the objects that are open, innermost last; for the place of a duplicate.
    key_offsets: Vec<usize>,
    members: Vec<Range<usize>>,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value<'a>, Reject> {
        self.values += 1;
        if self.values > JSON_VALUES_MAX {
            return Err(self.reject(RejectCode::TooManyValues));
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'N' | b'I') if self.is_non_finite() => Err(self.reject(RejectCode::NonFinite)),
            Some(b'+' | b'.') => Err(self.reject(RejectCode::BadNumber)),
            Some(_) => Err(self.reject(RejectCode::Syntax)),
            None => Err(self.reject(RejectCode::Truncated)),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value<'a>, Reject>) -> Result<Value<'a>, Reject> {
        if self.depth == JSON_DEPTH_MAX && weaken::in_force("json-depth") {
            return Err(self.reject(RejectCode::TooDeep));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_spaces();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value<'a>, Reject> {
        let mut items = Vec::new();
        if self.take_if(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_spaces();
            if self.ends(b']')? {
                return Ok(Value::Array(items));
            }
            self.skip_spaces();
        }
    }

    fn object(&mut self) -> Result<Value<'a>, Reject> {
        let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
        let outer_keys = self.key_offsets.len();
        if self.take_if(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.key_offsets.push(self.at);
            let key = self.key()?;
            self.skip_spaces();
            if !self.take_if(b':') {
                return Err(self.unexpected());
            }
            self.skip_spaces();
            let start = self.at;
            let value = self.value()?;
            if self.depth == 1 {
                self.members.push(start..self.at);
            }
            members.push((key, value));
            self.skip_spaces();
            if self.ends(b'}')? {
                self.check_unique(&members, outer_keys)?;
                self.key_offsets.truncate(outer_keys);
                return Ok(Value::Object(members));
            }
            self.skip_spaces();
        }
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Reject> {
        let offset = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        if key.contains('\0') {
            return Err(Reject { code: RejectCode::NulInKey, offset });
        }
        Ok(key)
    }

    fn check_unique(&self, members: &[(Cow<'a, str>, Value<'a>)], first_offset: usize) -> Result<(), Reject> {
        let duplicate = if members.len() <= PAIRWISE_MAX {
            (1..members.len()).find(|&index| members[..index].iter().any(|(key, _)| *key == members[index].0))
        } else {
            let mut seen = HashSet::with_capacity(members.len());
            members.iter().position(|(key, _)| !seen.insert(&**key))
        };
        match duplicate {
            Some(index) if weaken::in_force("json-duplicate-keys") => {
                Err(Reject { code: RejectCode::DuplicateKey, offset: self.key_offsets[first_offset + index] })
            }
            _ => Ok(()),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Reject> {
        self.at += 1;
        let start = self.at;
        let stop = self.string_stop()?;
        if self.text.as_bytes()[stop] == b'"' {
            self.at = stop + 1;
            return Ok(Cow::Borrowed(&self.text[start..stop]));
        }
        let mut unescaped = String::new();
        loop {
            let stop = self.string_stop()?;
            unescaped.push_str(&self.text[self.at..stop]);
            self.at = stop + 1;
            if self.text.as_bytes()[stop] == b'"' {
                return Ok(Cow::Owned(unescaped));
            }
            unescaped.push(self.escape(stop)?);
        }
    }

    /// Where the next quote or backslash stands.
    fn string_stop(&self) -> Result<usize, Reject> {
        match memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..]) {
            Some(length) => Ok(self.at + length),
            None => Err(Reject { code: RejectCode::Truncated, offset: self.text.len() }),
        }
    }

    /// Reads what stands behind a backslash at `backslash`.
    fn escape(&mut self, backslash: usize) -> Result<char, Reject> {
        let Some(letter) = self.peek() else {
            return Err(self.reject(RejectCode::Truncated));
        };
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(backslash),
            _ => return Err(Reject { code: RejectCode::BadEscape, offset: backslash }),
        })
    }

    fn unicode_escape(&mut self, backslash: usize) -> Result<char, Reject> {
        let lone = Reject { code: RejectCode::LoneSurrogate, offset: backslash };
        let high = self.hex4(backslash)?;
        let scalar = match high {
            0xd800..=0xdbff => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let low = self.hex4(self.at - 2)?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(lone);
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(scalar).ok_or(lone)
    }

    fn hex4(&mut self, backslash: usize) -> Result<u32, Reject> {
        let bad = Reject { code: RejectCode::BadEscape, offset: backslash };
        let mut code = 0;
        for _ in 0..4 {
            let digit = match self.peek() {
                Some(byte) => char::from(byte).to_digit(16).ok_or_else(|| bad.clone())?,
                None => return Err(self.reject(RejectCode::Truncated)),
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value<'a>, Reject> {
        let rest = &self.text[self.at..];
        let length = number::scan(rest).map_err(|code| self.reject(code))?;
        self.at += length;
        Ok(Value::Number(Number::new(Cow::Borrowed(&rest[..length]))))
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Reject> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        let code = match rest {
            _ if word.starts_with(rest) => RejectCode::Truncated,
            _ if self.is_non_finite() => RejectCode::NonFinite,
            _ => RejectCode::Syntax,
        };
        Err(self.reject(code))
    }

    fn is_non_finite(&self) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        [&b"nan"[..], b"infinity"]
            .iter()
            .any(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
    }

    /// Takes a comma (false) or the closing `bracket` (true).
    fn ends(&mut self, bracket: u8) -> Result<bool, Reject> {
        if self.take_if(b',') {
            return Ok(false);
        }
        if self.take_if(bracket) { Ok(true) } else { Err(self.unexpected()) }
    }

    fn take_if(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_spaces(&mut self) {
        // The other three whitespace bytes of RFC 8259 are control bytes and were refused.
        let spaces =
            self.text.as_bytes()[self.at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.at += spaces.count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> Reject {
        self.reject(if self.at == self.text.len() { RejectCode::Truncated } else { RejectCode::Syntax })
    }

    fn reject(&self, code: RejectCode) -> Reject {
        Reject { code, offset: self.at }
    }
}
