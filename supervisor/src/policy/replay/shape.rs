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
    /// Nothing, for certain: the last object that the path leads to does not have its next key.
    Absent,
    /// This, for certain (type and length leave nothing else, or nothing that matters), with these steps still to go.
    Known(Value<'static>, &'s [Step]),
    /// Either nothing, or this with these steps still to go: the log does not tell an object from an array here.
    NoMember(Value<'static>, &'s [Step]),
    /// A scalar of this type and length, at the path's end.
    Leaf(&'s Leaf),
    /// An array or object that is not empty, at the path's end; the log does not tell which.
    Container,
    /// The log does not say.
    Unknown,
}

impl Shape {
    /// Whether the argument is there and not null; none where the log does not say.
    pub(super) fn is_given(&self, name: &str) -> Option<bool> {
        match self.find(&[Step::Key(name.to_owned())]) {
            Found::Absent | Found::Known(Value::Null, _) => Some(false),
            Found::Known(..) | Found::Leaf(_) | Found::Container => Some(true),
            Found::NoMember(..) | Found::Unknown => None,
        }
    }

    /// The keys of objects below the first level, and the places in arrays.
    pub(super) fn keys_below(&self) -> impl Iterator<Item = String> {
        let segments = self.leaves.iter().flat_map(|leaf| leaf.pointer.split('/').skip(2));
        segments.map(|segment| segment.replace("~1", "/").replace("~0", "~"))
    }

    /// What stands at a path below `args`.
    pub(super) fn find<'s>(&'s self, steps: &'s [Step]) -> Found<'s> {
        let mut pointer = String::new();
        for (depth, step) in steps.iter().enumerate() {
            let rest = &steps[depth..];
            if let Some(leaf) = self.leaf(&pointer).filter(|_| depth > 0) {
                // Of a scalar with steps still to go, only that it is one matters.
                return Found::Known(leaf.known().unwrap_or(Value::Bool(true)), rest);
            }
            let Step::Key(key) = step else { return self.each_item(&pointer, rest) };
            if depth == 0 && !self.keys.contains(key) {
                return if self.all_keys { Found::Absent } else { Found::Unknown };
            }
            // `/a/0` can be an element of an array, which no key names, or a member called "0".
            if depth > 0 && is_index(key) {
                return Found::Unknown;
            }
            let object = depth == 0 || self.is_object(&pointer);
            pointer.push('/');
            pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            if self.leaf(&pointer).is_none() && !self.has_below(&pointer) {
                // A top-level key always has a leaf, so one that has none was cut off.
                return match (depth > 0 && self.all_leaves, object) {
                    (false, _) => Found::Unknown,
                    (true, true) => Found::Absent,
                    (true, false) => Found::NoMember(Value::Array(Vec::new()), rest),
                };
            }
        }
        match self.leaf(&pointer) {
            Some(leaf) => leaf.known().map_or(Found::Leaf(leaf), |value| Found::Known(value, &[])),
            None => Found::Container,
        }
    }

    /// `[*]` of what stands at `pointer` and is not empty: of an object for certain, that it is none is known; of what may
    /// be an array, nothing.
    fn each_item<'s>(&'s self, pointer: &str, rest: &'s [Step]) -> Found<'s> {
        if self.is_object(pointer) { Found::Known(Value::Object(Vec::new()), rest) } else { Found::Unknown }
    }

    /// Whether what stands at `pointer`, above other leaves, is an object for certain: a key of it is no index.
    fn is_object(&self, pointer: &str) -> bool {
        let key = |leaf: &Leaf| {
            let below = leaf.pointer.strip_prefix(pointer)?.strip_prefix('/')?;
            Some(!is_index(below.split('/').next().unwrap_or(below)))
        };
        self.leaves.iter().any(|leaf| key(leaf) == Some(true))
    }

    fn leaf(&self, pointer: &str) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.pointer == pointer)
    }

    fn has_below(&self, pointer: &str) -> bool {
        let below = |leaf: &Leaf| leaf.pointer.strip_prefix(pointer).is_some_and(|rest| rest.starts_with('/'));
        self.leaves.iter().any(below)
    }
}

/// Whether a segment of a pointer can be the place of an element.
fn is_index(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
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
