//! Drops each protection in turn and sees its named test fail: a test that passes without its protection tests nothing.
//!
//! One build with the cargo feature `weaken`, in a target directory of its own; the environment variable `ISB_WEAKEN`
//! names the protections to drop: one, or two where either alone holds the attack. A build without the feature knows nothing of it.

mod table;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::say;
use crate::shell::{Outcome, as_root, cargo, output, run as run_command, workspace};
pub(crate) use table::TABLE;

/// Longest time of one named test, seconds. A test that hangs without its protection has noticed too.
const TEST_SECONDS_MAX: u32 = 120;
/// What `timeout` exits with (coreutils).
const TIMED_OUT: i32 = 124;
/// What lets a build drop protections.
pub(crate) const FEATURE: &str = "intercept-sandbox/weaken";

/// A protection and the test that must notice its absence.
pub(crate) struct Row {
    /// Its name in `weaken::in_force`.
    pub(crate) protection: &'static str,
    /// Where the test is: `lib`, or the name of an integration test.
    pub(crate) target: &'static str,
    /// The test's full name.
    pub(crate) test: &'static str,
    /// Whether the target is its own harness: it takes a part of the name and tells by its exit code.
    pub(crate) is_case: bool,
    /// A second protection that holds the same attack: the test must pass without this one alone, and fail without both.
    pub(crate) also: Option<&'static str>,
}

/// The row of a protection.
pub(crate) fn row(protection: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.protection == protection)
}

/// `cargo xtask mutate`.
pub(crate) fn run(filter: Option<&str>) -> Outcome {
    let programs = build()?;
    let rows: Vec<&Row> = TABLE.iter().filter(|row| filter.is_none_or(|part| row.protection.contains(part))).collect();
    if rows.is_empty() {
        return Err("no protection has such a name".into());
    }
    say::step(
        "each named test must pass with everything in force, or without the one of two layers that the row names",
    );
    let mut healthy = BTreeMap::new();
    for row in &rows {
        if let Entry::Vacant(place) = healthy.entry((row.test, row.also)) {
            place.insert(run_test(&programs, row, row.also.unwrap_or_default())?);
        }
    }
    say::step("each named test must fail without its protection");
    let mut bad = 0;
    for row in &rows {
        let dropped = [Some(row.protection), row.also].into_iter().flatten().collect::<Vec<_>>().join(",");
        let without = run_test(&programs, row, &dropped)?;
        let before = healthy[&(row.test, row.also)];
        let good = before == Verdict::Passed && without != Verdict::Passed;
        bad += usize::from(!good);
        let verdict = match (before, without) {
            (Verdict::Passed, Verdict::Failed) => "killed",
            (Verdict::Passed, Verdict::TimedOut) => "killed (it hung)",
            (Verdict::Passed, Verdict::Passed) => "SURVIVED",
            _ => "TEST FAILS ANYWAY",
        };
        say::line(&format!("{dropped:<28} {:<60} {verdict}", format!("{}: {}", row.target, row.test)));
    }
    say::line(&format!("{} passed, {bad} failed", rows.len() - bad));
    if bad == 0 { Ok(()) } else { Err(format!("{bad} protections can be dropped unnoticed")) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    TimedOut,
}

/// Where weakenable builds stand, apart from the others.
pub(crate) fn target() -> PathBuf {
    workspace().join("target/weaken")
}

/// Builds the programs, weakenable. The suites `denials`, `faults` and `planted` start this supervisor too.
pub(crate) fn build_programs() -> Outcome {
    run_command(with_target(&["build", "--bins"]))
}

/// cargo on both packages, with the feature and a target directory of its own.
fn with_target(arguments: &[&str]) -> Command {
    let packages = ["--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--features", FEATURE];
    let mut command = cargo(&[arguments, &packages].concat());
    command.env("CARGO_TARGET_DIR", target());
    command
}

/// Builds everything once, weakenable; gives the test programs by target name.
fn build() -> Outcome<BTreeMap<String, PathBuf>> {
    build_programs()?;
    run_command(with_target(&["test", "--no-run"]))?;
    let listed = output(with_target(&["test", "--no-run", "--message-format=json"]))?;
    let mut programs = BTreeMap::new();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        let Some(program) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true) else {
            continue;
        };
        // A program and a test may share a name; the unit tests of the programs hold no row.
        let name = match (message["target"]["kind"][0].as_str(), message["target"]["name"].as_str()) {
            (Some("lib"), Some("intercept_sandbox")) => "lib",
            (Some("test"), Some(name)) => name,
            _ => continue,
        };
        programs.insert(name.to_owned(), Path::new(program).to_path_buf());
    }
    Ok(programs)
}

fn run_test(programs: &BTreeMap<String, PathBuf>, row: &Row, dropped: &str) -> Outcome<Verdict> {
    let program = programs.get(row.target).ok_or_else(|| format!("there is no test program {}", row.target))?;
    let weaken = format!("ISB_WEAKEN={dropped}");
    let limit = TEST_SECONDS_MAX.to_string();
    let path = program.to_string_lossy();
    let mut command = as_root("env", &[&weaken, "timeout", "--kill-after=5", &limit, &path, row.test]);
    if !row.is_case {
        command.args(["--exact", "--include-ignored"]);
    }
    command.stdin(Stdio::null());
    let output = output(command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !row.is_case && !said.contains("running 1 test\n") {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {} did not run exactly one test:\n{said}{stderr}", row.target, row.test));
    }
    Ok(match output.status.code() {
        Some(0) => Verdict::Passed,
        Some(TIMED_OUT) => Verdict::TimedOut,
        _ => Verdict::Failed,
    })
}
