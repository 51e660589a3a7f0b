//! `policy check`.

use std::io::Write;

use clap::Args;

use super::{Done, file};
use crate::policy::Policy;
use crate::report::Diagnostic;

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub(super) file: file::FileArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &CheckArgs, out: &mut impl Write) -> Done {
    let path = arguments.file.path();
    let bytes = file::read(path)?;
    let (policy, errors, warnings) = match file::load(path, &bytes) {
        Ok(loaded) => (Some(loaded.policy), Vec::new(), file::shown(loaded.warnings)),
        Err(errors) => (None, file::shown(errors), Vec::new()),
    };
    let ok = policy.is_some();
    if arguments.json {
        let report = serde_json::json!({
            "file": path.to_string_lossy(),
            "ok": ok,
            "errors": errors.iter().map(json).collect::<Vec<_>>(),
            "warnings": warnings.iter().map(json).collect::<Vec<_>>(),
        });
        writeln!(out, "{report}")?;
        return Ok(u8::from(!ok));
    }
    file::tell(if ok { &warnings } else { &errors }, out)?;
    match policy {
        Some(policy) => writeln!(out, "ok: {}", summary(&policy))?,
        None => writeln!(out, "{}: {}", path.display(), counted(errors.len(), "error"))?,
    }
    Ok(u8::from(!ok))
}

/// A problem for programs.
pub(super) fn json(problem: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "code": problem.code,
        "severity": problem.severity.as_str(),
        "message": problem.message,
        "line": problem.place.as_ref().map(|place| place.line),
        "column": problem.place.as_ref().map(|place| place.column),
        "width": problem.place.as_ref().map(|place| place.width),
        "help": problem.help,
    })
}

/// `together-ai: 1 tool, 6 rules, 1 host`.
pub(super) fn summary(policy: &Policy) -> String {
    let rules = policy.tools.values().map(|tool| tool.rules.len()).sum();
    let tools = counted(policy.tools.len(), "tool");
    let hosts = counted(policy.sandbox.hosts.len(), "host");
    format!("{}: {tools}, {}, {hosts}", policy.name, counted(rules, "rule"))
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
