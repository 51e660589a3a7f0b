//! Finds and dials the upstream of an allowed host. The address is checked after it has been resolved, and the checked
//! address is the one that is dialled: a name that is made to point inside (rebinding, SSRF) leads nowhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::Name;
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::bounds::{
    DIAL_ADDRESSES_MAX, DIAL_CONNECT_WAIT_MS, DIAL_RESOLVE_WAIT_MS, UPSTREAM_RECEIVED_BYTES, UPSTREAM_SENT_BYTES,
};
use crate::sandbox::plan::ConnectTo;
use crate::weaken;

/// Why there is no upstream.
#[derive(Debug, Error)]
pub enum DialError {
    /// The resolver gave no address.
    #[error("{host} was not resolved: {cause}")]
    Resolve {
        /// The name that was asked.
        host: String,
        /// What the resolver says.
        cause: String,
    },
    /// All its addresses are of kinds that a policy's host never has.
    #[error("{host} resolves to {address}, {why}")]
    Refused {
        /// The name that was asked.
        host: String,
        /// The first such address.
        address: IpAddr,
        /// What it is.
        why: &'static str,
    },
    /// No address answered.
    #[error("{address} cannot be reached: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
}

impl DialError {
    /// Whether this is a verdict of ours and not a mishap of the network.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Addresses that no host has (RFC 5737, RFC 3849).
const NOBODYS_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOBODYS_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Dials upstreams.
pub struct Dialer {
    resolver: TokioResolver,
    connect_to: Vec<ConnectTo>,
}

impl Dialer {
    /// A dialer that resolves with `resolver` and follows `connect_to`.
    #[must_use]
    pub const fn new(resolver: TokioResolver, connect_to: Vec<ConnectTo>) -> Self {
        Self { resolver, connect_to }
    }

    /// Connects to `host`:`port`, or to what `--connect-to` names instead.
    ///
    /// # Errors
    /// [`DialError`]; after it nothing is connected.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let redirected = self.connect_to.iter().find(|to| to.port == port && to.host.eq_ignore_ascii_case(host));
        let (target, port) = redirected.map_or((host, port), |to| (to.to_host.as_str(), to.to_port));
        let mut addresses = self.resolve(target).await?;
        // Whoever starts us may name any target; a policy's name may not come to stand for one of ours.
        if redirected.is_none() && weaken::in_force("dial-private") {
            addresses = without_refused(target, addresses)?;
        }
        connect_first(&addresses, port).await
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let failed = |cause: String| DialError::Resolve { host: host.into(), cause };
        // ASCII alone: a policy writes other scripts as A-labels. Complete, so that no search list is tried.
        let mut name = Name::from_ascii(host).map_err(|error| failed(error.to_string()))?;
        name.set_fqdn(true);
        let lookup = self.resolver.lookup_ip(name);
        let found = timeout(Duration::from_millis(DIAL_RESOLVE_WAIT_MS), lookup)
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|error| failed(error.to_string()))?;
        let addresses: Vec<IpAddr> = found.iter().take(DIAL_ADDRESSES_MAX).collect();
        if addresses.is_empty() { Err(failed("no address".into())) } else { Ok(addresses) }
    }
}

/// The addresses that may be dialled; an error when there is none.
fn without_refused(host: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, DialError> {
    let mut refused = None;
    let mut kept = Vec::new();
    for address in addresses {
        let judged = dialable(address).and_then(|()| {
            let is_ours = weaken::in_force("dial-own") && is_ours(address).map_err(|_| UNKNOWN)?;
            if is_ours { Err("an address of this host") } else { Ok(()) }
        });
        match judged {
            Ok(()) => kept.push(address),
            Err(why) => refused = refused.or(Some((address, why))),
        }
    }
    match (kept.is_empty(), refused) {
        (true, Some((address, why))) => Err(DialError::Refused { host: host.into(), address, why }),
        _ => Ok(kept),
    }
}

const UNKNOWN: &str = "which may be an address of this host";

/// Whether the kernel would connect us with ourselves there: to what listens on the host, behind its firewall. A socket is bound to
/// the host's own addresses alone, unless `ip_nonlocal_bind` is set (ip(7)); then the source that would be taken tells. Sends nothing.
fn is_ours(address: IpAddr) -> io::Result<bool> {
    let address = address.to_canonical();
    let nobodys: IpAddr = if address.is_ipv4() { NOBODYS_4.into() } else { NOBODYS_6.into() };
    if !binds(address)? {
        return Ok(false);
    }
    if !binds(nobodys)? {
        return Ok(true);
    }
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let asked = UdpSocket::bind((any, 0))?;
    asked.connect((address, 9))?;
    Ok(asked.local_addr()?.ip().to_canonical() == address)
}

fn binds(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

async fn connect_first(addresses: &[IpAddr], port: u16) -> Result<TcpStream, DialError> {
    let mut failure = None;
    for address in addresses.iter().map(|ip| SocketAddr::new(*ip, port)) {
        let connect = timeout(Duration::from_millis(DIAL_CONNECT_WAIT_MS), connect(address)).await;
        match connect.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(source) => failure = Some(DialError::Connect { address, source }),
        }
    }
    Err(failure.unwrap_or_else(|| DialError::Resolve { host: String::new(), cause: "no address".into() }))
}

/// The buffers are bounded before the connection is asked for: its window follows from them.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if weaken::in_force("upstream-buffers") {
        socket.set_recv_buffer_size(UPSTREAM_RECEIVED_BYTES)?;
        socket.set_send_buffer_size(UPSTREAM_SENT_BYTES)?;
    }
    socket.connect(address).await
}

/// Whether a public API may stand at `address`: global unicast, by the IANA special-purpose address registries (RFC 6890).
///
/// # Errors
/// What the address is, if not that.
pub fn dialable(address: IpAddr) -> Result<(), &'static str> {
    match address {
        IpAddr::V4(address) => dialable_v4(address),
        IpAddr::V6(address) => dialable_v6(address),
    }
}

fn dialable_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    let refused: [(Ipv4Addr, u32, &str); 17] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this network (0.0.0.0/8)"),
        (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
        (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier-grade NAT address"),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
        (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud metadata address"), // Azure's; public by its number
        (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local or cloud metadata address"),
        (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
        (Ipv4Addr::new(192, 0, 0, 0), 24, "a protocol assignment address"),
        (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
        (Ipv4Addr::new(192, 31, 196, 0), 24, "a special-purpose address"), // AS112
        (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay address"),
        (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
        (Ipv4Addr::new(198, 18, 0, 0), 15, "an address that stands for hosts inside the sandbox (198.18.0.0/15)"),
        (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
        (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
        (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved or broadcast address"),
    ];
    let inside = |network: Ipv4Addr, bits: u32| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0;
    refused.iter().find(|(network, bits, _)| inside(*network, *bits)).map_or(Ok(()), |(_, _, why)| Err(why))
}

fn dialable_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    let segments = address.segments();
    let v4_at = |index: usize| {
        let [high, low] = [segments[index].to_be_bytes(), segments[index + 1].to_be_bytes()];
        Ipv4Addr::new(high[0], high[1], low[0], low[1])
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Err("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Err("a loopback address"),
        [0, 0, 0, 0, 0, 0xffff, ..] => dialable_v4(v4_at(6)), // what the kernel dials is the IPv4 address inside
        [0, 0, 0, 0, 0, 0, ..] => Err("an IPv4-compatible address (deprecated)"),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => dialable_v4(v4_at(6)), // NAT64 (RFC 6052): a gateway dials what is inside
        [0x64, 0xff9b, 1, ..] => Err("a local NAT64 address"),
        [0x2002, ..] => dialable_v4(v4_at(1)), // 6to4 (RFC 3056)
        [0x2001, 0, ..] => Err("a Teredo address"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Err("a documentation address"),
        [0x2001, 0..=0x01ff, ..] => Err("a protocol assignment address"),
        [0xfc00..=0xfdff, ..] => Err("a unique local address"),
        [0xfe80..=0xfebf, ..] => Err("a link-local address"),
        [0xfec0..=0xfeff, ..] => Err("a site-local address (deprecated)"),
        [0xff00..=0xffff, ..] => Err("a multicast address"),
        [0x2000..=0x3fff, ..] => Ok(()),
        _ => Err("not a global unicast address"),
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
