//! Every rejection of docs/threat-model.md's pipe table, against servers built with the real SDKs: a denied tool is never
//! executed, whatever bytes its call is written in, and the session goes on.

use std::fs;
use std::path::{Path, PathBuf};

use harness::arena::{self, Arena, ROOT};
use harness::run::{self, Run};
use harness::session::{Session, denial_code};
use harness::{records, table};
use serde_json::{Value, json};

/// The policy: one listed tool, the dangerous one is not in it.
fn policy() -> String {
    format!(
        "version: \"1\"
name: wire
default: deny
tools:
  generate_image:
    rules:
      - conditions: [{{path: args.steps, op: lte, value: 4, if_present: true}}]
sandbox:
  filesystem:
    read: [{ROOT}/together-ts, {ROOT}/images-py]
    write: [{ROOT}/images]
  env: {{set: {{IMAGES_DIR: {ROOT}/images}}}}
"
    )
}

/// Lines that carry a call of `purge_images` in a dress that some parser accepts and another reads differently.
fn smuggled() -> Vec<(&'static str, Vec<u8>)> {
    let call = r#"{"jsonrpc":"2.0","id":900,"method":"tools/call","params":{"name":"purge_images","arguments":{}}}"#;
    let line = |text: &str| format!("{text}\n").into_bytes();
    let with = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":900,"method":"tools/call","params":{{"name":"purge_images","arguments":{arguments}}}}}"#
        )
    };
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(10_001), "]".repeat(10_001));
    vec![
        ("plain", line(call)),
        ("batch", line(&format!("[{call}]"))),
        ("batch with an innocent first", line(&format!(r#"[{{"jsonrpc":"2.0","id":901,"method":"ping"}},{call}]"#))),
        ("duplicate name", line(&call.replace(r#""name":"#, r#""name":"generate_image","name":"#))),
        ("duplicate name, escaped", line(&call.replace(r#""name":"#, r#""name":"generate_image","n\u0061me":"#))),
        ("duplicate method", line(&call.replace(r#""method":"#, r#""method":"ping","method":"#))),
        ("duplicate params", line(&call.replace(r#""params":"#, r#""params":{"name":"generate_image"},"params":"#))),
        ("duplicate key deep down", line(&with(r#"{"a":{"b":1,"b":2}}"#))),
        ("Name", line(&call.replace(r#""name":"#, r#""name":"generate_image","Name":"#))),
        ("only Name", line(&call.replace(r#""name":"#, r#""Name":"#))),
        ("Method", line(&call.replace(r#""method":"#, r#""method":"ping","Method":"#))),
        ("PARAMS", line(&call.replace(r#""params":"#, r#""params":{"name":"generate_image"},"PARAMS":"#))),
        ("unknown envelope key", line(&call.replace(r#""id":"#, r#""extra":1,"id":"#))),
        ("1e400", line(&with(r#"{"confirm":1e400}"#))),
        ("NaN", line(&with(r#"{"confirm":NaN}"#))),
        ("Infinity", line(&with(r#"{"confirm":-Infinity}"#))),
        ("integer over 2^53-1", line(&with(r#"{"confirm":9007199254740993}"#))),
        ("decimal that no f64 holds", line(&with(r#"{"confirm":0.30000000000000000001}"#))),
        ("lone surrogate", line(&with(r#"{"confirm":"\ud800"}"#))),
        ("invalid UTF-8", [&b"{\"x\":\"\xff\"}"[..], b"\n"].concat()),
        ("byte order mark", [&b"\xef\xbb\xbf"[..], call.as_bytes(), b"\n"].concat()),
        (
            "bare CR before it",
            [&b"{\"jsonrpc\":\"2.0\",\"id\":901,\"method\":\"ping\"}\r"[..], call.as_bytes(), b"\n"].concat(),
        ),
        ("raw control byte in a string", line(&with("{\"confirm\":\"a\u{1}b\"}"))),
        ("two values on a line", line(&format!(r#"{{"jsonrpc":"2.0","id":901,"method":"ping"}}{call}"#))),
        (
            "over two lines",
            call.replacen(r#""method""#, "\n\"method\"", 1).into_bytes().into_iter().chain(*b"\n").collect(),
        ),
        ("10,001 deep", line(&with(&deep))),
        ("notification", line(&call.replace(r#""id":900,"#, ""))),
        ("null id", line(&call.replace(r#""id":900"#, r#""id":null"#))),
        ("array id", line(&call.replace(r#""id":900"#, r#""id":[1]"#))),
        ("fractional id", line(&call.replace(r#""id":900"#, r#""id":1.5"#))),
        ("method with a NUL", line(&call.replace("tools/call", "tools/call\\u0000"))),
        ("folded argument keys", line(&with(r#"{"confirm":true,"\u017fteps":1,"steps":1}"#))),
        (
            "params as an array",
            line(&call.replace(r#"{"name":"purge_images","arguments":{}}"#, r#"["purge_images",{}]"#)),
        ),
        ("jsonrpc 1.0", line(&call.replace("2.0", "1.0"))),
    ]
}

struct Server {
    command: Vec<PathBuf>,
    images: PathBuf,
}

fn typescript(arena: &Arena) -> Server {
    let folder = arena.fixture("together-ts");
    arena.folder("images-py");
    Server { command: vec!["node".into(), folder.join("server.js")], images: arena.writable_folder("images") }
}

fn python(arena: &Arena) -> Server {
    let folder = arena.fixture("images-py");
    arena.folder("together-ts");
    let command = vec![folder.join(".venv/bin/python"), folder.join("server.py")];
    Server { command, images: arena.writable_folder("images") }
}

fn executions(images: &Path) -> usize {
    let entries = fs::read_dir(images).expect("planted").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("ran.purge_images.")).count()
}

/// Sends every smuggled line; after each the session must still answer, and nothing may have been executed.
fn nothing_is_smuggled(arena: &Arena, server: &Server) {
    let mut session = Run::new(arena, &policy()).command(&server.command).begin();
    let mut rows = Vec::new();
    for (name, bytes) in smuggled() {
        session.send_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}\n{}", session.stderr()));
        let said = said_before_pong(&mut session);
        assert_eq!(executions(&server.images), 0, "{name}: executed");
        rows.push(vec![name.to_owned(), said]);
    }
    table::print("smuggled calls", &["dress", "answer"], &rows);
    let answer = session.call("generate_image", json!({"prompt": "p", "steps": 5}));
    assert_eq!(denial_code(&answer), Some("condition_failed"), "{answer}");
    assert_eq!(session.finish().code, 0);
    assert_eq!(executions(&server.images), 0, "and nothing came late");
    let recorded = records::read(records::DEFAULT_DIRECTORY);
    let refusals = recorded.iter().filter(|r| r["type"] == "mcp.malformed" || r["effect"] == "denied").count();
    assert!(refusals >= smuggled().len(), "each is on record: {refusals} of {}", smuggled().len());
}

/// What was answered before the answer to a ping that follows: in order, since one thread carries the pipe.
fn said_before_pong(session: &mut Session) -> String {
    let pong = json!("pong");
    session.send(&json!({"jsonrpc": "2.0", "id": pong, "method": "ping"}));
    let mut said = Vec::new();
    loop {
        let message = session.receive();
        if message["id"] == pong {
            assert!(message["result"].is_object(), "the ping is answered: {message}");
            return if said.is_empty() { "nothing".into() } else { said.join(", ") };
        }
        said.push(brief(&message));
    }
}

fn brief(message: &Value) -> String {
    match (&message["error"]["code"], denial_code(message)) {
        (_, Some(code)) => format!("denied: {code}"),
        (Value::Number(code), None) => format!("error {code}"),
        _ => message.to_string().chars().take(60).collect(),
    }
}

/// Bare, the plain call executes: a suite that saw nothing there would prove nothing.
fn executes_bare(server: &Server) {
    let mut command = run::bare(&server.command);
    command.env("IMAGES_DIR", &server.images);
    let mut session = Session::start(command);
    session.initialize();
    session.call("purge_images", json!({}));
    assert_eq!(executions(&server.images), 1, "the host sees an execution");
    assert_eq!(session.finish().code, 0);
    for entry in fs::read_dir(&server.images).expect("planted").flatten() {
        fs::remove_file(entry.path()).expect("own folder");
    }
}

#[test]
fn nothing_is_smuggled_past_to_the_typescript_sdk() {
    arena::run(|arena| {
        let server = typescript(arena);
        executes_bare(&server);
        nothing_is_smuggled(arena, &server);
    });
}

#[test]
fn nothing_is_smuggled_past_to_the_python_sdk() {
    arena::run(|arena| {
        let server = python(arena);
        executes_bare(&server);
        nothing_is_smuggled(arena, &server);
    });
}

#[test]
fn malformed_lines_have_the_codes_of_json_rpc() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let policy = harness::policies::plain(&["echo"], &format!("{ROOT}/bin"));
        let mut session = Run::new(arena, &policy).command([&program]).begin();
        for (line, code) in [("{", -32_700), ("nonsense", -32_700), ("[]", -32_600), ("3", -32_600)] {
            session.send_line(line);
            let answer = session.receive();
            assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
            assert_eq!(answer["id"], Value::Null, "an id that cannot be read is null: {answer}");
        }
        assert!(session.call("echo", json!({"text": "on"}))["result"].is_object());
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn a_line_over_the_limit_is_refused_and_the_session_lives() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let policy = harness::policies::plain(&["echo"], &format!("{ROOT}/bin"));
        let mut session = Run::new(arena, &policy).command([&program]).begin();
        let frame = |length: usize| {
            let shell = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call",
                "params": {"name": "echo", "arguments": {"text": ""}}})
            .to_string();
            let padding = "x".repeat(length - shell.len());
            shell.replace(r#""text":"""#, &format!(r#""text":"{padding}""#))
        };
        let limit = intercept_sandbox::bounds::CLIENT_LINE_BYTES_MAX;
        session.send_line(&frame(limit));
        assert!(session.answer_to(&json!(77))["result"].is_object(), "a line of exactly the limit passes");
        session.send_line(&frame(limit + 1));
        let answer = session.receive();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32_600), &json!(77)), "{answer}");
        let padding = "x".repeat(limit);
        session.send_line(&format!(
            r#"{{"params":{{"id":1,"x":"{padding}"}},"method":"ping","jsonrpc":"2.0","id":"last"}}"#
        ));
        assert_eq!(session.receive()["id"], "last", "the id of a line that ends with it");
        session.send_line(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"x":"{padding}"}}}}"#
        ));
        assert!(session.call("echo", json!({"text": "on"}))["result"].is_object(), "and a notification gets no answer");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn an_answer_over_the_limit_becomes_an_error_for_its_request_wherever_its_id_stands() {
    arena::run(|arena| {
        let program = arena.program("sized_server");
        let policy = harness::policies::plain(&["give"], &format!("{ROOT}/bin"));
        for id_place in ["first", "last"] {
            let mut session = Run::new(arena, &policy).command([program.as_os_str(), id_place.as_ref()]).begin();
            let limit = intercept_sandbox::bounds::SERVER_LINE_BYTES_MAX;
            let answer = session.call("give", json!({"bytes": limit}));
            assert_eq!(answer["error"]["code"], -31_003, "{id_place}: {answer}");
            let answer = session.call("give", json!({"bytes": 100_000}));
            let text = answer["result"]["content"][0]["text"].as_str().expect("the session lives");
            assert_eq!(text.len(), 100_000);
            assert_eq!(session.finish().code, 0);
        }
        let recorded = records::read(records::DEFAULT_DIRECTORY);
        let refused = recorded.iter().filter(|r| r["reason"]["code"] == "line_too_long" && r["mcp"]["tool"] == "give");
        assert_eq!(refused.count(), 2, "each with the call it answers");
    });
}

#[test]
fn groups_and_array_paths_bind_the_calls_that_reach_the_server() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let policy = format!(
            "name: grouped
default: deny
tools:
  echo:
    rules:
      - conditions:
          - {{path: 'args.items[*].price', op: lte, value: 5, if_present: true}}
          - any:
              - {{path: args.url, op: host_in, value: [api.example.com]}}
              - not: {{path: args.text, op: contains, value: secret}}
sandbox:
  filesystem:
    read: [{ROOT}/bin]
"
        );
        let mut session = Run::new(arena, &policy).command([&program]).begin();
        for arguments in [
            json!({"text": "on"}),
            json!({"text": "on", "items": [{"price": 5}, {"price": 0.5}]}),
            json!({"text": "a secret", "url": "https://api.example.com/x"}),
        ] {
            let answer = session.call("echo", arguments.clone());
            assert!(answer["result"].is_object() && denial_code(&answer).is_none(), "{arguments}: {answer}");
        }
        for arguments in [
            json!({"text": "on", "items": [{"price": 5}, {"price": 5.01}]}),
            json!({"text": "on", "items": {"price": 9}}),
            json!({"text": "a secret"}),
            json!({"text": [["on"]]}),
            json!({"text": "a secret", "url": "https://api.example.com@evil.com/x"}),
            json!({}),
        ] {
            let answer = session.call("echo", arguments.clone());
            assert_eq!(denial_code(&answer), Some("condition_failed"), "{arguments}: {answer}");
        }
        let answer = session.call("echo", json!({"text": "on", "items": [{"price": 5}, {"Price": 9}]}));
        assert_eq!(answer["error"]["code"], -32_602, "a key that differs from the policy's only in case: {answer}");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn a_reused_id_is_refused_while_in_flight_and_refunds_nothing() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let policy = format!(
            "version: \"1\"\nname: reuse\ndefault: deny\ntools:\n  echo:\n    rules:\n      - rate_limit: {{max: 2, window: 60}}\nsandbox:\n  filesystem:\n    read: [{ROOT}/bin]\n"
        );
        let mut session = Run::new(arena, &policy).command([&program]).begin();
        let call = json!({"jsonrpc": "2.0", "id": "same", "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}}});
        let mut allowed = 0;
        for _ in 0..5 {
            session.send(&call);
            let answer = session.answer_to(&json!("same"));
            allowed += usize::from(answer["result"].is_object() && denial_code(&answer).is_none());
        }
        assert_eq!(allowed, 2, "the same id five times in a row");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn what_a_server_says_outside_the_protocol_never_reaches_the_client() {
    arena::run(|arena| {
        arena.folder("bin");
        let script = arena.file(
            "bin/noisy.sh",
            "echo not json\nprintf '{\"jsonrpc\":\"2.0\",\"id\":41,\"result\":{}}\\n'\nread -r line\n",
        );
        let policy = harness::policies::plain(&[], &format!("{ROOT}/bin"));
        let session = Run::new(arena, &policy).command(["sh".as_ref(), script.as_os_str()]).start();
        let ended = session.finish();
        assert!(ended.lines.is_empty(), "{:?}", ended.lines);
        assert!(ended.stderr.contains("not json"), "it is shown to people instead: {}", ended.stderr);
    });
}
