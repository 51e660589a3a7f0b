//! Values that are known to be secret, found wherever they stand in a text, and blanked.
//!
//! Found are: the value as it is; with JSON's escapes, any mix of them, also inside a string that is quoted twice;
//! percent-encoded, any mix, with `+` for a space; in hex, upper or lower case; in base64 and base64url, wherever the value
//! stands in what was encoded. Against accidents and simple leaks: who means to leak has other ways to write a value.

mod forms;
mod line;
mod views;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

pub use line::{Redaction, redact_value};
use views::{Decoder, View};

/// Shorter values are not searched for: they would blank ordinary words.
pub const SECRET_BYTES_MIN: usize = 8;
/// Decodings one upon the other: a JSON string inside a JSON string, a URL inside one.
const DECODINGS_MAX: usize = 2;
/// Source bytes that one byte of a spelling takes at most after [`DECODINGS_MAX`] encodings (`\u0025\u0034\u0031`).
const ENCODED_BYTES_MAX: usize = 18;
/// A window of a long text is this many times as long as its overlap with the next.
const WINDOW_OVERLAPS: usize = 16;

/// Starts up to which the search is a table of a few megabytes; above, it is smaller and slower.
const TABLE_STARTS_MAX: usize = 1024;

/// More values than can be searched for.
#[derive(Debug, thiserror::Error)]
#[error("the secret values are too many or too long to be searched for")]
pub struct TooManySecrets(#[source] aho_corasick::BuildError);

/// The known secrets of a session, ready to be searched for. Cheap to clone; empty, it finds nothing at no cost.
#[derive(Clone, Default)]
pub struct Secrets {
    search: Option<Arc<Search>>,
}

struct Search {
    /// The first [`SECRET_BYTES_MIN`] bytes of each spelling; what follows them is compared.
    starts: AhoCorasick,
    /// For each start the spellings that have it, longest first.
    spellings: Vec<Vec<Vec<u8>>>,
    /// How much of a text has to be seen beyond a place, to tell whether a secret begins there.
    reach: usize,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never a value.
        let spellings = self.search.iter().flat_map(|search| &search.spellings).map(Vec::len).sum::<usize>();
        f.debug_struct("Secrets").field("spellings", &spellings).finish_non_exhaustive()
    }
}

impl Secrets {
    /// The secrets with these values; those shorter than [`SECRET_BYTES_MIN`] are left out.
    ///
    /// # Errors
    /// When they are too many for one search.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, TooManySecrets> {
        let parts = values.into_iter().flat_map(forms::parts);
        let mut all: Vec<_> = parts.flat_map(forms::spellings).filter(|one| one.len() >= SECRET_BYTES_MIN).collect();
        all.sort_unstable_by(|one, other| one[..SECRET_BYTES_MIN].cmp(&other[..SECRET_BYTES_MIN]).then(other.cmp(one)));
        all.dedup();
        let Some(longest) = all.iter().map(Vec::len).max() else { return Ok(Self::default()) };
        let same_start = |one: &Vec<u8>, other: &Vec<u8>| one[..SECRET_BYTES_MIN] == other[..SECRET_BYTES_MIN];
        let mut spellings: Vec<Vec<_>> = all.chunk_by(same_start).map(<[_]>::to_vec).collect();
        for group in &mut spellings {
            group.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        }
        let kind = (spellings.len() <= TABLE_STARTS_MAX).then_some(AhoCorasickKind::DFA);
        let starts = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .kind(kind)
            .build(spellings.iter().map(|group| &group[0][..SECRET_BYTES_MIN]))
            .map_err(TooManySecrets)?;
        let reach = longest * ENCODED_BYTES_MAX;
        Ok(Self { search: Some(Arc::new(Search { starts, spellings, reach })) })
    }

    /// Whether there is nothing to search for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.search.is_none()
    }

    /// Whether a secret stands in `text`, in any form. One pass over a text that holds neither `\` nor `%`.
    #[must_use]
    pub fn occur_in(&self, text: &[u8]) -> bool {
        self.each(text, &mut |_| ControlFlow::Break(())).is_break()
    }

    /// Bytes that have to be kept beyond a place where a text is cut, so that no part of a secret stands before it unseen.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.search.as_ref().map_or(0, |search| search.reach)
    }

    /// Overwrites every secret in `text` with as many `*`; how many there were.
    pub fn blank(&self, text: &mut [u8]) -> u64 {
        let places = self.places(text);
        for place in &places {
            text[place.clone()].fill(b'*');
        }
        places.len() as u64
    }

    /// `text` with `mark` of its length in place of every secret, and how many there were.
    #[must_use]
    pub fn replaced<'t>(&self, text: &'t str, mark: impl Fn(usize) -> Cow<'static, str>) -> (Cow<'t, str>, u64) {
        let places = self.places(text.as_bytes());
        if places.is_empty() {
            return (Cow::Borrowed(text), 0);
        }
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for place in &places {
            // A value that is no UTF-8 may begin or end inside a character.
            let (mut start, mut end) = (place.start, place.end);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            while !text.is_char_boundary(end) {
                end += 1;
            }
            let start = start.max(copied);
            out.push_str(&text[copied..start]);
            out.push_str(&mark(end - start));
            copied = end;
        }
        out.push_str(&text[copied..]);
        (Cow::Owned(out), places.len() as u64)
    }

    /// `text` with as many `*` in place of every secret, and how many there were.
    #[must_use]
    pub fn starred<'t>(&self, text: &'t str) -> (Cow<'t, str>, u64) {
        self.replaced(text, |length| Cow::Owned("*".repeat(length)))
    }

    /// Where secrets stand, in order, apart from each other.
    fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let _all_seen = self.each(text, &mut |place| {
            match found.last_mut() {
                // A secret that overlaps itself has a hit at every byte of a line of it.
                Some(last) if (last.start..=last.end).contains(&place.start) => last.end = last.end.max(place.end),
                _ => found.push(place),
            }
            ControlFlow::Continue(())
        });
        found.sort_unstable_by_key(|place| place.start);
        let mut places: Vec<Range<usize>> = Vec::new();
        for place in found {
            match places.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => places.push(place),
            }
        }
        places
    }

    /// Every place, window by window: a decoded window and the way back from it are bounded, whatever the text is long.
    fn each(&self, text: &[u8], found: &mut dyn FnMut(Range<usize>) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some(search) = &self.search else { return ControlFlow::Continue(()) };
        let step = search.reach * (WINDOW_OVERLAPS - 1);
        for start in (0..text.len().max(1)).step_by(step) {
            let window = &text[start..text.len().min(start + step + search.reach)];
            search.look(window, DECODINGS_MAX, &mut |place| found(place.start + start..place.end + start))?;
        }
        ControlFlow::Continue(())
    }
}

impl Search {
    fn look(
        &self,
        text: &[u8],
        decodings: usize,
        found: &mut dyn FnMut(Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut from = 0;
        while let Some(hit) = self.starts.find(Input::new(text).range(from..)) {
            let rest = &text[hit.start()..];
            let spelling = self.spellings[hit.pattern().as_usize()].iter().find(|spelling| rest.starts_with(spelling));
            if let Some(spelling) = spelling {
                found(hit.start()..hit.start() + spelling.len())?;
            }
            // The next may begin inside this one.
            from = hit.start() + 1;
        }
        if decodings == 0 {
            return ControlFlow::Continue(());
        }
        for decoder in Decoder::ALL {
            if let Some(view) = View::of(text, decoder) {
                self.look(&view.bytes, decodings - 1, &mut |place| found(view.source(&place)))?;
            }
        }
        ControlFlow::Continue(())
    }
}
