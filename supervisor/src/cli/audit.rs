//! `intercept-sandbox audit`: read and verify the log.

mod describe;
mod hash;
mod show;
mod tail;
mod verify;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::DIRECTORY;

/// Read and verify audit logs.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Prove that nothing was edited, removed, reordered, inserted or cut.
    ///
    /// Exit code 0: ok, or live; 1: any other verdict; 2: wrong usage, or something cannot be read.
    Verify(verify::VerifyArgs),
    /// Show the last events, one line each.
    Tail(tail::TailArgs),
    /// Show one record in full.
    Show(show::ShowArgs),
    /// Print the keyed hashes under which a value stands in `mcp.args`: was it sent?
    Hash(hash::HashArgs),
}

/// Where the logs are.
#[derive(Debug, Args)]
struct Root {
    /// Root of the logs.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    audit_dir: PathBuf,
}

/// Runs a command; errors go to stderr.
pub(super) fn run(command: AuditCommand) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match command {
        AuditCommand::Verify(arguments) => verify::run(&arguments, &mut out),
        AuditCommand::Tail(arguments) => tail::run(&arguments, &mut out),
        AuditCommand::Show(arguments) => show::run(&arguments, &mut out),
        AuditCommand::Hash(arguments) => hash::run(&arguments, &mut out),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let how = if is_denied(&*error) { "; the logs are root's: run it with sudo" } else { "" };
            let text = format!("error: {}{how}", crate::report::chain(&*error));
            eprintln!("{}", crate::audit::text::visible(&text));
            ExitCode::from(2)
        }
    }
}

/// Exit code, or what cannot be done.
type Done = Result<u8, Box<dyn Error>>;

/// `audit tail | head` is no failure.
fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether the kernel refused to let us see something, which it does to everyone but root.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error.downcast_ref::<nix::errno::Errno>().copied();
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if errno == Some(nix::errno::Errno::EACCES) || io == Some(io::ErrorKind::PermissionDenied) {
            return !nix::unistd::geteuid().is_root();
        }
        cause = error.source();
    }
    false
}
