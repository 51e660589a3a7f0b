//! Tests of the policy commands; none needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{check, explain, file, install};
use crate::policy::{Source, load};

const POLICY: &str = "default: deny\nsandbox: {}\ntools:\n  t:\n    rules:\n      - rate_limit: {max: 10, window: 60}\n        validate: {required_args: true}\n        conditions: [{path: args.n, op: lte, value: 4}]\n";

fn written(text: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a temporary file");
    fs::write(file.path(), text).expect("written");
    file
}

fn checked(text: &[u8], json: bool) -> (u8, String) {
    let file = written(text);
    let mut out = Vec::new();
    let code =
        check::run(&check::CheckArgs { file: file::FileArgs::of(file.path()), json }, &mut out).expect("readable");
    (code, String::from_utf8(out).expect("text"))
}

fn explained(call: Option<&str>, required: Option<&[&str]>) -> (u8, String) {
    let file = written(POLICY.as_bytes());
    let arguments = explain::ExplainArgs {
        file: file::FileArgs::of(file.path()),
        call: call.map(str::to_owned),
        required: required.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
    };
    let mut out = Vec::new();
    let code = explain::run(&arguments, &mut out).expect("readable");
    (code, String::from_utf8(out).expect("text"))
}

#[test]
fn check_passes_a_good_policy_and_prints_every_error_of_a_bad_one() {
    let (code, shown) = checked(POLICY.as_bytes(), false);
    assert_eq!(code, 0);
    assert!(shown.contains("1 tool, 1 rule, 0 hosts"), "{shown}");
    let (code, shown) = checked(b"toolz: {}\nsandbox: {}\nnam: x\n", false);
    assert_eq!(code, 1);
    assert!(
        shown.contains("did you mean \"tools\"?")
            && shown.contains("did you mean \"name\"?")
            && shown.contains("2 errors")
    );
    assert_eq!(checked(b"a: \xff", false).0, 1);
}

#[test]
fn check_prints_one_json_object() {
    let (code, shown) = checked(b"toolz: {}\nsandbox: {}\n", true);
    let report: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(code, 1);
    assert_eq!(report["ok"], false);
    assert_eq!(report["errors"][0]["code"], "ISB-P011");
    assert_eq!((&report["errors"][0]["line"], &report["errors"][0]["column"]), (&1.into(), &1.into()));
    let (code, shown) = checked(b"version: '1'\n", true);
    let report: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, report["ok"].as_bool(), report["warnings"].as_array().map(Vec::len)), (0, Some(true), Some(2)));
}

#[test]
fn what_is_no_file_is_said() {
    for path in ["/nonexistent/p.yaml", "/dev/null", "/"] {
        let arguments = check::CheckArgs { file: file::FileArgs::of(Path::new(path)), json: false };
        assert!(check::run(&arguments, &mut Vec::new()).is_err(), "{path}");
    }
}

#[test]
fn explain_prints_the_normal_form_and_the_trace_of_a_call() {
    let (code, shown) = explained(None, None);
    assert_eq!(code, 0);
    assert!(shown.contains("rate_limit: {max: 10, window: 60s}"), "{shown}");
    let call = r#"{"name": "t", "arguments": {"n": 5, "p": 1}}"#;
    let (code, shown) = explained(Some(call), Some(&["p"]));
    assert_eq!(code, 1);
    assert!(
        shown.contains("FAIL  args.n must be at most 4 (is 5)")
            && shown.contains("verdict: deny (condition_failed) by t.rules[0]"),
        "{shown}"
    );
    let (code, shown) = explained(Some(r#"{"name": "t", "arguments": {"n": 4}}"#), Some(&[""]));
    assert_eq!(code, 0);
    assert!(shown.contains("limit t.rules[0]: at most 10 in any 60 s"), "{shown}");
    let (code, shown) = explained(Some(call), None);
    assert_eq!(code, 1);
    assert!(shown.contains("open until the server's inputSchema is known"), "{shown}");
    let (_, shown) = explained(Some(r#"{"name": "u"}"#), None);
    assert!(shown.contains("verdict: deny (not_listed)"), "{shown}");
}

#[test]
fn a_call_that_is_none_is_refused() {
    for call in
        ["", "[]", "{}", r#"{"name": 1}"#, r#"{"name": "t", "arguments": []}"#, r#"{"name": "t", "argument": {}}"#]
    {
        assert!(super::call::parse(call).is_err(), "{call}");
    }
}

fn owner() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn install_writes_once_whole_and_refuses_to_replace() {
    use install::Installed;
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join("etc/policies");
    let target = install::Target { directory: &directory, owner: owner() };
    let policy = |text: &str| load(&Source { path: Path::new("/x/p.yaml"), text }).expect("loads").policy;
    let (first, second) = (POLICY.to_owned(), format!("{POLICY}description: other\n"));
    let path = directory.join("p.yaml");
    let install = |text: &str, force| target.install(&policy(text), text.as_bytes(), force).expect("works");
    assert_eq!(install(&first, false), Installed::New(path.clone()));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o644);
    assert_eq!(install(&first, false), Installed::AlreadyThere(path.clone()));
    assert_eq!(install(&second, false), Installed::Refused(path.clone()));
    assert_eq!(fs::read_to_string(&path).expect("there"), first);
    assert_eq!(install(&second, true), Installed::Replaced(path.clone()));
    assert_eq!(fs::read_to_string(&path).expect("there"), second);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
    assert_eq!(
        install(&second, false),
        Installed::Refused(path.clone()),
        "a writable copy is not the installed policy"
    );
    let left: Vec<_> =
        fs::read_dir(&directory).expect("there").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["p.yaml"], "no temporary file is left");
}

#[test]
fn install_refuses_untrusted_directories_and_names() {
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join("policies");
    let policy = |path: &str| load(&Source { path: Path::new(path), text: POLICY }).expect("loads").policy;
    let install =
        |owner, path: &str| install::Target { directory: &directory, owner }.install(&policy(path), b"", false);
    assert!(matches!(install(owner() + 1, "/x/p.yaml"), Err(install::InstallError::Untrusted { .. })));
    for path in ["/x/a b.yaml", "/x/.hidden", "/"] {
        assert!(matches!(install(owner(), path), Err(install::InstallError::Name(_))), "{path}");
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
    assert!(matches!(install(owner(), "/x/p.yaml"), Err(install::InstallError::Untrusted { .. })));
}

#[test]
fn the_file_stands_alone_or_behind_c_and_exactly_once() {
    use clap::Parser;
    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: super::PolicyCommand,
    }
    let parsed = |words: &str| Line::try_parse_from(words.split(' ')).map(|line| line.command);
    for words in [
        "p check f.yaml",
        "p check -c f.yaml --json",
        "p explain f.yaml --call {} --required a,b",
        "p install --force f",
    ] {
        assert!(parsed(words).is_ok(), "{words}");
    }
    for words in ["p check", "p check a -c b", "p explain f --required a", "p install", "p test", "p diff f"] {
        assert!(parsed(words).is_err(), "{words}");
    }
}
