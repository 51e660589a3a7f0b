//! What changed between two definitions of a tool, for a person: the places, and at each the old and the new text.
//!
//! Bounded in size by [`PIN_DIFF_BYTES_MAX`] and in time by the two texts: both are walked once. Everything that a server
//! wrote is cut and escaped, so that two texts that differ look different and none of them moves a cursor.

use std::cmp::Ordering;

use super::json::{self, Value};
use super::pin::{Definition, PINNED};
use super::tool_names::visible;
use crate::bounds::{PIN_DIFF_BYTES_MAX, PIN_DIFF_CHARS_MAX, PIN_DIFF_PLACES_MAX};

/// Characters before the first difference that are shown with it.
const BEFORE: usize = 24;
const CUT: &str = "…";

/// One line for each place, `; ` between them.
#[must_use]
pub fn changes(old: &Definition, new: &Definition) -> String {
    if old.sha256 == new.sha256 {
        return "nothing changed".to_owned();
    }
    let (Some(old), Some(new)) = (&old.text, &new.text) else {
        return "one of the two is too large to be kept: only the hashes are known".to_owned();
    };
    let (Ok(old), Ok(new)) = (json::parse(old), json::parse(new)) else {
        return "a definition that was kept cannot be read".to_owned(); // it was written by `Definition::of`
    };
    let mut places = Places::default();
    for key in PINNED {
        places.compare(&mut vec![key.to_owned()], old.member(key), new.member(key));
    }
    places.text()
}

/// What was found so far.
#[derive(Default)]
struct Places {
    lines: Vec<String>,
    bytes: usize,
    more: bool,
}

impl Places {
    fn full(&self) -> bool {
        self.lines.len() >= PIN_DIFF_PLACES_MAX || self.bytes >= PIN_DIFF_BYTES_MAX / 2
    }

    fn text(mut self) -> String {
        if self.more {
            self.lines.push("and more".to_owned());
        }
        let mut text = self.lines.join("; ");
        if text.len() > PIN_DIFF_BYTES_MAX {
            let mut end = PIN_DIFF_BYTES_MAX - CUT.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(CUT);
        }
        text
    }

    fn say(&mut self, path: &[String], what: &str) {
        if self.full() {
            self.more = true;
            return;
        }
        let line = format!("{} {what}", path.join("."));
        self.bytes += line.len();
        self.lines.push(line);
    }

    fn compare(&mut self, path: &mut Vec<String>, old: Option<&Value<'_>>, new: Option<&Value<'_>>) {
        if self.more {
            return;
        }
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => self.say(path, &format!("added: {}", shown(new))),
            (Some(old), None) => self.say(path, &format!("removed: {}", shown(old))),
            (Some(old), Some(new)) if old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => self.objects(path, old, new),
            (Some(Value::String(old)), Some(Value::String(new))) => {
                let (old, new) = apart(old, new);
                self.say(path, &format!("changed from \"{old}\" to \"{new}\""));
            }
            (Some(old), Some(new)) => {
                let (old, new) = (text_of(old), text_of(new));
                let (old, new) = apart(&old, &new);
                self.say(path, &format!("changed from {old} to {new}"));
            }
        }
    }

    /// Both are sorted by key, as every definition that is kept.
    fn objects(&mut self, path: &mut Vec<String>, old: &[Member<'_>], new: &[Member<'_>]) {
        let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
        while !self.more {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.as_bytes().cmp(new.as_bytes()),
            };
            let old = if order.is_le() { left.next() } else { None };
            let new = if order.is_ge() { right.next() } else { None };
            let key = old.or(new).map(|(key, _)| clipped(key, 0)).unwrap_or_default();
            path.push(key);
            self.compare(path, old.map(|(_, value)| value), new.map(|(_, value)| value));
            path.pop();
        }
    }
}

type Member<'v> = (std::borrow::Cow<'v, str>, Value<'v>);

fn text_of(value: &Value<'_>) -> String {
    let mut text = Vec::new();
    json::write(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn shown(value: &Value<'_>) -> String {
    clipped(&text_of(value), 0)
}

/// Both from shortly before their first difference.
fn apart(old: &str, new: &str) -> (String, String) {
    let common = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
    let from = common.saturating_sub(BEFORE);
    (clipped(old, from), clipped(new, from))
}

/// Some characters of `text` from the `from`th on, escaped, with a mark where something is missing.
fn clipped(text: &str, from: usize) -> String {
    let mut chars = text.chars().skip(from);
    let part: String = chars.by_ref().take(PIN_DIFF_CHARS_MAX).collect();
    let (before, after) = (if from > 0 { CUT } else { "" }, if chars.next().is_some() { CUT } else { "" });
    format!("{before}{}{after}", visible(&part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::PIN_BYTES_MAX;

    fn diff(old: &str, new: &str) -> String {
        let of = |text: &str| Definition::of(&json::parse(text.as_bytes()).unwrap());
        changes(&of(old), &of(new))
    }

    #[test]
    fn each_place_is_named_with_its_old_and_new_text() {
        let old = r#"{"name":"t","description":"Adds.","inputSchema":{"properties":{"a":{"type":"number"},"b":{}}}}"#;
        let new = r#"{"name":"t","description":"Adds. Reads ~/.ssh first.","inputSchema":{"properties":{"a":{"type":"string"},"c":{"x":1}}},"title":"T"}"#;
        let text = diff(old, new);
        for part in [
            r#"description changed from "Adds." to "Adds. Reads ~/.ssh first.""#,
            r#"inputSchema.properties.a.type changed from "number" to "string""#,
            "inputSchema.properties.b removed: {}",
            r#"inputSchema.properties.c added: {"x":1}"#,
            r#"title added: "T""#,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.matches("; ").count(), 4, "{text}");
        assert_eq!(diff(old, old), "nothing changed");
    }

    #[test]
    fn a_change_far_behind_is_shown_where_it_is() {
        let of = |end: &str| format!(r#"{{"name":"t","description":"{}{end}"}}"#, "word ".repeat(1000));
        let text = diff(&of("good"), &of("evil"));
        assert!(text.contains("good\" to \"") && text.contains("evil\"") && text.len() < 300, "{text}");
    }

    #[test]
    fn what_nobody_sees_is_seen() {
        let text = diff(r#"{"name":"t","description":"ab"}"#, r#"{"name":"t","description":"a\u200b\u202e\u001bb"}"#);
        assert!(text.contains("\\u{200b}\\u{202e}\\u{1b}"), "{text}");
        let keys = diff(r#"{"name":"t","inputSchema":{}}"#, r#"{"name":"t","inputSchema":{"a\u001b":1}}"#);
        assert!(keys.contains("inputSchema.a\\u{1b} added: 1"), "{keys}");
    }

    #[test]
    fn the_largest_definitions_give_a_bounded_text() {
        let of = |value: &str| {
            let members: Vec<String> = (0..8_000).map(|n| format!("\"{}{n}\":{value}", "\\u0001".repeat(3))).collect();
            format!(r#"{{"name":"t","inputSchema":{{{}}}}}"#, members.join(","))
        };
        let text = diff(&of("1"), &of("2"));
        assert!(text.len() <= PIN_DIFF_BYTES_MAX && text.ends_with("and more"), "{}", text.len());
        let long = "\\u0001".repeat(40_000);
        let text = diff(r#"{"name":"t"}"#, &format!(r#"{{"name":"t","title":"{long}"}}"#));
        assert!(text.len() <= PIN_DIFF_BYTES_MAX, "{}", text.len());
        let over = format!(r#"{{"name":"t","title":"{}"}}"#, "x".repeat(PIN_BYTES_MAX));
        assert!(diff(r#"{"name":"t"}"#, &over).contains("too large"));
    }
}
