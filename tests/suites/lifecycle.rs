//! Beginnings and ends: exit codes, shutdown, and what is left when a part of us dies.

use std::fs;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::arena::{self, API_ADDRESS, API_HOST, Arena, ROOT};
use harness::canary::Canaries;
use harness::processes::{self, Process, Watch};
use harness::remains::GONE_LIMIT;
use harness::run::Run;
use harness::session::{ANSWER_LIMIT, Session};
use harness::stand_in::StandIn;
use harness::{policies, records, table, wait};
use nix::sys::signal::Signal;
use serde_json::json;

fn echo(arena: &Arena, arguments: &[&str]) -> Run {
    let program = arena.program("echo_server");
    let words = [program.to_str().expect("a plain path")].into_iter().chain(arguments.iter().copied());
    Run::new(arena, &policies::plain(&["echo"], &format!("{ROOT}/bin"))).command(words)
}

fn started(arena: &Arena) -> Session {
    echo(arena, &[]).begin()
}

fn session_cgroups() -> Vec<PathBuf> {
    let sessions = records::sessions(records::DEFAULT_DIRECTORY);
    sessions.iter().flat_map(|session| processes::cgroups_named(session)).collect()
}

/// Where root finds a session while it lives.
fn session_directories() -> Vec<PathBuf> {
    let sessions = records::sessions(records::DEFAULT_DIRECTORY);
    let paths = sessions.iter().map(|session| PathBuf::from("/run/intercept-sandbox").join(session));
    paths.filter(|path| path.exists()).collect()
}

#[test]
fn the_servers_own_exit_code_is_ours() {
    arena::run(|arena| {
        for code in [0, 1, 42, 255] {
            assert_eq!(echo(arena, &["exit", &code.to_string()]).start().ended().code, code);
        }
    });
}

#[test]
fn a_signal_n_becomes_128_plus_n() {
    arena::run(|arena| {
        for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGABRT] {
            let number = signal as i32;
            assert_eq!(echo(arena, &["die", &number.to_string()]).start().ended().code, 128 + number);
        }
    });
}

#[test]
fn a_missing_command_is_127_and_nothing_starts() {
    arena::run(|arena| {
        let policy = policies::plain(&["echo"], &format!("{ROOT}/bin"));
        arena.folder("bin");
        let ended = Run::new(arena, &policy).command(["no-such-command"]).start().ended();
        assert_eq!(ended.code, 127, "{}", ended.stderr);
        assert!(ended.lines.is_empty(), "stdout is for JSON-RPC alone: {:?}", ended.lines);
        assert!(ended.stderr.contains("no-such-command"), "{}", ended.stderr);
    });
}

#[test]
fn a_command_out_of_view_is_named_with_the_line_that_would_show_it() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        arena.folder("other");
        let policy = policies::plain(&["echo"], &format!("{ROOT}/other"));
        let ended = Run::new(arena, &policy).command([&program]).start().ended();
        assert_eq!(ended.code, 127, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("filesystem") && ended.stderr.contains(&format!("{ROOT}/bin")),
            "{}",
            ended.stderr
        );
    });
}

#[test]
fn a_file_that_cannot_be_executed_is_126() {
    arena::run(|arena| {
        let folder = arena.folder("bin");
        let plain = arena.file("bin/not-executable", "#!/bin/sh\nexit 0\n");
        let policy = policies::plain(&["echo"], &folder.display().to_string());
        let ended = Run::new(arena, &policy).command([&plain]).start().ended();
        assert_eq!(ended.code, 126, "{}", ended.stderr);

        let orphan = arena.file("bin/orphan", "#!/no/such/interpreter\n");
        fs::set_permissions(&orphan, fs::Permissions::from_mode(0o755)).expect("own file");
        let ended = Run::new(arena, &policy).command([&orphan]).start().ended();
        assert_eq!(ended.code, 126, "{}", ended.stderr);
        assert!(ended.stderr.contains("/no/such/interpreter"), "{}", ended.stderr);
    });
}

#[test]
fn a_bad_policy_is_125_with_place_and_hint_and_a_record() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let run = Run::new(arena, "version: \"1\"\ntoolz: {}\n").command([&program]);
        let ended = run.start().ended();
        assert_eq!(ended.code, 125);
        for part in ["error[ISB-", "policy.yaml:2:1", "toolz", "did you mean", "tools"] {
            assert!(ended.stderr.contains(part), "{part:?} is missing in\n{}", ended.stderr);
        }
        let refused = records::refusals(records::DEFAULT_DIRECTORY);
        assert_eq!(refused, ["ISB-R005"], "{:#?}", records::read(records::DEFAULT_DIRECTORY));
        assert_eq!(records::of_type(records::DEFAULT_DIRECTORY, "sandbox.applied").len(), 0, "nothing was started");
    });
}

#[test]
fn end_of_input_ends_everything_within_two_seconds() {
    arena::run(|arena| {
        let session = started(arena);
        let crowd = session.processes();
        assert!(crowd.len() >= 4, "monitor, relay, egress and a server at least: {crowd:?}");
        let cgroups = session_cgroups();
        assert!(!cgroups.is_empty(), "a session has a cgroup");
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.took < wait::on_this_machine(Duration::from_secs(2)), "took {:?}", ended.took);
        assert_nothing_left(&crowd, "EOF");
    });
}

#[test]
fn a_server_that_ignores_the_end_of_its_input_is_ended() {
    arena::run(|arena| {
        let session = echo(arena, &["stay"]).start();
        let _ = session.server("stay");
        let crowd = session.processes();
        let ended = session.finish();
        assert_eq!(ended.code, 0, "the client's EOF made us end it: {}", ended.stderr);
        assert!(ended.took < wait::on_this_machine(Duration::from_secs(3)), "took {:?}", ended.took);
        assert_nothing_left(&crowd, "stay");
    });
}

#[test]
fn a_server_that_never_reads_cannot_outstay_its_client() {
    arena::run(|arena| {
        let mut session = echo(arena, &["stay"]).start();
        let _ = session.server("stay");
        let crowd = session.processes();
        // More than the pipe to the server holds: the rest waits with us.
        let arguments = json!({"text": "x".repeat(300_000)});
        session.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}}));
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.took < wait::on_this_machine(Duration::from_secs(3)), "took {:?}", ended.took);
        assert_nothing_left(&crowd, "stay");
    });
}

#[test]
fn termination_signals_end_the_session() {
    arena::run(|arena| {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let session = started(arena);
            let crowd = session.processes();
            session.signal(signal);
            let ended = session.ended();
            assert!(ended.took < wait::on_this_machine(Duration::from_secs(3)), "{signal}: took {:?}", ended.took);
            assert_nothing_left(&crowd, signal.as_str());
        }
    });
}

#[test]
fn killing_any_process_of_ours_leaves_nothing() {
    arena::run(|arena| {
        let count = {
            let session = started(arena);
            let count = session.processes().len();
            assert_eq!(session.finish().code, 0);
            count
        };
        let mut rows = Vec::new();
        for index in 0..count {
            let session = started(arena);
            let crowd = session.processes();
            let Some(victim) = crowd.get(index) else { continue };
            let what = format!("{} of {count}, {}", index + 1, victim.comm);
            let watch = Watch::over(&crowd);
            assert!(victim.signal(Signal::SIGKILL), "{what}: it runs");
            let took = watch.all_ended(GONE_LIMIT).unwrap_or_else(|alive| panic!("{what}: still alive: {alive:?}"));
            let code = session.ended().code;
            assert_nothing_left(&crowd, &what);
            assert_ne!(code, 0, "{what}: a broken session does not end as a good one");
            rows.push(vec![what, code.to_string(), format!("{took:.0?}"), "nothing left".into()]);
        }
        table::print("kill -9", &["killed", "exit code", "all ended after", "then"], &rows);
        assert_eq!(rows.len(), count);
    });
}

/// A server that tries to connect without a pause is there when each of ours is killed, confined as it is. Its cgroup is
/// killed soon; until then no road is open that was not.
#[test]
fn the_network_stays_closed_when_any_process_of_ours_is_killed() {
    arena::run(|arena| {
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let canaries = Canaries::open(&arena.folder("private").join("canary.sock"));
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        let run = Run::new(arena, &policies::hostile()).connect_to(&stand_in).command([format!("{ROOT}/bin/redteam")]);
        for comm in ["monitor", "isb-janitor", "isb-relay", "isb-egress", "isb-dialer", "memfd:sandbox-i"] {
            let before = stand_in.connections();
            let mut session = run.begin();
            session.call("probe", json!({"name": "spin", "argument": ""}));
            let open = wait::becomes_true(ANSWER_LIMIT, || stand_in.connections() > before);
            assert!(open, "{comm}: the allowed road is open: {}", session.stderr());
            let crowd = session.processes();
            let monitor = session.pid();
            let is_victim = |one: &&Process| one.comm == comm || comm == "monitor" && one.pid == monitor;
            let victim = crowd.iter().find(is_victim).unwrap_or_else(|| panic!("no {comm} in {crowd:?}"));
            let filter = victim.status("Seccomp");
            assert!(comm == "monitor" || filter.as_deref() == Some("2"), "{comm} is confined: {filter:?}");
            assert!(victim.signal(Signal::SIGKILL), "it runs");
            assert!(wait::becomes_true(wait::COMES_LIMIT, || !victim.is_alive()), "{comm} is killed");
            let known = accepted(&stand_in);
            assert_ne!(session.ended().code, 0, "{comm}: a broken session does not end as a good one");
            assert_nothing_left(&crowd, comm);
            let late = accepted(&stand_in) - known - 1;
            // The others may finish a dial that was recorded before; without the dialer nobody dials at all.
            assert!(comm != "isb-dialer" || late == 0, "{late} connections after the dialer was dead");
            assert_eq!(canaries.take_all().into_iter().collect::<Vec<_>>(), [], "{comm}: canaries");
        }
    });
}

/// Connections that the stand-in has taken, one of our own behind all others included.
fn accepted(stand_in: &StandIn) -> usize {
    let mut last = TcpStream::connect(stand_in.address()).expect("it listens");
    last.shutdown(Shutdown::Write).expect("our own connection");
    // It closes when it has accepted; what was queued before is accepted before. A reset says the same.
    let _ = last.read(&mut [0]);
    stand_in.connections()
}

#[test]
fn a_killed_dialer_ends_the_session_and_the_log_says_so() {
    arena::run(|arena| {
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let session = Run::new(arena, &policies::hostile()).command([format!("{ROOT}/bin/redteam")]).begin();
        let crowd = session.processes();
        let dialer = session.of_ours("isb-dialer");
        let field = |name: &str| dialer.status(name).expect("it runs");
        assert_eq!((field("Seccomp").as_str(), field("NoNewPrivs").as_str()), ("2", "1"));
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        let held: Vec<String> = dialer.descriptors().into_values().collect();
        assert!(held.iter().all(|to| !to.contains(".jsonl") && !to.contains("bpf")), "{held:?}");
        assert!(dialer.signal(Signal::SIGKILL), "it runs");
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        assert!(ended.stderr.contains("isb-dialer was ended by SIGKILL"), "{}", ended.stderr);
        assert_nothing_left(&crowd, "isb-dialer");
        let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
        assert_eq!((ends.len(), &ends[0]["reason"]["code"]), (1, &json!("dialer_died")), "{ends:#?}");
        let output = harness::run::subcommand(["audit", "verify"]);
        assert!(output.status.success(), "{}", harness::run::said(&output));
    });
}

#[test]
fn where_no_host_is_allowed_there_is_no_dialer() {
    arena::run(|arena| {
        let session = started(arena);
        let comms: Vec<String> = session.processes().into_iter().map(|process| process.comm).collect();
        assert!(comms.contains(&"isb-egress".to_owned()), "{comms:?}");
        assert!(!comms.contains(&"isb-dialer".to_owned()), "{comms:?}");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn killing_the_supervisor_ends_a_server_that_has_left_its_session() {
    arena::run(|arena| {
        let marker = format!("linger-{}", std::process::id());
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let mut session = Run::new(arena, &policies::hostile()).command([format!("{ROOT}/bin/redteam")]).begin();
        let told = session.call("probe", json!({"name": "daemonise", "argument": marker}));
        let lingering = || processes::with_argument(&marker);
        assert!(wait::becomes_true(wait::COMES_LIMIT, || !lingering().is_empty()), "it daemonised: {told}");
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);
        assert!(wait::becomes_true(GONE_LIMIT, || lingering().is_empty()), "{:?} outlived us", lingering());
    });
}

#[test]
fn the_janitor_of_a_killed_monitor_leaves_no_leaf_in_any_hierarchy_and_no_directory() {
    arena::run(|arena| {
        let session = started(arena);
        assert_eq!(session_directories().len(), 1, "root finds it");
        let leaves = session_cgroups();
        let is_leaf = |leaf: &PathBuf| leaf.parent().is_some_and(|parent| parent.ends_with("intercept-sandbox"));
        assert!(!leaves.is_empty() && leaves.iter().all(is_leaf), "{leaves:?}");
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);
        let left =
            || leaves.iter().filter(|leaf| leaf.exists()).cloned().chain(session_directories()).collect::<Vec<_>>();
        assert!(wait::becomes_true(GONE_LIMIT, || left().is_empty()), "{:?}", left());
    });
}

#[test]
fn a_pending_call_gets_an_error_when_the_server_dies() {
    arena::run(|arena| {
        let mut session = echo(arena, &["die-on-call"]).begin();
        let answer = session.call("echo", json!({"text": "x"}));
        assert!(answer["error"]["message"].is_string(), "{answer}");
        assert_eq!(session.ended().code, 7);
    });
}

/// How long the monitor waits for a relay whose log does not grow: for its word that the client is gone, and for its last record
/// (docs/cli.md). A busy machine takes longer to clear up.
const RELAY_WORD_LIMIT: Duration = Duration::from_secs(10);

/// Stops the relay of a session that runs, as a process that hangs.
fn stop_relay(crowd: &[Process]) -> Process {
    let relay = crowd.iter().find(|process| process.comm == "isb-relay").expect("a session has a relay");
    assert!(relay.signal(Signal::SIGSTOP), "it runs");
    let stopped = || relay.status("State").is_some_and(|state| state.starts_with('T'));
    assert!(wait::becomes_true(wait::COMES_LIMIT, stopped), "{:?}", relay.status("State"));
    relay.clone()
}

/// Lets the relay work until its log has grown, and stops it again.
fn let_relay_work(relay: &Process) {
    let log = records::segments(records::DEFAULT_DIRECTORY).pop().expect("a session has a log");
    let length = || fs::metadata(&log).expect("it is there").len();
    let (before, deadline) = (length(), Instant::now() + wait::COMES_LIMIT);
    assert!(relay.signal(Signal::SIGCONT), "it is stopped");
    while length() == before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(relay.signal(Signal::SIGSTOP), "it runs");
    assert!(length() > before, "it does not work");
}

/// The log of the one session so far ends with `code` in a record of the monitor's, and verifies.
fn assert_log_ends_with(code: &str) {
    let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!((&ends[0]["reason"]["code"], &ends[0]["effect"]), (&json!(code), &json!("denied")), "{:#}", ends[0]);
    let output = harness::run::subcommand(["audit", "verify"]);
    let said = harness::run::said(&output);
    assert!(output.status.success() && said.starts_with("ok: 1 session"), "{said}");
}

/// The session ends when the relay's time is over, and what is left of it is a record of why.
fn assert_ends_without_its_relay(session: Session, crowd: &[Process], what: &str) {
    let ended = session.ended();
    assert_eq!(ended.code, 124, "{what}: {}", ended.stderr);
    assert!(ended.took < RELAY_WORD_LIMIT + GONE_LIMIT, "{what}: took {:?}", ended.took);
    assert_nothing_left(crowd, what);
    assert_log_ends_with("relay_silent");
}

#[test]
fn a_relay_that_hangs_cannot_keep_the_session_of_a_client_that_is_gone() {
    arena::run(|arena| {
        let mut session = started(arena);
        let crowd = session.processes();
        stop_relay(&crowd);
        session.close();
        let alive = || crowd.iter().filter(|process| process.is_alive()).collect::<Vec<_>>();
        let gone = wait::becomes_true(RELAY_WORD_LIMIT + GONE_LIMIT, || alive().is_empty());
        assert!(gone, "still alive: {:?}", alive());
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        assert!(ended.stderr.contains("it hangs"), "{}", ended.stderr);
        assert_nothing_left(&crowd, "hung relay, client gone");
        assert_log_ends_with("relay_silent");
    });
}

#[test]
fn a_relay_that_is_behind_and_works_reads_all_that_the_client_left() {
    arena::run(|arena| {
        let mut session = started(arena);
        let relay = stop_relay(&session.processes());
        // As much as a pipe holds. What the relay has not read when the client goes is still the client's. A slower machine gets
        // fewer: all of them are done within the time that a test waits for an end.
        let calls = (500 / wait::on_this_machine(Duration::from_secs(1)).as_secs()).max(50);
        for id in 0..calls {
            let params = json!({"name": "echo", "arguments": {"text": "x"}});
            session.send(&json!({"jsonrpc": "2.0", "id": 1000 + id, "method": "tools/call", "params": params}));
        }
        session.close();
        let begun = Instant::now();
        for second in [3, 7] {
            std::thread::sleep(Duration::from_secs(second).saturating_sub(begun.elapsed()));
            let_relay_work(&relay);
        }
        std::thread::sleep((RELAY_WORD_LIMIT + GONE_LIMIT).saturating_sub(begun.elapsed()));
        assert!(relay.is_alive(), "{}", session.stderr());
        assert!(relay.signal(Signal::SIGCONT), "it is stopped");
        let ended = session.ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let requests = records::of_type(records::DEFAULT_DIRECTORY, "mcp.request");
        let answered =
            requests.iter().filter(|record| record["mcp"]["tool"] == "echo" && record["effect"] == "allowed");
        assert_eq!(answered.count() as u64, calls, "{:?}", requests.last());
    });
}

#[test]
fn a_relay_that_hangs_cannot_keep_the_session_of_a_server_that_has_ended() {
    arena::run(|arena| {
        let session = started(arena);
        let crowd = session.processes();
        let program = format!("{ROOT}/bin/echo_server");
        let server = session.server(&program);
        stop_relay(&crowd);
        assert!(server.signal(Signal::SIGKILL), "it runs");
        assert_ends_without_its_relay(session, &crowd, "hung relay, server gone");
    });
}

/// As on a slow disk: the server is long gone before the log is whole.
#[test]
fn a_relay_that_is_slow_at_the_end_leaves_a_whole_log() {
    arena::run(|arena| {
        let session = started(arena);
        let server = session.server(&format!("{ROOT}/bin/echo_server"));
        let relay = stop_relay(&session.processes());
        assert!(server.signal(Signal::SIGKILL), "it runs");
        std::thread::sleep(RELAY_WORD_LIMIT / 2);
        assert!(relay.signal(Signal::SIGCONT), "it is stopped");
        let ended = session.ended();
        assert_eq!(ended.code, 137, "{}", ended.stderr);
        let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
        assert_eq!((ends.len(), &ends[0]["reason"]["code"]), (1, &json!("server_exit")), "{ends:#?}");
        let output = harness::run::subcommand(["audit", "verify"]);
        assert!(output.status.success(), "{}", harness::run::said(&output));
    });
}

#[test]
fn a_relay_that_hangs_does_not_hold_a_signal_up() {
    arena::run(|arena| {
        let session = started(arena);
        let crowd = session.processes();
        stop_relay(&crowd);
        session.signal(Signal::SIGTERM);
        assert_ends_without_its_relay(session, &crowd, "hung relay, SIGTERM");
    });
}

#[test]
fn a_client_that_does_not_read_leaves_a_whole_log_and_the_servers_own_exit_code() {
    arena::run(|arena| {
        let mut session = echo(arena, &["die-on-call"]).begin();
        // More answers than its pipe holds, none of them read: refusals of a tool that the policy does not have.
        for id in 0..400 {
            let params = json!({"name": format!("no-such-tool-{}", "x".repeat(100)), "arguments": {}});
            session.send(&json!({"jsonrpc": "2.0", "id": 1000 + id, "method": "tools/call", "params": params}));
        }
        session.send(
            &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}),
        );
        let ended = session.ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
        assert_eq!((ends.len(), &ends[0]["reason"]["code"]), (1, &json!("server_exit")), "{ends:#?}");
        let output = harness::run::subcommand(["audit", "verify"]);
        assert!(output.status.success(), "{}", harness::run::said(&output));
    });
}

fn assert_nothing_left(crowd: &[Process], what: &str) {
    let alive = || crowd.iter().filter(|process| process.is_alive()).collect::<Vec<_>>();
    assert!(wait::becomes_true(GONE_LIMIT, || alive().is_empty()), "{what}: still alive: {:?}", alive());
    let left = || session_cgroups().into_iter().chain(session_directories()).collect::<Vec<_>>();
    assert!(wait::becomes_true(GONE_LIMIT, || left().is_empty()), "{what}: left: {:?}", left());
}
