//! One file a subcommand: parse, call, format.

pub mod doctor;

use std::process::ExitCode;

/// Runs the command line and returns the exit code of docs/cli.md.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(2)
}
