//! `policy scan` and `policy schema`: real servers and servers that want the draft to say something else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::arena::{self, Arena};
use harness::run::{as_real_root, said, subcommand};
use harness::session::Session;
use harness::{paths, processes, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

const SCANS: &str = "/var/lib/intercept-sandbox/scans";

fn scan<'a>(flags: &[&'a str], command: &[&'a str]) -> Output {
    subcommand([&["policy", "scan"], flags, &["--"], command].concat())
}

/// A scan of the misbehaving server. Whatever comes of it, nothing of it is left.
fn lister(arena: &Arena, mode: &str, flags: &[&str]) -> Output {
    let (program, marker) = (arena.program("lister"), marker());
    let folder = arena.path("bin");
    let plain = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let output = scan(&[&["--read", &plain(&folder)], flags].concat(), &[&plain(&program), mode, &marker]);
    nothing_is_left(&marker);
    output
}

/// An argument that no other test's processes have.
fn marker() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("scan-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The draft, checked by `policy check`, and as the normal form that `policy explain` prints.
fn checked(arena: &Arena, output: &Output) -> (String, String) {
    assert!(output.status.success(), "{}", said(output));
    let draft = String::from_utf8(output.stdout.clone()).expect("a draft is UTF-8");
    let file = arena.file("draft.yaml", &draft);
    let check = subcommand(["policy".as_ref(), "check".as_ref(), file.as_os_str()]);
    assert!(check.status.success(), "{}\n{draft}", said(&check));
    let explained = subcommand(["policy".as_ref(), "explain".as_ref(), file.as_os_str()]);
    assert!(explained.status.success(), "{}", said(&explained));
    (draft, String::from_utf8(explained.stdout).expect("UTF-8"))
}

/// Whether the draft lets a call without arguments pass. Required arguments count as given: their conditions decide.
fn allows(arena: &Arena, tool: &str) -> bool {
    let call = format!(r#"{{"name": "{tool}"}}"#);
    let file = arena.path("draft.yaml");
    let arguments = ["policy", "explain", file.to_str().expect("plain"), "--call", &call];
    subcommand(arguments).status.success()
}

fn nothing_is_left(marker: &str) {
    let left = fs::read_dir(SCANS).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{SCANS} holds something");
    let gone = || processes::with_argument(marker).is_empty();
    assert!(wait::becomes_true(wait::COMES_LIMIT, gone), "{:?}", processes::with_argument(marker));
}

#[test]
fn real_servers_are_drafted_without_network_and_what_writes_is_denied() {
    arena::run(|arena| {
        let folder = arena.fixture("together-ts");
        let folder = folder.to_str().expect("plain");
        let output = scan(&["--read", folder], &["node", &format!("{folder}/server.js")]);
        let (draft, explained) = checked(arena, &output);
        assert!(draft.contains("# Draws an image from a text prompt with a FLUX model"), "{draft}");
        assert!(draft.contains("reason: \"not judged: it does not claim to be read-only\""), "{draft}");
        assert!(!allows(arena, "generate_image") && !allows(arena, "purge_images"));
        assert!(explained.contains("default: deny"), "{explained}");

        let folder = arena.fixture("images-py");
        let folder = folder.to_str().expect("plain");
        let (python, program) = (format!("{folder}/.venv/bin/python"), format!("{folder}/server.py"));
        let output = scan(&["--read", folder, "--timeout", "60s"], &[&python, &program]);
        let (draft, _) = checked(arena, &output);
        assert!(draft.contains("\"generate_image\":") && draft.contains("\"purge_images\":"), "{draft}");
    });
}

#[test]
fn a_real_read_only_tool_is_proposed_with_the_bounds_of_its_schema() {
    arena::run(|arena| {
        let folder = arena.fixture("filesystem");
        let folder = folder.to_str().expect("plain");
        let program = format!("{folder}/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
        let output = scan(&["--read", folder, "--timeout", "60"], &["node", &program, folder]);
        let (draft, _) = checked(arena, &output);
        let bounds = "- {path: \"args.sortBy\", op: in, value: [\"name\", \"size\"], if_present: true}";
        assert!(draft.contains(bounds), "{draft}");
        assert!(allows(arena, "list_allowed_directories"));
        assert!(!allows(arena, "write_file") && !allows(arena, "no_such_tool"));
    });
}

#[test]
fn names_and_descriptions_cannot_write_policy() {
    arena::run(|arena| {
        let output = lister(arena, "inject", &[]);
        let (draft, explained) = checked(arena, &output);
        let evil =
            |text: &str| text.lines().any(|line| line.trim_start().trim_start_matches('"').starts_with("evil\":"));
        assert!(!evil(&draft) && !evil(&explained), "{draft}\n{explained}");
        assert!(!allows(arena, "evil") && !allows(arena, "unlisted"));
        assert!(allows(arena, "honest"), "{draft}");
        assert!(draft.contains("# refused: * "), "{draft}");
        let plain = |c: char| c == '\n' || matches!(c, ' '..='~');
        assert!(draft.chars().all(plain), "{draft}");
    });
}

#[test]
fn every_page_is_read_and_json_tells_the_verdicts() {
    arena::run(|arena| {
        let output = lister(arena, "pages", &["--json"]);
        assert!(output.status.success(), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let names: Vec<&str> =
            report["tools"].as_array().expect("a list").iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["t0", "t1", "t2", "last"]);
        assert_eq!(report["tools"][0]["proposal"], "allow");
        assert_eq!(report["protocol"], "2025-06-18");
        let draft = arena.path("new.yaml");
        let output = lister(arena, "pages", &["-o", draft.to_str().expect("plain")]);
        assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
        let tools = |text: &str| text.split("\ntools:\n").nth(1).expect("tools").to_owned();
        let written = fs::read_to_string(&draft).expect("written");
        assert_eq!(tools(&written), tools(report["policy"].as_str().expect("text")));
        let output = lister(arena, "pages", &["-o", draft.to_str().expect("plain")]);
        assert_eq!(output.status.code(), Some(2), "a file that is there is not replaced: {}", said(&output));
    });
}

#[test]
fn a_server_that_does_not_list_is_an_error_in_time_and_leaves_nothing() {
    arena::run(|arena| {
        let cases = [
            ("silent", "did not answer `initialize` within 3 s"),
            ("dies", "the run ended with 7"),
            ("dies-on-list", "`tools/list`"),
            ("garbage", "did not answer `tools/list` within 3 s"),
            ("endless", "do not end"),
            ("loop", "do not end"),
            ("flood", "bytes"),
        ];
        for (mode, why) in cases {
            let begun = Instant::now();
            // A silent server costs its whole time; the others are found out before it is over.
            let timeout = if why.contains("within") { "3s" } else { "60s" };
            let output = lister(arena, mode, &["--timeout", timeout]);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(1), "{mode}: {text}");
            assert!(output.stdout.is_empty(), "{mode}: {text}");
            assert!(text.starts_with("error: the scan failed: ") && text.contains(why), "{mode}: {text}");
            assert!(!text.contains('\u{1b}'), "{mode}: {text}");
            assert!(begun.elapsed() < wait::on_this_machine(Duration::from_secs(45)), "{mode}");
        }
    });
}

#[test]
fn what_cannot_start_says_why() {
    arena::run(|_| {
        let output = scan(&[], &["/nowhere/server"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("ended with 127"), "{}", said(&output));
        for flags in
            [["--read", "relative"], ["--read", "/etc/intercept-sandbox"], ["--env", "A=b"], ["--timeout", "0"]]
        {
            let output = scan(&flags, &["true"]);
            assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", said(&output));
        }
    });
}

#[test]
fn an_interrupted_scan_leaves_nothing() {
    arena::run(|arena| {
        let (program, marker) = (arena.program("lister"), marker());
        let mut command = as_real_root(paths::supervisor());
        command.args(["policy", "scan", "--timeout", "60s", "--read"]).arg(arena.path("bin")).arg("--");
        let session = Session::start({
            command.arg(program).args(["silent", &marker]);
            command
        });
        let _ = session.server(&marker);
        session.signal(Signal::SIGTERM);
        let ended = session.ended();
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
        nothing_is_left(&marker);
    });
}

/// A server in one line of shell, so that it needs nothing but the minimal view.
const SHELL_SERVER: &str = r#"read a
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}'
read b; read c
echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"last","inputSchema":{"type":"object"}}]}}'
read d"#;

fn scan_behind_sudo(flags: &[&str], script: &str) -> Output {
    let mut command = Command::new(paths::supervisor());
    command.env("SUDO_UID", "1000").env("SUDO_USER", "ada").args(["policy", "scan"]);
    command.args(flags).args(["--", "/bin/sh", "-c", script]);
    command.stdin(std::process::Stdio::null()).output().expect("it starts")
}

#[test]
fn behind_sudo_a_scan_works_and_writes_no_file_of_the_callers_choice() {
    arena::run(|arena| {
        let target = arena.path("chosen.yaml");
        let output = scan_behind_sudo(&[], SHELL_SERVER);
        assert!(output.status.success(), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("\"last\":"), "{}", said(&output));
        let output = scan_behind_sudo(&["-o", target.to_str().expect("plain")], SHELL_SERVER);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(!target.exists());
    });
}

#[test]
fn behind_sudo_a_scan_shows_nothing_that_the_caller_chooses() {
    arena::run(|arena| {
        let folder = arena.path("bin");
        for flags in [["--read", folder.to_str().expect("plain")], ["--env", "HOME"]] {
            let output = scan_behind_sudo(&flags, SHELL_SERVER);
            assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", said(&output));
            assert!(output.stdout.is_empty() && said(&output).contains("real root alone"), "{}", said(&output));
        }
    });
}

#[test]
fn behind_sudo_a_failed_scan_shows_nothing_of_the_servers_stderr() {
    arena::run(|_| {
        let script = "echo from-the-server >&2; echo 'intercept-sandbox: from-the-server' >&2; exit 7";
        let output = scan_behind_sudo(&[], script);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("the run ended with 7") && !text.contains("from-the-server"), "{text}");
        let output = scan(&[], &["/bin/sh", "-c", script]);
        assert!(said(&output).contains("from-the-server"), "real root sees it: {}", said(&output));
    });
}

#[test]
fn the_schema_is_one_json_object() {
    let output = subcommand(["policy", "schema"]);
    assert!(output.status.success(), "{}", said(&output));
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$defs"]["a-policy"]["additionalProperties"], false);
}

#[test]
fn a_lock_of_the_listed_tools_stands_beside_the_draft() {
    arena::run(|arena| {
        let at = |name: &str| arena.path(name).to_str().expect("plain").to_owned();
        let output = lister(arena, "pages", &["-o", &at("first.yaml")]);
        assert!(output.status.success(), "{}", said(&output));
        let lock = fs::read_to_string(arena.path("tools.lock")).expect("a lock");
        let names = ["{\"tools.lock\":1}", "last", "t0", "t1", "t2"];
        assert_eq!(lock.lines().count(), names.len(), "{lock}");
        assert!(lock.lines().zip(names).all(|(line, name)| line.contains(name)), "{lock}");
        let output = lister(arena, "pages", &["-o", &at("second.yaml")]);
        assert!(!output.status.success() && !arena.path("second.yaml").exists(), "nothing is replaced");
        let output = lister(arena, "pages", &["--lock", &at("own.lock")]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(fs::read_to_string(arena.path("own.lock")).expect("a lock"), lock);
    });
}
