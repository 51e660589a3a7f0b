//! `sockets_of PID`: takes a copy of every socket of a process (pidfd_getfd(2)), says how many, and keeps them until its stdin
//! ends: what a process that was taken over has handed to another before it died.

#![allow(unsafe_code, reason = "nix has no pidfd_getfd; this program is no part of the product")]

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::unistd::Pid;

fn main() -> ExitCode {
    match std::env::args().nth(1).and_then(|pid| pid.parse().ok()).map(copies) {
        Some(Ok(held)) => {
            let _ = writeln!(std::io::stdout(), "held {}", held.len());
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("sockets_of: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::from(2),
    }
}

fn copies(pid: i32) -> std::io::Result<Vec<OwnedFd>> {
    let process = intercept_sandbox::sys::pidfd::open(Pid::from_raw(pid))?;
    let mut held = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        if let Some(number) = number.filter(|_| is_socket) {
            // SAFETY: plain integers.
            let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
            let copy = RawFd::try_from(Errno::result(copy)?).map_err(std::io::Error::other)?;
            // SAFETY: a new descriptor that nobody else owns.
            held.push(unsafe { OwnedFd::from_raw_fd(copy) });
        }
    }
    Ok(held)
}
