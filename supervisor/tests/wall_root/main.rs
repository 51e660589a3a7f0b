//! The wall against real attempts, with canaries that must hear nothing. Needs root; one thread throughout.

mod attempts;
mod execs;
mod field;
mod files;
mod lists;
mod lsm;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use intercept_sandbox::egress::events::{ProbeEvent, ProbeOp, RingEvent};
use intercept_sandbox::egress::probes::{Features, Loaded, ProbeError};
use intercept_sandbox::egress::report::NetVerdict;
use intercept_sandbox::egress::wall::{Wall, WallError};
use intercept_sandbox::policy::TlsMode;
use intercept_sandbox::sandbox::plan::{NetworkPlan, PlannedHost};
use intercept_sandbox::sandbox::{Answer, Layer};
use nix::errno::Errno;

use attempts::{CANARY, CANARY_6, HOST, STRANGER};
use field::{Field, Heard, Leaf, SILENCE, attack, expect, run_attack};

const UNREACHABLE: Result<(), Errno> = Err(Errno::ENETUNREACH);
const NO_ADDRESS: Result<(), Errno> = Err(Errno::EADDRNOTAVAIL);
const REFUSED: Result<(), Errno> = Err(Errno::ECONNREFUSED);
const FORBIDDEN: Result<(), Errno> = Err(Errno::EPERM);

/// Attempts that reach a canary when nothing stands in the way.
const OUTSIDE: [&str; 13] = [
    "tcp4",
    "tcp4-other",
    "tcp4-mapped",
    "tcp6",
    "fastopen",
    "udp-sendto",
    "udp-sendto-mapped",
    "udp-sendto6",
    "udp-sendmsg",
    "udp-connect",
    "udp-connect6",
    "udp-dns-elsewhere",
    "udp-host",
];
/// What the canaries hear of [`OUTSIDE`] then. The synthetic address of `udp-host` exists only behind a wall.
const OUTSIDE_HEARD: Heard = Heard { tcp: 5, udp: 7 };
/// Sockets that are neither TCP streams nor UDP datagrams.
const ODD_SOCKETS: [&str; 11] =
    ["raw-icmp", "raw-tcp", "raw-udp", "raw6", "mptcp", "mptcp6", "sctp", "dccp", "udplite", "ping", "ping6"];

/// One test: panics when it fails.
type Scenario = fn(&Field);

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|first| first == "execs") {
        execs::run(&words[1..]);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "attack") {
        run_attack(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let field = Field::enter();
    let scenarios: [(&str, Scenario); 21] = [
        ("without a wall the canaries hear every attempt", bare),
        ("behind the wall nothing leaves and everything is seen", walled),
        ("the namespace alone keeps everything in", namespace_alone),
        ("the hooks alone keep everything in", hooks_alone),
        ("the LSM programs of the cgroup alone keep everything in", lsm::on_the_cgroup),
        ("the LSM programs of the host alone keep everything in", lsm::on_the_host),
        ("the LSM program of the cgroup alone refuses what is not listed", lists::on_the_cgroup),
        ("the LSM program of the host alone refuses what is not listed", lists::on_the_host),
        ("without sk_lookup the policy's ports are served and nothing else", without_sk_lookup),
        ("without bpf_set_retval a refusal is EPERM", without_set_retval),
        ("a closed destination is refused until it is opened again", call_scope),
        ("events are counted when the ring is full", full_ring),
        ("every start of a program inside is told, and none outside", execs::told),
        ("starts of programs take half of the ring at most", execs::half_a_ring),
        ("what the exec audit costs others", execs::cost),
        ("files that are opened for writing are told, and no others", files::told),
        ("openings of files take a quarter of the ring at most", files::a_quarter_of_the_ring),
        ("a dropped wall leaves no road", dropped),
        ("a dropped probe is out of force", dropped_probes),
        ("a wall that cannot be raised leaves us at home", refused),
        ("raising takes milliseconds", timed),
    ];
    for (name, scenario) in scenarios {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            scenario(&field);
            assert!(field.is_here(), "not in the namespace where the test began");
        }));
        if outcome.is_err() {
            // What a scenario left undone would spoil the next.
            eprintln!("test {name} ... FAILED");
            return ExitCode::FAILURE;
        }
        eprintln!("test {name} ... ok");
    }
    eprintln!("test result: ok. {} passed", scenarios.len());
    ExitCode::SUCCESS
}

fn features() -> Features {
    Features::detect().expect("the kernel's features")
}

fn ports_only() -> Features {
    Features { sk_lookup: false, ..features() }
}

fn plan() -> NetworkPlan {
    let host = |name: &str, address, ports| PlannedHost {
        name: name.to_owned(),
        ports,
        address,
        tls: TlsMode::Passthrough,
        max_bytes_out: None,
    };
    NetworkPlan { hosts: vec![host("api.example.org", HOST, vec![443, 8443])], connect_to: Vec::new() }
}

/// What every attempt gives behind the whole wall: [`hooked`], but that no group may open ping sockets in a new
/// namespace (icmp(7), ping_group_range), which the kernel checks before it asks the probes.
fn behind_the_wall() -> Vec<(&'static str, Result<(), Errno>)> {
    let mut table = hooked();
    for (name, outcome) in &mut table {
        if name.starts_with("ping") {
            *outcome = Err(Errno::EACCES);
        }
    }
    table
}

/// What every attempt gives where the hooks decide it.
fn hooked() -> Vec<(&'static str, Result<(), Errno>)> {
    let mut table: Vec<_> = OUTSIDE.iter().map(|name| (*name, UNREACHABLE)).collect();
    table.extend(ODD_SOCKETS.iter().filter(|name| exists(name)).map(|name| (*name, FORBIDDEN)));
    table.extend([
        ("host", Ok(())),
        ("host-mapped", Ok(())),
        ("host-other-port", UNREACHABLE),
        ("stranger", UNREACHABLE),
        ("stranger-dns-port", UNREACHABLE),
        ("stub-tcp", Ok(())),
        ("stub-other-port", UNREACHABLE),
        ("udp-connect-host", UNREACHABLE),
        ("stub-udp", Ok(())),
        ("stub-udp-mapped", Ok(())),
        ("stub-udp-connect", Ok(())),
        ("unix", Ok(())),
        ("loopback4", Ok(())),
        ("loopback6", Ok(())),
        ("bind-any", Ok(())),
        ("bind-any6", Ok(())),
        ("bind-host", NO_ADDRESS),
        ("bind-canary", NO_ADDRESS),
        ("bind-canary-mapped", NO_ADDRESS),
        ("bind-canary6", NO_ADDRESS),
    ]);
    table
}

/// Whether this kernel was built with the protocol; tried here, without a wall.
fn exists(name: &str) -> bool {
    match attempts::attempt(name).map_err(|error| error.raw_os_error()) {
        Ok(()) => true,
        Err(Some(nix::libc::EPROTONOSUPPORT | nix::libc::ESOCKTNOSUPPORT | nix::libc::ENOPROTOOPT)) => false,
        Err(other) => panic!("{name} is refused without a wall: {other:?}"),
    }
}

fn names<'a>(table: &[(&'a str, Result<(), Errno>)]) -> Vec<&'a str> {
    table.iter().map(|(name, _)| *name).collect()
}

fn bare(field: &Field) {
    let leaf = Leaf::make("bare");
    let (_, outcomes) = attack(&leaf, field.netns.as_fd(), &OUTSIDE);
    for name in OUTSIDE.iter().filter(|name| **name != "udp-host") {
        assert_eq!(outcomes[*name], Ok(()), "{name}");
    }
    assert_eq!(field.heard(), OUTSIDE_HEARD);
    let odd: Vec<_> = ODD_SOCKETS.into_iter().filter(|name| !exists(name)).collect();
    eprintln!("  not in this kernel: {odd:?}");
    assert!(odd.len() < 5, "too few of the odd sockets exist here for the test to mean much");
}

fn walled(field: &Field) {
    let leaf = Leaf::make("walled");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    let table = behind_the_wall();
    let (pid, outcomes) = attack(&leaf, wall.netns.as_fd(), &names(&table));
    expect("behind the wall", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);

    let destinations: Vec<SocketAddr> = accepted(&wall.listeners.gateway);
    assert_eq!(destinations, [SocketAddr::from((HOST, 443)); 2]);
    assert_eq!(accepted(&wall.listeners.dns_tcp).len(), 1);
    let mut buffer = [0; 8];
    let questions = std::iter::from_fn(|| wall.listeners.dns_udp.recv(&mut buffer).ok()).count();
    assert_eq!(questions, 3);

    let mut reader = wall.probes.take_events().expect("the ring");
    assert!(wall.probes.take_events().is_none(), "the ring is given once");
    let events: Vec<ProbeEvent> =
        std::iter::from_fn(|| reader.next_event()).filter_map(|event| net(event.expect("an event"))).collect();
    check_events(&events, pid, leaf.id(), &table);
    assert_eq!(wall.probes.lost().expect("counters").events, 0);
    let (bytes_in, bytes_out) = wall.probes.bytes().expect("counters");
    assert!(bytes_in > 500 && bytes_out > 500, "{bytes_in} in, {bytes_out} out");

    let answers = wall.answers();
    for layer in [Layer::Netns, Layer::CgroupBpf, Layer::SkLookup] {
        assert_eq!(answers.iter().find(|report| report.layer == layer).map(|r| &r.answer), Some(&Answer::Enforced));
    }
    assert_eq!(wall.probes.attached(), 10);
    lsm::check(&wall.probes.lsm_answer());

    // The gateway's own port is no way around the probes.
    let port = wall.listeners.gateway.local_addr().expect("an address").port();
    let name = format!("loopback-port-{port}");
    let (_, outcomes) = attack(&leaf, wall.netns.as_fd(), &[&name]);
    assert_eq!(outcomes[&name], REFUSED);
}

/// Programs and files are no matter here.
fn net(event: RingEvent) -> Option<ProbeEvent> {
    match event {
        RingEvent::Net(event) => Some(event),
        RingEvent::Exec(_) | RingEvent::File(_) => None,
    }
}

/// Every refusal is an event, each with its process and its destination; so is every connect and bind that passed.
fn check_events(events: &[ProbeEvent], pid: u32, cgroup: u64, table: &[(&str, Result<(), Errno>)]) {
    let boot_ns = intercept_sandbox::clock::now().boot_ns;
    for event in events {
        assert_eq!((event.tgid, event.tid, event.cgroup), (pid, pid, cgroup), "{event:?}");
        assert!(event.comm.starts_with("wall_root"), "{event:?}");
        assert!(event.time_ns <= boot_ns && boot_ns - event.time_ns < 60_000_000_000, "{event:?}");
    }
    let refusals = table.iter().filter(|(_, outcome)| outcome.is_err() && *outcome != Err(Errno::EACCES)).count();
    let denied: Vec<_> = events.iter().filter(|event| event.verdict == NetVerdict::Denied).collect();
    assert_eq!(denied.len(), refusals, "{denied:#?}");
    let seen = |op, dst: (IpAddr, u16), verdict| {
        events.iter().filter(|e| e.op == op && e.dst == Some(dst) && e.verdict == verdict).count()
    };
    let (denied, allowed) = (NetVerdict::Denied, NetVerdict::Allowed);
    assert_eq!(seen(ProbeOp::Connect, (CANARY.into(), 443), denied), 3, "TCP, fast open, UDP");
    assert_eq!(seen(ProbeOp::Connect, (CANARY.to_ipv6_mapped().into(), 443), denied), 1);
    assert_eq!(seen(ProbeOp::Connect, (CANARY_6.into(), 443), denied), 2, "TCP, UDP");
    assert_eq!(seen(ProbeOp::Connect, (STRANGER.into(), 443), denied), 1);
    assert_eq!(seen(ProbeOp::Connect, (HOST.into(), 443), allowed), 1);
    assert_eq!(seen(ProbeOp::Connect, (HOST.to_ipv6_mapped().into(), 443), allowed), 1);
    assert_eq!(seen(ProbeOp::Sendmsg, (CANARY.into(), 443), denied), 3, "sendto, sendto mapped, sendmsg");
    assert_eq!(seen(ProbeOp::Bind, (HOST.into(), 0), denied), 1);
    assert_eq!(seen(ProbeOp::Bind, (IpAddr::from([0, 0, 0, 0]), 0), allowed), 1);
    let mptcp = events.iter().find(|e| e.op == ProbeOp::Socket && e.proto == 262).expect("the MPTCP socket");
    assert_eq!((mptcp.dst, mptcp.kind, mptcp.verdict), (None, 1, denied));
}

fn accepted(listener: &std::net::TcpListener) -> Vec<SocketAddr> {
    std::iter::from_fn(|| listener.accept().ok()).map(|(stream, _)| stream.local_addr().expect("an address")).collect()
}

fn namespace_alone(field: &Field) {
    let (inside, outside) = (Leaf::make("alone"), Leaf::make("unhooked"));
    let wall = Wall::raise(&plan(), inside.fd.as_fd()).expect("the wall");
    // Not in the hooked cgroup: only the namespace and its redirection are left.
    let mut table: Vec<_> =
        OUTSIDE.iter().filter(|name| **name != "udp-host").map(|name| (*name, UNREACHABLE)).collect();
    table.extend([("stranger", Ok(())), ("host-other-port", Ok(())), ("udp-connect-host", Ok(()))]);
    let (_, outcomes) = attack(&outside, wall.netns.as_fd(), &names(&table));
    expect("the namespace alone", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);
    let landed = accepted(&wall.listeners.gateway);
    assert_eq!(landed, [SocketAddr::from((STRANGER, 443)), SocketAddr::from((HOST, 80))]);
}

fn hooks_alone(field: &Field) {
    let leaf = Leaf::make("hooks");
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let loaded = Loaded::load(&plan(), Features { lsm: false, ..ports_only() }).expect("programs");
    let probes = loaded.attach(leaf.fd.as_fd(), field.netns.as_fd(), &unused, None).expect("probes");
    assert_eq!(probes.attached(), 9);
    let table: Vec<_> = hooked()
        .into_iter()
        .filter(|(_, outcome)| outcome.is_err())
        .chain([("loopback4", Ok(())), ("loopback6", Ok(())), ("unix", Ok(())), ("bind-any", Ok(()))])
        .collect();
    let (_, outcomes) = attack(&leaf, field.netns.as_fd(), &names(&table));
    expect("the hooks alone", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);
}

fn without_sk_lookup(field: &Field) {
    let (inside, outside) = (Leaf::make("ports"), Leaf::make("ports-unhooked"));
    let wall = Wall::raise_with(&plan(), inside.fd.as_fd(), ports_only()).expect("the wall");
    let answer = wall.answers().into_iter().find(|report| report.layer == Layer::SkLookup).expect("an answer").answer;
    assert!(matches!(&answer, Answer::Unsupported(reason) if reason.contains("ports")), "{answer:?}");
    let ports: Vec<u16> = wall.listeners.fallback.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, [443, 8443]);
    let table = behind_the_wall();
    let (_, outcomes) = attack(&inside, wall.netns.as_fd(), &names(&table));
    expect("without sk_lookup", &outcomes, &table);
    assert_eq!(accepted(&wall.listeners.fallback[0].1), [SocketAddr::from((HOST, 443)); 2]);
    assert_eq!(accepted(&wall.listeners.gateway), []);
    let table = [("tcp4", UNREACHABLE), ("tcp6", UNREACHABLE), ("host-other-port", REFUSED)];
    let (_, outcomes) = attack(&outside, wall.netns.as_fd(), &names(&table));
    expect("without sk_lookup and hooks", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);
}

fn without_set_retval(field: &Field) {
    let leaf = Leaf::make("plain");
    // A kernel with LSM programs on a cgroup has this helper.
    let features = Features { set_retval: false, lsm: false, ..features() };
    let wall = Wall::raise_with(&plan(), leaf.fd.as_fd(), features).expect("the wall");
    let mut table = behind_the_wall();
    for (_, outcome) in &mut table {
        if matches!(*outcome, UNREACHABLE | NO_ADDRESS) {
            *outcome = FORBIDDEN;
        }
    }
    let (_, outcomes) = attack(&leaf, wall.netns.as_fd(), &names(&table));
    expect("without bpf_set_retval", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);
}

fn call_scope(_: &Field) {
    let leaf = Leaf::make("scope");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    for (open, outcome) in [(false, UNREACHABLE), (true, Ok(())), (false, UNREACHABLE)] {
        wall.probes.set_open(HOST, 443, open).expect("a destination of the policy");
        let (_, outcomes) = attack(&leaf, wall.netns.as_fd(), &["host", "host-mapped"]);
        expect("call scope", &outcomes, &[("host", outcome), ("host-mapped", outcome)]);
    }
    for (address, port) in [(HOST, 80), (CANARY, 443)] {
        let refusal = wall.probes.set_open(address, port, true);
        assert!(matches!(refusal, Err(ProbeError::UnknownDestination(a, p)) if (a, p) == (address, port)));
    }
}

fn full_ring(field: &Field) {
    const ATTEMPTS: usize = 4000; // the ring holds 256 KiB / (72 + 8) = 3276
    let leaf = Leaf::make("full");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    for _ in 0..ATTEMPTS / 10 {
        // Names are unique in an answer, so ten different refusals a round.
        let (_, outcomes) = attack(&leaf, wall.netns.as_fd(), &OUTSIDE[..10]);
        assert!(outcomes.values().all(|outcome| *outcome == UNREACHABLE), "{outcomes:?}");
    }
    let lost = wall.probes.lost().expect("counters").events;
    let mut reader = wall.probes.take_events().expect("the ring");
    let read = std::iter::from_fn(|| reader.next_event()).count();
    assert_eq!(read + usize::try_from(lost).expect("small"), ATTEMPTS);
    assert!(lost > 0 && read > 3000, "{read} read, {lost} lost");
    let (_, _) = attack(&leaf, wall.netns.as_fd(), &["tcp4"]);
    assert!(reader.next_event().is_some(), "the ring works again once it was read");
    assert_eq!(field.heard(), SILENCE);
}

fn dropped(field: &Field) {
    let (inside, outside) = (Leaf::make("dropped"), Leaf::make("dropped-unhooked"));
    let Wall { netns, listeners, probes } = Wall::raise(&plan(), inside.fd.as_fd()).expect("the wall");
    drop((listeners, probes));
    let table = [("host", REFUSED), ("stub-tcp", REFUSED), ("tcp4", UNREACHABLE), ("udp-sendto", UNREACHABLE)];
    for leaf in [&inside, &outside] {
        let (_, outcomes) = attack(leaf, netns.as_fd(), &names(&table));
        expect("after us", &outcomes, &table);
    }
    assert_eq!(field.heard(), SILENCE);
}

fn dropped_probes(field: &Field) {
    let leaf = Leaf::make("detached");
    let wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    let (_, outcomes) = attack(&leaf, field.netns.as_fd(), &["tcp4"]);
    assert_eq!((outcomes["tcp4"], field.heard()), (UNREACHABLE, SILENCE));
    drop(wall);
    let (_, outcomes) = attack(&leaf, field.netns.as_fd(), &["tcp4"]);
    assert_eq!((outcomes["tcp4"], field.heard()), (Ok(()), Heard { tcp: 1, udp: 0 }));
}

fn refused(_: &Field) {
    let not_a_cgroup = std::fs::File::open("/proc").expect("/proc");
    let outcome = Wall::raise(&plan(), not_a_cgroup.as_fd());
    assert!(matches!(outcome, Err(WallError::Probes(ProbeError::Program { .. }))), "{outcome:?}");
    // The stub has port 53 in the namespace: a listener on all addresses cannot have it too.
    let leaf = Leaf::make("refused");
    let mut plan = plan();
    plan.hosts[0].ports = vec![53];
    let outcome = Wall::raise_with(&plan, leaf.fd.as_fd(), ports_only());
    assert!(matches!(&outcome, Err(WallError::Socket(error)) if error.errno == Errno::EADDRINUSE), "{outcome:?}");
}

fn timed(_: &Field) {
    let leaf = Leaf::make("timed");
    let (mut loads, mut raises, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        drop(Loaded::load(&plan(), features()).expect("programs"));
        loads.push(start.elapsed());
        let start = Instant::now();
        let wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
        raises.push(start.elapsed());
        drop(wall);
        let start = Instant::now();
        let wall = Wall::raise_with(&plan(), leaf.fd.as_fd(), Features { lsm: false, ..features() }).expect("the wall");
        without.push(start.elapsed());
        drop(wall);
    }
    [&mut loads, &mut raises, &mut without].into_iter().for_each(|times| times.sort());
    let (load, raise, bare) = (loads[10], raises[10], without[10]);
    eprintln!("  median of 20: load {load:?}, whole wall {raise:?}, without LSM programs {bare:?}");
    // An emulated processor is given more: `cargo xtask vm-test` says how much.
    let patience: u128 = std::env::var("ISB_TEST_PATIENCE").map_or(1, |text| text.parse().expect("a whole number"));
    assert!(raises[10].as_millis() < 500 * patience, "raising the wall takes {:?}", raises[10]);
}
