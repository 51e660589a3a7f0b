//! The command on logs as the journal writes them.

use std::fs;

use super::*;
use crate::policy::{Source, load};

const POLICY: &str =
    "name: p\nsandbox: {}\ntools: {t: {rules: [{name: r, conditions: [{path: args.n, op: exists}]}]}}\n";

/// A record with what the replay reads of it.
fn record(seq: u64, rest: &str) -> String {
    format!(
        "{{\"v\":1,\"seq\":{seq},\"time\":\"2026-01-01T00:00:0{seq}.000000000Z\",\"boot_ns\":{seq}000000000,\"session\":\"5e55\",{rest}}}\n"
    )
}

fn call(seq: u64, args: &str, end: &str) -> String {
    record(
        seq,
        &format!(
            "\"type\":\"mcp.request\",{end},\"mcp\":{{\"dir\":\"c2s\",\"method\":\"tools/call\",\"tool\":\"t\"{args}}}"
        ),
    )
}

const WITH_N: &str =
    ",\"args\":{\"keys\":[\"n\"],\"hmac\":[{\"path\":\"/n\",\"type\":\"number\",\"bytes\":1,\"hmac\":\"00\"}]}";
const ALLOWED: &str = "\"effect\":\"allowed\"";

fn log() -> String {
    let not_asked = "\"type\":\"mcp.request\",\"effect\":\"denied\",\"reason\":{\"code\":\"bad_call\",\"text\":\"\"},\"mcp\":{\"dir\":\"c2s\",\"method\":\"tools/call\"}";
    [
        record(1, "\"type\":\"session.start\""),
        call(2, WITH_N, ALLOWED),
        call(3, "", ALLOWED),
        record(4, not_asked),
        call(5, "", "\"effect\":\"observed\",\"rule\":{\"id\":\"t.r\"},\"reason\":{\"code\":\"condition_failed\",\"text\":\"\"}"),
        call(6, "", "\"effect\":\"denied\",\"rule\":{\"id\":\"t.q\"},\"reason\":{\"code\":\"condition_failed\",\"text\":\"\"}"),
    ]
    .concat()
}

fn outcome(policy: &str, log: &Path) -> Result<Outcome, String> {
    let policy = load(&Source { path: Path::new("/p.yaml"), text: policy }).expect("loads").policy;
    replay(&policy, log, BTreeMap::new(), None).map_err(|error| error.to_string())
}

#[test]
fn a_session_and_its_segments_are_read_and_each_difference_is_one_line() {
    let root = tempfile::tempdir().expect("a directory");
    let text = log();
    let cut = text.match_indices('\n').nth(2).expect("three lines").0 + 1;
    fs::write(root.path().join("000001.jsonl"), &text[..cut]).expect("written");
    fs::write(root.path().join("000002.jsonl"), &text[cut..]).expect("written");
    for path in [root.path().to_owned(), {
        let whole = root.path().join("whole.jsonl");
        fs::write(&whole, &text).expect("written");
        whole
    }] {
        let outcome = outcome(POLICY, &path).expect("a log");
        assert_eq!((outcome.calls, outcome.same, outcome.not_asked), (4, 2, 1));
        let mut out = Vec::new();
        tell(&outcome, false, &mut out).expect("written");
        let out = String::from_utf8(out).expect("text");
        let expected = "seq 3 2026-01-01T00:00:03.000000000Z t: was allowed, now denied (condition_failed by rule t.r: args.n must be given)
seq 6 2026-01-01T00:00:06.000000000Z t: was denied (condition_failed by rule t.q), now denied (condition_failed by rule t.r: args.n must be given)
1 more were refused by the pipe, before any policy was asked
4 calls: 2 end the same, 2 differ, 0 cannot be said
";
        assert_eq!(out, expected);
        let json = outcome.json(false);
        assert_eq!((&json["calls"], &json["differ"][0]["seq"]), (&4.into(), &3.into()));
    }
}

#[test]
fn what_cannot_be_said_is_counted_by_its_reason() {
    let root = tempfile::tempdir().expect("a directory");
    let log = root.path().join("log");
    fs::write(&log, [call(1, WITH_N, ALLOWED), call(2, WITH_N, ALLOWED)].concat()).expect("written");
    let outcome =
        outcome("tools: {t: {rules: [{conditions: [{path: args.n, op: lt, value: 5}]}]}}", &log).expect("a log");
    assert_eq!((outcome.same, outcome.open_calls(), outcome.differences.len()), (0, 2, 0));
    let mut out = Vec::new();
    tell(&outcome, false, &mut out).expect("written");
    let out = String::from_utf8(out).expect("text");
    assert!(
        out.starts_with(
            "cannot say, 2 of 2 calls, first seq 1: rule t.rules[0] reads args.n, whose value is not in the log\n"
        ),
        "{out}"
    );
    assert!(out.contains("the key of /etc/intercept-sandbox/keys cannot be read"), "{out}");
}

/// Nothing of a file that is no log is shown: behind sudo the caller may not be allowed to read it.
#[test]
fn what_is_no_log_is_an_error_that_quotes_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let secret = root.path().join("shadow");
    fs::write(&secret, "root:$6$secret:1::\n").expect("written");
    let error = outcome(POLICY, &secret).expect_err("no log");
    assert_eq!(error, format!("line 1 of {} is no audit record", secret.display()));
    assert!(outcome(POLICY, root.path()).is_err(), "a directory without segments");
    assert!(outcome(POLICY, &root.path().join("nowhere")).is_err());
    let odd = [
        "{}\n".to_owned(),
        call(1, "", "\"effect\":\"denied\""),
        call(1, "", "\"effect\":\"maybe\""),
        call(1, ",\"args\":{}", ALLOWED),
        call(1, "", "\"effect\":\"allowed\",\"limit\":{}"),
    ];
    for line in odd {
        fs::write(&secret, &line).expect("written");
        assert!(outcome(POLICY, &secret).is_err(), "{line}");
    }
}

#[test]
fn required_names_are_read_from_the_flag() {
    assert_eq!(required_of("t=a,b").expect("reads"), ("t".to_owned(), vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(required_of("t=").expect("reads"), ("t".to_owned(), Vec::new()));
    assert!(required_of("t").is_err());
}
