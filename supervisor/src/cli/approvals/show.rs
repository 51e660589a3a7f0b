//! `approvals show`: one question with all of its call in full, so that a person has read what they approve.

use std::io::{self, Write};

use serde::Serialize;

use super::{DecideArgs, Done, complain, put, stand};
use crate::audit::text::visible;
use crate::relay::control::{Beside, Reply, Request, Shown};
use crate::wire::json::{self, Value};

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    session: &'a str,
    #[serde(flatten)]
    shown: &'a Shown,
}

/// Asks the session and prints its answer. Exit code 0: shown in full; 1: not, or nothing is asked under this id.
pub(super) fn show(which: &DecideArgs, json: bool, out: &mut impl Write) -> Done {
    let (session, shown) = match put(which, |id| Request::Show { id: id.to_owned() })? {
        Ok((session, Reply::Shown(shown))) => (session, shown),
        Ok((session, _)) => {
            complain(&format!("session {session} answers another question"));
            return Ok(2);
        }
        Err(code) => return Ok(code),
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &Told { session: &session, shown: &shown })?;
        writeln!(out)?;
    } else {
        print(&session, &shown, out)?;
    }
    Ok(u8::from(!shown.held || shown.cut_bytes > 0))
}

/// One argument a line. What is not the whole says so last, where it is read.
fn print(session: &str, shown: &Shown, out: &mut impl Write) -> io::Result<()> {
    let Shown { listed, held, beside, cut_bytes } = shown;
    writeln!(out, "{}  {}", visible(&listed.id), visible(&listed.tool))?;
    stand(session, listed, out)?;
    lines(&listed.arguments, *held, out)?;
    for Beside { name, value } in beside {
        writeln!(out, "  with {}", visible(name))?;
        lines(value, *held, out)?;
    }
    if !held {
        writeln!(
            out,
            "NOT IN FULL: the arguments are no longer held; deny this one, and the call made again shows them"
        )?;
    } else if *cut_bytes > 0 {
        writeln!(out, "NOT IN FULL: {cut_bytes} bytes more are not shown")?;
    }
    Ok(())
}

/// The members of an object, one a line; as it is what is none, or is not known to be the whole.
fn lines(text: &str, held: bool, out: &mut impl Write) -> io::Result<()> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(members)) if held && !members.is_empty() => members.iter().try_for_each(|(key, value)| {
            writeln!(out, "    {}: {}", written(&Value::String(key.clone())), written(value))
        }),
        _ => writeln!(out, "    {}", visible(text)),
    }
}

/// A value as JSON, with nothing in it that moves a terminal.
fn written(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    json::write(value, &mut out);
    visible(&String::from_utf8_lossy(&out))
}

#[cfg(test)]
mod tests {
    use super::super::tests::listed;
    use super::*;
    use crate::relay::control::Listed;

    fn printed(arguments: &str, held: bool, cut_bytes: usize) -> String {
        printed_with(arguments, Vec::new(), held, cut_bytes)
    }

    fn printed_with(arguments: &str, beside: Vec<Beside>, held: bool, cut_bytes: usize) -> String {
        let listed = Listed { arguments: arguments.to_owned(), ..listed() };
        let mut out = Vec::new();
        print(&"f".repeat(32), &Shown { listed, held, beside, cut_bytes }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (head, rest) = text.split_once("s more\n").unwrap();
        assert!(head.starts_with("0123456789ab  pay\\u{1b}[2J\n    session ffffffff, rule pay.rules[0]; "), "{head}");
        rest.to_owned()
    }

    #[test]
    fn each_argument_stands_on_its_line_and_nothing_steers_the_terminal() {
        assert_eq!(
            printed(r#"{"to":"\u202eevil\nNOT IN FULL","sum":1.50,"\u001b[2J":[{"a":null}]}"#, true, 0),
            "    \"to\": \"\\u{202e}evil\\nNOT IN FULL\"\n    \"sum\": 1.50\n    \"\\u001b[2J\": [{\"a\":null}]\n"
        );
        assert_eq!(printed("(no arguments)", true, 0), "    (no arguments)\n");
        assert_eq!(printed("{}", true, 0), "    {}\n");
    }

    #[test]
    fn what_stands_beside_the_arguments_stands_below_its_name() {
        let beside = [("_meta", r#"{"to":"production\n  with task"}"#), ("requestState", r#""\u202e""#)];
        let beside = beside.map(|(name, value)| Beside { name: name.into(), value: value.into() });
        assert_eq!(
            printed_with(r#"{"to":"staging"}"#, beside.to_vec(), true, 0),
            "    \"to\": \"staging\"\n  with _meta\n    \"to\": \"production\\n  with task\"\n  with requestState\n    \"\\u202e\"\n"
        );
    }

    #[test]
    fn what_is_not_the_whole_says_so() {
        let gone = printed("{\"to\":\"a…[9 characters more, NOT SHOWN]\"}", false, 0);
        assert!(gone.contains("NOT IN FULL: the arguments are no longer held"), "{gone}");
        let cut = printed("{\"to\":\"\u{1b}[2Jaaaa", true, 7);
        assert_eq!(cut, "    {\"to\":\"\\u{1b}[2Jaaaa\nNOT IN FULL: 7 bytes more are not shown\n");
    }
}
