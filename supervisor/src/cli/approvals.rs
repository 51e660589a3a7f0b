//! `approvals` and `status`: what running sessions ask of a person, and how they stand.

mod show;
mod status;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

pub use status::{StatusArgs, status};

use super::sessions::{all, ask, ask_all};
use crate::audit::text::visible;
use crate::bounds::{APPROVAL_ID_DIGITS_MIN, APPROVAL_REASON_BYTES_MAX};
use crate::relay::control::{Decided, Listed, Reply, Request};

/// Decide calls that wait for a person. Needs root.
///
/// Exit code 0: done; 1: nothing like that is asked, or the session refused; 2: wrong usage, not root, or no answer.
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// The calls that wait, or waited and can still be decided.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// One question, its arguments in full.
    Show {
        /// Which question.
        #[command(flatten)]
        which: DecideArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let one call through: the one that waits, or the next one that is the same.
    Approve(DecideArgs),
    /// Refuse every waiting call of this id; made again, it asks again.
    Deny {
        /// Which question.
        #[command(flatten)]
        which: DecideArgs,
        /// What the agent is told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Which question.
#[derive(Clone, Debug, Args)]
pub struct DecideArgs {
    /// Its id, or the first digits of it: at least eight.
    #[arg(value_name = "ID", value_parser = approval_id)]
    id: String,
    /// The session, where two ask under ids that begin alike: its name or the beginning of it.
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
}

/// Exit code, or what cannot be done.
type Done = Result<u8, Box<dyn Error>>;

/// Runs an `approvals` command. Results go to stdout, what went wrong to stderr.
#[must_use]
pub fn run(command: ApprovalsCommand) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match command {
        ApprovalsCommand::List { json } => list(json, &mut out),
        ApprovalsCommand::Show { which, json } => show::show(&which, json, &mut out),
        ApprovalsCommand::Approve(which) => decide(&which, |id| Request::Approve { id: id.to_owned() }, &mut out),
        ApprovalsCommand::Deny { which, reason } => match reason {
            Some(reason) if reason.len() > APPROVAL_REASON_BYTES_MAX => {
                Err(format!("a reason has at most {APPROVAL_REASON_BYTES_MAX} bytes").into())
            }
            reason => decide(&which, |id| Request::Deny { id: id.to_owned(), reason: reason.clone() }, &mut out),
        },
    };
    end(done)
}

fn end(done: Done) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
            if error.downcast_ref::<io::Error>().is_some_and(is_closed) {
                return ExitCode::SUCCESS; // `status | head` is no failure
            }
            eprintln!("error: {}", crate::report::printable(&crate::report::chain(&*error)));
            ExitCode::from(2)
        }
    }
}

/// One question with its session.
#[derive(Debug, Serialize)]
struct Asked {
    session: String,
    #[serde(flatten)]
    listed: Listed,
}

/// What the sessions ask whose names begin with `named`. One that does not answer is told and does not hide the others.
fn asked(named: &str) -> Result<(Vec<Asked>, bool), Box<dyn Error>> {
    let mut asked = Vec::new();
    let mut is_whole = true;
    let sessions: Vec<String> = all()?.into_iter().filter(|session| session.starts_with(named)).collect();
    for (session, answer) in sessions.iter().zip(ask_all(&sessions, &Request::List {})) {
        match answer {
            Ok(Some(Reply::Listed(listed))) => {
                asked.extend(listed.into_iter().map(|listed| Asked { session: session.clone(), listed }));
            }
            Ok(None) => {}
            Ok(Some(_)) => is_whole = complain(&format!("session {session} answers another question")),
            Err(error) => is_whole = complain(&crate::report::chain(&error)),
        }
    }
    Ok((asked, is_whole))
}

/// Tells that something is missing; never whole.
fn complain(text: &str) -> bool {
    eprintln!("error: {}", crate::report::printable(text));
    false
}

fn list(json: bool, out: &mut impl Write) -> Done {
    let (asked, is_whole) = asked("")?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &asked)?;
        writeln!(out)?;
    } else if asked.is_empty() && is_whole {
        writeln!(out, "nothing waits for a person")?;
    } else {
        asked.iter().try_for_each(|asked| print(asked, out))?;
    }
    Ok(if is_whole { 0 } else { 2 })
}

/// Everything is escaped once more: what a session says came from an agent.
fn print(Asked { session, listed }: &Asked, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}  {}  {}", visible(&listed.id), visible(&listed.tool), visible(&listed.arguments))?;
    stand(session, listed, out)
}

/// The line below a question: whose, why, and how long it stands.
fn stand(session: &str, listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    let Listed { rule, waiting, asked, approved, age_s, gives_up_in_s, forgotten_in_s, .. } = listed;
    let state = match (approved, gives_up_in_s) {
        (true, _) => format!("approved, unused for {forgotten_in_s} s more"),
        (false, Some(left_s)) => format!("{waiting} waiting, the first for {left_s} s more"),
        (false, None) => format!("none waiting, can be decided for {forgotten_in_s} s more"),
    };
    let short: String = session.chars().take(8).collect();
    writeln!(out, "    session {short}, rule {}; asked {asked} times, first {age_s} s ago; {state}", visible(rule))
}

/// Puts a request about one question to its session; the exit code where there is no answer to it.
fn put(which: &DecideArgs, request: impl Fn(&str) -> Request) -> Result<Result<(String, Reply), u8>, Box<dyn Error>> {
    // Nobody else is asked: a session that hangs does not keep a person from deciding in the one that they name.
    let (asked, is_whole) = asked(which.session.as_deref().unwrap_or_default())?;
    let found: Vec<&Asked> = asked.iter().filter(|asked| asked.listed.id.starts_with(&which.id)).collect();
    let question = match found[..] {
        [question] => question,
        [] => {
            complain(&format!("no session asks under {}; see `intercept-sandbox approvals list`", which.id));
            return Ok(Err(if is_whole { 1 } else { 2 }));
        }
        _ => {
            complain(&format!("{} names more than one: give more digits, or --session", which.id));
            found.iter().try_for_each(|asked| print(asked, &mut io::stderr()))?;
            return Ok(Err(1));
        }
    };
    match ask(&question.session, &request(&question.listed.id))? {
        Some(Reply::Refused { text, .. }) => {
            complain(&text);
            Ok(Err(1))
        }
        Some(reply) => Ok(Ok((question.session.clone(), reply))),
        None => {
            complain("the session ended before it could be told");
            Ok(Err(1))
        }
    }
}

fn decide(which: &DecideArgs, request: impl Fn(&str) -> Request, out: &mut impl Write) -> Done {
    match put(which, &request)? {
        Ok((_, Reply::Decided(decided))) => {
            tell_decided(&decided, matches!(request(""), Request::Approve { .. }), out)?;
            Ok(0)
        }
        Ok((session, _)) => {
            complain(&format!("session {session} answers another question"));
            Ok(2)
        }
        Err(code) => Ok(code),
    }
}

fn tell_decided(decided: &Decided, is_approval: bool, out: &mut impl Write) -> io::Result<()> {
    let Decided { id, tool, released, refused, kept } = decided;
    let (id, tool) = (visible(id), visible(tool));
    let did = match (is_approval, *kept, *released, *refused) {
        (false, _, _, 0) => "; no call waits now".to_owned(),
        (false, _, _, refused) => format!(", {refused} waiting refused"),
        (true, true, _, 0) => "; no call waits now, the approval waits for the call to come again".to_owned(),
        (true, true, _, refused) => {
            format!("; {refused} waiting refused by another rule, the approval waits for the call to come again")
        }
        (true, false, 0, 0) => "; nothing was let go".to_owned(),
        (true, false, 0, refused) => format!("; {refused} waiting refused by another rule"),
        (true, false, released, 0) => format!(", {released} let go"),
        (true, false, released, refused) => format!(", {released} let go, {refused} waiting refused by another rule"),
    };
    writeln!(out, "{} {id}: {tool}{did}", if is_approval { "approved" } else { "denied" })
}

/// Hex digits, in either case.
fn approval_id(text: &str) -> Result<String, String> {
    let id = text.to_ascii_lowercase();
    if id.len() >= APPROVAL_ID_DIGITS_MIN && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(id)
    } else {
        Err(format!("an approval id is at least {APPROVAL_ID_DIGITS_MIN} hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn listed() -> Listed {
        Listed {
            id: "0123456789ab".into(),
            tool: "pay\u{1b}[2J".into(),
            arguments: "{\"to\":\"\u{202e}evil\"}".into(),
            rule: "pay.rules[0]".into(),
            waiting: 1,
            asked: 2,
            approved: false,
            age_s: 3,
            gives_up_in_s: Some(47),
            forgotten_in_s: 597,
        }
    }

    #[test]
    fn a_question_is_shown_without_what_steers_a_terminal() {
        let mut out = Vec::new();
        print(&Asked { session: "f".repeat(32), listed: listed() }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "0123456789ab  pay\\u{1b}[2J  {\"to\":\"\\u{202e}evil\"}\n    session ffffffff, rule pay.rules[0]; asked 2 \
             times, first 3 s ago; 1 waiting, the first for 47 s more\n"
        );
    }

    #[test]
    fn a_decision_is_told_in_the_words_of_its_case() {
        let told = |is_approval, released, refused, kept| {
            let decided = Decided { id: "0123456789ab".into(), tool: "pay".into(), released, refused, kept };
            let mut out = Vec::new();
            tell_decided(&decided, is_approval, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(true, 1, 0, false), "approved 0123456789ab: pay, 1 let go\n");
        assert_eq!(
            told(true, 0, 0, true),
            "approved 0123456789ab: pay; no call waits now, the approval waits for the call to come again\n"
        );
        assert_eq!(
            told(true, 0, 2, true),
            "approved 0123456789ab: pay; 2 waiting refused by another rule, the approval waits for the call to come again\n"
        );
        assert_eq!(told(false, 0, 2, false), "denied 0123456789ab: pay, 2 waiting refused\n");
        assert_eq!(told(false, 0, 0, false), "denied 0123456789ab: pay; no call waits now\n");
        for released in [0, 1] {
            for refused in [0, 1] {
                for kept in [false, true] {
                    let text = told(true, released, refused, kept);
                    assert!(!text.contains(" 0 "), "{text}");
                }
            }
        }
    }

    #[test]
    fn ids_are_hex_of_eight_digits_or_more() {
        assert_eq!(approval_id("0123ABCD").unwrap(), "0123abcd");
        for wrong in ["", "0123abc", "0123abcg", "../../../x", "01 23abcd"] {
            assert!(approval_id(wrong).is_err(), "{wrong}");
        }
    }
}
