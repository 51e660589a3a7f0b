//! What the probes saw: ring items to typed events, events to records.
//!
//! Equal events are folded by the caller. Nothing here trusts a byte: an item of another length or with an unknown code
//! is an error, never a guess.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use intercept_sandbox_abi as abi;

use super::exec_events::ExecEvent;
use super::file_events::FileEvent;
use super::report::{NetEvent, NetOp, NetVerdict};
use crate::sandbox::plan::NetworkPlan;

/// What the server tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeOp {
    /// connect(2), or sendto(2) with `MSG_FASTOPEN`.
    Connect,
    /// sendto(2) or sendmsg(2) with an address.
    Sendmsg,
    /// socket(2).
    Socket,
    /// bind(2).
    Bind,
}

/// One event of the probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory.
    pub cgroup: u64,
    /// Socket cookie, unique per socket since boot.
    pub cookie: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the task, as it calls itself; bytes that are not UTF-8 are replaced.
    pub comm: String,
    /// Address family, `AF_*`.
    pub family: u8,
    /// Socket type, `SOCK_*`.
    pub kind: u8,
    /// Protocol, `IPPROTO_*`.
    pub proto: u16,
    /// Where to; `None` for socket(2).
    pub dst: Option<(IpAddr, u16)>,
    /// What was tried.
    pub op: ProbeOp,
    /// Whether it was let through.
    pub verdict: NetVerdict,
}

/// What the ring holds; the lengths tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEvent {
    /// The server's network.
    Net(ProbeEvent),
    /// A program that was started, or refused.
    Exec(ExecEvent),
    /// A file that was opened for writing.
    File(FileEvent),
}

/// An item that is not an event of this program's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Wrong length.
    #[error("event of {0} bytes")]
    Length(usize),
    /// A text longer than the room for it.
    #[error("event with a text of {0} bytes")]
    Text(usize),
    /// Unknown operation.
    #[error("event with unknown operation {0}")]
    Op(u8),
    /// Unknown verdict.
    #[error("event with unknown verdict {0}")]
    Verdict(u8),
    /// Unknown address family.
    #[error("event with unknown address family {0}")]
    Family(u8),
}

impl ProbeEvent {
    /// Reads one ring item.
    ///
    /// # Errors
    /// When the length or a code is not one of the probes'.
    pub fn parse(item: &[u8]) -> Result<Self, EventError> {
        let bytes: &[u8; abi::EVENT_BYTES] = item.try_into().map_err(|_| EventError::Length(item.len()))?;
        let op = match bytes[abi::offset::OP] {
            abi::OP_CONNECT => ProbeOp::Connect,
            abi::OP_SENDMSG => ProbeOp::Sendmsg,
            abi::OP_SOCKET => ProbeOp::Socket,
            abi::OP_BIND => ProbeOp::Bind,
            other => return Err(EventError::Op(other)),
        };
        let verdict = match bytes[abi::offset::VERDICT] {
            abi::ALLOWED => NetVerdict::Allowed,
            abi::DENIED => NetVerdict::Denied,
            other => return Err(EventError::Verdict(other)),
        };
        let family = bytes[abi::offset::FAMILY];
        let dst = if op == ProbeOp::Socket {
            None
        } else {
            Some((destination(family, field(bytes, abi::offset::DST))?, u16_of(bytes, abi::offset::PORT)))
        };
        Ok(Self {
            time_ns: u64_of(bytes, abi::offset::TIME_NS),
            cgroup: u64_of(bytes, abi::offset::CGROUP),
            cookie: u64_of(bytes, abi::offset::COOKIE),
            tgid: u32::from_ne_bytes(field(bytes, abi::offset::TGID)),
            tid: u32::from_ne_bytes(field(bytes, abi::offset::TID)),
            comm: name(field(bytes, abi::offset::COMM)),
            family,
            kind: bytes[abi::offset::KIND],
            proto: u16_of(bytes, abi::offset::PROTO),
            dst,
            op,
            verdict,
        })
    }

    /// The event as a record's `net` member.
    #[must_use]
    pub fn net_event(&self, names: &HostNames) -> NetEvent {
        NetEvent {
            op: if self.op == ProbeOp::Bind { NetOp::Bind } else { NetOp::Connect },
            verdict: self.verdict,
            reason: if self.verdict == NetVerdict::Denied { self.reason().to_owned() } else { String::new() },
            self_test: false,
            family: Some(family_name(self.family)),
            proto: Some(proto_name(self.kind, self.proto)),
            dst_ip: self.dst.map(|(address, _)| address),
            dst_port: self.dst.map(|(_, port)| port),
            host: self.dst.and_then(|(address, _)| names.of(address)).map(str::to_owned),
            sni: None,
            bytes_in: None,
            bytes_out: None,
            pid: Some(self.tgid),
            comm: Some(self.comm.clone()),
            count: 1,
        }
    }

    const fn reason(&self) -> &'static str {
        match self.op {
            ProbeOp::Connect => "connect: not an address and port of the policy",
            ProbeOp::Sendmsg => "sendmsg: UDP goes to the DNS stub and loopback only",
            ProbeOp::Socket => "socket: only TCP streams and UDP datagrams",
            ProbeOp::Bind => "bind: only loopback and the any-address",
        }
    }
}

/// Synthetic address to host name.
#[derive(Clone, Debug, Default)]
pub struct HostNames(HashMap<Ipv4Addr, String>);

impl HostNames {
    /// The names of a plan.
    #[must_use]
    pub fn new(network: &NetworkPlan) -> Self {
        Self(network.hosts.iter().map(|host| (host.address, host.name.clone())).collect())
    }

    /// The host that `address` stands for, also when written as `::ffff:a.b.c.d`.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<&str> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.0.get(&address).map(String::as_str),
            IpAddr::V6(_) => None,
        }
    }
}

/// The reading end of the ring. Readable (poll, epoll) when an event waits; edge-triggered readers drain it first.
pub struct EventReader<M = MapData> {
    ring: RingBuf<M>,
}

impl<M: Borrow<MapData>> EventReader<M> {
    /// Wraps the ring.
    pub const fn new(ring: RingBuf<M>) -> Self {
        Self { ring }
    }

    /// The next event, or `None` when the ring is empty. Never blocks.
    pub fn next_event(&mut self) -> Option<Result<RingEvent, EventError>> {
        self.ring.next().map(|item| match item.len() {
            abi::EXEC_EVENT_BYTES => ExecEvent::parse(&item).map(RingEvent::Exec),
            abi::FILE_EVENT_BYTES => FileEvent::parse(&item).map(RingEvent::File),
            _ => ProbeEvent::parse(&item).map(RingEvent::Net),
        })
    }
}

impl<M: Borrow<MapData>> AsFd for EventReader<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl<M: Borrow<MapData>> AsRawFd for EventReader<M> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl<M> std::fmt::Debug for EventReader<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventReader").finish_non_exhaustive()
    }
}

/// `N` bytes at `at`; the ABI crate asserts that every field lies inside the event.
pub(super) fn field<const N: usize, const M: usize>(bytes: &[u8; M], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn u16_of(bytes: &[u8; abi::EVENT_BYTES], at: usize) -> u16 {
    u16::from_ne_bytes(field(bytes, at))
}

fn u64_of(bytes: &[u8; abi::EVENT_BYTES], at: usize) -> u64 {
    u64::from_ne_bytes(field(bytes, at))
}

fn destination(family: u8, octets: [u8; 16]) -> Result<IpAddr, EventError> {
    let [a, b, c, d, ..] = octets;
    match family {
        abi::AF_INET => Ok(Ipv4Addr::new(a, b, c, d).into()),
        abi::AF_INET6 => Ok(Ipv6Addr::from(octets).into()),
        other => Err(EventError::Family(other)),
    }
}

pub(super) fn name(comm: [u8; 16]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

fn family_name(family: u8) -> String {
    match family {
        abi::AF_INET => "inet".to_owned(),
        abi::AF_INET6 => "inet6".to_owned(),
        other => other.to_string(),
    }
}

/// `tcp` and `udp` only for their ordinary sockets: a raw socket may carry their numbers.
fn proto_name(kind: u8, proto: u16) -> String {
    match (kind, proto) {
        (abi::SOCK_STREAM, abi::IPPROTO_TCP) => "tcp".to_owned(),
        (abi::SOCK_DGRAM, abi::IPPROTO_UDP) => "udp".to_owned(),
        (abi::SOCK_STREAM | abi::SOCK_DGRAM, other) => other.to_string(),
        (_, other) => format!("raw {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::TlsMode;
    use crate::sandbox::plan::PlannedHost;

    /// A TCP connect to 198.18.0.7:443 by process 42, as the kernel writes it.
    fn connect_item() -> [u8; abi::EVENT_BYTES] {
        let mut item = [0; abi::EVENT_BYTES];
        item[0..8].copy_from_slice(&5_000_000_000_u64.to_ne_bytes());
        item[8..16].copy_from_slice(&77_u64.to_ne_bytes());
        item[16..24].copy_from_slice(&99_u64.to_ne_bytes());
        item[24..28].copy_from_slice(&42_u32.to_ne_bytes());
        item[28..32].copy_from_slice(&43_u32.to_ne_bytes());
        item[32..36].copy_from_slice(b"node");
        item[48..52].copy_from_slice(&[198, 18, 0, 7]);
        item[64..66].copy_from_slice(&443_u16.to_ne_bytes());
        item[66..68].copy_from_slice(&6_u16.to_ne_bytes());
        item[68..72].copy_from_slice(&[2, 1, 1, 1]);
        item
    }

    fn names() -> HostNames {
        HostNames::new(&NetworkPlan {
            hosts: vec![PlannedHost {
                name: "api.example.org".to_owned(),
                ports: vec![443],
                address: Ipv4Addr::new(198, 18, 0, 7),
                tls: TlsMode::Passthrough,
                max_bytes_out: None,
            }],
            connect_to: Vec::new(),
        })
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let event = ProbeEvent::parse(&connect_item()).unwrap();
        assert_eq!(
            event,
            ProbeEvent {
                time_ns: 5_000_000_000,
                cgroup: 77,
                cookie: 99,
                tgid: 42,
                tid: 43,
                comm: "node".to_owned(),
                family: 2,
                kind: 1,
                proto: 6,
                dst: Some((IpAddr::from([198, 18, 0, 7]), 443)),
                op: ProbeOp::Connect,
                verdict: NetVerdict::Allowed,
            }
        );
    }

    #[test]
    fn an_allowed_connect_names_its_host_and_gives_no_reason() {
        let net = ProbeEvent::parse(&connect_item()).unwrap().net_event(&names());
        assert_eq!((net.op, net.verdict, net.reason.as_str()), (NetOp::Connect, NetVerdict::Allowed, ""));
        assert_eq!((net.family.as_deref(), net.proto.as_deref()), (Some("inet"), Some("tcp")));
        assert_eq!((net.host.as_deref(), net.dst_port), (Some("api.example.org"), Some(443)));
        assert_eq!((net.pid, net.comm.as_deref(), net.count), (Some(42), Some("node"), 1));
    }

    #[test]
    fn a_mapped_address_is_kept_as_written_and_still_named() {
        let mut item = connect_item();
        let mapped: Ipv6Addr = "::ffff:198.18.0.7".parse().unwrap();
        item[48..64].copy_from_slice(&mapped.octets());
        item[68] = abi::AF_INET6;
        let net = ProbeEvent::parse(&item).unwrap().net_event(&names());
        assert_eq!(net.dst_ip, Some(IpAddr::V6(mapped)));
        assert_eq!((net.host.as_deref(), net.family.as_deref()), (Some("api.example.org"), Some("inet6")));
    }

    #[test]
    fn a_refused_raw_socket_has_no_destination_and_is_not_called_tcp() {
        let mut item = connect_item();
        item[69..72].copy_from_slice(&[3, abi::OP_SOCKET, abi::DENIED]);
        let net = ProbeEvent::parse(&item).unwrap().net_event(&names());
        assert_eq!((net.op, net.verdict), (NetOp::Connect, NetVerdict::Denied));
        assert_eq!((net.dst_ip, net.dst_port, net.host), (None, None, None));
        assert_eq!(net.proto.as_deref(), Some("raw 6"));
        assert_eq!(net.reason, "socket: only TCP streams and UDP datagrams");
    }

    #[test]
    fn other_lengths_and_codes_are_errors() {
        let item = connect_item();
        assert_eq!(ProbeEvent::parse(&item[..71]), Err(EventError::Length(71)));
        let mut long = item.to_vec();
        long.push(0);
        assert_eq!(ProbeEvent::parse(&long), Err(EventError::Length(73)));
        for (at, error) in [(68, EventError::Family(9)), (70, EventError::Op(9)), (71, EventError::Verdict(9))] {
            let mut bad = item;
            bad[at] = 9;
            assert_eq!(ProbeEvent::parse(&bad), Err(error));
        }
    }

    #[test]
    fn a_name_of_sixteen_bytes_and_bad_utf8_is_read() {
        assert_eq!(name(*b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(name(*b"a\xff\0garbage\0\0\0\0\0\0"), "a\u{fffd}");
    }
}
