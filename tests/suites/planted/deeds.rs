//! What a process that was taken over is told to do, and what the host would see of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use harness::processes::{self, Process};
use harness::session::Session;
use harness::{canary, records};
use intercept_sandbox::bounds::{
    AUDIT_SESSION_BYTES_MAX, CLIENT_LINE_BYTES_MAX, EGRESS_MEMORY_BYTES_MAX, SERVER_LINE_BYTES_MAX,
    relay_memory_bytes_max,
};

use crate::ground::{Ground, KEY, PIPE_WORD};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Relay,
    Egress,
}

impl Target {
    pub(crate) const fn comm(self) -> &'static str {
        match self {
            Self::Relay => "isb-relay",
            Self::Egress => "isb-egress",
        }
    }

    /// The most memory that it may have, bytes.
    pub(crate) const fn memory_bytes_max(self) -> u64 {
        match self {
            Self::Relay => relay_memory_bytes_max((CLIENT_LINE_BYTES_MAX + SERVER_LINE_BYTES_MAX) as u64),
            Self::Egress => EGRESS_MEMORY_BYTES_MAX,
        }
    }

    /// The deed that takes twice as much.
    pub(crate) fn takes_twice(self) -> Deed {
        let bytes = self.memory_bytes_max();
        let (order, argument, judge) = ("take", (2 * bytes).to_string(), Judge::Memory(bytes));
        Deed { name: "take the host's memory", order, argument, judge }
    }

    /// Its whole confinement, as `ISB_WEAKEN` takes it.
    pub(crate) const fn layers(self) -> &'static str {
        match self {
            Self::Relay => {
                "confine-relay-seccomp,confine-relay-landlock,confine-identity,confine-capabilities,confine-close-fds,confine-file-size,confine-memory"
            }
            Self::Egress => {
                "confine-egress-seccomp,confine-egress-landlock,confine-identity,confine-capabilities,confine-close-fds,confine-memory"
            }
        }
    }
}

/// What the host looks at.
pub(crate) enum Judge {
    /// Standard error, for what only the deed could bring there.
    Says(String),
    /// The client's stream, likewise.
    Client(&'static str),
    /// A file with our word in it.
    Written(PathBuf),
    /// A canary.
    Hit(&'static str),
    /// A door that opens.
    Listens(SocketAddr),
    /// Another process' end.
    Ended(Process),
    /// The monitor's end by SIGKILL; when the monitor itself ends the session, it exits.
    MonitorKilled,
    /// Somebody traces the monitor.
    MonitorTraced,
    /// A child of the process.
    Child,
    /// The process' effective uid is 0.
    Root,
    /// The process' effective capabilities.
    Capabilities,
    /// A mount in the namespace of the host.
    Mounted,
    /// The process' network namespace is not the host's.
    OtherNetwork,
    /// A BPF map that it did not hold before.
    Map,
    /// A log longer than that of any session may be.
    Overlong,
    /// More memory than this, bytes.
    Memory(u64),
}

/// One attempt.
pub(crate) struct Deed {
    pub(crate) name: &'static str,
    pub(crate) order: &'static str,
    pub(crate) argument: String,
    pub(crate) judge: Judge,
}

/// Every deed for a target. `{monitor}` in an argument is the monitor of the session itself.
pub(crate) fn deeds(target: Target, ground: &Ground) -> Vec<Deed> {
    let deed = |name, order, argument: &str, judge| Deed { name, order, argument: argument.to_owned(), judge };
    let door: SocketAddr = "127.0.0.1:4711".parse().expect("a literal");
    let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
    let secret = path(&ground.secret_path);
    let mut all = vec![
        deed("read /etc/shadow", "read", "/etc/shadow", Judge::Says(ground.shadow.clone())),
        deed("read a file of root's", "read", &secret, Judge::Says(ground.secret.clone())),
        deed(
            "read it through /proc/self/root",
            "read",
            &format!("/proc/self/root{secret}"),
            Judge::Says(ground.secret.clone()),
        ),
        deed(
            "read it through the monitor's /proc entry",
            "read",
            &format!("/proc/{{monitor}}/root{secret}"),
            Judge::Says(ground.secret.clone()),
        ),
        deed("read the signing key", "read", KEY, Judge::Says(ground.key())),
        deed("write another session's log", "write", &path(&ground.log), Judge::Written(ground.log.clone())),
        deed("make a file", "write", &path(&ground.made), Judge::Written(ground.made.clone())),
        deed("execute a shell", "exec", "echo executed-$((6*7)) >&2", Judge::Says("executed-42".into())),
        deed("fork", "fork", "-", Judge::Child),
        deed("listen", "listen", &door.to_string(), Judge::Listens(door)),
        deed("connect to an abstract socket", "abstract", canary::ABSTRACT_NAME, Judge::Hit("unix abstract")),
        deed("become root", "root", "-", Judge::Root),
        deed("raise capabilities", "capabilities", "-", Judge::Capabilities),
        deed("mount", "mount", &path(&ground.mount_point), Judge::Mounted),
        deed("unshare", "unshare", "-", Judge::OtherNetwork),
        deed("make a BPF map", "bpf", "-", Judge::Map),
        deed("trace the monitor", "trace", "{monitor}", Judge::MonitorTraced),
        deed("kill the monitor", "kill", "{monitor}", Judge::MonitorKilled),
        deed("connect to a host", "connect", "203.0.113.9:443", Judge::Hit("tcp 203.0.113.9:443")),
        deed("send a datagram", "send", "8.8.8.8:53", Judge::Hit("udp 8.8.8.8:53")),
        target.takes_twice(),
    ];
    if target == Target::Relay {
        // An intruder's log could fill the disk of all logs.
        let beyond = (AUDIT_SESSION_BYTES_MAX + 4096).to_string();
        all.push(deed("let a log grow without end", "grow", &beyond, Judge::Overlong));
    }
    if target == Target::Egress {
        all.push(deed("speak to the client", "client", PIPE_WORD, Judge::Client(PIPE_WORD)));
    }
    // Last: it ends the session that the others look at.
    let victim = ground.other(target.comm());
    all.push(deed("kill its like in another session", "kill", &victim.pid.to_string(), Judge::Ended(victim)));
    all
}

/// Something that an egress that was taken over asks the dialer for.
pub(crate) struct Asked {
    pub(crate) deed: Deed,
    pub(crate) comes_to: ComesTo,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComesTo {
    /// A connection: it is what the policy allows.
    Connection,
    /// A refusal, and the session goes on; not without the protection of this name.
    Refusal(&'static str),
    /// The end of the session; not without the protection of this name.
    End(&'static str),
    /// The end of the session, for what no question has words for.
    NoWords,
}

/// Everything that is asked. The policy's hosts are those of [`crate::ground::POLICY_HOSTS`], in that order.
pub(crate) fn asked() -> Vec<Asked> {
    let ask = |name, order, argument: &str, canary, comes_to| Asked {
        deed: Deed { name, order, argument: argument.to_owned(), judge: Judge::Hit(canary) },
        comes_to,
    };
    vec![
        ask("a listed host", "dial", "0 443", "tcp 9.9.9.9:443", ComesTo::Connection),
        ask("another port of it", "dial", "0 853", "tcp 9.9.9.9:853", ComesTo::End("dialer-list")),
        ask("a listed host that leads inside", "dial", "1 80", "tcp 10.0.0.5:80", ComesTo::Refusal("dial-private")),
        ask("a host after the last", "dial", "2 443", "tcp 203.0.113.9:443", ComesTo::NoWords),
        ask("an unlisted host", "ask", "exfil.example:443", "tcp 203.0.113.9:443", ComesTo::NoWords),
        ask("an address", "ask", "203.0.113.9:443", "tcp 203.0.113.9:443", ComesTo::NoWords),
        ask("a private address", "ask", "10.0.0.5:80", "tcp 10.0.0.5:80", ComesTo::NoWords),
        ask("one as long as a question", "ask", "10.0.0.5:080", "tcp 10.0.0.5:80", ComesTo::NoWords),
    ]
}

impl Judge {
    /// Whether the host sees the effect now.
    pub(crate) fn sees(&self, ground: &Ground, session: &mut Session, process: &Process, maps_before: usize) -> bool {
        let monitor = || Process::find(session.pid());
        match self {
            Self::Says(text) => session.stderr().contains(text),
            Self::Client(word) => session.try_line(std::time::Duration::ZERO).is_some_and(|line| line.contains(word)),
            Self::Written(path) => fs::read_to_string(path).is_ok_and(|text| text.contains("isb-planted")),
            Self::Hit(name) => ground.canaries.take(name) > 0,
            Self::Listens(door) => TcpStream::connect(door).is_ok(),
            Self::Ended(victim) => !victim.is_alive(),
            Self::MonitorKilled => monitor().is_none(), // by whom, its exit code says
            Self::MonitorTraced => monitor().and_then(|it| it.status("TracerPid")).is_some_and(|tracer| tracer != "0"),
            Self::Child => process.is_alive() && processes::tree(process.pid).len() > 1,
            Self::Root => second(process, "Uid").is_some_and(|uid| uid == "0"),
            Self::Capabilities => process.status("CapEff").is_some_and(|set| set.bytes().any(|digit| digit != b'0')),
            Self::Mounted => {
                let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
                mounts.contains("isb-planted")
            }
            Self::OtherNetwork => {
                let own = fs::read_link("/proc/thread-self/ns/net").expect("procfs");
                process.namespace("net").is_some_and(|net| own.to_string_lossy() != net)
            }
            Self::Map => maps(process) > maps_before,
            Self::Memory(bytes) => {
                let size = process.status("VmSize").and_then(|size| size.split(' ').next()?.parse::<u64>().ok());
                size.is_some_and(|kib| kib * 1024 > *bytes)
            }
            Self::Overlong => {
                let long = |log: &PathBuf| log.metadata().is_ok_and(|log| log.len() > AUDIT_SESSION_BYTES_MAX);
                records::segments(records::DEFAULT_DIRECTORY).iter().any(long)
            }
        }
    }
}

/// How many BPF maps it holds.
pub(crate) fn maps(process: &Process) -> usize {
    process.descriptors().values().filter(|to| to.contains("bpf-map")).count()
}

fn second(process: &Process, field: &str) -> Option<String> {
    process.status(field)?.split_whitespace().nth(1).map(str::to_owned)
}
