//! Loads the eBPF programs, attaches them to the server's cgroup and namespace, and holds their maps.
//!
//! Two steps: [`Loaded::load`] gives the verifier the programs, [`Loaded::attach`] puts them in force. Links are unpinned: the
//! programs stay as long as some process holds the [`Probes`], and a forked child holds them too.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf, SockMap};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Program, ProgramError, ProgramType,
    SkLookup,
};
use aya::sys::{BpfHelper, is_helper_supported, is_program_supported};
use aya::{Ebpf, EbpfError, EbpfLoader};
use intercept_sandbox_abi as abi;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::events::{EventReader, HostNames};
use super::extra::Extra;
use super::kernel_events::KernelEvents;
use super::lsm::{self, Maps, Refused};
use super::serve::Lost;
use super::{exec_trace, file_trace};
use crate::bounds::PROBE_DESTINATIONS_MAX;
use crate::sandbox::plan::NetworkPlan;
use crate::sandbox::programs::Executables;
use crate::sandbox::{Layer, LayerReport};
use crate::weaken;

/// The compiled programs: `cargo xtask probes check` proves that they are these sources'.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/probes.o");

/// What of this kernel the probes can use beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `sk_lookup` programs (5.9): every connection of the namespace goes to the gateway. Without: the policy's ports only.
    pub sk_lookup: bool,
    /// `bpf_set_retval` (5.18): a refused connect says ENETUNREACH. Without: EPERM.
    pub set_retval: bool,
    /// LSM programs, where the kernel calls them. Without: not tried.
    pub lsm: bool,
}

impl Features {
    /// Asks the kernel, by loading two tiny programs; a kernel's version says nothing of what a distribution put into it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn detect() -> Result<Self, ProbeError> {
        let ask = |answer: Result<bool, ProgramError>| answer.map_err(|cause| ProbeError::Feature(Box::new(cause)));
        let set_retval = ask(is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval))?;
        let sk_lookup = ask(is_program_supported(ProgramType::SkLookup))?;
        Ok(Self { sk_lookup: sk_lookup && weaken::in_force("sk-lookup"), set_retval, lsm: true })
    }
}

/// aya's loader without the kernel's types. `EbpfLoader::new` reads and parses all of /sys/kernel/btf/vmlinux (6 MB, 30 ms:
/// half of a launch) before it can be told not to, and goes on without where it cannot be opened; our programs use none of
/// it. So for that one call no file can be opened.
pub(super) fn loader() -> Result<EbpfLoader<'static>, ProbeError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(ProbeError::Limit)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).map_err(ProbeError::Limit)?;
    let loader = EbpfLoader::new();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(ProbeError::Limit)?;
    Ok(loader)
}

/// Why the probes are not in force.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel could not be asked for a feature.
    #[error("cannot ask the kernel for its eBPF features")]
    Feature(#[source] Box<ProgramError>),
    /// The limit on open files cannot be set.
    #[error("cannot set the limit on open files")]
    Limit(#[source] Errno),
    /// The object does not parse, or a map cannot be made.
    #[error("cannot load the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// A descriptor of a map could not be copied.
    #[error("cannot copy a map's descriptor")]
    Descriptor(#[source] std::io::Error),
    /// The object lacks a program or a map, or has it with another type.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The verifier refused a program, or it cannot be attached.
    #[error("eBPF program {name}")]
    Program {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: Box<ProgramError>,
    },
    /// No link: the kernel is older than 5.7.
    #[error("eBPF program {0}: the kernel has no links for it")]
    NoLink(&'static str),
    /// The kernel does not tell of a link.
    #[error("eBPF program {name}: its link cannot be read")]
    Link {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: LinkError,
    },
    /// The kernel says that another program stands behind the link.
    #[error("eBPF program {0} is not the one that is attached")]
    NotAttached(&'static str),
    /// A map refused an operation.
    #[error("eBPF map {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: Box<MapError>,
    },
    /// The policy opens more destinations than the map may hold.
    #[error("{0} destinations; at most {PROBE_DESTINATIONS_MAX}")]
    TooManyDestinations(usize),
    /// The destination is not one of the policy's.
    #[error("{0}:{1} is not a destination of the policy")]
    UnknownDestination(Ipv4Addr, u16),
}

/// Programs that the verifier accepted; not yet in force.
#[derive(Debug)]
pub struct Loaded {
    ebpf: Ebpf,
    destinations: Vec<(Ipv4Addr, u16)>,
    redirects: bool,
    lsm: bool,
    execs: exec_trace::Loaded,
}

impl Loaded {
    /// Parses the object, makes the maps, lets the verifier check every program that `features` allows.
    ///
    /// # Errors
    /// When a program is refused.
    pub fn load(network: &NetworkPlan, features: Features) -> Result<Self, ProbeError> {
        Self::load_with(loader()?, network, features)
    }

    pub(super) fn load_with(
        loader: EbpfLoader<'_>,
        network: &NetworkPlan,
        features: Features,
    ) -> Result<Self, ProbeError> {
        let destinations = destinations(network)?;
        let says_why = u8::from(features.set_retval);
        let slots = u32::try_from(destinations.len().max(1)).unwrap_or(u32::MAX); // a map of 0 entries is EINVAL
        let mut loader = loader; // lives no longer than what it borrows here
        let mut ebpf = loader
            .override_global(abi::GLOBAL_SET_RETVAL, &says_why, true)
            .map_max_entries(abi::MAP_ALLOWED, slots)
            .load(OBJECT)
            .map_err(|cause| ProbeError::Object(Box::new(cause)))?;
        load_all(&mut ebpf)?;
        if features.sk_lookup {
            let name = abi::program::TO_GATEWAY;
            program::<SkLookup>(&mut ebpf, name)?.load().map_err(|cause| program_error(name, cause))?;
        }
        let execs = exec_trace::Loaded::load(&shared_maps(&ebpf)?);
        Ok(Self { ebpf, destinations, redirects: features.sk_lookup, lsm: features.lsm, execs })
    }

    /// The maps that the LSM programs and the one on exec write into.
    ///
    /// # Errors
    /// When the object has them not, or with other types.
    pub fn shared_maps(&self) -> Result<Maps<'_>, ProbeError> {
        shared_maps(&self.ebpf)
    }

    /// Attaches the programs to `cgroup` (a cgroup v2 directory) and the redirection to the namespace `netns`, whose TCP
    /// connections then go to `gateway`; opens the policy's destinations. With a list of `programs`, the LSM programs refuse all others.
    ///
    /// # Errors
    /// When anything is not in force; what was attached is detached again.
    pub fn attach(
        mut self,
        cgroup: BorrowedFd<'_>,
        netns: BorrowedFd<'_>,
        gateway: &impl AsRawFd,
        programs: Option<&Executables<'_>>,
    ) -> Result<Probes, ProbeError> {
        let maps = self.shared_maps()?;
        let uncalled = if self.lsm { lsm::uncalled() } else { Some("not tried".to_owned()) };
        let files = file_trace::arm(&maps, cgroup, uncalled.as_deref());
        let lsm = match uncalled {
            None => lsm::arm(&maps, cgroup, programs),
            Some(reason) => Extra::Absent(reason),
        };
        let execs = self.execs.attach(cgroup);
        let mut links = attach_to_cgroup(&mut self.ebpf, cgroup)?;
        if self.redirects {
            let mut slot: SockMap<MapData> = take_map(&mut self.ebpf, abi::MAP_GATEWAY)?;
            slot.set(0, gateway, 0).map_err(|cause| map_error(abi::MAP_GATEWAY, cause))?;
            links.push(attach_redirect(&mut self.ebpf, netns)?);
        }
        let counters = self.ebpf.take_map(abi::MAP_COUNTERS).ok_or(ProbeError::Missing(abi::MAP_COUNTERS))?;
        let counters_fd = match &counters {
            Map::PerCpuArray(data) | Map::Array(data) => data.fd().as_fd().try_clone_to_owned(),
            _ => return Err(ProbeError::Missing(abi::MAP_COUNTERS)),
        };
        let mut probes = Probes {
            links,
            counters_fd: counters_fd.map_err(ProbeError::Descriptor)?,
            allowed: take_map(&mut self.ebpf, abi::MAP_ALLOWED)?,
            counters: Array::try_from(counters).map_err(|cause| map_error(abi::MAP_COUNTERS, cause))?,
            events: Some(EventReader::new(take_map::<RingBuf<MapData>>(&mut self.ebpf, abi::MAP_EVENTS)?)),
            redirects: self.redirects,
            lsm,
            execs,
            files,
        };
        for (address, port) in self.destinations {
            probes.put(address, port, abi::OPEN)?;
        }
        Ok(probes)
    }
}

/// Programs in force. Dropping the last copy, over all processes, takes them out of force.
pub struct Probes {
    links: Vec<FdLink>,
    allowed: HashMap<MapData, [u8; abi::ALLOW_KEY_BYTES], u32>,
    counters: Array<MapData, u64>,
    counters_fd: OwnedFd,
    events: Option<EventReader>,
    redirects: bool,
    lsm: Extra<lsm::Links>,
    execs: Extra<OwnedFd>,
    files: Extra<OwnedFd>,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Probes {
    /// How many programs are in force.
    #[must_use]
    pub const fn attached(&self) -> usize {
        self.links.len()
    }

    /// Whether every connection of the namespace goes to the gateway; otherwise the policy's ports only.
    #[must_use]
    pub const fn redirects(&self) -> bool {
        self.redirects
    }

    /// What the LSM programs answer. Asked after the self-test, which pid 1 ends: they are in force when it was refused by them.
    #[must_use]
    pub fn lsm_answer(&self) -> LayerReport {
        // A count that cannot be read shows nothing: then the layer is not in force.
        let count = |of| self.counter(of).unwrap_or(0);
        let refused = Refused {
            connects: count(abi::COUNTER_LSM_CONNECT),
            sends: count(abi::COUNTER_LSM_SENDMSG),
            execs: count(abi::COUNTER_LSM_EXEC),
        };
        LayerReport { layer: Layer::Lsm, answer: self.lsm.answer(|links| lsm::doubt(links, refused)) }
    }

    /// What the exec audit answers. Asked when the sandbox's pid 1 has been executed: it is in force when it has seen that.
    #[must_use]
    pub fn exec_answer(&self) -> LayerReport {
        let seen = self.counter(abi::COUNTER_EXECS).unwrap_or(0);
        LayerReport { layer: Layer::ExecTrace, answer: self.execs.answer(|_| exec_trace::doubt(seen)) }
    }

    /// What the file audit answers. Asked as [`Self::exec_answer`] is: pid 1 has opened a file before it was executed.
    #[must_use]
    pub fn file_answer(&self) -> LayerReport {
        let seen = self.counter(abi::COUNTER_OPENS).unwrap_or(0);
        LayerReport { layer: Layer::FsTrace, answer: self.files.answer(|_| file_trace::doubt(seen)) }
    }

    /// Opens or closes one destination of the policy (call scope). A bpf(2) call: works after every privilege is dropped,
    /// since Linux 5.19 also where `kernel.unprivileged_bpf_disabled` is set.
    ///
    /// # Errors
    /// When the policy does not know the destination, or the kernel refuses.
    pub fn set_open(&mut self, address: Ipv4Addr, port: u16, open: bool) -> Result<(), ProbeError> {
        let key = abi::AllowKey::new(address.octets(), port).to_bytes();
        match self.allowed.get(&key, 0) {
            Ok(_) => self.put(address, port, if open { abi::OPEN } else { abi::CLOSED }),
            Err(MapError::KeyNotFound) => Err(ProbeError::UnknownDestination(address, port)),
            Err(cause) => Err(map_error(abi::MAP_ALLOWED, cause)),
        }
    }

    /// The ring, once.
    #[must_use]
    pub const fn take_events(&mut self) -> Option<EventReader> {
        self.events.take()
    }

    /// The ring together with the count of what it lost, once: what the egress process takes with it.
    ///
    /// # Errors
    /// When the kernel does not describe its own map.
    pub fn take_kernel_events(&mut self, network: &NetworkPlan) -> Result<Option<KernelEvents>, ProbeError> {
        let Some(reader) = self.events.take() else { return Ok(None) };
        let fd = self.counters_fd.try_clone().map_err(ProbeError::Descriptor)?;
        let number = fd.as_raw_fd();
        let data = MapData::from_fd(fd).map_err(|cause| map_error(abi::MAP_COUNTERS, cause))?;
        let counters = Array::try_from(Map::Array(data)).map_err(|cause| map_error(abi::MAP_COUNTERS, cause))?;
        Ok(Some(KernelEvents::new(reader, (counters, number), HostNames::new(network))))
    }

    /// Bytes that the server's sockets received and sent, loopback and IP headers included.
    ///
    /// # Errors
    /// When the kernel refuses the lookup.
    pub fn bytes(&self) -> Result<(u64, u64), ProbeError> {
        Ok((self.counter(abi::COUNTER_BYTES_IN)?, self.counter(abi::COUNTER_BYTES_OUT)?))
    }

    /// What the ring had no room for, since the start.
    ///
    /// # Errors
    /// When the kernel refuses a lookup.
    pub fn lost(&self) -> Result<Lost, ProbeError> {
        let [events, execs, opens] = [abi::COUNTER_LOST, abi::COUNTER_EXECS_LOST, abi::COUNTER_OPENS_LOST];
        Ok(Lost { events: self.counter(events)?, execs: self.counter(execs)?, opens: self.counter(opens)? })
    }

    fn counter(&self, index: u32) -> Result<u64, ProbeError> {
        self.counters.get(&index, 0).map_err(|cause| map_error(abi::MAP_COUNTERS, cause))
    }

    fn put(&mut self, address: Ipv4Addr, port: u16, value: u32) -> Result<(), ProbeError> {
        let key = abi::AllowKey::new(address.octets(), port).to_bytes();
        self.allowed.insert(key, value, 0).map_err(|cause| map_error(abi::MAP_ALLOWED, cause))
    }
}

fn shared_maps(ebpf: &Ebpf) -> Result<Maps<'_>, ProbeError> {
    let shared = |name| match ebpf.map(name) {
        Some(Map::RingBuf(data) | Map::HashMap(data) | Map::Array(data)) => Ok((name, data.fd().as_fd())),
        _ => Err(ProbeError::Missing(name)),
    };
    Ok([shared(abi::MAP_EVENTS)?, shared(abi::MAP_ALLOWED)?, shared(abi::MAP_COUNTERS)?])
}

/// Every address and port of the plan, without repeats.
fn destinations(network: &NetworkPlan) -> Result<Vec<(Ipv4Addr, u16)>, ProbeError> {
    let mut all: Vec<_> =
        network.hosts.iter().flat_map(|host| host.ports.iter().map(|port| (host.address, *port))).collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > PROBE_DESTINATIONS_MAX {
        return Err(ProbeError::TooManyDestinations(all.len()));
    }
    Ok(all)
}

const SOCK_ADDR: [(&str, &str); 6] = [
    ("cgroup-connect", abi::program::CONNECT4),
    ("cgroup-connect", abi::program::CONNECT6),
    ("cgroup-sendmsg", abi::program::SENDMSG4),
    ("cgroup-sendmsg", abi::program::SENDMSG6),
    ("cgroup-bind", abi::program::BIND4),
    ("cgroup-bind", abi::program::BIND6),
];
const SKB: [(&str, CgroupSkbAttachType); 2] = [
    (abi::program::COUNT_INGRESS, CgroupSkbAttachType::Ingress),
    (abi::program::COUNT_EGRESS, CgroupSkbAttachType::Egress),
];

fn load_all(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    for (_, name) in SOCK_ADDR {
        program::<CgroupSockAddr>(ebpf, name)?.load().map_err(|cause| program_error(name, cause))?;
    }
    let name = abi::program::SOCK_CREATE;
    program::<CgroupSock>(ebpf, name)?.load().map_err(|cause| program_error(name, cause))?;
    for (name, _) in SKB {
        program::<CgroupSkb>(ebpf, name)?.load().map_err(|cause| program_error(name, cause))?;
    }
    Ok(())
}

/// Attaches one program in `Single` mode and checks that its link carries it.
macro_rules! attach {
    ($ebpf:expr, $kind:ty, $name:expr, |$program:ident| $attach:expr) => {{
        let $program: &mut $kind = program($ebpf, $name)?;
        let id = $program.info().map_err(|cause| program_error($name, cause))?.id();
        let link = $attach.map_err(|cause| program_error($name, cause))?;
        let link = $program.take_link(link).map_err(|cause| program_error($name, cause))?;
        let link = FdLink::try_from(link).map_err(|_| ProbeError::NoLink($name))?;
        prove($name, id, link)?
    }};
}

fn attach_to_cgroup(ebpf: &mut Ebpf, cgroup: BorrowedFd<'_>) -> Result<Vec<FdLink>, ProbeError> {
    let mode = CgroupAttachMode::Single; // any other is EINVAL with links
    let mut links = Vec::new();
    for (protection, name) in SOCK_ADDR {
        if weaken::in_force(protection) {
            links.push(attach!(ebpf, CgroupSockAddr, name, |program| program.attach(cgroup, mode)));
        }
    }
    if weaken::in_force("cgroup-sock-create") {
        let name = abi::program::SOCK_CREATE;
        links.push(attach!(ebpf, CgroupSock, name, |program| program.attach(cgroup, mode)));
    }
    for (name, direction) in SKB {
        links.push(attach!(ebpf, CgroupSkb, name, |program| program.attach(cgroup, direction, mode)));
    }
    Ok(links)
}

fn attach_redirect(ebpf: &mut Ebpf, netns: BorrowedFd<'_>) -> Result<FdLink, ProbeError> {
    Ok(attach!(ebpf, SkLookup, abi::program::TO_GATEWAY, |program| program.attach(netns)))
}

/// Asks the kernel which program stands behind the link.
fn prove(name: &'static str, id: u32, link: FdLink) -> Result<FdLink, ProbeError> {
    let info = link.info().map_err(|cause| ProbeError::Link { name, cause })?;
    if info.program_id() == id { Ok(link) } else { Err(ProbeError::NotAttached(name)) }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(ProbeError::Missing(name))
}

fn take_map<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, ProbeError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(ProbeError::Missing(name))?;
    M::try_from(map).map_err(|cause| map_error(name, cause))
}

fn program_error(name: &'static str, cause: ProgramError) -> ProbeError {
    ProbeError::Program { name, cause: Box::new(cause) }
}

fn map_error(name: &'static str, cause: MapError) -> ProbeError {
    ProbeError::Map { name, cause: Box::new(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::TlsMode;
    use crate::sandbox::plan::PlannedHost;

    fn host(last: u8, ports: Vec<u16>) -> PlannedHost {
        let address = Ipv4Addr::new(198, 18, 0, last);
        PlannedHost { name: format!("h{last}"), ports, address, tls: TlsMode::Passthrough, max_bytes_out: None }
    }

    #[test]
    fn destinations_are_each_address_with_each_of_its_ports_once() {
        let plan = NetworkPlan { hosts: vec![host(3, vec![443, 80, 443]), host(2, vec![443])], connect_to: Vec::new() };
        let at = |last| Ipv4Addr::new(198, 18, 0, last);
        assert_eq!(destinations(&plan).unwrap(), [(at(2), 443), (at(3), 80), (at(3), 443)]);
    }

    #[test]
    fn one_destination_over_the_bound_is_refused() {
        let ports: Vec<u16> = (1..=u16::try_from(PROBE_DESTINATIONS_MAX).unwrap()).collect();
        let mut plan = NetworkPlan { hosts: vec![host(2, ports)], connect_to: Vec::new() };
        assert_eq!(destinations(&plan).unwrap().len(), PROBE_DESTINATIONS_MAX);
        plan.hosts.push(host(3, vec![443]));
        assert!(
            matches!(destinations(&plan), Err(ProbeError::TooManyDestinations(n)) if n == PROBE_DESTINATIONS_MAX + 1)
        );
    }

    #[test]
    fn the_embedded_object_is_an_elf_for_bpf() {
        assert_eq!(&OBJECT[..4], b"\x7fELF");
        assert_eq!(u16::from_le_bytes([OBJECT[18], OBJECT[19]]), 247); // e_machine: EM_BPF
        assert!(OBJECT.len() < 64 << 10, "the object has grown to {} bytes: debug information?", OBJECT.len());
    }
}
