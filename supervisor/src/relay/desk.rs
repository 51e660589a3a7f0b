//! The control socket of a session, served beside the pipe: few peers, short requests, a clock on each. Nobody who
//! connects can make the relay wait.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::control::{Reply, Request, line};
use crate::bounds::{CONTROL_PEERS_MAX, CONTROL_REQUEST_BYTES_MAX, CONTROL_WAIT_MS};
use crate::clock::Now;
use crate::weaken;

/// The listener's place among the watched descriptors; the peers' are smaller.
const LISTENER: u64 = CONTROL_PEERS_MAX as u64;

/// Who asks, in the kernel's words (SO_PEERCRED, unix(7)), as it was when he connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) uid: u32,
    pub(super) pid: u32,
}

/// The listening socket and those who are being served.
pub(super) struct ControlDesk {
    listener: UnixListener,
    watched: Epoll,
    peers: [Option<Peer>; CONTROL_PEERS_MAX],
    /// The listener is not watched while every place is taken: who comes then waits in the kernel's queue.
    is_full: bool,
}

/// One connection: it reads until a line is there, then writes until the reply is gone.
struct Peer {
    stream: UnixStream,
    asker: Asker,
    request: Vec<u8>,
    reply: Vec<u8>,
    sent: usize,
    due_ns: u64,
}

/// What one step with a peer came to.
enum Next {
    /// It has more to come.
    Stay,
    /// Its line is whole.
    Answer,
    /// It is served, broken or gone.
    Leave,
}

impl ControlDesk {
    /// Serves `listener`, which must not block.
    pub(super) fn new(listener: UnixListener) -> Result<Self, Errno> {
        let watched = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watched.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self { listener, watched, peers: Default::default(), is_full: false })
    }

    /// Readable when there is something to do.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.watched.0.as_fd()
    }

    /// When the slowest peer's time is over, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.peers.iter().flatten().map(|peer| peer.due_ns).min()
    }

    /// Takes in who waits, reads, answers and writes as far as it goes without waiting.
    ///
    /// # Errors
    /// Those of `answer`, and of the kernel about our own descriptors. What a peer does is never an error.
    pub(super) fn turn<E: From<Errno>>(
        &mut self,
        now: Now,
        mut answer: impl FnMut(Request, Asker) -> Result<Reply, E>,
    ) -> Result<(), E> {
        let mut events = [EpollEvent::empty(); CONTROL_PEERS_MAX + 1];
        let ready = match self.watched.wait(&mut events, EpollTimeout::ZERO) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..ready] {
            let place = usize::try_from(event.data()).unwrap_or(CONTROL_PEERS_MAX);
            let Some(peer) = self.peers.get_mut(place).and_then(Option::as_mut) else { continue };
            match peer.step() {
                Next::Stay => {}
                Next::Leave => self.peers[place] = None,
                Next::Answer => {
                    let reply = match peer.parse() {
                        Ok(request) => answer(request, peer.asker)?,
                        Err(reply) => reply,
                    };
                    peer.reply = line(&reply);
                    let mut writable = EpollEvent::new(EpollFlags::EPOLLOUT, event.data());
                    self.watched.modify(&peer.stream, &mut writable)?;
                }
            }
        }
        for peer in &mut self.peers {
            if peer.as_ref().is_some_and(|peer| now.boot_ns >= peer.due_ns) {
                *peer = None; // closing it takes it out of the watched ones
            }
        }
        self.admit(now)?;
        Ok(())
    }

    /// Accepts while there are places; a few a turn, so that a crowd that is turned away does not hold the relay.
    fn admit(&mut self, now: Now) -> Result<(), Errno> {
        for _ in 0..CONTROL_PEERS_MAX {
            let Some(place) = self.peers.iter().position(Option::is_none) else { break };
            // An error: nobody is there, or he has left already.
            let Ok((stream, _)) = self.listener.accept() else { break };
            let Some(peer) = Peer::admitted(stream, now) else { continue };
            self.watched.add(&peer.stream, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
            self.peers[place] = Some(peer);
        }
        self.watch_listener(self.peers.iter().any(Option::is_none))
    }

    fn watch_listener(&mut self, wanted: bool) -> Result<(), Errno> {
        if wanted != self.is_full {
            return Ok(());
        }
        self.is_full = !wanted;
        if wanted {
            self.watched.add(&self.listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))
        } else {
            self.watched.delete(&self.listener)
        }
    }
}

impl Peer {
    /// The peer, if it is root's. The directory keeps everybody else out; this is the second lock.
    fn admitted(stream: UnixStream, now: Now) -> Option<Self> {
        let credentials = getsockopt(&stream, PeerCredentials).ok()?;
        let asker = Asker { uid: credentials.uid(), pid: credentials.pid().unsigned_abs() };
        if !may_ask(asker) {
            tracing::warn!("uid {} tried to use the control socket", asker.uid);
            return None;
        }
        stream.set_nonblocking(true).ok()?;
        let due_ns = now.boot_ns.saturating_add(CONTROL_WAIT_MS * 1_000_000);
        Some(Self { stream, asker, request: Vec::new(), reply: Vec::new(), sent: 0, due_ns })
    }

    fn step(&mut self) -> Next {
        let stepped = if self.reply.is_empty() { self.read() } else { self.write() };
        match stepped {
            Ok(next) => next,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Next::Stay,
            Err(_) => Next::Leave,
        }
    }

    fn read(&mut self) -> std::io::Result<Next> {
        let mut chunk = [0; CONTROL_REQUEST_BYTES_MAX + 1];
        let room = chunk.len() - self.request.len();
        let length = self.stream.read(&mut chunk[..room])?;
        self.request.extend_from_slice(&chunk[..length]);
        Ok(match length {
            0 => Next::Leave,
            _ if self.request.contains(&b'\n') || self.request.len() > CONTROL_REQUEST_BYTES_MAX => Next::Answer,
            _ => Next::Stay,
        })
    }

    fn write(&mut self) -> std::io::Result<Next> {
        self.sent += self.stream.write(&self.reply[self.sent..])?;
        Ok(if self.sent == self.reply.len() { Next::Leave } else { Next::Stay })
    }

    /// The request, which must be one line and all that was said.
    fn parse(&self) -> Result<Request, Reply> {
        let wrong = |text: &str| Reply::refused("bad_request", text);
        match self.request.split_last() {
            Some((b'\n', line)) if !line.contains(&b'\n') => {
                serde_json::from_slice(line).map_err(|_| wrong("this is none of the requests of this version"))
            }
            _ => Err(wrong("a request is one line of at most 4096 bytes")),
        }
    }
}

/// Whether `asker` may ask and decide: root.
fn may_ask(asker: Asker) -> bool {
    asker.uid == 0 || !weaken::in_force("approval-peer")
}

#[cfg(test)]
mod tests;
