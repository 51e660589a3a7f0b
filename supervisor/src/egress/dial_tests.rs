use std::io::Write;
use std::sync::mpsc::{Receiver, channel};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::*;
use crate::egress::SystemDns;

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.15",
    "168.63.129.17",
    "2606:4700::1111",
    "2000::1",
    "3ffe::1",
    "2003::1",
    "2001:200::1",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "2002:101:101::1",
];

const REFUSED: &[(&str, &str)] = &[
    ("0.0.0.0", "this network"),
    ("0.1.2.3", "this network"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "NAT"),
    ("100.127.255.255", "NAT"),
    ("100.100.100.200", "NAT"), // Alibaba Cloud metadata
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.0.0", "link-local"),
    ("169.254.169.254", "metadata"),
    ("169.254.255.255", "link-local"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.192", "protocol"), // Oracle Cloud metadata
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("192.168.0.0", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.0", "inside the sandbox"),
    ("198.19.255.255", "inside the sandbox"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "compatible"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:169.254.169.254", "metadata"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:0:10.0.0.1", "not a global"),
    ("64:ff9b::10.0.0.1", "private"),
    ("64:ff9b::169.254.169.254", "metadata"),
    ("64:ff9b:1::1", "NAT64"),
    ("100::1", "not a global"),
    ("2001::1", "Teredo"),
    ("2001:2::1", "protocol"),
    ("2001:db8::1", "documentation"),
    ("3fff:fff::1", "documentation"),
    ("2002:7f00:1::1", "loopback"),
    ("2002:a9fe:a9fe::1", "metadata"),
    ("2002:c612:1::1", "inside the sandbox"),
    ("4000::1", "not a global"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "unique local"), // AWS metadata over IPv6
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
];

#[test]
fn public_addresses_are_dialled() {
    for text in PUBLIC {
        assert_eq!(dialable(text.parse().unwrap()), Ok(()), "{text}");
    }
}

#[test]
fn addresses_that_no_public_api_has_are_refused_with_what_they_are() {
    for (text, what) in REFUSED {
        let why = dialable(text.parse().unwrap()).expect_err(text);
        assert!(why.contains(what), "{text}: {why}");
    }
}

#[test]
fn a_mixed_answer_loses_its_private_part_and_a_private_one_is_refused() {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    assert_eq!(without_refused("h", parse(&["10.0.0.1", "1.1.1.1", "::1"])).unwrap(), parse(&["1.1.1.1"]));
    let error = without_refused("h", parse(&["10.0.0.1", "::1"])).unwrap_err();
    assert_eq!(error.to_string(), "h resolves to 10.0.0.1, a private address");
    assert!(error.is_denial());
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn dialer(hosts: &str, connect_to: Vec<ConnectTo>) -> Dialer {
    Dialer::new(SystemDns::from_texts(b"", hosts.as_bytes()).unwrap().resolver().unwrap(), connect_to)
}

#[test]
fn a_name_that_resolves_to_loopback_is_not_dialled() {
    let canary = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let port = canary.local_addr().unwrap().port();
    run(async {
        let error = dialer("127.0.0.1 api.example\n", Vec::new()).dial("api.example", port).await.unwrap_err();
        assert_eq!(error.to_string(), "api.example resolves to 127.0.0.1, a loopback address");
    });
    assert_eq!(canary.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn connect_to_names_its_target_by_address_or_by_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to_port = listener.local_addr().unwrap().port();
    for to_host in ["127.0.0.1", "[127.0.0.1]", "stand-in.example"] {
        let to = ConnectTo { host: "api.example".into(), port: 443, to_host: to_host.into(), to_port };
        run(async {
            let dialer = dialer("127.0.0.1 stand-in.example\n10.0.0.1 api.example", vec![to]);
            let stream = dialer.dial("API.example", 443).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap().port(), to_port);
            assert!(dialer.dial("api.example", 444).await.unwrap_err().is_denial());
        });
    }
}

#[test]
fn a_name_without_an_answer_is_an_error_that_names_it() {
    run(async {
        let error = dialer("", Vec::new()).dial("api.example", 443).await.unwrap_err();
        assert!(matches!(&error, DialError::Resolve { host, .. } if host == "api.example"), "{error}");
        assert!(!error.is_denial());
    });
}

#[test]
fn a_closed_port_is_an_error_and_no_denial() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    run(async {
        let to = ConnectTo { host: "api.example".into(), port: 443, to_host: "127.0.0.1".into(), to_port: port };
        let error = dialer("", vec![to]).dial("api.example", 443).await.unwrap_err();
        assert!(matches!(error, DialError::Connect { .. }), "{error}");
        assert!(!error.is_denial());
    });
}

/// A name server that answers A questions with `answers`, one set a question, and tells what was asked.
fn name_server(answers: &'static [&'static [Ipv4Addr]]) -> (SystemDns, Receiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = SystemDns::with_name_server(socket.local_addr().unwrap());
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        let mut rest = answers.iter();
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
            reply.add_query(question.clone());
            if question.query_type == RecordType::A {
                for address in *rest.next().unwrap_or(&&[][..]) {
                    reply.add_answer(Record::from_rdata(
                        question.name.clone(),
                        3600,
                        RData::from(IpAddr::V4(*address)),
                    ));
                }
            }
            let _ = asked.send(format!("{} {}", question.name, question.query_type));
            socket.send_to(&reply.to_vec().unwrap(), peer).unwrap();
        }
    });
    (dns, questions)
}

#[test]
fn the_host_is_resolved_anew_for_each_connection_and_by_its_full_name_alone() {
    const FIRST: &[Ipv4Addr] = &[Ipv4Addr::new(10, 0, 0, 1)];
    const REBOUND: &[Ipv4Addr] = &[Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(127, 0, 0, 1)];
    let (dns, questions) = name_server(&[FIRST, REBOUND]);
    run(async {
        let dialer = Dialer::new(dns.resolver().unwrap(), Vec::new());
        for refused in ["10.0.0.1, a private address", "169.254.169.254, a link-local or cloud metadata address"] {
            let error = dialer.dial("api.example", 443).await.unwrap_err();
            assert_eq!(error.to_string(), format!("api.example resolves to {refused}"));
        }
        assert!(matches!(dialer.dial("api.example", 443).await, Err(DialError::Resolve { .. })));
    });
    let asked: Vec<String> = questions.try_iter().collect();
    assert_eq!(asked[..3], ["api.example. A", "api.example. A", "api.example. A"]);
    assert!(asked.iter().all(|question| question.starts_with("api.example. ")), "{asked:?}");
}

#[tokio::test]
async fn what_a_host_sends_and_nobody_reads_the_kernel_holds_up_to_a_bound() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let made = connect_first(&[host.local_addr().unwrap().ip()], host.local_addr().unwrap().port()).await.unwrap();
    let mut peer = host.accept().unwrap().0;
    setsockopt(&peer, sockopt::SndBuf, &4096).unwrap(); // what the host keeps is the host's
    peer.set_nonblocking(true).unwrap();
    let chunk = [0; 4096];
    let taken: usize = std::iter::from_fn(|| peer.write(&chunk).ok()).sum();
    assert!((4096..=3 * UPSTREAM_RECEIVED_BYTES as usize).contains(&taken), "{taken}");
    let sends = getsockopt(&made, sockopt::SndBuf).unwrap();
    assert!(sends <= 2 * UPSTREAM_SENT_BYTES as usize, "{sends}");
}

#[test]
fn an_address_of_this_host_is_known_whatever_kind_it_is_of() {
    for ours in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "::1"] {
        assert!(is_ours(ours.parse().unwrap()).unwrap(), "{ours}");
    }
    for not_ours in ["203.0.113.7", "1.1.1.1", "2001:db8::7"] {
        assert!(!is_ours(not_ours.parse().unwrap()).unwrap(), "{not_ours}");
    }
}
