//! Running sessions: found by their control sockets, asked one line each.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, socket};

use crate::bounds::CONTROL_REPLY_BYTES_MAX;
use crate::clock;
use crate::monitor::control_dir::is_session;
use crate::relay::control::{DIRECTORY, Reply, Request, SOCKET, line};

/// Longest wait for the replies of all sessions that are asked together, milliseconds. Each answers between two messages; a
/// synced record may come before it.
const REPLY_WAIT_MS: u64 = 5_000;

/// Why a session could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The sockets are root's.
    #[error("only root can see and decide what sessions ask: run it with sudo")]
    NotRoot,
    /// The directory of the sockets.
    #[error("{DIRECTORY} cannot be read")]
    Directory(#[source] io::Error),
    /// It did not answer in time, or ended meanwhile.
    #[error("session {session} does not answer")]
    Silent {
        /// Which.
        session: String,
        /// Why.
        source: io::Error,
    },
    /// It answered something that this program does not know.
    #[error("session {session} runs another version of this program")]
    Foreign {
        /// Which.
        session: String,
    },
}

/// The names of all sessions that have a socket, sorted. Those of the dead are among them until they are swept.
///
/// # Errors
/// Not root, or the directory cannot be read.
pub(super) fn all() -> Result<Vec<String>, AskError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(AskError::NotRoot);
    }
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(AskError::Directory(source)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut sessions: Vec<String> = names.filter(|name| is_session(name)).collect();
    sessions.sort();
    Ok(sessions)
}

/// Asks one session. None when it is dead: nobody listens any more.
///
/// # Errors
/// It does not answer, or not in our words.
pub(super) fn ask(session: &str, request: &Request) -> Result<Option<Reply>, AskError> {
    ask_in(Path::new(DIRECTORY), session, request, deadline_ns(REPLY_WAIT_MS))
}

/// Asks each session at the same time, under one deadline: one that hangs takes no time from the others, and many that hang
/// take no longer than one. Answers in the order of `sessions`.
pub(super) fn ask_all(sessions: &[String], request: &Request) -> Vec<Result<Option<Reply>, AskError>> {
    ask_all_in(Path::new(DIRECTORY), sessions, request, deadline_ns(REPLY_WAIT_MS))
}

fn deadline_ns(wait_ms: u64) -> u64 {
    clock::now().boot_ns.saturating_add(wait_ms * 1_000_000)
}

fn ask_all_in(
    directory: &Path,
    sessions: &[String],
    request: &Request,
    deadline_ns: u64,
) -> Vec<Result<Option<Reply>, AskError>> {
    thread::scope(|scope| {
        let begin = |session: &String| {
            let session = session.clone();
            let name = session.clone();
            let asking = move || ask_in(directory, &session, request, deadline_ns);
            thread::Builder::new()
                .spawn_scoped(scope, asking)
                .map_err(|source| AskError::Silent { session: name, source })
        };
        let asking: Vec<_> = sessions.iter().map(begin).collect();
        let end = |asking: Result<thread::ScopedJoinHandle<'_, _>, AskError>| match asking?.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        asking.into_iter().map(end).collect()
    })
}

fn ask_in(directory: &Path, session: &str, request: &Request, deadline_ns: u64) -> Result<Option<Reply>, AskError> {
    let silent = |error: io::Error| {
        let source = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::other("no answer in time"),
            _ => error,
        };
        AskError::Silent { session: session.to_owned(), source }
    };
    let stream = match connect(&directory.join(session).join(SOCKET), deadline_ns) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(silent(source)),
    };
    let reply = exchange(stream, &line(request), deadline_ns).map_err(silent)?;
    match serde_json::from_slice(&reply) {
        Ok(reply) => Ok(Some(reply)),
        Err(_) => Err(AskError::Foreign { session: session.to_owned() }),
    }
}

/// Connects, at the latest at the deadline: a listener whose queue is full makes connect(2) wait as SO_SNDTIMEO says.
fn connect(path: &Path, deadline_ns: u64) -> io::Result<UnixStream> {
    let stream = UnixStream::from(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
    stream.set_write_timeout(Some(left(deadline_ns)?))?;
    socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream)
}

/// Sends the request, which fits any socket's buffer, and reads until the session hangs up. Whoever answers a byte at a time
/// does not outlast the deadline either.
fn exchange(mut stream: UnixStream, request: &[u8], deadline_ns: u64) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(left(deadline_ns)?))?;
    stream.write_all(request)?;
    let (mut reply, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        stream.set_read_timeout(Some(left(deadline_ns)?))?;
        match stream.read(&mut chunk) {
            Ok(0) if reply.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(reply),
            Ok(length) => reply.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if reply.len() > CONTROL_REPLY_BYTES_MAX {
            return Err(io::Error::other("its reply is too long"));
        }
    }
}

/// The time that is left, rounded up: zero would mean no timeout to the kernel.
fn left(deadline_ns: u64) -> io::Result<Duration> {
    match deadline_ns.saturating_sub(clock::now().boot_ns).div_ceil(1_000_000) {
        0 => Err(io::ErrorKind::TimedOut.into()),
        left_ms => Ok(Duration::from_millis(left_ms)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn listener(&self, session: &str) -> UnixListener {
            fs::create_dir(self.0.path().join(session)).unwrap();
            UnixListener::bind(self.0.path().join(session).join(SOCKET)).unwrap()
        }

        fn ask_all(&self, sessions: &[&str], wait_ms: u64) -> (Vec<Result<Option<Reply>, AskError>>, u64) {
            let sessions: Vec<String> = sessions.iter().map(|&session| session.to_owned()).collect();
            let begun_ns = clock::now().boot_ns;
            let answers = ask_all_in(self.0.path(), &sessions, &Request::List {}, deadline_ns(wait_ms));
            (answers, (clock::now().boot_ns - begun_ns) / 1_000_000)
        }
    }

    /// Answers one question.
    fn serve(listener: UnixListener) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.read_exact(&mut vec![0; line(&Request::List {}).len()]).unwrap();
            peer.write_all(&line(&Reply::Listed(Vec::new()))).unwrap();
        })
    }

    #[test]
    fn sessions_that_hang_cost_one_deadline_together_and_hide_nobody() {
        const WAIT_MS: u64 = 1_000;
        let place = Place::new();
        // The kernel accepts for these; they never say a word.
        let _hung: Vec<UnixListener> = ["a", "b", "c", "d"].iter().map(|name| place.listener(name)).collect();
        let served = serve(place.listener("e"));
        drop(place.listener("f"));
        let (answers, took_ms) = place.ask_all(&["a", "b", "c", "d", "e", "f", "absent"], WAIT_MS);
        assert!((WAIT_MS..2 * WAIT_MS).contains(&took_ms), "{took_ms} ms");
        for (name, answer) in ["a", "b", "c", "d"].iter().zip(&answers) {
            assert!(matches!(answer, Err(AskError::Silent { session, .. }) if session == name), "{answer:?}");
        }
        assert!(matches!(&answers[4], Ok(Some(Reply::Listed(listed))) if listed.is_empty()), "{:?}", answers[4]);
        assert!(matches!(answers[5..], [Ok(None), Ok(None)]), "nobody listens: dead");
        served.join().unwrap();
    }

    #[test]
    fn a_listener_whose_queue_is_full_does_not_hold_the_command() {
        let place = Place::new();
        let listener = place.listener("a");
        let path = place.0.path().join("a").join(SOCKET);
        // listen(2) once more sets another length: the kernel queues one more than it says.
        socket::listen(&listener, socket::Backlog::new(0).unwrap()).unwrap();
        let _queued: Vec<_> = (0..4).map_while(|_| connect(&path, deadline_ns(50)).ok()).collect();
        let (answers, took_ms) = place.ask_all(&["a"], 200);
        assert!(matches!(answers[..], [Err(AskError::Silent { .. })]), "{answers:?}");
        assert!((200..2_000).contains(&took_ms), "{took_ms} ms");
    }

    #[test]
    fn who_answers_a_byte_at_a_time_or_without_end_does_not_outlast_the_deadline() {
        for chunk in [&[b' '; 1][..], &[b' '; 1 << 16]] {
            let place = Place::new();
            let listener = place.listener("a");
            let drip = thread::spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                while peer.write_all(chunk).is_ok() {
                    if chunk.len() == 1 {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            });
            let (answers, took_ms) = place.ask_all(&["a"], 1_000);
            assert!(matches!(answers[..], [Err(AskError::Silent { .. })]), "{answers:?}");
            assert!(took_ms < 2_000, "{took_ms} ms");
            drip.join().unwrap();
        }
    }
}
