//! Sends the lines: to the bare server, then to the server under us.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use intercept_sandbox::audit::keys;
use intercept_sandbox::audit::redact::Redactor;
use serde_json::{Value, json};

use super::grammar::{Line, N_MAX, WORD};
use super::servers::Server;
use crate::arena::{Arena, ROOT};
use crate::records;
use crate::run::{self, Run};
use crate::session::Session;

/// Calls of the tool `limited` that the policy allows.
pub const LIMITED_MAX: usize = 5;
/// Lines that are sent before their answers are read, and their bytes: less than a pipe holds, so that nobody blocks.
const CHUNK_LINES: usize = 48;
const CHUNK_BYTES: usize = 24 << 10;
/// A bare server that does not answer a ping for so long has lost its place in the stream.
const BARE_LIMIT: Duration = Duration::from_secs(5);

/// A server and where it writes down what it executes.
#[derive(Debug)]
pub struct Stage<'a> {
    arena: &'a Arena,
    server: Server,
    folder: PathBuf,
    written: PathBuf,
    /// Lines that are sent before their answers are read.
    together: usize,
}

/// What the bare server did with the lines.
#[derive(Debug, Default)]
pub struct Bare {
    /// Tags of the lines of which it executed a call.
    pub executed: HashSet<String>,
    /// Each call, as it wrote it down.
    pub calls: Vec<String>,
    /// Places of the lines that it died of or lost its place at.
    pub deaths: Vec<usize>,
}

/// What happened under us.
#[derive(Debug)]
pub struct Policed {
    /// Each call that the server executed, as it wrote it down.
    pub calls: Vec<String>,
    /// The first answer to each id that is a string.
    pub answers: HashMap<String, Value>,
    /// The audit log.
    pub records: Vec<Value>,
    /// The host's key.
    pub redactor: Redactor,
}

/// The policy of the suite.
fn policy(server: &Server) -> String {
    format!(
        "name: differential
default: deny
tools:
  allowed:
    rules:
      - conditions:
          - {{path: args.n, op: lte, value: {N_MAX}, if_present: true}}
          - {{path: args.text, op: not_contains, value: {WORD}, if_present: true}}
  denied: {{rules: [{{action: deny}}]}}
  limited: {{rules: [{{rate_limit: {{max: {LIMITED_MAX}, window: 86400}}}}]}}
sandbox:
  filesystem:
    read: [{ROOT}/{}]
    write: [{ROOT}/executed]
  env: {{set: {{EXECUTED: {ROOT}/executed/policed.jsonl}}}}
audit: {{durability: write}}
",
        server.folder
    )
}

impl<'a> Stage<'a> {
    /// Shows the server's folder in the arena.
    #[must_use]
    pub fn new(arena: &'a Arena, server: Server) -> Self {
        let (folder, written) = (arena.fixture(server.folder), arena.writable_folder("executed"));
        Self { arena, server, folder, written, together: CHUNK_LINES }
    }

    /// Waits for the answers to each line before the next one is sent.
    #[must_use]
    pub fn one_by_one(mut self) -> Self {
        self.together = 1;
        self
    }

    /// Sends `lines` to the bare server, and starts it anew where it dies.
    #[must_use]
    pub fn bare(&self, lines: &[Line]) -> Bare {
        let log = self.written.join("bare.jsonl");
        fs::write(&log, "").expect("own folder");
        let mut bare = Bare::default();
        let mut session = self.start_bare();
        let mut from = 0;
        while from < lines.len() {
            let chunk = self.chunk(&lines[from..]);
            if !survives(&mut session, chunk) {
                // Which one was it? They go once more, one by one.
                session = self.start_bare();
                for (at, line) in chunk.iter().enumerate() {
                    if !survives(&mut session, std::slice::from_ref(line)) {
                        bare.deaths.push(from + at);
                        session = self.start_bare();
                    }
                }
            }
            from += chunk.len();
        }
        drop(session);
        bare.calls = fs::read_to_string(&log).expect("the server's log").lines().map(str::to_owned).collect();
        bare.executed = bare.calls.iter().filter_map(|call| tag(call)).collect();
        bare
    }

    /// Sends `lines` to the server under us; it lives to the end and answers a ping after each chunk.
    ///
    /// # Panics
    /// When the session dies or falls silent: no line may do that.
    #[must_use]
    pub fn policed(&self, lines: &[Line]) -> Policed {
        let log = self.written.join("policed.jsonl");
        let command = self.server.command(&self.folder);
        let mut session = Run::new(self.arena, &policy(&self.server)).command(&command).begin();
        // Until the tools are known and pinned, calls wait, and what is no call is answered before them.
        let first = session.call("allowed", serde_json::json!({"tag": "L000000"}));
        assert!(first["result"]["content"].is_array(), "{first}");
        let mut answers = HashMap::new();
        let mut from = 0;
        while from < lines.len() {
            let chunk = self.chunk(&lines[from..]);
            for line in chunk {
                let sent = session.send_bytes(&line.bytes);
                sent.unwrap_or_else(|error| panic!("{:?}: {error}\n{}", line.branch, session.stderr()));
            }
            let branches = || chunk.iter().map(|line| line.branch).collect::<Vec<_>>();
            // A call may wait for a list that was asked for before it, and a ping does not: the barrier says too little.
            let good: Vec<&str> = chunk.iter().filter(|line| line.is_good).map(|line| &*line.tag).collect();
            let is_alive = settle(&mut session, crate::session::ANSWER_LIMIT, &good, &mut answers);
            assert!(is_alive, "no answer after lines {from}.. {:?}\n{}", branches(), session.stderr());
            from += chunk.len();
        }
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let calls = fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect();
        let redactor = keys::load_redactor("/etc/intercept-sandbox/keys".as_ref()).expect("the host has its key");
        Policed { calls, answers, records: records::read(records::DEFAULT_DIRECTORY), redactor }
    }

    /// As many of `lines` as are sent at once; at least one.
    fn chunk<'l>(&self, lines: &'l [Line]) -> &'l [Line] {
        let mut bytes = 0;
        let fits = lines.iter().take(self.together).take_while(|line| {
            bytes += line.bytes.len();
            bytes <= CHUNK_BYTES
        });
        &lines[..fits.count().max(1)]
    }

    fn start_bare(&self) -> Session {
        let mut command = run::bare(self.server.command(&self.folder));
        command.env("EXECUTED", self.written.join("bare.jsonl")).current_dir(&self.folder);
        let mut session = Session::start(command);
        session.initialize();
        session
    }
}

/// The tag of a call that a server wrote down. Not every call can be parsed: some strings are none in JSON.
#[must_use]
pub fn tag(call: &str) -> Option<String> {
    let (_, rest) = call.split_once("string:L")?;
    Some(format!("L{}", rest.get(..6)?))
}

/// Sends lines to a bare server; false when it dies of them or loses its place.
fn survives(session: &mut Session, lines: &[Line]) -> bool {
    lines.iter().all(|line| session.send_bytes(&line.bytes).is_ok())
        && settle(session, BARE_LIMIT, &[], &mut HashMap::new())
}

/// Pings and waits for the answer, and for those to the requests `asked`; gathers what comes.
fn settle(session: &mut Session, limit: Duration, asked: &[&str], answers: &mut HashMap<String, Value>) -> bool {
    const BARRIER: &str = "barrier";
    let ping = json!({"jsonrpc": "2.0", "id": BARRIER, "method": "ping"});
    if session.send_bytes(format!("{ping}\n").as_bytes()).is_err() {
        return false;
    }
    let mut is_past = false;
    while !(is_past && asked.iter().all(|&id| answers.contains_key(id))) {
        let Some(line) = session.try_line(limit) else { return false };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        match message["id"].as_str() {
            Some(BARRIER) => is_past = true,
            Some(id) => {
                answers.entry(id.to_owned()).or_insert(message);
            }
            None => {}
        }
    }
    true
}
