use std::path::PathBuf;

use super::*;
use crate::audit::{Effect, Event, Kind, Mark, SessionDirectory, Signer};
use crate::clock::Now;
use crate::policy::Durability;

const NOW: Now = Now { wall_ns: 1_735_689_599_000_000_001, boot_ns: 42 };

fn signer() -> Signer {
    Signer::new("host/test", &[5; 32]).unwrap()
}

pub(super) fn start(root: &Path, name: &str) -> (SessionDirectory, crate::audit::Journal) {
    let opened = SessionDirectory::create(root, name, Durability::Write, NOW).unwrap();
    let mut journal = opened.journal;
    let mut event = Event::new(Kind::SessionStart);
    event.previous = Some(&opened.previous);
    let _ = journal.append(NOW, &event).unwrap();
    (opened.directory, journal)
}

/// A session that ended in order, with this many calls.
pub(super) fn session(root: &Path, name: &str, calls: usize) -> PathBuf {
    let (directory, mut journal) = start(root, name);
    for _ in 0..calls {
        let _ = journal.append(NOW, &Event::new(Kind::McpRequest).with_effect(Effect::Allowed)).unwrap();
    }
    let head = journal.append(NOW, &Event::new(Kind::SessionEnd)).unwrap().head();
    let path = directory.path().to_owned();
    directory.close(&signer(), head, NOW).unwrap();
    path
}

fn check(path: &Path) -> Report {
    verify(path, signer().verifier(), None).unwrap()
}

fn only(path: &Path) -> (Verdict, Option<u64>, Option<u64>) {
    let report = check(path);
    assert_eq!(report.findings.len(), 1, "{report}");
    (report.findings[0].verdict, report.findings[0].line, report.findings[0].seq)
}

pub(super) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn whole_sessions_are_ok_in_the_documented_words() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(check(root.path()).to_string(), "ok: 0 sessions, 0 records\n");
    let one = session(root.path(), "a", 3);
    session(root.path(), "b", 0);
    assert_eq!(check(root.path()).to_string(), "ok: 2 sessions, 7 records\n");
    assert_eq!(check(&one).to_string(), "ok: 1 session, 5 records\n");
    assert!(check(&one.join("000001.jsonl")).to_string().starts_with("ok: 1 segment, 5 records\n"));
}

#[test]
fn a_closed_session_keeps_no_blocks_ahead() {
    use std::os::unix::fs::MetadataExt;
    let root = tempfile::tempdir().unwrap();
    let (directory, journal) = start(root.path(), "a");
    let files = ["000001.jsonl", "notes"].map(|name| directory.path().join(name));
    let allocated = |path: &PathBuf| std::fs::metadata(path).unwrap().blocks() * 512;
    if !journal.has_reserve() {
        return; // this file system cannot allocate ahead
    }
    assert!(allocated(&files[0]) >= crate::bounds::AUDIT_RESERVE_BYTES);
    let length = std::fs::metadata(&files[0]).unwrap().len();
    directory.close(&signer(), journal.head(), NOW).unwrap();
    assert_eq!(std::fs::metadata(&files[0]).unwrap().len(), length);
    assert!(files.iter().all(|file| allocated(file) <= 4096 + length));
}

#[test]
fn every_flipped_byte_of_every_file_is_found() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 1);
    session(root.path(), "b", 0);
    for (file, checked) in [
        (path.join("000001.jsonl"), path.as_path()),
        (path.join("notes"), path.as_path()),
        (root.path().join("index.jsonl"), root.path()),
    ] {
        let good = std::fs::read(&file).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1 << (index % 8);
            std::fs::write(&file, &bad).unwrap();
            let report = check(checked);
            assert!(!report.findings.is_empty(), "{}: byte {index}: {report}", file.display());
        }
        std::fs::write(&file, good).unwrap();
    }
    assert_eq!(check(root.path()).verdict(), Verdict::Ok);
}

#[test]
fn an_edited_line_is_named_in_the_documented_words() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 20).join("000001.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.match_indices("allowed").nth(15).unwrap().0;
    let mut bytes = text.into_bytes();
    bytes[at] = b'A';
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(check(root.path()).to_string(), format!("edited: {}:17 seq 17\n", path.display()));
}

#[test]
fn each_removed_swapped_copied_or_cut_line_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 4);
    let file = path.join("000001.jsonl");
    let good = lines(&file);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&file, bad.concat()).unwrap();
        only(&path)
    };
    for index in 0..good.len() {
        let at = index as u64 + 1;
        let last = index == good.len() - 1;
        let removed = with(&|lines| {
            lines.remove(index);
        });
        if last {
            assert_eq!(removed, (Verdict::Truncated, Some(at - 1), Some(at - 1)));
        } else {
            assert_eq!(removed, (Verdict::Removed, Some(at), Some(at)));
            assert_eq!(with(&|lines| lines.swap(index, index + 1)), (Verdict::Reordered, Some(at), Some(at + 1)));
        }
        assert_eq!(
            with(&|lines| lines.insert(index + 1, good[index].clone())),
            (Verdict::Inserted, Some(at + 1), Some(at))
        );
        if index > 0 {
            assert_eq!(with(&|lines| lines.truncate(index)), (Verdict::Truncated, Some(at - 1), Some(at - 1)));
        }
    }
    assert_eq!(with(&|lines| lines.clear()).0, Verdict::Truncated);
}

#[test]
fn a_log_cut_at_any_byte_is_never_ok() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 1);
    let file = path.join("000001.jsonl");
    let good = std::fs::read(&file).unwrap();
    for cut in 0..good.len() {
        std::fs::write(&file, &good[..cut]).unwrap();
        assert_eq!(only(&path).0, Verdict::Truncated, "{cut}");
    }
}

#[test]
fn a_crash_at_any_byte_is_torn_or_unterminated() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 1);
    let file = path.join("000001.jsonl");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(path.join("notes"), "").unwrap();
    for cut in 0..good.len() {
        std::fs::write(&file, &good[..cut]).unwrap();
        let whole = cut == 0 || good[cut - 1] == b'\n';
        let expected = if whole { Verdict::Unterminated } else { Verdict::Torn };
        assert_eq!(only(&path).0, expected, "{cut}");
    }
}

#[test]
fn a_log_rewritten_with_new_hashes_is_caught_by_its_note_and_without_one_is_not_ok() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 2);
    let other = tempfile::tempdir().unwrap();
    let forged = session(other.path(), "a", 3);
    std::fs::copy(forged.join("000001.jsonl"), path.join("000001.jsonl")).unwrap();
    assert_eq!(only(&path).0, Verdict::Edited);

    std::fs::write(path.join("notes"), "").unwrap();
    assert_eq!(only(&path), (Verdict::Unterminated, Some(5), Some(5)));
    assert_eq!(only(root.path()).0, Verdict::Edited, "the host index still knows");

    let other_key = Signer::new("host/test", &[6; 32]).unwrap();
    let head = Head { seq: 5, hash: crate::audit::Hash::ZERO };
    std::fs::write(path.join("notes"), other_key.sign("a", head)).unwrap();
    assert_eq!(only(&path), (Verdict::BadSignature, Some(1), None));
}

#[test]
fn an_anchor_kept_elsewhere_catches_a_truncated_log_and_a_removed_session() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 2);
    let anchor = root.path().parent().unwrap().join(format!("anchor-{}", std::process::id()));
    std::fs::copy(path.join("notes"), &anchor).unwrap();
    let with_anchor = |path: &Path| verify(path, signer().verifier(), Some(&anchor)).unwrap();
    assert_eq!(with_anchor(root.path()).verdict(), Verdict::Ok);

    let other = session(root.path(), "b", 0);
    assert!(verify(&other, signer().verifier(), Some(&anchor)).is_err(), "an anchor that proves nothing is no ok");
    assert!(verify(&path.join("000001.jsonl"), signer().verifier(), Some(&anchor)).is_err());

    let short = lines(&path.join("000001.jsonl"))[..2].concat();
    std::fs::write(path.join("000001.jsonl"), short).unwrap();
    std::fs::write(path.join("notes"), "").unwrap();
    let found = with_anchor(&path).findings;
    assert_eq!((found[0].verdict, found[0].seq), (Verdict::Truncated, Some(2)));

    std::fs::remove_dir_all(root.path().join("2024-12-31")).unwrap();
    std::fs::remove_file(root.path().join("index.jsonl")).unwrap();
    assert_eq!(check(root.path()).verdict(), Verdict::Ok, "nothing on the host remembers it");
    assert_eq!(with_anchor(root.path()).verdict(), Verdict::Removed);

    std::fs::write(&anchor, "x").unwrap();
    assert_eq!(with_anchor(root.path()).verdict(), Verdict::BadSignature);
    std::fs::remove_file(anchor).unwrap();
}

#[test]
fn a_removed_session_day_index_line_or_index_is_found() {
    let root = tempfile::tempdir().unwrap();
    let one = session(root.path(), "a", 1);
    let two = session(root.path(), "b", 1);
    let index = root.path().join("index.jsonl");
    let good = lines(&index);

    let moved = root.path().join("moved");
    std::fs::rename(&one, &moved).unwrap();
    assert_eq!(
        check(root.path()).findings[0].to_string(),
        format!("removed: {} (the session stands in index.jsonl:1)", one.display())
    );
    std::fs::rename(&moved, &one).unwrap();

    let _ = std::fs::write(&index, good[1..].concat());
    assert_eq!(check(root.path()).findings[0].verdict, Verdict::Removed);
    let _ = std::fs::write(&index, good[..2].concat());
    assert_eq!(only(root.path()).0, Verdict::Inserted, "b is not in it");
    std::fs::remove_file(&index).unwrap();
    assert_eq!(check(root.path()).findings[0].verdict, Verdict::Removed);
    let _ = std::fs::write(&index, good.concat());

    std::fs::remove_dir_all(two.parent().unwrap()).unwrap();
    assert_eq!(check(root.path()).findings.len(), 2);
}

#[test]
fn a_running_session_is_live_and_an_abandoned_one_unterminated() {
    let root = tempfile::tempdir().unwrap();
    session(root.path(), "a", 1);
    let (directory, mut journal) = start(root.path(), "b");
    let path = directory.path().to_owned();
    assert_eq!(check(&path).to_string(), "live: 1 session, 1 record\n");
    assert_eq!(check(root.path()).to_string(), "ok: 2 sessions, 4 records, 1 live\n");
    let _ = journal.append(NOW, &Event::new(Kind::McpRequest)).unwrap();
    drop((directory, journal));
    assert_eq!(only(&path), (Verdict::Unterminated, Some(2), Some(2)));
    assert_eq!(only(root.path()).0, Verdict::Unterminated);
}

#[test]
fn what_follows_the_last_note_is_unterminated() {
    let root = tempfile::tempdir().unwrap();
    let (mut directory, mut journal) = start(root.path(), "a");
    directory.checkpoint(&signer(), journal.head()).unwrap();
    let _ = journal.append(NOW, &Event::new(Kind::SessionEnd)).unwrap();
    let path = directory.path().to_owned();
    drop(directory);
    assert_eq!(check(&path).findings[0].detail, "signed up to seq 1");
}

#[test]
fn the_monitor_takes_over_after_a_writer_killed_at_any_byte() {
    let torn = b"{\"v\":1,\"seq\":3,\"time\":\"x\",\"type\":\"mcp.request\"";
    for cut in [0, 1, 20, torn.len()] {
        let root = tempfile::tempdir().unwrap();
        let (mut directory, mut journal) = start(root.path(), "a");
        let mark: Mark = journal.mark();
        let _ = journal.append(NOW, &Event::new(Kind::McpRequest)).unwrap();
        let path = directory.path().to_owned();
        let file = path.join("000001.jsonl");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend_from_slice(&torn[..cut]);
        std::fs::write(&file, bytes).unwrap();
        drop(journal);

        let mut second = directory.take_over(Durability::Strict, mark, NOW).unwrap();
        assert_eq!(second.mark().segment, 2);
        let head = second.append(NOW, &Event::new(Kind::SessionEnd)).unwrap().head();
        assert_eq!(head.seq, 4, "start, request, segment, end");
        directory.close(&signer(), head, NOW).unwrap();
        let report = check(root.path());
        assert_eq!(report.verdict(), Verdict::Ok, "{report}");
        assert_eq!(report.remarks.len(), usize::from(cut > 0));

        if cut > 0 {
            let mut bytes = std::fs::read(&file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(only(&path).0, Verdict::Torn, "the torn bytes are named by their hash");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(only(&path).0, Verdict::Removed);
    }
}

#[test]
fn a_session_under_another_name_is_found() {
    let root = tempfile::tempdir().unwrap();
    let path = session(root.path(), "a", 1);
    let renamed = path.with_file_name("b");
    std::fs::rename(&path, &renamed).unwrap();
    assert_eq!(only(&renamed).0, Verdict::Edited);
}

#[test]
fn other_paths_are_an_error() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("x"), "").unwrap();
    assert!(verify(root.path(), signer().verifier(), None).is_err());
    assert!(verify(&root.path().join("x"), signer().verifier(), None).is_err());
    assert!(verify(&root.path().join("y"), signer().verifier(), None).is_err());
}

#[test]
fn a_refused_run_is_a_session_that_verifies() {
    let root = tempfile::tempdir().unwrap();
    let (log, keys) = (root.path().join("log"), root.path().join("keys"));
    let argv = ["node".into(), "x.js".into()];
    let refusal = crate::audit::Refusal {
        code: "ISB-P012",
        text: "unknown operator",
        argv: &argv,
        policy: "/etc/p.yaml",
        actor: crate::audit::Actor { uid: 1000, ..Default::default() },
        host: "h",
        rejects_policy: true,
    };
    let path = crate::audit::record_refusal(&log, &keys, NOW, &refusal).unwrap();
    let key = crate::audit::keys::load_verifier(&keys.join("verifier.key")).unwrap();
    assert_eq!(verify(&log, &key, None).unwrap().to_string(), "ok: 1 session, 3 records\n");
    let text = std::fs::read_to_string(path.join("000001.jsonl")).unwrap();
    assert!(text.contains(r#""argv":["node","x.js"]"#) && text.contains(r#""code":"ISB-P012""#));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_appended_verifies(texts in proptest::collection::vec(".{0,300}", 0..12), batch in 1_usize..4) {
        let root = tempfile::tempdir().unwrap();
        let (directory, mut journal) = start(root.path(), "s");
        let events: Vec<_> = texts.iter().map(|text| Event::new(Kind::Alert).with_reason(text, text)).collect();
        for events in events.chunks(batch) {
            let _ = journal.append_all(NOW, events).unwrap();
        }
        let head = journal.append(NOW, &Event::new(Kind::SessionEnd)).unwrap().head();
        directory.close(&signer(), head, NOW).unwrap();
        let report = check(root.path());
        proptest::prop_assert_eq!(report.verdict(), Verdict::Ok, "{}", report);
        proptest::prop_assert_eq!(report.records, texts.len() as u64 + 2);
    }
}
