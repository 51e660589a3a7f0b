//! Classes of destination, decided on bytes in network order.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use intercept_sandbox_abi::{AF_INET, AF_INET6, STUB_ADDRESS, STUB_PORT};

/// The socket address that a hook is asked about.
pub struct Asked {
    /// `AF_INET` or `AF_INET6`: which hook runs, not what the caller wrote.
    pub family: u8,
    /// `SOCK_*`.
    pub kind: u8,
    /// `IPPROTO_*`.
    pub proto: u16,
    /// The address: IPv4 in the first four bytes.
    pub dst: [u8; 16],
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
        let [a, b, c, d] = field!(ctx.sock_addr, user_ip4).to_ne_bytes();
        Self { dst: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ..Self::common(ctx.sock_addr, AF_INET) }
    }

    /// What an IPv6 hook is asked.
    #[inline(always)]
    pub fn v6(ctx: &SockAddrContext) -> Self {
        let [a, b, c, d] = field!(ctx.sock_addr, user_ip6[0]).to_ne_bytes();
        let [e, f, g, h] = field!(ctx.sock_addr, user_ip6[1]).to_ne_bytes();
        let [i, j, k, l] = field!(ctx.sock_addr, user_ip6[2]).to_ne_bytes();
        let [m, n, o, p] = field!(ctx.sock_addr, user_ip6[3]).to_ne_bytes();
        Self { dst: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], ..Self::common(ctx.sock_addr, AF_INET6) }
    }

    #[inline(always)]
    fn common(pointer: *mut bpf_sock_addr, family: u8) -> Self {
        Self {
            family,
            kind: field!(pointer, type_) as u8,
            proto: field!(pointer, protocol) as u16,
            dst: [0; 16],
            // __u32 whose low half holds the port in network order.
            port: u16::from_be(field!(pointer, user_port) as u16),
        }
    }

    /// The IPv4 destination, also when it is written as `::ffff:a.b.c.d` (RFC 4291 2.5.5.2).
    #[inline(always)]
    pub fn ipv4(&self) -> Option<[u8; 4]> {
        let d = &self.dst;
        if self.family == AF_INET {
            return Some([d[0], d[1], d[2], d[3]]);
        }
        let mapped = self.starts_with_zeroes() && d[10] == 0xff && d[11] == 0xff;
        if mapped { Some([d[12], d[13], d[14], d[15]]) } else { None }
    }

    /// 127.0.0.0/8 in either writing, or `::1`.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        match self.ipv4() {
            Some([first, ..]) => first == 127,
            None => self.starts_with_zeroes() && self.tail() == [0, 0, 0, 0, 0, 1],
        }
    }

    /// 0.0.0.0 in either writing, or `::`.
    #[inline(always)]
    pub fn is_any(&self) -> bool {
        match self.ipv4() {
            Some(address) => address == [0; 4],
            None => self.starts_with_zeroes() && self.tail() == [0; 6],
        }
    }

    /// The DNS stub.
    #[inline(always)]
    pub fn is_stub(&self) -> bool {
        self.port == STUB_PORT && self.ipv4() == Some(STUB_ADDRESS)
    }

    #[inline(always)]
    fn starts_with_zeroes(&self) -> bool {
        let d = &self.dst;
        (d[0] | d[1] | d[2] | d[3] | d[4] | d[5] | d[6] | d[7] | d[8] | d[9]) == 0
    }

    #[inline(always)]
    fn tail(&self) -> [u8; 6] {
        let d = &self.dst;
        [d[10], d[11], d[12], d[13], d[14], d[15]]
    }
}
