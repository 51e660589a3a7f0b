//! The judged value. What is forwarded is written from it.

use std::borrow::Cow;

/// A JSON value that passed the strict parser. Object keys are unique at every depth and keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, kept as its text.
    Number(Number<'a>),
    /// A string, unescaped; borrowed where the line had no escape.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object, in the order of the line.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// A number whose text every common parser reads alike: an integer within 2^53-1, or a decimal equal to its f64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    text: Cow<'a, str>,
}

impl<'a> Number<'a> {
    /// Wraps text that the strict parser has accepted.
    pub(crate) fn new(text: Cow<'a, str>) -> Self {
        Self { text }
    }

    /// The number as the line had it, JSON grammar.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<'a> Value<'a> {
    /// The member `key` of an object.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Value<'a>> {
        match self {
            Value::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}
