//! Arguments without their values: keys, types, lengths and a keyed hash of each leaf (A6).
//!
//! A leaf's hash is HMAC-SHA256 cut to 128 bits (RFC 2104 §5) over its type, a NUL and its text, whatever the key it
//! stands under: so `audit hash VALUE` can tell whether a value was sent, and only who holds the key can try values.
#![forbid(unsafe_code)]

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use sha2::Sha256;

use crate::bounds::{AUDIT_ARGUMENT_LEAVES_MAX, AUDIT_LIST_ITEMS_MAX};
use crate::wire::json::Value;

/// Holds the HMAC key, keyed once; the key itself is not kept.
#[derive(Clone)]
pub struct Redactor {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// A redactor with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keyed: Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length") }
    }

    /// The arguments as a record shows them.
    #[must_use]
    pub const fn redact<'a>(&'a self, arguments: &'a Value<'a>) -> Args<'a> {
        Args { redactor: self, arguments }
    }

    /// The keyed hash of a leaf, 32 hex digits; `kind` is the JSON type.
    #[must_use]
    pub fn hash(&self, kind: &str, text: &str) -> String {
        let mut mac = self.keyed.clone();
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        super::chain::hex(&mac.finalize().into_bytes()[..16])
    }
}

/// Arguments, redacted as they are written: nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    redactor: &'a Redactor,
    arguments: &'a Value<'a>,
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keys = match self.arguments {
            Value::Object(members) => members.as_slice(),
            _ => &[],
        };
        let leaves = count(self.arguments);
        let omitted = leaves.saturating_sub(AUDIT_ARGUMENT_LEAVES_MAX);
        let keys_omitted = keys.len().saturating_sub(AUDIT_LIST_ITEMS_MAX);

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("keys", &Keys(keys))?;
        map.serialize_entry("hmac", &Leaves(*self))?;
        if keys_omitted > 0 {
            map.serialize_entry("keys_omitted", &keys_omitted)?;
        }
        if omitted > 0 {
            map.serialize_entry("leaves_omitted", &omitted)?;
        }
        map.end()
    }
}

struct Keys<'a>(&'a [(std::borrow::Cow<'a, str>, Value<'a>)]);

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (key, _) in self.0.iter().take(AUDIT_LIST_ITEMS_MAX) {
            list.serialize_element(key)?;
        }
        list.end()
    }
}

struct Leaves<'a>(Args<'a>);

impl Serialize for Leaves<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut path = String::new();
        let mut left = AUDIT_ARGUMENT_LEAVES_MAX;
        walk(self.0.arguments, &mut path, &mut left, &mut |path, value| {
            let (kind, text) = leaf(value);
            list.serialize_element(&Leaf {
                path,
                r#type: kind,
                bytes: text.len(),
                hmac: self.0.redactor.hash(kind, text),
            })
        })?;
        list.end()
    }
}

#[derive(Serialize)]
struct Leaf<'a> {
    /// JSON pointer (RFC 6901).
    path: &'a str,
    r#type: &'static str,
    /// UTF-8 length of a string, or of the text of another leaf.
    bytes: usize,
    hmac: String,
}

/// Type and text of a leaf. Empty containers are leaves: they were sent too.
fn leaf<'v>(value: &'v Value<'_>) -> (&'static str, &'v str) {
    match value {
        Value::Null => ("null", "null"),
        Value::Bool(true) => ("boolean", "true"),
        Value::Bool(false) => ("boolean", "false"),
        Value::Number(number) => ("number", number.text()),
        Value::String(text) => ("string", text),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn count(value: &Value<'_>) -> usize {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(count).sum(),
        Value::Object(members) if !members.is_empty() => members.iter().map(|(_, value)| count(value)).sum(),
        _ => 1,
    }
}

fn walk<E>(
    value: &Value<'_>,
    path: &mut String,
    left: &mut usize,
    each: &mut impl FnMut(&str, &Value<'_>) -> Result<(), E>,
) -> Result<(), E> {
    use std::fmt::Write as _;
    if *left == 0 {
        return Ok(());
    }
    let length = path.len();
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                write!(path, "/{index}").expect("a String takes every write");
                walk(item, path, left, each)?;
                path.truncate(length);
            }
        }
        Value::Object(members) if !members.is_empty() => {
            for (key, item) in members {
                path.push('/');
                for character in key.chars() {
                    match character {
                        '~' => path.push_str("~0"),
                        '/' => path.push_str("~1"),
                        other => path.push(other),
                    }
                }
                walk(item, path, left, each)?;
                path.truncate(length);
            }
        }
        leaf => {
            *left -= 1;
            each(path, leaf)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(value: &str) -> Value<'_> {
        Value::String(Cow::Borrowed(value))
    }

    fn render(value: &Value<'_>) -> serde_json::Value {
        serde_json::to_value(Redactor::new(&[7; 32]).redact(value)).unwrap()
    }

    #[test]
    fn shows_keys_types_and_lengths_but_no_value() {
        let value = Value::Object(vec![
            (Cow::Borrowed("prompt"), text("hunter2-secret")),
            (Cow::Borrowed("a/b~c"), Value::Array(vec![Value::Bool(true), Value::Null, Value::Array(vec![])])),
        ]);
        let shown = render(&value);
        assert_eq!(shown["keys"], serde_json::json!(["prompt", "a/b~c"]));
        let leaves = shown["hmac"].as_array().unwrap();
        assert_eq!(leaves.len(), 4);
        assert_eq!(leaves[0]["path"], "/prompt");
        assert_eq!(leaves[0]["type"], "string");
        assert_eq!(leaves[0]["bytes"], 14);
        assert_eq!(leaves[0]["hmac"].as_str().unwrap(), Redactor::new(&[7; 32]).hash("string", "hunter2-secret"));
        assert_eq!(leaves[1]["path"], "/a~1b~0c/0");
        assert_eq!(leaves[3]["type"], "array");
        assert!(!shown.to_string().contains("hunter2"));
    }

    #[test]
    fn the_hash_is_keyed_and_typed_and_known() {
        let one = Redactor::new(&[7; 32]);
        assert_ne!(one.hash("string", "x"), Redactor::new(&[8; 32]).hash("string", "x"));
        assert_ne!(one.hash("string", "1"), one.hash("number", "1"));
        // python3: hmac.new(b'\x07'*32, b'string\0x', 'sha256').hexdigest()[:32]
        assert_eq!(one.hash("string", "x"), "4fa32109cc0785a784d7298332e75dbf");
    }

    #[test]
    fn one_leaf_over_the_bound_is_counted() {
        let at = Value::Array(vec![Value::Null; AUDIT_ARGUMENT_LEAVES_MAX]);
        assert_eq!(render(&at)["hmac"].as_array().unwrap().len(), AUDIT_ARGUMENT_LEAVES_MAX);
        assert!(render(&at).get("leaves_omitted").is_none());
        let over = Value::Array(vec![Value::Null; AUDIT_ARGUMENT_LEAVES_MAX + 1]);
        assert_eq!(render(&over)["hmac"].as_array().unwrap().len(), AUDIT_ARGUMENT_LEAVES_MAX);
        assert_eq!(render(&over)["leaves_omitted"], 1);
    }

    #[test]
    fn one_key_over_the_bound_is_counted() {
        let members = (0..=AUDIT_LIST_ITEMS_MAX).map(|n| (Cow::Owned(format!("k{n}")), Value::Null)).collect();
        let shown = render(&Value::Object(members));
        assert_eq!(shown["keys"].as_array().unwrap().len(), AUDIT_LIST_ITEMS_MAX);
        assert_eq!(shown["keys_omitted"], 1);
    }
}
