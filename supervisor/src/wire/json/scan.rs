//! The scan: accepts exactly the lines that [`super::parse`] accepts, and says where things stand instead of building a tree. For
//! lines that are passed on as they came, where a tree of a large result would be built to be thrown away.

use std::borrow::Cow;
use std::ops::Range;

use super::grammar::{self, Scalar, Sink};
use super::keys::KeyText;
use super::lexer::{self, Lexer};
use super::{Reject, Value, parse};

/// The members of one object: keys unescaped, and where the values stand in the line.
pub type Members<'a> = Vec<(Cow<'a, str>, Range<usize>)>;

/// What a line holds, seen from above.
#[derive(Clone, Debug)]
pub struct Outline<'a> {
    line: &'a [u8],
    /// The members of the top-level object, in order; none when the line is something else.
    pub members: Option<Members<'a>>,
    /// The members of those top-level values that are objects, in order, for the keys that were asked for.
    inner: Vec<(usize, Cow<'a, str>, Range<usize>)>,
    /// Whether the line holds no raw character that some reader takes for the end of a line (U+0085, U+2028, U+2029).
    pub one_line_everywhere: bool,
}

/// Scans `line`; looks into the top-level members named in `open` too. Allocates nothing for a value that is not in the outline.
///
/// # Errors
/// Exactly those of [`parse`], in the same place.
pub fn scan<'a>(line: &'a [u8], open: &'a [&'a str]) -> Result<Outline<'a>, Reject> {
    let mut sketch = Sketch { open, members: Vec::new(), inner: Vec::new(), key: Cow::Borrowed(""), is_open: false };
    let (seen, one_line_everywhere) = grammar::read(line, &mut sketch)?;
    let members = (seen == Seen::Object).then_some(sketch.members);
    Ok(Outline { line, members, inner: sketch.inner, one_line_everywhere })
}

impl<'a> Outline<'a> {
    /// Where the value of the top-level member `key` stands.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<Range<usize>> {
        self.members.as_ref()?.iter().find(|(name, _)| name == key).map(|(_, place)| place.clone())
    }

    /// Where the value of the member `key` of the top-level member `outer` stands; none for an outer that was not asked for.
    #[must_use]
    pub fn inner_place(&self, outer: &str, key: &str) -> Option<Range<usize>> {
        let outer = self.members.as_ref()?.iter().position(|(name, _)| name == outer)?;
        self.inner.iter().find(|(of, name, _)| *of == outer && name == key).map(|(_, _, place)| place.clone())
    }

    /// The keys of the top-level member `outer`, in order; none for an outer that was not asked for or is no object.
    pub fn inner_keys(&self, outer: &str) -> impl Iterator<Item = &str> {
        let outer = self.members.iter().flatten().position(|(name, _)| name == outer);
        self.inner.iter().filter(move |(of, _, _)| Some(*of) == outer).map(|(_, key, _)| &**key)
    }

    /// The value at a place of this outline, as a tree.
    ///
    /// # Errors
    /// When the place is not one of a value.
    pub fn value(&self, place: Range<usize>) -> Result<Value<'a>, Reject> {
        parse(self.line.get(place).unwrap_or_default())
    }
}

/// Appends `line` with every raw character at which some reader ends a line written as its escape. In a scanned line such characters
/// stand inside strings only.
pub fn write_escaping_separators(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = 0;
    for (at, length) in lexer::separators(line) {
        out.extend_from_slice(&line[rest..at]);
        let escape: &[u8] = match line[at + length - 1] {
            0xa8 => b"\\u2028",
            0xa9 => b"\\u2029",
            _ => b"\\u0085",
        };
        out.extend_from_slice(escape);
        rest = at + length;
    }
    out.extend_from_slice(&line[rest..]);
}

/// What is remembered of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Object,
    Other,
}

struct Sketch<'a> {
    open: &'a [&'a str],
    members: Members<'a>,
    inner: Vec<(usize, Cow<'a, str>, Range<usize>)>,
    /// The key of the member that is being read, at depth 1.
    key: Cow<'a, str>,
    /// Whether that member is to be looked into.
    is_open: bool,
}

impl<'a> Sink<'a> for Sketch<'a> {
    type Value = Seen;
    type Array = ();
    type Object = Option<Cow<'a, str>>;

    fn scalar(&mut self, _scalar: Scalar<'a>) -> Seen {
        Seen::Other
    }

    fn string(&mut self, lexer: &mut Lexer<'a>) -> Result<Seen, Reject> {
        lexer.string(None).map(|_| Seen::Other)
    }

    fn item(&mut self, (): &mut (), _item: Seen) {}

    fn array(&mut self, (): ()) -> Seen {
        Seen::Other
    }

    fn key(&mut self, object: &mut Self::Object, key: KeyText<'a, '_>, depth: usize) {
        if depth == 1 {
            self.is_open = self.open.contains(&key.as_str());
            self.key = key.into_cow();
        } else if depth == 2 && self.is_open {
            *object = Some(key.into_cow());
        }
    }

    fn member(&mut self, object: &mut Self::Object, _value: Seen, place: Range<usize>, depth: usize) {
        if depth == 1 {
            self.members.push((std::mem::take(&mut self.key), place));
        } else if let Some(key) = object.take() {
            // The member that this object is the value of is not counted yet.
            self.inner.push((self.members.len(), key, place));
        }
    }

    fn object(&mut self, _object: Self::Object) -> Seen {
        Seen::Object
    }
}
