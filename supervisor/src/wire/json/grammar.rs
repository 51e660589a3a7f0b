//! The grammar, once: what it reads goes to a sink, which builds a tree ([`super::parse`]) or notes where things stand
//! ([`super::scan`]). What is refused is refused here, so that both readings refuse the same lines.

use std::ops::Range;

use super::keys::{KeyText, Keys};
use super::lexer::{self, Lexer};
use super::{Reject, RejectCode};
use crate::bounds::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use crate::weaken;

/// Takes in what stands in the line.
pub(super) trait Sink<'a> {
    type Value;
    type Array: Default;
    type Object: Default;

    fn scalar(&mut self, scalar: Scalar<'a>) -> Self::Value;

    /// Reads the string that is next.
    fn string(&mut self, lexer: &mut Lexer<'a>) -> Result<Self::Value, Reject>;

    fn item(&mut self, array: &mut Self::Array, item: Self::Value);

    fn array(&mut self, array: Self::Array) -> Self::Value;

    /// The key of a member is read, its value is not. The top-level object has depth 1.
    fn key(&mut self, object: &mut Self::Object, key: KeyText<'a, '_>, depth: usize);

    /// The value of the member whose key came last, and where it stands in the line.
    fn member(&mut self, object: &mut Self::Object, value: Self::Value, place: Range<usize>, depth: usize);

    fn object(&mut self, object: Self::Object) -> Self::Value;
}

/// What is neither string nor nested.
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// The text of a number.
    Number(&'a str),
}

/// Reads the one value that `line` must be into `sink`. Returns what became of it, and whether no reader splits the line.
pub(super) fn read<'a, S: Sink<'a>>(line: &'a [u8], sink: &mut S) -> Result<(S::Value, bool), Reject> {
    let checked = lexer::check(line)?;
    let mut reader = Reader { lexer: Lexer::new(checked.text), keys: Keys::default(), depth: 0, values: 0, sink };
    reader.lexer.skip_spaces();
    let value = reader.value()?;
    reader.lexer.skip_spaces();
    if reader.lexer.at < checked.text.len() && weaken::in_force("json-one-value") {
        return Err(reader.lexer.reject(RejectCode::TrailingData));
    }
    Ok((value, checked.one_line_everywhere))
}

struct Reader<'a, 's, S> {
    lexer: Lexer<'a>,
    keys: Keys<'a>,
    depth: usize,
    values: usize,
    sink: &'s mut S,
}

impl<'a, S: Sink<'a>> Reader<'a, '_, S> {
    fn value(&mut self) -> Result<S::Value, Reject> {
        self.values += 1;
        if self.values > JSON_VALUES_MAX {
            return Err(self.lexer.reject(RejectCode::TooManyValues));
        }
        let scalar = match self.lexer.peek() {
            Some(b'"') => return self.sink.string(&mut self.lexer),
            Some(b'{') => return self.nested(Self::object),
            Some(b'[') => return self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => Scalar::Number(self.lexer.number()?),
            Some(b't') => self.word("true", Scalar::Bool(true))?,
            Some(b'f') => self.word("false", Scalar::Bool(false))?,
            Some(b'n') => self.word("null", Scalar::Null)?,
            Some(b'N' | b'I') if self.lexer.is_non_finite() => return Err(self.lexer.reject(RejectCode::NonFinite)),
            Some(b'+' | b'.') => return Err(self.lexer.reject(RejectCode::BadNumber)),
            Some(_) => return Err(self.lexer.reject(RejectCode::Syntax)),
            None => return Err(self.lexer.reject(RejectCode::Truncated)),
        };
        Ok(self.sink.scalar(scalar))
    }

    fn word(&mut self, word: &str, scalar: Scalar<'a>) -> Result<Scalar<'a>, Reject> {
        self.lexer.word(word).map(|()| scalar)
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<S::Value, Reject>) -> Result<S::Value, Reject> {
        if self.depth == JSON_DEPTH_MAX && weaken::in_force("json-depth") {
            return Err(self.lexer.reject(RejectCode::TooDeep));
        }
        self.depth += 1;
        self.lexer.at += 1;
        self.lexer.skip_spaces();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<S::Value, Reject> {
        let mut array = S::Array::default();
        if self.lexer.take_if(b']') {
            return Ok(self.sink.array(array));
        }
        loop {
            let item = self.value()?;
            self.sink.item(&mut array, item);
            self.lexer.skip_spaces();
            if self.lexer.ends(b']')? {
                return Ok(self.sink.array(array));
            }
            self.lexer.skip_spaces();
        }
    }

    fn object(&mut self) -> Result<S::Value, Reject> {
        let mut object = S::Object::default();
        if self.lexer.take_if(b'}') {
            return Ok(self.sink.object(object));
        }
        let mark = self.keys.mark();
        loop {
            self.keys.read(&mut self.lexer)?;
            self.sink.key(&mut object, self.keys.last(), self.depth);
            self.lexer.skip_spaces();
            if !self.lexer.take_if(b':') {
                return Err(self.lexer.unexpected());
            }
            self.lexer.skip_spaces();
            let start = self.lexer.at;
            let value = self.value()?;
            self.sink.member(&mut object, value, start..self.lexer.at, self.depth);
            self.lexer.skip_spaces();
            if self.lexer.ends(b'}')? {
                self.keys.close(mark)?;
                return Ok(self.sink.object(object));
            }
            self.lexer.skip_spaces();
        }
    }
}
