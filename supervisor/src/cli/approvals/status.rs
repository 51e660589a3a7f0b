//! `status`: the running sessions and how they stand.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Done, complain, end};
use crate::audit::text::visible;
use crate::cli::sessions::{all, ask_all};
use crate::monitor::runtime_dir::{self, MonitorId};
use crate::relay::control::{Reply, Request, Status};

/// Digits of a policy's hash that people are shown.
const HASH_DIGITS: usize = 12;

/// Arguments of `status`.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// One session.
#[derive(Debug, Serialize)]
struct Standing {
    #[serde(flatten)]
    status: Status,
    /// The process to signal; none where the session does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor_pid: Option<i32>,
    /// The server's command, where the monitor's own command line has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
}

/// Runs `status`.
#[must_use]
pub fn status(arguments: StatusArgs) -> ExitCode {
    end(tell(arguments, &mut io::stdout().lock()))
}

fn tell(arguments: StatusArgs, out: &mut impl Write) -> Done {
    let (mut sessions, mut is_whole) = (Vec::new(), true);
    let names = all()?;
    let found = runtime_dir::sessions(Path::new(runtime_dir::RUNTIME)).unwrap_or_default();
    let monitors: HashMap<_, _> = found.into_iter().map(|found| (found.session, found.monitor)).collect();
    for (session, answer) in names.iter().zip(ask_all(&names, &Request::Status {})) {
        match answer {
            Ok(Some(Reply::Status(status))) => {
                let monitor = monitors.get(session).copied();
                let command = monitor.map(command_of).unwrap_or_default();
                let monitor_pid = monitor.map(|monitor| monitor.pid);
                sessions.push(Standing { status: *status, monitor_pid, command });
            }
            Ok(None) => {}
            Ok(Some(_)) => is_whole = complain(&format!("session {session} answers another question")),
            Err(error) => is_whole = complain(&crate::report::chain(&error)),
        }
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &sessions)?;
        writeln!(out)?;
    } else if sessions.is_empty() && is_whole {
        writeln!(out, "no session runs")?;
    } else {
        sessions.iter().try_for_each(|session| print(session, out))?;
    }
    Ok(if is_whole { 0 } else { 2 })
}

/// What stands behind `--` on the monitor's command line; nothing where that process is another by now.
fn command_of(monitor: MonitorId) -> Vec<String> {
    let line = fs::read(format!("/proc/{}/cmdline", monitor.pid)).unwrap_or_default();
    if MonitorId::of(monitor.pid).is_ok_and(|found| found == monitor) { behind_dashes(&line) } else { Vec::new() }
}

/// The words behind the first `--` of a command line (proc(5): each ends in a NUL).
fn behind_dashes(line: &[u8]) -> Vec<String> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let words = line.split(|byte| *byte == 0).skip_while(|word| *word != b"--").skip(1);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn print(Standing { status, monitor_pid, command }: &Standing, out: &mut impl Write) -> io::Result<()> {
    let Status { session, policy, sha256, started, observe, allowed, denied, observed, waiting } = status;
    write!(out, "{}  {}  since {}", visible(session), visible(policy), visible(&to_the_second(started)))?;
    match monitor_pid {
        Some(pid) => writeln!(out, "  monitor {pid}")?,
        None => writeln!(out)?,
    }
    if !command.is_empty() {
        writeln!(out, "    {}", visible(&command.join(" ")))?;
    }
    write!(out, "    calls: {allowed} allowed, {denied} denied, {waiting} waiting for a person; ")?;
    if *observe {
        write!(out, "ONLY OBSERVING, {observed} let through against the policy; ")?;
    }
    let short: String = sha256.chars().take(HASH_DIGITS).collect();
    writeln!(out, "policy sha256 {}", visible(&short))
}

/// An RFC 3339 time without its fraction.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}{}", fraction.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_two_or_three_short_lines() {
        let status = Status {
            session: "f".repeat(32),
            policy: "p\u{1b}".into(),
            sha256: "0123456789abcdef".repeat(4),
            started: "2024-12-31T23:59:59.123456789Z".into(),
            observe: true,
            allowed: 1,
            denied: 2,
            observed: 3,
            waiting: 4,
        };
        let printed = |standing: &Standing| {
            let mut out = Vec::new();
            print(standing, &mut out).unwrap();
            String::from_utf8(out).unwrap().replace(&"f".repeat(32), "S")
        };
        let calls = "    calls: 1 allowed, 2 denied, 4 waiting for a person; ONLY OBSERVING, 3 let through against the \
                     policy; policy sha256 0123456789ab\n";
        let mut standing =
            Standing { status, monitor_pid: Some(77), command: vec!["node".into(), "a\u{202e}.js".into()] };
        let head = "S  p\\u{1b}  since 2024-12-31T23:59:59Z";
        assert_eq!(printed(&standing), format!("{head}  monitor 77\n    node a\\u{{202e}}.js\n{calls}"));
        (standing.monitor_pid, standing.command) = (None, Vec::new());
        assert_eq!(printed(&standing), format!("{head}\n{calls}"));
    }

    #[test]
    fn the_command_is_what_stands_behind_the_dashes() {
        assert_eq!(behind_dashes(b"isb\0run\0-c\0p\0--\0node\0--\0x y\0"), ["node", "--", "x y"]);
        for none in [&b""[..], b"isb\0run\0--profile\0p\0", b"isb\0run\0--\0"] {
            assert_eq!(behind_dashes(none), [""; 0]);
        }
    }
}
