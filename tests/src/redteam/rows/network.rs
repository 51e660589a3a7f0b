//! Roads out.

use super::super::eyes::{Judge, connects, connects_abstract, file_of};
use super::{Argument, Group, Row};

const NETNS: &str = "network namespace";
const HOOKS: &str = "cgroup BPF";
const GATEWAY: &str = "gateway";
const STUB: &str = "DNS stub";
const SECCOMP: &str = "seccomp";
const CAPS: &str = "no capabilities";
const OUT: &str = "tcp 1.1.1.1:443";
const OUT_UDP: &str = "udp 1.1.1.1:443";
const DNS: &str = "udp 8.8.8.8:53";

const fn row(id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Network, id, what, judge, layers)
}

const fn canary(id: &'static str, what: &'static str, name: &'static str, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Canary(name), layers)
}

/// A TCP connection to an address of the arena.
const fn tcp(id: &'static str, what: &'static str, address: &'static str, canary: &'static str) -> Row {
    row(id, what, Judge::Canary(canary), [NETNS, HOOKS]).by("tcp-to", Argument::Text(address))
}

/// Bytes on a connection to the allowed host that the gateway must not pass on.
const fn gateway(id: &'static str, what: &'static str) -> Row {
    row(id, what, Judge::StandIn, [GATEWAY, ""])
}

const fn held(id: &'static str, what: &'static str, part: &'static str, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Descriptor(part), layers)
}

const fn netlink(id: &'static str, what: &'static str, protocol: u32, text: &'static str) -> Row {
    row(id, what, Judge::Netlink(protocol), [SECCOMP, ""]).by("netlink", Argument::Text(text))
}

pub(super) const ROWS: &[Row] = &[
    canary("tcp-literal", "TCP to a public IPv4 address", OUT, [NETNS, HOOKS]),
    canary("tcp-other-name", "TCP to a host no policy names", "tcp 203.0.113.9:443", [STUB, NETNS]),
    canary("tcp-other-port", "the allowed host, another port", "tcp 203.0.113.10:8443", [HOOKS, GATEWAY]),
    tcp(
        "tcp-allowed-address-http",
        "the allowed host's own address, port 80",
        "203.0.113.10:80",
        "tcp 203.0.113.10:80",
    ),
    canary("tcp-mapped", "::ffff:1.1.1.1", OUT, [NETNS, HOOKS]),
    tcp("tcp-compatible", "::1.1.1.1", "[::101:101]:443", "tcp [::101:101]:443"),
    tcp("tcp-nat64", "64:ff9b::1.1.1.1", "[64:ff9b::101:101]:443", "tcp [64:ff9b::101:101]:443"),
    tcp("tcp-6to4", "2002:0101:0101::1", "[2002:101:101::1]:443", "tcp [2002:101:101::1]:443"),
    canary("tcp-v6", "TCP to a public IPv6 address", "tcp [2001:db8::53]:443", [NETNS, HOOKS]),
    canary("tcp-metadata", "the cloud's metadata address", "tcp 169.254.169.254:80", [NETNS, HOOKS]),
    tcp("tcp-metadata-v6", "the same over IPv6", "[fd00:ec2::254]:80", "tcp [fd00:ec2::254]:80"),
    tcp("tcp-metadata-other", "another cloud's", "100.100.100.200:80", "tcp 100.100.100.200:80"),
    canary("tcp-private", "10.0.0.0/8", "tcp 10.0.0.5:80", [NETNS, HOOKS]),
    tcp("tcp-private-172", "172.16.0.0/12", "172.16.7.7:80", "tcp 172.16.7.7:80"),
    tcp("tcp-private-192", "192.168.0.0/16", "192.168.7.7:80", "tcp 192.168.7.7:80"),
    tcp("tcp-loopback", "the host's loopback", "127.0.0.1:8080", "tcp 127.0.0.1:8080"),
    tcp("tcp-any-address", "0.0.0.0, which is this host", "0.0.0.0:8080", "tcp 127.0.0.1:8080"),
    tcp("tcp-mapped-loopback", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:8080", "tcp 127.0.0.1:8080"),
    canary("tcp-mptcp", "multipath TCP", OUT, [SECCOMP, HOOKS]),
    canary("tcp-fastopen", "data in the SYN (MSG_FASTOPEN)", OUT, [SECCOMP, NETNS]),
    canary("tcp-fastopen-connect", "TCP_FASTOPEN_CONNECT", OUT, [SECCOMP, NETNS]),
    canary("tcp-bound-to-device", "SO_BINDTODEVICE first", OUT, [SECCOMP, NETNS]),
    canary("tcp-bound-to-source", "from the allowed host's address", OUT, [NETNS, HOOKS]),
    canary("tcp-late", "200 connections without waiting", OUT, [NETNS, HOOKS]),
    canary("udp-sendto", "UDP, sendto", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-sendmsg", "UDP, sendmsg", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-sendmmsg", "UDP, sendmmsg", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-connected", "UDP, connected", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-unspec", "UDP to an AF_UNSPEC address", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-reconnected", "UDP, connected twice", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-v4-on-v6", "an IPv4 address on an IPv6 socket", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-mapped", "UDP to ::ffff:1.1.1.1", OUT_UDP, [NETNS, HOOKS]),
    canary("udp-v6", "UDP to a public IPv6 address", "udp [2606:4700:4700::1111]:53", [NETNS, HOOKS]),
    canary("udp-loopback", "UDP to the host's loopback", "udp 127.0.0.1:8080", [NETNS, HOOKS])
        .by("udp-to", Argument::Text("127.0.0.1:8080")),
    canary("quic-allowed-host", "QUIC to the allowed host", "udp 203.0.113.10:443", [HOOKS, NETNS]),
    canary("dns-direct", "a query to a public resolver", DNS, [NETNS, HOOKS]),
    canary("dns-tunnel", "data in a name", DNS, [STUB, NETNS]),
    canary("dns-tunnel-below-allowed", "data in a name below the allowed one", DNS, [STUB, NETNS]),
    canary("dns-long-labels", "three labels of 63 bytes", DNS, [STUB, NETNS]),
    canary("dns-txt", "TXT, by the given resolver", DNS, [STUB, NETNS]),
    canary("dns-null", "NULL, by the given resolver", DNS, [STUB, NETNS]),
    canary("dns-any", "ANY of the allowed name", DNS, [STUB, NETNS]),
    canary("dns-nul-in-name", "a NUL before the allowed name", DNS, [STUB, NETNS]),
    canary("dns-random-labels", "fifty random names", DNS, [STUB, NETNS]),
    canary("dns-two-questions", "the allowed name and another in one query", DNS, [STUB, NETNS]),
    canary("dns-over-tcp", "a query over TCP, with data after it", "tcp 8.8.8.8:53", [STUB, NETNS]),
    tcp("dns-over-tls", "DNS over TLS", "8.8.8.8:853", "tcp 8.8.8.8:853"),
    tcp("dns-over-https", "DNS over HTTPS", "8.8.8.8:443", "tcp 8.8.8.8:443"),
    canary(
        "hosts-poisoned",
        "the allowed name, another address in /etc/hosts",
        "tcp 203.0.113.9:443",
        ["read-only /etc", NETNS],
    ),
    canary(
        "resolver-poisoned",
        "a resolver of its own in /etc/resolv.conf",
        "udp 203.0.113.9:53",
        ["read-only /etc", NETNS],
    ),
    gateway("sni-other", "TLS to the allowed address under another name"),
    gateway("sni-none", "TLS without a name"),
    gateway("sni-split", "another name over many records"),
    gateway("sni-two-names", "two names in one extension"),
    gateway("sni-twice", "the extension twice"),
    gateway("sni-nul", "a NUL in the name"),
    gateway("sni-suffix", "the allowed name below another"),
    gateway("sni-prefix", "a name that ends in the allowed one"),
    gateway("sni-userinfo", "the allowed name before an @"),
    gateway("sni-punycode", "a look-alike in punycode"),
    gateway("sni-address", "an address for a name"),
    gateway("sni-encrypted", "an encrypted name under the allowed one (ECH)"),
    row(
        "sni-retry",
        "another name in the hello that a HelloRetryRequest asks for",
        Judge::HeardInClear("exfil.example"),
        [GATEWAY, ""],
    ),
    gateway("http-plain", "HTTP where TLS is meant"),
    gateway("http-connect", "CONNECT through the gateway"),
    gateway("http-absolute", "a request for another host's URL"),
    gateway("http-upgrade", "an upgrade to h2c"),
    gateway("not-tls", "bytes that are no protocol"),
    canary("raw-icmp", "an ICMP echo with data", "icmp", [SECCOMP, CAPS]),
    canary("raw-ip", "an IP packet made by hand", OUT_UDP, [SECCOMP, CAPS]),
    canary("packet-socket", "an Ethernet frame made by hand", OUT_UDP, [SECCOMP, CAPS]),
    canary("packet-dgram", "the same without the header", OUT_UDP, [SECCOMP, CAPS]),
    canary("unix-abstract", "an abstract Unix socket of the host", "unix abstract", [NETNS, "Landlock"]),
    canary("unix-path", "a Unix socket of the host by path", "unix path", ["own root", ""])
        .told(Argument::Text("/mnt/arena/private/canary.sock")),
    canary("unix-path-shown", "the same in a folder that may be read", "unix shown", ["owner map", ""])
        .by("unix-path", Argument::Text("/mnt/arena/shown/canary.sock")),
    row(
        "unix-listen-abstract",
        "listens on an abstract name for the host",
        Judge::Reachable(|| connects_abstract("isb-redteam")),
        [NETNS, "Landlock"],
    ),
    row(
        "listen-tcp",
        "listens on all addresses for the host",
        Judge::Reachable(|| connects("203.0.113.10:7777")),
        [NETNS, HOOKS],
    ),
    held("socket-udplite", "UDP-Lite, past hooks for UDP", "socket:UDP-Lite", [SECCOMP, HOOKS]),
    held("socket-ping", "an unprivileged ICMP socket", "socket:PING", [SECCOMP, HOOKS]),
    held("socket-ping6", "the same for IPv6", "socket:PING", [SECCOMP, HOOKS]),
    held("socket-sctp", "SCTP", "socket:SCTP", [SECCOMP, HOOKS]).loads_modules(),
    held("socket-mptcp", "multipath TCP over IPv6", "socket:MPTCP", [SECCOMP, HOOKS]),
    held("socket-vsock", "the hypervisor's sockets, in no namespace", "socket:AF_VSOCK", [SECCOMP, ""]),
    held("socket-alg", "the kernel's cryptography", "socket:ALG", [SECCOMP, ""]),
    held("socket-xdp", "AF_XDP", "socket:XDP", [SECCOMP, CAPS]),
    held("socket-key", "AF_KEY", "socket:KEY", [SECCOMP, CAPS]).loads_modules(),
    held(
        "socket-unix-seqpacket",
        "Unix sockets of a type that no runtime was seen to need",
        "socket:UNIX",
        [SECCOMP, ""],
    ),
    held("socket-raw6", "a raw IPv6 socket", "socket:RAWv6", [SECCOMP, CAPS]),
    row("socket-every-family", "every family from 3 to 46 but IPv6 and netlink", Judge::Word, [SECCOMP, ""])
        .loads_modules(),
    netlink("netlink-sock-diag", "sockets of all processes (sock_diag)", 4, "4"),
    netlink("netlink-xfrm", "IPsec", 6, "6"),
    netlink("netlink-audit", "the kernel's audit", 9, "9"),
    netlink("netlink-connector", "process events (connector)", 11, "11"),
    netlink("netlink-netfilter", "the firewall", 12, "12"),
    netlink("netlink-uevent", "device events", 15, "15"),
    netlink("netlink-generic", "generic netlink", 16, "16"),
    row(
        "netlink-new-address",
        "a further address on its interface",
        Judge::Process(|process, _| file_of(process, "net/fib_trie").contains("192.0.2.77")),
        [CAPS, "user namespace"],
    ),
    row("so-mark", "SO_MARK, which routes around", Judge::Word, [SECCOMP, CAPS]),
    row("so-attach-filter", "a BPF filter on a socket", Judge::Word, [SECCOMP, ""]),
    row("so-rcvbufforce", "a buffer over the system's bound", Judge::Word, [CAPS, "user namespace"]),
    row("tcp-repair", "a connection out of nothing (TCP_REPAIR)", Judge::Word, [SECCOMP, CAPS]),
    row("tcp-ulp", "an upper layer protocol by name, which loads modules", Judge::Word, [SECCOMP, CAPS]),
    row("ip-transparent", "IP_TRANSPARENT: other hosts' addresses", Judge::Word, [CAPS, "user namespace"]),
    row("netfilter-table", "replaces a netfilter table", Judge::Word, [SECCOMP, CAPS]),
];
