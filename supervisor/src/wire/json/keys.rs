//! The keys of the objects that are open while a line is read: no two of one object may be equal, however they are escaped.

use std::hash::{BuildHasher, RandomState};

use super::lexer::Lexer;
use super::{Reject, RejectCode};
use crate::weaken;

/// Members up to which an object's keys are compared pairwise; above, by hash.
const PAIRWISE_MAX: usize = 16;

/// A stack: the keys of the innermost object are the last. One allocation serves all objects of a line.
#[derive(Debug, Default)]
pub(super) struct Keys<'a> {
    open: Vec<Key<'a>>,
    /// The text of the keys that are written with escapes.
    unescaped: String,
    hashes: Vec<(u64, usize)>,
    /// Keyed anew for each line, so that nobody can prepare keys that fall together.
    hasher: Option<RandomState>,
}

#[derive(Clone, Copy, Debug)]
struct Key<'a> {
    /// Where its quote stands.
    offset: usize,
    text: Text<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Plain(&'a str),
    /// From here to the start of the next one in `unescaped`.
    Escaped(usize, usize),
}

/// Where the keys of an object begin on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    open: usize,
    unescaped: usize,
}

/// The text of a key, borrowed from the line where it has no escape.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyText<'a, 'k> {
    Plain(&'a str),
    Unescaped(&'k str),
}

impl<'a> Keys<'a> {
    /// Before the first key of an object.
    pub(super) fn mark(&self) -> Mark {
        Mark { open: self.open.len(), unescaped: self.unescaped.len() }
    }

    /// Reads the next key of the innermost object.
    pub(super) fn read(&mut self, lexer: &mut Lexer<'a>) -> Result<(), Reject> {
        let offset = lexer.at;
        if lexer.peek() != Some(b'"') {
            return Err(lexer.unexpected());
        }
        let start = self.unescaped.len();
        let text = match lexer.string(Some(&mut self.unescaped))? {
            Some(plain) => Text::Plain(plain),
            None => Text::Escaped(start, self.unescaped.len()),
        };
        if self.text(text).contains('\0') {
            return Err(Reject { code: RejectCode::NulInKey, offset });
        }
        self.open.push(Key { offset, text });
        Ok(())
    }

    /// The key that was read last, of an object that is still open.
    pub(super) fn last(&self) -> KeyText<'a, '_> {
        match self.open.last().map(|key| key.text) {
            Some(Text::Plain(text)) => KeyText::Plain(text),
            Some(Text::Escaped(start, end)) => KeyText::Unescaped(&self.unescaped[start..end]),
            None => KeyText::Plain(""),
        }
    }

    /// The innermost object ends, whose keys begin at `mark`: they must differ.
    pub(super) fn close(&mut self, mark: Mark) -> Result<(), Reject> {
        let count = self.open.len() - mark.open;
        let duplicate = if count <= PAIRWISE_MAX { self.pairwise(mark.open) } else { self.by_hash(mark.open) };
        match duplicate {
            Some(index) if weaken::in_force("json-duplicate-keys") => {
                return Err(Reject { code: RejectCode::DuplicateKey, offset: self.open[index].offset });
            }
            _ => {}
        }
        self.open.truncate(mark.open);
        self.unescaped.truncate(mark.unescaped);
        Ok(())
    }

    /// The first key from `first` on that occurred before.
    fn pairwise(&self, first: usize) -> Option<usize> {
        let text = |index: usize| self.text(self.open[index].text);
        (first + 1..self.open.len()).find(|&index| (first..index).any(|earlier| text(earlier) == text(index)))
    }

    /// As `pairwise`, in the time that sorting takes.
    fn by_hash(&mut self, first: usize) -> Option<usize> {
        let hasher = self.hasher.get_or_insert_default();
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        for (index, key) in self.open.iter().enumerate().skip(first) {
            hashes.push((hasher.hash_one(text_of(key.text, &self.unescaped)), index));
        }
        hashes.sort_unstable();
        // Keys of one hash stand together, in the order of the line; two that differ are a chance of one in 2^64.
        let duplicate = hashes.chunk_by(|one, next| one.0 == next.0).filter_map(|same| self.repeated(same)).min();
        self.hashes = hashes;
        duplicate
    }

    fn repeated(&self, same: &[(u64, usize)]) -> Option<usize> {
        let text = |place: &(u64, usize)| self.text(self.open[place.1].text);
        let later = (1..same.len()).find(|&later| same[..later].iter().any(|one| text(one) == text(&same[later])))?;
        Some(same[later].1)
    }

    fn text(&self, text: Text<'a>) -> &str {
        text_of(text, &self.unescaped)
    }
}

fn text_of<'t>(text: Text<'t>, unescaped: &'t str) -> &'t str {
    match text {
        Text::Plain(text) => text,
        Text::Escaped(start, end) => &unescaped[start..end],
    }
}

impl<'a> KeyText<'a, '_> {
    pub(super) fn into_cow(self) -> std::borrow::Cow<'a, str> {
        match self {
            KeyText::Plain(text) => text.into(),
            KeyText::Unescaped(text) => text.to_owned().into(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            KeyText::Plain(text) | KeyText::Unescaped(text) => text,
        }
    }
}
