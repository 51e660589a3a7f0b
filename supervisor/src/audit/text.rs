//! How strings stand in a record: cut to a length, and with nothing in them that moves a terminal or hides text.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::wire::secrets::Secrets;

/// A compact JSON formatter that cuts each string after `limit` bytes as written and escapes what a reader's screen
/// would obey. A cut string ends in `…[+N bytes cut]`. One that hides secrets takes each string whole first, so that
/// nothing is cut or escaped before it is searched.
#[derive(Debug)]
pub(super) struct Bounded {
    limit: usize,
    written: usize,
    dropped: usize,
    /// Strings cut so far.
    pub(super) cuts: u64,
    hidden: Option<Hidden>,
}

/// What is known of the string that is being written.
#[derive(Debug)]
struct Hidden {
    secrets: Secrets,
    is_key: bool,
    /// The last key.
    key: String,
    /// The value so far.
    value: String,
}

/// Members whose values are words of the format: readers go by them, and no peer chooses them.
const FIXED: [&str; 8] = ["type", "severity", "effect", "session", "dir", "kind", "op", "code"];

impl Bounded {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, written: 0, dropped: 0, cuts: 0, hidden: None }
    }

    /// One that blanks `secrets` in every string that is not a key.
    pub(super) fn hiding(limit: usize, secrets: Secrets) -> Self {
        let hidden = Hidden { secrets, is_key: false, key: String::new(), value: String::new() };
        Self { hidden: Some(hidden), ..Self::new(limit) }
    }

    /// The string that is collected, where it is: a key for its name, a value for its search.
    fn collects(&mut self) -> Option<&mut String> {
        self.hidden.as_mut().filter(|hidden| !hidden.is_key).map(|hidden| &mut hidden.value)
    }

    /// Writes the collected value without the secrets, quotes included.
    fn write_searched<W: ?Sized + Write>(&mut self, writer: &mut W) -> Option<io::Result<()>> {
        let hidden = self.hidden.as_mut().filter(|hidden| !hidden.is_key)?;
        let value = std::mem::take(&mut hidden.value);
        let searched = match FIXED.contains(&hidden.key.as_str()) {
            true => value,
            false => hidden.secrets.starred(&value).0.into_owned(),
        };
        let mut plain = Self::new(self.limit);
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, &mut plain);
        let written = serde::Serializer::serialize_str(&mut serializer, &searched);
        self.cuts += plain.cuts;
        Some(written.map_err(io::Error::from).and_then(|()| writer.write_all(&out)))
    }

    /// Whether `bytes` more fit into the string that is being written; once something was dropped, nothing does.
    const fn fits(&self, bytes: usize) -> bool {
        self.dropped == 0 && self.written + bytes <= self.limit
    }

    fn escape<W: ?Sized + Write>(&mut self, writer: &mut W, character: char) -> io::Result<()> {
        let mut units = [0; 2];
        let units = character.encode_utf16(&mut units);
        if self.fits(units.len() * 6) {
            self.written += units.len() * 6;
            units.iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
        } else {
            self.dropped += character.len_utf8();
            Ok(())
        }
    }

    fn plain<W: ?Sized + Write>(&mut self, writer: &mut W, run: &str) -> io::Result<()> {
        let room = if self.dropped == 0 { self.limit - self.written } else { 0 };
        let mut kept = room.min(run.len());
        while !run.is_char_boundary(kept) {
            kept -= 1;
        }
        self.written += kept;
        self.dropped += run.len() - kept;
        writer.write_all(&run.as_bytes()[..kept])
    }
}

impl Formatter for &mut Bounded {
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if let Some(hidden) = &mut self.hidden {
            hidden.is_key = true;
            hidden.key.clear();
        }
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        if let Some(hidden) = &mut self.hidden {
            hidden.is_key = false;
        }
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.written = 0;
        self.dropped = 0;
        if self.collects().is_some() { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if let Some(written) = self.write_searched(writer) {
            return written;
        }
        if self.dropped > 0 {
            self.cuts += 1;
            write!(writer, "…[+{} bytes cut]", self.dropped)?;
        }
        writer.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if let Some(value) = self.collects() {
            value.push_str(fragment);
            return Ok(());
        }
        if let Some(hidden) = &mut self.hidden {
            hidden.key.push_str(fragment);
        }
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return self.plain(writer, fragment);
        }
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|&(_, character)| is_unsafe_to_show(character)) {
            self.plain(writer, &rest[..at])?;
            self.escape(writer, character)?;
            rest = &rest[at + character.len_utf8()..];
        }
        self.plain(writer, rest)
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if let Some(value) = self.collects() {
            value.push(unescaped(&escape));
            return Ok(());
        }
        let bytes = if matches!(escape, CharEscape::AsciiControl(_)) { 6 } else { 2 };
        if self.fits(bytes) {
            self.written += bytes;
            CompactFormatter.write_char_escape(writer, escape)
        } else {
            self.dropped += 1;
            Ok(())
        }
    }
}

const fn unescaped(escape: &CharEscape) -> char {
    match escape {
        CharEscape::Quote => '"',
        CharEscape::ReverseSolidus => '\\',
        CharEscape::Solidus => '/',
        CharEscape::Backspace => '\u{8}',
        CharEscape::FormFeed => '\u{c}',
        CharEscape::LineFeed => '\n',
        CharEscape::CarriageReturn => '\r',
        CharEscape::Tab => '\t',
        CharEscape::AsciiControl(byte) => *byte as char,
    }
}

/// The text with everything that a terminal would obey spelled out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe_to_show(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Controls (C0, DEL, C1), line and paragraph separators, and the invisible: bidirectional controls (UAX #9), zero-width
/// and other format characters, variation selectors, tags, the Hangul fillers and what is not a character.
pub(crate) const fn is_unsafe_to_show(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{fffe}'..='\u{ffff}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    fn render(text: &str, limit: usize) -> (String, u64) {
        let mut bounded = Bounded::new(limit);
        let mut out = Vec::new();
        text.serialize(&mut serde_json::Serializer::with_formatter(&mut out, &mut bounded)).unwrap();
        (String::from_utf8(out).unwrap(), bounded.cuts)
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_reads_back() {
        let text = "a\u{1b}[2J\u{9b}1m\u{202e}b\u{7f}\u{e0041}\n\"é漢";
        let (shown, cuts) = render(text, 1000);
        assert_eq!(shown, r#""a\u001b[2J\u009b1m\u202eb\u007f\udb40\udc41\n\"é漢""#);
        assert_eq!(cuts, 0);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    #[test]
    fn visible_text_has_no_control_left() {
        assert_eq!(visible("a\u{1b}[2Jé\u{202e}\n"), "a\\u{1b}[2Jé\\u{202e}\\u{a}");
    }

    #[test]
    fn values_are_searched_whole_before_they_are_cut_and_keys_and_fixed_words_stand() {
        let secrets = Secrets::new([&b"mcp.resp\"\n"[..]]).unwrap();
        let mut bounded = Bounded::hiding(12, secrets);
        let mut out = Vec::new();
        let record = serde_json::json!({
            "mcp.resp\"\n": "key", "type": "mcp.resp\"\n", "text": "a mcp.resp\"\n b", "list": ["12345678mcp.resp\"\n", 1]
        });
        record.serialize(&mut serde_json::Serializer::with_formatter(&mut out, &mut bounded)).unwrap();
        let expected = serde_json::json!({
            "mcp.resp\"\n": "key", "type": "mcp.resp\"\n", "text": "a **********…[+2 bytes cut]", "list": ["12345678****…[+6 bytes cut]", 1]
        });
        assert_eq!(String::from_utf8(out).unwrap(), expected.to_string());
        assert_eq!(bounded.cuts, 2);
    }

    #[test]
    fn a_string_of_the_limit_stands_and_one_over_is_cut() {
        assert_eq!(render("abcd", 4), ("\"abcd\"".into(), 0));
        assert_eq!(render("abcde", 4), ("\"abcd…[+1 bytes cut]\"".into(), 1));
        assert_eq!(render("abcé", 4), ("\"abc…[+2 bytes cut]\"".into(), 1));
    }

    #[test]
    fn an_escape_stands_whole_or_not_at_all_and_nothing_follows_a_cut() {
        assert_eq!(render("ab\nc", 3), ("\"ab…[+2 bytes cut]\"".into(), 1));
        assert_eq!(render("a\u{202e}b", 6), ("\"a…[+4 bytes cut]\"".into(), 1));
    }
}
