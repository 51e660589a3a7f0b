//! The three rtnetlink requests that a namespace needs: link up, one local route, list the routes (rtnetlink(7)).
//!
//! A request is a few dozen bytes and the kernel answers before send(2) returns, so this is plain blocking code: no
//! dependency, nothing asynchronous. Building and reading are pure; [`Netlink`] alone touches a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::bounds::{NETLINK_REPLY_BYTES, NETLINK_ROUTES_MAX};

/// Index of `lo` in every network namespace (`LOOPBACK_IFINDEX`, net/core/dev.c: the first device registered).
pub const LOOPBACK_INDEX: u32 = 1;

const HEADER_BYTES: usize = 16; // struct nlmsghdr
const ROUTE_BYTES: usize = 12; // struct rtmsg
const ATTRIBUTE_BYTES: usize = 4; // struct rtattr
const ERROR_BYTES: usize = 4; // struct nlmsgerr.error

/// One route as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix; `None` is the default route.
    pub destination: Option<IpAddr>,
    /// Length of the prefix, bits.
    pub prefix_bits: u8,
    /// `RTN_*`, rtnetlink(7).
    pub kind: u8,
    /// Interface index, when it has one.
    pub interface: Option<u32>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// socket(2), send(2) or recv(2) failed.
    #[error("netlink socket: {call}")]
    Socket {
        /// The call.
        call: &'static str,
        /// Its errno.
        #[source]
        errno: Errno,
    },
    /// The kernel refused the request.
    #[error("the kernel refused {request}")]
    Refused {
        /// The request.
        request: &'static str,
        /// Its errno.
        #[source]
        errno: Errno,
    },
    /// The kernel's answer does not have the form of rtnetlink(7), or is longer than any that a new namespace can give.
    #[error("unreadable netlink answer: {0}")]
    Malformed(&'static str),
}

/// A route socket in the network namespace where it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens a route socket in the caller's network namespace.
    ///
    /// # Errors
    /// When socket(2) fails.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map_err(|errno| NetlinkError::Socket { call: "socket", errno })?;
        Ok(Self { socket })
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// When the kernel refuses, or cannot be asked.
    pub fn link_up(&mut self, interface: u32) -> Result<(), NetlinkError> {
        self.change("link up", &link_up_request(interface))
    }

    /// Makes all of `address/prefix_bits` local to `interface` (AnyIP).
    ///
    /// # Errors
    /// When the kernel refuses, or cannot be asked.
    pub fn add_local_route(&mut self, address: IpAddr, prefix_bits: u8, interface: u32) -> Result<(), NetlinkError> {
        self.change("local route", &local_route_request(address, prefix_bits, interface))
    }

    /// Every route of every table, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the kernel refuses or cannot be asked, or lists more than [`NETLINK_ROUTES_MAX`].
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            self.send(&list_routes_request(family as u8))?;
            loop {
                let mut buffer = [0; NETLINK_REPLY_BYTES];
                let reply = self.receive(&mut buffer)?;
                if read_routes(reply, &mut routes)? {
                    break;
                }
                if routes.len() > NETLINK_ROUTES_MAX {
                    return Err(NetlinkError::Malformed("more routes than a new namespace can have"));
                }
            }
        }
        Ok(routes)
    }

    fn change(&mut self, request: &'static str, message: &[u8]) -> Result<(), NetlinkError> {
        self.send(message)?;
        let mut buffer = [0; NETLINK_REPLY_BYTES];
        match read_acknowledgement(self.receive(&mut buffer)?)? {
            0 => Ok(()),
            errno => Err(NetlinkError::Refused { request, errno: Errno::from_raw(errno) }),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), NetlinkError> {
        send(self.socket.as_raw_fd(), message, MsgFlags::empty())
            .map(drop)
            .map_err(|errno| NetlinkError::Socket { call: "send", errno })
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], NetlinkError> {
        // MSG_TRUNC: the true length comes back, so an answer that did not fit is seen.
        let length = recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)
            .map_err(|errno| NetlinkError::Socket { call: "recv", errno })?;
        buffer.get(..length).ok_or(NetlinkError::Malformed("longer than the buffer"))
    }
}

fn header(kind: u16, flags: i32, payload: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + payload.len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags as u16).to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes()); // sequence number: one request at a time
    message.extend_from_slice(&0_u32.to_ne_bytes()); // port id: the kernel's
    message.extend_from_slice(payload);
    message
}

/// RTM_NEWLINK with struct ifinfomsg: change IFF_UP alone.
fn link_up_request(interface: u32) -> Vec<u8> {
    let mut payload = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    payload.extend_from_slice(&interface.to_ne_bytes());
    payload.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    payload.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    header(libc::RTM_NEWLINK, libc::NLM_F_REQUEST | libc::NLM_F_ACK, &payload)
}

/// RTM_NEWROUTE with struct rtmsg and two attributes.
fn local_route_request(address: IpAddr, prefix_bits: u8, interface: u32) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    };
    let (table, protocol) = (libc::RT_TABLE_LOCAL, libc::RTPROT_STATIC);
    let (scope, kind) = (libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
    let mut payload = vec![family, prefix_bits, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
    attribute(&mut payload, libc::RTA_DST, &octets);
    attribute(&mut payload, libc::RTA_OIF, &interface.to_ne_bytes());
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    header(libc::RTM_NEWROUTE, flags, &payload)
}

/// RTM_GETROUTE, all tables.
fn list_routes_request(family: u8) -> Vec<u8> {
    let mut payload = [0; ROUTE_BYTES];
    payload[0] = family;
    header(libc::RTM_GETROUTE, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, &payload)
}

/// Appends one attribute whose value is a multiple of four bytes.
fn attribute(payload: &mut Vec<u8>, kind: u16, value: &[u8]) {
    payload.extend_from_slice(&((ATTRIBUTE_BYTES + value.len()) as u16).to_ne_bytes());
    payload.extend_from_slice(&kind.to_ne_bytes());
    payload.extend_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Splits the first message off: its type, its payload, the rest (aligned to four, NLMSG_ALIGN).
fn split(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), NetlinkError> {
    let short = NetlinkError::Malformed("message cut short");
    let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) else { return Err(short) };
    let length = length as usize;
    let payload = bytes.get(HEADER_BYTES..length).ok_or(short)?;
    Ok((kind, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The errno of an acknowledgement; 0 is success.
fn read_acknowledgement(reply: &[u8]) -> Result<i32, NetlinkError> {
    let (kind, payload, _) = split(reply)?;
    if i32::from(kind) != libc::NLMSG_ERROR {
        return Err(NetlinkError::Malformed("no acknowledgement"));
    }
    acknowledged(payload)
}

fn acknowledged(payload: &[u8]) -> Result<i32, NetlinkError> {
    let raw = payload.get(..ERROR_BYTES).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    let negative = raw.ok_or(NetlinkError::Malformed("acknowledgement cut short"))?;
    negative.checked_neg().filter(|errno| *errno >= 0).ok_or(NetlinkError::Malformed("positive error number"))
}

/// Reads one datagram of a route dump; true when it was the last.
fn read_routes(mut reply: &[u8], routes: &mut Vec<Route>) -> Result<bool, NetlinkError> {
    while !reply.is_empty() {
        let (kind, payload, rest) = split(reply)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let errno = Errno::from_raw(acknowledged(payload)?);
                return Err(NetlinkError::Refused { request: "list of routes", errno });
            }
            _ if kind == libc::RTM_NEWROUTE => routes.push(read_route(payload)?),
            _ => return Err(NetlinkError::Malformed("a message that is not a route")),
        }
        reply = rest;
    }
    Ok(false)
}

fn read_route(payload: &[u8]) -> Result<Route, NetlinkError> {
    let short = || NetlinkError::Malformed("route cut short");
    let fixed: &[u8; ROUTE_BYTES] = payload.first_chunk().ok_or_else(short)?;
    let mut route = Route { destination: None, prefix_bits: fixed[1], kind: fixed[7], interface: None };
    let mut attributes = &payload[ROUTE_BYTES..];
    while !attributes.is_empty() {
        let length = usize::from(u16_at(attributes, 0).ok_or_else(short)?);
        let kind = u16_at(attributes, 2).ok_or_else(short)?;
        let value = attributes.get(ATTRIBUTE_BYTES..length).ok_or_else(short)?;
        match kind {
            libc::RTA_DST => route.destination = Some(address(value).ok_or_else(short)?),
            libc::RTA_OIF => route.interface = Some(u32_at(value, 0).ok_or_else(short)?),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(route)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn the_local_route_is_the_message_that_ip_route_sends() {
        // `ip route add local 198.18.0.0/15 dev lo` as strace shows it, sequence number aside.
        let expected = [
            44, 0, 0, 0, 24, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr: REQUEST|ACK|CREATE|EXCL
            2, 15, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0, // rtmsg
            8, 0, 1, 0, 198, 18, 0, 0, // RTA_DST
            8, 0, 4, 0, 1, 0, 0, 0, // RTA_OIF
        ];
        assert_eq!(local_route_request(IpAddr::from([198, 18, 0, 0]), 15, 1), expected);
    }

    #[test]
    fn link_up_changes_the_up_flag_alone() {
        let expected = [
            32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ifinfomsg: index 1, flags UP, change UP
        ];
        assert_eq!(link_up_request(LOOPBACK_INDEX), expected);
    }

    fn reply(kind: u16, payload: &[u8]) -> Vec<u8> {
        header(kind, 0, payload)
    }

    #[test]
    fn an_acknowledgement_carries_its_errno() {
        let ack = |error: i32| reply(libc::NLMSG_ERROR as u16, &error.to_ne_bytes());
        assert_eq!(read_acknowledgement(&ack(0)).unwrap(), 0);
        assert_eq!(read_acknowledgement(&ack(-libc::EPERM)).unwrap(), libc::EPERM);
        assert!(read_acknowledgement(&ack(1)).is_err());
        assert!(read_acknowledgement(&ack(i32::MIN)).is_err());
        assert!(read_acknowledgement(&ack(0)[..19]).is_err());
        assert!(read_acknowledgement(&reply(libc::RTM_NEWROUTE, &[0; 12])).is_err());
        assert!(read_acknowledgement(&[]).is_err());
    }

    fn route_message(family: u8, prefix: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = vec![family, prefix, 0, 0, 255, 2, 254, libc::RTN_LOCAL, 0, 0, 0, 0];
        for (kind, value) in attributes {
            attribute(&mut payload, *kind, value);
        }
        reply(libc::RTM_NEWROUTE, &payload)
    }

    #[test]
    fn a_dump_is_read_to_its_end_and_not_beyond() {
        let mut bytes = route_message(2, 8, &[(libc::RTA_DST, &[127, 0, 0, 0]), (libc::RTA_OIF, &[1, 0, 0, 0])]);
        bytes.extend(route_message(2, 0, &[(libc::RTA_GATEWAY, &[10, 0, 0, 1])]));
        let mut routes = Vec::new();
        assert!(!read_routes(&bytes, &mut routes).unwrap());
        bytes.extend(reply(libc::NLMSG_DONE as u16, &[0; 4]));
        routes.clear();
        assert!(read_routes(&bytes, &mut routes).unwrap());
        let local = Some(IpAddr::from([127, 0, 0, 0]));
        assert_eq!(
            routes,
            [
                Route { destination: local, prefix_bits: 8, kind: libc::RTN_LOCAL, interface: Some(1) },
                Route { destination: None, prefix_bits: 0, kind: libc::RTN_LOCAL, interface: None },
            ]
        );
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let whole = route_message(10, 128, &[(libc::RTA_DST, &[0; 16])]);
        for cut in 1..whole.len() {
            assert!(read_routes(&whole[..cut], &mut Vec::new()).is_err(), "cut at {cut}");
        }
        let mut short_length = whole.clone();
        short_length[0] = 15;
        assert!(read_routes(&short_length, &mut Vec::new()).is_err());
        let mut endless = whole;
        endless[28] = 0; // an attribute of length 0 would never advance
        assert!(read_routes(&endless, &mut Vec::new()).is_err());
        assert!(read_routes(&route_message(2, 8, &[(libc::RTA_DST, &[1; 8])]), &mut Vec::new()).is_err());
    }
}
