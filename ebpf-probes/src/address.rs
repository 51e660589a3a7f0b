//! Classes of destination, decided on words in network order, as the kernel hands them out.
//!
//! Words and not bytes: what is taken apart and put together again, the verifier walks through on every path of every
//! program, and that is what a launch waits for.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use intercept_sandbox_abi::{AF_INET, AF_INET6, STUB_ADDRESS, STUB_PORT};

/// The stub's address, network order.
const STUB: u32 = u32::from_ne_bytes(STUB_ADDRESS);
/// 127.0.0.0/8, network order.
const LOOPBACK: u32 = u32::from_ne_bytes([127, 0, 0, 0]);
/// Its mask.
const FIRST_BYTE: u32 = u32::from_ne_bytes([0xff, 0, 0, 0]);
/// The third word of `::ffff:a.b.c.d`, network order.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
/// The last word of `::1`, network order.
const ONE: u32 = u32::from_ne_bytes([0, 0, 0, 1]);

/// The socket address that a hook is asked about.
pub struct Asked {
    /// `AF_INET` or `AF_INET6`: which hook runs, not what the caller wrote.
    pub family: u8,
    /// `SOCK_*`.
    pub kind: u8,
    /// `IPPROTO_*`.
    pub proto: u16,
    /// The address, network order: IPv4 in the first word.
    pub dst: [u32; 4],
    /// The port, host order.
    pub port: u16,
}

/// Reads one field of a context. Volatile: the verifier wants exactly this load at exactly this offset.
macro_rules! field {
    ($pointer:expr, $($name:tt)+) => {
        // SAFETY: the kernel hands a valid context and the verifier checks offset and width of each access.
        unsafe { core::ptr::read_volatile(&raw const (*$pointer).$($name)+) }
    };
}
pub(crate) use field;

impl Asked {
    /// What an IPv4 hook is asked.
    #[inline(always)]
    pub fn v4(ctx: &SockAddrContext) -> Self {
        let mut asked = Self::common(ctx.sock_addr, AF_INET);
        asked.dst[0] = field!(ctx.sock_addr, user_ip4);
        asked
    }

    /// What an IPv6 hook is asked.
    #[inline(always)]
    pub fn v6(ctx: &SockAddrContext) -> Self {
        let mut asked = Self::common(ctx.sock_addr, AF_INET6);
        asked.dst = [
            field!(ctx.sock_addr, user_ip6[0]),
            field!(ctx.sock_addr, user_ip6[1]),
            field!(ctx.sock_addr, user_ip6[2]),
            field!(ctx.sock_addr, user_ip6[3]),
        ];
        asked
    }

    #[inline(always)]
    fn common(pointer: *mut bpf_sock_addr, family: u8) -> Self {
        Self {
            family,
            kind: field!(pointer, type_) as u8,
            proto: field!(pointer, protocol) as u16,
            dst: [0; 4],
            // __u32 whose low half holds the port in network order.
            port: u16::from_be(field!(pointer, user_port) as u16),
        }
    }

    /// The IPv4 destination, network order; also when it is written as `::ffff:a.b.c.d` (RFC 4291 2.5.5.2).
    #[inline(always)]
    pub fn ipv4(&self) -> Option<u32> {
        let [first, second, third, last] = self.dst;
        if self.family == AF_INET {
            return Some(first);
        }
        if first | second == 0 && third == MAPPED { Some(last) } else { None }
    }

    /// 127.0.0.0/8 in either writing, or `::1`.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        match self.ipv4() {
            Some(address) => address & FIRST_BYTE == LOOPBACK,
            None => self.ends_in(ONE),
        }
    }

    /// 0.0.0.0 in either writing, or `::`.
    #[inline(always)]
    pub fn is_any(&self) -> bool {
        match self.ipv4() {
            Some(address) => address == 0,
            None => self.ends_in(0),
        }
    }

    /// The DNS stub.
    #[inline(always)]
    pub fn is_stub(&self) -> bool {
        self.port == STUB_PORT && self.ipv4() == Some(STUB)
    }

    /// Twelve zero bytes and then this word, network order.
    #[inline(always)]
    fn ends_in(&self, word: u32) -> bool {
        let [first, second, third, last] = self.dst;
        first | second | third == 0 && last == word
    }
}
