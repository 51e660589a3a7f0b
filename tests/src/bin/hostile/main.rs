//! A hostile MCP server: does as it is told through `tools/call` of its one tool `probe`, and tells what came of it.
//! Nobody believes it: the suites judge on the host. `hostile linger MARKER` is what it leaves behind when it can.
#![allow(unsafe_code, reason = "attacks are raw system calls; this program is no part of the product")]

mod files;
mod kernel;
mod network;
mod process;
mod raw;

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

/// What a probe reports: a word on success, an error's name otherwise.
type Told = Result<String, raw::Failure>;
/// One attack. `argument` is whatever the suite wants it to know.
type Probe = fn(argument: &str) -> Told;

/// Every attack, by name.
const PROBES: &[&[(&str, Probe)]] = &[network::PROBES, files::PROBES, kernel::PROBES, process::PROBES];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "linger", _] => process::linger(),
        [_, "probe", name] => writeln!(io::stdout(), "{}", attempt(name, "")),
        [_, "probe", name, argument] => writeln!(io::stdout(), "{}", attempt(name, argument)),
        _ => serve(),
    }
}

/// The least of MCP that a client needs to call a tool.
fn serve() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let Some(id) = message.get("id") else { continue };
        let answer = match message["method"].as_str() {
            Some("initialize") => json!({"result": {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "hostile", "version": "1"},
            }}),
            Some("tools/list") => json!({"result": {"tools": [
                {"name": "probe", "inputSchema": {"type": "object", "required": ["name"]}},
            ]}}),
            Some("tools/call") => {
                let arguments = &message["params"]["arguments"];
                let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
                let told = attempt(&text("name"), &text("argument"));
                json!({"result": {"content": [{"type": "text", "text": told}]}})
            }
            Some("ping") => json!({"result": {}}),
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        };
        let mut answer = answer;
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = id.clone();
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn attempt(name: &str, argument: &str) -> String {
    match PROBES.iter().copied().flatten().find(|(known, _)| *known == name) {
        None => format!("no probe is called {name}"),
        Some((_, probe)) => match probe(argument) {
            Ok(told) => format!("ok {told}").trim_end().to_owned(),
            Err(failure) => failure.to_string(),
        },
    }
}
