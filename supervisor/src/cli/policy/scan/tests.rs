//! The conversation with servers that do as they please, and what is left behind.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::client::Line;
use super::*;

/// Answers with what it was told to, in order; `@` is the id of the request that is waited for.
struct Scripted {
    answers: VecDeque<String>,
    sent: Vec<String>,
}

impl Line for Scripted {
    fn send(&mut self, line: &[u8], _method: &'static str) -> Result<(), ScanError> {
        self.sent.push(String::from_utf8(line.to_vec()).expect("we write UTF-8"));
        Ok(())
    }

    fn receive(&mut self, method: &'static str) -> Result<Vec<u8>, ScanError> {
        let id = self.sent.iter().filter(|line| line.contains("\"id\"")).count().to_string();
        let answer = self.answers.pop_front().ok_or(ScanError::Gone { method })?;
        Ok(answer.replace('@', &id).into_bytes())
    }
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":@,"result":{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"}}}"#;

fn page(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":@,"result":{result}}}"#)
}

fn talk<S: Into<String>>(answers: impl IntoIterator<Item = S>) -> (Result<Listed, ScanError>, Vec<String>) {
    let mut line = Scripted { answers: answers.into_iter().map(Into::into).collect(), sent: Vec::new() };
    (client::list(&mut line), line.sent)
}

#[test]
fn every_page_is_asked_for_and_an_older_version_is_fine() {
    let (listed, sent) = talk([
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
        "no JSON".to_owned(),
        HELLO.to_owned(),
        page(r#"{"tools":[{"name":"a"}],"nextCursor":"x\"}\n"}"#),
        page(r#"{"tools":[{"name":"b"}]}"#),
    ]);
    let listed = listed.expect("listed");
    assert_eq!((listed.protocol.as_str(), listed.server.as_str(), listed.tools.len()), ("2024-11-05", "n 1", 2));
    assert_eq!(sent.len(), 4);
    assert!(sent[0].contains("\"2025-11-25\"") && sent[1].contains("notifications/initialized"), "{sent:?}");
    assert!(sent[3].ends_with(r#""params":{"cursor":"x\"}\n"}}"#), "{}", sent[3]);
}

#[test]
fn a_server_without_tools_is_not_asked_for_them() {
    let (listed, sent) = talk([HELLO.replace(r#""tools":{}"#, "")]);
    assert!(listed.expect("listed").tools.is_empty());
    assert_eq!(sent.len(), 2);
}

#[test]
fn whatever_is_no_answer_is_an_error_in_bounded_pages() {
    let many = format!(r#"{{"tools":[{}0]}}"#, "0,".repeat(crate::bounds::POLICY_TOOLS_MAX));
    let endless = (0..200).map(|n| page(&format!(r#"{{"tools":[],"nextCursor":"{n}"}}"#)));
    let long = format!(r#"{{"tools":[],"nextCursor":"{}"}}"#, "c".repeat(5000));
    let cases: Vec<(Vec<String>, &str)> = vec![
        (vec![], "gone before it answered `initialize`"),
        (vec![HELLO.replace("2024-11-05", "1999-01-01")], "version 1999-01-01"),
        (vec![HELLO.replace("\"result\"", "\"error\"")], "with the error: (no message)"),
        (vec![r#"{"jsonrpc":"2.0","id":@,"result":[]}"#.into()], "not an object"),
        (vec![HELLO.into()], "gone before it answered `tools/list`"),
        (vec![HELLO.into(), page("{}")], "`tools` is not a list"),
        (vec![HELLO.into(), page(r#"{"tools":[],"nextCursor":7}"#)], "not a string"),
        (
            vec![HELLO.into(), page(r#"{"tools":[],"nextCursor":"a"}"#), page(r#"{"tools":[],"nextCursor":"a"}"#)],
            "do not end",
        ),
        (std::iter::once(HELLO.to_owned()).chain(endless).collect(), "do not end"),
        (vec![HELLO.into(), page(&long)], "the cursor"),
        (vec![HELLO.into(), page(&many)], "more than 10000 tools"),
    ];
    for (answers, why) in cases {
        let (listed, sent) = talk(answers);
        let error = listed.expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
        assert!(sent.len() <= 2 + crate::bounds::SCHEMA_PAGES_MAX);
    }
}

#[test]
fn times_are_read_and_bounded() {
    assert_eq!((seconds("20s"), seconds("2m"), seconds("7")), (Ok(20), Ok(120), Ok(7)));
    for wrong in ["", "s", "0", "0s", "11m", "601", "-1", "+5", "1h", "1.5s", "99999999999999999999"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn flags_that_no_policy_may_hold_are_refused_before_anything_starts() {
    let check = |read: &str, env: &str| check_flags(&draft::strictest(&[read.to_owned()], &[env.to_owned()], 1));
    assert!(check("/opt/x", "LANG").is_ok());
    for (read, env) in
        [("opt", "A"), ("/", "A"), ("/etc/intercept-sandbox", "A"), ("/opt/../etc", "A"), ("/opt", "A=b")]
    {
        assert!(matches!(check(read, env), Err(ScanError::Flags(_))), "{read} {env}");
    }
}

#[test]
fn the_directory_is_roots_and_goes_and_that_of_a_killed_scan_goes_with_it() {
    let root = PathBuf::from("/var/tmp").join(format!("isb-ground-{}", std::process::id()));
    if !nix::unistd::geteuid().is_root() {
        assert!(Ground::make_in(&root, "x").is_err(), "a directory that is not root's is refused");
        return;
    }
    let ground = Ground::make_in(&root, "name: x\n").expect("root can");
    assert_eq!(std::fs::read_to_string(ground.path(ground::POLICY)).expect("written"), "name: x\n");
    let left_behind = root.join("scans/dead");
    std::fs::create_dir(&left_behind).expect("root can");
    let second = Ground::make_in(&root, "").expect("root can");
    assert!(!left_behind.exists(), "nobody holds it");
    assert!(ground.path(ground::POLICY).exists(), "that of a living scan stays");
    ground.clear().expect("removed");
    drop(second);
    assert_eq!(std::fs::read_dir(root.join("scans")).expect("there").count(), 0);
    std::fs::remove_dir_all(&root).expect("ours");
}
