//! Whether the list of the server's system calls is as short as it can be: real servers run under it, strace(1) writes down what they
//! ask for, and a rule that none of them needs has a reason in [`kept::KEPT`] or goes.

mod kept;
mod trace;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::arena::{self, API_ADDRESS, API_HOST, Arena, ROOT};
use harness::differential::servers::{GO, PY2, RMCP, Server, TS};
use harness::run::Run;
use harness::session::Session;
use harness::stand_in::StandIn;
use harness::{paths, policies, table};
use serde_json::{Value, json};

use trace::{Rules, Trace};

/// The servers and programs, each traced under the filter.
fn all(arena: &Arena) -> Vec<(&'static str, Trace)> {
    vec![
        ("together-ts", together(arena)),
        ("images-py", images(arena)),
        ("npx filesystem", npx(arena)),
        (TS.name, differential(arena, &TS)),
        (PY2.name, differential(arena, &PY2)),
        (RMCP.name, differential(arena, &RMCP)),
        (GO.name, differential(arena, &GO)),
        ("node", runtime(arena, "node", include_str!("../mechanisms/runtime.js"), "http worker exec fork unix udp")),
        (
            "python",
            runtime(arena, "python3", include_str!("../mechanisms/runtime.py"), "http asyncio subprocess sqlite"),
        ),
        ("sh and tools", runtime(arena, "sh", include_str!("tools.sh"), "moved")),
    ]
}

/// `words` under the server's filter, with a tracer outside of it.
fn traced<S: Into<OsString>>(trace: &Path, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "signal=none", "-e", "raw=all", "-o"]).arg(trace);
    command.arg(paths::helper("under-filter")).args(words.into_iter().map(Into::into));
    command.env("HOME", "/tmp").env("npm_config_update_notifier", "false");
    command
}

/// A server: its handshake, its tools, one call, its end.
fn server(arena: &Arena, mut command: Command, tool: &str, arguments: Value) -> Trace {
    command.env("EXECUTED", arena.path("executed"));
    let mut session = Session::start(command);
    session.initialize();
    let tools = session.tool_names();
    assert!(tools.iter().any(|name| name == tool), "{tools:?}");
    let answer = session.call(tool, arguments);
    assert!(answer["result"].is_object() && answer["result"]["isError"] != true, "{tool}: {answer}");
    let ended = session.finish();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    Trace::read(&arena.path("trace"))
}

fn together(arena: &Arena) -> Trace {
    let folder = arena.fixture("together-ts");
    let images = arena.writable_folder("images");
    let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
    let ca = arena.file("ca.pem", stand_in.ca_pem());
    let mut command = traced(&arena.path("trace"), ["node".into(), folder.join("server.js")]);
    command.env("NODE_EXTRA_CA_CERTS", ca).env("TOGETHER_API_KEY", "isb-key").env("IMAGES_DIR", &images);
    let path = images.join("a.png");
    let trace = server(arena, command, "generate_image", json!({"prompt": "p", "width": 64, "image_path": path}));
    assert_eq!(stand_in.requests().len(), 1, "it spoke to the API");
    trace
}

fn images(arena: &Arena) -> Trace {
    let folder = arena.fixture("images-py");
    let mut command = traced(&arena.path("trace"), [folder.join(".venv/bin/python"), folder.join("server.py")]);
    command.env("IMAGES_DIR", arena.writable_folder("images-py-out"));
    let arguments = json!({"prompt": "p", "width": 64, "height": 64, "steps": 1, "n": 1});
    server(arena, command, "generate_image", arguments)
}

/// `npx` with a package that is there; no registry is asked, and none could be.
fn npx_words() -> Vec<String> {
    let folder = format!("{ROOT}/filesystem");
    let words = ["npx", "--prefix", &folder, "--no-install", "--offline", "--", "mcp-server-filesystem", "/tmp"];
    words.map(str::to_owned).into()
}

fn npx(arena: &Arena) -> Trace {
    arena.fixture("filesystem");
    server(arena, traced(&arena.path("trace"), npx_words()), "list_allowed_directories", json!({}))
}

fn differential(arena: &Arena, of: &Server) -> Trace {
    let command = traced(&arena.path("trace"), of.command(&arena.fixture(of.folder)));
    server(arena, command, "allowed", json!({"tag": "t", "text": "x", "n": 1, "flag": true, "nested": {}}))
}

/// A program that prints `expected` when all of it worked.
fn runtime(arena: &Arena, interpreter: &str, code: &str, expected: &str) -> Trace {
    let program = arena.file(&format!("program-{interpreter}"), code);
    let folder = arena.writable_folder(&format!("work-{interpreter}"));
    let mut command =
        traced(&arena.path("trace"), [interpreter.into(), program.into_os_string(), folder.clone().into()]);
    let output = command.current_dir(&folder).stdin(Stdio::null()).output().expect("strace is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(expected), "{interpreter}: {said}\n{complaints}");
    Trace::read(&arena.path("trace"))
}

#[test]
fn every_rule_is_needed_or_has_a_reason_to_stay() {
    arena::run(|arena| {
        let rules = Rules::of_the_server();
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let mut rows = Vec::new();
        for (name, trace) in all(arena) {
            let of_it = rules.needed_by(&trace);
            let new: Vec<&str> = of_it.difference(&needed).map(String::as_str).collect();
            rows.push(vec![name.to_owned(), of_it.len().to_string(), new.join(" ")]);
            needed.extend(of_it);
        }
        table::print("rules that were needed", &["by", "rules", "first"], &rows);
        let kept: BTreeSet<String> =
            kept::KEPT.iter().flat_map(|(labels, _)| *labels).map(|&label| label.into()).collect();
        let all = rules.labels();
        let unknown: Vec<&String> = kept.difference(&all).collect();
        assert!(unknown.is_empty(), "kept, and no rule: {unknown:?}");
        let idle: Vec<&String> =
            all.iter().filter(|label| !needed.contains(*label) && !kept.contains(*label)).collect();
        assert!(idle.is_empty(), "nothing needs these, and kept.rs has no reason for them: {idle:?}");
        // Not an error: another release of a runtime may take another of two ways.
        let both: Vec<&String> = kept.intersection(&needed).collect();
        eprintln!("kept for a reason, and needed here: {both:?}");
    });
}

#[test]
fn npx_runs_a_local_package_in_the_sandbox() {
    arena::run(|arena| {
        arena.fixture("filesystem");
        let policy = policies::plain(&["list_allowed_directories"], &format!("{ROOT}/filesystem"))
            + "  env: {set: {HOME: /tmp, npm_config_update_notifier: \"false\"}}\n";
        let mut session = Run::new(arena, &policy).command(npx_words()).begin();
        assert_eq!(session.tool_names(), ["list_allowed_directories"], "{}", session.stderr());
        let answer = session.call("list_allowed_directories", json!({}));
        assert!(harness::session::text_of(&answer).contains("/tmp"), "{answer}");
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    });
}
