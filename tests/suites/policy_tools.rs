//! `policy test`, `policy test --replay` and `policy diff`, as a person runs them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use harness::arena::{self, Arena, NOBODY, ROOT};
use harness::run::{self, Run, said};
use harness::session::denial_code;
use harness::{paths, records};
use serde_json::{Value, json};

fn policy(words: &[&dyn AsRef<OsStr>]) -> Output {
    let words = words.iter().map(|word| word.as_ref().to_owned());
    run::subcommand(std::iter::once(OsString::from("policy")).chain(words))
}

fn shipped(name: &str) -> PathBuf {
    paths::workspace().join("policies").join(name)
}

#[test]
fn every_shipped_case_file_passes() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(shipped("cases")).expect("there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let mut words: Vec<&dyn AsRef<OsStr>> = vec![&"test"];
    words.extend(files.iter().map(|file| file as &dyn AsRef<OsStr>));
    let output = policy(&words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(text.starts_with(&format!("ok: {} files, ", files.len())), "{text}");
}

#[test]
fn a_weaker_ready_policy_fails_its_cases_and_the_difference_is_said() {
    arena::run(|arena| {
        let ready = fs::read_to_string(shipped("together-ai.yaml")).expect("there");
        let weaker = ready.replace("max: 10", "max: 11").replace("value: 2048", "value: 4096");
        let file = arena.file("together-ai.yaml", &weaker);
        let cases = fs::read_to_string(shipped("cases/together-ai.yaml")).expect("there");
        let cases = arena.file("cases.yaml", cases.replace("../together-ai.yaml", "together-ai.yaml"));
        let output = policy(&[&"test", &cases]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for words in ["too wide: expected deny (condition_failed)", "the eleventh waits", "cases.yaml:"] {
            assert!(text.contains(words), "{words}: {text}");
        }

        let output = policy(&[&"diff", &shipped("together-ai.yaml"), &file]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let lines: Vec<String> = said(&output).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("opens: generate_image.")), "{lines:?}");
        let output = policy(&[&"diff", &file, &file]);
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), "same\n"));
        let output = policy(&[&"diff", &file, &"/nowhere"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    });
}

fn policy_text(condition: &str, max: u32) -> String {
    format!(
        "version: \"1\"\nname: replayed\ndefault: deny\ntools:\n  echo:\n    rules:\n      - {{name: few, rate_limit: {{max: {max}, window: 60}}, validate: {{required_args: true}}}}\n      - {{name: text, conditions: [{{path: args.text, {condition}}}]}}\nsandbox:\n  filesystem: {{read: [{ROOT}/bin]}}\n"
    )
}

/// Runs the echo server: three calls that pass, one that does not. The session's directory.
fn record(arena: &Arena) -> PathBuf {
    let program = arena.program("echo_server");
    let mut session = Run::new(arena, &policy_text("op: length_lte, value: 9", 10)).command([&program]).begin();
    for text in ["cat", "dog", "cat"] {
        let answer = session.call("echo", json!({"text": text}));
        assert_eq!(denial_code(&answer), None, "{answer}");
    }
    let answer = session.call("echo", json!({"text": "a text of more than four times nine bytes"}));
    assert_eq!(denial_code(&answer), Some("condition_failed"), "{answer}");
    assert_eq!(session.finish().code, 0);
    let segment = records::segments(records::DEFAULT_DIRECTORY).pop().expect("a log");
    segment.parent().expect("a session").to_owned()
}

fn replayed(session: &Path, policy_file: &Path) -> (Option<i32>, Value) {
    let output = policy(&[&"test", &"--replay", &session, &"-c", &policy_file, &"--required", &"echo=text", &"--json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (output.status.code(), report)
}

#[test]
fn a_real_session_replays_against_changed_policies() {
    arena::run(|arena| {
        let session = record(arena);
        let file = |name: &str, condition: &str, max: u32| arena.file(name, policy_text(condition, max));

        let (code, report) = replayed(&session, &file("same.yaml", "op: length_lte, value: 9", 10));
        assert_eq!((code, &report["calls"], &report["same"]), (Some(0), &json!(4), &json!(4)), "{report}");

        // The host's key tells which texts equal a value of the policy.
        let (code, report) = replayed(&session, &file("cat.yaml", "op: in, value: [cat, cow]", 10));
        assert_eq!(code, Some(1), "{report}");
        assert_eq!(report["differ"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["differ"][0]["was"], "allowed");
        let now = report["differ"][0]["now"].as_str().expect("text");
        assert!(now.starts_with("denied (condition_failed by rule echo.text: args.text must be one of"), "{now}");
        assert_eq!(report["hmac_key"], true);

        let (code, report) = replayed(&session, &file("two.yaml", "op: length_lte, value: 9", 2));
        assert_eq!(code, Some(1), "{report}");
        let now = report["differ"][0]["now"].as_str().expect("text");
        assert_eq!(now, "denied (rate_limited by rule echo.few: at most 2 in any 60 s)");

        // What needs the text itself is not guessed, and is no difference.
        let (code, report) = replayed(&session, &file("regex.yaml", "op: regex, value: '^c'", 10));
        assert_eq!((code, &report["differ"]), (Some(0), &json!([])), "{report}");
        let open = &report["cannot_say"][0];
        assert_eq!(open["calls"], 4, "{report}");
        assert_eq!(open["reason"], "rule echo.text reads args.text, whose value is not in the log");

        let segment = session.join("000001.jsonl");
        let (code, report) = replayed(&segment, &file("same.yaml", "op: length_lte, value: 9", 10));
        assert_eq!((code, &report["same"]), (Some(0), &json!(4)), "{report}");
    });
}

/// A caller who may start us through sudo may not read files through our messages.
#[test]
fn behind_sudo_no_word_of_a_file_is_shown() {
    arena::run(|arena| {
        let secret = arena.file("shadow", "root:$6$salt$hash:19000:0:99999:7:::\nkey: hunter2\n");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("own file");
        let named = arena.file("named.yaml", "policy: shadow\ncases: [{name: a, call: {name: t}, expect: allow}]\n");
        let failing = arena
            .file("failing.yaml", "text: 'tools: {t: {}}'\ncases: [{name: hunter2, call: {name: t}, expect: deny}]\n");
        let good = arena.file("good.yaml", "sandbox: {}\n");
        let private = arena.file("private.yaml", "tools: {hunter2: {rules: [{action: allow}]}}\n");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("own file");
        let hidden = arena.folder("hidden");
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).expect("own folder");
        let within = arena.file("hidden/policy.yaml", "tools: {hunter2: {rules: [{action: allow}]}}\n");
        let attempts: [&[&dyn AsRef<OsStr>]; 12] = [
            &[&"explain", &private],
            &[&"explain", &within],
            &[&"diff", &good, &private],
            &[&"diff", &within, &good],
            &[&"check", &secret],
            &[&"test", &secret],
            &[&"test", &secret, &"--json"],
            &[&"test", &named],
            &[&"test", &failing],
            &[&"diff", &good, &secret],
            &[&"test", &"--replay", &secret, &"-c", &good],
            &[&"test", &"--replay", &good, &"-c", &private],
        ];
        let wrappers = [("SUDO_UID", "1000"), ("SUDO_USER", "alice"), ("DOAS_USER", "alice"), ("PKEXEC_UID", "1000")];
        for (words, (name, value)) in attempts.into_iter().flat_map(|words| wrappers.map(|wrapper| (words, wrapper))) {
            let mut command = run::as_real_root(paths::supervisor());
            command.arg("policy").args(words.iter().map(|word| word.as_ref())).env(name, value);
            let output = command.output().expect("starts");
            let text = said(&output);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
            for word in ["$6$", "hunter2", "salt", "19000"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
            // A program that reads JSON is told nothing more.
            let has_hint = !words.iter().any(|word| word.as_ref() == "--json");
            assert_eq!(text.contains("as yourself, without sudo"), has_hint, "{text}");
        }
    });
}

/// Calls of his against a policy that he may not read, or policies of his against root's log and root's key: each answer tells a guess right
/// or wrong.
#[test]
fn behind_sudo_nothing_is_guessed_of_a_policy_or_a_log() {
    arena::run(|arena| {
        let rules = "rules: [{conditions: [{path: args.code, op: in, value: [hunter2]}]}]";
        let private = arena.file("private.yaml", format!("sandbox: {{}}\ntools: {{t: {{{rules}}}}}\n"));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("own file");
        let refused = |words: &[&dyn AsRef<OsStr>]| {
            let mut command = run::as_real_root(paths::supervisor());
            command.arg("policy").args(words.iter().map(|word| word.as_ref())).env("SUDO_UID", NOBODY.to_string());
            let output = command.output().expect("starts");
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{}", said(&output));
            said(&output)
        };
        let case = |guess: &str| {
            let call = format!("{{name: t, arguments: {{code: {guess}}}}}");
            arena.file(
                "cases.yaml",
                format!("policy: private.yaml\ncases: [{{name: a, call: {call}, expect: allow}}]\n"),
            )
        };
        assert_eq!(policy(&[&"test", &case("hunter2")]).status.code(), Some(0));
        assert_eq!(policy(&[&"test", &case("hunter3")]).status.code(), Some(1));
        assert_eq!(refused(&[&"test", &case("hunter2")]), refused(&[&"test", &case("hunter3")]));

        let session = record(arena);
        for guess in ["cat", "cow"] {
            let file = arena.file("guess.yaml", policy_text(&format!("op: eq, value: {guess}"), 10));
            for log in [&session, &session.join("000001.jsonl")] {
                let text = refused(&[&"test", &"--replay", log, &"-c", &file, &"--required", &"echo=text"]);
                assert!(text.contains("behind sudo no log is replayed"), "{text}");
            }
        }
    });
}
