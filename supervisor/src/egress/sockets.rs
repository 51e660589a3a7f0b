//! Opens the sockets of the server's namespace: non-blocking, close-on-exec, without `SO_REUSEADDR`, so that a port that is
//! taken is an error and never shared.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};

use crate::bounds::{GATEWAY_SOCKET_BYTES, LISTEN_BACKLOG};
use crate::weaken;

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
    bounded(&socket).map_err(|errno| SocketError { call: "setsockopt", address, errno })?;
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

/// What is accepted has the bounds of its listener: a server that opens many connections and reads none must not have the kernel keep, in
/// nobody's account, what a host sends.
fn bounded(listener: &OwnedFd) -> Result<(), Errno> {
    if !weaken::in_force("gateway-buffers") {
        return Ok(());
    }
    setsockopt(listener, sockopt::SndBuf, &GATEWAY_SOCKET_BYTES)?;
    setsockopt(listener, sockopt::RcvBuf, &GATEWAY_SOCKET_BYTES)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

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
    #[test]
    fn what_nobody_reads_the_kernel_holds_up_to_a_bound() {
        let listener = listen(Ipv4Addr::LOCALHOST, 0).unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        setsockopt(&reader, sockopt::RcvBuf, &4096).unwrap(); // what its reader holds is the server's
        let mut accepted = std::iter::repeat_with(|| listener.accept()).find_map(Result::ok).unwrap().0;
        accepted.set_nonblocking(true).unwrap();
        let chunk = [0; 4096];
        let mut taken = 0;
        let full = loop {
            match accepted.write(&chunk) {
                Ok(bytes) => taken += bytes,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(full, std::io::ErrorKind::WouldBlock);
        assert!((4096..=3 * GATEWAY_SOCKET_BYTES).contains(&taken), "{taken}");
    }
}
