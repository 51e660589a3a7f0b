//! How the egress process ends, its bounds, and the stub over real sockets.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;

/// A ring that a test fills; it never polls readable.
#[derive(Clone)]
struct Ring {
    quiet: Arc<std::io::PipeReader>,
    _other_end: Arc<std::io::PipeWriter>,
    held: Arc<Mutex<(VecDeque<KernelEvent>, Lost)>>,
    emptied: Arc<AtomicUsize>,
}

impl Ring {
    fn new() -> Self {
        let (quiet, other_end) = std::io::pipe().unwrap();
        let (quiet, _other_end) = (Arc::new(quiet), Arc::new(other_end));
        Self { quiet, _other_end, held: Arc::default(), emptied: Arc::default() }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.quiet.as_fd()
    }
}

impl EventSource for Ring {
    fn next(&mut self) -> Option<KernelEvent> {
        let event = self.held.lock().unwrap().0.pop_front();
        if event.is_none() {
            self.emptied.fetch_add(1, Ordering::SeqCst);
        }
        event
    }

    fn lost(&mut self) -> Lost {
        std::mem::take(&mut self.held.lock().unwrap().1)
    }

    fn gate_opened(&mut self, since_ns: u64) {
        assert_eq!(since_ns, 0);
    }
}

#[test]
fn what_the_kernel_told_last_and_what_it_lost_is_told_at_the_end() {
    let ring = Ring::new();
    let rig = Rig::start_with(echo, true, Some(ring.clone()));
    rig.say(Reply::GateOpen { opened_ns: 0 });
    while ring.emptied.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let event = || KernelEvent::Net(NetEvent::new(NetOp::Connect, NetVerdict::Denied));
    *ring.held.lock().unwrap() = ((0..3000).map(|_| event()).collect(), Lost { events: 7, execs: 5, opens: 3 });
    rig.say(Reply::Finish);
    let (mut told, mut lost) = (0, Vec::new());
    while let Ok(heard) = rig.heard.recv_timeout(PATIENCE) {
        match heard.report {
            Report::Net { event, .. } => told += event.count,
            Report::Lost { count } => lost.push(("events", count)),
            Report::LostExecs { count } => lost.push(("execs", count)),
            Report::LostOpens { count } => lost.push(("opens", count)),
            other @ (Report::Exec { .. } | Report::Open { .. }) => panic!("{other:?}"),
        }
    }
    assert_eq!((told, lost), (3000, vec![("events", 7), ("execs", 5), ("opens", 3)]));
    rig.egress.join().unwrap().unwrap();
}

#[test]
fn the_process_ends_with_its_relay_and_cuts_what_is_open() {
    let rig = Rig::open(echo);
    let mut client = rig.connect(PLAIN);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let port = rig.port;
    let begun = Instant::now();
    rig.end().unwrap();
    assert!(begun.elapsed() < PATIENCE);
    assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
    assert!(TcpStream::connect((Ipv4Addr::from(PLAIN), port)).is_err());
}

#[test]
fn a_confirmation_of_nothing_ends_the_process() {
    let rig = Rig::open(echo);
    rig.say(Reply::Recorded { ticket: 77 });
    while !rig.egress.is_finished() {
        thread::yield_now();
    }
    assert!(matches!(rig.end(), Err(EgressError::Relay(PumpError::UnknownTicket(77)))));
}

#[test]
fn one_connection_over_the_cap_is_reset() {
    let rig = Rig::start(echo, true);
    let held: Vec<_> = (0..GATEWAY_CONNECTIONS_MAX).map(|_| rig.connect(PLAIN)).collect();
    let mut over = rig.connect(PLAIN);
    assert!(was_reset(&mut over));
    let event = rig.event();
    assert_eq!(event.verdict, NetVerdict::Denied);
    assert_eq!(event.reason, "more connections than a session may hold open");
    drop(held);
    rig.end().unwrap();
}

#[test]
fn a_flood_of_denials_is_a_few_reports_whose_counts_add_up() {
    let rig = Rig::open(echo);
    for _ in 0..300 {
        let mut client = rig.connect(NOBODY);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(was_reset(&mut client));
    }
    rig.say(Reply::Finish);
    let reports: Vec<u64> = std::iter::from_fn(|| rig.heard.recv_timeout(PATIENCE).ok())
        .map(|heard| match heard.report {
            Report::Net { event, .. } => event.count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reports.iter().sum::<u64>(), 300);
    assert!(reports.len() < 10, "{reports:?}");
    rig.egress.join().unwrap().unwrap();
}

#[test]
fn finish_waits_for_open_flows_and_hangs_up() {
    let rig = Rig::open(echo);
    let mut client = rig.connect(PLAIN);
    client.write_all(b"abc").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    rig.say(Reply::Finish);
    drop(client);
    assert_eq!(rig.event().op, NetOp::Connect);
    let flow = rig.event();
    assert_eq!((flow.op, flow.bytes_out), (NetOp::Flow, Some(3)));
    rig.egress.join().unwrap().unwrap();
}

fn dns_query(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.parse::<Name>().unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

#[test]
fn the_stub_answers_over_udp_and_records_what_it_denies() {
    let rig = Rig::open(echo);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = |name: &str| {
        socket.send_to(&dns_query(name), rig.dns_udp).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    };
    assert_eq!(ask("api.example.").answers.len(), 1);
    assert_eq!(ask("secret.evil.example.").metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(rig.event().verdict, NetVerdict::Allowed);
    let denied = rig.event();
    assert_eq!((denied.op, denied.verdict), (NetOp::Dns, NetVerdict::Denied));
    assert_eq!(denied.host.as_deref(), Some("secret.evil.example"));
    rig.end().unwrap();
}

#[test]
fn the_stub_answers_over_tcp_and_closes_on_what_is_too_long() {
    let rig = Rig::open(echo);
    let mut stream = TcpStream::connect(rig.dns_tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for (name, code) in [("api.example.", ResponseCode::NoError), ("evil.example.", ResponseCode::NXDomain)] {
        let query = dns_query(name);
        stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&query).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, code);
    }
    let over = u16::try_from(crate::bounds::DNS_MESSAGE_BYTES_MAX + 1).unwrap();
    stream.write_all(&over.to_be_bytes()).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0_u8; 0]);
    rig.end().unwrap();
}
