//! What a server was given in confidence is in none of its words that leave: not in the client's bytes, not in our stderr,
//! not in the log.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use harness::arena::{self, Arena};
use harness::leak::{self, SECRET};
use harness::processes::{self, Process};
use harness::records;
use harness::redis::{PASSWORD, Redis};
use harness::run::{self, Run, said};
use harness::session::{ANSWER_LIMIT, Session};
use serde_json::{Value, json};

const POLICY: &str = "version: \"1\"
name: secrets
default: allow
sandbox:
  env: {pass: [LEAKY_TOKEN]}
";

/// Everything that the client was sent, and our stderr.
struct Heard {
    lines: Vec<String>,
    stderr: String,
}

fn start(arena: &Arena, argument: &str) -> Session {
    let program = arena.program("leaky");
    let folder = program.parent().expect("a program stands in a folder");
    let policy = format!("{POLICY}  filesystem: {{read: [{}]}}\n", folder.display());
    let command = [program.as_os_str(), argument.as_ref()];
    Run::new(arena, &policy).env("LEAKY_TOKEN", SECRET).command(command).start()
}

/// Sends the requests and collects every line until the last is answered.
fn hear(mut session: Session) -> Heard {
    let client = json!({"name": "harness", "version": "1"});
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let call = |name: &str| ("tools/call", json!({"name": name, "arguments": {}}));
    let requests = [
        ("initialize", hello),
        ("tools/list", json!({})),
        call("leak"),
        call("fail"),
        call("ask"),
        call("noise"),
        ("ping", json!({})),
    ];
    let mut lines = Vec::new();
    for (id, (method, params)) in requests.into_iter().enumerate() {
        let id = json!(format!("q{id}"));
        session.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let line = session.try_line(ANSWER_LIMIT).unwrap_or_else(|| panic!("{method}: {}", session.stderr()));
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let is_answer = message["id"] == id && message.get("method").is_none();
            lines.push(line);
            if is_answer {
                break;
            }
        }
        if method == "initialize" {
            session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        }
    }
    let ended = session.finish();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    lines.extend(ended.lines);
    Heard { lines, stderr: ended.stderr }
}

fn log() -> String {
    let segments = records::segments(records::DEFAULT_DIRECTORY);
    segments.iter().map(|path| fs::read_to_string(path).expect("root reads the log")).collect()
}

#[test]
fn the_client_gets_a_secret_in_no_form() {
    arena::run(|arena| {
        let heard = hear(start(arena, ""));
        for line in &heard.lines {
            let whole: Value = serde_json::from_str(line).expect("each line is JSON");
            let strings = strings(&whole).join("\n");
            assert_eq!(leak::seen(&strings, SECRET), [""; 0], "{line}");
            assert_eq!(leak::seen(line, SECRET), [""; 0], "{line}");
        }
        let answered = |id: &str| heard.lines.iter().find(|line| line.contains(id)).cloned().unwrap_or_default();
        let leaked = answered("\"q2\"");
        assert!(leaked.contains("upper hex: *****") && leaked.contains("form: ****"), "the rest stands: {leaked}");
        let asked = heard.lines.iter().find(|line| line.contains("elicitation/create")).expect("it was asked");
        assert!(!asked.contains("\\u001b") && asked.contains("upper percent: ***"), "{asked}");
        assert!(!heard.lines.iter().any(|line| line.contains("roots/list")), "a secret in the id");

        let redacted: Vec<_> = records::read(records::DEFAULT_DIRECTORY);
        let count = |method: &str| {
            let found = redacted.iter().filter(|r| r["mcp"]["dir"] == "s2c" && r["mcp"]["method"] == method);
            found.filter_map(|record| record["mcp"]["redacted"].as_u64()).max().unwrap_or(0)
        };
        let forms = leak::dresses(SECRET).len() as u64;
        assert_eq!(count("initialize"), 2 * forms);
        assert_eq!(count("tools/list"), 5 * forms);
        assert_eq!(count("tools/call"), 2 * forms, "of an error; a result has {} and more", forms + 3);
        assert_eq!(count("notifications/message"), forms);
        let refused = redacted.iter().filter(|record| record["reason"]["code"] == "secret_in_envelope").count();
        assert_eq!(refused, 2);
    });
}

/// `env.pass` puts a secret where the policy says, into the server's environment, and nowhere else where others look.
#[test]
fn a_secret_is_in_no_argument_and_in_no_file_of_the_view() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let program = arena.program("leaky");
        let folder = program.parent().expect("a program stands in a folder");
        let policy = format!("{POLICY}  filesystem: {{read: [{}]}}\n", folder.display());
        let run = Run::new(arena, &policy).env("LEAKY_TOKEN", SECRET).flag("--state-dsn").flag(redis.dsn_file(arena));
        let session = run.command([program.as_os_str(), "a-word-of-the-command".as_ref()]).begin();
        let server = session.server("a-word-of-the-command");
        let environment = fs::read(format!("/proc/{}/environ", server.pid)).expect("root may look");
        assert!(holds(&environment, SECRET), "by design; or this test looks for another's secret");

        // The store's own server was told its password by us.
        let others = processes::all().into_iter().filter(|process| process.comm != "redis-server");
        let line = |process: &Process| fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let lines: Vec<(Process, Vec<u8>)> = others.map(|process| (process.clone(), line(&process))).collect();
        assert!(lines.iter().any(|(_, line)| holds(line, "a-word-of-the-command")), "command lines are seen");
        for secret in [SECRET, PASSWORD] {
            let found: Vec<_> = lines.iter().filter(|(_, line)| holds(line, secret)).collect();
            assert!(found.is_empty(), "{found:?}");
        }

        let root = PathBuf::from(format!("/proc/{}/root", server.pid));
        let mut seen = Vec::new();
        // What was made for this run: its root, and the mounts that begin empty.
        for folder in ["", "tmp", "dev/shm"] {
            files(&root.join(folder), &mut seen);
        }
        assert!(seen.iter().any(|path| path.ends_with("etc/passwd")), "files are seen: {seen:?}");
        for path in seen {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for secret in [SECRET, PASSWORD] {
                assert!(!holds(&bytes, secret), "{}", path.display());
            }
        }
        assert_eq!(session.finish().code, 0);
    });
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Regular files below a folder, in its own file system. What is mounted is asked, not the name that it covers: that of a device is a
/// file's.
fn files(folder: &Path, seen: &mut Vec<PathBuf>) {
    let own = fs::symlink_metadata(folder).expect("it is in the view").dev();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.dev() == own && found.is_dir() {
            files(&path, seen);
        } else if found.dev() == own && found.is_file() {
            seen.push(path);
        }
    }
}

#[test]
fn a_person_is_not_sent_to_a_site_that_reads_like_another() {
    arena::run(|arena| {
        let mut session = start(arena, "");
        session.initialize();
        let id = json!("visit");
        session.send(
            &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "visit", "arguments": {}}}),
        );
        let first = session.receive();
        assert_eq!(first["id"], id, "the question of its own accord is not passed on: {first}");
        assert_eq!(first["error"]["code"], -31_001, "{first}");
        assert!(!first.to_string().contains("evil.example"), "{first}");
        assert_eq!(session.finish().code, 0);
        let refused = records::read(records::DEFAULT_DIRECTORY).into_iter();
        let refused = refused.filter(|record| record["reason"]["code"] == "misleading_elicitation");
        let kinds: Vec<_> = refused.map(|record| record["type"].clone()).collect();
        assert_eq!(kinds, ["mcp.request", "mcp.response"]);
    });
}

/// Every string and key, unescaped.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(key, value)| std::iter::once(key.clone()).chain(strings(value))).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn people_and_the_log_get_a_secret_in_no_form() {
    arena::run(|arena| {
        // What the caller himself writes into the command line is recorded without it too.
        let heard = hear(start(arena, &format!("--token={SECRET}")));
        assert!(heard.stderr.contains("[server] upper hex: ****"), "{}", heard.stderr);
        assert_eq!(leak::seen(&heard.stderr, SECRET), [""; 0], "{}", heard.stderr);
        assert!(!heard.stderr.contains("-hunter2") && !heard.stderr.contains("--h"), "cut in two: {}", heard.stderr);
        let log = log();
        assert_eq!(leak::seen(&log, SECRET), [""; 0], "{log}");
        let unescaped: Vec<_> = records::read(records::DEFAULT_DIRECTORY).iter().flat_map(strings).collect();
        assert_eq!(leak::seen(&unescaped.join("\n"), SECRET), [""; 0], "{log}");
        assert!(log.contains("--token=****"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        let verified = run::subcommand(["audit", "verify"]);
        assert!(verified.status.success(), "{}", said(&verified));
    });
}
