//! Text from elsewhere, made safe to show on a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character hides or reorders what a reader sees: controls (tab and line feed are not), the bidirectional
/// controls of UAX #9, the invisible line separators and the byte-order mark.
#[must_use]
pub const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` with every deceptive character, tab and line feed written as an escape.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| is_deceptive(c) || matches!(c, '\t' | '\n');
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c)); // writing to a String cannot fail
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey_or_hide() {
        assert_eq!(printable("plain é 日本"), "plain é 日本");
        assert_eq!(printable("a\x1b[31mb\r\n\u{202e}c\u{9b}"), "a\\u{1b}[31mb\\r\\n\\u{202e}c\\u{9b}");
    }
}
