//! What a record tells of a call's arguments.

use std::borrow::Cow;

use crate::policy::condition::Step;
use crate::wire::json::Value;

/// The arguments of a recorded call, without their values.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The top-level keys.
    pub keys: Vec<String>,
    /// Whether these are all of them, whole.
    pub all_keys: bool,
    /// The leaves.
    pub leaves: Vec<Leaf>,
    /// Whether these are all of them, whole.
    pub all_leaves: bool,
}

/// One leaf: a scalar, or an empty array or object.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// JSON type.
    pub kind: String,
    /// Length of its text, bytes.
    pub bytes: u64,
    /// Keyed hash of its type and text.
    pub hmac: String,
}

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Found<'s> {
    /// Nothing, for certain.
    Absent,
    /// This, for certain: type and length leave nothing else.
    Known(Value<'static>),
    /// A scalar of this type and length.
    Leaf(&'s Leaf),
    /// An array or object that is not empty; the log does not tell which.
    Container,
    /// The log does not say.
    Unknown,
}

impl Shape {
    /// Whether the argument is there and not null; none where the log does not say.
    pub(super) fn is_given(&self, name: &str) -> Option<bool> {
        match self.find(&[Step::Key(name.to_owned())]) {
            Found::Absent | Found::Known(Value::Null) => Some(false),
            Found::Known(_) | Found::Leaf(_) | Found::Container => Some(true),
            Found::Unknown => None,
        }
    }

    /// What stands at a path below `args`.
    pub(super) fn find(&self, steps: &[Step]) -> Found<'_> {
        let mut pointer = String::new();
        for (depth, step) in steps.iter().enumerate() {
            let Step::Key(key) = step else { return Found::Unknown };
            if depth == 0 && !self.keys.contains(key) {
                return if self.all_keys { Found::Absent } else { Found::Unknown };
            }
            // `/a/0` can be an element of an array, which no key names, or a member called "0".
            if depth > 0 && key.bytes().all(|byte| byte.is_ascii_digit()) && self.has_below(&pointer) {
                return Found::Unknown;
            }
            if depth > 0 && self.leaf(&pointer).is_some() {
                return Found::Absent; // a scalar or an empty container has no members
            }
            pointer.push('/');
            pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            if self.leaf(&pointer).is_none() && !self.has_below(&pointer) {
                // A top-level key always has a leaf, so one that has none was cut off.
                return if depth > 0 && self.all_leaves { Found::Absent } else { Found::Unknown };
            }
        }
        match self.leaf(&pointer) {
            Some(leaf) => leaf.known().map_or(Found::Leaf(leaf), Found::Known),
            None => Found::Container,
        }
    }

    fn leaf(&self, pointer: &str) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.pointer == pointer)
    }

    fn has_below(&self, pointer: &str) -> bool {
        let below = |leaf: &Leaf| leaf.pointer.strip_prefix(pointer).is_some_and(|rest| rest.starts_with('/'));
        self.leaves.iter().any(below)
    }
}

impl Leaf {
    /// The value, where type and length leave only one.
    fn known(&self) -> Option<Value<'static>> {
        match (self.kind.as_str(), self.bytes) {
            ("null", _) => Some(Value::Null),
            ("boolean", 4) => Some(Value::Bool(true)),
            ("boolean", 5) => Some(Value::Bool(false)),
            ("string", 0) => Some(Value::String(Cow::Borrowed(""))),
            ("array", _) => Some(Value::Array(Vec::new())),
            ("object", _) => Some(Value::Object(Vec::new())),
            _ => None,
        }
    }
}
