//! A changed policy file: the next call is judged by it, or it is refused as a whole and says why.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, NOBODY, ROOT};
use harness::policies;
use harness::processes::Process;
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::run::{self, Run, said};
use harness::session::{Session, denial_code, text_of};
use harness::wait::{self, COMES_LIMIT};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A policy for the echo server whose one rule is `rule`.
fn with_rule(rule: &str) -> String {
    let plain = policies::plain(&["echo"], &format!("{ROOT}/bin"));
    plain.replace("echo: {rules: []}", &format!("echo: {{rules: [{rule}]}}"))
}

fn open() -> String {
    with_rule("")
}

fn shut() -> String {
    with_rule("{action: deny, reason: shut}")
}

fn start(arena: &Arena, path: &Path, words: &[&str]) -> Session {
    let program = arena.program("echo_server");
    let command = [program.to_str().expect("a plain path")].into_iter().chain(words.iter().copied());
    Run::with_file(path).command(command).begin()
}

fn passes(session: &mut Session) -> bool {
    let answer = session.call("echo", json!({"text": "x"}));
    let code = denial_code(&answer).map(str::to_owned);
    assert!(code.is_some() || text_of(&answer) == "x", "{answer}\n{}", session.stderr());
    code.is_none()
}

/// The records of a type, once there are `count` of them.
fn all_of(kind: &str, count: usize) -> Vec<Value> {
    let read = || records::of_type(DEFAULT_DIRECTORY, kind);
    let found = wait::until(COMES_LIMIT, || Some(read()).filter(|all| all.len() >= count)).unwrap_or_else(read);
    assert_eq!(found.len(), count, "{kind}: {found:#?}");
    found
}

fn reload(words: &[&str]) -> Output {
    run::subcommand([&["reload"], words].concat())
}

/// Ends the session in order; its log must be whole. What it said to people.
fn end(session: Session) -> String {
    let ended = session.finish();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let verified = run::subcommand(["audit", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
    ended.stderr
}

fn name(session: &Session) -> String {
    let starts = records::of_type(DEFAULT_DIRECTORY, "session.start");
    starts
        .last()
        .and_then(|record| record["session"].as_str())
        .unwrap_or_else(|| panic!("{}", session.stderr()))
        .to_owned()
}

#[test]
fn the_next_call_is_judged_by_the_new_file_however_it_came() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        assert!(passes(&mut session));
        let in_place = |text: &str| drop(arena.file("policy.yaml", text));
        let renamed = |text: &str| fs::rename(arena.file("new.yaml", text), &path).expect("own files");
        for (round, replace) in [&in_place as &dyn Fn(&str), &renamed].into_iter().enumerate() {
            replace(&shut());
            all_of("policy.reload", 2 * round + 1);
            assert!(!passes(&mut session), "round {round}");
            replace(&open());
            all_of("policy.reload", 2 * round + 2);
            assert!(passes(&mut session), "round {round}");
        }
        arena.file("policy.yaml", shut());
        session.signal(Signal::SIGHUP);
        let taken = all_of("policy.reload", 5);
        assert!(!passes(&mut session));
        let mut before = records::of_type(DEFAULT_DIRECTORY, "session.start")[0]["policy"]["sha256"].clone();
        for record in &taken {
            assert_eq!(record["policy"]["previous"], before, "{record}");
            before = record["policy"]["sha256"].clone();
        }
        assert_eq!(end(session), "", "nothing went wrong");
    });
}

#[test]
fn a_turned_symbolic_link_is_followed() {
    arena::run(|arena| {
        for (version, text) in [("..1", open()), ("..2", shut())] {
            arena.folder(version);
            arena.file(&format!("{version}/policy.yaml"), text);
        }
        symlink("..1", arena.path("..data")).expect("own folder");
        let path = arena.path("policy.yaml");
        symlink("..data/policy.yaml", &path).expect("own folder");
        let mut session = start(arena, &path, &[]);
        assert!(passes(&mut session));
        symlink("..2", arena.path("..next")).expect("own folder");
        fs::rename(arena.path("..next"), arena.path("..data")).expect("as Kubernetes does it");
        all_of("policy.reload", 1);
        assert!(!passes(&mut session));
        end(session);
    });
}

#[test]
fn counters_come_with_a_reload_and_survive_it() {
    arena::run(|arena| {
        let limit = "{rate_limit: {max: 10, window: 1h}}";
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        assert!(passes(&mut session), "nothing is counted");
        arena.file("policy.yaml", with_rule(limit));
        all_of("policy.reload", 1);
        assert!((0..9).all(|_| passes(&mut session)));
        arena.file("policy.yaml", format!("description: edited\n{}", with_rule(limit)));
        all_of("policy.reload", 2);
        assert!(passes(&mut session), "the tenth");
        assert!(!passes(&mut session), "the eleventh");
        arena.file("policy.yaml", with_rule("{rate_limit: {max: 12, window: 1h}}"));
        all_of("policy.reload", 3);
        assert!(passes(&mut session) && passes(&mut session), "a raised limit counts what stands");
        assert!(!passes(&mut session), "the thirteenth");
        end(session);
        let mut next = start(arena, &path, &[]);
        assert!(!passes(&mut next), "the next session finds the count");
        end(next);
    });
}

#[test]
fn a_file_that_does_not_load_keeps_the_old_policy_and_is_recorded_once() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", shut());
        let mut session = start(arena, &path, &[]);
        for text in ["toolz: {}\n", "", "tools: {echo: {rules: [{}]}}\nhide: 7\n"] {
            let known = records::of_type(DEFAULT_DIRECTORY, "policy.reject").len();
            arena.file("policy.yaml", text);
            let rejected = all_of("policy.reject", known + 1);
            let record = &rejected[known];
            assert_eq!(
                (&record["effect"], &record["reason"]["code"]),
                (&json!("denied"), &json!("ISB-R005")),
                "{record}"
            );
            assert!(record["reason"]["text"].as_str().is_some_and(|text| text.starts_with("ISB-P")), "{record}");
            assert!(record["policy"]["sha256"].is_string(), "{record}");
            assert!(!passes(&mut session), "the old policy decides");
        }
        fs::remove_file(&path).expect("own file");
        assert_eq!(all_of("policy.reject", 4)[3]["reason"]["code"], "ISB-R004", "no file, no policy");
        arena.file("policy.yaml", open());
        all_of("policy.reload", 1);
        assert!(passes(&mut session), "and the session takes a good one");
        all_of("policy.reject", 4);
        let told = end(session);
        assert_eq!(told.matches("the old one stays in force").count(), 4, "{told}");
    });
}

#[test]
fn a_file_that_is_no_longer_roots_alone_is_refused() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", shut());
        let mut session = start(arena, &path, &[]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("own file");
        all_of("policy.reject", 1);
        // Now anyone may have written this.
        fs::write(&path, open()).expect("own file");
        session.signal(Signal::SIGHUP);
        let rejected = all_of("policy.reject", 2);
        assert_eq!(rejected[1]["reason"]["code"], "ISB-R004", "{rejected:#?}");
        assert!(rejected[1]["policy"]["sha256"].is_null(), "it was not read: {rejected:#?}");
        assert!(!passes(&mut session));
        let theirs = arena.file("theirs.yaml", open());
        chown(&theirs, Some(NOBODY), None).expect("root can chown");
        fs::rename(&theirs, &path).expect("own folder");
        let rejected = all_of("policy.reject", 3);
        assert_eq!(rejected[2]["reason"]["code"], "ISB-R004", "{rejected:#?}");
        assert!(!passes(&mut session), "the old policy decides");
        assert_eq!(records::of_type(DEFAULT_DIRECTORY, "policy.reload").len(), 0);
        end(session);
    });
}

#[test]
fn what_a_running_server_cannot_be_given_is_named_and_nothing_of_the_file_is_taken() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", shut());
        let mut session = start(arena, &path, &[]);
        let bin = format!("read: [{ROOT}/bin]");
        for (number, (from, to, key)) in [
            (bin.as_str(), format!("read: [{ROOT}/bin, /opt]"), "sandbox.filesystem.read"),
            ("sandbox:\n", "sandbox:\n  network: {allow: [{host: a.example}]}\n".into(), "sandbox.network.allow"),
            ("sandbox:\n", "sandbox:\n  process: {max: 65}\n".into(), "sandbox.process.max"),
            ("name: plain", "name: other".into(), "name"),
            ("default:", "cli: {allow: [state-dir]}\ndefault:".into(), "cli.allow"),
            ("default:", "audit: {durability: write}\ndefault:".into(), "audit.durability"),
            ("default:", "limits: {scope: session}\ndefault:".into(), "limits.scope"),
        ]
        .into_iter()
        .enumerate()
        {
            arena.file("policy.yaml", open().replace(from, &to));
            let rejected = all_of("policy.reject", number + 1);
            let reason = &rejected[number]["reason"];
            assert_eq!(reason["code"], "ISB-R018", "{reason}");
            let text = reason["text"].as_str().expect("for people");
            let refused = format!("{key} cannot change while the server runs: restart the session");
            assert!(text.starts_with(&refused), "{text}");
            assert!(!passes(&mut session), "{key}: its rules are not taken either");
        }
        assert_eq!(records::of_type(DEFAULT_DIRECTORY, "policy.reload").len(), 0);
        let told = end(session);
        assert!(told.contains("sandbox.filesystem.read cannot change"), "{told}");
    });
}

/// What the kernel says of a ceiling of the server's cgroup, on either version.
fn ceiling(server: &Process, controller: &str, files: [&str; 2]) -> String {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", server.pid)).expect("procfs");
    let own =
        groups.lines().find(|line| line.split(':').nth(1).is_some_and(|all| all.split(',').any(|c| c == controller)));
    let place =
        |line: &str, tree: &str| format!("/sys/fs/cgroup/{tree}{}", line.splitn(3, ':').nth(2).expect("a path"));
    let folder = own.map(|line| place(line, controller));
    let folder = folder.or_else(|| groups.lines().find(|line| line.starts_with("0::")).map(|line| place(line, "")));
    let folder = folder.expect("a cgroup");
    let read = files.iter().find_map(|file| fs::read_to_string(format!("{folder}/{file}")).ok());
    read.unwrap_or_else(|| panic!("no {files:?} in {folder}")).trim().to_owned()
}

#[test]
fn ceilings_of_the_cgroup_change_while_the_server_runs() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let program = arena.program("echo_server");
        let mut session = start(arena, &path, &[]);
        let server = session.server(program.to_str().expect("a plain path"));
        let memory = || ceiling(&server, "memory", ["memory.max", "memory.limit_in_bytes"]);
        let pids = || ceiling(&server, "pids", ["pids.max"; 2]);
        let cpu = || ceiling(&server, "cpu", ["cpu.max", "cpu.cfs_quota_us"]);
        let before = (memory(), pids(), cpu());
        assert_eq!(before.0, (512_u64 << 20).to_string());
        for (number, (size, bytes, max)) in
            [("256M", 256_u64 << 20, "32"), ("768M", 768 << 20, "64")].into_iter().enumerate()
        {
            let sandbox = format!("sandbox:\n  resources: {{memory: {size}, cpu: 0.5}}\n  process: {{max: {max}}}\n");
            arena.file("policy.yaml", open().replace("sandbox:\n", &sandbox));
            all_of("policy.reload", number + 1);
            assert!(wait::becomes_true(COMES_LIMIT, || memory() == bytes.to_string()), "{size}: {}", memory());
            assert!(wait::becomes_true(COMES_LIMIT, || pids() == max), "{max}: {}", pids());
            assert!(wait::becomes_true(COMES_LIMIT, || cpu().starts_with("50000")), "{}", cpu());
            assert!(passes(&mut session));
        }
        arena.file("policy.yaml", open());
        all_of("policy.reload", 3);
        assert!(wait::becomes_true(COMES_LIMIT, || (memory(), pids(), cpu()) == before), "the defaults again");
        end(session);
    });
}

#[test]
fn the_longest_life_of_a_session_changes_while_it_runs() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        assert!(passes(&mut session));
        arena.file("policy.yaml", open().replace("sandbox:\n", "sandbox:\n  resources: {wall: 1s}\n"));
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        let last = records::of_type(DEFAULT_DIRECTORY, "session.end");
        assert_eq!(last[0]["reason"]["code"], "wall_time", "{last:#?}");
        all_of("policy.reload", 1);
    });
}

#[test]
fn a_storm_of_writes_leaves_the_session_healthy() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        let begun = Instant::now();
        for number in 0..200 {
            arena.file("policy.yaml", format!("description: '{number}'\n{}", open()));
            if number % 20 == 0 {
                assert!(passes(&mut session));
            }
        }
        let storm = begun.elapsed();
        arena.file("policy.yaml", shut());
        assert!(wait::becomes_true(COMES_LIMIT, || !passes(&mut session)), "the last one decides");
        let taken = records::of_type(DEFAULT_DIRECTORY, "policy.reload").len();
        // At most one a tenth of a second, each after the quiet that it waits for.
        let bound = 3 + usize::try_from(storm.as_millis() / 100).expect("a short test");
        assert!((1..=bound).contains(&taken), "{taken} reloads in {storm:?}");
        assert_eq!(records::of_type(DEFAULT_DIRECTORY, "policy.reject").len(), 0, "no half-written file was read");
        end(session);
    });
}

#[test]
fn every_call_is_judged_by_the_one_policy_that_the_log_says_was_in_force() {
    arena::run(|arena| {
        let version = |letter: &str| with_rule(&format!("{{name: {letter}, action: deny, reason: by {letter}}}"));
        let path = arena.file("policy.yaml", version("a"));
        let mut session = start(arena, &path, &[]);
        let mut sent = 0;
        for round in 0..10 {
            let new = arena.file("new.yaml", version(["b", "a"][round % 2]));
            fs::rename(new, &path).expect("own files");
            session.signal(Signal::SIGHUP);
            // A stream of calls without waiting for answers, into the reload.
            while records::of_type(DEFAULT_DIRECTORY, "policy.reload").len() <= round {
                for _ in 0..20 {
                    sent += 1;
                    let params = json!({"name": "echo", "arguments": {"text": "x"}});
                    let id = format!("call {sent}");
                    session.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
                }
                let answer = session.answer_to(&json!(format!("call {sent}")));
                assert_eq!(denial_code(&answer), Some("denied_by_rule"), "{answer}");
            }
        }
        end(session);
        let mut in_force = "a";
        let (mut calls, mut swaps) = (0, 0);
        for record in records::read(DEFAULT_DIRECTORY) {
            if record["type"] == "policy.reload" {
                swaps += 1;
                in_force = ["a", "b"][swaps % 2];
            } else if record["mcp"]["tool"] == "echo" {
                calls += 1;
                assert_eq!(record["rule"]["name"], in_force, "{record}");
                assert_eq!(record["reason"]["text"], format!("by {in_force}"), "{record}");
            }
        }
        assert_eq!((calls, swaps), (sent, 10));
    });
}

#[test]
fn a_client_is_told_that_the_list_changed_if_the_server_said_that_it_would_be() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let hidden = format!("hide: [echo]\n{}", open());
        for (words, told) in [(&["tells"][..], true), (&[], false)] {
            arena.file("policy.yaml", open());
            let mut session = start(arena, &path, words);
            assert_eq!(session.tool_names(), ["echo"]);
            arena.file("policy.yaml", &hidden);
            let notice =
                session.try_line(if told { wait::on_this_machine(COMES_LIMIT) } else { Duration::from_secs(1) });
            let expected = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            let notice = notice.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
            assert_eq!(notice, told.then_some(expected));
            assert!(wait::becomes_true(COMES_LIMIT, || session.tool_names().is_empty()), "the list is filtered anew");
            arena.file("policy.yaml", format!("description: nothing to see\n{hidden}"));
            let known = name(&session);
            let is_second = |record: &&Value| record["session"] == known.as_str();
            let count = || records::of_type(DEFAULT_DIRECTORY, "policy.reload").iter().filter(is_second).count();
            assert!(wait::becomes_true(COMES_LIMIT, || count() == 2));
            assert_eq!(session.try_line(Duration::from_millis(300)), None, "nothing changed for the client");
            end(session);
        }
    });
}

#[test]
fn a_new_policy_that_needs_schemas_asks_for_them() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        assert!(denial_code(&session.call("echo", json!({}))).is_none());
        arena.file("policy.yaml", with_rule("{validate: {required_args: true}}"));
        all_of("policy.reload", 1);
        assert_eq!(denial_code(&session.call("echo", json!({}))), Some("missing_argument"));
        assert!(passes(&mut session));
        end(session);
    });
}

#[test]
fn reload_answers_who_asked() {
    arena::run(|arena| {
        let none = reload(&[]);
        assert!(none.status.success() && said(&none).contains("no session runs here"), "{}", said(&none));
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        let id = name(&session);
        let ask = |code: i32, expected: &str| {
            let output = reload(&[&id]);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(code), "{text}");
            assert!(text.contains(expected), "{expected:?} is missing in {text}");
        };
        ask(0, &format!("unchanged: {id} runs plain "));
        arena.file("policy.yaml", shut());
        let output = reload(&[]);
        let text = said(&output);
        // The watch may have been first.
        assert!(output.status.success() && (text.contains("reloaded: ") || text.contains("unchanged: ")), "{text}");
        assert!(!passes(&mut session), "when it has answered, the policy is in force");
        arena.file("policy.yaml", open().replace("name: plain", "name: other"));
        ask(1, &format!("rejected: {id} still runs plain "));
        ask(1, "[ISB-R018] name cannot change while the server runs");
        assert!(!passes(&mut session));

        let rejected = records::of_type(DEFAULT_DIRECTORY, "policy.reject").len();
        // Each question is answered and recorded; the watch may have recorded it before.
        assert!((2..=3).contains(&rejected), "{rejected}");
        arena.file("policy.yaml", "toolz: {}\n");
        ask(1, "error[ISB-P011]");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("own file");
        ask(1, "not signalled");
        let unknown = reload(&["0123456789abcdef0123456789abcdef"]);
        assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
        end(session);
        assert!(!Path::new("/run/intercept-sandbox").join(&id).exists(), "nothing is left of the session");
    });
}

#[test]
fn what_a_killed_monitor_left_is_not_signalled_and_goes_with_the_next_start() {
    arena::run(|arena| {
        let (path, left) = (arena.file("policy.yaml", open()), Path::new("/run/intercept-sandbox"));
        let session = start(arena, &path, &[]);
        let id = name(&session);
        let janitor = session.of_ours("isb-janitor"); // it would clear away
        assert!(janitor.signal(Signal::SIGSTOP), "it sleeps");
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);
        assert!(janitor.signal(Signal::SIGKILL), "it is stopped");
        assert!(left.join(&id).exists());
        let output = reload(&[&id]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let session = start(arena, &path, &[]);
        assert!(!left.join(&id).exists());
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    });
}

#[test]
fn a_hundred_reloads_leak_nothing() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", open());
        let mut session = start(arena, &path, &[]);
        let big: String = (0..500).map(|number| format!("  t{number}: {{rules: [{{rate_limit: 1/day}}]}}\n")).collect();
        let text = |number: usize| {
            format!("description: '{number}'\n{}", open().replace("tools:\n", &format!("tools:\n{big}")))
        };
        let measure = || {
            let ours = session.processes();
            let count = |process: &Process| process.descriptors().len();
            let is_relay = |process: &&Process| process.status("Name").as_deref() == Some("isb-relay");
            let relay = ours.iter().find(is_relay).expect("the relay runs").clone();
            let monitor = ours[0].clone();
            let memory = |process: &Process| {
                let text = process.status("VmRSS").unwrap_or_default();
                text.trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0)
            };
            [(count(&relay), memory(&relay)), (count(&monitor), memory(&monitor))]
        };
        let mut turn = |number: usize| {
            arena.file("policy.yaml", text(number));
            let output = reload(&[]);
            assert!(output.status.success(), "{}", said(&output));
        };
        (0..20).for_each(&mut turn);
        let before = measure();
        (20..100).for_each(&mut turn);
        let after = measure();
        for ((descriptors, kib), (descriptors_after, kib_after)) in before.into_iter().zip(after) {
            assert_eq!(descriptors, descriptors_after, "{before:?} {after:?}");
            assert!(kib > 0 && kib_after < kib + 4096, "{before:?} {after:?}");
        }
        assert!(passes(&mut session));
        end(session);
    });
}
