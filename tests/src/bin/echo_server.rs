//! The cheapest MCP server there is, so that a bench measures the road and not the server: one tool, `echo`.
//! `echo_server tells` announces that its list of tools changes, as a server with `tools.listChanged` does.
//! `echo_server mute` answers everything but calls, and says on stderr what it is told to cancel.
//! `echo_server exit CODE`, `echo_server die` and `echo_server stay` end, or do not end, as the lifecycle suite wants.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use nix::sys::signal::{Signal, raise};
use nix::unistd::pause;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        [] | ["tells"] => serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["mute"] => serve_no_calls().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["exit", code] => ExitCode::from(code.parse::<u8>().unwrap_or(u8::MAX)),
        ["die", signal] => {
            let signal = signal.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
            raise(signal.unwrap_or(Signal::SIGABRT)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        // Reads nothing and ignores the end of its input.
        ["stay"] => loop {
            pause();
        },
        // Answers the handshake, then dies with its next request pending.
        ["die-on-call"] => serve_until_call(),
        _ => ExitCode::from(2),
    }
}

fn serve() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        answer(&line?)?;
    }
    Ok(())
}

fn serve_no_calls() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.contains("notifications/cancelled") {
            writeln!(io::stderr(), "told {line}")?;
        } else if !line.contains("\"tools/call\"") {
            answer(&line)?;
        }
    }
    Ok(())
}

fn serve_until_call() -> ExitCode {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if line.contains("\"tools/call\"") {
            return ExitCode::from(7);
        }
        if answer(&line).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn capabilities() -> Value {
    if std::env::args().nth(1).is_some_and(|mode| mode == "tells") { json!({"listChanged": true}) } else { json!({}) }
}

fn answer(line: &str) -> io::Result<()> {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Ok(()) };
    let Some(id) = message.get("id") else { return Ok(()) };
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": capabilities()},
            "serverInfo": {"name": "echo", "version": "1"},
        }),
        Some("tools/list") => {
            let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
            json!({"tools": [{"name": "echo", "inputSchema": schema}]})
        }
        Some("tools/call") => {
            json!({"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]})
        }
        _ => json!({}),
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", json!({"jsonrpc": "2.0", "id": id, "result": result}))?;
    stdout.flush()
}
