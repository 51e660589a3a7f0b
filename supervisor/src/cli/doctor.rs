//! `intercept-sandbox doctor`: what this host can enforce.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::doctor::{Check, can_run, checks};

/// Arguments of `doctor`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Print one JSON array instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Checks the host and writes the rows to `out`. 0 when every core layer can be had, else 1.
///
/// # Errors
/// Those of writing.
pub fn run(args: Args, out: &mut dyn Write) -> io::Result<ExitCode> {
    let checks = checks();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &checks)?;
        writeln!(out)?;
    } else {
        table(&checks, out)?;
    }
    Ok(ExitCode::from(u8::from(!can_run(&checks))))
}

fn table(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        writeln!(out, "{:width$}  {:8}  {}", check.name, check.state.name(), check.detail)?;
        for (label, text) in [("lost", check.lost), ("fix", check.fix)] {
            if let Some(text) = text {
                writeln!(out, "{:width$}  {:8}    {label}: {text}", "", "")?;
            }
        }
    }
    let verdict = if can_run(checks) { "every core layer can be enforced here" } else { "servers cannot be run here" };
    writeln!(out, "{verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn rows() -> Vec<Check> {
        vec![
            Check { name: "kernel", state: State::Ok, detail: "6.12".to_owned(), lost: None, fix: None },
            Check {
                name: "sudo",
                state: State::Degraded,
                detail: "not found".to_owned(),
                lost: Some("l"),
                fix: Some("f"),
            },
        ]
    }

    fn text(checks: &[Check]) -> String {
        let mut out = Vec::new();
        table(checks, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_says_state_loss_and_fix() {
        let expected = "kernel  ok        6.12\nsudo    degraded  not found\n                    lost: l\n                    fix: f\nevery core layer can be enforced here\n";
        assert_eq!(text(&rows()), expected);
    }

    #[test]
    fn a_missing_row_changes_the_verdict() {
        let mut rows = rows();
        rows[0].state = State::Missing;
        assert!(text(&rows).ends_with("\nservers cannot be run here\n"));
    }

    #[test]
    fn json_has_the_same_words() {
        let json = serde_json::to_string(&rows()).unwrap();
        assert_eq!(
            json,
            r#"[{"name":"kernel","state":"ok","detail":"6.12"},{"name":"sudo","state":"degraded","detail":"not found","lost":"l","fix":"f"}]"#
        );
    }
}
