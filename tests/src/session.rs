//! One MCP client's side of a process: lines in, lines out, each with a deadline.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use intercept_sandbox::sys::pidfd;
use nix::poll::PollTimeout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::processes::{self, Process};
use crate::wait;

/// Longest wait for one answer. Node under load on two cores takes seconds to start.
pub const ANSWER_LIMIT: Duration = wait::COMES_LIMIT;
/// Longest wait for an end that nobody hurries.
pub const END_LIMIT: Duration = wait::COMES_LIMIT;
/// Longest wait for the last word on standard error after the end. Who still holds it then was left behind, and may for ever.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(10);

/// A running server, sandboxed or bare, and its client's ends of the pipes.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    buffer: Vec<u8>,
    lines: VecDeque<String>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    next_id: u64,
}

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or 128 + n for signal n.
    pub code: i32,
    /// Everything that it wrote to standard error.
    pub stderr: String,
    /// Lines of its standard output that nobody had read.
    pub lines: Vec<String>,
    /// Time from the call to the end.
    pub took: Duration,
}

impl Session {
    /// Starts `command` with all three streams piped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts it")]
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let reader = collect(child.stderr.take().expect("piped"), Arc::clone(&stderr));
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect("piped"),
            child,
            buffer: Vec::new(),
            lines: VecDeque::new(),
            stderr,
            stderr_reader: Some(reader),
            next_id: 1,
        }
    }

    /// The started process' number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The started process and all its descendants, as the host sees them now.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::tree(self.pid())
    }

    /// The policed server's process: the descendant that runs with `marker` among its arguments and is not the supervisor.
    ///
    /// # Panics
    /// When there is none within [`ANSWER_LIMIT`].
    #[must_use]
    pub fn server(&self, marker: &str) -> Process {
        let own = std::fs::read_link(format!("/proc/{}/exe", self.pid())).ok();
        let is_server = |process: &Process| {
            process.arguments().iter().any(|argument| argument == marker)
                && std::fs::read_link(format!("/proc/{}/exe", process.pid)).ok() != own
        };
        wait::until(ANSWER_LIMIT, || self.processes().into_iter().find(is_server))
            .unwrap_or_else(|| panic!("no server with {marker:?} among {:?}\n{}", self.processes(), self.stderr()))
    }

    /// One of our own processes, by its name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_ours(&self, name: &str) -> Process {
        let found = self.processes().into_iter().find(|process| process.comm == name);
        found.unwrap_or_else(|| panic!("no {name} among {:?}\n{}", self.processes(), self.stderr()))
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether standard error has ended and [`Self::stderr`] is all of it.
    #[must_use]
    pub fn has_said_all(&self) -> bool {
        self.stderr_reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// A closed pipe.
    ///
    /// # Panics
    /// After [`Self::close`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.as_mut().expect("the session is open");
        stdin.write_all(bytes)?;
        stdin.flush()
    }

    /// Sends one line.
    ///
    /// # Panics
    /// When the other side is gone.
    pub fn send_line(&mut self, line: &str) {
        if let Err(error) = self.send_bytes(format!("{line}\n").as_bytes()) {
            panic!("cannot send {line:.200}: {error}\n{}", self.stderr());
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    /// The next line, if one comes within `limit`.
    ///
    /// # Panics
    /// When reading fails.
    pub fn try_line(&mut self, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if !self.has_more(timeout) || !self.read_some() {
                return self.lines.pop_front();
            }
        }
    }

    /// The next message, whatever it is.
    ///
    /// # Panics
    /// When none comes within [`ANSWER_LIMIT`], or it is not JSON.
    pub fn receive(&mut self) -> Value {
        let Some(line) = self.try_line(wait::on_this_machine(ANSWER_LIMIT)) else {
            panic!("no line came; processes: {:?}\nstderr:\n{}", self.processes(), self.stderr())
        };
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON: {error}: {line:.300}"))
    }

    /// Sends a request under an id of our own and waits for its answer; other messages are passed over.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        self.answer_to(&json!(id))
    }

    /// Waits for the answer to `id`; other messages are passed over.
    pub fn answer_to(&mut self, id: &Value) -> Value {
        loop {
            let message = self.receive();
            if message.get("id") == Some(id) && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The handshake of the 2025-06-18 era; returns the result of `initialize`.
    ///
    /// # Panics
    /// When the answer is no result.
    pub fn initialize(&mut self) -> Value {
        let client = json!({"name": "harness", "version": "1"});
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let answer = self.request("initialize", params);
        assert!(answer["result"].is_object(), "initialize answered {answer}");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        answer["result"].clone()
    }

    /// The names that `tools/list` shows, sorted.
    ///
    /// # Panics
    /// When the answer is no list.
    pub fn tool_names(&mut self) -> Vec<String> {
        let answer = self.request("tools/list", json!({}));
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("tools/list answered {answer}"));
        let mut names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Calls a tool; returns the whole answer.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Calls a tool while the answer to the request `other` is outstanding; the tool's answer, and the other one if that came first.
    pub fn call_beside(&mut self, tool: &str, arguments: Value, other: &Value) -> (Value, Option<Value>) {
        let id = json!(self.next_id);
        self.next_id += 1;
        let params = json!({"name": tool, "arguments": arguments});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
        let mut beside = None;
        loop {
            let message = self.receive();
            match message.get("id").filter(|_| message.get("method").is_none()) {
                Some(of) if *of == id => return (message, beside),
                Some(of) if of == other => beside = Some(message),
                _ => {}
            }
        }
    }

    /// Sends `signal` to the started process.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("pids are small");
        kill(Pid::from_raw(pid), signal).expect("our own child can be signalled");
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Whether the started process has ended.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Closes its standard input and waits for its end.
    #[must_use]
    pub fn finish(mut self) -> Ended {
        self.close();
        self.ended()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within [`END_LIMIT`].
    #[must_use]
    pub fn ended(mut self) -> Ended {
        let begun = Instant::now();
        let status = wait::until(END_LIMIT, || self.child.try_wait().expect("our own child"));
        let Some(status) = status else { panic!("still running: {:?}\nstderr:\n{}", self.processes(), self.stderr()) };
        let took = begun.elapsed();
        // Everything that held the pipes is gone, or the sandbox leaked: then the leak is the finding, not a hang here.
        while self.has_more(PollTimeout::ZERO) && self.read_some() {}
        if let Some(reader) = self.stderr_reader.take()
            && wait::becomes_true(LAST_WORD_LIMIT, || reader.is_finished())
        {
            reader.join().expect("the reader does not panic");
        }
        Ended { code: code(status), stderr: self.stderr(), lines: self.lines.drain(..).collect(), took }
    }

    /// Whether the pipe has bytes or its end, within `timeout`. A test that was stopped and let go on asks anew (SIGCONT interrupts
    /// poll(2)).
    fn has_more(&self, timeout: PollTimeout) -> bool {
        pidfd::readable(self.stdout.as_fd(), timeout).expect("a pipe can be polled")
    }

    /// Reads once; false at the end of the stream.
    fn read_some(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        let length = self.stdout.read(&mut chunk).expect("a pipe can be read");
        self.buffer.extend_from_slice(&chunk[..length]);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            self.lines.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        length > 0
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A test that failed must not leave its session behind. It may have ended already: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a tool's answer: its text contents, one a line.
#[must_use]
pub fn text_of(answer: &Value) -> String {
    let contents = answer["result"]["content"].as_array().map_or(&[][..], Vec::as_slice);
    let texts: Vec<&str> = contents.iter().filter_map(|content| content["text"].as_str()).collect();
    texts.join("\n")
}

/// The code of a refusal by policy: `_meta["intercept-sandbox/decision"].code`.
#[must_use]
pub fn denial_code(answer: &Value) -> Option<&str> {
    answer["result"]["_meta"]["intercept-sandbox/decision"]["code"].as_str()
}

/// Whether a tool's answer is what the server said of a call that succeeded.
#[must_use]
pub fn is_allowed(answer: &Value) -> bool {
    denial_code(answer).is_none() && answer["result"]["content"].is_array() && answer["result"]["isError"] != true
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().expect("ended by code or by signal"))
}

fn collect(mut stderr: ChildStderr, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 8192];
        while let Ok(length @ 1..) = stderr.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..length]);
            into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    })
}
