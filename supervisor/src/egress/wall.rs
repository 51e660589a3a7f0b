//! The wall: a network namespace with `lo` and nothing else, the sockets that we serve inside it, the probes.
//!
//! It is a missing route and not a filter: nothing has to run, or keep running, for the server to be cut off.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::netlink::{LOOPBACK_INDEX, Netlink, NetlinkError, Route};
use super::probes::{self, Features, Loaded, ProbeError, Probes};
use super::sockets::{self, SocketError};
use crate::bounds::LAST_THREAD_WAIT_MS;
use crate::clock;
use crate::fault::Stage;
use crate::sandbox::plan::NetworkPlan;
use crate::sandbox::programs::Executables;
use crate::sandbox::{Answer, Layer, LayerReport};
use crate::sys::process;
use crate::weaken;

/// The synthetic range: RFC 2544 benchmarking addresses, which no network routes.
pub const SYNTHETIC: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// Sockets inside the namespace, all non-blocking and close-on-exec; they keep their namespace wherever they are served.
#[derive(Debug)]
pub struct Listeners {
    /// Where `sk_lookup` sends every connection; an accepted socket's local address is the original destination.
    pub gateway: TcpListener,
    /// DNS over UDP, 198.18.0.1:53.
    pub dns_udp: UdpSocket,
    /// DNS over TCP, 198.18.0.1:53.
    pub dns_tcp: TcpListener,
    /// Without `sk_lookup`: one listener for each port of the policy, on the any-address. Empty otherwise.
    pub fallback: Vec<(u16, TcpListener)>,
}

/// The wall of one run. Dropping the last copy, over all processes, closes what is left of the road.
#[derive(Debug)]
pub struct Wall {
    /// The namespace that the server joins.
    pub netns: OwnedFd,
    /// The sockets inside it.
    pub listeners: Listeners,
    /// The programs on the server's cgroup and namespace.
    pub probes: Probes,
}

/// A wall in the making: the verifier reads the programs on a thread of its own, while the caller does what else a launch needs.
/// Dropped, it is given up: the thread ends by itself or with the process, and what it loaded is in force nowhere.
#[derive(Debug)]
pub struct Raising {
    begun: Result<(Features, JoinHandle<Result<Loaded, ProbeError>>), WallError>,
}

/// A network namespace without a route, our sockets inside it, and programs that the verifier accepted: all of the wall but
/// that nothing is attached.
#[derive(Debug)]
pub struct Enclosure {
    /// The namespace that the server joins.
    pub netns: OwnedFd,
    listeners: Listeners,
    loaded: Loaded,
}

/// Why there is no wall. Nothing was started, and nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WallError {
    /// A thread could not be started, or one that has ended did not go.
    #[error("cannot use a thread")]
    Thread(#[source] std::io::Error),
    /// A file of /proc could not be read.
    #[error("cannot read {path}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// unshare(2) failed.
    #[error("cannot make a network namespace")]
    Unshare(#[source] Errno),
    /// rtnetlink failed.
    #[error("cannot set up the network namespace")]
    Netlink(#[from] NetlinkError),
    /// The new namespace has a road that nobody made.
    #[error("the new network namespace has a route that must not be there: {0:?}")]
    Route(Route),
    /// A socket could not be opened.
    #[error("cannot open a socket in the network namespace")]
    Socket(#[from] SocketError),
    /// The probes are not in force.
    #[error("cannot put the probes in force")]
    Probes(#[from] ProbeError),
}

impl Wall {
    /// Raises the wall for the cgroup v2 directory `cgroup`, without a list of programs. The caller is root.
    ///
    /// # Errors
    /// When any part is missing; nothing is left in force then.
    pub fn raise(network: &NetworkPlan, cgroup: BorrowedFd<'_>) -> Result<Self, WallError> {
        Self::raise_with(network, cgroup, Features::detect()?)
    }

    /// [`Self::raise`], using no more of the kernel than `features`.
    ///
    /// # Errors
    /// As [`Self::raise`].
    pub fn raise_with(network: &NetworkPlan, cgroup: BorrowedFd<'_>, features: Features) -> Result<Self, WallError> {
        Raising::begin_with(network, features).enclose_beside(network)?.arm(cgroup, None)
    }

    /// What this part of the sandbox answers. The gateway answers for itself, once it serves.
    #[must_use]
    pub fn answers(&self) -> Vec<LayerReport> {
        let redirection = if self.probes.redirects() {
            Answer::Enforced
        } else {
            Answer::Unsupported("no sk_lookup programs: listening on the policy's ports".to_owned())
        };
        vec![
            LayerReport { layer: Layer::Netns, answer: Answer::Enforced },
            LayerReport { layer: Layer::CgroupBpf, answer: Answer::Enforced },
            LayerReport { layer: Layer::SkLookup, answer: redirection },
        ]
    }
}

impl Raising {
    /// Begins: asks the kernel what it has and gives the programs to a thread. What goes wrong is told by [`Self::enclose`].
    #[must_use]
    pub fn begin(network: &NetworkPlan) -> Self {
        match Features::detect() {
            Ok(features) => Self::begin_with(network, features),
            Err(error) => Self { begun: Err(error.into()) },
        }
    }

    fn begin_with(network: &NetworkPlan, features: Features) -> Self {
        let begin = || {
            // Here and not there: it takes the right to open files from the whole process for a moment.
            let loader = probes::loader()?;
            let network = network.clone();
            let load = move || Loaded::load_with(loader, &network, features);
            let thread = thread::Builder::new().name("isb-verifier".into()).spawn(load).map_err(WallError::Thread)?;
            Ok((features, thread))
        };
        Self { begun: begin() }
    }

    /// Makes the namespace and waits for the verifier. The process has one thread again when this returns, as every fork after it
    /// demands.
    ///
    /// # Errors
    /// When any part is missing; nothing is left then.
    pub fn enclose(self, network: &NetworkPlan) -> Result<Enclosure, WallError> {
        let enclosure = self.enclose_beside(network)?;
        await_single_thread()?;
        Ok(enclosure)
    }

    /// The same for a process that has other threads.
    fn enclose_beside(self, network: &NetworkPlan) -> Result<Enclosure, WallError> {
        let (features, thread) = self.begun?;
        let ports = if features.sk_lookup { Vec::new() } else { policy_ports(network) };
        let (netns, listeners) = in_new_namespace(|| Ok((open_namespace()?, build(&ports)?)))?;
        Stage::Network.passed().map_err(WallError::Unshare)?;
        let loaded = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Stage::Probes.passed().map_err(WallError::Unshare)?;
        Ok(Enclosure { netns, listeners, loaded })
    }
}

impl Enclosure {
    /// Puts the probes in force on the cgroup v2 directory `cgroup` and in the namespace; what the cgroup may execute is `programs`, where
    /// there is a list.
    ///
    /// # Errors
    /// When any part is missing; nothing is left in force then.
    pub fn arm(self, cgroup: BorrowedFd<'_>, programs: Option<&Executables<'_>>) -> Result<Wall, WallError> {
        let probes = self.loaded.attach(cgroup, self.netns.as_fd(), &self.listeners.gateway, programs)?;
        Stage::Attached.passed().map_err(WallError::Unshare)?;
        Ok(Wall { netns: self.netns, listeners: self.listeners, probes })
    }
}

/// Runs `work` inside a new network namespace, on a thread that ends with it: the caller never leaves its own.
fn in_new_namespace<T: Send>(work: impl FnOnce() -> Result<T, WallError> + Send) -> Result<T, WallError> {
    thread::scope(|scope| {
        let apart = || {
            if weaken::in_force("netns") {
                unshare(CloneFlags::CLONE_NEWNET).map_err(WallError::Unshare)?;
            }
            work()
        };
        let thread = thread::Builder::new().name("isb-netns".into()).spawn_scoped(scope, apart);
        thread.map_err(WallError::Thread)?.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Waits until this process has one thread. A joined thread is listed for a moment longer: pthread_join(3) returns when the kernel has
/// cleared the thread's id, which it does before it takes the thread out of the process (mm_release before release_task).
fn await_single_thread() -> Result<(), WallError> {
    let deadline_ns = clock::now().boot_ns + LAST_THREAD_WAIT_MS * 1_000_000;
    while process::task_count().map_err(|errno| WallError::Thread(errno.into()))? != 1 {
        if clock::now().boot_ns > deadline_ns {
            return Err(WallError::Thread(ErrorKind::TimedOut.into()));
        }
        thread::yield_now();
    }
    Ok(())
}

/// The caller's network namespace.
fn open_namespace() -> Result<OwnedFd, WallError> {
    let path = "/proc/thread-self/ns/net";
    File::open(path).map(OwnedFd::from).map_err(|cause| WallError::Proc { path, cause })
}

/// Makes `lo` and the synthetic range usable, proves that nothing else is there, opens the sockets.
fn build(ports: &[u16]) -> Result<Listeners, WallError> {
    let mut netlink = Netlink::open()?;
    netlink.link_up(LOOPBACK_INDEX)?;
    let (address, prefix_bits) = SYNTHETIC;
    match netlink.add_local_route(address.into(), prefix_bits, LOOPBACK_INDEX) {
        Err(_) if !weaken::in_force("netns") => {} // the last session's, in a network that is not our own
        added => added?,
    }
    if weaken::in_force("netns")
        && let Some(route) = netlink.routes()?.into_iter().find(|route| !stays_inside(route))
    {
        return Err(WallError::Route(route));
    }
    let stub = Ipv4Addr::from(intercept_sandbox_abi::STUB_ADDRESS);
    let dns = intercept_sandbox_abi::STUB_PORT;
    Ok(Listeners {
        // On the stub's address and not on loopback: only through the probes can the server speak to it.
        gateway: sockets::listen(stub, 0)?,
        dns_udp: sockets::datagrams(stub, dns)?,
        dns_tcp: sockets::listen(stub, dns)?,
        fallback: ports
            .iter()
            .map(|port| Ok((*port, sockets::listen(Ipv4Addr::UNSPECIFIED, *port)?)))
            .collect::<Result<_, SocketError>>()?,
    })
}

/// Whether a route is one of the few of a fresh namespace: on `lo`, and to loopback or the synthetic range.
fn stays_inside(route: &Route) -> bool {
    const INSIDE: [(std::net::IpAddr, u8); 3] = [
        (std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        (std::net::IpAddr::V4(SYNTHETIC.0), SYNTHETIC.1),
        (std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128),
    ];
    let Some(destination) = route.destination else { return false };
    let within = |(network, bits): &(std::net::IpAddr, u8)| {
        route.prefix_bits >= *bits && prefix(destination, *bits) == prefix(*network, *bits)
    };
    route.interface == Some(LOOPBACK_INDEX) && INSIDE.iter().any(within)
}

/// The first `bits` of an address, with its family.
const fn prefix(address: std::net::IpAddr, bits: u8) -> (bool, Option<u128>) {
    match address {
        std::net::IpAddr::V4(v4) => (true, (v4.to_bits() as u128).checked_shr(32 - bits as u32)),
        std::net::IpAddr::V6(v6) => (false, v6.to_bits().checked_shr(128 - bits as u32)),
    }
}

/// The distinct ports of the policy, ascending.
fn policy_ports(network: &NetworkPlan) -> Vec<u16> {
    let mut ports: Vec<u16> = network.hosts.iter().flat_map(|host| host.ports.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn route(destination: &str, prefix_bits: u8, interface: u32) -> Route {
        let destination = destination.parse::<IpAddr>().ok();
        Route { destination, prefix_bits, kind: 2, interface: Some(interface) }
    }

    #[test]
    fn the_routes_of_a_fresh_namespace_stay_inside() {
        for (destination, bits) in [
            ("127.0.0.0", 8),
            ("127.0.0.1", 32),
            ("127.255.255.255", 32),
            ("198.18.0.0", 15),
            ("198.19.255.255", 32),
            ("::1", 128),
        ] {
            assert!(stays_inside(&route(destination, bits, 1)), "{destination}/{bits}");
        }
    }

    #[test]
    fn every_other_route_is_a_way_out() {
        for (destination, bits, interface) in [
            ("127.0.0.0", 7, 1),
            ("126.255.255.255", 32, 1),
            ("198.18.0.0", 14, 1),
            ("198.20.0.0", 32, 1),
            ("198.17.255.255", 32, 1),
            ("::", 127, 1),
            ("::2", 128, 1),
            ("::ffff:127.0.0.1", 128, 1),
            ("fe80::", 64, 1),
            ("ff00::", 8, 1),
            ("127.0.0.1", 32, 2),
            ("default", 0, 1),
        ] {
            assert!(!stays_inside(&route(destination, bits, interface)), "{destination}/{bits} {interface}");
        }
        let homeless = Route { interface: None, ..route("127.0.0.1", 32, 1) };
        assert!(!stays_inside(&homeless));
    }

    #[test]
    fn the_caller_stays_where_it_is() {
        let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let home = own();
        let inside = in_new_namespace(|| Ok(own()));
        // Without the right to a new one there is an error, never a visit to the caller's.
        assert!(inside.as_ref().is_ok_and(|inside| *inside != home) || matches!(inside, Err(WallError::Unshare(_))));
        let failed = in_new_namespace(|| Err::<(), _>(WallError::Unshare(Errno::EIO)));
        assert!(matches!(failed, Err(WallError::Unshare(Errno::EIO | Errno::EPERM))), "{failed:?}");
        assert_eq!(own(), home);
    }
}
