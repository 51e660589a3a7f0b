//! The self-test. Before the gate opens, the workload itself, with its uid, filter, cgroup and namespace, tries
//! to get out: every road but the policy's own must be closed, or the run does not start. Where there is a list of programs, pid 1 tries
//! one that is not on it, before it becomes the init.

use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, connect, getsockopt, recv,
    send, sendto, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::unistd::execveat;

use super::dns::{Reply, query, read_reply};
use super::plan::NetworkPlan;
use crate::bounds::SELF_TEST_WAIT_MS;

/// The stub resolver of the namespace (egress.md 2).
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Any address of the world; nothing answers it in the namespace.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
/// The last address of 198.18.0.0/15: local through the AnyIP route, given to no host (bounds::HOSTS_MAX).
const UNASSIGNED: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
/// RFC 6761 reserves `.invalid`: no policy can list it.
const UNLISTED: &str = "self-test.intercept-sandbox.invalid";

/// What no kernel can execute: no `#!` line, no ELF header. Printable, or older kernels look for a module that could.
pub(super) const UNLISTED_IMAGE: &[u8] = b"intercept-sandbox self-test: not a program\n";

/// Tries to execute `file`, which holds [`UNLISTED_IMAGE`]. No Landlock is in force here, so that the LSM program is asked; what it
/// refused it has counted, and its layer's answer goes by that. Elsewhere the kernel says `ENOEXEC`, and nothing is wrong.
pub(super) fn try_unlisted(file: &OwnedFd) {
    let nothing: [&CStr; 0] = [];
    let _refused = execveat(file, c"", &[c"self-test"], &nothing, AtFlags::AT_EMPTY_PATH);
}

/// Opens a file for writing that nobody sees, so that the file audit has something to tell of: by its own count it answers whether it
/// did. Where no such file can be had nothing is told, and the layer is not in force.
pub(super) fn open_a_file() {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let _closed_again = nix::fcntl::open("/tmp", flags, Mode::from_bits_truncate(0o600));
}

/// A probe that did not end as it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// What was tried.
    pub(super) probe: String,
    /// What came of it.
    pub(super) got: String,
}

type Probed = Result<(), Breach>;

fn breach(probe: impl Into<String>, got: impl Into<String>) -> Probed {
    Err(Breach { probe: probe.into(), got: got.into() })
}

/// Runs every probe; the first breach ends it.
pub(super) fn run(plan: &NetworkPlan) -> Probed {
    let v4 = |address, port| SockaddrIn::from(SocketAddrV4::new(address, port));
    let mapped = SockaddrIn6::from(SocketAddrV6::new(OUTSIDE.to_ipv6_mapped(), 443, 0, 0));
    let world = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111), 443, 0, 0));
    tcp_is_closed("TCP 1.1.1.1:443", AddressFamily::Inet, &v4(OUTSIDE, 443))?;
    tcp_is_closed("TCP [::ffff:1.1.1.1]:443", AddressFamily::Inet6, &mapped)?;
    tcp_is_closed("TCP [2606:4700::1111]:443", AddressFamily::Inet6, &world)?;
    udp_is_closed("UDP 1.1.1.1:443", &v4(OUTSIDE, 443))?;
    udp_is_closed("UDP 198.19.255.254:443", &v4(UNASSIGNED, 443))?;
    datagram_is_closed("UDP sendto 1.1.1.1:443", &v4(OUTSIDE, 443))?;
    raw_is_closed()?;
    let Some(host) = plan.hosts.first() else { return Ok(()) };
    match ask(UNLISTED) {
        Ok(Reply::NoSuchName) => {}
        other => return breach(format!("DNS {UNLISTED}"), format!("{other:?}")),
    }
    match ask(&host.name) {
        Ok(Reply::Address(address)) if address == host.address => {}
        other => return breach(format!("DNS {}", host.name), format!("{other:?} instead of {}", host.address)),
    }
    let port = host.ports.first().copied().unwrap_or(443);
    match reach(AddressFamily::Inet, &v4(host.address, port)) {
        Ok(()) => Ok(()),
        Err(errno) => breach(format!("TCP {}:{port}, which the policy allows", host.name), errno.to_string()),
    }
}

fn open(family: AddressFamily, kind: SockType) -> Result<OwnedFd, Errno> {
    socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

/// Connects; an errno when that was refused, `EINPROGRESS` when something swallows the attempt.
fn reach(family: AddressFamily, to: &dyn SockaddrLike) -> Result<(), Errno> {
    let fd = open(family, SockType::Stream)?;
    match connect(fd.as_raw_fd(), to) {
        Err(Errno::EINPROGRESS) => {}
        done => return done,
    }
    if !ready(&fd, PollFlags::POLLOUT)? {
        return Err(Errno::EINPROGRESS);
    }
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)),
    }
}

fn ready(fd: &OwnedFd, events: PollFlags) -> Result<bool, Errno> {
    let mut wanted = [PollFd::new(fd.as_fd(), events)];
    loop {
        match poll(&mut wanted, SELF_TEST_WAIT_MS) {
            Err(Errno::EINTR) => {}
            done => return done.map(|count| count > 0),
        }
    }
}

fn tcp_is_closed(probe: &str, family: AddressFamily, to: &dyn SockaddrLike) -> Probed {
    match reach(family, to) {
        Ok(()) => breach(probe, "connected"),
        // Nothing refused it: a packet left, and only an answer is missing.
        Err(Errno::EINPROGRESS | Errno::ETIMEDOUT) => breach(probe, "sent"),
        Err(_) => Ok(()),
    }
}

/// A datagram must be refused at connect, at send, or by nobody listening (port unreachable, on the socket's error queue
/// at once, as loopback is synchronous).
fn udp_is_closed(probe: &str, to: &SockaddrIn) -> Probed {
    let refused = || -> Result<(), Errno> {
        let fd = open(AddressFamily::Inet, SockType::Datagram)?;
        connect(fd.as_raw_fd(), to)?;
        send(fd.as_raw_fd(), b"probe", MsgFlags::empty())?;
        if ready(&fd, PollFlags::POLLERR)? {
            recv(fd.as_raw_fd(), &mut [0; 8], MsgFlags::empty())?;
        }
        Ok(())
    };
    if refused().is_err() { Ok(()) } else { breach(probe, "sent") }
}

/// The same without connect(2), which other programs of the kernel are asked about.
fn datagram_is_closed(probe: &str, to: &SockaddrIn) -> Probed {
    let sent = open(AddressFamily::Inet, SockType::Datagram)
        .and_then(|fd| sendto(fd.as_raw_fd(), b"probe", to, MsgFlags::empty()));
    if sent.is_err() { Ok(()) } else { breach(probe, "sent") }
}

fn raw_is_closed() -> Probed {
    match socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, nix::sys::socket::SockProtocol::Icmp) {
        Ok(_) => breach("raw socket", "opened"),
        Err(_) => Ok(()),
    }
}

/// Asks the stub for an A record. A datagram on loopback is not lost, so once is enough.
fn ask(name: &str) -> Result<Reply, Errno> {
    let fd = open(AddressFamily::Inet, SockType::Datagram)?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(RESOLVER, 53)))?;
    let question = query(name).ok_or(Errno::EINVAL)?;
    send(fd.as_raw_fd(), &question, MsgFlags::empty())?;
    if !ready(&fd, PollFlags::POLLIN)? {
        return Err(Errno::ETIMEDOUT);
    }
    let mut answer = [0; 512]; // the limit of plain DNS over UDP, RFC 1035 4.2.1
    let length = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(read_reply(answer.get(..length).unwrap_or_default(), &question))
}
