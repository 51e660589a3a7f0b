//! The ready policies against the servers that they are for, as those are published: each is started under its policy, with the
//! fewest edits, which are shown; its tools are compared with the rules; calls are made on both sides of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use harness::arena::{self, API_ADDRESS, Arena, NOBODY, ROOT};
use harness::policies::Derived;
use harness::run::{Run, bare};
use harness::session::{Session, denial_code, text_of};
use harness::stand_in::StandIn;
use harness::{paths, wait};
use serde_json::{Value, json};

const FILES: &str = "/mnt/arena/files";

/// A shipped policy with the server's folder where the arena shows it; the edits are printed.
fn policy(name: &str, edits: impl FnOnce(Derived) -> Derived) -> String {
    let derived = edits(Derived::of(&format!("{name}.yaml")));
    eprintln!("policies/{name}.yaml, with:\n{}", derived.changes.join("\n"));
    derived.text
}

fn package(folder: &Path, name: &str) -> String {
    let path = folder.join("node_modules/@modelcontextprotocol").join(format!("server-{name}")).join("dist/index.js");
    path.to_str().expect("a plain path").to_owned()
}

/// The tools under the policy's `tools:`, read off its block style: one a line, two spaces deep.
fn tools_of(text: &str) -> BTreeSet<String> {
    let section = text.lines().skip_while(|line| *line != "tools:").skip(1);
    let section = section.take_while(|line| line.is_empty() || line.starts_with(' '));
    let keys =
        section.filter_map(|line| line.strip_prefix("  ").filter(|rest| rest.starts_with(|c: char| c.is_alphabetic())));
    keys.filter_map(|line| line.split(':').next()).map(str::to_owned).collect()
}

/// Every tool of the policy is one of the server, and what is not in the policy cannot be seen or called.
fn compare(text: &str, bare: &mut Session, policed: &mut Session, unlisted: &[&str]) {
    bare.initialize();
    policed.initialize();
    let all: BTreeSet<String> = bare.tool_names().into_iter().collect();
    let named = tools_of(text);
    let shown: BTreeSet<String> = policed.tool_names().into_iter().collect();
    assert!(named.is_subset(&all), "no tool of the server: {:?}", named.difference(&all));
    assert_eq!(shown, named, "what the client sees");
    let left: BTreeSet<&str> = all.difference(&named).map(String::as_str).collect();
    assert_eq!(left, unlisted.iter().copied().collect(), "tools of the server that no rule names");
    for tool in unlisted {
        assert_eq!(denial_code(&policed.call(tool, json!({}))), Some("not_listed"), "{tool}");
    }
}

fn denied(session: &mut Session, tool: &str, arguments: Value, code: &str) {
    let answer = session.call(tool, arguments.clone());
    assert_eq!(denial_code(&answer), Some(code), "{tool} {arguments}: {answer}");
}

fn allowed(session: &mut Session, tool: &str, arguments: Value) -> String {
    let answer = session.call(tool, arguments.clone());
    let passed = denial_code(&answer).is_none() && answer["result"]["isError"] != true;
    assert!(passed, "{tool} {arguments}: {answer}\n{}", session.stderr());
    text_of(&answer)
}

fn files(arena: &Arena) {
    let folder = arena.folder("files");
    fs::write(folder.join("a.txt"), "the text of a\n").expect("the arena's folder is ours");
    fs::create_dir(folder.join("outbox")).expect("the arena's folder is ours");
    chown(folder.join("outbox"), Some(NOBODY), Some(NOBODY)).expect("root can chown");
    arena.file("secret.txt", "outside");
}

#[test]
fn the_filesystem_server_reads_its_folder_writes_its_outbox_and_nothing_else() {
    arena::run(|arena| {
        let folder = arena.fixture("filesystem");
        files(arena);
        let text = policy("filesystem", |derived| {
            derived.everywhere("/opt/mcp-filesystem", &format!("{ROOT}/filesystem")).everywhere("/srv/files", FILES)
        });
        let command = ["node".to_owned(), package(&folder, "filesystem"), FILES.to_owned()];
        let mut session = Run::new(arena, &text).command(&command).start();
        compare(&text, &mut Session::start(bare(&command)), &mut session, &["read_file"]);

        let read = allowed(&mut session, "read_text_file", json!({"path": format!("{FILES}/a.txt")}));
        assert!(read.contains("the text of a"), "{read}");
        assert!(allowed(&mut session, "list_directory", json!({"path": FILES})).contains("a.txt"));
        let out = json!({"path": format!("{FILES}/outbox/b.txt"), "content": "written"});
        allowed(&mut session, "write_file", out);
        assert_eq!(fs::read_to_string(format!("{FILES}/outbox/b.txt")).expect("on the host"), "written");

        for path in ["/etc/passwd", &format!("{FILES}/../secret.txt"), "a.txt", &format!("{ROOT}/secret.txt"), "~/x"] {
            denied(&mut session, "read_text_file", json!({"path": path}), "condition_failed");
        }
        denied(
            &mut session,
            "write_file",
            json!({"path": format!("{FILES}/b.txt"), "content": "x"}),
            "condition_failed",
        );
        let moved = json!({"source": format!("{FILES}/a.txt"), "destination": format!("{FILES}/outbox/a.txt")});
        denied(&mut session, "move_file", moved, "denied_by_rule");
        assert!(Path::new(FILES).join("a.txt").exists());
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_fetch_server_reaches_its_host_and_no_other() {
    arena::run(|arena| {
        const HOST: &str = "docs.python.org";
        let folder = arena.fixture("fetch");
        let stand_in = StandIn::serve(HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        arena.file("ca.pem", stand_in.ca_pem());
        let text = policy("fetch", |derived| {
            derived
                .replace("read: [/opt/mcp-fetch]", &format!("read: [{ROOT}/fetch, {ROOT}/ca.pem]"))
                .add_after("resources: {memory: 512M", &format!("env: {{set: {{SSL_CERT_FILE: {ROOT}/ca.pem}}}}"))
        });
        let python = folder.join(".venv/bin/python").to_str().expect("plain").to_owned();
        let command = [&python, "-m", "mcp_server_fetch", "--allow-private-ips"];
        let dial = format!("{HOST}:443:{API_ADDRESS}:443");
        let mut session = Run::new(arena, &text).flag("--connect-to").flag(dial).command(command).start();
        compare(&text, &mut Session::start(bare(command)), &mut session, &[]);

        for url in ["https://exfil.example/", "http://169.254.169.254/", "https://docs.python.org@exfil.example/"] {
            denied(&mut session, "fetch", json!({"url": url}), "condition_failed");
        }
        // Its prompt fetches as the tool does, and no rule of a tool would see it.
        let prompt = json!({"name": "fetch", "arguments": {"url": format!("https://{HOST}/prompted/")}});
        let prompted = session.request("prompts/get", prompt);
        assert_eq!(prompted["error"]["message"], "Method not permitted by policy: prompts/get", "{prompted}");
        assert_eq!(stand_in.connections(), 0, "a denied call dials nothing");
        let answer = session.call("fetch", json!({"url": format!("https://{HOST}/3/")}));
        assert_eq!(denial_code(&answer), None, "{answer}");
        let asked = || stand_in.requests().into_iter().map(|request| request.line).collect::<Vec<_>>();
        assert!(
            wait::becomes_true(harness::session::ANSWER_LIMIT, || asked() == ["GET /robots.txt", "GET /3/"]),
            "{:?} {answer}",
            asked()
        );
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_github_server_lists_what_the_policy_names_and_changes_no_code() {
    arena::run(|arena| {
        let folder = arena.fixture("github");
        let text =
            policy("github", |derived| derived.replace("read: [/opt/mcp-github]", &format!("read: [{ROOT}/github]")));
        let command = ["node".to_owned(), package(&folder, "github")];
        let run = Run::new(arena, &text).env("GITHUB_PERSONAL_ACCESS_TOKEN", "isb-test-token").command(&command);
        let mut session = run.start();
        let searches = ["search_code", "search_issues", "search_repositories", "search_users"];
        compare(&text, &mut Session::start(bare(&command)), &mut session, &searches);

        let ours = |more: Value| {
            let mut arguments = json!({"owner": "example-org", "repo": "example"});
            arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            arguments
        };
        denied(&mut session, "merge_pull_request", ours(json!({"pull_number": 1})), "denied_by_rule");
        let push = ours(json!({"branch": "main", "files": [], "message": "m"}));
        denied(&mut session, "push_files", push, "denied_by_rule");
        let other = json!({"owner": "example-org", "repo": "secrets", "issue_number": 1});
        denied(&mut session, "get_issue", other, "condition_failed");
        denied(&mut session, "get_file_contents", ours(json!({"path": "../../../user"})), "condition_failed");
        // Passes the policy; behind it there is no network here, so the server's own error is the answer.
        let answer = session.call("get_issue", ours(json!({"issue_number": 1})));
        assert_eq!(denial_code(&answer), None, "{answer}");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_verified_versions_are_those_of_the_lock_files() {
    let workspace = paths::workspace();
    let read = |path: &str| fs::read_to_string(workspace.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    for (name, lock, pattern) in [
        ("filesystem", "package.json", "\"@modelcontextprotocol/server-filesystem\": \""),
        ("github", "package.json", "\"@modelcontextprotocol/server-github\": \""),
        ("fetch", "requirements.txt", "mcp-server-fetch=="),
    ] {
        let lock = read(&format!("tests/servers/{name}/{lock}"));
        let version = lock.split(pattern).nth(1).and_then(|rest| rest.split(['"', '\n']).next()).expect("pinned");
        let policy = read(&format!("policies/{name}.yaml"));
        assert!(policy.contains(&format!("# Verified with version {version}: ")), "{name} {version}");
    }
}
