//! The file audit: which files the server opens for writing is in the log, with the call that it was in, and what others open is not.

use std::fs;
use std::time::Duration;

use harness::arena::{self, Arena, ROOT};
use harness::paths;
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::run::Run;
use harness::session::{Session, is_allowed};
use harness::wait;
use serde_json::{Value, json};

const TOOLS: [&str; 5] = ["write", "read", "by_child", "flood", "echo"];

/// A run of the server under a policy with `require` in its sandbox section.
fn run_of(arena: &Arena, require: &str) -> Run {
    arena.folder("bin");
    arena.writable_folder("work");
    let script = arena.file("bin/writer.py", concat!(include_str!("writer.py"), include_str!("../serve_tools.py")));
    let tools: String = TOOLS.iter().map(|tool| format!("{tool}: {{rules: []}}, ")).collect();
    let policy = format!(
        "version: \"1\"\nname: fs-audit\ndefault: deny\ntools: {{{tools}}}\nsandbox:\n  filesystem: {{read: [{ROOT}/bin], write: [{{path: /out, from: {ROOT}/work}}]}}\n  process: {{max: 64}}\n{require}"
    );
    Run::new(arena, &policy).command(["python3", script.to_str().expect("a plain path")])
}

fn start(run: &Run) -> Session {
    let mut session = run.start();
    session.initialize();
    session
}

fn opens() -> Vec<Value> {
    records::of_type(DEFAULT_DIRECTORY, "fs.open")
}

/// The paths of the records, in their order.
fn paths_of(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["fs"]["path"].as_str().unwrap_or("?")).collect()
}

/// What the layer answered in the last run.
fn layer() -> Value {
    records::layer("fs-trace")
}

/// The records of one tool's call.
fn of_call(tool: &str) -> Vec<Value> {
    records::of_call("fs.open", tool)
}

/// Whether this kernel calls such programs. Where it does not, the record of the last run says why and has no file; that is checked here,
/// and said.
fn is_called() -> bool {
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if list.trim().split(',').any(|module| module == "bpf") {
        assert_eq!(layer()["state"], "enforced", "{}", layer());
        return true;
    }
    let reason = layer()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("lsm= list") || reason.contains("security/lsm"), "{}", layer());
    assert_eq!(opens(), [] as [Value; 0]);
    eprintln!("  not applicable, this kernel calls no LSM programs: {reason}");
    false
}

#[test]
fn each_file_is_recorded_with_its_path_and_its_call() {
    arena::run(|arena| {
        let mut session = start(&run_of(arena, ""));
        let long = format!("/out/{}", "d".repeat(200));
        let odd = "/out/odd \u{1b}[2J\n\u{202e}\"";
        let paths = json!(["/out/a", "/tmp/b", odd, long, "/out/../out/a"]);
        assert!(is_allowed(&session.call("write", json!({"paths": paths}))));
        assert!(is_allowed(&session.call("read", json!({"paths": ["/out/a", "/etc/hostname"]}))));
        let script = "cd /out; ( echo x > inner & wait ); mkdir folder; cd folder; : > ../a; exec 3<> ./both; mv both moved; : > moved";
        assert!(is_allowed(&session.call("by_child", json!({"script": script}))));
        assert_eq!(session.finish().code, 0);
        if !is_called() {
            return;
        }
        let all = opens();
        assert!(all.iter().all(|record| record["effect"] == "allowed" && record["fs"]["op"] == "open"), "{all:#?}");
        let called = of_call("write");
        assert_eq!(paths_of(&called), ["/out/a", "/tmp/b", odd, &long, "/out/a"], "{called:#?}");
        let server = &called[0]["fs"]["pid"];
        for record in &called {
            assert_eq!((&record["fs"]["pid"], &record["fs"]["count"]), (server, &json!(1)), "{record}");
            assert!(record["fs"]["comm"].as_str().is_some_and(|comm| comm.starts_with("python3")), "{record}");
        }
        assert_eq!(of_call("read"), [] as [Value; 0]);
        let children = of_call("by_child");
        let wanted = ["/out/inner", "/out/a", "/out/folder/both", "/out/folder/moved"];
        assert_eq!(paths_of(&children), wanted, "{children:#?}");
        assert!(children.iter().all(|record| record["fs"]["pid"] != *server && record["fs"]["comm"] == "sh"));
        assert_eq!(all.len(), called.len() + children.len(), "nothing before the first call: {all:#?}");
    });
}

#[test]
fn what_others_open_is_in_no_log_but_their_own() {
    arena::run(|arena| {
        let (mut one, mut two) = (start(&run_of(arena, "")), start(&run_of(arena, "")));
        fs::write(arena.path("work/outsider"), "x").expect("root can");
        assert!(is_allowed(&one.call("write", json!({"paths": ["/out/mine"]}))));
        assert!(is_allowed(&two.call("write", json!({"paths": ["/out/other"]}))));
        assert_eq!((one.finish().code, two.finish().code), (0, 0));
        if !is_called() {
            return;
        }
        let all = opens();
        assert_eq!(paths_of(&all).into_iter().collect::<std::collections::BTreeSet<_>>().len(), 2, "{all:#?}");
        assert_eq!(all.len(), 2, "{all:#?}");
        assert_ne!(all[0]["session"], all[1]["session"]);
    });
}

#[test]
fn a_flood_of_opens_is_counted_and_holds_up_nobody() {
    const THREADS: u64 = 4;
    arena::run(|arena| {
        // Twenty thousand; on an emulated processor as many as it has time for.
        let slower = wait::on_this_machine(Duration::from_secs(1)).as_secs();
        let each = 2500 / slower;
        let mut session = start(&run_of(arena, ""));
        let flood = json!({"name": "flood", "arguments": {"folder": "/out", "each": each, "threads": THREADS}});
        session.send(&json!({"jsonrpc": "2.0", "id": "flood", "method": "tools/call", "params": flood}));
        let mut echoes = 0_u64;
        let done = loop {
            let (answer, done) = session.call_beside("echo", json!({}), &json!("flood"));
            assert!(is_allowed(&answer), "{answer}");
            echoes += 1;
            if let Some(done) = done {
                break done;
            }
            assert!(echoes < 20_000, "the flood has no end");
        };
        assert!(is_allowed(&done), "{done}");
        assert_eq!(session.finish().code, 0);
        if !is_called() {
            return;
        }
        let all = opens();
        let counted: u64 = all.iter().filter_map(|record| record["fs"]["count"].as_u64()).sum();
        let gaps = records::of_type(DEFAULT_DIRECTORY, "audit.gap");
        let lost: u64 = gaps.iter().filter_map(|gap| gap["gap"]["count"].as_u64()).sum();
        assert!(gaps.iter().all(|gap| gap["gap"]["source"] == "files"), "{gaps:#?}");
        assert_eq!(counted + lost, THREADS * each * 2);
        assert!(all.len() + gaps.len() < 1000, "{} records, {} gaps", all.len(), gaps.len());
        eprintln!(
            "{counted} openings in {} records, {lost} lost in {} gaps, {echoes} calls meanwhile",
            all.len(),
            gaps.len()
        );
    });
}

#[test]
fn without_the_layer_the_run_goes_on_unless_it_is_required() {
    arena::run(|arena| {
        let run = |require: &str, dropped: &str| {
            run_of(arena, require).by(paths::weakenable()).env("ISB_WEAKEN", dropped).start().finish()
        };
        assert_eq!(run("", "fs-trace").code, 0);
        assert!(layer()["reason"].as_str().is_some_and(|why| why.contains("a test took it away")), "{}", layer());
        let ended = run("  require: [fs-trace]\n", "fs-trace");
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.stderr.contains("fs-trace"), "{}", ended.stderr);
        assert_eq!(opens(), [] as [Value; 0]);
        let ended = run_of(arena, "").start().finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let wanted = if is_called() { 0 } else { 125 };
        let ended = run_of(arena, "  require: [fs-trace]\n").start().finish();
        assert_eq!(ended.code, wanted, "{}", ended.stderr);
    });
}
