//! Approvals, end to end: a real MCP server, a policy that asks a person, the real command that decides.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena};
use harness::run::{self, said};
use harness::session::{ANSWER_LIMIT, Session, denial_code, is_allowed, text_of};
use harness::together::Together;
use harness::{paths, policies, records, wait};
use serde_json::{Value, json};

const RUNTIME: &str = "/run/intercept-sandbox";

/// The ready policy with a person to ask.
fn stage(arena: &Arena, timeout: &str) -> Together {
    let policy = policies::together().replace("action: allow", "action: require_approval").text;
    Together::under(arena, &format!("{policy}\napprovals: {{timeout: {timeout}, valid: 10m}}\n"))
}

/// Sends a call under `id` and does not wait for its answer.
fn send(session: &mut Session, id: u64, prompt: &str) {
    let params = json!({"name": "generate_image", "arguments": {"prompt": prompt}});
    session.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
}

/// The answers to these calls, whichever comes first.
fn answers<const N: usize>(session: &mut Session, ids: [u64; N]) -> [Value; N] {
    let mut came = BTreeMap::new();
    while came.len() < N {
        let message = session.receive();
        if let Some(id) = message["id"].as_u64().filter(|id| ids.contains(id)) {
            came.insert(id, message);
        }
    }
    ids.map(|id| came.remove(&id).expect("one for each"))
}

fn listed() -> Vec<Value> {
    let output = run::subcommand(["approvals", "list", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    list.as_array().expect("a list").clone()
}

/// The one question that is asked, when it is.
fn question() -> Value {
    let one = || listed().into_iter().next();
    wait::until(ANSWER_LIMIT, one).expect("a call waits for a person")
}

fn id_of(question: &Value) -> String {
    question["id"].as_str().expect("an id").to_owned()
}

fn decide(arguments: &[&str]) -> String {
    let output = run::subcommand([&["approvals"], arguments].concat());
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn socket() -> PathBuf {
    let sessions = fs::read_dir(RUNTIME).expect("the runtime directory").flatten().map(|entry| entry.path());
    let sockets: Vec<PathBuf> = sessions.map(|path| path.join("control.sock")).filter(|path| path.exists()).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    sockets[0].clone()
}

#[test]
fn a_call_waits_until_it_is_approved_and_then_arrives() {
    arena::run(|arena| {
        let stage = stage(arena, "50s");
        let mut session = stage.run.begin();
        send(&mut session, 70, "a lighthouse");
        let question = question();
        assert_eq!(question["tool"], "generate_image");
        assert_eq!(question["arguments"], "{\"prompt\":\"a lighthouse\"}");
        assert!(session.try_line(Duration::from_millis(300)).is_none(), "it waits");
        assert_eq!(stage.stand_in.requests().len(), 0);

        let id = id_of(&question);
        assert!(decide(&["approve", &id[..8]]).contains("1 let go"));
        let answer = session.answer_to(&json!(70));
        assert!(is_allowed(&answer), "{answer}\n{}", session.stderr());
        assert_eq!(stage.stand_in.requests().len(), 1);
        assert_eq!(listed(), [] as [Value; 0], "it is used up");
        let again = run::subcommand(["approvals", "approve", &id]);
        assert_eq!(again.status.code(), Some(1), "{}", said(&again));

        let status = run::subcommand(["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert_eq!((&status[0]["allowed"], &status[0]["waiting"]), (&json!(1), &json!(0)), "{status}");
        assert!(status[0]["monitor_pid"].as_i64().is_some_and(|pid| pid > 1), "{status}");
        assert_eq!(status[0]["command"][0], "node", "{status}");
        assert_eq!(session.finish().code, 0);

        let log = records::read(records::DEFAULT_DIRECTORY);
        let place = |kind: &str| log.iter().position(|record| record["type"] == kind).expect(kind);
        let (requested, granted) = (place("approval.requested"), place("approval.granted"));
        let call = log.iter().position(|record| record["type"] == "mcp.request" && record["approval"]["id"] == *id);
        assert!(requested < granted && Some(granted) < call, "{requested} {granted} {call:?}");
        assert_eq!(log[granted]["approval"]["by_uid"], 0);
        let verified = run::subcommand(["audit", "verify"]);
        assert!(verified.status.success(), "{}", said(&verified));
        assert_eq!(fs::read_dir(RUNTIME).expect("there").flatten().filter(is_session).count(), 0, "nothing is left");
    });
}

fn is_session(entry: &fs::DirEntry) -> bool {
    entry.file_name().len() == 32
}

#[test]
fn a_call_that_a_person_refuses_never_arrives() {
    arena::run(|arena| {
        let stage = stage(arena, "50s");
        let mut session = stage.run.begin();
        send(&mut session, 70, "a lighthouse");
        let id = id_of(&question());
        let shown = decide(&["show", &id]);
        assert!(shown.contains("\"prompt\": \"a lighthouse\"") && !shown.contains("NOT IN FULL"), "{shown}");
        decide(&["deny", &id, "--reason", "not this week"]);
        let answer = session.answer_to(&json!(70));
        assert_eq!(denial_code(&answer), Some("approval_denied"), "{answer}");
        assert!(text_of(&answer).contains("refused by a person: not this week"), "{answer}");
        assert_eq!(stage.stand_in.requests().len(), 0);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn time_denies_and_a_late_approval_lets_exactly_one_retry_through() {
    arena::run(|arena| {
        let stage = stage(arena, "2s");
        let mut session = stage.run.begin();
        let begun = Instant::now();
        send(&mut session, 70, "a lighthouse");
        let answer = session.answer_to(&json!(70));
        assert_eq!(denial_code(&answer), Some("approval_required"), "{answer}");
        let (soonest, latest) = (Duration::from_millis(1500), wait::on_this_machine(Duration::from_secs(10)));
        assert!((soonest..latest).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let id = id_of(&question());
        assert!(text_of(&answer).contains(&format!("Approval id {id};")), "{answer}");

        assert!(decide(&["approve", &id]).contains("waits for the call to come again"));
        send(&mut session, 71, "a lighthouse in flames");
        send(&mut session, 72, "a lighthouse");
        // On a slow machine the time of the one is over before the other has been answered.
        let [other, retry] = answers(&mut session, [71, 72]);
        assert!(is_allowed(&retry), "{retry}");
        send(&mut session, 73, "a lighthouse");
        for answer in [other, session.answer_to(&json!(73))] {
            assert_eq!(denial_code(&answer), Some("approval_required"), "{answer}");
        }
        let requests = stage.stand_in.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].body["prompt"], "a lighthouse");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn nobody_but_root_reaches_the_socket() {
    arena::run(|arena| {
        let stage = stage(arena, "50s");
        let mut session = stage.run.begin();
        send(&mut session, 70, "a lighthouse");
        let id = id_of(&question());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let socket = socket();
        assert_eq!((mode(&socket), mode(socket.parent().expect("a folder"))), (0o600, 0o700));
        // The program stands where everybody can execute it; the socket does not.
        let program = arena.folder("sbin").join("intercept-sandbox");
        fs::copy(paths::supervisor(), &program).expect("it was built");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own file");
        for arguments in [&["approvals", "approve", &id][..], &["approvals", "list"], &["status"]] {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program).args(arguments);
            let output = command.output().expect("setpriv runs");
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(said(&output).contains("only root"), "{}", said(&output));
        }
        let mut connect = Command::new("setpriv");
        connect.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "node", "-e"]);
        connect.arg("require('net').connect(process.argv[1]).on('error',e=>{console.log(e.code);process.exit(3)})");
        let output = connect.arg(&socket).output().expect("node runs");
        assert_eq!((output.status.code(), &*said(&output)), (Some(3), "EACCES\n"));
        assert_eq!(listed().len(), 1, "nothing was decided");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn a_flood_on_the_socket_does_not_disturb_the_session() {
    arena::run(|arena| {
        let stage = stage(arena, "50s");
        let mut session = stage.run.begin();
        let socket = socket();
        let silent: Vec<UnixStream> = (0..16).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
        let begun = Instant::now();
        let mut connected = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            if let Ok(mut peer) = UnixStream::connect(&socket) {
                // A refused write is the point: too long, or the relay hung up.
                let _ = peer.set_write_timeout(Some(Duration::from_millis(50)));
                let _ = peer.write_all(&[b'x'; 64 << 10]);
                connected += 1;
            }
            let answer = session.request("ping", json!({}));
            assert!(answer["result"].is_object(), "{answer}");
        }
        assert!(connected > 0);
        drop(silent);
        send(&mut session, 70, "a lighthouse");
        thread::sleep(Duration::from_millis(2500)); // those who were let in lose their places
        let id = id_of(&question());
        decide(&["approve", &id]);
        assert!(is_allowed(&session.answer_to(&json!(70))));
        let mut peer = UnixStream::connect(&socket).expect("it serves on");
        peer.write_all(b"{\"ask\":\"halt\"}\n").expect("a short line");
        let mut reply = String::new();
        peer.read_to_string(&mut reply).expect("a reply and the end");
        assert!(reply.contains("bad_request"), "{reply}");
        assert_eq!(session.finish().code, 0);
    });
}

/// A session that the kernel still accepts for, and that never says a word.
fn hang(name: &str) -> UnixListener {
    let folder = Path::new(RUNTIME).join(name);
    fs::create_dir(&folder).expect("the runtime directory is ours");
    UnixListener::bind(folder.join("control.sock")).expect("a fresh folder")
}

#[test]
fn sessions_that_hang_are_named_and_keep_nobody_from_deciding() {
    arena::run(|arena| {
        let stage = stage(arena, "50s");
        let mut session = stage.run.begin();
        let own = socket();
        let own = own.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("a session's name");
        let names = ["a", "b", "c"].map(|digit| digit.repeat(32));
        let _hung = names.each_ref().map(|name| hang(name));
        send(&mut session, 70, "a lighthouse");
        let records = || records::read(records::DEFAULT_DIRECTORY);
        wait::until(ANSWER_LIMIT, || records().into_iter().find(|record| record["type"] == "approval.requested"))
            .expect("a call waits for a person");
        for arguments in [&["approvals", "list"][..], &["status"]] {
            let begun = Instant::now();
            let output = run::subcommand(arguments.iter().copied());
            let took = begun.elapsed();
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            assert!(took < Duration::from_secs(9), "three that hang cost one deadline: {took:?}");
            let said = said(&output);
            assert!(names.iter().all(|name| said.contains(&format!("session {name} does not answer"))), "{said}");
            assert!(said.contains(&own[..8]), "{said}");
        }
        let begun = Instant::now();
        let output = run::subcommand(["approvals", "show", "00000000", "--session", own]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(begun.elapsed() < Duration::from_secs(4), "no other session is asked: {:?}", begun.elapsed());
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn without_a_session_the_commands_say_so() {
    arena::run(|_| {
        let output = run::subcommand(["approvals", "list"]);
        assert_eq!((output.status.code(), &*said(&output)), (Some(0), "nothing waits for a person\n"));
        assert_eq!(&*said(&run::subcommand(["status"])), "no session runs\n");
        let output = run::subcommand(["approvals", "approve", "0123456789ab"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert_eq!(run::subcommand(["approvals", "approve", "0123"]).status.code(), Some(2));
        assert_eq!(run::subcommand(["approvals"]).status.code(), Some(2));
    });
}
