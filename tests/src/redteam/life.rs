//! Cases with sessions of their own.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::ground::Ground;
use super::outcome::Seen;
use super::roads::Road;
use super::visit::Visit;
use crate::processes;
use crate::remains::GONE_LIMIT;
use crate::wait;

/// How long a daemon whose client died is given where nobody ends it: longer than it would take us.
const BARE_LIMIT: Duration = Duration::from_secs(6);
/// Longest line, most of stderr that is ours to pass on.
const PASSED_BYTES_MAX: usize = 1 << 20;

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Input,
    Term,
    Kill,
}

fn seen(open: bool, told: impl Into<String>) -> Seen {
    Seen { open, told: told.into().lines().next().unwrap_or_default().chars().take(48).collect() }
}

fn marker(case: &str) -> String {
    format!("redteam-{case}-{}", std::process::id())
}

/// Whether a process with `marker` among its arguments is still there after `limit`; what is there is ended. Bare nobody ends it, and
/// a slow machine does not make a daemon go: there the limit is as it is.
fn survives(marker: &str, road: Road, limit: Duration) -> bool {
    let is_gone = || processes::with_argument(marker).is_empty();
    let gone = if road == Road::Bare {
        std::thread::sleep(limit);
        is_gone()
    } else {
        wait::becomes_true(limit, is_gone)
    };
    for process in processes::with_argument(marker) {
        let _ = process.signal(Signal::SIGKILL);
    }
    !gone
}

/// A daemon of the server's, after the session's end.
pub(super) fn outlives(ground: &Ground, road: Road, probe: &str, end: End) -> Seen {
    let mut visit = Visit::start(ground, road);
    let marker = marker(probe);
    let told = visit.ask(probe, &marker);
    let there = || !processes::with_argument(&marker).is_empty();
    if !wait::becomes_true(wait::COMES_LIMIT, there) {
        return seen(false, format!("no daemon: {told}"));
    }
    let mut session = visit.session;
    match end {
        End::Input => session.close(),
        End::Term => session.signal(Signal::SIGTERM),
        End::Kill => session.signal(Signal::SIGKILL),
    }
    // The end of the session's own process is awaited first: what stays after it is the finding.
    let _ = wait::until(wait::COMES_LIMIT, || session.has_ended().then_some(()));
    seen(survives(&marker, road, GONE_LIMIT), told)
}

/// The same where the client dies: its ends of the pipes close and nothing else is said.
pub(super) fn outlives_client(ground: &Ground, road: Road) -> Seen {
    let marker = marker("client");
    let inner = road.command(ground, &[]);
    // The client is a shell that starts the session with a pipe from itself, asks for the daemon, and is then killed.
    let message = |id: u32, method: &str, params: serde_json::Value| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let call = json!({"name": "probe", "arguments": {"name": "daemonise", "argument": marker}});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let lines = [message(1, "initialize", hello), ready.to_string(), message(2, "tools/call", call)].join("\n");
    let mut client = Command::new("sh");
    client
        .arg("-c")
        .arg("lines=$1; shift; { printf '%s\\n' \"$lines\"; exec sleep 60; } | \"$@\"")
        .arg("sh")
        .arg(lines);
    client
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    client.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts it")]
    let mut client = client.spawn().expect("a shell is there");
    let there = wait::becomes_true(wait::COMES_LIMIT, || !processes::with_argument(&marker).is_empty());
    // The shell and the sleep that holds the writing end; the session itself is left alone.
    for process in processes::tree(client.id()) {
        if process.pid == client.id() || process.arguments() == ["sleep", "60", ""] {
            let _ = process.signal(Signal::SIGKILL);
        }
    }
    let _ = client.wait();
    if !there {
        return seen(false, "no daemon");
    }
    // The supervisor gives the server time to end by itself first.
    let limit = if road == Road::Bare { BARE_LIMIT } else { wait::COMES_LIMIT };
    seen(survives(&marker, road, limit), "left")
}

/// A server that connects without a pause, while the supervisor is killed.
pub(super) fn connects_while_killed(ground: &Ground, road: Road) -> Seen {
    let mut visit = Visit::start(ground, road);
    ground.canaries.take_all();
    let told = visit.ask("connect-forever", "");
    std::thread::sleep(Duration::from_millis(200));
    let crowd = visit.crowd();
    visit.session.signal(Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(500));
    let reached = ground.canaries.take_all();
    drop(visit);
    for process in crowd.into_iter().filter(processes::Process::is_alive) {
        let _ = process.signal(Signal::SIGKILL);
    }
    ground.canaries.take_all();
    seen(!reached.is_empty(), told)
}

pub(super) fn kills_other(ground: &Ground, road: Road) -> Seen {
    let other = Visit::start(ground, road);
    let mut visit = Visit::start(ground, road);
    let told = visit.ask("kill", &other.server.pid.to_string());
    let limit = if road == Road::Bare { wait::COMES_LIMIT } else { Duration::from_millis(500) };
    let dead = wait::becomes_true(limit, || other.is_over());
    seen(dead, told)
}

pub(super) fn reads_other(ground: &Ground, road: Road) -> Seen {
    let secret = "isb-argument-of-another";
    let other = Visit::with_arguments(ground, road, &["serve", secret]);
    let mut visit = Visit::start(ground, road);
    let told = visit.ask("read-proc", &format!("{}/cmdline", other.server.pid));
    seen(told.contains(secret), told)
}

pub(super) fn shares_uid(ground: &Ground, road: Road) -> Seen {
    let (one, two) = (Visit::start(ground, road), Visit::start(ground, road));
    let (one, two) = (one.server.status("Uid"), two.server.status("Uid"));
    seen(one.is_none() || one == two, format!("{one:?} {two:?}"))
}

pub(super) fn reads_left(ground: &Ground, road: Road) -> Seen {
    let path = super::rows::PLANTED[0];
    let mut first = Visit::start(ground, road);
    first.ask("write-path", path);
    let _ = first.session.finish();
    let told = Visit::start(ground, road).ask("read-path", path);
    let open = told.contains("planted");
    ground.reset();
    seen(open, told)
}

/// A core file needs a place to be written to: the server's folder, where the host looks for it.
pub(super) fn core_dump(ground: &Ground, road: Road) -> Seen {
    let told = Visit::start(ground, road).ask("core-dump", "");
    let names = fs::read_dir(Ground::IMAGES).expect("planted").flatten().map(|entry| entry.file_name());
    let open = names.into_iter().any(|name| name.to_string_lossy().starts_with("core"));
    ground.reset();
    seen(open, told)
}

/// A file of a size that no disk has. It takes no block, so nobody who counts room sees it.
pub(super) fn huge_file(ground: &Ground, road: Road) -> Seen {
    let told = Visit::bounded(ground, road).ask("huge-sparse-file", "");
    let open = fs::metadata(Ground::image("sparse")).is_ok_and(|found| found.len() > 16 << 20);
    ground.reset();
    seen(open, told)
}

/// What a client hears of a probe that writes to the server's output: the longest line, lines that are no messages, stderr.
fn hears(ground: &Ground, road: Road, probe: &str) -> (usize, usize, usize) {
    let mut visit = Visit::start(ground, road);
    let arguments = json!({"name": "probe", "arguments": {"name": probe, "argument": ""}});
    let call = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": arguments});
    let (mut longest, mut noise) = (0, 0);
    if visit.session.send_bytes(format!("{call}\n").as_bytes()).is_ok() {
        let deadline = Instant::now() + wait::on_this_machine(wait::COMES_LIMIT);
        while let Some(line) = visit.session.try_line(deadline.saturating_duration_since(Instant::now())) {
            longest = longest.max(line.len());
            noise += usize::from(!line.starts_with('{'));
            if line.contains("\"id\":77") {
                break;
            }
        }
    }
    let ended = visit.session.finish();
    (longest, noise, ended.stderr.len())
}

pub(super) fn long_line(ground: &Ground, road: Road) -> Seen {
    let (longest, _, _) = hears(ground, road, "output-line");
    seen(longest > PASSED_BYTES_MAX, format!("longest line {longest} bytes"))
}

pub(super) fn noise(ground: &Ground, road: Road) -> Seen {
    let (_, noise, _) = hears(ground, road, "output-noise");
    seen(noise > 0, format!("{noise} lines that are no messages"))
}

pub(super) fn stderr_flood(ground: &Ground, road: Road) -> Seen {
    let (_, _, stderr) = hears(ground, road, "stderr-flood");
    seen(stderr > PASSED_BYTES_MAX, format!("{stderr} bytes on stderr"))
}
