//! The ground of the test: an outer namespace with canaries, cgroups of its own, children that attack.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use intercept_sandbox::egress::netlink::{LOOPBACK_INDEX, Netlink};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Socket, Type};

use crate::attempts::{CANARY, CANARY_2, CANARY_6, attempt};

/// What the canaries heard since the last look.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Heard {
    /// TCP connections.
    pub(crate) tcp: usize,
    /// UDP datagrams.
    pub(crate) udp: usize,
}

/// Nothing at all.
pub(crate) const SILENCE: Heard = Heard { tcp: 0, udp: 0 };

/// A namespace that stands for the host: public addresses on its `lo`, a listener on each.
pub(crate) struct Field {
    /// The namespace.
    pub(crate) netns: OwnedFd,
    tcp: Socket,
    udp: Vec<Socket>,
}

impl Field {
    /// Moves this process into the namespace and sets the canaries up.
    pub(crate) fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        let mut netlink = Netlink::open().expect("netlink");
        netlink.link_up(LOOPBACK_INDEX).expect("lo up");
        for (address, bits) in [(IpAddr::from(CANARY), 32), (CANARY_2.into(), 32), (CANARY_6.into(), 128)] {
            netlink.add_local_route(address, bits, LOOPBACK_INDEX).expect("a public address on lo");
        }
        // Ping sockets for everyone, or the kernel's own refusal would hide ours.
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("ping_group_range");
        let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into();
        let tcp = Socket::new(Domain::IPV6, Type::STREAM, None).expect("socket");
        tcp.bind(&any(443)).expect("bind");
        tcp.listen(64).expect("listen");
        tcp.set_nonblocking(true).expect("non-blocking");
        let udp = [443, 53].map(|port| {
            let udp = Socket::new(Domain::IPV6, Type::DGRAM, None).expect("socket");
            udp.bind(&any(port)).expect("bind");
            udp.set_nonblocking(true).expect("non-blocking");
            udp
        });
        let netns = fs::File::open("/proc/self/ns/net").expect("namespace").into();
        Self { netns, tcp, udp: udp.into() }
    }

    /// Counts and forgets what the canaries heard. Loopback delivers before the sender's call returns.
    pub(crate) fn heard(&self) -> Heard {
        let tcp = std::iter::from_fn(|| self.tcp.accept().ok()).count();
        let datagrams = |socket: &Socket| {
            std::iter::from_fn(|| socket.recv(&mut [std::mem::MaybeUninit::uninit(); 16]).ok()).count()
        };
        Heard { tcp, udp: self.udp.iter().map(datagrams).sum() }
    }

    /// Whether this process stands in the field's namespace.
    pub(crate) fn is_here(&self) -> bool {
        let here: OwnedFd = fs::File::open("/proc/self/ns/net").expect("namespace").into();
        let inode = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).expect("fstat").st_ino;
        inode(here.as_fd()) == inode(self.netns.as_fd())
    }
}

/// A cgroup v2 leaf, removed on drop.
pub(crate) struct Leaf {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// The open directory.
    pub(crate) fd: OwnedFd,
}

impl Leaf {
    /// Makes a leaf under the cgroup2 mount, wherever that is.
    pub(crate) fn make(name: &str) -> Self {
        let path = cgroup2_mount().join(format!("isb-wall-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup v2 leaf");
        let fd = fs::File::open(&path).expect("the leaf").into();
        Self { path, fd }
    }

    /// Its id, as `bpf_get_current_cgroup_id` gives it: the inode.
    pub(crate) fn id(&self) -> u64 {
        nix::sys::stat::fstat(&self.fd).expect("fstat").st_ino
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        fs::remove_dir(&self.path).expect("the leaf is empty again");
    }
}

fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("a cgroup2 mount");
    mount.split(' ').nth(4).expect("mount point").into()
}

/// The outcome of each attempt: `Ok` or the errno.
pub(crate) type Outcomes = BTreeMap<String, Result<(), Errno>>;

/// Runs the attempts in a child inside `leaf` and `netns`; returns its pid and what came of each.
#[allow(clippy::disallowed_methods)] // a test's child, not the supervisor's
pub(crate) fn attack(leaf: &Leaf, netns: BorrowedFd<'_>, names: &[&str]) -> (u32, Outcomes) {
    let own = std::env::current_exe().expect("this program");
    let namespace = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    let child = Command::new(own)
        .arg("attack")
        .arg(&leaf.path)
        .arg(namespace)
        .args(names)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let pid = child.id();
    let output = child.wait_with_output().expect("the child's answer");
    assert!(output.status.success(), "the attacking child failed: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    let outcomes: Outcomes = text.lines().map(read_outcome).collect();
    assert_eq!(outcomes.len(), names.len(), "an attempt is missing or named twice");
    (pid, outcomes)
}

fn read_outcome(line: &str) -> (String, Result<(), Errno>) {
    let (name, errno) = line.split_once(' ').expect("a name and an errno");
    let errno: i32 = errno.parse().expect("a number");
    (name.to_owned(), if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) })
}

/// The child's side of [`attack`].
pub(crate) fn run_attack(arguments: &[String]) {
    use std::io::Write;
    let [leaf, netns, names @ ..] = arguments else { panic!("attack LEAF NETNS NAME...") };
    fs::write(Path::new(leaf).join("cgroup.procs"), "0").expect("join the cgroup");
    setns(fs::File::open(netns).expect("namespace"), CloneFlags::CLONE_NEWNET).expect("join the namespace");
    let mut out = std::io::stdout().lock();
    for name in names {
        let errno = attempt(name).err().map_or(0, |error| match error.raw_os_error() {
            Some(errno) => errno,
            None if error.kind() == std::io::ErrorKind::TimedOut => nix::libc::ETIMEDOUT,
            None => panic!("{name}: {error}"),
        });
        writeln!(out, "{name} {errno}").expect("stdout");
    }
}

/// Asserts what came of every attempt at once, so that one run shows all that is wrong.
pub(crate) fn expect(what: &str, outcomes: &Outcomes, expected: &[(&str, Result<(), Errno>)]) {
    let mut wrong = Vec::new();
    for (name, outcome) in expected {
        if outcomes.get(*name) != Some(outcome) {
            wrong.push(format!("{name}: {:?}, expected {outcome:?}", outcomes.get(*name)));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}
