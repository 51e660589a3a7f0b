//! Tests of the policy commands; none needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{check, diff, explain, file, install, test};
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
    explained_under(POLICY, call, required)
}

fn explained_under(policy: &str, call: Option<&str>, required: Option<&[&str]>) -> (u8, String) {
    let file = written(policy.as_bytes());
    let arguments = explain::ExplainArgs {
        file: file::FileArgs::of(file.path()),
        call: call.map(str::to_owned),
        required: required.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        schema: None,
    };
    let mut out = Vec::new();
    let code = explain::run(&arguments, &mut out).expect("readable");
    (code, String::from_utf8(out).expect("text"))
}

#[test]
fn explain_judges_by_a_schema_that_is_given() {
    let file = written(b"{default: deny, sandbox: {}, tools: {t: {rules: [{validate: {schema: true}}]}}}");
    let told = |schema: Option<&str>, call: &str| {
        let arguments = explain::ExplainArgs {
            file: file::FileArgs::of(file.path()),
            call: Some(call.to_owned()),
            required: None,
            schema: schema.map(str::to_owned),
        };
        let mut out = Vec::new();
        let code = explain::run(&arguments, &mut out).expect("readable");
        (code, String::from_utf8(out).expect("text"))
    };
    let schema = r#"{"properties": {"n": {"type": "integer"}}}"#;
    assert_eq!(told(Some(schema), r#"{"name": "t", "arguments": {"n": 1}}"#).0, 0);
    let (code, text) = told(Some(schema), r#"{"name": "t", "arguments": {"n": "x"}}"#);
    assert!(code == 1 && text.contains("args.n must be an integer, not string (rule t.rules[0])."), "{text}");
    let (_, text) = told(Some(schema), r#"{"name": "t", "arguments": {"N": 1}}"#);
    assert!(text.starts_with("refused before the policy is asked"), "{text}");
    let (code, text) = told(None, r#"{"name": "t"}"#);
    assert!(code == 1 && text.contains("--schema"), "{text}");
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
    assert_eq!((code, report["ok"].as_bool(), report["warnings"].as_array().map(Vec::len)), (0, Some(true), Some(3)));
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
    assert!(shown.contains("verdict: deny whatever the schema says (rule t.rules[0], line"), "{shown}");
    let (code, shown) = explained(Some(r#"{"name": "t", "arguments": {"n": 4}}"#), None);
    assert_eq!(code, 1);
    assert!(shown.contains("open until the server's inputSchema is known"), "{shown}");
    let (_, shown) = explained(Some(r#"{"name": "u"}"#), None);
    assert!(shown.contains("verdict: deny (not_listed)"), "{shown}");
}

#[test]
fn explain_shows_groups_as_a_tree_with_what_every_member_found() {
    let policy = "tools:\n  t:\n    rules:\n      - conditions:\n          - any:\n              - {path: args.a, op: eq, value: 1}\n              - not: {path: args.b, op: starts_with, value: /etc}\n          - {path: 'args.i[*].p', op: lte, value: 5, if_present: true}\n";
    let call = r#"{"name": "t", "arguments": {"a": 2, "b": ["/etc/x"], "i": [{"p": 5}, {"p": 6}]}}"#;
    let (code, shown) = explained_under(policy, Some(call), None);
    let expected = r#"
rule t.rules[0] (line 4)
  FAIL  any of: cannot be judged
        args.a must be 1 (is 2): fails
        not: cannot be judged
          args.b must start with "/etc" (is an array of 1): cannot be judged
  FAIL  args.i[*].p must be at most 5, if present (args.i[1].p is 6): fails
verdict: deny (condition_failed) by t.rules[0], line 4
"#;
    assert!(code == 1 && shown.contains(expected), "{shown}");
    let (_, shown) = explained_under(policy, Some(r#"{"name": "t", "arguments": {"b": "/srv"}}"#), None);
    assert!(
        shown.contains("pass  any of: holds") && shown.contains("args.a must be 1 (absent): cannot be judged"),
        "{shown}"
    );
    assert!(shown.contains("if present (absent): absent, passes"), "{shown}");
    let (code, shown) = explained_under(policy, Some(r#"{"name": "t", "arguments": {"i": [{"P": 6}]}}"#), None);
    assert!(code == 1 && shown.contains(r#"argument "P" differs from "p" only in case"#), "{shown}");
    let hidden = format!("hide: [t]\n{policy}");
    let (code, shown) = explained_under(&hidden, Some(r#"{"name": "t", "arguments": {"i": [{"P": 6}]}}"#), None);
    assert!(code == 1 && shown.contains("verdict: deny (hidden)") && !shown.contains("only in case"), "{shown}");
}

#[test]
fn a_call_that_is_none_is_refused() {
    for call in
        ["", "[]", "{}", r#"{"name": 1}"#, r#"{"name": "t", "arguments": []}"#, r#"{"name": "t", "argument": {}}"#]
    {
        assert!(super::call::parse(call).is_err(), "{call}");
    }
}

fn tested(files: &[&Path], json: bool) -> Result<(u8, String), String> {
    let files = files.iter().map(|file| file.to_path_buf()).collect();
    let arguments = test::TestArgs { files, replay: None, config: None, required: Vec::new(), json };
    let mut out = Vec::new();
    let code = test::run(&arguments, &mut out).map_err(|error| crate::report::chain(&*error))?;
    Ok((code, String::from_utf8(out).expect("text")))
}

#[test]
fn test_counts_what_passes_and_prints_what_does_not_with_its_place() {
    let root = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    file("p.yaml", POLICY);
    let good = file(
        "good.yaml",
        "policy: p.yaml\ncases:\n  - {name: a, call: {name: t, arguments: {n: 4}}, required: [], expect: allow}\n",
    );
    let bad = file("bad.yaml", "text: 'tools: {t: {}}'\ncases:\n  - {name: refused, call: {name: t}, expect: deny}\n");
    let broken = file("broken.yaml", "policy: p.yaml\ncasez: []\n");
    let unlucky = file("unlucky.yaml", "policy: bad.yaml\ncases: [{name: a, call: {name: t}, expect: allow}]\n");
    let lost = file("lost.yaml", "policy: nowhere.yaml\ncases: [{name: a, call: {name: t}, expect: allow}]\n");

    assert_eq!(tested(&[&good, &good], false), Ok((0, "ok: 2 files, 2 cases\n".into())));
    let (code, shown) = tested(&[&good, &bad], false).expect("readable");
    assert_eq!(code, 1);
    assert!(shown.contains("error[ISB-T001]: refused: expected deny, got allow\n"), "{shown}");
    assert!(shown.contains("bad.yaml:3:12\n") && shown.contains("^^^^^^^"), "{shown}");
    assert!(shown.ends_with("failed: 2 files, 2 cases, 1 finding\n"), "{shown}");
    let (code, shown) = tested(&[&broken], false).expect("readable");
    assert!(code == 1 && shown.contains("did you mean \"cases\"?"), "{shown}");
    let (code, shown) = tested(&[&unlucky], false).expect("readable");
    assert!(code == 1 && shown.contains("bad.yaml:1:1"), "{shown}");
    assert!(tested(&[&lost], false).expect_err("not there").contains("nowhere.yaml"));
    assert!(tested(&[Path::new("/dev/null")], false).is_err());

    let (code, shown) = tested(&[&bad], true).expect("readable");
    let report: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &report["ok"], &report["cases"]), (1, &false.into(), &1.into()));
    assert_eq!((&report["findings"][0]["line"], &report["findings"][0]["code"]), (&3.into(), &"ISB-T001".into()));
}

#[test]
fn diff_prints_one_line_a_change_and_refuses_what_does_not_load() {
    let compared = |old: &str, new: &str, json: bool| {
        let (old, new) = (written(old.as_bytes()), written(new.as_bytes()));
        let arguments = diff::DiffArgs { old: old.path().into(), new: new.path().into(), json };
        let mut out = Vec::new();
        let code = diff::run(&arguments, &mut out);
        (code.map_err(|error| error.to_string()), String::from_utf8(out).expect("text"))
    };
    let wider = POLICY.replace("value: 4", "value: 5");
    let line = "opens: t.rules[0]: args.n must be at most 5; was: args.n must be at most 4\n";
    assert_eq!(compared(POLICY, &wider, false), (Ok(1), line.into()));
    assert_eq!(compared(POLICY, POLICY, false), (Ok(0), "same\n".into()));
    let (code, shown) = compared(POLICY, &wider, true);
    let report: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &report["same"], &report["changes"][0]["way"]), (Ok(1), &false.into(), &"opens".into()));
    let (code, shown) = compared("toolz: {}", POLICY, false);
    assert!(code.is_err() && shown.contains("ISB-P011"), "{shown}");
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
fn install_brings_the_lock_along_and_overwrites_no_other() {
    use install::Installed;
    let root = tempfile::tempdir().expect("a directory");
    let (source, directory) = (root.path().join("p.yaml"), root.path().join("etc/policies"));
    let target = install::Target { directory: &directory, owner: owner() };
    let install = |lock: &str, force| {
        let text = format!("{POLICY}server: {{pins: {{lock: {lock}}}}}\n");
        let policy = load(&Source { path: &source, text: &text }).expect("loads").policy;
        target.install(&policy, text.as_bytes(), force)
    };
    assert!(matches!(install("tools.lock", false), Err(install::InstallError::File(_))), "there is none");
    let lock = root.path().join("tools.lock");
    fs::write(&lock, "no lock\n").expect("written");
    assert!(matches!(install("tools.lock", false), Err(install::InstallError::Lock { .. })));
    assert!(!directory.exists(), "nothing was installed");
    fs::write(&lock, "{\"tools.lock\":1}\n").expect("written");
    assert_eq!(install("tools.lock", false).expect("works"), Installed::New(directory.join("p.yaml")));
    let placed = directory.join("tools.lock");
    assert_eq!(fs::read(&placed).expect("there"), fs::read(&lock).expect("there"));
    fs::write(&placed, "of another policy\n").expect("written");
    assert_eq!(install("tools.lock", false).expect("works"), Installed::Refused(placed.clone()));
    assert_eq!(install("tools.lock", true).expect("works"), Installed::Replaced(directory.join("p.yaml")));
    assert_eq!(fs::read(&placed).expect("there"), fs::read(&lock).expect("there"));
    for name in ["q.yaml", ".hidden"] {
        assert!(matches!(install(name, true), Err(install::InstallError::LockPlace(_))), "{name}");
    }
    let absolute = lock.display().to_string();
    assert_eq!(install(&absolute, true).expect("works"), Installed::Replaced(directory.join("p.yaml")));
}

#[test]
fn the_lock_of_another_policy_is_not_replaced_even_by_force() {
    use install::Installed;
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join("etc/policies");
    let target = install::Target { directory: &directory, owner: owner() };
    let install = |name: &str, lock: &str| {
        let folder = root.path().join(name);
        fs::create_dir_all(&folder).expect("own folder");
        fs::write(folder.join("tools.lock"), lock).expect("written");
        let source = folder.join("p.yaml");
        let text = format!("name: {name}\nserver: {{pins: {{lock: tools.lock}}}}\n");
        let policy = load(&Source { path: &source, text: &text }).expect("loads").policy;
        target.install(&policy, text.as_bytes(), true)
    };
    let (reviewed, other) = ("{\"tools.lock\":1}\n", "{\"tools.lock\":1}\n\n");
    assert_eq!(install("a", reviewed).expect("works"), Installed::New(directory.join("a.yaml")));
    assert_eq!(install("b", reviewed).expect("the same one"), Installed::New(directory.join("b.yaml")));
    let refused = install("b", other).expect_err("a's definitions would be others");
    assert!(
        matches!(&refused, install::InstallError::LockOfAnother { policy, .. } if *policy == directory.join("a.yaml")),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(directory.join("tools.lock")).expect("there"), reviewed);
    // Nor is it supplied where it is gone, but by the policy itself.
    fs::remove_file(directory.join("tools.lock")).expect("own file");
    fs::remove_file(directory.join("b.yaml")).expect("own file");
    let refused = install("b", other).expect_err("a's definitions would be b's");
    assert!(matches!(&refused, install::InstallError::LockOfAnother { .. }), "{refused}");
    assert!(!directory.join("tools.lock").exists() && !directory.join("b.yaml").exists());
    assert_eq!(install("a", reviewed).expect("its own"), Installed::New(directory.join("a.yaml")));
    assert_eq!(fs::read_to_string(directory.join("tools.lock")).expect("there"), reviewed);
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
        "p test a b --json",
        "p test --replay d -c p --required t=a --required u=",
        "p diff a b --json",
    ] {
        assert!(parsed(words).is_ok(), "{words}");
    }
    for words in [
        "p check",
        "p check a -c b",
        "p explain f --required a",
        "p install",
        "p test",
        "p diff f",
        "p test --replay d",
        "p test -c p f",
        "p test f --replay d -c p",
        "p test f --required t=a",
    ] {
        assert!(parsed(words).is_err(), "{words}");
    }
}
