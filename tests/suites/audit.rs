//! The audit log from outside: verified, edited, full.

use std::fs;
use std::path::PathBuf;

use harness::arena::{self, Arena, ROOT};
use harness::run::{self, Run, said};
use harness::{policies, records};
use serde_json::{Value, json};

fn run_with(arena: &Arena) -> Run {
    let program = arena.program("echo_server");
    Run::new(arena, &policies::plain(&["echo"], &format!("{ROOT}/bin"))).command([program])
}

/// One finished session of `calls` allowed calls; returns its one segment.
fn session(arena: &Arena, calls: usize) -> PathBuf {
    let before = records::segments(records::DEFAULT_DIRECTORY);
    let mut session = run_with(arena).begin();
    for _ in 0..calls {
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
    }
    assert_eq!(session.finish().code, 0);
    let after = records::segments(records::DEFAULT_DIRECTORY);
    after.into_iter().find(|segment| !before.contains(segment)).expect("a session has a segment")
}

fn verify() -> (i32, String) {
    let output = run::subcommand(["audit", "verify"]);
    (output.status.code().expect("it exits"), said(&output))
}

#[test]
fn an_untouched_log_verifies() {
    arena::run(|arena| {
        session(arena, 3);
        let (code, text) = verify();
        assert_eq!(code, 0, "{text}");
        assert!(text.starts_with("ok: 1 session"), "{text}");
    });
}

#[test]
fn sequence_numbers_have_no_gap_and_each_record_names_the_one_before() {
    arena::run(|arena| {
        let segment = session(arena, 5);
        let text = fs::read_to_string(&segment).expect("root reads it");
        let own: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(own.len() >= 10, "{text}");
        assert_eq!(own[0]["prev"], "0".repeat(64));
        for pair in own.windows(2) {
            assert_eq!(pair[1]["seq"].as_u64(), pair[0]["seq"].as_u64().map(|seq| seq + 1));
            assert_eq!(pair[1]["prev"], pair[0]["hash"]);
        }
        assert_eq!(own.last().expect("some")["type"], "session.end", "{own:#?}");
    });
}

#[test]
fn one_edited_byte_is_found_and_its_line_named() {
    arena::run(|arena| {
        let segment = session(arena, 3);
        let text = fs::read_to_string(&segment).expect("root reads it");
        let line = text.lines().position(|line| line.contains("\"mcp.request\"")).expect("a call is recorded") + 1;
        let edited: Vec<String> = text
            .lines()
            .enumerate()
            .map(
                |(index, each)| {
                    if index + 1 == line { each.replacen("mcp.request", "mcp.requesT", 1) } else { each.into() }
                },
            )
            .collect();
        fs::write(&segment, edited.join("\n") + "\n").expect("root can write");
        let (code, text) = verify();
        assert_eq!(code, 1, "{text}");
        let name = segment.file_name().expect("a file").to_string_lossy();
        assert!(text.contains("edited:") && text.contains(&format!("{name}:{line} ")), "line {line}: {text}");
    });
}

#[test]
fn removed_reordered_and_cut_lines_are_found() {
    type Damage = fn(&mut Vec<String>);
    let damages: [(&str, Damage); 4] = [
        ("removed", |lines| drop(lines.remove(3))),
        ("swapped", |lines| lines.swap(3, 4)),
        ("doubled", |lines| lines.insert(4, lines[3].clone())),
        ("cut at the end", |lines| lines.truncate(lines.len() - 1)),
    ];
    for (name, damage) in damages {
        arena::run(move |arena| {
            let segment = session(arena, 3);
            let text = fs::read_to_string(&segment).expect("root reads it");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            damage(&mut lines);
            fs::write(&segment, lines.join("\n") + "\n").expect("root can write");
            let (code, said) = verify();
            assert_eq!(code, 1, "{name}: {said}");
            assert!(!said.starts_with("ok"), "{name}: {said}");
        });
    }
}

#[test]
fn a_removed_session_is_found() {
    arena::run(|arena| {
        let first = session(arena, 1);
        let second = session(arena, 1);
        assert_ne!(first.parent(), second.parent());
        fs::remove_dir_all(first.parent().expect("a session's folder")).expect("root can remove");
        let (code, said) = verify();
        assert_eq!(code, 1, "{said}");
    });
}

#[test]
fn a_full_disk_stops_the_session_and_says_so() {
    arena::run(|arena| {
        let disk = format!("{ROOT}/small-disk");
        arena.small_disk(&disk, "4m");
        let mut session = run_with(arena).flag("--audit-dir").flag(&disk).begin();
        assert!(session.call("echo", json!({"text": "before"}))["result"]["content"].is_array());
        fs::write(format!("{disk}/filler"), vec![0u8; 8 << 20]).expect_err("the disk is full now");

        let mut refused = None;
        for number in 0..20_000 {
            let message = json!({"jsonrpc": "2.0", "id": format!("f{number}"), "method": "tools/call",
                "params": {"name": "echo", "arguments": {"text": "after"}}});
            if session.send_bytes(format!("{message}\n").as_bytes()).is_err() {
                break;
            }
            let Some(line) = session.try_line(harness::session::ANSWER_LIMIT) else { break };
            let answer: Value = serde_json::from_str(&line).expect("JSON-RPC alone is on stdout");
            if answer["error"].is_object() || answer["result"]["isError"] == true {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("a call that cannot be recorded is refused with an error");
        assert!(refused.to_string().contains("audit"), "{refused}");
        let ended = session.finish();
        assert_eq!(ended.code, 124, "ended by us: {}", ended.stderr);
        assert!(ended.stderr.contains("audit"), "{}", ended.stderr);
    });
}

#[test]
fn an_audit_directory_that_others_can_write_is_refused() {
    arena::run(|arena| {
        let open = arena.folder("open");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&open, mode).expect("own folder");
        let ended = run_with(arena).flag("--audit-dir").flag(&open).start().ended();
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.lines.is_empty());
    });
}

#[test]
fn the_log_is_private_to_root() {
    arena::run(|arena| {
        use std::os::unix::fs::MetadataExt;
        let segment = session(arena, 1);
        assert_eq!(fs::metadata(&segment).expect("there").mode() & 0o7777, 0o640);
        let folder = segment.parent().expect("a session's folder");
        assert_eq!(fs::metadata(folder).expect("there").mode() & 0o7777, 0o750);
    });
}

#[test]
fn tail_shows_each_call_on_a_line() {
    arena::run(|arena| {
        session(arena, 2);
        let output = run::subcommand(["audit", "tail"]);
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        assert!(
            text.lines().filter(|line| line.contains("mcp.request") && line.contains("echo")).count() >= 2,
            "{text}"
        );
    });
}
