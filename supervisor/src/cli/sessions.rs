//! Running sessions: found by their control sockets, asked one line each.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::bounds::CONTROL_REPLY_BYTES_MAX;
use crate::monitor::control_dir::is_session;
use crate::relay::control::{DIRECTORY, Reply, Request, SOCKET, line};

/// Longest wait for one session's reply. It answers between two messages; a synced record may come before it.
const REPLY_WAIT: Duration = Duration::from_secs(5);

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
    let silent = |source| AskError::Silent { session: session.to_owned(), source };
    let mut stream = match UnixStream::connect(Path::new(DIRECTORY).join(session).join(SOCKET)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(silent(source)),
    };
    stream.set_read_timeout(Some(REPLY_WAIT)).map_err(silent)?;
    stream.set_write_timeout(Some(REPLY_WAIT)).map_err(silent)?;
    stream.write_all(&line(request)).map_err(silent)?;
    let mut reply = Vec::new();
    (&stream).take(CONTROL_REPLY_BYTES_MAX).read_to_end(&mut reply).map_err(silent)?;
    if reply.is_empty() {
        return Err(silent(io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_slice(&reply) {
        Ok(reply) => Ok(Some(reply)),
        Err(_) => Err(AskError::Foreign { session: session.to_owned() }),
    }
}
