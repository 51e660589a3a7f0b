//! `under-filter CMD [ARG...]`: the server's seccomp filter and nothing else, then the command. For the tests that real
//! runtimes work under it, and for finding with strace(1) what a new one needs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use intercept_sandbox::sandbox::seccomp::Filter;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: under-filter CMD [ARG...]");
        return ExitCode::from(2);
    };
    let filter = match Filter::workload() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("under-filter: {error}");
            return ExitCode::from(125);
        }
    };
    if let Err(errno) = nix::sys::prctl::set_no_new_privs().and_then(|()| filter.install()) {
        eprintln!("under-filter: {errno}");
        return ExitCode::from(125);
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("under-filter: {error}");
    ExitCode::from(126)
}
