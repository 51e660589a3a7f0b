//! `intercept-sandbox policy`: check, explain, test, compare, draft and install policies.

mod call;
mod check;
mod diff;
mod explain;
mod file;
mod install;
mod replay;
mod scan;
mod schema;
mod test;

use std::error::Error;
use std::io;
use std::process::ExitCode;

use clap::Subcommand;

/// Check, explain, test, compare, draft and install policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say everything that is wrong with a policy, at once.
    ///
    /// Exit code 0: it loads, perhaps with warnings; 1: it does not; 2: wrong usage, or the file cannot be read.
    Check(check::CheckArgs),
    /// Print the policy as understood; with --call, each rule and condition for one call, and the verdict.
    ///
    /// Exit code 0: printed, and the call would be allowed; 1: it would not be, or the policy does not load; 2: wrong usage.
    Explain(explain::ExplainArgs),
    /// Run cases: calls, and the end that each must have. With --replay, an audit log against a changed policy.
    ///
    /// Exit code 0: all as expected; 1: a case fails or does not load, or a recorded call would end otherwise; 2: wrong usage, or
    /// something cannot be read.
    Test(test::TestArgs),
    /// Say what a change of a policy opens and what it closes, one line each.
    ///
    /// Exit code 0: nothing; 1: something; 2: wrong usage, or a policy cannot be read or does not load.
    Diff(diff::DiffArgs),
    /// Check a policy and copy it to /etc/intercept-sandbox/policies/NAME.yaml, owned by root. Needs root.
    ///
    /// Exit code 0: installed, or already there; 1: it does not load, or another one is there; 2: wrong usage, or not root.
    Install(install::InstallArgs),
    /// Start a server in the strictest sandbox, list its tools and draft a policy. Needs root.
    ///
    /// Exit code 0: drafted; 1: the scan failed; 2: wrong usage, or not root.
    Scan(scan::ScanArgs),
    /// Print the language as a JSON Schema (2020-12), for editors.
    Schema,
}

/// Runs a command. Results go to stdout, what went wrong to stderr.
#[must_use]
pub fn run(command: PolicyCommand) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match command {
        PolicyCommand::Check(arguments) => check::run(&arguments, &mut out),
        PolicyCommand::Explain(arguments) => explain::run(&arguments, &mut out),
        PolicyCommand::Test(arguments) => test::run(&arguments, &mut out),
        PolicyCommand::Diff(arguments) => diff::run(&arguments, &mut out),
        PolicyCommand::Install(arguments) => install::run(&arguments, &mut out),
        PolicyCommand::Scan(arguments) => scan::run(&arguments, &mut out),
        PolicyCommand::Schema => schema::run(&mut out),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("error: {}", crate::report::chain(&*error));
            eprintln!("{}", crate::report::printable(&text));
            ExitCode::from(2)
        }
    }
}

/// Exit code, or what cannot be done.
type Done = Result<u8, Box<dyn Error>>;

/// `policy explain | head` is no failure.
fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
