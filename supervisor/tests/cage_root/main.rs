//! The cage on a real kernel: needs root. Each case launches a server through a helper process (this program again,
//! because a launch needs a process with one thread) and judges by what the host sees.

// This whole target is a test; without the test harness clippy cannot know.
#![allow(clippy::unwrap_used)]

mod cases;
mod launcher;
mod lifecycle;
mod network;
mod programs;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(role) if role == launcher::ROLE => return launcher::main(arguments),
        Some(role) if role == network::ROLE => return network::stub(std::env::args().nth(2)),
        _ => {}
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("cage_root needs root: these cases launch real sandboxes");
        return ExitCode::FAILURE;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = 0;
    for (name, case) in cases::ALL.iter().chain(lifecycle::ALL).chain(programs::ALL) {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        match std::panic::catch_unwind(case) {
            Ok(()) => eprintln!("test {name} ... ok"),
            Err(_) => {
                failed += 1;
                eprintln!("test {name} ... FAILED");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
