//! What a person's command and a session say to each other over the control socket: one line of JSON each way.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Where the sockets stand: `DIRECTORY/SESSION/SOCKET`, root's alone.
pub const DIRECTORY: &str = "/run/intercept-sandbox";
/// The socket's name in its session's directory.
pub const SOCKET: &str = "control.sock";

/// What is asked of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// The questions to a person.
    List {},
    /// One question, its arguments in full.
    Show {
        /// At least eight hex digits of the question's id.
        id: String,
    },
    /// Lets one call go.
    Approve {
        /// At least eight hex digits of the question's id.
        id: String,
    },
    /// Refuses a call.
    Deny {
        /// At least eight hex digits of the question's id.
        id: String,
        /// What the agent reads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// How the session stands.
    Status {},
}

/// What a session answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// To [`Request::List`].
    Listed(Vec<Listed>),
    /// To [`Request::Show`].
    Shown(Box<Shown>),
    /// The answer is recorded and holds.
    Decided(Decided),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// Nothing was done.
    Refused {
        /// Stable: `bad_request`, `bad_id`, `unknown_id`, `ambiguous_id`, `already_approved`.
        code: String,
        /// Why.
        text: String,
    },
}

/// One question to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// The arguments, for people: secrets blanked, long values cut, control characters escaped.
    pub arguments: String,
    /// The rule that asks.
    pub rule: String,
    /// Calls that wait now.
    pub waiting: usize,
    /// How often it was asked.
    pub asked: u64,
    /// Whether it is approved, and one call may use that.
    pub approved: bool,
    /// Seconds since it was first asked.
    pub age_s: u64,
    /// Seconds until the first waiting call gives up; none when no call waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_up_in_s: Option<u64>,
    /// Seconds until it is forgotten.
    pub forgotten_in_s: u64,
}

/// One question in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The question. Where `held`, its arguments are JSON in full, secrets blanked, with `\u` escapes for what a screen would
    /// obey, or `(no arguments)`.
    #[serde(flatten)]
    pub listed: Listed,
    /// Whether the arguments are still there in full; else they are those of the list.
    pub held: bool,
    /// What else of the call a server can act on, in full like the arguments: `task`, `_meta` without a plain `progressToken`,
    /// `inputResponses`, `requestState`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
    /// Bytes of all these that are missing at their ends.
    pub cut_bytes: usize,
}

/// A parameter of a call beside its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Its key.
    pub name: String,
    /// Its value, as JSON like [`Listed::arguments`].
    pub value: String,
}

/// What a decision did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The question's id.
    pub id: String,
    /// Its tool.
    pub tool: String,
    /// Calls that were let go.
    pub released: usize,
    /// Calls that were refused: by the person, or by the rest of the policy.
    pub refused: usize,
    /// Whether the approval waits for the call to be made again.
    pub kept: bool,
}

/// How a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub session: String,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of the policy's file, hex.
    pub sha256: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Whether tool rules only record.
    pub observe: bool,
    /// Calls that were let through.
    pub allowed: u64,
    /// Calls that were refused.
    pub denied: u64,
    /// Calls that were let through although the policy refuses them.
    pub observed: u64,
    /// Calls that wait for a person.
    pub waiting: usize,
}

impl Reply {
    /// A refusal of the request.
    #[must_use]
    pub fn refused(code: &str, text: impl Into<String>) -> Self {
        Self::Refused { code: code.to_owned(), text: text.into() }
    }
}

/// One message as a line.
///
/// # Panics
/// Never: the types hold nothing that JSON cannot.
#[must_use]
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("strings, numbers and lists serialise");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_were_written_and_nothing_else_reads() {
        let deny = Request::Deny { id: "0123abcd".into(), reason: Some("no\n".into()) };
        let approve = Request::Approve { id: "0123abcd".into() };
        let show = Request::Show { id: "0123abcd".into() };
        for request in [Request::List {}, show, approve, deny, Request::Status {}] {
            let line = line(&request);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Request>(&line).unwrap(), request);
        }
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"ask":"halt"}"#,
            r#"{"ask":"approve"}"#,
            r#"{"ask":"approve","id":1}"#,
            r#"{"ask":"approve","id":"0123abcd","id":"0123abce"}"#,
            r#"{"ask":"approve","id":"0123abcd","all":true}"#,
            r#"{"ask":"list","ask":"approve","id":"0123abcd"}"#,
            r#"{"ask":"list"}{"ask":"list"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
