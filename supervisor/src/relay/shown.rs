//! A call's arguments as a person is shown them who decides on it: no secret, no control character, long values cut and
//! the cut said.
#![forbid(unsafe_code)]

use super::stderr::SECRET_BYTES_MIN;
use crate::audit::text::visible;
use crate::bounds::{APPROVAL_SHOWN_BYTES_MAX, APPROVAL_VALUE_CHARS_MAX};
use crate::wire::json::{self, Value};
use crate::wire::tools::ToolCall;

/// Everything of a call that a server can act on, as a person is shown it: the arguments, then `task` and `_meta` where
/// they say something.
pub(super) fn call(call: ToolCall<'_>, secrets: &[Vec<u8>]) -> String {
    let mut shown = arguments(call.arguments, secrets);
    let meta: Vec<_> = call.meta_members().map(|(key, value)| (key.to_owned().into(), value.clone())).collect();
    let meta = (!meta.is_empty()).then_some(Value::Object(meta));
    for (name, value) in [("task", call.task), ("_meta", meta.as_ref())] {
        if value.is_some() {
            shown.push_str(&format!(" with {name} {}", arguments(value, secrets)));
        }
    }
    shown
}

/// The arguments as JSON for people.
pub(super) fn arguments(value: Option<&Value<'_>>, secrets: &[Vec<u8>]) -> String {
    let Some(value) = value else { return "(no arguments)".to_owned() };
    let mut out = Vec::new();
    json::write(&shortened(value, secrets), &mut out);
    let text = String::from_utf8_lossy(&out);
    let mut end = text.len().min(APPROVAL_SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = visible(&text[..end]);
    if end < text.len() {
        shown.push_str(&format!(" …[{} bytes more, NOT SHOWN]", text.len() - end));
    }
    shown
}

/// A copy in which strings and keys hold no secret and are not long.
fn shortened(value: &Value<'_>, secrets: &[Vec<u8>]) -> Value<'static> {
    match value {
        Value::String(text) => Value::String(short(text, secrets).into()),
        Value::Array(items) => Value::Array(items.iter().map(|item| shortened(item, secrets)).collect()),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, item)| (short(key, secrets).into(), shortened(item, secrets))).collect(),
        ),
        leaf => leaf.clone().into_owned(),
    }
}

fn short(text: &str, secrets: &[Vec<u8>]) -> String {
    let text = blanked(text, secrets);
    match text.char_indices().nth(APPROVAL_VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…[{} characters more, NOT SHOWN]", &text[..end], text[end..].chars().count()),
        None => text,
    }
}

/// `text` with every secret that we know of replaced.
pub(super) fn blanked(text: &str, secrets: &[Vec<u8>]) -> String {
    let known = secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    let known = known.filter_map(|secret| std::str::from_utf8(secret).ok());
    known.fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        arguments(Some(&json::parse(text.as_bytes()).unwrap()), &[b"hunter2-hunter2".to_vec(), b"short".to_vec()])
    }

    #[test]
    fn secrets_and_what_steers_a_terminal_are_not_shown() {
        let text = shown(r#"{"a":"x hunter2-hunter2 y","hunter2-hunter2":["short",1.50,null,"\u001b[2J\u202e"]}"#);
        assert_eq!(text, r#"{"a":"x [secret] y","[secret]":["short",1.50,null,"\u001b[2J\u{202e}"]}"#);
        assert_eq!(arguments(None, &[]), "(no arguments)");
    }

    #[test]
    fn what_is_cut_is_said() {
        let long = "é".repeat(APPROVAL_VALUE_CHARS_MAX + 3);
        assert!(shown(&format!("[\"{long}\"]")).ends_with("é…[3 characters more, NOT SHOWN]\"]"));
        let fits = "e".repeat(APPROVAL_VALUE_CHARS_MAX);
        assert_eq!(shown(&format!("[\"{fits}\"]")), format!("[\"{fits}\"]"));
        let many = format!("[{}1]", "11,".repeat(APPROVAL_SHOWN_BYTES_MAX));
        let text = shown(&many);
        assert!(text.ends_with("bytes more, NOT SHOWN]"), "{text:.80}");
        assert!(text.len() < APPROVAL_SHOWN_BYTES_MAX + 64);
    }
}
