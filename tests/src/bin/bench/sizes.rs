//! What the length of a message costs, in both directions, against two `cat`s in its way.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the arguments, or of the result's text; with the calls that one figure is the median of.
const SIZES: [(usize, usize); 3] = [(64, 3000), (4 << 10, 3000), (1_500_000, 200)];
/// Rounds that the calls are split into; the roads take turns, so that a busy moment of the machine meets all of them.
const ROUNDS: usize = 4;
/// Calls before the clock starts, each round.
const WARM_UP: usize = 20;
/// Where the number stands in the id of a call.
const NUMBER_WIDTH: usize = 9;

/// One row: medians by road, in the order of the roads.
pub(crate) struct Row {
    pub(crate) bytes: usize,
    pub(crate) direction: &'static str,
    pub(crate) medians: Vec<Duration>,
}

/// The way of the bytes.
#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

/// Every size and direction through every road. Each road leads to a `sized_server`.
pub(crate) fn rows(roads: &[&dyn Fn() -> Command]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (bytes, calls) in SIZES {
        for (direction, name) in [(Direction::ToServer, "arguments"), (Direction::ToClient, "result")] {
            let mut times = vec![Vec::with_capacity(calls); roads.len()];
            for _ in 0..ROUNDS {
                for (times, road) in times.iter_mut().zip(roads) {
                    times.extend(round(road(), bytes, direction, calls / ROUNDS));
                }
            }
            let median = |mut times: Vec<Duration>| {
                times.sort_unstable();
                times[times.len() / 2]
            };
            rows.push(Row { bytes, direction: name, medians: times.into_iter().map(median).collect() });
        }
    }
    rows
}

/// The round trips of one session.
fn round(command: Command, bytes: usize, direction: Direction, calls: usize) -> Vec<Duration> {
    let mut client = Client::start(command);
    let start = r#"{"jsonrpc":"2.0","id":""#;
    let (tool, arguments, answer_bytes) = match direction {
        Direction::ToServer => ("take", format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes)), 0),
        Direction::ToClient => ("give", format!(r#"{{"bytes":{bytes}}}"#), bytes),
    };
    let call = format!(
        "{start}{}\",\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{arguments}}}}}\n",
        "0".repeat(NUMBER_WIDTH)
    );
    let mut call = call.into_bytes();
    let mut times = Vec::with_capacity(calls);
    for number in 0..WARM_UP + calls {
        let id = format!("{number:0NUMBER_WIDTH$}");
        call[start.len()..start.len() + NUMBER_WIDTH].copy_from_slice(id.as_bytes());
        let begun = Instant::now();
        client.ask(&call);
        let took = begun.elapsed();
        let shown = || String::from_utf8_lossy(&client.answer[..client.answer.len().min(200)]).into_owned();
        let head = shown();
        assert!(head.contains(&id) && head.contains("\"text\":\"x"), "an answer, not a refusal: {head}");
        assert!(client.answer.len() > answer_bytes, "the whole of it");
        if number >= WARM_UP {
            times.push(took);
        }
    }
    client.finish();
    times
}

/// A client that does next to nothing, so that the road is measured.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    room: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[expect(clippy::disallowed_methods, reason = "the bench is not the supervisor: it starts it")]
        let mut child = command.spawn().expect("it can be started");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut client = Self { child, stdin, stdout, room: vec![0; 256 << 10], answer: Vec::new() };
        client.ask(
            b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"b\",\"version\":\"1\"}}}\n",
        );
        client
            .stdin
            .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
            .expect("a pipe can be written");
        client
    }

    /// Sends one line and reads one.
    fn ask(&mut self, line: &[u8]) {
        self.stdin.write_all(line).expect("a pipe can be written");
        self.answer.clear();
        while self.answer.last() != Some(&b'\n') {
            let count = self.stdout.read(&mut self.room).expect("a pipe can be read");
            assert!(count > 0, "it ended");
            self.answer.extend_from_slice(&self.room[..count]);
        }
    }

    fn finish(self) {
        let Self { mut child, stdin, stdout, .. } = self;
        drop((stdin, stdout));
        let status = child.wait().expect("our own child");
        assert!(status.success(), "{status}");
    }
}
