//! One file a subcommand: parse, call, format. People's output leaves the program here and in report/ alone.

pub mod approvals;
pub mod audit;
pub mod doctor;
pub mod pins;
pub mod policy;
mod reload;
pub mod run;
mod sessions;
mod voice;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::prctl::set_timerslack;

use crate::sandbox::{cgroup, rlimits};
use crate::sys::process::{disarm_timers, refuse_stops};
use crate::trust::Caller;

/// Exit code of every command but `run` for a wrong command line.
const EXIT_USAGE: u8 = 2;
/// Exit code of `run` when nothing was started.
pub const EXIT_NOT_SET_UP: u8 = 125;

/// Runs an MCP server in a sandbox and enforces a policy on every message.
#[derive(Debug, Parser)]
#[command(name = "intercept-sandbox", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an MCP server under a policy; JSON-RPC on stdin and stdout.
    Run(run::RunArgs),
    /// Check, explain and install policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Decide calls that wait for a person.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// The definitions of tools that are pinned; approve a changed one.
    #[command(subcommand)]
    Pins(pins::PinsCommand),
    /// The running sessions.
    Status(approvals::StatusArgs),
    /// Read and verify audit logs.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Let running sessions read their policy files again; prints what came of it. Needs root.
    ///
    /// Exit code 0: each runs the policy of its file; 1: one does not; 2: wrong usage, or not root.
    Reload(reload::ReloadArgs),
    /// What this host can enforce, each by really trying.
    Doctor(doctor::Args),
    /// Print the version.
    Version,
}

impl Command {
    /// Behind sudo, for what takes locks that sessions wait for: the owner of the cgroup in which we were called could stop us with one.
    /// `run` does it itself, once it knows that it will start something.
    fn leave_the_callers_cgroup(&self) -> Result<(), cgroup::CgroupError> {
        match self {
            Self::Approvals(_) | Self::Pins(_) | Self::Status(_) | Self::Audit(_) | Self::Reload(_) => {}
            Self::Policy(_) | Self::Run(_) | Self::Doctor(_) | Self::Version => return Ok(()),
        }
        let caller = Caller::discover(&std::env::vars_os().collect::<Vec<_>>());
        if caller.uid != 0 || caller.is_real_root() || !crate::weaken::in_force("callers-cgroup") {
            return Ok(());
        }
        cgroup::leave_the_callers()
    }
}

/// [`Cli`] with `run` alone. Every launch waits for its parser, and that of all commands takes longer to build than a policy to read.
#[derive(Debug, Parser)]
#[command(name = "intercept-sandbox")]
struct RunOnly {
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    Run(run::RunArgs),
}

/// Runs the command line and returns the exit code of docs/cli.md.
#[must_use]
pub fn main() -> ExitCode {
    tell_on_stderr();
    if let Err(error) = take_leave_of_the_terminal() {
        tracing::error!("{error}");
        return ExitCode::from(EXIT_NOT_SET_UP);
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let is_run = arguments.get(1).is_some_and(|word| word == "run");
    let command = match parse(arguments, is_run) {
        Ok(command) => command,
        Err(error) => return usage(&error, is_run),
    };
    if let Err(error) = command.leave_the_callers_cgroup() {
        tracing::error!("the caller's cgroup cannot be left: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Policy(command) => policy::run(command),
        Command::Approvals(command) => approvals::run(command),
        Command::Pins(command) => pins::run(&command),
        Command::Status(arguments) => approvals::status(arguments),
        Command::Audit(command) => audit::run(command),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Doctor(arguments) => match doctor::run(arguments, &mut std::io::stdout()) {
            Ok(code) => code,
            // A closed stdout leaves no one to tell.
            Err(_) => ExitCode::FAILURE,
        },
        Command::Version => version(),
    }
}

/// How much later than asked a clock of ours may ring, nanoseconds: what a program has by itself (PR_SET_TIMERSLACK, prctl(2)). A caller
/// can leave us any, up to centuries, and no wall time, no grace and no timeout would ever come.
const TIMER_SLACK_NS: u64 = 50_000;

/// Before anything else: whoever called us from a terminal cannot stop us at an open lock, nor have a core file of what root has read,
/// nor put off our clocks, nor have left us one that ends us.
fn take_leave_of_the_terminal() -> Result<(), Box<dyn std::error::Error>> {
    disarm_timers()?;
    refuse_stops()?;
    if crate::weaken::in_force("callers-slack") {
        set_timerslack(TIMER_SLACK_NS).map_err(std::io::Error::from)?;
    }
    if crate::weaken::in_force("callers-core") {
        rlimits::refuse_cores()?;
    }
    Ok(())
}

/// What the small parser does not take, help and every mistake, is for the whole one to answer.
fn parse(arguments: Vec<OsString>, is_run: bool) -> Result<Command, clap::Error> {
    if is_run && let Ok(RunOnly { command: RunCommand::Run(arguments) }) = RunOnly::try_parse_from(&arguments) {
        return Ok(Command::Run(arguments));
    }
    Cli::try_parse_from(arguments).map(|cli| cli.command)
}

/// What the program has to say while it runs goes to stderr, one line each; quiet unless something is wrong.
fn tell_on_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(voice::Voice::new())
        .log_internal_errors(false) // it would say so on the stderr that cannot be written
        .with_max_level(tracing::Level::WARN)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .finish();
    // Set once, here; a second set could only be a test's.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Help and version are answers (0); anything else is a wrong command line: 125 for `run`, else 2.
fn usage(error: &clap::Error, is_run: bool) -> ExitCode {
    // A closed stdout or stderr leaves no one to tell.
    let _ = error.print();
    match (error.exit_code(), is_run) {
        (0, _) => ExitCode::SUCCESS,
        (_, true) => ExitCode::from(EXIT_NOT_SET_UP),
        (_, false) => ExitCode::from(EXIT_USAGE),
    }
}

fn version() -> ExitCode {
    match writeln!(std::io::stdout(), "intercept-sandbox {}", env!("CARGO_PKG_VERSION")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_parser_takes_what_the_whole_one_takes_and_reads_it_alike() {
        let lines: [&[&str]; 8] = [
            &["-c", "p.yaml", "--", "node", "-x", "--config"],
            &["--profile", "p", "--dry-run", "--observe"],
            &["--config=p.yaml", "--state-dsn", "redis://h", "--connect-to", "a:1:b:2", "--", "run", "run"],
            &["-cp.yaml", "node", "--help"],
            &["--help"],
            &["-c", "p.yaml", "--profile", "p"],
            &["-c", "p.yaml", "--no-such-flag", "--", "node"],
            &[],
        ];
        for line in lines {
            let words: Vec<OsString> = ["intercept-sandbox", "run"].iter().chain(line).map(OsString::from).collect();
            let whole = Cli::try_parse_from(&words);
            let small = RunOnly::try_parse_from(&words);
            match (&whole, &small) {
                (Ok(Cli { command: Command::Run(whole) }), Ok(RunOnly { command: RunCommand::Run(small) })) => {
                    assert_eq!(format!("{whole:?}"), format!("{small:?}"));
                }
                (Err(_), Err(_)) => {}
                _ => panic!("{line:?}: {whole:?}, {small:?}"),
            }
            let (said, whole) = (parse(words, true), whole.map(|cli| cli.command));
            assert_eq!(format!("{said:?}"), format!("{whole:?}"), "{line:?}");
        }
    }
}
