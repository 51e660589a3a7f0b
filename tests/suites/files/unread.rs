//! A client that does not read our stderr: what we say is never worth a wait.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use harness::arena::{self, Arena};
use harness::{processes, wait};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use super::{end, shell};

/// A stderr of each kind, full to the last byte, and the end that nobody reads.
fn full() -> [(&'static str, OwnedFd, OwnedFd); 2] {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    let (far, near) = UnixStream::pair().expect("a pair");
    [("pipe", filled(writer), reader), ("socket", filled(near.into()), far.into())]
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
    for kind in [0, 1] {
        arena::run(move |arena| {
            let [pipe, socket] = full();
            let (kind, stderr, _unread) = if kind == 0 { pipe } else { socket };
            let mut child = start(arena, stderr, "echo hello >&2; head -c 100000000 /dev/zero > /out/f; sleep 100");
            assert_eq!(code(&mut child), Some(124), "{kind}");
            assert_eq!(end()["reason"]["code"], "write_limit", "{kind}: {:#?}", end());
        });
    }
}

#[test]
fn a_relay_that_hangs_is_ended_also_where_nobody_reads_stderr() {
    arena::run(|arena| {
        let [(_, stderr, _unread), _] = full();
        let mut child = start(arena, stderr, "echo up; sleep 100");
        let mut answer = [0; 1];
        // What is no message is not passed on; that the relay stands is seen on the host.
        let relay = wait::until(wait::COMES_LIMIT, || {
            processes::tree(child.id())
                .into_iter()
                .find(|process| process.status("Name").as_deref() == Some("isb-relay") && running(child.id()))
        });
        assert!(relay.expect("a relay").signal(Signal::SIGSTOP), "it runs");
        drop(child.stdin.take());
        assert_eq!(code(&mut child), Some(124));
        assert_eq!(end()["reason"]["code"], "relay_silent", "{:#?}", end());
        let _end_of_file = child.stdout.take().expect("piped").read(&mut answer);
    });
}

/// Whether the server of the script runs: its `sleep` does.
fn running(supervisor: u32) -> bool {
    processes::tree(supervisor)
        .iter()
        .any(|process| process.arguments().first().is_some_and(|word| word.ends_with("sleep")))
}
