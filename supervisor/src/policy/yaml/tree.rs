//! The tree.

/// Where something stands: line and column from 1, width in characters, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Span {
    pub(in crate::policy) line: u32,
    pub(in crate::policy) column: u32,
    pub(in crate::policy) width: u32,
}

/// One value and its place.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Node {
    pub(in crate::policy) kind: Kind,
    pub(in crate::policy) span: Span,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar, uninterpreted.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Scalar {
    /// The text after YAML escapes.
    pub(in crate::policy) text: String,
    /// Unquoted: only then can it be anything but a string.
    pub(in crate::policy) plain: bool,
}

/// One entry of a mapping. Keys are unique.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Entry {
    pub(in crate::policy) key: String,
    pub(in crate::policy) key_span: Span,
    pub(in crate::policy) value: Node,
}

impl Node {
    /// Whether it is an unquoted null or nothing at all.
    pub(in crate::policy) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if matches!(super::meaning(scalar), super::Meaning::Null))
    }

    /// What it is, in words.
    pub(in crate::policy) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar(scalar) => match super::meaning(scalar) {
                super::Meaning::Null => "nothing (null)",
                super::Meaning::Bool(_) => "a boolean",
                super::Meaning::Number => "a number",
                super::Meaning::Ambiguous(_) => "an ambiguous number",
                super::Meaning::Text | super::Meaning::BooleanLookingText => "a string",
            },
        }
    }
}
