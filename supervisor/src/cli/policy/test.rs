//! `policy test`: case files, and with --replay a log.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::check::{counted, json};
use super::{Done, file, replay};
use crate::policy::{self, CaseFile, Policy, PolicyFrom, Source};
use crate::report::Diagnostic;

/// What to test.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Case files.
    #[arg(value_name = "FILE", required_unless_present = "replay", conflicts_with = "replay")]
    pub(super) files: Vec<PathBuf>,
    /// A session's directory, or one segment of it: its recorded calls are judged by the policy of -c.
    #[arg(long, value_name = "AUDIT", requires = "config")]
    pub(super) replay: Option<PathBuf>,
    /// With --replay: the policy.
    #[arg(short = 'c', long = "config", value_name = "POLICY", requires = "replay", conflicts_with = "files")]
    pub(super) config: Option<PathBuf>,
    /// With --replay: what a tool's inputSchema requires, which no log says. Repeatable; `TOOL=` for nothing.
    #[arg(long, value_name = "TOOL=NAME,...", requires = "replay", conflicts_with = "files")]
    pub(super) required: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// What came of all files.
#[derive(Default)]
struct Tally {
    files: usize,
    cases: usize,
    findings: Vec<Diagnostic>,
}

pub(super) fn run(arguments: &TestArgs, out: &mut impl Write) -> Done {
    if let (Some(log), Some(policy)) = (&arguments.replay, &arguments.config) {
        return replay::run(policy, log, &arguments.required, arguments.json, out);
    }
    let mut tally = Tally::default();
    for path in &arguments.files {
        test(path, &mut tally)?;
    }
    tell(&tally, arguments.json, out)?;
    Ok(u8::from(!tally.findings.is_empty()))
}

/// Runs the cases of one file. What does not load is a finding; what cannot be read is an error.
fn test(path: &Path, tally: &mut Tally) -> Result<(), file::FileError> {
    tally.files += 1;
    let bytes = file::read(path)?;
    let cases = match policy::decode(path, &bytes).and_then(|text| policy::read_cases(&Source { path, text })) {
        Ok(cases) => cases,
        Err(errors) => {
            tally.findings.extend(file::shown(errors));
            return Ok(());
        }
    };
    let governing = match policy_of(&cases)? {
        Ok(policy) => policy,
        Err(errors) => {
            tally.findings.extend(file::shown(errors));
            return Ok(());
        }
    };
    let done = cases.run(governing.as_ref());
    tally.cases += done.cases;
    tally.findings.extend(file::shown(done.failures));
    Ok(())
}

/// The policy that a case file names, or all that is wrong with it.
fn policy_of(cases: &CaseFile) -> Result<Result<Option<Policy>, Vec<Diagnostic>>, file::FileError> {
    let loaded = match &cases.policy {
        None => return Ok(Ok(None)),
        Some(PolicyFrom::File(name)) => {
            let path = cases.path.parent().unwrap_or(Path::new("")).join(name);
            let bytes = file::read_to_show(&path)?;
            file::load(&path, &bytes)
        }
        Some(PolicyFrom::Text(text)) => {
            let mut name = cases.path.clone().into_os_string();
            name.push(" (text)"); // lines are counted from the text's own first
            policy::load(&Source { path: Path::new(&name), text })
        }
    };
    Ok(loaded.map(|loaded| Some(loaded.policy)))
}

fn tell(tally: &Tally, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    if as_json {
        let report = serde_json::json!({
            "ok": tally.findings.is_empty(),
            "files": tally.files,
            "cases": tally.cases,
            "findings": tally.findings.iter().map(finding).collect::<Vec<_>>(),
        });
        return writeln!(out, "{report}");
    }
    file::tell(&tally.findings, out)?;
    let (files, cases) = (counted(tally.files, "file"), counted(tally.cases, "case"));
    match tally.findings.len() {
        0 => writeln!(out, "ok: {files}, {cases}"),
        findings => writeln!(out, "failed: {files}, {cases}, {}", counted(findings, "finding")),
    }
}

fn finding(problem: &Diagnostic) -> serde_json::Value {
    let mut finding = json(problem);
    finding["file"] = problem.path.to_string_lossy().into();
    finding
}
