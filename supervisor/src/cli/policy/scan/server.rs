//! The scanned run as a child of ours.
//!
//! What is executed is our own program, by /proc/self/exe, so that nothing can be put in its place meanwhile. The server itself is
//! started by that program's sandbox/launch, the only place that starts foreign code; here is a fork and an exec of ourselves.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, execv, pipe2};

use super::client::Line;
use super::error::ScanError;
use crate::bounds::{SCAN_BYTES_MAX, SCAN_END_WAIT_MS, SCAN_LINE_BYTES_MAX, SCAN_STDERR_BYTES_MAX};
use crate::clock;
use crate::monitor::signals::Signals;
use crate::sys::fds::{self, OnExec};
use crate::sys::{pidfd, process};
use crate::wire::frame::{Frame, FrameSplitter};

/// The running `run`, our ends of its pipes, and the time it has.
#[derive(Debug)]
pub(super) struct Server {
    pidfd: OwnedFd,
    signals: Signals,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    splitter: FrameSplitter,
    lines: VecDeque<Vec<u8>>,
    read_bytes: usize,
    said: Vec<u8>,
    deadline_ns: u64,
    seconds: u64,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code, or 128 + n for signal n.
    pub(super) code: i32,
    /// The last of what it wrote to stderr.
    pub(super) said: String,
}

/// What woke us.
enum Woken {
    Progress,
    Signal,
    Ended,
    Late,
}

impl Server {
    /// Starts our own program with `arguments` (the first is its name).
    ///
    /// # Errors
    /// When a pipe, a signal descriptor or the process cannot be had.
    pub(super) fn start<'a>(arguments: impl Iterator<Item = &'a [u8]>, seconds: u64) -> Result<Self, ScanError> {
        let cannot = |what| move |errno| ScanError::Start(what, errno);
        let arguments: Result<Vec<CString>, _> = arguments.map(CString::new).collect();
        let arguments = arguments.map_err(|_| ScanError::Word)?;
        let signals = Signals::block().map_err(|error| cannot("block signals")(process::errno_of(&error)))?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(cannot("make a pipe"));
        let ((its_stdin, stdin), (stdout, its_stdout), (stderr, its_stderr)) = (pipe()?, pipe()?, pipe()?);
        let child = match process::fork().map_err(cannot("start a process"))? {
            process::Fork::Child => become_run([its_stdin.as_fd(), its_stdout.as_fd(), its_stderr.as_fd()], &arguments),
            process::Fork::Parent(child) => child,
        };
        let deadline_ns = clock::now().boot_ns.saturating_add(seconds * 1_000_000_000);
        Ok(Self {
            pidfd: open_pidfd(child)?,
            signals,
            stdin: Some(stdin.into()),
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
            splitter: FrameSplitter::new(SCAN_LINE_BYTES_MAX),
            lines: VecDeque::new(),
            read_bytes: 0,
            said: Vec::new(),
            deadline_ns,
            seconds,
        })
    }

    /// Closes its stdin, which is a complete shutdown, and waits for its end; one that does not end is killed, and what is left of
    /// it is the janitor's.
    ///
    /// # Errors
    /// When it had to be killed.
    pub(super) fn end(mut self) -> Result<Ended, ScanError> {
        self.stdin = None;
        for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
            if let Some(signal) = signal {
                pidfd::signal(self.pidfd.as_fd(), signal).map_err(|errno| ScanError::Start("signal the run", errno))?;
            }
            if self.ends_within(SCAN_END_WAIT_MS)? {
                let status = pidfd::reap(self.pidfd.as_fd());
                let code = match status.map_err(|errno| ScanError::Start("wait for the run", errno))? {
                    WaitStatus::Exited(_, code) => code,
                    WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
                    _ => -1,
                };
                let killed = signal == Some(Signal::SIGKILL);
                let said = String::from_utf8_lossy(&self.said).into_owned();
                return if killed { Err(ScanError::Stuck) } else { Ok(Ended { code, said }) };
            }
        }
        Err(ScanError::Stuck)
    }

    /// Reads on, so that nothing of it waits for us, until it has ended or time is up.
    fn ends_within(&mut self, wait_ms: u64) -> Result<bool, ScanError> {
        let deadline_ns = clock::now().boot_ns.saturating_add(wait_ms * 1_000_000);
        loop {
            match self.wait(deadline_ns)? {
                Woken::Progress | Woken::Signal => self.lines.clear(),
                Woken::Ended => return Ok(true),
                Woken::Late => return Ok(false),
            }
        }
    }

    /// Waits for the next thing to happen and takes it in. The end is told only when everything that was written has been read.
    fn wait(&mut self, deadline_ns: u64) -> Result<Woken, ScanError> {
        let left_ns = deadline_ns.saturating_sub(clock::now().boot_ns);
        let timeout = PollTimeout::try_from(left_ns.div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
        let stdout = self.stdout.as_ref().map(|stdout| PollFd::new(stdout.as_fd(), PollFlags::POLLIN));
        let stderr = self.stderr.as_ref().map(|stderr| PollFd::new(stderr.as_fd(), PollFlags::POLLIN));
        let has_stdout = stdout.is_some();
        let always = [self.signals.fd(), self.pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut polled: Vec<PollFd<'_>> = always.into_iter().chain(stdout).chain(stderr).collect();
        match poll(&mut polled, timeout) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Woken::Progress),
            Err(errno) => return Err(ScanError::Start("wait for the server", errno)),
        }
        let woke: Vec<bool> = polled.iter().map(|fd| fd.any() == Some(true)).collect();
        let (signalled, ended) = (woke[0], woke[1]);
        let from_stdout = has_stdout && woke[2];
        let from_stderr = woke.get(2 + usize::from(has_stdout)) == Some(&true);
        if from_stdout {
            self.read_stdout();
        }
        if from_stderr {
            self.read_stderr();
        }
        if signalled && !matches!(self.signals.next(), Ok(None)) {
            return Ok(Woken::Signal);
        }
        Ok(if ended && !from_stdout && !from_stderr { Woken::Ended } else { Woken::Progress })
    }

    /// Reads once. Over the bound the rest is dropped, and `receive` says so.
    fn read_stdout(&mut self) {
        let length = self.stdout.as_mut().and_then(|stdout| stdout.read(self.splitter.room()).ok()).unwrap_or(0);
        if length == 0 {
            self.stdout = None;
        }
        self.splitter.filled(length);
        self.read_bytes = self.read_bytes.saturating_add(length);
        while let Some(frame) = self.splitter.next() {
            match frame {
                Frame::Line(line) if self.read_bytes <= SCAN_BYTES_MAX => self.lines.push_back(line.to_vec()),
                Frame::Line(_) | Frame::TooLong(_) => self.read_bytes = usize::MAX,
            }
        }
    }

    /// Reads once and keeps the last of it.
    fn read_stderr(&mut self) {
        let mut chunk = vec![0; 16 << 10];
        let length = self.stderr.as_mut().and_then(|stderr| stderr.read(&mut chunk).ok()).unwrap_or(0);
        if length == 0 {
            self.stderr = None;
        }
        self.said.extend_from_slice(&chunk[..length]);
        let over = self.said.len().saturating_sub(SCAN_STDERR_BYTES_MAX);
        self.said.drain(..over);
    }
}

impl Line for Server {
    fn send(&mut self, line: &[u8], method: &'static str) -> Result<(), ScanError> {
        let whole = [line, b"\n"].concat();
        // Never waits: all requests of a scan together are less than a pipe and the relay's backlog hold.
        match self.stdin.as_mut().map(|stdin| stdin.write_all(&whole)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(ScanError::Gone { method }),
        }
    }

    fn receive(&mut self, method: &'static str) -> Result<Vec<u8>, ScanError> {
        loop {
            if self.read_bytes > SCAN_BYTES_MAX {
                return Err(ScanError::TooMuch);
            }
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            match self.wait(self.deadline_ns)? {
                _ if self.stdout.is_none() && self.lines.is_empty() => return Err(ScanError::Gone { method }),
                Woken::Progress => {}
                Woken::Signal => return Err(ScanError::Interrupted),
                Woken::Ended => return Err(ScanError::Gone { method }),
                Woken::Late => return Err(ScanError::Silent { method, seconds: self.seconds }),
            }
        }
    }
}

/// A child that cannot be watched is not kept.
fn open_pidfd(child: Pid) -> Result<OwnedFd, ScanError> {
    pidfd::open(child).map_err(|errno| {
        // Its pipes close with ours, which ends it; the signal is for the case that it hangs before it reads.
        let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
        ScanError::Start("watch the run", errno)
    })
}

/// In the child: the pipes become its standard streams, nothing else of ours stays open, and it is `run`.
fn become_run(streams: [BorrowedFd<'_>; 3], arguments: &[CString]) -> ! {
    let placed = streams.map(|fd| (fd, OnExec::Keep));
    let ready = fds::place(&placed).and_then(|()| process::reset_signals());
    if ready.is_ok() {
        // Every other descriptor is close-on-exec: Rust opens none otherwise, and we were started with three.
        let _ = fds::close_from(3).and_then(|()| execv(c"/proc/self/exe", arguments).map(|_| ()));
    }
    process::exit_now(i32::from(crate::cli::EXIT_NOT_SET_UP))
}
