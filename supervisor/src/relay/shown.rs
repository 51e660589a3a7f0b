//! A call's arguments as a person is shown them who decides on it: no secret, no control character, long values cut and
//! the cut said. In full, when they ask for it.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::control::Beside;
use crate::audit::text::{is_unsafe_to_show, visible};
use crate::bounds::{APPROVAL_SHOWN_BYTES_MAX, APPROVAL_VALUE_CHARS_MAX, APPROVAL_WHOLE_BYTES_MAX};
use crate::wire::json::{self, Value};
use crate::wire::secrets::Secrets;
use crate::wire::tools::ToolCall;

/// Everything of a call that a server can act on, as a person is shown it: the arguments, then `task` and `_meta` where
/// they say something.
pub(super) fn call(call: ToolCall<'_>, secrets: &Secrets) -> String {
    let mut shown = arguments(call.arguments, secrets);
    for (name, value) in beside(call) {
        shown.push_str(&format!(" with {name} {}", arguments(Some(&value), secrets)));
    }
    shown
}

/// What of a call a server can act on beside its arguments.
fn beside(call: ToolCall<'_>) -> impl Iterator<Item = (&'static str, Cow<'_, Value<'_>>)> {
    let meta: Vec<_> = call.meta_members().map(|(key, value)| (key.to_owned().into(), value.clone())).collect();
    let meta = (!meta.is_empty()).then_some(Cow::Owned(Value::Object(meta)));
    let [task, responses, state] =
        [call.task, call.input_responses, call.request_state].map(|it| it.map(Cow::Borrowed));
    let all = [("task", task), ("_meta", meta), ("inputResponses", responses), ("requestState", state)];
    all.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// In place of arguments, where a call brings none.
const NO_ARGUMENTS: &str = "(no arguments)";

/// A call in full.
pub(super) struct Whole {
    pub(super) arguments: String,
    pub(super) beside: Vec<Beside>,
    /// Bytes that are missing at the ends: none, but where escapes have made them longer than any line can be.
    pub(super) cut_bytes: usize,
}

/// Everything of a call that a server can act on, in full, as JSON that no screen obeys.
pub(super) fn whole(call: ToolCall<'_>, secrets: &Secrets) -> Whole {
    let (mut left, mut cut_bytes) = (APPROVAL_WHOLE_BYTES_MAX, 0);
    let mut text = |value: &Value<'_>| {
        let mut out = Vec::new();
        json::write(&mapped(value, &|text| blanked(text, secrets)), &mut out);
        let mut text = escaped(&String::from_utf8_lossy(&out));
        let mut end = text.len().min(left);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        left -= end;
        cut_bytes += text.len() - end;
        text.truncate(end);
        text
    };
    let arguments = call.arguments.map_or_else(|| NO_ARGUMENTS.to_owned(), &mut text);
    let beside = beside(call).map(|(name, value)| Beside { name: name.to_owned(), value: text(&value) }).collect();
    Whole { arguments, beside, cut_bytes }
}

/// JSON with JSON's own escape for each character that a screen would obey: all of them stand in strings.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_unsafe_to_show(character) {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            out.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    out
}

/// The arguments as JSON for people.
pub(super) fn arguments(value: Option<&Value<'_>>, secrets: &Secrets) -> String {
    let Some(value) = value else { return NO_ARGUMENTS.to_owned() };
    let mut out = Vec::new();
    json::write(&mapped(value, &|text| short(text, secrets)), &mut out);
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

/// A copy with `change` made to every string and key.
fn mapped(value: &Value<'_>, change: &impl Fn(&str) -> String) -> Value<'static> {
    match value {
        Value::String(text) => Value::String(change(text).into()),
        Value::Array(items) => Value::Array(items.iter().map(|item| mapped(item, change)).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, item)| (change(key).into(), mapped(item, change))).collect())
        }
        leaf => leaf.clone().into_owned(),
    }
}

fn short(text: &str, secrets: &Secrets) -> String {
    let text = blanked(text, secrets);
    match text.char_indices().nth(APPROVAL_VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…[{} characters more, NOT SHOWN]", &text[..end], text[end..].chars().count()),
        None => text,
    }
}

/// `text` with every secret that we know of replaced.
pub(super) fn blanked(text: &str, secrets: &Secrets) -> String {
    secrets.replaced(text, |_| "[secret]".into()).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{
        APPROVAL_ID_DIGITS, APPROVALS_LISTED_MAX, CLIENT_LINE_BYTES_MAX, CONTROL_REPLY_BYTES_MAX,
        POLICY_NAME_BYTES_MAX, TOOL_NAME_BYTES_MAX,
    };
    use crate::relay::control::{Listed, Reply, Shown, line};

    fn known() -> Secrets {
        Secrets::new([&b"hunter2-hunter2"[..], b"short"]).unwrap()
    }

    fn shown(text: &str) -> String {
        arguments(Some(&json::parse(text.as_bytes()).unwrap()), &known())
    }

    #[test]
    fn secrets_and_what_steers_a_terminal_are_not_shown() {
        let text = shown(r#"{"a":"x hunter2-hunter2 y","hunter2-hunter2":["short",1.50,null,"\u001b[2J\u202e"]}"#);
        assert_eq!(text, r#"{"a":"x [secret] y","[secret]":["short",1.50,null,"\u001b[2J\u{202e}"]}"#);
        assert_eq!(arguments(None, &known()), "(no arguments)");
    }

    #[test]
    fn in_full_nothing_is_cut_and_it_is_still_json() {
        let in_full = |text: &str| {
            let value = json::parse(text.as_bytes()).unwrap();
            let Whole { arguments, beside, cut_bytes } = whole(ToolCall::plain("t", Some(&value)), &known());
            assert_eq!(beside, []);
            (arguments, cut_bytes)
        };
        let long = "é".repeat(APPROVAL_SHOWN_BYTES_MAX);
        let text = format!("{{\"a\":\"{long} hunter2-hunter2\",\"\u{202e}\":[\"\u{e0041}\",1.50]}}");
        let shown = format!("{{\"a\":\"{long} [secret]\",\"\\u202e\":[\"\\udb40\\udc41\",1.50]}}");
        assert_eq!(in_full(&text), (shown.clone(), 0));
        assert!(json::parse(shown.as_bytes()).is_ok());
        let none = whole(ToolCall::plain("t", None), &known());
        assert_eq!((none.arguments.as_str(), none.cut_bytes), ("(no arguments)", 0));

        let (text, cut) = in_full(&format!("[\"{}\"]", "\u{202e}".repeat(CLIENT_LINE_BYTES_MAX / 3 - 2)));
        assert!(text.len() <= APPROVAL_WHOLE_BYTES_MAX && cut > 0, "{} {cut}", text.len());
        assert_eq!(text.len() + cut, (CLIENT_LINE_BYTES_MAX / 3 - 2) * 6 + 4, "what is missing is counted");
    }

    /// A server reads all of them; a person who was shown the arguments alone would approve what they never saw.
    #[test]
    fn in_full_is_what_stands_beside_the_arguments_too() {
        let long = "x".repeat(2 * APPROVAL_SHOWN_BYTES_MAX);
        let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#;
        let meta = format!(r#""_meta":{{{meta}"progressToken":1,"pad":"{long}","to":"production"}}"#);
        let call = format!(
            r#"{{"name":"t","arguments":{{"to":"staging"}},"inputResponses":{{"a":{{"b":"hunter2-hunter2"}}}},"requestState":"\u202e",{meta}}}"#
        );
        let params = json::parse(call.as_bytes()).unwrap();
        let shown = whole(ToolCall::of(Some(&params)).unwrap(), &known());
        assert_eq!((shown.arguments.as_str(), shown.cut_bytes), (r#"{"to":"staging"}"#, 0));
        let told: Vec<_> = shown.beside.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        let meta =
            format!(r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","pad":"{long}","to":"production"}}"#);
        assert_eq!(
            told,
            [
                ("_meta", meta.as_str()),
                ("inputResponses", r#"{"a":{"b":"[secret]"}}"#),
                ("requestState", r#""\u202e""#)
            ]
        );
    }

    /// One bound for all of it: a reply holds a call, not each part of it.
    #[test]
    fn what_is_cut_of_any_part_is_counted() {
        let steering = "\u{202e}".repeat(CLIENT_LINE_BYTES_MAX / 8);
        let call = format!(r#"{{"name":"t","arguments":{{"a":"{steering}"}},"_meta":{{"b":"{steering}"}}}}"#);
        let params = json::parse(call.as_bytes()).unwrap();
        let shown = whole(ToolCall::of(Some(&params)).unwrap(), &known());
        let written = shown.arguments.len() + shown.beside[0].value.len();
        assert_eq!(written, APPROVAL_WHOLE_BYTES_MAX);
        assert_eq!(written + shown.cut_bytes, 2 * (6 * (CLIENT_LINE_BYTES_MAX / 8) + r#"{"a":""}"#.len()));
    }

    #[test]
    fn the_longest_list_and_the_longest_question_fit_a_reply() {
        // Two bytes that a screen is shown as seven, eight as JSON: no character becomes more of itself.
        let longest = format!("[{}0]", format!("\"{}\",", "\u{34f}".repeat(APPROVAL_VALUE_CHARS_MAX)).repeat(16));
        let json = format!(
            "{{\"name\":\"t\",\"arguments\":{{\"a\":{longest}}},\"task\":{{\"a\":{longest}}},\"_meta\":{{\"a\":{longest}}}}}"
        );
        let params = json::parse(json.as_bytes()).unwrap();
        let name = "\u{7f}".repeat(TOOL_NAME_BYTES_MAX);
        let listed = Listed {
            id: "0".repeat(APPROVAL_ID_DIGITS),
            tool: visible(&name),
            arguments: call(ToolCall::of(Some(&params)).unwrap(), &Secrets::default()),
            rule: visible(&format!("{name}.{}", "\u{7f}".repeat(POLICY_NAME_BYTES_MAX))),
            waiting: usize::MAX,
            asked: u64::MAX,
            approved: false,
            age_s: u64::MAX,
            gives_up_in_s: Some(u64::MAX),
            forgotten_in_s: u64::MAX,
        };
        assert_eq!(listed.arguments.matches("NOT SHOWN").count(), 3, "all three are cut at their bound");
        let list = line(&Reply::Listed(vec![listed.clone(); APPROVALS_LISTED_MAX]));
        assert!((6 << 20..13 << 19).contains(&list.len()), "{} bytes", list.len());

        let quotes = format!("{{\"a\":\"{}\"}}", "\\\"".repeat(CLIENT_LINE_BYTES_MAX / 2));
        let value = json::parse(quotes.as_bytes()).unwrap();
        let Whole { arguments, beside, .. } = whole(ToolCall::plain("t", Some(&value)), &Secrets::default());
        let shown = Shown { listed: Listed { arguments, ..listed }, held: true, beside, cut_bytes: usize::MAX };
        let question = line(&Reply::Shown(Box::new(shown)));
        assert!(question.len() > 2 * CLIENT_LINE_BYTES_MAX && question.len() < CONTROL_REPLY_BYTES_MAX);
        assert!(list.len() < CONTROL_REPLY_BYTES_MAX);
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
