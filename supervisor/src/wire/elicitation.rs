//! Questions that a server puts to a person: what steers a screen is taken out, an address that misleads is refused.
//!
//! `elicitation/create` (MCP 2025-06-18, URL mode 2025-11-25), the `elicitations` of error -32042 (2025-11-25), and the
//! `inputRequests` of a result that wants input (2026-07-28).

use std::borrow::Cow;

use super::json::Value;
use super::jsonrpc::Outcome;
use crate::weaken;

/// Members of a schema that a person reads. Other strings in it (`const`, `enum`, names of properties) come back to the
/// server as they are: they are refused where these would be cleaned.
const READ: [&str; 4] = ["title", "description", "enumNames", "default"];

/// Why a question cannot be put to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misleading {
    /// Not `http` or `https`.
    #[error("the address of an elicitation is neither https nor http")]
    Scheme,
    /// Something before an `@`: it reads like the site that is named there.
    #[error("the address of an elicitation has a user name in it")]
    UserInfo,
    /// No host, or a character that no URL has (RFC 3986 §2): a control, a space, a backslash, anything but ASCII.
    #[error("the address of an elicitation is not a plain URL")]
    NotPlain,
    /// A property or a choice whose name steers a screen or is invisible in part. It cannot be cleaned: the answer is
    /// given by it.
    #[error("a choice of an elicitation has a name with control characters")]
    Choice,
    /// A member that has to be a string, or an object, is none.
    #[error("an elicitation is not of the form that MCP gives it")]
    Form,
}

/// Cleans the `params` of an `elicitation/create`; how many texts were changed.
///
/// # Errors
/// When a person would be misled and cleaning cannot help.
pub fn clean(params: &mut Value<'_>) -> Result<u64, Misleading> {
    if !weaken::in_force("elicitation-text") {
        return Ok(0);
    }
    let Value::Object(members) = params else { return Err(Misleading::Form) };
    let mut changed = 0;
    for (key, value) in members {
        match (&**key, value) {
            ("message", Value::String(text)) => changed += clean_text(text),
            ("url", Value::String(url)) => judge_url(url)?,
            ("message" | "url", _) => return Err(Misleading::Form),
            ("requestedSchema", schema) => changed += clean_schema(schema)?,
            _ => {}
        }
    }
    Ok(changed)
}

/// Cleans the questions that an answer carries; how many texts were changed.
///
/// # Errors
/// As [`clean`].
pub fn clean_answer(outcome: &mut Outcome<'_>) -> Result<u64, Misleading> {
    match outcome {
        Outcome::Result(result) => result.member_mut("inputRequests").map_or(Ok(0), clean_input_requests),
        Outcome::Error(error) => {
            let questions = error.member_mut("data").and_then(|data| data.member_mut("elicitations"));
            questions.map_or(Ok(0), |questions| match questions {
                Value::Array(items) => items.iter_mut().map(clean).sum(),
                _ => Err(Misleading::Form),
            })
        }
    }
}

/// Whether [`clean_answer`] has anything to look at: asked of a large result before it is copied.
#[must_use]
pub fn asks(outcome: &Outcome<'_>) -> bool {
    match outcome {
        Outcome::Result(result) => result.member("inputRequests").is_some(),
        Outcome::Error(error) => error.member("data").and_then(|data| data.member("elicitations")).is_some(),
    }
}

/// Cleans every `elicitation/create` among `inputRequests`; how many texts were changed. Other requests stand as they are.
///
/// # Errors
/// As [`clean`].
pub fn clean_input_requests(requests: &mut Value<'_>) -> Result<u64, Misleading> {
    let one = |request: &mut Value<'_>| match request.member("method").and_then(Value::as_str) {
        Some("elicitation/create") => request.member_mut("params").map_or(Err(Misleading::Form), clean),
        Some(_) => Ok(0),
        None => Err(Misleading::Form),
    };
    match requests {
        Value::Object(members) => members.iter_mut().map(|(_, request)| one(request)).sum(),
        Value::Array(items) => items.iter_mut().map(one).sum(),
        _ => Err(Misleading::Form),
    }
}

fn clean_schema(schema: &mut Value<'_>) -> Result<u64, Misleading> {
    match schema {
        Value::Object(members) => {
            let mut changed = 0;
            for (key, value) in members {
                if cleaned(key).is_some() {
                    return Err(Misleading::Choice);
                }
                changed += if READ.contains(&&**key) { clean_texts(value)? } else { clean_schema(value)? };
            }
            Ok(changed)
        }
        Value::Array(items) => items.iter_mut().map(clean_schema).sum(),
        Value::String(text) if cleaned(text).is_some() => Err(Misleading::Choice),
        _ => Ok(0),
    }
}

/// A text or a list of texts. A property may be named `title`: it is a schema again.
fn clean_texts(value: &mut Value<'_>) -> Result<u64, Misleading> {
    match value {
        Value::String(text) => Ok(clean_text(text)),
        Value::Array(items) => items.iter_mut().map(clean_texts).sum(),
        other => clean_schema(other),
    }
}

fn clean_text(text: &mut Cow<'_, str>) -> u64 {
    match cleaned(text) {
        Some(clean) => {
            *text = Cow::Owned(clean);
            1
        }
        None => 0,
    }
}

/// RFC 3986, narrowed to what reads the same for a person and for a browser.
fn judge_url(url: &str) -> Result<(), Misleading> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(Misleading::NotPlain);
    }
    let (scheme, rest) = url.split_once(':').ok_or(Misleading::Scheme)?;
    if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(Misleading::Scheme);
    }
    let rest = rest.strip_prefix("//").ok_or(Misleading::NotPlain)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority {
        _ if authority.contains('@') => Err(Misleading::UserInfo),
        _ if authority.is_empty() || authority.starts_with(':') || authority.contains('%') => Err(Misleading::NotPlain),
        _ => Ok(()),
    }
}

/// `text` without terminal sequences and without characters that steer or hide; none when it has none.
fn cleaned(text: &str) -> Option<String> {
    if !text.chars().any(is_unfit) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut strings_end = true;
    while let Some(first) = rest.chars().next() {
        let taken = sequence_length(rest, &mut strings_end).unwrap_or(first.len_utf8());
        if !is_unfit(first) {
            out.push(first);
        }
        rest = &rest[taken..];
    }
    Some(out)
}

/// Controls but TAB and LF, the bidi controls of UAX #9, line and paragraph separators, and what is invisible and carries
/// text (tags) or parts it (zero-width space). Joiners and variation selectors stay: scripts and emoji need them.
const fn is_unfit(character: char) -> bool {
    match character {
        '\t' | '\n' => false,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// How long the terminal sequence is that begins here (ECMA-48 §5.4, §5.6); none when none does, or it never ends: then
/// its text stays readable.
///
/// `strings_end` is true for the first piece of a text and handed on to the later ones: it turns false where no end of a
/// control string follows. None follows further on either, so a text of many beginnings is searched once, not once for each.
fn sequence_length(text: &str, strings_end: &mut bool) -> Option<usize> {
    let (kind, body) = match text.strip_prefix('\u{1b}') {
        Some(rest) => (rest.chars().next()?, rest.get(1..)?),
        None => {
            let first = text.chars().next().filter(|first| matches!(first, '\u{80}'..='\u{9f}'))?;
            (char::from_u32(u32::from(first) - 0x40)?, &text[first.len_utf8()..])
        }
    };
    let begun = text.len() - body.len();
    match kind {
        '[' => {
            let parameters = body.bytes().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
            let is_whole = matches!(body.as_bytes().get(parameters), Some(0x40..=0x7e));
            is_whole.then_some(begun + parameters + 1)
        }
        ']' | 'P' | 'X' | '^' | '_' if *strings_end => {
            let end = control_string_length(body);
            *strings_end = end.is_some();
            end.map(|end| begun + end)
        }
        ' '..='/' => {
            let between = body.bytes().take_while(|byte| matches!(byte, b' '..=b'/')).count();
            matches!(body.as_bytes().get(between), Some(0x30..=0x7e)).then_some(begun + between + 1)
        }
        ']' | 'P' | 'X' | '^' | '_' => None,
        '0'..='~' => Some(begun),
        _ => None,
    }
}

/// How long the rest of a control string is, its end included: BEL, or ST in either form. One pass that stops at the first
/// end of any kind: to look for each kind by itself would read on to the end of the text for one that is not there.
fn control_string_length(body: &str) -> Option<usize> {
    body.char_indices().find_map(|(at, c)| match c {
        '\u{7}' | '\u{9c}' => Some(at + c.len_utf8()),
        '\u{1b}' if body[at + 1..].starts_with('\\') => Some(at + 2),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
