//! The process that makes the relay's connections to a shared limit store.
//!
//! The relay may not open a socket, and what it does not know it cannot tell: this process dials, logs in, and hands over the
//! connection. It never reads a byte of the client or the server, and it alone reads a file with a password: our other processes
//! are forked from a monitor that never did. One question is out at a time: a byte asks; the answer is a text that says why not,
//! or the connection with the prefix and the name of its store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, setsockopt, socketpair, sockopt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::bounds::{REDIS_LINK_WAIT_MS, STORE_LINK_TEXT_BYTES_MAX};
use crate::clock;
use crate::egress::dial::Dialer;
use crate::egress::system_dns::{SystemDns, SystemDnsError};
use crate::limits::redis::{Address, Connection, Dsn, Link, Source, SourceError, handshake};
use crate::sandbox::identity::LINK;
use crate::sandbox::plan::ConnectTo;
use crate::sys::{pass, pidfd};

/// Seconds of silence after which the kernel asks whether Redis is still there.
const KEEP_ALIVE_S: u32 = 60;

/// Why the store cannot be reached from the start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A system call failed.
    #[error("the link to the limit store cannot be set up")]
    System(#[from] Errno),
    /// The runtime.
    #[error("the link to the limit store cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// The address of the store.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The host's resolver settings.
    #[error(transparent)]
    SystemDns(#[from] SystemDnsError),
    /// The socket cannot be looked at.
    #[error("{path}")]
    Socket {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The socket's group is root's: nobody but root may connect, and we do not connect as root.
    #[error(
        "{0} belongs to group 0: give it a group of its own (`unixsocketperm 770`, `chgrp redis`), which we then join"
    )]
    RootsGroup(String),
    /// There is no connection.
    #[error("limit store {place}: {what}")]
    NoConnection {
        /// The store, without its password.
        place: String,
        /// Why.
        what: String,
    },
}

/// The relay's end.
#[derive(Debug)]
pub struct StoreLink {
    fd: OwnedFd,
    /// An answer is still to come. So it is at first: a connection is made before anybody asks.
    is_awaited: bool,
}

/// The other end, and what the process needs to know.
#[derive(Debug)]
pub struct Dial {
    fd: OwnedFd,
    dsn: Dsn,
    system_dns: SystemDns,
    gid: u32,
}

/// Both ends.
///
/// # Errors
/// Those of socketpair(2).
pub fn pair() -> Result<(StoreLink, OwnedFd), LinkError> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((StoreLink { fd: ours, is_awaited: true }, theirs))
}

/// The group whose members may connect. Joining it is what a person would do: no right of root's is kept for it.
fn group_of(path: &Path) -> Result<u32, LinkError> {
    use std::os::unix::fs::MetadataExt;
    let name = || path.display().to_string();
    let gid = std::fs::metadata(path).map_err(|source| LinkError::Socket { path: name(), source })?.gid();
    if gid == 0 { Err(LinkError::RootsGroup(name())) } else { Ok(gid) }
}

impl StoreLink {
    /// The descriptor, to be kept open by the relay's confinement.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Link for StoreLink {
    fn connect(&mut self, deadline_ns: u64) -> Result<Connection, String> {
        let broken = |errno: Errno| format!("the process that connects to it is gone ({})", errno.desc());
        if !self.is_awaited {
            pass::send(self.fd.as_fd(), b"?", None).map_err(broken)?;
            self.is_awaited = true;
        }
        let left_ms = deadline_ns.saturating_sub(clock::now().boot_ns).div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO);
        if !pidfd::readable(self.fd.as_fd(), timeout).map_err(broken)? {
            return Err("no connection in time".to_owned());
        }
        let mut text = [0; STORE_LINK_TEXT_BYTES_MAX];
        let (length, fd) = pass::receive(self.fd.as_fd(), &mut text, MsgFlags::MSG_DONTWAIT).map_err(broken)?;
        self.is_awaited = false;
        let text = String::from_utf8_lossy(&text[..length]);
        match (fd, text.split_once('\n')) {
            (Some(fd), Some((prefix, place))) => {
                Ok(Connection { fd, prefix: prefix.to_owned(), place: place.to_owned() })
            }
            (None, _) if !text.is_empty() => Err(text.into_owned()),
            _ => Err(broken(Errno::EPIPE)),
        }
    }
}

impl Dial {
    /// Reads everything that stands in files: the store's address, the resolver's settings, the group of the socket. Call it in the
    /// process that connects, as root, before confinement.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn prepare(source: &Source, fd: OwnedFd) -> Result<Self, LinkError> {
        let dsn = source.read()?;
        let gid = match &dsn.address {
            Address::Unix(path) => group_of(path)?,
            Address::Tcp { .. } => LINK,
        };
        Ok(Self { fd, dsn, system_dns: SystemDns::read()?, gid })
    }

    /// The descriptor, to be kept open by the confinement.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The group that the process has to be in.
    #[must_use]
    pub const fn gid(&self) -> u32 {
        self.gid
    }

    /// Makes the first connection, calls `ready`, then makes one whenever the relay asks, until it hangs up. Opens no file.
    ///
    /// # Errors
    /// [`LinkError`], before `ready` when the store cannot be used as it is; later ones are told to the relay.
    pub fn serve(self, ready: impl FnOnce() -> Result<(), Errno>) -> Result<(), LinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LinkError::Runtime)?;
        let resolver = runtime.block_on(async { self.system_dns.resolver() })?;
        // Whoever starts us names the store, and it may stand anywhere: as for `--connect-to`.
        let here = match &self.dsn.address {
            Address::Tcp { host, port } => {
                vec![ConnectTo { host: host.clone(), port: *port, to_host: host.clone(), to_port: *port }]
            }
            Address::Unix(_) => Vec::new(),
        };
        let dialer = Dialer::new(resolver, here);
        let place = self.dsn.to_string();
        let (connection, warnings) =
            self.connect(&runtime, &dialer).map_err(|what| LinkError::NoConnection { place: place.clone(), what })?;
        for warning in warnings {
            tracing::warn!("limit store {place}: {warning}");
        }
        self.hand_over(connection)?;
        ready()?;
        loop {
            match pass::receive(self.fd(), &mut [0; 1], MsgFlags::empty()) {
                Ok((0, _)) | Err(Errno::ECONNRESET) => return Ok(()),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            match self.connect(&runtime, &dialer) {
                Ok((connection, _)) => self.hand_over(connection)?,
                Err(what) => pass::send(self.fd(), cut(&what), None)?,
            }
        }
    }

    fn hand_over(&self, connection: Connection) -> Result<(), LinkError> {
        let text = format!("{}\n{}", connection.prefix, connection.place);
        Ok(pass::send(self.fd(), text.as_bytes(), Some(connection.fd.as_fd()))?)
    }

    /// One connection, logged in.
    fn connect(&self, runtime: &Runtime, dialer: &Dialer) -> Result<(Connection, Vec<String>), String> {
        let deadline_ns = clock::now().boot_ns.saturating_add(REDIS_LINK_WAIT_MS * 1_000_000);
        let wait = Duration::from_millis(REDIS_LINK_WAIT_MS);
        let fd: OwnedFd = runtime.block_on(async {
            let dialled = tokio::time::timeout(wait, self.dial(dialer)).await;
            dialled.unwrap_or_else(|_| Err("it cannot be reached in time".to_owned()))
        })?;
        handshake(fd, &self.dsn, deadline_ns)
    }

    async fn dial(&self, dialer: &Dialer) -> Result<OwnedFd, String> {
        match &self.dsn.address {
            Address::Tcp { host, port } => {
                let stream = dialer.dial(host, *port).await.map_err(|error| crate::report::chain(&error))?;
                let set_up = || -> std::io::Result<OwnedFd> {
                    // A reservation is one small packet each way.
                    stream.set_nodelay(true)?;
                    // Quiet for hours, then needed at once: what stands between must not have forgotten it.
                    setsockopt(&stream, sockopt::KeepAlive, &true)?;
                    setsockopt(&stream, sockopt::TcpKeepIdle, &KEEP_ALIVE_S)?;
                    Ok(stream.into_std()?.into())
                };
                set_up().map_err(|error| error.to_string())
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.and_then(UnixStream::into_std);
                stream.map(OwnedFd::from).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }
}

/// As much of a text as a message holds, and never nothing.
fn cut(text: &str) -> &[u8] {
    let bytes = text.as_bytes();
    if bytes.is_empty() { b"unknown" } else { &bytes[..bytes.len().min(STORE_LINK_TEXT_BYTES_MAX)] }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Stream;

    use super::*;

    fn link() -> (StoreLink, OwnedFd) {
        pair().unwrap()
    }

    fn soon() -> u64 {
        clock::now().boot_ns + 30_000_000
    }

    #[test]
    fn the_first_connection_comes_unasked_and_a_later_one_after_a_question() {
        let (mut link, other) = link();
        let (one, _end) = Stream::pair().unwrap();
        pass::send(other.as_fd(), b"team\nredis://h:6379/0", Some(one.as_fd())).unwrap();
        let connection = link.connect(soon()).unwrap();
        assert_eq!((connection.prefix.as_str(), connection.place.as_str()), ("team", "redis://h:6379/0"));
        let asked = |other: &OwnedFd| pass::receive(other.as_fd(), &mut [0; 4], MsgFlags::MSG_DONTWAIT).map(|(n, _)| n);
        assert_eq!(asked(&other), Err(Errno::EAGAIN), "nothing was asked so far");
        assert_eq!(link.connect(soon()).unwrap_err(), "no connection in time");
        assert_eq!(asked(&other), Ok(1));
        assert_eq!(link.connect(soon()).unwrap_err(), "no connection in time");
        assert_eq!(asked(&other), Err(Errno::EAGAIN), "one question at a time");
        pass::send(other.as_fd(), b"host unreachable", None).unwrap();
        assert_eq!(link.connect(soon()).unwrap_err(), "host unreachable");
    }

    #[test]
    fn a_link_whose_other_end_is_gone_says_so_each_time() {
        let (mut link, other) = link();
        drop(other);
        for _ in 0..3 {
            assert!(link.connect(soon()).unwrap_err().contains("is gone"));
        }
    }

    #[test]
    fn a_socket_of_roots_group_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(matches!(group_of(&missing), Err(LinkError::Socket { .. })));
        if nix::unistd::geteuid().is_root() {
            let path = directory.path().join("redis.sock");
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            std::os::unix::fs::chown(&path, None, Some(0)).unwrap();
            assert!(matches!(group_of(&path), Err(LinkError::RootsGroup(_))));
            std::os::unix::fs::chown(&path, None, Some(65_534)).unwrap();
            assert_eq!(group_of(&path).unwrap(), 65_534);
        }
    }
}
