//! The exec audit: what the server starts is in the log, with the call that it was started in, and what others start is not.

mod lists;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use harness::arena::{self, Arena, ROOT};
use harness::paths;
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::run::{self, Run};
use harness::session::{Session, text_of};
use harness::wait;
use serde_json::{Value, json};

const TOOLS: [&str; 6] = ["run", "attempt", "by_descriptor", "by_thread", "flood", "echo"];
/// Where the kernel publishes its types: without them there is no exec audit.
const TYPES: &str = "/sys/kernel/btf";

/// A run of the server under a policy with `require` in its sandbox section.
fn run_of(arena: &Arena, require: &str) -> Run {
    run_with(arena, "max: 64", require)
}

/// The same, with `process` of that section.
fn run_with(arena: &Arena, process: &str, require: &str) -> Run {
    arena.folder("bin");
    arena.writable_folder("work");
    let script = arena.file("bin/starter.py", concat!(include_str!("starter.py"), include_str!("../serve_tools.py")));
    let tools: String = TOOLS.iter().map(|tool| format!("{tool}: {{rules: []}}, ")).collect();
    let policy = format!(
        "version: \"1\"\nname: exec-audit\ndefault: deny\ntools: {{{tools}}}\nsandbox:\n  filesystem: {{read: [{ROOT}/bin], write: [{ROOT}/work]}}\n  process: {{{process}}}\n{require}"
    );
    Run::new(arena, &policy).command(["python3", script.to_str().expect("a plain path")])
}

fn start(run: &Run) -> Session {
    let mut session = run.start();
    session.initialize();
    session
}

fn told(answer: &Value) -> Value {
    serde_json::from_str(&text_of(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn starts() -> Vec<Value> {
    records::of_type(DEFAULT_DIRECTORY, "proc.exec")
}

/// The paths of the records, in their order.
fn paths_of(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["proc"]["exe"].as_str().unwrap_or("?")).collect()
}

/// What the layer answered in the last run.
fn layer() -> Value {
    records::layer("exec-trace")
}

/// The records of one tool's call.
fn of_call(tool: &str) -> Vec<Value> {
    records::of_call("proc.exec", tool)
}

/// A program of the arena, and its path inside.
fn program(arena: &Arena, name: &str, text: &[u8]) -> String {
    arena.folder("bin");
    let path = arena.file(&format!("bin/{name}"), text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own file");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn each_program_is_recorded_with_its_path_its_parent_and_its_call() {
    arena::run(|arena| {
        let script = program(arena, "script", b"#!/bin/sh -e\nexit 0\n");
        let odd = program(arena, "odd \u{1b}[2J\n\u{202e}\"", &fs::read("/bin/true").expect("coreutils"));
        let long = format!("/bin/{}true", "./".repeat(200));
        let mut session = start(&run_of(arena, "  require: [exec-trace]\n"));
        assert_eq!(layer()["state"], "enforced", "{}", layer());
        let server = session.server(&format!("{ROOT}/bin/starter.py"));
        let double = "( ( /bin/true & wait ) & wait )";
        let commands = json!([["/bin/true"], [script], [odd], [long], ["/bin/sh", "-c", double]]);
        assert_eq!(told(&session.call("run", json!({"commands": commands}))), json!([0, 0, 0, 0, 0]));
        assert_eq!(told(&session.call("by_descriptor", json!({"program": "/bin/true"}))), 0);
        assert_eq!(told(&session.call("by_thread", json!({"program": "/bin/true"}))), 0);
        assert_eq!(session.finish().code, 0);

        let all = starts();
        assert!(all.iter().all(|record| record["effect"] == "allowed" && record["proc"]["op"] == "exec"), "{all:#?}");
        let first = &all[0]["proc"];
        assert!(first["exe"].as_str().is_some_and(|path| path.ends_with("/python3")), "the server itself: {first}");
        assert_eq!((&first["pid"], all[0].get("corr")), (&json!(server.pid), None));

        let called = of_call("run");
        let cut = &long[..262];
        assert_eq!(paths_of(&called), ["/bin/true", &script, &odd, cut, "/bin/sh", "/bin/true"], "{called:#?}");
        let (shell, grandchild) = (&called[4]["proc"], &called[5]["proc"]);
        assert!(grandchild["ppid"] != json!(server.pid) && grandchild["ppid"] != shell["ppid"], "{grandchild}");
        for record in &called[..5] {
            let proc = &record["proc"];
            assert_eq!((&proc["ppid"], &proc["count"]), (&json!(server.pid), &json!(1)), "{record}");
            assert_eq!(proc["cut"] == json!(true), proc["exe"] == cut, "{record}");
            assert_eq!(proc["interpreter"] == "/bin/sh", proc["exe"] == script.as_str(), "{record}");
        }
        assert_eq!(called[0]["proc"]["comm"], "true");
        let by_descriptor = of_call("by_descriptor");
        assert!(paths_of(&by_descriptor)[0].starts_with("/dev/fd/"), "{by_descriptor:#?}");
        assert_eq!(paths_of(&of_call("by_thread")), ["/bin/true"]);
    });
}

#[test]
fn what_others_start_is_in_no_log_but_their_own() {
    arena::run(|arena| {
        let [outsider, mine, other] =
            ["outsider", "mine", "other"].map(|name| program(arena, name, &fs::read("/bin/true").expect("coreutils")));
        let (mut one, mut two) = (start(&run_of(arena, "")), start(&run_of(arena, "")));
        assert!(run::bare([&outsider]).status().expect("a program").success());
        assert_eq!(told(&one.call("run", json!({"commands": [[mine]]}))), json!([0]));
        assert_eq!(told(&two.call("run", json!({"commands": [[other]]}))), json!([0]));
        let ours = ["/usr/bin/true", "/bin/true"].map(|path| Path::new(path).exists());
        assert!(ours.contains(&true) && run::bare(["true"]).status().expect("a program").success());
        assert_eq!((one.finish().code, two.finish().code), (0, 0));
        let all = starts();
        let sessions = |path: &str| -> Vec<String> {
            let records = all.iter().filter(|record| record["proc"]["exe"] == path);
            records.map(|record| record["session"].to_string()).collect()
        };
        assert_eq!((sessions(&mine).len(), sessions(&other).len()), (1, 1), "{all:#?}");
        assert_ne!(sessions(&mine), sessions(&other));
        assert_eq!(all.len(), 4, "two servers and a program each: {all:#?}");
    });
}

#[test]
fn a_flood_of_starts_is_counted_and_holds_up_nobody() {
    const SHELLS: u64 = 4;
    arena::run(|arena| {
        // Ten thousand; on an emulated processor as many as it has time for.
        let slower = wait::on_this_machine(Duration::from_secs(1)).as_secs();
        let rounds = 1250 / slower;
        let mut session = start(&run_of(arena, ""));
        // Two starts a round: one of the same name, one of ever another name for it.
        let script = format!(
            "i=0; p=/; while [ $i -lt {rounds} ]; do /bin/true; p=\"$p/\"; [ ${{#p}} -lt 200 ] || p=/; $p/bin/true; i=$((i+1)); done"
        );
        let flood = json!({"name": "flood", "arguments": {"script": script, "shells": SHELLS, "wait": true}});
        session.send(&json!({"jsonrpc": "2.0", "id": "flood", "method": "tools/call", "params": flood}));
        let mut echoes = 0;
        let done = loop {
            let (answer, done) = session.call_beside("echo", json!({"round": echoes}), &json!("flood"));
            assert!(answer["result"].is_object(), "{answer}");
            echoes += 1;
            if let Some(done) = done {
                break done;
            }
            if let Some(line) = session.try_line(Duration::from_millis(100)) {
                break serde_json::from_str::<Value>(&line).expect("JSON");
            }
            assert!(echoes < 2000 * slower, "the flood has no end");
        };
        assert_eq!(told(&done), json!(vec![0; usize::try_from(SHELLS).expect("few")]));
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let all = starts();
        let counted: u64 = all.iter().filter_map(|record| record["proc"]["count"].as_u64()).sum();
        let gaps = records::of_type(DEFAULT_DIRECTORY, "audit.gap");
        let lost: u64 = gaps.iter().filter_map(|gap| gap["gap"]["count"].as_u64()).sum();
        assert!(gaps.iter().all(|gap| gap["gap"]["source"] == "execs"), "{gaps:#?}");
        assert_eq!(counted + lost, 1 + SHELLS + SHELLS * rounds * 2, "the server, its shells, what they started");
        let others = all.iter().any(|record| record["proc"]["others"] == json!(true));
        assert!(others || slower > 1, "too many names for one record each");
        assert!(all.len() + gaps.len() < 1000, "{} records, {} gaps", all.len(), gaps.len());
        eprintln!(
            "{counted} starts in {} records, {lost} lost in {} gaps, {echoes} calls meanwhile",
            all.len(),
            gaps.len()
        );
    });
}

#[test]
fn where_the_kernel_describes_no_types_the_run_goes_on_unless_the_layer_is_required() {
    arena::run(|arena| {
        if !Path::new(TYPES).exists() {
            return; // then every other run of this host shows it
        }
        arena.small_disk(TYPES, "4k");
        let mut session = start(&run_of(arena, ""));
        assert_eq!(told(&session.call("run", json!({"commands": [["/bin/true"]]}))), json!([0]));
        assert_eq!(session.finish().code, 0);
        assert_eq!(layer()["state"], "unsupported");
        assert!(layer()["reason"].as_str().is_some_and(|why| why.contains("btf/vmlinux")), "{}", layer());
        assert_eq!(starts(), [] as [Value; 0]);
        let ended = run_of(arena, "  require: [exec-trace]\n").start().ended();
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.stderr.contains("exec-trace"), "{}", ended.stderr);
    });
}

#[test]
fn the_kernels_types_are_read_once_a_boot_and_an_odd_file_of_them_is_replaced() {
    arena::run(|arena| {
        let memo = Path::new("/run/intercept-sandbox/kernel-types");
        let run = || {
            assert_eq!(start(&run_of(arena, "")).finish().code, 0);
            (fs::read(memo).expect("it is kept"), layer()["state"] == "enforced")
        };
        let (first, enforced) = run();
        assert!(enforced, "{}", layer());
        for spoil in [&b""[..], &b"intercept-sandbox-kernel-types-1 "[..], &[b'x'; 300]] {
            fs::write(memo, spoil).expect("root can");
            assert_eq!(run(), (first.clone(), true), "{spoil:?}");
        }
        let mut wrong = first.clone();
        wrong[100] = if wrong[100] == b'0' { b'1' } else { b'0' };
        fs::write(memo, &wrong).expect("root can");
        assert_eq!(run(), (first.clone(), true), "a digit");
        fs::set_permissions(memo, fs::Permissions::from_mode(0o666)).expect("root can");
        assert_eq!(run(), (first, true));
        assert_eq!(fs::metadata(memo).expect("a file").permissions().mode() & 0o7777, 0o600);
        // Once it is there, the kernel's own description is not opened.
        arena.small_disk(TYPES, "4k");
        assert!(run().1, "{}", layer());
    });
}

#[test]
fn a_program_that_the_kernel_does_not_call_is_no_layer() {
    arena::run(|arena| {
        let run = run_of(arena, "").by(paths::weakenable()).env("ISB_WEAKEN", "exec-trace");
        assert_eq!(start(&run).finish().code, 0);
        assert_eq!(layer()["state"], "unsupported", "{}", layer());
        let required = run_of(arena, "  require: [exec-trace]\n").by(paths::weakenable());
        let ended = required.env("ISB_WEAKEN", "exec-trace").start().ended();
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(wait::becomes_true(Duration::from_secs(5), || starts().is_empty()));
    });
}
