//! `intercept-sandbox audit`: read and verify the log.

mod describe;
mod hash;
mod show;
mod tail;
mod verify;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::DIRECTORY;
use crate::trust::{self, Caller};

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
pub(super) struct Root {
    /// Root of the logs.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    audit_dir: PathBuf,
}

/// Runs a command; errors go to stderr.
pub(super) fn run(command: AuditCommand) -> ExitCode {
    let mut out = io::stdout().lock();
    let caller = Caller::discover(&std::env::vars_os().collect::<Vec<_>>());
    let done = match command.check_roots(&caller).map(|()| command) {
        Err(error) => Err(error.into()),
        Ok(command) => command.run(&mut out),
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

/// Behind sudo, of a log that is not root's alone: whatever is wrong with its path, in one form.
#[derive(Debug, thiserror::Error)]
#[error("behind sudo only logs are read that stand in folders which root alone can write, and this is none: {}", .0.display())]
struct NotRoots(PathBuf);

impl AuditCommand {
    /// A caller behind sudo has root read what he names. What he could have made himself (a folder with links in the place of segments)
    /// would show him any file of root's.
    fn check_roots(&self, caller: &Caller) -> Result<(), NotRoots> {
        if caller.uid != 0 || caller.is_real_root() || !crate::weaken::in_force("log-roots") {
            return Ok(());
        }
        let (root, paths) = match self {
            Self::Verify(arguments) => (&arguments.root, arguments.paths()),
            Self::Tail(arguments) => (&arguments.root, &[][..]),
            Self::Show(arguments) => (&arguments.root, &[][..]),
            Self::Hash(_) => return Ok(()),
        };
        let is_named = root.audit_dir != Path::new(DIRECTORY);
        for path in is_named.then_some(&root.audit_dir).into_iter().chain(paths) {
            let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
            trust::check_directory(folder).map_err(|_| NotRoots(path.clone()))?;
        }
        Ok(())
    }

    fn run(self, out: &mut impl io::Write) -> Done {
        match self {
            Self::Verify(arguments) => verify::run(&arguments, out),
            Self::Tail(arguments) => tail::run(&arguments, out),
            Self::Show(arguments) => show::run(&arguments, out),
            Self::Hash(arguments) => hash::run(&arguments, out),
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
