//! `audit verify`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Done, Root};
use crate::audit::verify::{Report, Verdict, verify};
use crate::audit::{KEY_DIRECTORY, keys};

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// Segments, sessions or log roots; the log root of --audit-dir if none is given.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) root: Root,
    /// A file of signed notes that was kept elsewhere: what it says must be in the log.
    #[arg(long, value_name = "NOTE")]
    anchor: Option<PathBuf>,
    /// The host's public key [default: /etc/intercept-sandbox/keys/verifier.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    verdict: Verdict,
    #[serde(flatten)]
    report: &'a Report,
}

impl VerifyArgs {
    /// Those that are named beside the log root.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

pub(super) fn run(arguments: &VerifyArgs, out: &mut impl Write) -> Done {
    if arguments.anchor.is_some() && arguments.paths.len() > 1 {
        return Err("--anchor goes with one PATH".into());
    }
    let key = arguments.key.clone().unwrap_or_else(|| Path::new(KEY_DIRECTORY).join(keys::VERIFIER));
    let verifier = keys::load_verifier(&key)?;
    let root = std::slice::from_ref(&arguments.root.audit_dir);
    let paths = if arguments.paths.is_empty() { root } else { &arguments.paths };
    let mut report = Report::default();
    for path in paths {
        report.merge(verify(path, &verifier, arguments.anchor.as_deref())?);
    }
    if arguments.json {
        serde_json::to_writer(&mut *out, &Json { verdict: report.verdict(), report: &report })?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(u8::from(!matches!(report.verdict(), Verdict::Ok | Verdict::Live)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, Refusal, record_refusal};
    use crate::clock::Now;

    /// A log root with one refused run, and the key that signed it.
    fn log() -> (tempfile::TempDir, VerifyArgs) {
        let home = tempfile::tempdir().unwrap();
        let (audit_dir, keys) = (home.path().join("log"), home.path().join("keys"));
        let refusal = Refusal {
            code: "c",
            text: "t",
            argv: &[],
            policy: "p",
            actor: Actor::default(),
            host: "h",
            rejects_policy: false,
        };
        record_refusal(&audit_dir, &keys, Now { wall_ns: 1, boot_ns: 1 }, &refusal).unwrap();
        let arguments = VerifyArgs {
            paths: Vec::new(),
            root: Root { audit_dir },
            anchor: None,
            key: Some(keys.join(keys::VERIFIER)),
            json: false,
        };
        (home, arguments)
    }

    fn outcome(arguments: &VerifyArgs) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(arguments, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn ok_is_0_and_anything_else_1() {
        let (_home, mut arguments) = log();
        assert_eq!(outcome(&arguments), (0, "ok: 1 session, 2 records\n".into()));
        arguments.json = true;
        let (_, json) = outcome(&arguments);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["verdict"], &json["records"]), (&"ok".into(), &2.into()));

        std::fs::write(arguments.root.audit_dir.join("index.jsonl"), "").unwrap();
        let (code, json) = outcome(&arguments);
        assert_eq!(code, 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["findings"][0]["verdict"], "inserted");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_never_ok() {
        let (home, mut arguments) = log();
        arguments.paths = vec![home.path().join("nowhere")];
        assert!(run(&arguments, &mut Vec::new()).is_err());
        arguments.paths.clear();
        arguments.key = Some(home.path().join("nokey"));
        assert!(run(&arguments, &mut Vec::new()).is_err());
    }
}
