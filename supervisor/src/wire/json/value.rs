//! The judged value. What is forwarded is written from it.

use std::borrow::Cow;

use crate::bounds::JSON_INTEGER_MAX;

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
    pub(super) fn new(text: Cow<'a, str>) -> Self {
        Self { text }
    }

    /// The number as the line had it, JSON grammar.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number `integer`; none beyond 2^53-1 in magnitude.
    #[must_use]
    pub fn integer(integer: i64) -> Option<Self> {
        (integer.unsigned_abs() <= JSON_INTEGER_MAX).then(|| Self { text: Cow::Owned(integer.to_string()) })
    }

    /// The number as an integer, when it is written as one (no point, no exponent).
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        self.text.parse().ok()
    }

    /// The same number, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Number<'static> {
        Number { text: Cow::Owned(self.text.into_owned()) }
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

    /// The members of an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Value<'a>)]> {
        match self {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The member `key` of an object, to change.
    #[must_use]
    pub fn member_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        match self {
            Value::Object(members) => members.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same value, owning its strings.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(truth) => Value::Bool(truth),
            Value::Number(number) => Value::Number(number.into_owned()),
            Value::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Value::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Value::Object(members) => Value::Object(
                members.into_iter().map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned())).collect(),
            ),
        }
    }
}
