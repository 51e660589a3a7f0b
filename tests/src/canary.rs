//! Sockets that count who reaches them.
//!
//! No thread: on loopback a connection stands in the listener's queue, and a datagram in the socket's buffer, when the
//! attacker's call returns, so counting is draining.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use nix::sys::stat::Mode;

/// Name of the abstract unix socket.
pub const ABSTRACT_NAME: &str = "isb-canary";

/// The TCP canaries of [`Canaries::open`].
pub const TCP: [&str; 18] = [
    "1.1.1.1:443",
    "8.8.8.8:53",
    "8.8.8.8:443",
    "8.8.8.8:853",
    "10.0.0.5:80",
    "127.0.0.1:8080",
    "172.16.7.7:80",
    "192.168.7.7:80",
    "100.100.100.200:80",
    "169.254.169.254:80",
    "203.0.113.9:443",
    "203.0.113.10:8443",
    "203.0.113.10:80",
    "[2001:db8::53]:443",
    "[::101:101]:443",
    "[64:ff9b::101:101]:443",
    "[2002:101:101::1]:443",
    "[fd00:ec2::254]:80",
];
/// The UDP canaries of [`Canaries::open`].
pub const UDP: [&str; 6] =
    ["1.1.1.1:443", "8.8.8.8:53", "127.0.0.1:8080", "203.0.113.9:53", "203.0.113.10:443", "[2606:4700:4700::1111]:53"];

enum Trap {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
    Icmp(OwnedFd),
    Pipe(File),
}

/// Every canary of an arena, by name: `tcp 1.1.1.1:443`, `udp 8.8.8.8:53`, `unix abstract`, `unix path`, `icmp`.
pub struct Canaries {
    traps: BTreeMap<String, Trap>,
}

impl Canaries {
    /// Opens all of them in the calling thread's network namespace; the path socket at `unix_path`, open to everyone.
    ///
    /// # Panics
    /// When an address is not there: only an arena has them.
    #[must_use]
    pub fn open(unix_path: &Path) -> Self {
        let mut traps = BTreeMap::new();
        for address in TCP {
            let listener = TcpListener::bind(parse(address)).unwrap_or_else(|e| panic!("tcp {address}: {e}"));
            listener.set_nonblocking(true).expect("sockets can be made non-blocking");
            traps.insert(format!("tcp {address}"), Trap::Tcp(listener));
        }
        for address in UDP {
            let socket = UdpSocket::bind(parse(address)).unwrap_or_else(|e| panic!("udp {address}: {e}"));
            socket.set_nonblocking(true).expect("sockets can be made non-blocking");
            traps.insert(format!("udp {address}"), Trap::Udp(socket));
        }
        let name = UnixAddr::from_abstract_name(ABSTRACT_NAME).expect("a short name");
        let listener = UnixListener::bind_addr(&name).expect("abstract names are the namespace's own");
        listener.set_nonblocking(true).expect("sockets can be made non-blocking");
        traps.insert("unix abstract".into(), Trap::Unix(listener));
        traps.insert("unix path".into(), unix_at(unix_path));
        let icmp = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::Icmp);
        traps.insert("icmp".into(), Trap::Icmp(icmp.expect("root can listen to ICMP")));
        Self { traps }
    }

    /// The same, with `unix shown` and `pipe shown`: `canary.sock` and `canary.pipe` in `folder`, open to everyone.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn in_view(mut self, folder: &Path) -> Self {
        self.traps.insert("unix shown".into(), unix_at(&folder.join("canary.sock")));
        let path = folder.join("canary.pipe");
        nix::unistd::mkfifo(&path, Mode::empty()).expect("a fresh path");
        open_to_everyone(&path);
        // To write as well: a pipe that nobody writes would otherwise be at its end.
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let pipe = nix::fcntl::open(&path, flags, Mode::empty()).expect("own pipe");
        self.traps.insert("pipe shown".into(), Trap::Pipe(pipe.into()));
        self
    }

    /// The same, with `doors` of a neighbour: `tcp 9.9.9.9:443`.
    ///
    /// # Panics
    /// When one is not bound.
    #[must_use]
    pub fn beyond(mut self, doors: Vec<TcpListener>) -> Self {
        for door in doors {
            let name = format!("tcp {}", door.local_addr().expect("it is bound"));
            self.traps.insert(name, Trap::Tcp(door));
        }
        self
    }

    /// Hits of one canary since it was last asked.
    ///
    /// # Panics
    /// When there is no such canary.
    pub fn take(&self, name: &str) -> usize {
        self.traps.get(name).unwrap_or_else(|| panic!("no canary is called {name}")).drain()
    }

    /// Hits of all canaries since each was last asked, without those that nobody reached.
    pub fn take_all(&self) -> BTreeMap<String, usize> {
        self.traps.iter().map(|(name, trap)| (name.clone(), trap.drain())).filter(|(_, hits)| *hits > 0).collect()
    }
}

impl Trap {
    fn drain(&self) -> usize {
        let mut hits = 0;
        while self.next() {
            hits += 1;
        }
        hits
    }

    /// Takes one hit out of the queue; false when it is empty.
    fn next(&self) -> bool {
        let mut buffer = [0; 2048];
        let outcome = match self {
            Self::Tcp(listener) => listener.accept().map(drop),
            Self::Unix(listener) => listener.accept().map(drop),
            Self::Udp(socket) => socket.recv(&mut buffer).map(drop),
            Self::Pipe(pipe) => (&*pipe).read(&mut buffer).map(drop),
            Self::Icmp(fd) => match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // A raw socket gets the IP header too; only echo requests are an attack, replies are the kernel's.
                Ok(length) => return length > 20 && buffer[20] == 8 || self.next(),
                Err(errno) => Err(std::io::Error::from(errno)),
            },
        };
        match outcome {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // A hostile client may reset before it is accepted: that is a hit all the same.
            Err(error) if error.raw_os_error() == Some(Errno::ECONNABORTED as i32) => true,
            Err(error) => panic!("canary: {error}"),
        }
    }
}

fn unix_at(path: &Path) -> Trap {
    let listener = UnixListener::bind(path).expect("a fresh path");
    listener.set_nonblocking(true).expect("sockets can be made non-blocking");
    open_to_everyone(path);
    Trap::Unix(listener)
}

fn open_to_everyone(path: &Path) {
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path, everyone).expect("own file");
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("a literal address")
}
