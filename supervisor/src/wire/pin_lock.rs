//! `tools.lock`: every tool with the definition that somebody has reviewed. JSON lines, so that a changed tool is a changed
//! line: the first says the format, each other one is a [`Pin`], sorted by tool.

use std::collections::BTreeMap;

use super::pin::{Definition, Pin, PinError};
use crate::bounds::{LOCK_BYTES_MAX, PINS_BYTES_MAX, PINS_MAX};

/// The first line.
const HEAD: &[u8] = b"{\"tools.lock\":1}";

/// Why a lock file cannot be used; nothing of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// It does not begin as a lock file.
    #[error("the first line is not {{\"tools.lock\":1}}")]
    Head,
    /// More than [`PINS_MAX`] tools, or larger than a lock may be.
    #[error("more than {PINS_MAX} tools or {PINS_BYTES_MAX} bytes of definitions")]
    TooMany,
    /// A line is no pin.
    #[error("line {line}: {error}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: PinError,
    },
    /// Two lines are of one tool.
    #[error("line {line}: its tool has a line already")]
    Twice {
        /// From 1.
        line: usize,
    },
}

/// Reads a lock file; an empty line, such as the last, is none.
///
/// # Errors
/// [`LockError`].
pub fn read(text: &[u8]) -> Result<BTreeMap<String, Definition>, LockError> {
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if text.len() as u64 > LOCK_BYTES_MAX {
        return Err(LockError::TooMany);
    }
    if lines.next() != Some(HEAD) {
        return Err(LockError::Head);
    }
    let mut pins = BTreeMap::new();
    let mut bytes = 0;
    for (line, text) in (2..).zip(lines).filter(|(_, text)| !text.is_empty()) {
        let Pin { tool, definition } = Pin::read(text).map_err(|error| LockError::Line { line, error })?;
        bytes += definition.text.as_ref().map_or(0, Vec::len);
        if pins.insert(tool, definition).is_some() {
            return Err(LockError::Twice { line });
        }
        if pins.len() > PINS_MAX || bytes > PINS_BYTES_MAX {
            return Err(LockError::TooMany);
        }
    }
    Ok(pins)
}

/// Writes a lock file.
#[must_use]
pub fn write(pins: &BTreeMap<String, Definition>) -> Vec<u8> {
    let mut text = HEAD.to_vec();
    text.push(b'\n');
    for (tool, definition) in pins {
        text.extend(Pin { tool: tool.clone(), definition: definition.clone() }.line());
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    fn pins(names: &[&str]) -> BTreeMap<String, Definition> {
        let of = |name: &&str| {
            let text = format!("{{\"name\":\"{name}\"}}");
            ((*name).to_owned(), Definition::of(&json::parse(text.as_bytes()).unwrap()))
        };
        names.iter().map(of).collect()
    }

    #[test]
    fn a_lock_reads_as_it_was_written() {
        let pins = pins(&["b", "a"]);
        let text = write(&pins);
        assert_eq!(read(&text), Ok(pins));
        assert_eq!(read(&write(&BTreeMap::new())), Ok(BTreeMap::new()));
        let crlf = String::from_utf8(text).unwrap().replace('\n', "\r\n");
        assert_eq!(read(crlf.as_bytes()).unwrap().len(), 2, "an editor's line ends");
    }

    #[test]
    fn one_wrong_line_and_nothing_is_taken() {
        let text = String::from_utf8(write(&pins(&["a", "b"]))).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(read(b""), Err(LockError::Head));
        assert_eq!(read(text.replace(":1}\n", ":2}\n").as_bytes()), Err(LockError::Head));
        assert_eq!(read(format!("{text}{last}\n").as_bytes()), Err(LockError::Twice { line: 4 }));
        assert_eq!(read(format!("{text}# mine\n").as_bytes()), Err(LockError::Line { line: 4, error: PinError::Json }));
        let other = text.replacen("\"tool\":\"a\"", "\"tool\":\"c\"", 1);
        assert_eq!(read(other.as_bytes()), Err(LockError::Line { line: 2, error: PinError::Definition }));
    }

    #[test]
    fn a_lock_holds_the_bound_and_not_one_more() {
        let line = |n: usize| format!("{{\"tool\":\"t{n}\",\"sha256\":\"{}\"}}\n", "0".repeat(64));
        let mut text = "{\"tools.lock\":1}\n".to_owned();
        text.extend((0..PINS_MAX).map(line));
        assert_eq!(read(text.as_bytes()).unwrap().len(), PINS_MAX);
        text.push_str(&line(PINS_MAX));
        assert_eq!(read(text.as_bytes()), Err(LockError::TooMany));
    }
}
