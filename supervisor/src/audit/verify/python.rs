//! The page of Python in docs/audit-format.md, run as it stands there on real logs, says what we say.

use std::path::Path;
use std::process::Command;

use super::tests::{lines, session, start};
use crate::audit::{Event, Kind};
use crate::clock::Now;
use crate::policy::Durability;

const NOW: Now = Now { wall_ns: 1_735_689_599_000_000_001, boot_ns: 42 };

/// First line of the program's output, and whether it exited with 0.
fn python(session: &Path) -> (bool, String) {
    let page = include_str!("../../../../docs/audit-format.md");
    let program = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let output = Command::new("python3").arg("-c").arg(program).arg(session).output().expect("python3 is installed");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.success(), String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

#[test]
fn the_documented_program_verifies_a_log_and_finds_an_edit() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 3);
    let (ok, words) = python(&path);
    assert!(ok && words.starts_with("ok: 5 records, last hash "), "{words}");

    let file = path.join("000001.jsonl");
    let good = lines(&file);
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] = bad[index].replacen("\"boot_ns\":4", "\"boot_ns\":5", 1);
        std::fs::write(&file, bad.concat()).unwrap();
        assert_eq!(python(&path), (false, format!("edited: {}:{}", file.display(), index + 1)));
    }
    std::fs::write(&file, good[..2].concat() + "{\"v\"").unwrap();
    assert_eq!(python(&path), (false, format!("torn: {}:3", file.display())));
}

#[test]
fn the_documented_program_follows_a_take_over() {
    let root = tempfile::tempdir().unwrap();
    let (mut directory, journal) = start(root.path(), "a");
    let (mark, path) = (journal.mark(), directory.path().to_owned());
    drop(journal);
    let file = path.join("000001.jsonl");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "{\"v\":1,").unwrap();
    let mut second = directory.take_over(Durability::Write, mark, NOW).unwrap();
    let _ = second.append(NOW, &Event::new(Kind::SessionEnd)).unwrap();
    assert!(python(&path).1.starts_with("ok: 3 records"));

    let torn = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, torn.strip_suffix(',').unwrap().to_owned() + ";").unwrap();
    assert_eq!(python(&path), (false, format!("torn: {}:2", file.display())));
}
