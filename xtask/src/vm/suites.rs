//! What a guest runs: the compiled test programs.

use std::path::PathBuf;

use serde_json::Value;

use crate::mutate;
use crate::shell::{Outcome, cargo, output, run, workspace};

/// How a program is run and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tests of libtest.
    Tests,
    /// A program without libtest (`harness = false`) that speaks like it, on standard error.
    Cases,
    /// A program whose standard output is the result.
    Table,
}

impl Kind {
    /// The function of run.sh that runs it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Tests => "suite",
            Self::Cases => "cases",
            Self::Table => "table",
        }
    }
}

/// One test program.
pub(super) struct Suite {
    /// Name of the test target.
    pub(super) name: String,
    /// Its package's folder, where it runs.
    pub(super) folder: PathBuf,
    /// The program.
    pub(super) program: PathBuf,
    /// How it is run.
    pub(super) kind: Kind,
    /// What it is told, for a [`Kind::Table`].
    pub(super) arguments: Vec<String>,
    /// Longest time that it may take in the guest.
    pub(super) seconds: u32,
}

/// Programs that ask the kernel most come first. Seconds are those that an emulated processor may take on a
/// busy machine; on an idle one it takes a quarter of them.
const SUITES: [(&str, u32); 31] = [
    ("cage_root", 1800),
    ("wall_root", 1200),
    ("mechanisms", 1800),
    ("layers", 1800),
    ("redteam", 3600),
    ("planted", 2400),
    ("faults", 3600),
    ("files", 2400),
    ("lifecycle", 2400),
    ("callers", 1200),
    ("denials", 900),
    ("exec_audit", 900),
    ("fs_audit", 900),
    ("doctor", 600),
    ("threads", 1200),
    ("main_job", 2400),
    ("policy_trust", 1800),
    ("secrets", 1800),
    ("observe", 1200),
    ("audit", 2400),
    ("fixtures", 1200),
    ("server_word", 1800),
    ("wire", 1800),
    ("pins", 1800),
    ("approvals", 1800),
    ("reload", 1800),
    ("scan", 1800),
    ("redis", 1200),
    ("resources", 2400),
    ("refusals", 1200),
    ("rounds", 2400),
];

/// Those with `harness = false`.
const OWN_HARNESS: [&str; 2] = ["cage_root", "wall_root"];

/// Those that start a supervisor of a build with the feature `weaken`.
const WEAKENED: [&str; 5] = ["denials", "exec_audit", "faults", "fs_audit", "planted"];

/// The red team's table as a program of its own, and the longest that it may take.
const TABLE: (&str, u32) = ("redteam_table", 5400);

/// Test targets that a guest does not run, and why. They ask nothing of the kernel that the others do not.
pub(super) const LEFT_OUT: [(&str, &str); 6] = [
    ("conformance", "hundreds of Node.js starts"),
    ("differential", "a million lines"),
    ("needs", "runtimes under strace: what they call, not what a kernel does"),
    ("policy_tools", "no kernel in it"),
    ("ready", "published servers, as main_job"),
    ("sudo", "makes users in /etc, and is about sudo"),
];

/// Builds the supervisor and the test programs; gives the former's path and those of the chosen suites.
///
/// # Errors
/// A build that fails, a name that is no suite, and a test target that nobody has decided about.
pub(super) fn build(chosen: &[String]) -> Outcome<(PathBuf, Vec<Suite>)> {
    let supervisor = build_programs()?;
    // The whole workspace, as `cargo xtask test` builds it: another selection would compile dependencies again.
    let tests = ["test", "--workspace", "--no-run", "--test", "*"];
    run(cargo(&tests))?;
    let listed = output(cargo(&[&tests[..], &["--message-format=json"]].concat()))?;
    let built = built(&String::from_utf8_lossy(&listed.stdout));
    decided(built.iter().map(|(name, ..)| name.as_str()))?;
    if let Some(unknown) = chosen.iter().find(|name| !SUITES.iter().any(|(suite, _)| suite == name)) {
        return Err(format!("--suite {unknown}: there are {}", SUITES.map(|(name, _)| name).join(", ")));
    }
    let wanted = SUITES.into_iter().filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|one| one == name));
    let suites: Vec<Suite> = wanted
        .map(|(name, seconds)| {
            let found = built.iter().find(|(suite, ..)| suite == name);
            let (name, folder, program) = found.cloned().ok_or_else(|| format!("no test target {name} was built"))?;
            let kind = if OWN_HARNESS.contains(&name.as_str()) { Kind::Cases } else { Kind::Tests };
            Ok(Suite { name, folder, program, kind, arguments: Vec::new(), seconds })
        })
        .collect::<Outcome<_>>()?;
    if suites.iter().any(|suite| WEAKENED.contains(&suite.name.as_str())) {
        mutate::build_programs()?;
    }
    Ok((supervisor, suites))
}

/// Builds the supervisor and the red team's table, which is told `arguments`; gives the former's path and the latter.
///
/// # Errors
/// A build that fails.
pub(super) fn build_table(arguments: Vec<String>) -> Outcome<(PathBuf, Suite)> {
    let supervisor = build_programs()?;
    let (name, seconds) = TABLE;
    let program = supervisor.with_file_name(name);
    Ok((supervisor, Suite { name: name.into(), folder: workspace(), program, kind: Kind::Table, arguments, seconds }))
}

/// The supervisor and the tests' helpers; gives the former's path.
fn build_programs() -> Outcome<PathBuf> {
    let packages = ["--package", "intercept-sandbox", "--package", "intercept-sandbox-tests"];
    run(cargo(&[&["build", "--bins"][..], &packages].concat()))?;
    Ok(workspace().join("target/debug/intercept-sandbox"))
}

/// Every test target is in one of the two tables: a new one is not forgotten here.
fn decided<'a>(targets: impl Iterator<Item = &'a str>) -> Outcome {
    for target in targets {
        let mut known = SUITES.iter().map(|(name, _)| *name).chain(LEFT_OUT.iter().map(|(name, _)| *name));
        if !known.any(|name| name == target) {
            return Err(format!("xtask/src/vm/suites.rs does not say whether a guest runs {target}"));
        }
    }
    Ok(())
}

/// Name, package folder and program of each integration test in cargo's messages.
fn built(messages: &str) -> Vec<(String, PathBuf, PathBuf)> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let tests = messages.filter(|message| message["target"]["kind"][0] == "test");
    tests
        .filter_map(|message| {
            let folder = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_path_buf();
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, folder, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_test_target_that_nobody_decided_about_is_an_error() {
        assert!(decided(["redteam", "differential"].into_iter()).is_ok());
        assert!(decided(["redteam", "brand_new"].into_iter()).unwrap_err().contains("brand_new"));
    }

    #[test]
    fn every_suite_that_starts_a_weakened_supervisor_has_it_built() {
        let text =
            |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let folder = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<String> = folder(workspace().join("tests/suites"))
            .filter(|path| {
                let files = if path.is_dir() { folder(path.clone()).collect() } else { vec![path.clone()] };
                files.into_iter().any(|file| text(file).contains("paths::weakenable()"))
            })
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(found, WEAKENED);
    }

    #[test]
    fn finds_the_programs_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"name":"wire"},"executable":"/w/target/wire-1"}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["lib"],"name":"harness"},"executable":null}
not json"#;
        assert_eq!(built(messages), [("wire".to_owned(), "/w/tests".into(), "/w/target/wire-1".into())]);
    }
}
