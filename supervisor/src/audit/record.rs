//! An event becomes one line of JSON, within [`AUDIT_RECORD_BYTES_MAX`].
#![forbid(unsafe_code)]

use std::io::Write;

use serde::Serialize;

use super::chain::{self, Head};
use super::event::{Body, Event};
use super::text::Bounded;
use super::timestamp::Timestamp;
use crate::bounds::{AUDIT_LIST_ITEMS_MAX, AUDIT_RECORD_BYTES_MAX};
use crate::clock::Now;
use crate::weaken;
use crate::wire::secrets::Secrets;

/// Longest string in a record, bytes as written, most generous first; a record that comes out too long is written again
/// with the next. The last makes the largest record fit, and is no shorter than a digest.
const STRING_BYTES_MAX: [usize; 4] = [8192, 2048, 512, 128];
/// What `cut`, `prev`, `hash` and LF take at most.
const SEAL_BYTES_MAX: usize = 200;

/// The event could not be written as a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is longer than a record may be, whatever is cut.
    #[error("the record of a {kind} is longer than {AUDIT_RECORD_BYTES_MAX} bytes")]
    TooLong {
        /// Its type.
        kind: &'static str,
    },
    /// A member does not serialise.
    #[error("the record does not serialise")]
    Serialise(#[source] serde_json::Error),
}

/// Appends the record that follows `head` to `out`, LF included, and returns where the chain stands after it. No value of
/// `secrets` stands in it, in no form, also where a string is cut.
///
/// # Errors
/// When the event does not serialise or fit; `out` is as before then.
pub fn write(
    out: &mut Vec<u8>,
    head: Head,
    now: Now,
    (session, event): (&str, &Event<'_>),
    secrets: &Secrets,
) -> Result<Head, RecordError> {
    let start = out.len();
    for limit in STRING_BYTES_MAX {
        match open(out, head.seq + 1, now, (session, event), (limit, secrets)) {
            Ok(()) if out.len() - start + SEAL_BYTES_MAX <= AUDIT_RECORD_BYTES_MAX => {
                let hash = chain::seal(chain::SESSION_DOMAIN, out, start, head.hash);
                return Ok(Head { seq: head.seq + 1, hash });
            }
            Ok(()) => out.truncate(start),
            Err(error) => {
                out.truncate(start);
                return Err(RecordError::Serialise(error));
            }
        }
    }
    Err(RecordError::TooLong { kind: event.kind.as_str() })
}

/// Everything before `prev`.
fn open(
    out: &mut Vec<u8>,
    seq: u64,
    now: Now,
    (session, event): (&str, &Event<'_>),
    (limit, secrets): (usize, &Secrets),
) -> Result<(), serde_json::Error> {
    write!(out, "{{\"v\":1,\"seq\":{seq},\"time\":\"{}\",\"boot_ns\":{}", Timestamp(now.wall_ns), now.boot_ns)
        .map_err(serde_json::Error::io)?;
    let body = out.len();
    let mut bounded = Bounded::new(limit);
    Body { session, event }.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, &mut bounded))?;
    // A string that was cut may end inside a secret, which is then found no more.
    let leaks = secrets.occur_in(&out[body..]) || (bounded.cuts > 0 && !secrets.is_empty());
    if leaks && weaken::in_force("redact-log") {
        out.truncate(body);
        bounded = Bounded::hiding(limit, secrets.clone());
        Body { session, event }.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, &mut bounded))?;
    }
    out[body] = b',';
    out.pop();

    let shortened_lists = event.server.is_some_and(|server| server.argv.len() > AUDIT_LIST_ITEMS_MAX);
    let cuts = bounded.cuts + u64::from(shortened_lists);
    if cuts > 0 {
        write!(out, ",\"cut\":{cuts}").map_err(serde_json::Error::io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::ffi::OsString;

    use super::*;
    use crate::audit::chain::{Link, SESSION_DOMAIN};
    use crate::audit::{Effect, Kind, Limit, Mcp, McpId, Redactor, Rule, Sandbox, Server};
    use crate::bounds::AUDIT_ARGUMENT_LEAVES_MAX;
    use crate::sandbox::{Answer, Layer, LayerReport};
    use crate::wire::json::Value;

    const NOW: Now = Now { wall_ns: 1_735_689_599_000_000_001, boot_ns: 42 };
    const SESSION: &str = "0123456789abcdef0123456789abcdef";

    fn render(event: &Event<'_>) -> String {
        let mut out = Vec::new();
        let head = write(&mut out, Head::START, NOW, (SESSION, event), &Secrets::default()).unwrap();
        let line = String::from_utf8(out).unwrap();
        let link = Link::read(SESSION_DOMAIN, line.strip_suffix('\n').unwrap().as_bytes()).unwrap();
        assert!(link.intact && link.follows(Head::START));
        assert_eq!(link.head(), head);
        line
    }

    #[test]
    fn members_stand_in_the_documented_order() {
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Denied).with_reason("rate_limited", "wait");
        event.rule = Some(Rule { id: "generate_image/0", name: "rate", line: 12 });
        event.limit = Some(Limit { key: "k", max: 10, window_s: 60, used: 10, retry_after_ms: Some(1500) });
        event.mcp =
            Some(Mcp { dir: "c2s", id: Some(McpId::Integer(7)), tool: Some("generate_image"), ..Mcp::default() });
        event.corr = Some("c1");
        let line = render(&event);
        let expected = concat!(
            r#"{"v":1,"seq":1,"time":"2024-12-31T23:59:59.000000001Z","boot_ns":42,"type":"mcp.request","#,
            r#""severity":"warning","effect":"denied","session":"0123456789abcdef0123456789abcdef","#,
            r#""rule":{"id":"generate_image/0","name":"rate","line":12},"reason":{"code":"rate_limited","text":"wait"},"#,
            r#""limit":{"key":"k","max":10,"window_s":60,"used":10,"retry_after_ms":1500},"#,
            r#""mcp":{"dir":"c2s","id":7,"tool":"generate_image"},"corr":"c1","#,
            r#""prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":""#,
        );
        assert_eq!(&line[..expected.len()], expected);
        assert_eq!(line.len(), expected.len() + 64 + 3);
    }

    #[test]
    fn no_secret_stands_in_a_record_whatever_member_brings_it() {
        let secrets = Secrets::new([&b"hunter2-hunter2"[..], b"mcp.request"]).unwrap();
        let argv = [OsString::from("--token=hunter2-hunter2")];
        let arguments = Value::Object(vec![(Cow::Borrowed("hunter2-hunter2"), Value::Null)]);
        let redactor = Redactor::new(&[1; 32]);
        let cut = format!("{}hunter2-hunter2", "a".repeat(STRING_BYTES_MAX[0] - 12));
        let mut event = Event::new(Kind::McpRequest).with_reason("c", &cut);
        event.server = Some(Server { argv: &argv, ..Server::default() });
        event.mcp = Some(Mcp {
            dir: "c2s",
            method: Some("hunter2%2Dhunter2"),
            id: Some(McpId::Text("aHVudGVyMi1odW50ZXIy")),
            tool: Some("68756e746572322d68756e74657232"),
            args: Some(redactor.redact(&arguments)),
            ..Mcp::default()
        });
        let mut out = Vec::new();
        write(&mut out, Head::START, NOW, (SESSION, &event), &secrets).unwrap();
        let line = String::from_utf8(out).unwrap();
        for part in ["hunter2", "68756e", "aHVudGVy"] {
            assert!(!line.contains(part), "{part} in {line}");
        }
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["type"], "mcp.request", "a word of the format stands");
        assert_eq!(read["mcp"]["method"], "*****************");
        assert_eq!(read["mcp"]["args"]["keys"][0], "***************");
    }

    #[test]
    fn the_largest_event_fits_and_says_what_was_cut() {
        let long = "\u{1}".repeat(32 << 10);
        let argv = vec![OsString::from(&long); AUDIT_LIST_ITEMS_MAX + 1];
        let members: Vec<_> = (0..=AUDIT_ARGUMENT_LEAVES_MAX)
            .map(|n| (Cow::Owned(format!("{n}{}", &long[..4096])), Value::String(Cow::Borrowed(&long[..99]))))
            .collect();
        let arguments = Value::Object(members);
        let redactor = Redactor::new(&[1; 32]);
        let layers = Layer::ALL.map(|layer| LayerReport { layer, answer: Answer::Partial(long[..9000].to_owned()) });

        let mut event = Event::new(Kind::McpRequest).with_reason(&long, &long);
        event.host = Some(&long);
        event.rule = Some(Rule { id: &long, name: &long, line: u32::MAX });
        event.server = Some(Server { argv: &argv, profile: Some(&long), ..Server::default() });
        event.sandbox = Some(Sandbox { layers: &layers });
        event.mcp = Some(Mcp {
            method: Some(&long),
            tool: Some(&long),
            args: Some(redactor.redact(&arguments)),
            ..Mcp::default()
        });
        event.corr = Some(&long);
        let line = render(&event);
        assert!(line.len() <= AUDIT_RECORD_BYTES_MAX, "{}", line.len());
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(read["cut"].as_u64().unwrap() > 64);
        assert_eq!(read["session"], SESSION);
        assert_eq!(read["server"]["argv"].as_array().unwrap().len(), AUDIT_LIST_ITEMS_MAX + 1);
        assert_eq!(read["mcp"]["args"]["leaves_omitted"], 1);
    }

    #[test]
    fn a_newline_in_any_string_stays_one_line() {
        let line = render(&Event::new(Kind::Alert).with_reason("x", "a\nb\u{2028}c\r\u{85}"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#""text":"a\nb\u2028c\r\u0085""#));
    }
}
