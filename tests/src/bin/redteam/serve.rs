//! The least of MCP that a client needs to call a tool, without a JSON library: a message is looked at for the members that
//! matter, in the order in which the supervisor and the harness write them, and nothing that the suites send needs an escape.

use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pause, pipe2, setpgid};

use crate::attempt;

/// Longest time of one probe. Longer than any wait of a probe for the other side.
const PROBE_LIMIT: Duration = Duration::from_secs(12);
const HELLO: &str = r#""capabilities":{"tools":{}},"serverInfo":{"name":"redteam","version":"1"}}"#;
const TOOLS: &str = r#"{"tools":[{"name":"probe","inputSchema":{"type":"object","required":["name"]}}]}"#;

pub(crate) fn serve() -> io::Result<()> {
    // What probes leave behind is ours to bury: not every machine's first process does.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let mut last = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Some(id) = value_of(&line, "\"id\":") else { continue };
        let outcome = match text_of(&line, "\"method\":\"") {
            Some("initialize") => {
                let version = text_of(&line, "\"protocolVersion\":\"").unwrap_or_default();
                format!("\"result\":{{\"protocolVersion\":\"{version}\",{HELLO}")
            }
            Some("tools/list") => format!("\"result\":{TOOLS}"),
            Some("tools/call") => {
                end(&mut last);
                let arguments = line.split_once("\"arguments\":{").map_or("", |(_, rest)| rest);
                let argument = text_of(arguments, "\"argument\":\"").unwrap_or_default();
                let told = in_child(&mut last, text_of(arguments, "\"name\":\"").unwrap_or_default(), argument);
                format!("\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}]}}", escaped(&told))
            }
            Some("ping") => "\"result\":{}".into(),
            _ => "\"error\":{\"code\":-32601,\"message\":\"no such method\"}".into(),
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{{\"jsonrpc\":\"2.0\",\"id\":{id},{outcome}}}")?;
        stdout.flush()?;
    }
    end(&mut last);
    Ok(())
}

fn value_of<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark)?.1.split([',', '}']).next().map(str::trim)
}

fn text_of<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark)?.1.split('"').next()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                // A String takes whatever is written to it.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Ends the last probe's child and its process group.
fn end(last: &mut Option<Pid>) {
    if let Some(child) = last.take() {
        // It may have ended itself, or left the group: then there is nothing to kill.
        let _ = kill(Pid::from_raw(-child.as_raw()), Signal::SIGKILL);
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
    }
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
}

/// Runs one probe in a child, which stays until [`end`].
fn in_child(last: &mut Option<Pid>, name: &str, argument: &str) -> String {
    let Ok((read_end, write_end)) = pipe2(OFlag::O_CLOEXEC) else { return "pipe: refused".into() };
    // SAFETY: this program is single-threaded.
    match unsafe { fork() } {
        Err(errno) => format!("fork: {errno:?}"),
        Ok(ForkResult::Child) => {
            drop(read_end);
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            // What is refused here shows as a process left behind.
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let told = attempt(name, argument);
            let _ = std::fs::File::from(write_end).write_all(told.as_bytes());
            loop {
                pause();
            }
        }
        Ok(ForkResult::Parent { child }) => {
            drop(write_end);
            *last = Some(child);
            let timeout = PollTimeout::try_from(PROBE_LIMIT).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(read_end.as_fd(), PollFlags::POLLIN)];
            if poll(&mut watched, timeout) == Ok(0) {
                return format!("no word in {PROBE_LIMIT:?}");
            }
            // One read: children of the child may hold the pipe open.
            let mut told = [0; 8192];
            let length = std::fs::File::from(read_end).read(&mut told).unwrap_or(0);
            if length == 0 { how_it_ended(last, child) } else { String::from_utf8_lossy(&told[..length]).into_owned() }
        }
    }
}

fn how_it_ended(last: &mut Option<Pid>, child: Pid) -> String {
    *last = None;
    match waitpid(child, None) {
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        other => format!("ended: {other:?}"),
    }
}
