//! What did not fit, in words: where, and what the schema wants. Never the value that was given.

use std::fmt;

use crate::report::printable;

/// Characters of one name, pattern or list of values that a message repeats.
const SHOWN_CHARS_MAX: usize = 120;
/// Alternatives of `anyOf` and `oneOf` that a message tells.
const ALTERNATIVES_MAX: usize = 4;

/// A value that does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// From the judged value down, such as `.images[2].url`; empty for the value itself.
    pub path: String,
    /// What must be: `must be a string, not a number`.
    pub want: String,
    /// Steps of the path.
    depth: usize,
}

impl Mismatch {
    pub(super) fn new(at: &Path<'_>, want: String) -> Self {
        Self { path: at.to_string(), want, depth: at.depth() }
    }

    /// Nothing of `all` fits. The alternative that fits the furthest says why; where none goes further than the value itself, they
    /// are told one after the other.
    pub(super) fn of_alternatives(at: &Path<'_>, all: Vec<Self>) -> Self {
        let here = at.depth();
        let mut wants: Vec<String> = Vec::new();
        for one in &all {
            if !wants.contains(&one.want) {
                wants.push(one.want.clone());
            }
        }
        let more = wants.len().saturating_sub(ALTERNATIVES_MAX);
        wants.truncate(ALTERNATIVES_MAX);
        if let Some(deepest) = all.into_iter().max_by_key(|one| one.depth).filter(|one| one.depth > here) {
            return deepest;
        }
        let tail = if more > 0 { format!("; or {more} more forms") } else { String::new() };
        Self::new(at, format!("{}{tail}", wants.join("; or ")))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.want)
    }
}

/// Where a check looks, on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn depth(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Key(above, _) | Self::Index(above, _) => 1 + above.depth(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(above, key) => {
                let plain = !key.is_empty() && key.len() <= SHOWN_CHARS_MAX;
                let plain =
                    plain && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                if plain { write!(f, "{above}.{key}") } else { write!(f, "{above}[{}]", quoted(key)) }
            }
            Self::Index(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// `"name"`, cut and escaped.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", clipped(name))
}

/// Cut and escaped: it comes from the server or the client.
pub(super) fn clipped(text: &str) -> String {
    let cut = text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(end, _)| &text[..end]);
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", printable(cut))
}

/// `"a", "b" and 3 more`.
pub(super) fn named<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    const NAMES_MAX: usize = 8;
    let shown: Vec<String> = names.by_ref().take(NAMES_MAX).map(quoted).collect();
    let more = names.count();
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
