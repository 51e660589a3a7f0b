//! Upstreams that answer the ClientHello with a HelloRetryRequest, with an alert, or with something else.

use super::*;
use crate::egress::server_hello::{RETRY, made::server_hello};

const CCS: &[u8] = &[20, 3, 3, 0, 1, 1];
const WARNING: &[u8] = &[21, 3, 3, 0, 2, 1, 112];
const FATAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
const EARLY: &[u8] = &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5];

/// What an upstream says that wants another hello: a warning before, in records of `fragment` bytes, with the ChangeCipherSpec.
fn request(fragment: usize) -> Vec<u8> {
    [WARNING, &made::records(&server_hello(RETRY), fragment), CCS].concat()
}

/// Waits for a hello of one record; what it hears after that it sends back.
fn after_hello(mut stream: TcpStream, answer: &[u8], segment: usize) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut hello).unwrap();
    stream.set_nodelay(true).unwrap();
    for part in answer.chunks(segment) {
        stream.write_all(part).unwrap();
    }
    echo(stream);
}

fn ask_again(stream: TcpStream) {
    after_hello(stream, &request(5000), 5000);
}

fn ask_again_bit_by_bit(stream: TcpStream) {
    after_hello(stream, &request(3), 2);
}

fn heard(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    client.read_exact(&mut heard).unwrap();
    heard
}

/// Whether it ends with a reset, whatever came before.
fn ends_in_reset(client: &mut TcpStream) -> bool {
    loop {
        match client.read(&mut [0; 256]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn hello_with(extensions: &[Vec<u8>]) -> Vec<u8> {
    made::records(&made::hello(&extensions.concat()), 5000)
}

#[test]
fn a_second_hello_of_the_same_name_passes_and_is_counted() {
    for (upstream, asked) in [(ask_again as Handler, request(5000)), (ask_again_bit_by_bit, request(3))] {
        let rig = Rig::open(upstream);
        let first = hello_named("api.example");
        let seconds = [
            first.clone(),
            [CCS, &first].concat(),
            [EARLY, CCS, EARLY, &first].concat(),
            made::records(&made::hello(&[made::server_name(b"api.example"), made::usual()].concat()), 9),
        ];
        for second in seconds {
            let passes: Vec<u8> = if second.starts_with(EARLY) { [CCS, &first].concat() } else { second.clone() };
            let mut client = rig.connect(API);
            client.write_all(&first).unwrap();
            assert_eq!(heard(&mut client, asked.len()), asked);
            client.write_all(&second).unwrap();
            assert_eq!(heard(&mut client, passes.len()), passes);
            client.write_all(b"and all that follows").unwrap();
            assert_eq!(heard(&mut client, 20), b"and all that follows");
            client.shutdown(Shutdown::Write).unwrap();
            assert!(!ends_in_reset(&mut client));
            assert_eq!(rig.event().op, NetOp::Sni);
            let flow = rig.event();
            let out = Some((first.len() + passes.len() + 20) as u64);
            assert_eq!((flow.op, flow.bytes_out, flow.reason.as_str()), (NetOp::Flow, out, ""));
        }
        rig.end().unwrap();
    }
}

#[test]
fn every_other_second_hello_is_refused_and_recorded() {
    let ech = made::extension(0xfe0d, &[0, 0, 1, 0, 1, 5, 0, 1, 9, 0, 1, 3]);
    let named = made::server_name(b"api.example");
    let cases: Vec<(Vec<u8>, &str, Option<&str>)> = vec![
        (hello_named("exfil.example"), "the server name of the ClientHello is not the host", Some("exfil.example")),
        (hello_named("API.example"), "another server than the first", Some("API.example")),
        (hello_with(&[made::usual()]), "names no server", None),
        (hello_with(&[named, made::usual(), ech]), "is encrypted", Some("api.example")),
        ([CCS, &hello_named("exfil.example")].concat(), "not the host", Some("exfil.example")),
        ([EARLY, &hello_named("exfil.example")].concat(), "not the host", Some("exfil.example")),
        ([CCS, CCS, &hello_named("api.example")].concat(), "not TLS", None),
        ([&[20, 3, 3, 0, 1, 2], &hello_named("api.example")[..]].concat(), "not TLS", None),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not TLS", None),
        (b"G".to_vec(), "not TLS", None),
        (FATAL.to_vec(), "the client ended the handshake with an alert", None),
        ([&[23, 3, 3, 0xff, 0xff][..], &[0; 0xffff]].concat(), "over the bound", None),
    ];
    let first = hello_named("api.example");
    for (second, reason, sni) in cases {
        for pipelined in [false, true] {
            let rig = Rig::open(ask_again_bit_by_bit);
            let mut client = rig.connect(API);
            if pipelined {
                let _ = client.write_all(&[&first[..], &second].concat()); // the reset may come before the last byte
            } else {
                client.write_all(&first).unwrap();
                heard(&mut client, request(3).len());
                let _ = client.write_all(&second);
            }
            assert!(ends_in_reset(&mut client), "{reason}");
            assert_eq!(rig.event().verdict, NetVerdict::Allowed);
            let denied = rig.event();
            assert_eq!((denied.op, denied.verdict), (NetOp::Sni, NetVerdict::Denied), "{reason}");
            assert_eq!((denied.sni.as_deref(), denied.host.as_deref()), (sni, Some("api.example")), "{reason}");
            assert!(denied.reason.starts_with("after a HelloRetryRequest: "), "{}", denied.reason);
            assert!(denied.reason.contains(reason), "{reason}: {}", denied.reason);
            let flow = rig.event();
            assert_eq!((flow.op, flow.bytes_out), (NetOp::Flow, Some(first.len() as u64)), "{reason}");
            assert_eq!(flow.reason, "cut: the second ClientHello is refused");
            rig.end().unwrap();
        }
    }
}

#[test]
fn what_follows_the_hello_waits_for_the_answer_and_then_passes() {
    let rig = Rig::open(|stream| after_hello(stream, &[WARNING, &GREETING].concat(), 5));
    let mut client = rig.connect(API);
    client.write_all(&[&hello_named("api.example")[..], EARLY].concat()).unwrap();
    let all = [WARNING, &GREETING, EARLY].concat();
    assert_eq!(heard(&mut client, all.len()), all);
    drop(client);
    assert_eq!(rig.event().op, NetOp::Sni);
    let flow = rig.event();
    assert_eq!(flow.bytes_out, Some((hello_named("api.example").len() + EARLY.len()) as u64));
    rig.end().unwrap();
}

#[test]
fn an_answer_that_is_no_server_hello_ends_the_connection() {
    let upstreams: [Handler; 3] = [
        |stream| after_hello(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n", 5000),
        |stream| after_hello(stream, &[22, 3, 3, 0, 4, 0, 0, 0, 0], 5000), // HelloRequest
        |stream| after_hello(stream, &WARNING.repeat(5), 5000),
    ];
    for upstream in upstreams {
        let rig = Rig::open(upstream);
        let mut client = rig.connect(API);
        client.write_all(&[&hello_named("api.example")[..], &hello_named("exfil.example")].concat()).unwrap();
        assert!(ends_in_reset(&mut client));
        assert_eq!(rig.event().verdict, NetVerdict::Allowed);
        let flow = rig.event();
        assert_eq!((flow.op, flow.verdict), (NetOp::Flow, NetVerdict::Denied));
        assert_eq!(flow.reason, "cut: the answer to the ClientHello is not a ServerHello");
        assert_eq!(flow.bytes_out, Some(hello_named("api.example").len() as u64));
        rig.end().unwrap();
    }
}

#[test]
fn an_upstream_that_refuses_and_closes_is_heard_and_gets_nothing_more() {
    let rig = Rig::open(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(FATAL).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        echo(stream);
    });
    let mut client = rig.connect(API);
    client.write_all(&[&hello_named("api.example")[..], &hello_named("exfil.example")].concat()).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, FATAL);
    drop(client);
    assert_eq!(rig.event().op, NetOp::Sni);
    let flow = rig.event();
    assert_eq!((flow.op, flow.bytes_out), (NetOp::Flow, Some(hello_named("api.example").len() as u64)));
    rig.end().unwrap();
}

#[test]
fn a_client_whose_key_share_the_server_does_not_take_is_served() {
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    let offering = |groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>| {
        Arc::new(rustls::crypto::CryptoProvider { kx_groups: groups, ..rustls::crypto::ring::default_provider() })
    };
    use rustls::crypto::ring::kx_group::{SECP384R1, X25519};
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(offering(vec![X25519]))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    static SERVER: std::sync::OnceLock<Arc<rustls::ServerConfig>> = std::sync::OnceLock::new();
    SERVER.set(Arc::new(server)).unwrap();
    let rig = Rig::open(|stream| {
        let tls = rustls::ServerConnection::new(Arc::clone(SERVER.get().unwrap())).unwrap();
        let mut tls = rustls::StreamOwned::new(tls, stream);
        tls.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(tls.conn.handshake_kind(), Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
        tls.write_all(b"world").unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(offering(vec![SECP384R1, X25519]))
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
    assert_eq!((rig.event().op, rig.event().op), (NetOp::Sni, NetOp::Flow));
    rig.end().unwrap();
}
