//! A tool's definition as it is pinned: canonical JSON of what a client's model reads and what a call is checked against.
//!
//! What is not among [`PINNED`], such as `_meta` and `icons`, may change without a word. Two definitions have the same hash
//! only if they are equal but for the order of keys; numbers are their text.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::json::{self, Value};
use crate::bounds::{PIN_BYTES_MAX, TOOL_NAME_BYTES_MAX};

/// The members of a tool that are pinned, sorted.
pub const PINNED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];

/// What a tool said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// SHA-256 of its canonical JSON.
    pub sha256: [u8; 32],
    /// Its canonical JSON; none over [`PIN_BYTES_MAX`], where the hash alone is kept.
    pub text: Option<Vec<u8>>,
}

impl Definition {
    /// The definition in an entry of tools/list.
    #[must_use]
    pub fn of(entry: &Value<'_>) -> Self {
        let mut text = Vec::new();
        object(PINNED.iter().filter_map(|key| Some((*key, entry.member(key)?))), &mut text);
        let sha256 = Sha256::digest(&text).into();
        Self { sha256, text: (text.len() <= PIN_BYTES_MAX).then_some(text) }
    }
}

/// A definition under the name of its tool: one line of a lock file, one file of the first-use pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The tool's name.
    pub tool: String,
    /// Its definition.
    pub definition: Definition,
}

/// Why a line is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not JSON as strict as a message, or no object.
    #[error("it is not one JSON object")]
    Json,
    /// A key that a pin has not.
    #[error("a pin has \"tool\", \"sha256\" and \"definition\", nothing else")]
    Key,
    /// `tool` is missing, empty or over [`TOOL_NAME_BYTES_MAX`].
    #[error("\"tool\" is no short name")]
    Tool,
    /// `sha256` is not 64 hex digits in lower case.
    #[error("\"sha256\" is not 64 lower-case hex digits")]
    Hash,
    /// `definition` is another one than `sha256` says.
    #[error("\"definition\" has another hash than \"sha256\", or another \"name\" than \"tool\"")]
    Definition,
}

impl Pin {
    /// One line without its end: JSON with `tool`, `sha256` and, unless only the hash is kept, `definition`.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"{\"tool\":".to_vec();
        json::write_string(&self.tool, &mut line);
        line.extend_from_slice(format!(",\"sha256\":\"{}\"", hex(&self.definition.sha256)).as_bytes());
        if let Some(text) = &self.definition.text {
            line.extend_from_slice(b",\"definition\":");
            line.extend_from_slice(text);
        }
        line.push(b'}');
        line
    }

    /// Reads what [`Pin::line`] wrote, or a person by hand.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(line: &[u8]) -> Result<Self, PinError> {
        let value = json::parse(line).map_err(|_| PinError::Json)?;
        let members = value.as_object().ok_or(PinError::Json)?;
        if members.iter().any(|(key, _)| !matches!(&**key, "tool" | "sha256" | "definition")) {
            return Err(PinError::Key);
        }
        let tool = value.member("tool").and_then(Value::as_str).filter(|name| is_name(name)).ok_or(PinError::Tool)?;
        let sha256 = value.member("sha256").and_then(Value::as_str).and_then(unhex).ok_or(PinError::Hash)?;
        let definition = match value.member("definition") {
            None => Definition { sha256, text: None },
            Some(entry) => {
                let is_known = |key: &str| PINNED.contains(&key);
                let keys = entry.as_object().ok_or(PinError::Definition)?;
                let definition = Definition::of(entry);
                let named = entry.member("name").and_then(Value::as_str) == Some(tool);
                if definition.sha256 != sha256 || !named || !keys.iter().all(|(key, _)| is_known(key)) {
                    return Err(PinError::Definition);
                }
                definition
            }
        };
        Ok(Self { tool: tool.to_owned(), definition })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

/// 64 lower-case hex digits.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// What a tool's first-use pin is filed under: no character of a server's in a file name.
#[must_use]
pub fn key(tool: &str) -> [u8; 32] {
    digest(tool.as_bytes())
}

/// SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Appends `value` with the keys of every object sorted; the parser bounds its depth.
fn canonical(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().map(|(key, value)| (&**key, value)).collect();
            sorted.sort_unstable_by_key(|(key, _)| key.as_bytes());
            object(sorted.into_iter(), out);
        }
        leaf => json::write(leaf, out),
    }
}

fn object<'v>(members: impl Iterator<Item = (&'v str, &'v Value<'v>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_string(key, out);
        out.push(b':');
        canonical(value, out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Definition {
        Definition::of(&json::parse(text.as_bytes()).unwrap())
    }

    fn pin(text: &str) -> Pin {
        let value = json::parse(text.as_bytes()).unwrap();
        let tool = value.member("name").and_then(Value::as_str).unwrap().to_owned();
        Pin { tool, definition: Definition::of(&value) }
    }

    #[test]
    fn a_definition_is_its_six_members_in_order() {
        let text = r#"{"name":"t","inputSchema":{"type":"object","properties":{"b":{},"a":{"x":1.0,"e":[2,1]}}},"_meta":{"n":1},"icons":[]}"#;
        let definition = of(text);
        let canonical = r#"{"inputSchema":{"properties":{"a":{"e":[2,1],"x":1.0},"b":{}},"type":"object"},"name":"t"}"#;
        assert_eq!(definition.text.as_deref(), Some(canonical.as_bytes()));
        assert_eq!(of(canonical), definition, "what is kept has the hash that it had");
        // printf '%s' '{"name":"t"}' | sha256sum
        assert_eq!(
            hex(&of(r#"{"name":"t"}"#).sha256),
            "3647a67649228b62fe3d139c47f7a3c673c31ce57da824082b6654fc0b15751f"
        );
    }

    #[test]
    fn every_pinned_member_counts_and_no_other() {
        let plain = of(r#"{"name":"t"}"#);
        for key in PINNED.iter().filter(|key| **key != "name") {
            assert_ne!(of(&format!(r#"{{"name":"t","{key}":{{}}}}"#)), plain, "{key}");
            assert_ne!(of(&format!(r#"{{"name":"t","{key}":null}}"#)), plain, "{key}: null");
        }
        assert_ne!(of(r#"{"name":"u"}"#), plain);
        assert_eq!(of(r#"{"_meta":{},"x":1,"name":"t"}"#), plain);
        assert_ne!(of(r#"{"name":"t","inputSchema":{"a":[1,2]}}"#), of(r#"{"name":"t","inputSchema":{"a":[2,1]}}"#));
    }

    #[test]
    fn a_pin_reads_as_it_was_written() {
        for one in [pin(r#"{"name":"t","description":"a\n\u202e\u2028\"b"}"#), pin(r#"{"name":"\u00e9 \n"}"#)] {
            let line = one.line();
            assert!(!line.contains(&b'\n'));
            assert_eq!(Pin::read(&line), Ok(one.clone()));
            let bare = Pin { definition: Definition { text: None, ..one.definition.clone() }, ..one };
            assert_eq!(Pin::read(&bare.line()), Ok(bare));
        }
    }

    #[test]
    fn a_definition_over_the_bound_keeps_its_hash_alone() {
        let of_length = |length: usize| of(&format!(r#"{{"name":"t","description":"{}"}}"#, "x".repeat(length)));
        let frame = of_length(0).text.unwrap().len();
        assert!(of_length(PIN_BYTES_MAX - frame).text.is_some());
        let (over, other) = (of_length(PIN_BYTES_MAX - frame + 1), of_length(PIN_BYTES_MAX - frame + 2));
        assert!(over.text.is_none() && other.text.is_none());
        assert_ne!(over, other);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let sha256 = hex(&of(r#"{"name":"t"}"#).sha256);
        let good = format!(r#"{{"tool":"t","sha256":"{sha256}","definition":{{"name":"t"}}}}"#);
        assert!(Pin::read(good.as_bytes()).is_ok());
        for (text, error) in [
            (String::new(), PinError::Json),
            ("[]".to_owned(), PinError::Json),
            (good.replace("\"tool\":\"t\"", "\"tool\":\"t\",\"tool\":\"u\""), PinError::Json),
            (good.replace("\"tool\":\"t\"", "\"tool\":\"t\",\"x\":1"), PinError::Key),
            (good.replace("\"tool\":\"t\"", "\"tool\":\"\""), PinError::Tool),
            (good.replace("\"tool\":\"t\"", "\"tool\":\"u\""), PinError::Definition),
            (good.replace(&sha256, &sha256.to_uppercase()), PinError::Hash),
            (good.replace(&sha256, &sha256[1..]), PinError::Hash),
            (good.replace(&sha256, &"0".repeat(64)), PinError::Definition),
            (good.replace(r#"{"name":"t"}"#, r#"{"name":"t","_meta":{}}"#), PinError::Definition),
            (good.replace(r#"{"name":"t"}"#, "null"), PinError::Definition),
        ] {
            assert_eq!(Pin::read(text.as_bytes()), Err(error), "{text}");
        }
    }
}
