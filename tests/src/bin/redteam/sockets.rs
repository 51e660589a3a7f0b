//! Sockets of other kinds, and options that only who runs the network may set.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::network::{DGRAM, LOOT, STREAM, option};
use crate::raw::{At, bytes_of, connect, hear, send, send_to, socket};
use crate::{Probe, Told};

const RAW: i32 = libc::SOCK_RAW;

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("raw-icmp", |_| raw_icmp()),
    ("raw-ip", |_| raw_ip()),
    ("packet-socket", |_| packet(RAW)),
    ("packet-dgram", |_| packet(DGRAM)),
    ("unix-abstract", |_| unix(STREAM, b"\0isb-canary")),
    ("unix-path", |path| unix(STREAM, path.as_bytes())),
    ("unix-listen-abstract", |_| unix_listen(b"\0isb-redteam")),
    ("socket-udplite", |_| hold(libc::AF_INET, DGRAM, libc::IPPROTO_UDPLITE)),
    ("socket-ping", |_| hold(libc::AF_INET, DGRAM, libc::IPPROTO_ICMP)),
    ("socket-ping6", |_| hold(libc::AF_INET6, DGRAM, libc::IPPROTO_ICMPV6)),
    ("socket-sctp", |_| hold(libc::AF_INET, STREAM, libc::IPPROTO_SCTP)),
    ("socket-mptcp", |_| hold(libc::AF_INET6, STREAM, libc::IPPROTO_MPTCP)),
    ("socket-vsock", |_| hold(libc::AF_VSOCK, STREAM, 0)),
    ("socket-alg", |_| hold(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    ("socket-xdp", |_| hold(libc::AF_XDP, RAW, 0)),
    ("socket-key", |_| hold(libc::AF_KEY, RAW, 2)),
    ("socket-unix-seqpacket", |_| hold(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)),
    ("socket-raw6", |_| hold(libc::AF_INET6, RAW, libc::IPPROTO_ICMPV6)),
    ("socket-every-family", |_| every_family()),
    ("netlink", netlink),
    ("netlink-new-address", |_| new_address()),
    ("so-mark", |_| set(libc::SOL_SOCKET, libc::SO_MARK)),
    ("so-attach-filter", |_| attach_filter()),
    ("so-rcvbufforce", |_| set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE)),
    ("tcp-repair", |_| set(libc::IPPROTO_TCP, libc::TCP_REPAIR)),
    ("tcp-ulp", |_| ulp()),
    ("ip-transparent", |_| set(libc::IPPROTO_IP, libc::IP_TRANSPARENT)),
    ("netfilter-table", |_| netfilter()),
];

fn hold(family: i32, kind: i32, protocol: i32) -> Told {
    socket(family, kind, protocol).map(|fd| format!("descriptor {fd}"))
}

/// Every family but the four that ordinary programs use, with every type; what opens stays open.
fn every_family() -> Told {
    let mut held = Vec::new();
    for family in (3..=46).filter(|family| ![libc::AF_INET6, libc::AF_NETLINK].contains(family)) {
        for kind in [STREAM, DGRAM, RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET] {
            if let Ok(fd) = socket(family, kind, 0) {
                held.push(format!("{family}:{fd}"));
                break;
            }
        }
    }
    if held.is_empty() { crate::raw::refused("socket") } else { Ok(held.join(" ")) }
}

fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

fn to(address: &str) -> Vec<u8> {
    bytes_of(address.parse().expect("a literal of this file"))
}

fn raw_icmp() -> Told {
    let fd = socket(libc::AF_INET, RAW, libc::IPPROTO_ICMP)?;
    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1];
    echo.extend(LOOT);
    let sum = checksum(&echo).to_be_bytes();
    echo[2..4].copy_from_slice(&sum);
    send_to(fd, &echo, &to("1.1.1.1:0"), 0)?;
    Ok("sent".into())
}

/// IPv4 and UDP, 192.0.2.1 to 1.1.1.1:443 (a packet from a local address would be dropped as forged).
fn packet_out() -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 1, 1, 1, 1];
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip.extend(4444u16.to_be_bytes());
    ip.extend(443u16.to_be_bytes());
    ip.extend([0, 12, 0, 0]); // length; checksum 0: none (RFC 768)
    ip.extend(LOOT);
    ip
}

/// A whole IP packet on a raw socket of IPPROTO_RAW, which implies IP_HDRINCL.
fn raw_ip() -> Told {
    let fd = socket(libc::AF_INET, RAW, libc::IPPROTO_RAW)?;
    send_to(fd, &packet_out(), &to("1.1.1.1:0"), 0)?;
    Ok("sent".into())
}

/// A frame on `lo`, with its Ethernet header on a raw socket and without on a datagram one.
fn packet(kind: i32) -> Told {
    let fd = socket(libc::AF_PACKET, kind, 0)?;
    let mut frame = if kind == RAW { [&[0; 12][..], &[8, 0]].concat() } else { Vec::new() };
    frame.extend(packet_out());
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

fn unix_address(name: &[u8]) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(name);
    address
}

fn unix(kind: i32, name: &[u8]) -> Told {
    let fd = socket(libc::AF_UNIX, kind, 0)?;
    connect(fd, &unix_address(name))?;
    Ok("connected".into())
}

pub(crate) fn unix_listen(name: &[u8]) -> Told {
    let fd = socket(libc::AF_UNIX, STREAM, 0)?;
    bind(fd, &unix_address(name))?;
    // SAFETY: a descriptor of our own.
    Errno::result(unsafe { libc::listen(fd, 8) }).at("listen")?;
    Ok("listens".into())
}

/// A netlink socket, bound: the kernel's table shows no other.
fn netlink(protocol: &str) -> Told {
    let fd = socket(libc::AF_NETLINK, RAW, protocol.parse().expect("the suite sends a number"))?;
    let mut address = (libc::AF_NETLINK as u16).to_ne_bytes().to_vec();
    address.extend([0; 10]);
    bind(fd, &address)?;
    Ok(format!("descriptor {fd}"))
}

fn bind(fd: RawFd, address: &[u8]) -> Result<(), crate::raw::Failure> {
    // SAFETY: the address is live and its length is given.
    let bound = unsafe { libc::bind(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) };
    Errno::result(bound).map(drop).at("bind")
}

/// RTM_NEWADDR: 192.0.2.77/32 on `lo` (rtnetlink(7)).
fn new_address() -> Told {
    let fd = socket(libc::AF_NETLINK, RAW, 0)?;
    let mut message = Vec::new();
    message.extend(40u32.to_ne_bytes());
    message.extend(20u16.to_ne_bytes()); // RTM_NEWADDR
    message.extend(0x0405u16.to_ne_bytes()); // REQUEST | ACK | CREATE
    message.extend([0; 8]);
    message.extend([libc::AF_INET as u8, 32, 0, 0]);
    message.extend(1u32.to_ne_bytes());
    for attribute in [1u16, 2] {
        message.extend(8u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes()); // IFA_ADDRESS, IFA_LOCAL
        message.extend([192, 0, 2, 77]);
    }
    send(fd, &message)?;
    Ok(hear(fd))
}

fn set(level: i32, name: i32) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    option(fd, level, name, &1i32.to_ne_bytes())?;
    Ok("set".into())
}

fn attach_filter() -> Told {
    let fd = socket(libc::AF_INET, DGRAM, 0)?;
    let accept = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0xffff };
    let program = libc::sock_fprog { len: 1, filter: (&raw const accept).cast_mut() };
    // SAFETY: struct sock_fprog is plain data.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const program).cast::<u8>(), size_of_val(&program)) };
    option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, bytes)?;
    Ok("attached".into())
}

/// Upper layer protocols load modules by name. A name that no module has: ENOENT is the answer of one that was looked for.
fn ulp() -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    match option(fd, libc::IPPROTO_TCP, libc::TCP_ULP, b"isb-none\0") {
        Err(failure) if failure.is(Errno::ENOENT) => Ok("looked for".into()),
        other => other.map(|()| "set".into()),
    }
}

/// IPT_SO_SET_REPLACE with nothing in it: EFAULT, EINVAL or ENOPROTOOPT is the answer of a netfilter that looked.
fn netfilter() -> Told {
    let fd: RawFd = socket(libc::AF_INET, STREAM, 0)?;
    match option(fd, libc::IPPROTO_IP, 64, &[0; 4]) {
        Err(failure) if failure.is(Errno::EINVAL) || failure.is(Errno::EFAULT) => Ok("looked at".into()),
        other => other.map(|()| "set".into()),
    }
}
