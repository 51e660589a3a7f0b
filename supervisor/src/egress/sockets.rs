//! Opens the sockets of the server's namespace: non-blocking, close-on-exec, without `SO_REUSEADDR`, so that a port that is
//! taken is an error and never shared.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, socket};

use crate::bounds::LISTEN_BACKLOG;

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{call} {address}")]
pub struct SocketError {
    /// The call that failed.
    pub call: &'static str,
    /// Where.
    pub address: SocketAddrV4,
    /// Its errno.
    #[source]
    pub errno: Errno,
}

/// A TCP listener; port 0 takes a free one.
///
/// # Errors
/// When a call fails.
pub fn listen(address: Ipv4Addr, port: u16) -> Result<TcpListener, SocketError> {
    let address = SocketAddrV4::new(address, port);
    let socket = bound(address, SockType::Stream)?;
    Backlog::new(LISTEN_BACKLOG)
        .and_then(|backlog| nix::sys::socket::listen(&socket, backlog))
        .map_err(|errno| SocketError { call: "listen", address, errno })?;
    Ok(TcpListener::from(socket))
}

/// A UDP socket.
///
/// # Errors
/// When a call fails.
pub fn datagrams(address: Ipv4Addr, port: u16) -> Result<UdpSocket, SocketError> {
    bound(SocketAddrV4::new(address, port), SockType::Datagram).map(UdpSocket::from)
}

fn bound(address: SocketAddrV4, kind: SockType) -> Result<OwnedFd, SocketError> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, kind, flags, None).map_err(|errno| SocketError {
        call: "socket",
        address,
        errno,
    })?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(address)).map_err(|errno| SocketError {
        call: "bind",
        address,
        errno,
    })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_non_blocking_and_a_taken_port_is_an_error() {
        let one = listen(Ipv4Addr::LOCALHOST, 0).unwrap();
        assert_eq!(one.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let port = one.local_addr().unwrap().port();
        assert_eq!(listen(Ipv4Addr::LOCALHOST, port).unwrap_err().errno, Errno::EADDRINUSE);
        let udp = datagrams(Ipv4Addr::LOCALHOST, 0).unwrap();
        assert_eq!(udp.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
