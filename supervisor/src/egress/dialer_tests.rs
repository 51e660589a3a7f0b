//! The dialer in a thread, asked by a test as an egress that was taken over would.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};

use nix::poll::PollTimeout;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::*;
use crate::egress::dial_link::{ANSWER_BYTES_MAX, pair};
use crate::egress::hosts::planned;
use crate::sandbox::plan::ConnectTo;
use crate::sys::{pass, pidfd};

const PATIENCE_MS: u16 = 8_000;
/// The policy's hosts by their places.
const LISTED: u16 = 0;
const REBOUND: u16 = 1;
const CLOSED: u16 = 2;
const PORT: u16 = 443;
/// `--connect-to` names it, the policy does not.
const UNLISTED_PORT: u16 = 444;

struct Rig {
    link: OwnedFd,
    upstream: TcpListener,
    closed: u16,
    dialer: JoinHandle<Result<(), DialerError>>,
}

impl Rig {
    fn start() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        upstream.set_nonblocking(true).unwrap();
        let to_port = upstream.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let to =
            |host: &str, port, to_port| ConnectTo { host: host.into(), port, to_host: "127.0.0.1".into(), to_port };
        let network = NetworkPlan {
            hosts: ["listed.example", "rebound.example", "closed.example"]
                .map(|name| planned(name, [198, 18, 0, 2], &[PORT]))
                .into(),
            connect_to: vec![
                to("listed.example", PORT, to_port),
                to("listed.example", UNLISTED_PORT, to_port),
                to("closed.example", PORT, closed),
            ],
        };
        let dns = SystemDns::from_texts(b"", b"127.0.0.1 rebound.example\n").unwrap();
        let (link, theirs) = pair().unwrap();
        let dialer = thread::spawn(move || serve(DialerParts::of(network, theirs, dns)));
        Self { link, upstream, closed, dialer }
    }

    fn ask(&self, ticket: u64, host: u16, port: u16) {
        pass::send(self.link.as_fd(), &Question { ticket, host, port }.encode(), None).unwrap();
    }

    /// The next answer; none when the dialer has hung up.
    fn answer(&self) -> Option<(u64, Answer, Option<OwnedFd>)> {
        assert!(pidfd::readable(self.link.as_fd(), PollTimeout::from(PATIENCE_MS)).unwrap(), "no answer");
        let mut datagram = [0; ANSWER_BYTES_MAX + 1];
        match pass::receive(self.link.as_fd(), &mut datagram, MsgFlags::empty()) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => None,
            Ok((length, fd)) => {
                let (ticket, answer) = Answer::decode(&datagram[..length]).unwrap();
                Some((ticket, answer, fd))
            }
            Err(errno) => panic!("{errno}"),
        }
    }

    /// Connections that were made and not looked at.
    fn dialled(&self) -> usize {
        std::iter::from_fn(|| self.upstream.accept().map(drop).ok()).count()
    }

    /// The dialer ended because of what it was asked: no word came back, and nobody was dialled.
    fn overstepped(self, case: &str) {
        assert!(self.answer().is_none(), "{case}: an answer");
        assert_eq!(self.dialled(), 0, "{case}: dialled");
        assert!(matches!(self.dialer.join().unwrap(), Err(DialerError::Overstepped(_))), "{case}");
    }
}

#[test]
fn a_listed_host_is_dialled_and_its_connection_handed_over() {
    let rig = Rig::start();
    rig.ask(7, LISTED, PORT);
    let Some((7, Answer::Connected, Some(fd))) = rig.answer() else { panic!("no connection") };
    rig.upstream.set_nonblocking(false).unwrap();
    let (mut api, _) = rig.upstream.accept().unwrap();
    let mut stream = TcpStream::from(fd);
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    api.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    // The dialer keeps no copy: the end of the one that it gave is the end of the connection.
    drop(stream);
    assert_eq!(api.read(&mut heard).unwrap(), 0);
    drop(rig.link);
    rig.dialer.join().unwrap().unwrap();
}

#[test]
fn why_there_is_no_connection_is_said_as_the_log_has_it() {
    let rig = Rig::start();
    rig.ask(1, REBOUND, PORT);
    let refused = Answer::Refused("rebound.example resolves to 127.0.0.1, a loopback address".into());
    assert!(matches!(rig.answer(), Some((1, answer, None)) if answer == refused));
    rig.ask(2, CLOSED, PORT);
    let failed = format!("127.0.0.1:{} cannot be reached: Connection refused (os error 111)", rig.closed);
    assert!(matches!(rig.answer(), Some((2, answer, None)) if answer == Answer::Failed(failed)));
    drop(rig.link);
    rig.dialer.join().unwrap().unwrap();
}

#[test]
fn a_port_that_is_not_listed_is_not_dialled() {
    let rig = Rig::start();
    rig.ask(1, LISTED, UNLISTED_PORT);
    rig.overstepped("another port");
}

#[test]
fn what_is_no_question_for_a_listed_host_ends_the_dialer() {
    let encoded = |host, port| Question { ticket: 1, host, port }.encode().to_vec();
    let cases: [(&str, Vec<u8>); 9] = [
        ("a host after the last", encoded(3, PORT)),
        ("a host far off", encoded(u16::MAX, PORT)),
        ("port 0", encoded(LISTED, 0)),
        ("an address", b"203.0.113.9:443".to_vec()),
        ("an address as long as a question", b"10.0.0.5:443".to_vec()),
        ("a name", b"listed.example:443\n".to_vec()),
        ("one byte less", encoded(LISTED, PORT)[..11].to_vec()),
        ("one byte more", [encoded(LISTED, PORT), vec![0]].concat()),
        ("a large one", vec![0; 60_000]),
    ];
    for (case, datagram) in cases {
        let rig = Rig::start();
        pass::send(rig.link.as_fd(), &datagram, None).unwrap();
        rig.overstepped(case);
    }
}

#[test]
fn descriptors_are_not_taken() {
    for count in [1, 2, 3] {
        let rig = Rig::start();
        let fds = vec![rig.upstream.as_raw_fd(); count];
        let question = Question { ticket: 1, host: LISTED, port: PORT }.encode();
        let control = [ControlMessage::ScmRights(&fds)];
        let parts = [std::io::IoSlice::new(&question)];
        sendmsg::<()>(rig.link.as_raw_fd(), &parts, &control, MsgFlags::empty(), None).unwrap();
        rig.overstepped(&format!("{count} descriptors"));
    }
}

#[test]
fn a_flood_waits_and_holds_no_more_than_a_session_may() {
    let rig = Rig::start();
    let (mut ticket, mut dialled) = (0, 0);
    // Until nothing more is taken or dialled: the queue is full and nobody reads it. A connection that the listener's own queue
    // had no room for comes again after a second.
    let mut last = std::time::Instant::now();
    while last.elapsed() < Duration::from_millis(2_500) {
        ticket += 1;
        match pass::send(rig.link.as_fd(), &Question { ticket, host: LISTED, port: PORT }.encode(), None) {
            Ok(()) => last = std::time::Instant::now(),
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                let more = rig.dialled();
                if more > 0 {
                    last = std::time::Instant::now();
                }
                dialled += more;
                thread::yield_now();
            }
        }
    }
    let unread = 32; // answers in the socket's buffer, whose slots are free again
    assert!((GATEWAY_CONNECTIONS_MAX..=GATEWAY_CONNECTIONS_MAX + unread).contains(&dialled), "{dialled} connections");
    // It still hears the end.
    drop(rig.link);
    rig.dialer.join().unwrap().unwrap();
}

#[tokio::test]
async fn dials_begin_at_a_bounded_pace_after_a_burst() {
    tokio::time::pause();
    let begun = Instant::now();
    let mut pace = Pace::rested();
    for _ in 0..DIALS_AT_ONCE_MAX {
        pace.turn().await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "a burst waits for nothing");
    for _ in 0..3 * DIALS_PER_S_MAX {
        pace.turn().await;
    }
    let took = begun.elapsed();
    assert!((2_900..=3_100).contains(&took.as_millis()), "{took:?}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let rested = Instant::now();
    for _ in 0..DIALS_AT_ONCE_MAX {
        pace.turn().await;
    }
    assert_eq!(rested.elapsed(), Duration::ZERO, "an hour of rest is one burst");
    pace.turn().await;
    assert!(rested.elapsed() > Duration::ZERO);
}
