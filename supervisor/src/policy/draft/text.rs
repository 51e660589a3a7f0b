//! Text from a server inside a policy: quoted so that it stays one scalar, or remarked so that it stays one comment.

use std::fmt::Write as _;

use crate::bounds::DRAFT_REMARK_CHARS_MAX;
use crate::weaken::in_force;

/// A double-quoted YAML scalar (YAML 1.2.2, 5.7) in printable ASCII: nothing in it can end it, and a reader sees what is hidden.
pub(super) fn quoted(text: &str) -> String {
    if !in_force("draft-quotes") {
        return format!("\"{text}\"");
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let code = u32::from(c);
        // Writing to a String cannot fail.
        let _ = match (c, code) {
            ('"' | '\\', _) => write!(out, "\\{c}"),
            (' '..='~', _) => write!(out, "{c}"),
            (_, 0..=0xff) => write!(out, "\\x{code:02x}"),
            (_, 0..=0xffff) => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

/// Text for the rest of a comment line: cut, and every character that is no ASCII and no letter or digit as an escape.
pub(super) fn remark(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == DRAFT_REMARK_CHARS_MAX {
            out.push_str(" ...");
            break;
        }
        // Writing to a String cannot fail.
        let _ = match c {
            ' '..='~' => write!(out, "{c}"),
            c if c.is_alphanumeric() => write!(out, "{c}"),
            c => write!(out, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    out
}
