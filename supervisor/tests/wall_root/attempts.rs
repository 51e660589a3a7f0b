//! What a hostile server tries, one name each. Runs in a child inside the cgroup and namespace under test.

use std::io::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::libc;
use socket2::{Domain, MsgHdr, Protocol, SockAddr, Socket, Type};

/// A public address that a canary listens on.
pub(crate) const CANARY: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
/// Another one.
pub(crate) const CANARY_2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// An IPv6 one (RFC 3849).
pub(crate) const CANARY_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
/// The policy's only host.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
/// An address of the synthetic range that stands for nothing.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 8);
/// The DNS stub.
pub(crate) const STUB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

const IPPROTO_MPTCP: i32 = 262;
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs one attempt.
pub(crate) fn attempt(name: &str) -> Result<(), Error> {
    match name {
        "tcp4" => connect(CANARY, 443),
        "tcp4-other" => connect(CANARY_2, 443),
        "tcp4-mapped" => connect(CANARY.to_ipv6_mapped(), 443),
        "tcp6" => connect(CANARY_6, 443),
        "fastopen" => fastopen(CANARY),
        "host" => connect(HOST, 443),
        "host-mapped" => connect(HOST.to_ipv6_mapped(), 443),
        "host-other-port" => connect(HOST, 80),
        "stranger" => connect(STRANGER, 443),
        "stranger-dns-port" => connect(STRANGER, 53),
        "stub-tcp" => connect(STUB, 53),
        "stub-other-port" => connect(STUB, 443),
        "udp-sendto" => sendto(CANARY, 443),
        "udp-sendto-mapped" => sendto(CANARY.to_ipv6_mapped(), 443),
        "udp-sendto6" => sendto(CANARY_6, 443),
        "udp-sendmsg" => sendmsg(CANARY, 443),
        "udp-connect" => udp_connect(CANARY, 443),
        "udp-connect6" => udp_connect(CANARY_6, 443),
        "udp-host" => sendto(HOST, 443),
        "udp-connect-host" => udp_connect(HOST, 443),
        "udp-dns-elsewhere" => sendto(CANARY, 53),
        "stub-udp" => sendto(STUB, 53),
        "stub-udp-mapped" => sendto(STUB.to_ipv6_mapped(), 53),
        "stub-udp-connect" => udp_connect(STUB, 53),
        "raw-icmp" => open(Domain::IPV4, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "raw-tcp" => open(Domain::IPV4, libc::SOCK_RAW, libc::IPPROTO_TCP),
        "raw-udp" => open(Domain::IPV4, libc::SOCK_RAW, libc::IPPROTO_UDP),
        "raw6" => open(Domain::IPV6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        "mptcp" => open(Domain::IPV4, libc::SOCK_STREAM, IPPROTO_MPTCP),
        "mptcp6" => open(Domain::IPV6, libc::SOCK_STREAM, IPPROTO_MPTCP),
        "sctp" => open(Domain::IPV4, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        "dccp" => open(Domain::IPV4, 6, libc::IPPROTO_DCCP),
        "udplite" => open(Domain::IPV4, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        "ping" => open(Domain::IPV4, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        "ping6" => open(Domain::IPV6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
        "unix" => open(Domain::UNIX, libc::SOCK_STREAM, 0),
        "loopback4" => loopback(Ipv4Addr::LOCALHOST),
        "loopback6" => loopback(Ipv6Addr::LOCALHOST),
        "bind-any" => bind(Ipv4Addr::UNSPECIFIED),
        "bind-any6" => bind(Ipv6Addr::UNSPECIFIED),
        "bind-host" => bind(HOST),
        "bind-canary" => bind(CANARY),
        "bind-canary-mapped" => bind(CANARY.to_ipv6_mapped()),
        "bind-canary6" => bind(CANARY_6),
        other => match other.strip_prefix("loopback-port-") {
            Some(port) => connect(Ipv4Addr::LOCALHOST, port.parse().expect("a port")),
            None => panic!("no attempt is called {other}"),
        },
    }
}

fn socket(address: IpAddr, kind: Type) -> Result<Socket, Error> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, kind, None)
}

fn connect(address: impl Into<IpAddr>, port: u16) -> Result<(), Error> {
    let address = address.into();
    socket(address, Type::STREAM)?.connect_timeout(&SocketAddr::new(address, port).into(), PATIENCE)
}

fn fastopen(address: Ipv4Addr) -> Result<(), Error> {
    let to = SockAddr::from(SocketAddr::new(address.into(), 443));
    socket(address.into(), Type::STREAM)?.send_to_with_flags(b"x", &to, libc::MSG_FASTOPEN).map(drop)
}

fn sendto(address: impl Into<IpAddr>, port: u16) -> Result<(), Error> {
    let address = address.into();
    socket(address, Type::DGRAM)?.send_to(b"x", &SocketAddr::new(address, port).into()).map(drop)
}

fn sendmsg(address: impl Into<IpAddr>, port: u16) -> Result<(), Error> {
    let address = address.into();
    let to = SockAddr::from(SocketAddr::new(address, port));
    let buffers = [std::io::IoSlice::new(b"x")];
    let message = MsgHdr::new().with_addr(&to).with_buffers(&buffers);
    socket(address, Type::DGRAM)?.sendmsg(&message, 0).map(drop)
}

fn udp_connect(address: impl Into<IpAddr>, port: u16) -> Result<(), Error> {
    let address = address.into();
    let socket = socket(address, Type::DGRAM)?;
    socket.connect(&SocketAddr::new(address, port).into())?;
    socket.send(b"x").map(drop)
}

fn open(domain: Domain, kind: i32, protocol: i32) -> Result<(), Error> {
    Socket::new(domain, Type::from(kind), Some(Protocol::from(protocol))).map(drop)
}

fn bind(address: impl Into<IpAddr>) -> Result<(), Error> {
    let address = address.into();
    let socket = socket(address, Type::STREAM)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    socket.listen(1)
}

fn loopback(address: impl Into<IpAddr>) -> Result<(), Error> {
    let address = address.into();
    let server = socket(address, Type::STREAM)?;
    server.bind(&SocketAddr::new(address, 0).into())?;
    server.listen(1)?;
    let port = server.local_addr()?.as_socket().expect("an internet address").port();
    connect(address, port)
}
