//! accept(2) that tells the failure of one connection from the failure of the listener.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long accepting pauses when there is no descriptor or memory for another connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// The next connection.
///
/// # Errors
/// When the listener itself has failed. What accept(2) reports about a single connection, and a shortage that will pass, are waited out.
pub async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            Err(error) => error,
        };
        match error.raw_os_error().map(Errno::from_raw) {
            // accept(2), NOTES: pending network errors of the new socket are passed on and are to be retried.
            Some(
                Errno::ECONNABORTED
                | Errno::EINTR
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH,
            ) => {}
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => sleep(SHORTAGE_PAUSE).await,
            _ => return Err(error),
        }
    }
}
