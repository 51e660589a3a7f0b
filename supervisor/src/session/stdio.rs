//! The three pipes between the relay and the server, and the client's own streams.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{dup2_stderr, pipe2};

use crate::bounds::{SERVER_PIPE_BYTES, STDERR_SOCKET_WAIT_MS};
use crate::relay::Pipes;
use crate::relay::pipes::{Output, Sink, Source, client_streams, output};
use crate::sandbox::launch::LaunchIo;
use crate::trust::Caller;
use crate::weaken;

/// What a caller is told whose stderr could hold us up.
const REFUSED: &str = "standard error is no file, pipe or socket, and no terminal that can be opened again: \
                       whoever holds it could keep the session's clocks standing; send it to a file or a pipe";

/// Both sides of a session's streams.
#[derive(Debug)]
pub(super) struct Stdio {
    /// What the server gets.
    pub(super) server: ServerStdio,
    /// What the relay gets.
    pub(super) pipes: Pipes,
}

/// The server's stdin, stdout and stderr: pipes, never a terminal.
#[derive(Debug)]
pub(super) struct ServerStdio {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Makes our own standard error one that never waits for its reader, here and in every process that is forked from now on: a
/// client that does not read it could otherwise stop us in the middle of an act. A pipe or terminal is opened again, so that
/// O_NONBLOCK stays ours; a socket, which cannot be, gives up after [`STDERR_SOCKET_WAIT_MS`] (what `tracing` says does not wait
/// there at all, `cli::voice`); a file stays as it is. Anything else a caller who is not root himself may keep from taking what we
/// write for as long as he likes, and the clocks and new policies of his session with it.
///
/// That time is the socket's, not our descriptor's: it holds for everybody who shares the socket, a client that kept it included,
/// and is not taken back when we end.
///
/// # Errors
/// As [`output`]; `PermissionDenied` where a caller behind sudo could keep us waiting.
pub(super) fn never_wait_for_a_reader(caller: &Caller) -> io::Result<()> {
    if !weaken::in_force("stderr-nonblocking") {
        return Ok(());
    }
    let stderr = io::stderr();
    match output(stderr.as_fd())? {
        Output::OpenedAgain(again) => dup2_stderr(again)?,
        Output::Socket => {
            setsockopt(&stderr, sockopt::SendTimeout, &TimeVal::milliseconds(STDERR_SOCKET_WAIT_MS))?;
        }
        Output::MayWait if !caller.is_real_root() && weaken::in_force("stderr-kinds") => {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, REFUSED));
        }
        Output::AsItIs | Output::MayWait => {}
    }
    Ok(())
}

impl Stdio {
    /// Makes the pipes and takes over our own stdin, stdout and stderr for the relay.
    ///
    /// # Errors
    /// pipe2(2), or a stream of the client that cannot be opened again.
    pub(super) fn open() -> io::Result<Self> {
        let (stdin, to_server) = pipe2(OFlag::O_CLOEXEC)?;
        let (from_server, stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (errors, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        // A kernel that does not grant it leaves the pipe as it is: the same bytes in more steps.
        let _granted = fcntl(&to_server, FcntlArg::F_SETPIPE_SZ(SERVER_PIPE_BYTES));
        // Our ends: the relay drains them to the last byte when the server is gone, so a read must not wait.
        for end in [&from_server, &errors] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let (client_in, client_out, people) = client_streams()?;
        crate::fault::Stage::Pipes.passed_io()?;
        let pipes = Pipes {
            client_in,
            client_out,
            server_in: Sink::new(to_server)?,
            server_out: Source::new(from_server),
            server_err: Source::new(errors),
            people,
        };
        Ok(Self { server: ServerStdio { stdin, stdout, stderr }, pipes })
    }
}

impl ServerStdio {
    /// The streams together with the namespace that the server will live in.
    pub(super) fn over(self, netns: &OwnedFd) -> LaunchIo<'_> {
        LaunchIo { netns: netns.as_fd(), stdin: self.stdin, stdout: self.stdout, stderr: self.stderr }
    }
}
