//! Every attack runs twice in one arena: bare, where the host must see it succeed, and under us, where it must not.
//! A row that the machine itself refuses to the bare run (no such socket family, say) proves nothing and says so.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::arena::{self, API_ADDRESS, API_HOST, Arena};
use harness::canary::Canaries;
use harness::processes::{self, Bystander, Process};
use harness::run::{self, Run};
use harness::session::{Session, text_of};
use harness::stand_in::StandIn;
use harness::{policies, records, table, wait};
use serde_json::json;

/// How long the bare run may take to show its effect.
const EFFECT_LIMIT: Duration = Duration::from_secs(3);
/// Process limit of the hostile policy; the bare fork bomb makes 200.
const PROCESSES_MAX: usize = 64;

/// Where on the host a success shows.
#[derive(Clone, Copy)]
enum Judge {
    /// A canary's count.
    Canary(&'static str),
    /// The stand-in's count of connections.
    StandIn,
    /// A secret in the answer: `shadow`, `private`, `inherited`.
    Leak(&'static str),
    /// A descriptor of the server whose description contains this.
    Descriptor(&'static str),
    /// A file in the writable folder, or this path.
    Appears(&'static str),
    /// The link count of the shown file.
    Linked,
    /// The server's own mount table names `isb-probe`.
    Mounted,
    /// A process of the server lives in another namespace of this kind than the server.
    Namespace(&'static str),
    /// A child that the probe made runs as root.
    RootChild,
    /// The bystander is traced.
    Traced,
    /// The bystander is gone.
    Dead,
    /// More processes than the policy allows.
    Crowd,
    /// Nothing outside shows it: the kernel's answer is all there is.
    Word,
}

struct Attack {
    probe: &'static str,
    argument: Argument,
    judge: Judge,
    /// The layers that hold it, outermost first.
    held_by: &'static str,
}

#[derive(Clone, Copy)]
enum Argument {
    None,
    Text(&'static str),
    Bystander,
}

const fn attack(probe: &'static str, judge: Judge, held_by: &'static str) -> Attack {
    Attack { probe, argument: Argument::None, judge, held_by }
}

const fn with(probe: &'static str, argument: Argument, judge: Judge, held_by: &'static str) -> Attack {
    Attack { probe, argument, judge, held_by }
}

const ATTACKS: &[Attack] = &[
    attack("tcp-literal", Judge::Canary("tcp 1.1.1.1:443"), "netns, cgroup-bpf"),
    attack("tcp-other-name", Judge::Canary("tcp 203.0.113.9:443"), "gateway (DNS stub), netns"),
    attack("tcp-other-port", Judge::Canary("tcp 203.0.113.10:8443"), "cgroup-bpf, gateway"),
    attack("tcp-mapped", Judge::Canary("tcp 1.1.1.1:443"), "netns, cgroup-bpf"),
    attack("tcp-v6", Judge::Canary("tcp [2001:db8::53]:443"), "netns, cgroup-bpf"),
    attack("tcp-metadata", Judge::Canary("tcp 169.254.169.254:80"), "netns, cgroup-bpf"),
    attack("tcp-private", Judge::Canary("tcp 10.0.0.5:80"), "netns, cgroup-bpf"),
    attack("tcp-mptcp", Judge::Canary("tcp 1.1.1.1:443"), "seccomp, cgroup-bpf, netns"),
    attack("tcp-fastopen", Judge::Canary("tcp 1.1.1.1:443"), "seccomp, netns"),
    attack("udp-sendto", Judge::Canary("udp 1.1.1.1:443"), "netns, cgroup-bpf"),
    attack("udp-connected", Judge::Canary("udp 1.1.1.1:443"), "netns, cgroup-bpf"),
    attack("udp-mapped", Judge::Canary("udp 1.1.1.1:443"), "netns, cgroup-bpf"),
    attack("udp-v6", Judge::Canary("udp [2606:4700:4700::1111]:53"), "netns, cgroup-bpf"),
    attack("quic-allowed-host", Judge::Canary("udp 203.0.113.10:443"), "cgroup-bpf, netns"),
    attack("dns-direct", Judge::Canary("udp 8.8.8.8:53"), "netns, cgroup-bpf"),
    attack("dns-tunnel", Judge::Canary("udp 8.8.8.8:53"), "gateway (DNS stub)"),
    attack("dns-tunnel-below-allowed", Judge::Canary("udp 8.8.8.8:53"), "gateway (DNS stub)"),
    attack("sni-other", Judge::StandIn, "gateway"),
    attack("sni-none", Judge::StandIn, "gateway"),
    attack("plain-http", Judge::StandIn, "gateway"),
    attack("raw-icmp", Judge::Canary("icmp"), "seccomp, capabilities, cgroup-bpf, netns"),
    attack("packet-socket", Judge::Canary("udp 1.1.1.1:443"), "seccomp, capabilities, netns"),
    attack("unix-abstract", Judge::Canary("unix abstract"), "netns, landlock"),
    with("unix-path", Argument::Text("/mnt/arena/private/canary.sock"), Judge::Canary("unix path"), "rootfs"),
    attack("socket-udplite", Judge::Descriptor("socket:UDP-Lite"), "seccomp, cgroup-bpf"),
    attack("socket-ping", Judge::Descriptor("socket:PING"), "seccomp, cgroup-bpf"),
    attack("socket-vsock", Judge::Descriptor("socket:AF_VSOCK"), "seccomp"),
    attack("socket-alg", Judge::Descriptor("socket:ALG"), "seccomp"),
    attack("read-shadow", Judge::Leak("shadow"), "rootfs, identity"),
    with("read-path", Argument::Text("/mnt/arena/shown/root-only"), Judge::Leak("root-only"), "identity"),
    with("read-path", Argument::Text("/mnt/arena/private/secret"), Judge::Leak("private"), "rootfs, identity"),
    with("read-proc-root", Argument::Bystander, Judge::Leak("private"), "namespaces"),
    attack("read-inherited", Judge::Leak("inherited"), "close_range"),
    attack("read-kcore", Judge::Descriptor("/proc/kcore"), "rootfs, capabilities"),
    attack("write-core-pattern", Judge::Descriptor("/proc/sys/kernel/core_pattern"), "rootfs, identity"),
    attack("write-sysrq", Judge::Descriptor("/proc/sysrq-trigger"), "rootfs, identity"),
    attack("write-shown", Judge::Appears("/mnt/arena/shown/planted"), "rootfs, identity"),
    attack("setuid-chmod", Judge::Appears("setuid-chmod"), "seccomp"),
    attack("setuid-open", Judge::Appears("setuid-open"), "seccomp"),
    attack("setuid-mknod", Judge::Appears("setuid-mknod"), "seccomp"),
    attack("setuid-openat2", Judge::Appears("setuid-openat2"), "seccomp"),
    attack("device-node", Judge::Appears("device-node"), "capabilities, landlock"),
    attack("fifo", Judge::Appears("fifo"), "landlock"),
    attack("symlink-out", Judge::Appears("symlink-out"), "landlock"),
    attack("link-out", Judge::Linked, "rootfs, landlock"),
    attack("io-uring", Judge::Descriptor("anon_inode:[io_uring]"), "seccomp"),
    attack("bpf", Judge::Descriptor("anon_inode:bpf-map"), "seccomp, capabilities"),
    attack("userfaultfd", Judge::Descriptor("anon_inode:[userfaultfd]"), "seccomp"),
    attack("perf", Judge::Descriptor("anon_inode:[perf_event]"), "seccomp"),
    attack("fanotify", Judge::Descriptor("anon_inode:[fanotify]"), "seccomp, capabilities"),
    attack("fsopen", Judge::Descriptor("anon_inode:[fscontext]"), "seccomp, capabilities"),
    attack("seccomp-listener", Judge::Descriptor("anon_inode:seccomp notify"), "seccomp"),
    attack("add-key", Judge::Word, "seccomp"),
    attack("user-namespace", Judge::Namespace("user"), "seccomp"),
    attack("clone3-user-namespace", Judge::Namespace("user"), "seccomp"),
    attack("become-root", Judge::RootChild, "identity, capabilities"),
    with("ptrace", Argument::Bystander, Judge::Traced, "namespaces, seccomp"),
    with("kill", Argument::Bystander, Judge::Dead, "namespaces, identity"),
    attack("mount", Judge::Mounted, "seccomp, capabilities"),
    attack("fork-bomb", Judge::Crowd, "cgroup"),
];

/// What both runs stand on.
struct Ground {
    canaries: Canaries,
    stand_in: StandIn,
    secrets: Vec<(&'static str, String)>,
}

/// One run of all attacks.
struct Visit<'a> {
    ground: &'a Ground,
    session: Session,
    root: Process,
    bystander: Bystander,
}

impl Ground {
    fn lay(arena: &Arena) -> Self {
        arena.program("hostile");
        arena.writable_folder("images");
        let (private, shown) = (arena.folder("private"), arena.folder("shown"));
        arena.file("shown/note", "shown to the server\n");
        let shadow = fs::read_to_string("/etc/shadow").expect("root reads shadow");
        let secrets = vec![
            ("shadow", shadow.lines().next().expect("root has a line").to_owned()),
            ("root-only", arena::plant_secret(&shown.join("root-only"))),
            ("private", arena::plant_secret(&private.join("secret"))),
            ("inherited", arena::plant_secret(&private.join("inherited-secret"))),
        ];
        let canaries = Canaries::open(&private.join("canary.sock"));
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        Self { canaries, stand_in, secrets }
    }

    fn secret(&self, name: &str) -> &str {
        &self.secrets.iter().find(|(known, _)| *known == name).expect("a secret of this file").1
    }
}

impl Visit<'_> {
    fn call(&mut self, probe: &str, argument: Argument) -> String {
        let argument = match argument {
            Argument::None => String::new(),
            Argument::Text(text) => text.to_owned(),
            Argument::Bystander => self.bystander.pid().to_string(),
        };
        text_of(&self.session.call("probe", json!({"name": probe, "argument": argument})))
    }

    /// How often the host sees the attack's success.
    fn hits(&self, judge: Judge, told: &str, connections_before: usize) -> usize {
        let server = || processes::tree(self.root.pid).into_iter();
        match judge {
            Judge::Canary(name) => self.ground.canaries.take(name),
            Judge::StandIn => self.ground.stand_in.connections() - connections_before,
            Judge::Leak(name) => usize::from(told.contains(self.ground.secret(name))),
            Judge::Descriptor(part) => {
                server().filter(|process| process.descriptors().values().any(|text| text.contains(part))).count()
            }
            Judge::Appears(name) => usize::from(appears(name)),
            Judge::Linked => usize::from(fs::metadata("/mnt/arena/shown/note").expect("planted").nlink() > 1),
            Judge::Mounted => {
                let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.root.pid)).unwrap_or_default();
                usize::from(mounts.contains("isb-probe"))
            }
            Judge::Namespace(kind) => {
                let own = self.root.namespace(kind);
                server().filter(|process| process.namespace(kind) != own).count()
            }
            Judge::RootChild => server()
                .filter(|process| process.pid != self.root.pid)
                .filter(|process| process.status("Uid").is_some_and(|ids| ids.split_whitespace().any(|id| id == "0")))
                .count(),
            Judge::Traced => {
                let tracer = self.bystander.process().and_then(|process| process.status("TracerPid"));
                usize::from(tracer.is_none_or(|tracer| tracer != "0"))
            }
            Judge::Dead => usize::from(self.bystander.process().is_none()),
            Judge::Crowd => usize::from(server().count() > PROCESSES_MAX),
            Judge::Word => usize::from(told.starts_with("ok")),
        }
    }
}

fn appears(name: &str) -> bool {
    let path = Path::new("/mnt/arena/images").join(name);
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    // A setuid probe that left an ordinary file has failed: a plain file in the writable folder is the server's right.
    !name.starts_with("setuid") || found.mode() & 0o6000 != 0
}

fn clear_traces() {
    for entry in fs::read_dir("/mnt/arena/images").expect("planted").flatten() {
        fs::remove_file(entry.path()).expect("root can remove");
    }
    // The bare run planted it; under us it must not be there to begin with.
    let _ = fs::remove_file("/mnt/arena/shown/planted");
}

/// Wraps `inner` so that it starts with a secret file open on descriptor 9.
fn with_careless_parent(inner: &Command) -> Command {
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 9</mnt/arena/private/inherited-secret; exec \"$@\"", "sh"]).arg(inner.get_program());
    outer.args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

fn visit<'a>(ground: &'a Ground, command: &Command, bare: bool) -> Visit<'a> {
    let mut session = Session::start(with_careless_parent(command));
    session.initialize();
    let root = if bare {
        Process::find(session.pid()).expect("it has answered")
    } else {
        session.server("/mnt/arena/bin/hostile")
    };
    Visit { ground, session, root, bystander: Bystander::start() }
}

struct Row {
    told: String,
    hits: usize,
}

fn run_all(visit: &mut Visit<'_>, bare: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for attack in ATTACKS {
        let before = visit.ground.stand_in.connections();
        let told = visit.call(attack.probe, attack.argument);
        let mut hits = visit.hits(attack.judge, &told, before);
        if bare && hits == 0 && told.starts_with("ok") {
            let seen = wait::until(EFFECT_LIMIT, || match visit.hits(attack.judge, &told, before) {
                0 => None,
                hits => Some(hits),
            });
            hits = seen.unwrap_or(0);
        }
        rows.push(Row { told: told.lines().next().unwrap_or_default().chars().take(40).collect(), hits });
    }
    rows
}

/// A bare failure that is the machine's own: it has no such socket family, or no such file in its /proc.
fn not_on_this_machine(judge: Judge, told: &str) -> bool {
    let absent = |part: &str| part.starts_with("/proc/") && !Path::new(part).exists();
    if let Judge::Descriptor(part) = judge
        && absent(part)
    {
        return true;
    }
    ["EAFNOSUPPORT", "EPROTONOSUPPORT", "ENOSYS", "ESOCKTNOSUPPORT", "ENOPROTOOPT"]
        .iter()
        .any(|name| told.contains(name))
}

fn print(bare: &[Row], ours: Option<&[Row]>) {
    let rows: Vec<Vec<String>> = ATTACKS
        .iter()
        .zip(bare)
        .enumerate()
        .map(|(index, (attack, bare))| {
            let seen = if bare.hits > 0 { bare.hits.to_string() } else { format!("0: {}", bare.told) };
            let (held, told) = ours.map_or((String::new(), String::new()), |ours| {
                (ours[index].hits.to_string(), ours[index].told.clone())
            });
            vec![attack.probe.into(), seen, held, told, attack.held_by.into()]
        })
        .collect();
    table::print("attacks", &["probe", "bare", "ours", "what the program was told", "held by"], &rows);
}

fn bare_rows(ground: &Ground) -> Vec<Row> {
    let mut bare = visit(ground, &run::bare(["/mnt/arena/bin/hostile"]), true);
    let told = bare.call("tls-allowed", Argument::None);
    assert!(told.starts_with("ok heard"), "the stand-in answers a bare client: {told}");
    let rows = run_all(&mut bare, true);
    drop(bare);
    clear_traces();
    ground.canaries.take_all();
    rows
}

fn assert_bare_sees(bare: &[Row]) {
    let blind: Vec<_> = ATTACKS
        .iter()
        .zip(bare)
        .filter(|(_, row)| row.hits == 0)
        .filter(|(attack, row)| !not_on_this_machine(attack.judge, &row.told))
        .map(|(attack, row)| format!("{}: {}", attack.probe, row.told))
        .collect();
    assert!(blind.is_empty(), "the host does not see these attacks succeed bare: {blind:#?}");
}

#[test]
fn every_attack_succeeds_without_us() {
    arena::run(|arena| {
        let bare = bare_rows(&Ground::lay(arena));
        print(&bare, None);
        assert_bare_sees(&bare);
    });
}

#[test]
fn no_attack_succeeds_under_us() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let bare = bare_rows(&ground);
        assert_bare_sees(&bare);

        let run =
            Run::new(arena, &policies::hostile()).connect_to(&ground.stand_in).command(["/mnt/arena/bin/hostile"]);
        let mut ours = visit(&ground, &run.to_command(), false);
        let before = ground.stand_in.connections();
        let told = ours.call("tls-allowed", Argument::None);
        assert!(told.starts_with("ok heard"), "the allowed road is open: {told}\n{}", ours.session.stderr());
        assert_eq!(ground.stand_in.connections(), before + 1);

        let rows = run_all(&mut ours, false);
        print(&bare, Some(&rows));
        let open: Vec<_> = ATTACKS
            .iter()
            .zip(&rows)
            .filter(|(_, row)| row.hits > 0)
            .map(|(attack, row)| format!("{}: {} hits, told {}", attack.probe, row.hits, row.told))
            .collect();
        assert!(open.is_empty(), "these attacks got through: {open:#?}");
        assert_eq!(ours.session.finish().code, 0);
        assert_eq!(ground.canaries.take_all().into_iter().collect::<Vec<_>>(), [], "and nothing came late");
    });
}

#[test]
fn network_attacks_leave_records() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let run =
            Run::new(arena, &policies::hostile()).connect_to(&ground.stand_in).command(["/mnt/arena/bin/hostile"]);
        let mut ours = visit(&ground, &run.to_command(), false);
        for probe in ["tcp-literal", "tcp-v6", "udp-sendto", "tcp-other-port", "dns-tunnel", "sni-other"] {
            ours.call(probe, Argument::None);
        }
        let denied = |op: &str, check: &dyn Fn(&serde_json::Value) -> bool| {
            let wanted = |r: &serde_json::Value| {
                r["type"] == format!("net.{op}") && r["net"]["verdict"] == "denied" && check(&r["net"])
            };
            let found = records::wait_for(records::DEFAULT_DIRECTORY, EFFECT_LIMIT, wanted);
            let all: Vec<_> = records::read(records::DEFAULT_DIRECTORY).into_iter().map(|r| r["net"].clone()).collect();
            assert!(found.is_some(), "no net.{op} record among {all:#?}");
        };
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["dst_port"] == 443 && net["proto"] == "tcp");
        denied("connect", &|net| net["dst_ip"] == "2001:db8::53");
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["proto"] == "udp");
        denied("connect", &|net| net["dst_port"] == 8443);
        denied("dns", &|net| net["host"].as_str().is_some_and(|host| host.ends_with("tunnel.example")));
        denied("sni", &|net| net["sni"] == "exfil.example");
        assert_eq!(ours.session.finish().code, 0);
    });
}
