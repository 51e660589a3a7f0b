//! The round trip of one call.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::session::Session;
use serde_json::json;

use crate::CALLS;

/// Calls before the clock starts.
const WARM_UP: usize = 200;

/// Median round trip of `CALLS` sequential calls through `command`.
pub(crate) fn median(command: Command) -> Duration {
    let mut session = Session::start(command);
    session.initialize();
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..WARM_UP + CALLS {
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
    times.sort_unstable();
    times[times.len() / 2]
}
