//! A gate with a log in a temporary folder, between two pipes: for tests of what leaves it.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::gate::{Gate, Terms};
use super::outbox::Outbox;
use super::pipes::{ReadStep, Sink, Source};
use super::test_log;
use crate::audit::{Journal, Opened, SessionDirectory};
use crate::clock;
use crate::policy::{self, Durability};
use crate::wire::frame::FrameSplitter;

pub(super) struct Ground {
    root: tempfile::TempDir,
    pub(super) gate: Gate,
    pub(super) journal: Journal,
    pub(super) outbox: Outbox,
    pub(super) client_frames: FrameSplitter,
    pub(super) server_frames: FrameSplitter,
    pub(super) to_client: Sink,
    pub(super) to_server: Sink,
    client: Source,
    server: Source,
}

impl Ground {
    /// With the tool `t` listed and these limits of a line.
    pub(super) fn new(client_line_bytes_max: usize, server_line_bytes_max: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let session = "a".repeat(32);
        let Opened { journal, .. } =
            SessionDirectory::create(root.path(), &session, Durability::Write, clock::now()).unwrap();
        let source = policy::Source {
            path: Path::new("/etc/p.yaml"),
            text: "name: p\nmethods: {\"*\": allow}\ntools: {t: {}}\n",
        };
        let plain = Terms::plain(policy::load(&source).unwrap().policy);
        let terms = Terms { client_line_bytes_max, server_line_bytes_max, ..plain };
        let pipe = || {
            let (reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
            (Source::new(reader), Sink::new(writer).unwrap())
        };
        let ((client, to_client), (server, to_server)) = (pipe(), pipe());
        Self {
            root,
            gate: Gate::new(terms, clock::now()),
            journal,
            outbox: Outbox::default(),
            client_frames: FrameSplitter::new(client_line_bytes_max),
            server_frames: FrameSplitter::new(server_line_bytes_max),
            to_client,
            to_server,
            client,
            server,
        }
    }

    /// The client says `text`, which ends in LF, and what is decided leaves.
    pub(super) fn client_says(&mut self, text: &str) {
        feed(&mut self.client_frames, text);
        while let Some(frame) = self.client_frames.next() {
            self.gate.client_frame(frame, clock::now(), &mut self.journal, &mut self.outbox).unwrap();
            self.outbox.release(&mut self.to_server, &mut self.to_client).unwrap();
        }
    }

    /// The server says `text`, which ends in LF, and what is decided leaves.
    pub(super) fn server_says(&mut self, text: &str) {
        feed(&mut self.server_frames, text);
        self.handle_server();
    }

    /// Handles what was read of the server.
    pub(super) fn handle_server(&mut self) {
        while let Some(frame) = self.server_frames.next() {
            self.gate.server_frame(frame, clock::now(), &mut self.journal, &mut self.outbox).unwrap();
            let take = || self.server_frames.take();
            self.outbox.release_line(&mut self.to_server, &mut self.to_client, take).unwrap();
        }
    }

    /// What has arrived at the client since the last look.
    pub(super) fn client_heard(&mut self) -> String {
        heard(&mut self.client, &mut self.to_client)
    }

    /// What has arrived at the server since the last look.
    pub(super) fn server_heard(&mut self) -> String {
        heard(&mut self.server, &mut self.to_server)
    }

    /// The whole log.
    pub(super) fn log(&self) -> String {
        test_log::text(self.root.path())
    }
}

/// As reads would.
pub(super) fn feed(frames: &mut FrameSplitter, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let room = frames.room();
        let (part, tail) = rest.split_at(rest.len().min(room.len()));
        room[..part.len()].copy_from_slice(part);
        frames.filled(part.len());
        rest = tail;
        if !rest.is_empty() {
            assert_eq!(frames.next(), None, "one line at a time");
        }
    }
}

fn heard(source: &mut Source, sink: &mut Sink) -> String {
    let (mut text, mut room) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        sink.flush().unwrap();
        match source.read(&mut room).unwrap() {
            ReadStep::Bytes(count) => text.extend_from_slice(&room[..count]),
            ReadStep::Nothing | ReadStep::End => return String::from_utf8(text).unwrap(),
        }
    }
}
