//! Any conversation, by both sides at once: no forbidden call reaches the server, no limit is passed, every answer that the client
//! gets is to a question that it asked, once, and every line that leaves is one strict message.

#![no_main]

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::LazyLock;

use intercept_sandbox::policy::{Policy, Source, load};
use intercept_sandbox::relay::rehearsal::{Rehearsal, Sent};
use intercept_sandbox::wire::json::Value;
use intercept_sandbox::wire::jsonrpc::{self, Message, Request, RequestId};
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let text = include_str!("../policies/session.yaml");
    let loaded = load(&Source { path: Path::new("/etc/session.yaml"), text });
    loaded.unwrap_or_else(|problems| panic!("{problems:?}")).policy
});
/// `limited`: calls in any window of so many milliseconds.
const LIMIT: (usize, u64) = (3, 60_000);

fuzz_target!(|bytes: &[u8]| {
    let mut stage = Stage::new(bytes);
    for _ in 0..64 {
        if stage.choices.is_empty() {
            break;
        }
        stage.step();
    }
});

struct Stage<'a> {
    rehearsal: Rehearsal,
    choices: &'a [u8],
    now_ms: u64,
    /// What the client asked and has no answer to yet, by its id.
    asked: HashMap<RequestId, usize>,
    /// Lines of the client whose id could not be read: an error without id may answer each.
    unreadable: usize,
    /// Ids under which the server was asked, ever, and those it may still answer.
    seen_by_server: HashSet<RequestId>,
    at_server: Vec<RequestId>,
    /// The same the other way round.
    seen_by_client: HashSet<RequestId>,
    at_client: Vec<RequestId>,
    limited_ms: VecDeque<u64>,
}

const IDS: [&str; 6] = ["0", "1", "2", "\"a\"", "\"1\"", "9007199254740991"];
const TOOLS: [&str; 6] = ["allowed", "limited", "denied", "asks", "schema", "Allowed"];
const ARGUMENTS: [&str; 8] = [
    "{}",
    r#"{"n":1}"#,
    r#"{"n":100}"#,
    r#"{"n":101}"#,
    r#"{"N":101}"#,
    r#"{"n":1e2,"text":"\u0041"}"#,
    r#"{"n":"1"}"#,
    r#"{"need":null}"#,
];
const METHODS: [&str; 8] = [
    "initialize",
    "ping",
    "tools/list",
    "resources/read",
    "sampling/createMessage",
    "server/discover",
    "roots/list",
    "logging/setLevel",
];
const NOTIFICATIONS: [&str; 5] = [
    "notifications/initialized",
    "notifications/progress",
    "notifications/tools/list_changed",
    "notifications/message",
    "notifications/cancelled",
];
const PARAMS: [&str; 6] = [
    "{}",
    r#"{"progressToken":1,"progress":1}"#,
    r#"{"_meta":{"progressToken":"p"}}"#,
    r#"{"cursor":"c"}"#,
    r#"{"uri":"file:///x"}"#,
    r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
];
const RESULTS: [&str; 8] = [
    "{}",
    r#"{"content":[],"isError":true}"#,
    r#"{"tools":[{"name":"schema","inputSchema":{"required":["need"]}},{"name":"allowed","inputSchema":{}}]}"#,
    r#"{"tools":[{"name":"allowed"},{"name":"denied"}],"nextCursor":"n"}"#,
    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{}}"#,
    r#"{"resultType":"input_required","requestState":"s","inputRequests":{"k":{"method":"roots/list"}}}"#,
    r#"{"tools":7}"#,
    r#"{"protocolVersion":"2099-01-01","capabilities":{}}"#,
];

impl<'a> Stage<'a> {
    fn new(choices: &'a [u8]) -> Self {
        Self {
            rehearsal: Rehearsal::begin(POLICY.clone()),
            choices,
            now_ms: 0,
            asked: HashMap::new(),
            unreadable: 0,
            seen_by_server: HashSet::new(),
            at_server: Vec::new(),
            seen_by_client: HashSet::new(),
            at_client: Vec::new(),
            limited_ms: VecDeque::new(),
        }
    }

    fn byte(&mut self) -> usize {
        let Some((&byte, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        usize::from(byte)
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.byte() % texts.len()]
    }

    fn step(&mut self) {
        match self.byte() % 12 {
            0 | 1 | 2 => {
                let (id, tool, arguments) = (self.pick(&IDS), self.pick(&TOOLS), self.pick(&ARGUMENTS));
                let beside = self.pick(&["", "", "", r#","_meta":{"progressToken":1}"#, r#","requestState":"s""#]);
                self.client(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{beside}}}}}"#
                ));
            }
            3 => {
                let (id, method, params) = (self.pick(&IDS), self.pick(&METHODS), self.pick(&PARAMS));
                self.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
            }
            4 => {
                let (method, id) = (self.pick(&NOTIFICATIONS), self.pick(&IDS));
                let params = match method {
                    "notifications/cancelled" => format!(r#"{{"requestId":{id}}}"#),
                    _ => self.pick(&PARAMS).to_owned(),
                };
                self.client(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            }
            5 | 6 => self.answer_of_server(),
            7 => {
                let (id, method, params) = (self.pick(&IDS), self.pick(&METHODS), self.pick(&PARAMS));
                self.server(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
            }
            8 => {
                let (method, params) = (self.pick(&NOTIFICATIONS), self.pick(&PARAMS));
                self.server(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
            }
            9 => {
                let id = match self.at_client.len() {
                    0 => RequestId::Integer(1),
                    count => {
                        let place = self.byte() % count;
                        self.at_client[place].clone()
                    }
                };
                let result = self.pick(&RESULTS);
                self.client(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, text_of(&id)));
            }
            10 => {
                let ms = [1, 1_000, 5_000, 30_000, 60_000][self.byte() % 5];
                self.now_ms += ms;
                let sent = self.rehearsal.later(ms);
                self.check(&sent);
            }
            _ => {
                let (side, length) = (self.byte(), self.byte());
                let (line, rest) = self.choices.split_at(length.min(self.choices.len()));
                self.choices = rest;
                let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
                if side % 2 == 0 { self.client_bytes(&line) } else { self.server_bytes(&line) }
            }
        }
    }

    fn answer_of_server(&mut self) {
        let (choice, place) = (self.byte() % 8, self.byte());
        let id = match self.at_server.len() {
            count if choice == 0 || count == 0 => self.pick(&IDS).to_owned(),
            count if choice % 2 == 0 => text_of(&self.at_server.swap_remove(place % count)),
            count => text_of(&self.at_server[place % count]),
        };
        let result = self.pick(&RESULTS);
        self.server(&format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#));
    }

    fn client(&mut self, line: &str) {
        self.client_bytes(line.as_bytes());
    }

    fn server(&mut self, line: &str) {
        self.server_bytes(line.as_bytes());
    }

    fn client_bytes(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        match jsonrpc::read_line(line).map(|line| line.message) {
            Ok(Message::Request(request)) => *self.asked.entry(request.id).or_default() += 1,
            Err(refusal) if refusal.answered => match refusal.id {
                Some(id) => *self.asked.entry(id).or_default() += 1,
                None => self.unreadable += 1,
            },
            _ => {}
        }
        let sent = self.rehearsal.client(line);
        self.check(&sent);
    }

    fn server_bytes(&mut self, line: &[u8]) {
        if !line.is_empty() {
            let sent = self.rehearsal.server(line);
            self.check(&sent);
        }
    }

    fn check(&mut self, sent: &Sent) {
        for line in lines(&sent.to_server) {
            match jsonrpc::read_line(line).expect("a strict line").message {
                Message::Request(request) => self.asked_of_server(&request),
                Message::Notification(_) | Message::Response(_) => {}
            }
        }
        for line in lines(&sent.to_client) {
            if line.starts_with(br#"{"jsonrpc":"2.0","id":null,"#) {
                self.unreadable = self.unreadable.checked_sub(1).expect("an error that answers nothing");
                continue;
            }
            match jsonrpc::read_line(line).expect("a strict line").message {
                Message::Response(response) => {
                    let left = self.asked.get_mut(&response.id).filter(|left| **left > 0);
                    *left.expect("an answer to what was not asked, or a second one") -= 1;
                }
                Message::Request(request) => {
                    assert!(self.seen_by_client.insert(request.id.clone()), "an id of ours twice");
                    assert!(request.method != "sampling/createMessage", "the policy denies it");
                    self.at_client.push(request.id);
                }
                Message::Notification(_) => {}
            }
        }
    }

    fn asked_of_server(&mut self, request: &Request<'_>) {
        assert!(self.seen_by_server.insert(request.id.clone()), "an id of ours twice");
        self.at_server.push(request.id.clone());
        assert!(request.method != "resources/read", "the policy denies it");
        if request.method != "tools/call" {
            return;
        }
        let params = request.params.as_ref().expect("a call without parameters");
        let arguments = params.member("arguments");
        match params.member("name").and_then(Value::as_str).expect("a call without a name") {
            "allowed" => match arguments.and_then(|arguments| arguments.member("n")) {
                None => {}
                Some(Value::Number(n)) => {
                    assert!(n.text().parse::<f64>().expect("a number") <= 100.0, "over the condition");
                }
                Some(other) => panic!("{other:?} is at most 100?"),
            },
            "limited" if params.member("requestState").is_some() => {} // it may go on with a call that was counted
            "limited" => {
                self.limited_ms.push_back(self.now_ms);
                let window = self.limited_ms.iter().filter(|at| self.now_ms - **at < LIMIT.1);
                assert!(window.count() <= LIMIT.0, "over the limit");
            }
            "schema" => {
                let need = arguments.and_then(|arguments| arguments.member("need"));
                assert!(need.is_some_and(|need| *need != Value::Null), "a required argument is missing");
            }
            other => panic!("{other} reached the server"),
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "an unfinished line");
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn text_of(id: &RequestId) -> String {
    let mut out = Vec::new();
    id.write(&mut out);
    String::from_utf8(out).expect("ids are UTF-8")
}
