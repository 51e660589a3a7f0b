//! The parser: the grammar's values as a tree, borrowing every string that has no escape.

use std::borrow::Cow;
use std::ops::Range;

use super::grammar::{self, Scalar, Sink};
use super::keys::KeyText;
use super::lexer::Lexer;
use super::{Number, Reject, Value};

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
/// When two parsers could read the line differently, or it is not JSON: see [`super::RejectCode`].
pub fn parse(line: &[u8]) -> Result<Value<'_>, Reject> {
    parse_spanned(line).map(|parsed| parsed.value)
}

/// As [`parse`], and says where the top-level members stand.
///
/// # Errors
/// As [`parse`].
pub fn parse_spanned(line: &[u8]) -> Result<Parsed<'_>, Reject> {
    let mut tree = Tree::default();
    let (value, one_line_everywhere) = grammar::read(line, &mut tree)?;
    Ok(Parsed { value, members: tree.members, one_line_everywhere })
}

/// Builds the tree.
#[derive(Default)]
struct Tree {
    /// Where the values of the top-level members stand.
    members: Vec<Range<usize>>,
}

/// An object whose last member may still lack its value.
#[derive(Default)]
struct Members<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    key: Cow<'a, str>,
}

impl<'a> Sink<'a> for Tree {
    type Value = Value<'a>;
    type Array = Vec<Value<'a>>;
    type Object = Members<'a>;

    fn scalar(&mut self, scalar: Scalar<'a>) -> Value<'a> {
        match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(truth) => Value::Bool(truth),
            Scalar::Number(text) => Value::Number(Number::new(Cow::Borrowed(text))),
        }
    }

    fn string(&mut self, lexer: &mut Lexer<'a>) -> Result<Value<'a>, Reject> {
        let mut unescaped = String::new();
        let plain = lexer.string(Some(&mut unescaped))?;
        Ok(Value::String(plain.map_or(Cow::Owned(unescaped), Cow::Borrowed)))
    }

    fn item(&mut self, array: &mut Vec<Value<'a>>, item: Value<'a>) {
        array.push(item);
    }

    fn array(&mut self, array: Vec<Value<'a>>) -> Value<'a> {
        Value::Array(array)
    }

    fn key(&mut self, object: &mut Members<'a>, key: KeyText<'a, '_>, _depth: usize) {
        object.key = key.into_cow();
    }

    fn member(&mut self, object: &mut Members<'a>, value: Value<'a>, place: Range<usize>, depth: usize) {
        object.members.push((std::mem::take(&mut object.key), value));
        if depth == 1 {
            self.members.push(place);
        }
    }

    fn object(&mut self, object: Members<'a>) -> Value<'a> {
        Value::Object(object.members)
    }
}
