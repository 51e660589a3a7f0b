//! The attacks: what is tried, where a success would show, and which layers hold it.

/// Where on the host a success shows.
#[derive(Clone, Copy)]
pub(crate) enum Judge {
    /// A canary's count.
    Canary(&'static str),
    /// The stand-in's count of connections.
    StandIn,
    /// A secret in the answer: `shadow`, `private`, `inherited`.
    Leak(&'static str),
    /// A descriptor of the server whose description contains this. The null device, bound over a file of /proc, is not that file.
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

pub(crate) struct Attack {
    pub(crate) probe: &'static str,
    pub(crate) argument: Argument,
    pub(crate) judge: Judge,
    /// The layers that hold it, outermost first.
    pub(crate) held_by: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Argument {
    None,
    Text(&'static str),
    Bystander,
}

pub(crate) const fn attack(probe: &'static str, judge: Judge, held_by: &'static str) -> Attack {
    Attack { probe, argument: Argument::None, judge, held_by }
}

pub(crate) const fn with(probe: &'static str, argument: Argument, judge: Judge, held_by: &'static str) -> Attack {
    Attack { probe, argument, judge, held_by }
}

pub(crate) const ATTACKS: &[Attack] = &[
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
