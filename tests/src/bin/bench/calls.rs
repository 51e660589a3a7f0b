//! The round trip of one call.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::session::Session;
use serde_json::json;

use crate::CALLS;

/// Calls before the clock starts.
const WARM_UP: usize = 200;

/// Rounds that the calls are split into; the roads take turns, so that a busy moment of the machine meets all of them.
const ROUNDS: usize = 5;

/// Median round trip of `CALLS` sequential calls through each road.
pub(crate) fn medians<'a>(roads: &[(&'a str, &dyn Fn() -> Command)]) -> Vec<(&'a str, Duration)> {
    let mut times = vec![Vec::with_capacity(CALLS); roads.len()];
    for _ in 0..ROUNDS {
        for (times, (_, command)) in times.iter_mut().zip(roads) {
            times.extend(round(command()));
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    roads.iter().zip(&mut times).map(|((name, _), times)| (*name, median(times))).collect()
}

/// The round trips of one session.
fn round(command: Command) -> Vec<Duration> {
    let mut session = Session::start(command);
    session.initialize();
    let mut times = Vec::with_capacity(CALLS / ROUNDS);
    for number in 0..WARM_UP + CALLS / ROUNDS {
        // The argument text is 64 bytes long.
        let message = json!({"jsonrpc": "2.0", "id": format!("b{number}"), "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": format!("{number:064}")}}})
        .to_string();
        let begun = Instant::now();
        session.send_line(&message);
        let line = session.try_line(harness::session::ANSWER_LIMIT).expect("an answer");
        let took = begun.elapsed();
        assert!(line.contains(&format!("{number:064}")), "an echo, not a refusal: {line}");
        if number >= WARM_UP {
            times.push(took);
        }
    }
    assert_eq!(session.finish().code, 0);
    times
}
