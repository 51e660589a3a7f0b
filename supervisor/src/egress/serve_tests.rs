//! The whole egress process in a thread, on loopback: 127.0.0.x stands for the synthetic addresses of the namespace.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::{PrivateKeyDer, ServerName};

use super::*;
use crate::bounds::GATEWAY_CONNECTIONS_MAX;
use crate::egress::client_hello::made;
use crate::egress::dialer::DialerParts;
use crate::egress::hosts::planned;
use crate::egress::report::{NetOp, NetVerdict, Received, Reply, Report, decode_report, encode_reply};
use crate::egress::{SystemDns, dial_link, dialer};
use crate::policy::TlsMode;
use crate::sandbox::plan::ConnectTo;

const API: [u8; 4] = [127, 0, 0, 2];
const PLAIN: [u8; 4] = [127, 0, 0, 3];
const SMALL: [u8; 4] = [127, 0, 0, 4];
const REBOUND: [u8; 4] = [127, 0, 0, 5];
const NOBODY: [u8; 4] = [127, 0, 0, 99];
const SMALL_BYTES_MAX: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(8);

/// A ServerHello, as far as the gateway reads.
const GREETING: [u8; 43] = {
    let mut greeting = [7; 43];
    let (head, _) = greeting.split_at_mut(11);
    head.copy_from_slice(&[22, 3, 3, 0, 44, 2, 0, 0, 40, 3, 3]);
    greeting
};

type Handler = fn(TcpStream);

/// A report and how many connections the upstream had seen when it came.
struct Heard {
    report: Report,
    dialled_before: usize,
}

struct Rig {
    port: u16,
    other_port: u16,
    dns_udp: SocketAddr,
    dns_tcp: SocketAddr,
    dialled: Arc<AtomicUsize>,
    relay: Arc<Channel>,
    hang_up: Arc<AtomicBool>,
    heard: Receiver<Heard>,
    egress: JoinHandle<Result<(), EgressError>>,
}

impl Rig {
    /// Egress with its gate open and a relay that confirms.
    fn open(upstream: Handler) -> Self {
        let rig = Self::start(upstream, true);
        rig.say(Reply::GateOpen { opened_ns: 0 });
        rig
    }

    fn start(upstream: Handler, confirms: bool) -> Self {
        Self::start_with(upstream, confirms, None::<NoEvents>)
    }

    fn start_with<E: EventSource + Send + 'static>(upstream: Handler, confirms: bool, events: Option<E>) -> Self {
        let (upstream_port, dialled) = upstream_of(upstream);
        let any = || TcpListener::bind("0.0.0.0:0").unwrap();
        let (gateway, other, dns_tcp) = (any(), any(), TcpListener::bind("127.0.0.1:0").unwrap());
        let dns_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (port, other_port) = (gateway.local_addr().unwrap().port(), other.local_addr().unwrap().port());
        let addresses = (dns_udp.local_addr().unwrap(), dns_tcp.local_addr().unwrap());
        for socket in [&gateway, &other, &dns_tcp] {
            socket.set_nonblocking(true).unwrap();
        }
        dns_udp.set_nonblocking(true).unwrap();
        let (relay, report) = Channel::pair().unwrap();
        let parts = EgressParts {
            listeners: Listeners { gateway, dns_udp, dns_tcp, fallback: vec![(other_port, other)] },
            events,
            network: network(port, upstream_port),
            report: report.into_fd(),
            dialer: Some(dialer_of(network(port, upstream_port))),
        };
        let egress = thread::spawn(move || serve(parts));
        let (relay, hang_up) = (Arc::new(relay), Arc::new(AtomicBool::new(false)));
        let heard = listen(&relay, &hang_up, confirms, &dialled);
        let (dns_udp, dns_tcp) = addresses;
        Self { port, other_port, dns_udp, dns_tcp, dialled, relay, hang_up, heard, egress }
    }

    fn say(&self, reply: Reply) {
        let mut datagram = Vec::new();
        encode_reply(&reply, &mut datagram).unwrap();
        assert_eq!(self.relay.send(&datagram).unwrap(), crate::egress::report::Sent::Done);
    }

    fn connect(&self, address: [u8; 4]) -> TcpStream {
        connect(address, self.port)
    }

    fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("a report")
    }

    fn event(&self) -> NetEvent {
        match self.hear().report {
            Report::Net { event, .. } => event,
            other => panic!("{other:?}"),
        }
    }

    fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }

    /// The relay hangs up; egress must end by itself.
    fn end(self) -> Result<(), EgressError> {
        self.hang_up.store(true, Ordering::SeqCst);
        let Self { relay, heard, egress, .. } = self;
        drop(relay);
        while heard.recv_timeout(PATIENCE).is_ok() {}
        egress.join().unwrap()
    }
}

fn network(port: u16, to_port: u16) -> NetworkPlan {
    let mut hosts = vec![
        planned("api.example", API, &[port]),
        planned("plain.example", PLAIN, &[port]),
        planned("small.example", SMALL, &[port]),
        planned("rebound.example", REBOUND, &[port]),
    ];
    for plain in &mut hosts[1..] {
        plain.tls = TlsMode::None;
    }
    hosts[2].max_bytes_out = Some(SMALL_BYTES_MAX);
    let to = |host: &str| ConnectTo { host: host.into(), port, to_host: "127.0.0.1".into(), to_port };
    NetworkPlan { hosts, connect_to: ["api.example", "plain.example", "small.example"].map(to).into() }
}

/// The dialer process, in a thread; gives egress's end.
fn dialer_of(network: NetworkPlan) -> OwnedFd {
    let (egress, dialer) = dial_link::pair().unwrap();
    let dns = SystemDns::from_texts(b"", b"127.0.0.1 rebound.example\n").unwrap();
    thread::spawn(move || dialer::serve(DialerParts::of(network, dialer, dns)).unwrap());
    egress
}

fn upstream_of(handler: Handler) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || handler(stream.unwrap()));
        }
    });
    (port, dialled)
}

/// The relay's side: a poll(2) loop, as in the program.
fn listen(
    relay: &Arc<Channel>,
    hang_up: &Arc<AtomicBool>,
    confirms: bool,
    dialled: &Arc<AtomicUsize>,
) -> Receiver<Heard> {
    let (sender, receiver) = channel();
    let (relay, hang_up, dialled) = (Arc::clone(relay), Arc::clone(hang_up), Arc::clone(dialled));
    thread::spawn(move || {
        let mut datagram = Vec::new();
        while !hang_up.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(relay.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(20u8)).unwrap();
            match relay.recv(&mut datagram).unwrap() {
                Received::WouldBlock => continue,
                Received::Closed => break,
                Received::Message => {}
            }
            let report = decode_report(&datagram).unwrap();
            let ticket = match &report {
                Report::Net { ticket, .. } if confirms => *ticket,
                _ => None,
            };
            let _ = sender.send(Heard { report, dialled_before: dialled.load(Ordering::SeqCst) });
            if let Some(ticket) = ticket {
                encode_reply(&Reply::Recorded { ticket }, &mut datagram).unwrap();
                let _ = relay.send(&datagram);
            }
        }
    });
    receiver
}

fn connect(address: [u8; 4], port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::from(address), port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// Greets a ClientHello as a server does that goes on with it, and sends back all that it hears.
fn greet_and_echo(mut stream: TcpStream) {
    stream.write_all(&GREETING).unwrap();
    echo(stream);
}

/// Answers only when the other side has said everything.
fn answer_after_end(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(format!("heard {} bytes", all.len()).as_bytes()).unwrap();
}

fn was_reset(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

fn hello_named(name: &str) -> Vec<u8> {
    made::records(&made::hello(&[made::server_name(name.as_bytes()), made::usual()].concat()), 5000)
}

#[test]
fn tls_to_the_allowed_name_passes_end_to_end() {
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    static SERVER: std::sync::OnceLock<Arc<rustls::ServerConfig>> = std::sync::OnceLock::new();
    SERVER.set(Arc::new(server)).unwrap();
    let rig = Rig::open(|stream| {
        let tls = rustls::ServerConnection::new(Arc::clone(SERVER.get().unwrap())).unwrap();
        let mut tls = rustls::StreamOwned::new(tls, stream);
        let mut question = [0; 5];
        tls.read_exact(&mut question).unwrap();
        tls.write_all(b"world").unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    });

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("api.example").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut tls = rustls::StreamOwned::new(tls, rig.connect(API));
    tls.write_all(b"hello").unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "world");
    drop(tls);

    let first = rig.hear();
    assert_eq!(first.dialled_before, 0, "recorded before it was dialled");
    let Report::Net { ticket: Some(_), event } = first.report else { panic!("{:?}", first.report) };
    assert_eq!((event.op, event.verdict), (NetOp::Sni, NetVerdict::Allowed));
    assert_eq!((event.host.as_deref(), event.sni.as_deref()), (Some("api.example"), Some("api.example")));
    assert_eq!((event.dst_ip, event.dst_port), (Some(Ipv4Addr::from(API).into()), Some(rig.port)));
    let flow = rig.event();
    assert_eq!((flow.op, flow.verdict, flow.host.as_deref()), (NetOp::Flow, NetVerdict::Allowed, Some("api.example")));
    assert!(flow.bytes_in.unwrap() > 300 && flow.bytes_out.unwrap() > 200, "{flow:?}");
    assert_eq!(rig.dialled(), 1);
    rig.end().unwrap();
}

#[test]
fn a_hello_in_many_segments_and_records_arrives_upstream_byte_for_byte() {
    let rig = Rig::open(greet_and_echo);
    let stream = made::records(&made::hello(&[made::server_name(b"API.example"), made::usual()].concat()), 7);
    let mut client = rig.connect(API);
    for byte in &stream {
        client.write_all(std::slice::from_ref(byte)).unwrap();
    }
    let mut echoed = vec![0; GREETING.len() + stream.len()];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, [&GREETING[..], &stream].concat());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(rig.event().sni.as_deref(), Some("API.example"));
    let flow = rig.event();
    let (out, back) = (Some(stream.len() as u64), Some(echoed.len() as u64));
    assert_eq!((flow.bytes_out, flow.bytes_in, flow.reason.as_str()), (out, back, ""));
    rig.end().unwrap();
}

#[test]
fn every_other_hello_is_reset_reported_and_not_dialled() {
    let rig = Rig::open(echo);
    let usual = made::usual();
    let ech = made::extension(0xfe0d, &[0, 0, 1, 0, 1, 5, 0, 1, 9, 0, 1, 3]);
    let in_record = |extensions: &[Vec<u8>]| made::records(&made::hello(&extensions.concat()), 5000);
    let cases: [(&str, Vec<u8>, &str, Option<&str>); 8] = [
        (
            "other name",
            hello_named("evil.example"),
            "the server name of the ClientHello is not the host",
            Some("evil.example"),
        ),
        ("no name", in_record(std::slice::from_ref(&usual)), "the ClientHello names no server", None),
        (
            "encrypted",
            in_record(&[made::server_name(b"api.example"), usual, ech]),
            "the ClientHello is encrypted",
            Some("api.example"),
        ),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n".to_vec(), "not TLS", None),
        ("garbage", vec![0xa5; 100], "not TLS", None),
        ("SSLv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00".to_vec(), "not TLS", None),
        (
            "oversize",
            made::records(&[&[1, 0, 0xff, 0xff][..], &vec![0; 0xffff]].concat(), 16_000),
            "the ClientHello is over the bound",
            None,
        ),
        ("two messages", made::records(&[&[1, 0, 0, 1, 0][..], &[1, 0, 0, 1, 0]].concat(), 5000), "", None),
    ];
    for (case, bytes, reason, sni) in cases {
        let mut client = rig.connect(API);
        let _ = client.write_all(&bytes); // the reset may come before the last byte
        assert!(was_reset(&mut client), "{case}");
        let event = rig.event();
        assert_eq!((event.op, event.verdict), (NetOp::Sni, NetVerdict::Denied), "{case}");
        assert!(!event.reason.is_empty() && event.reason.contains(reason), "{case}: {}", event.reason);
        assert_eq!((event.sni.as_deref(), event.host.as_deref()), (sni, Some("api.example")), "{case}");
    }
    let mut client = rig.connect(API);
    client.write_all(&hello_named("api.example")[..20]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(was_reset(&mut client));
    assert_eq!(rig.event().reason, "the connection ended within the ClientHello");
    assert_eq!(rig.dialled(), 0);
    rig.end().unwrap();
}

#[test]
fn an_unknown_address_is_reset_and_its_name_recorded() {
    let rig = Rig::open(echo);
    let mut client = rig.connect(NOBODY);
    client.write_all(&hello_named("evil.example")).unwrap();
    assert!(was_reset(&mut client));
    let event = rig.event();
    assert_eq!((event.op, event.verdict), (NetOp::Sni, NetVerdict::Denied));
    assert_eq!(event.reason, "an address that stands for no host of the policy");
    assert_eq!((event.sni.as_deref(), event.host), (Some("evil.example"), None));
    assert_eq!(event.dst_ip, Some(Ipv4Addr::from(NOBODY).into()));
    let mut silent = rig.connect(NOBODY);
    assert!(was_reset(&mut silent));
    let event = rig.event();
    assert_eq!((event.op, event.sni), (NetOp::Connect, None));
    assert_eq!(rig.dialled(), 0);
    rig.end().unwrap();
}

#[test]
fn another_port_of_an_allowed_host_is_reset() {
    let rig = Rig::open(echo);
    let mut client = connect(API, rig.other_port);
    client.write_all(&hello_named("api.example")).unwrap();
    assert!(was_reset(&mut client));
    let event = rig.event();
    assert_eq!(event.reason, "a port that the policy does not allow for this host");
    assert_eq!((event.host.as_deref(), event.dst_port), (Some("api.example"), Some(rig.other_port)));
    assert_eq!(event.verdict, NetVerdict::Denied);
    assert_eq!(rig.dialled(), 0);
    rig.end().unwrap();
}

#[test]
fn half_closed_connections_still_get_their_answer_and_are_counted_exactly() {
    let rig = Rig::open(answer_after_end);
    let mut client = rig.connect(PLAIN);
    client.write_all(b"12345").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "heard 5 bytes");
    let event = rig.event();
    assert_eq!(
        (event.op, event.verdict, event.host.as_deref()),
        (NetOp::Connect, NetVerdict::Allowed, Some("plain.example"))
    );
    let flow = rig.event();
    assert_eq!((flow.bytes_out, flow.bytes_in), (Some(5), Some(13)));
    rig.end().unwrap();
}

#[test]
fn bytes_over_the_hosts_budget_are_cut_over_all_connections() {
    let rig = Rig::open(echo);
    let mut first = rig.connect(SMALL);
    first.write_all(b"123456").unwrap();
    first.read_exact(&mut [0; 6]).unwrap();
    let mut second = rig.connect(SMALL);
    second.write_all(b"12345").unwrap();
    assert!(was_reset(&mut second));
    for _ in 0..2 {
        assert_eq!(rig.event().op, NetOp::Connect);
    }
    let cut = rig.event();
    assert_eq!((cut.op, cut.verdict, cut.bytes_out), (NetOp::Flow, NetVerdict::Denied, Some(0)));
    assert_eq!(cut.reason, "cut: the next bytes would be over max_bytes_out (10)");
    first.write_all(b"7890").unwrap();
    first.read_exact(&mut [0; 4]).unwrap();
    first.write_all(b"!").unwrap();
    assert!(was_reset(&mut first));
    assert_eq!(rig.event().bytes_out, Some(SMALL_BYTES_MAX));
    rig.end().unwrap();
}

#[test]
fn a_host_that_resolves_to_loopback_is_not_dialled() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::open(echo);
    let mut client = rig.connect(REBOUND);
    assert!(was_reset(&mut client));
    assert_eq!(rig.event().verdict, NetVerdict::Allowed); // the rule is met; the address is not
    let event = rig.event();
    assert_eq!((event.op, event.verdict), (NetOp::Connect, NetVerdict::Denied));
    assert_eq!(event.reason, "rebound.example resolves to 127.0.0.1, a loopback address");
    canary.set_nonblocking(true).unwrap();
    assert!(canary.accept().is_err());
    rig.end().unwrap();
}

#[test]
fn nothing_is_dialled_while_the_relay_does_not_confirm() {
    let rig = Rig::start(echo, false);
    rig.say(Reply::GateOpen { opened_ns: 0 });
    let mut client = rig.connect(API);
    client.write_all(&hello_named("api.example")).unwrap();
    let heard = rig.hear();
    assert!(matches!(heard.report, Report::Net { ticket: Some(_), .. }));
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(rig.dialled(), 0);
    rig.end().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
}

#[test]
fn connections_are_held_until_the_gate_opens() {
    let rig = Rig::start(echo, true);
    let mut client = rig.connect(PLAIN);
    client.write_all(b"early").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(client.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(rig.dialled(), 0);
    assert!(rig.heard.try_recv().is_err());
    rig.say(Reply::GateOpen { opened_ns: 0 });
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut echoed = [0; 5];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"early");
    rig.end().unwrap();
}

#[cfg(test)]
#[path = "serve_ending_tests.rs"]
mod ending;
#[cfg(test)]
#[path = "serve_retry_tests.rs"]
mod retry;
