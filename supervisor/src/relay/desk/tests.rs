use std::os::unix::net::UnixStream;

use super::*;
use crate::clock;

struct Field {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    desk: ControlDesk,
    asked: Vec<Request>,
}

fn field() -> Field {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    Field { desk: ControlDesk::new(listener).unwrap(), path, _folder: folder, asked: Vec::new() }
}

impl Field {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn turn(&mut self) {
        self.turn_at(clock::now());
    }

    fn turn_at(&mut self, now: Now) {
        let Self { desk, asked, .. } = self;
        let answered: Result<(), Errno> = desk.turn(now, |request, _| {
            asked.push(request);
            Ok(Reply::Listed(Vec::new()))
        });
        answered.unwrap();
    }

    fn served(&self) -> usize {
        self.desk.peers.iter().flatten().count()
    }
}

fn read(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => text,
        Err(error) if error.kind() == ErrorKind::WouldBlock => text,
        // What we sent and nobody read: unix(7) takes the reply back then.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "(reset)".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

/// These tests connect as whoever runs them; who may ask is a test of its own.
fn as_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn only_root_may_ask() {
    assert!(may_ask(Asker { uid: 0, pid: 1 }));
    for uid in [1, 1000, 65_534, u32::MAX] {
        assert!(!may_ask(Asker { uid, pid: 1 }), "{uid}");
    }
}

#[test]
fn a_request_in_pieces_gets_one_reply_and_the_end() {
    if !as_root() {
        return;
    }
    let mut field = field();
    let mut peer = field.connect();
    field.turn();
    for piece in [&br#"{"ask""#[..], br#":"list"}"#, b"\n"] {
        assert_eq!(field.asked, []);
        peer.write_all(piece).unwrap();
        field.turn();
    }
    assert_eq!(field.asked, [Request::List {}]);
    field.turn();
    assert_eq!(read(&mut peer), "{\"listed\":[]}\n");
    assert_eq!(field.served(), 0);
}

#[test]
fn what_is_no_request_is_refused_and_asks_nothing() {
    if !as_root() {
        return;
    }
    let long = [&vec![b'x'; CONTROL_REQUEST_BYTES_MAX + 1][..], b"\n"].concat();
    for wrong in [&b"\n"[..], b"{\"ask\":\"list\"}\n{\"ask\":\"list\"}\n", b"{\"ask\":\"list\"}\nx", &long, b"\xff\n"] {
        let mut field = field();
        let mut peer = field.connect();
        field.turn();
        peer.write_all(wrong).unwrap();
        field.turn();
        field.turn();
        let reply = read(&mut peer);
        let is_long = wrong.len() > CONTROL_REQUEST_BYTES_MAX;
        assert!(reply.contains("bad_request") || is_long, "{reply} to {} bytes", wrong.len());
        assert_eq!((field.asked.len(), field.served()), (0, 0));
    }
}

#[test]
fn a_silent_peer_is_dropped_in_time_and_a_crowd_waits_outside() {
    if !as_root() {
        return;
    }
    let mut field = field();
    let crowd: Vec<UnixStream> = (0..CONTROL_PEERS_MAX + 2).map(|_| field.connect()).collect();
    let begun = clock::now();
    let later = |ms: u64| Now { boot_ns: begun.boot_ns + ms * 1_000_000, ..begun };
    field.turn_at(begun);
    assert_eq!(field.served(), CONTROL_PEERS_MAX);
    assert_eq!(field.desk.deadline_ns(), Some(later(CONTROL_WAIT_MS).boot_ns));
    let mut pending = [EpollEvent::empty(); 8];
    let idle = field.desk.watched.wait(&mut pending, EpollTimeout::ZERO).unwrap();
    assert_eq!(idle, 0, "a crowd outside does not keep the relay awake");

    field.turn_at(later(CONTROL_WAIT_MS - 1));
    assert_eq!(field.served(), CONTROL_PEERS_MAX);
    field.turn_at(later(CONTROL_WAIT_MS));
    assert_eq!(field.served(), 2, "the first were dropped, the next came in");
    drop(crowd);
    field.turn();
    assert_eq!((field.served(), field.desk.deadline_ns()), (0, None));
}

#[test]
fn a_peer_that_does_not_read_its_reply_holds_nothing_up() {
    if !as_root() {
        return;
    }
    let mut field = field();
    let mut peer = field.connect();
    let begun = clock::now();
    field.turn_at(begun);
    peer.write_all(b"{\"ask\":\"list\"}\n").unwrap();
    let huge = Reply::refused("x", "y".repeat(8 << 20));
    let answered: Result<(), Errno> = field.desk.turn(begun, |_, _| Ok(huge.clone()));
    answered.unwrap();
    for _ in 0..10 {
        field.turn_at(begun);
    }
    assert_eq!(field.served(), 1, "part of it waits");
    field.turn_at(Now { boot_ns: begun.boot_ns + CONTROL_WAIT_MS * 1_000_000, ..begun });
    assert_eq!(field.served(), 0);
}
