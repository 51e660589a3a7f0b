//! A client that does not read our stderr: what we say is never worth a wait.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use harness::arena::{self, Arena, ROOT};
use harness::processes::{self, Process};
use harness::wait;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, pipe2};

use super::{end, shell};

/// What stderr may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pipe,
    Socket,
    Terminal,
}

const KINDS: [Kind; 3] = [Kind::Pipe, Kind::Socket, Kind::Terminal];

/// A stderr of that kind, full to the last byte, and the end that nobody reads.
fn full(kind: Kind) -> (OwnedFd, OwnedFd) {
    let (unread, end) = match kind {
        Kind::Pipe => pipe2(OFlag::O_CLOEXEC).expect("a pipe"),
        Kind::Socket => UnixStream::pair().map(|(far, near)| (far.into(), near.into())).expect("a pair"),
        Kind::Terminal => openpty(None, None).map(|pty| (pty.master, pty.slave)).expect("a terminal"),
    };
    (filled(end), unread)
}

/// Writes until nothing more fits; the description is one that waits again, as a client's is.
fn filled(end: OwnedFd) -> OwnedFd {
    let flags = OFlag::from_bits_truncate(fcntl(&end, FcntlArg::F_GETFL).expect("flags"));
    fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("set");
    let mut file = File::from(end);
    for piece in [4096, 1] {
        while file.write(&vec![b'.'; piece]).is_ok() {}
    }
    let end = OwnedFd::from(file);
    fcntl(&end, FcntlArg::F_SETFL(flags)).expect("set");
    end
}

fn start(arena: &Arena, stderr: OwnedFd, script: &str) -> Child {
    let mut command = shell(arena, ", max: 16M", "max: 64", script).to_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts it")]
    command.spawn().expect("it starts")
}

/// The exit code, within the limit. One that hangs is killed, or it would hold the test.
fn code(child: &mut Child) -> Option<i32> {
    let ended = wait::until(wait::COMES_LIMIT, || child.try_wait().expect("a child"));
    if ended.is_none() {
        let _ = child.kill();
    }
    ended.and_then(|status| status.code())
}

#[test]
fn a_folder_over_its_max_ends_the_session_also_where_nobody_reads_stderr() {
    for kind in KINDS {
        arena::run(move |arena| {
            let (stderr, _unread) = full(kind);
            let mut child = start(arena, stderr, "echo hello >&2; head -c 100000000 /dev/zero > /out/f; sleep 100");
            assert_eq!(code(&mut child), Some(124), "{kind:?}");
            assert_eq!(end()["reason"]["code"], "write_limit", "{kind:?}: {:#?}", end());
        });
    }
}

#[test]
fn a_session_whose_janitor_is_killed_ends_also_where_nobody_reads_stderr() {
    for kind in KINDS {
        arena::run(move |arena| {
            let (stderr, _unread) = full(kind);
            let mut child = start(arena, stderr, "sleep 100");
            assert!(ours(&child, "isb-janitor").signal(Signal::SIGKILL), "{kind:?}: it runs");
            assert_eq!(code(&mut child), Some(124), "{kind:?}");
            assert_eq!(end()["reason"]["code"], "janitor_died", "{kind:?}: {:#?}", end());
        });
    }
}

/// Opened again by us, who are root, it would be written where the caller may only read it, or only name it.
#[test]
fn a_pipe_that_the_caller_may_not_write_is_no_stderr() {
    for flags in [OFlag::O_RDONLY | OFlag::O_NONBLOCK, OFlag::O_PATH] {
        arena::run(move |arena| {
            let path = Path::new(ROOT).join("fifo");
            mkfifo(&path, Mode::S_IRUSR).expect("root can make it");
            let mut reader = File::from(open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).expect("read"));
            let stderr = open(&path, flags, Mode::empty()).expect("it is there");
            let mut child = start(arena, stderr, "echo from the server >&2");
            assert_eq!(code(&mut child), Some(125), "{flags:?}");
            let mut written = Vec::new();
            reader.read_to_end(&mut written).expect("nobody holds it open for writing any more");
            assert_eq!(String::from_utf8_lossy(&written), "", "{flags:?}");
        });
    }
}

#[test]
fn a_relay_that_hangs_is_ended_also_where_nobody_reads_stderr() {
    arena::run(|arena| {
        let (stderr, _unread) = full(Kind::Pipe);
        let mut child = start(arena, stderr, "echo up; sleep 100");
        let mut answer = [0; 1];
        assert!(ours(&child, "isb-relay").signal(Signal::SIGSTOP), "it runs");
        drop(child.stdin.take());
        assert_eq!(code(&mut child), Some(124));
        assert_eq!(end()["reason"]["code"], "relay_silent", "{:#?}", end());
        let _end_of_file = child.stdout.take().expect("piped").read(&mut answer);
    });
}

/// One of our processes, by its name, when the server runs: what is no message is not passed on, so it is seen on the host.
fn ours(child: &Child, name: &str) -> Process {
    let look = || {
        processes::tree(child.id())
            .into_iter()
            .find(|process| process.status("Name").as_deref() == Some(name) && running(child.id()))
    };
    wait::until(wait::COMES_LIMIT, look).unwrap_or_else(|| panic!("no {name}"))
}

/// Whether the server of the script runs: its `sleep` does.
fn running(supervisor: u32) -> bool {
    processes::tree(supervisor)
        .iter()
        .any(|process| process.arguments().first().is_some_and(|word| word.ends_with("sleep")))
}
