//! The address that a call names, read from the kernel's copy of it.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use intercept_sandbox_abi::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM};

use crate::address::Asked;

/// `AF_UNSPEC`, address_families(7).
const AF_UNSPEC: u8 = 0;

/// `struct sockaddr_in` and `struct sockaddr_in6` up to the end of the address. The kernel's copy is a `sockaddr_storage`.
#[repr(C)]
struct Name {
    family: u16,
    /// Network order.
    port: u16,
    /// An IPv4 address, or the flow of an IPv6 one. Network order, as the rest.
    v4: u32,
    v6: [u32; 4],
}

/// `struct socket`, as far as it is read here; the loader compares it with the kernel's own description.
#[repr(C)]
pub struct Socket {
    state: i32,
    kind: i16,
}

/// `struct msghdr` of the kernel, likewise.
#[repr(C)]
pub struct Message {
    name: *const Name,
    name_bytes: i32,
}

/// What a call names.
pub enum Named {
    /// No address, or one of a family that is not IP.
    Nothing,
    /// An IP address.
    Ip(Asked),
    /// It could not be read.
    Unread,
}

/// What a message names. `AF_UNSPEC` is IPv4 here, as for the kernel's UDP.
#[inline(always)]
pub fn of_message(socket: *const Socket, message: *const Message) -> Named {
    // SAFETY: the helper checks the address and says so when it cannot be read.
    match unsafe { bpf_probe_read_kernel(message) } {
        Ok(Message { name, name_bytes }) if !name.is_null() && name_bytes >= 2 => read(socket, name, AF_INET),
        Ok(_) => Named::Nothing,
        Err(_) => Named::Unread,
    }
}

/// What connect(2) names: `name` is a `struct sockaddr *`. `AF_UNSPEC` takes a connection back, and names nothing.
#[inline(always)]
pub fn of_connect(socket: *const Socket, name: *const u8, name_bytes: i32) -> Named {
    if name_bytes < 2 { Named::Nothing } else { read(socket, name.cast(), AF_UNSPEC) }
}

/// `unspecified` is the family that `AF_UNSPEC` stands for.
#[inline(always)]
fn read(socket: *const Socket, name: *const Name, unspecified: u8) -> Named {
    // SAFETY: as above.
    let Ok(name) = (unsafe { bpf_probe_read_kernel(name) }) else { return Named::Unread };
    let family = if name.family == AF_UNSPEC as u16 { unspecified as u16 } else { name.family };
    if family != AF_INET as u16 && family != AF_INET6 as u16 {
        return Named::Nothing;
    }
    // SAFETY: as above.
    let Ok(Socket { kind, .. }) = (unsafe { bpf_probe_read_kernel(socket) }) else { return Named::Unread };
    let kind = kind as u8;
    let proto = match kind {
        SOCK_STREAM => IPPROTO_TCP,
        SOCK_DGRAM => IPPROTO_UDP,
        _ => 0,
    };
    let dst = if family == AF_INET as u16 { [name.v4, 0, 0, 0] } else { name.v6 };
    Named::Ip(Asked { family: family as u8, kind, proto, dst, port: u16::from_be(name.port) })
}
