//! Namespaces for the launcher: `lo` alone, a world that answers, and a stand-in for stub resolver and gateway.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// First argument of the stand-in.
pub(crate) const ROLE: &str = "stub";
/// The one name that the stand-in knows, and its address.
pub(crate) const LISTED: (&str, [u8; 4]) = ("api.example.com", [198, 18, 0, 2]);

/// What is wrong with a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A host outside answers TCP 443.
    Tcp,
    /// Something takes datagrams at an address that stands for no host.
    Udp,
    /// The resolver knows every name.
    Wildcard,
    /// The resolver answers, but the listed host's port is closed.
    NoGateway,
}

impl Flaw {
    /// By its name on the launcher's command line.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "wildcard" => Self::Wildcard,
            "no-gateway" => Self::NoGateway,
            other => panic!("unknown flaw {other}"),
        }
    }
}

/// A network namespace and what must live as long as it is used.
pub(crate) struct Network {
    pub(crate) namespace: OwnedFd,
    stub: Option<Child>,
    _listeners: (Option<TcpListener>, Option<UdpSocket>),
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(stub) = &mut self.stub {
            drop(stub.stdin.take()); // it ends at the end of its input
            stub.wait().unwrap();
        }
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "ip {arguments}");
}

/// Makes one and comes back to ours. With `stub`, the stand-in serves in it.
#[allow(clippy::disallowed_methods)] // the stand-in is a process of the test, not of the product
pub(crate) fn network(stub: bool, flaw: Option<Flaw>) -> Network {
    let home = File::open("/proc/self/ns/net").unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
    if stub || flaw.is_some() {
        ip("route add local 198.18.0.0/15 dev lo");
    }
    let mut listeners = (None, None);
    if flaw == Some(Flaw::Tcp) {
        ip("addr add 1.1.1.1/32 dev lo");
        listeners.0 = Some(TcpListener::bind("1.1.1.1:443").unwrap());
    }
    if flaw == Some(Flaw::Udp) {
        listeners.1 = Some(UdpSocket::bind("198.19.255.254:443").unwrap());
    }
    let stub = stub.then(|| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(ROLE);
        match flaw {
            Some(Flaw::Wildcard) => drop(command.arg("wildcard")),
            Some(Flaw::NoGateway) => drop(command.arg("no-gateway")),
            _ => {}
        }
        let mut stub = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        stub.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap(); // it listens
        stub
    });
    let namespace = File::open("/proc/self/ns/net").unwrap().into();
    setns(&home, CloneFlags::CLONE_NEWNET).unwrap();
    Network { namespace, stub, _listeners: listeners }
}

/// The stand-in: answers A questions until its input ends.
pub(crate) fn stub(flaw: Option<String>) -> ExitCode {
    let resolver = UdpSocket::bind("198.18.0.1:53").unwrap();
    let _gateway = (flaw.as_deref() != Some("no-gateway")).then(|| TcpListener::bind("198.18.0.2:443").unwrap());
    std::io::Write::write_all(&mut std::io::stdout(), b"!").unwrap();
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = resolver.recv_from(&mut bytes) {
            let mut answer = bytes[..length].to_vec();
            let name: Vec<u8> =
                LISTED.0.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
            let known = answer[12..].starts_with(&name) || flaw.as_deref() == Some("wildcard");
            answer[2] |= 0x80;
            if known {
                answer[7] = 1;
                answer.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend_from_slice(&LISTED.1);
            } else {
                answer[3] |= 3;
            }
            resolver.send_to(&answer, from).unwrap();
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    ExitCode::SUCCESS
}
