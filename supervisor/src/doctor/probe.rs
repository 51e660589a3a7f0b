//! The questions that doctor asks of a host. A test answers them with a host that lacks one thing.

/// A namespace that a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Processes.
    Pid,
    /// Network.
    Net,
    /// System V and POSIX ipc.
    Ipc,
    /// Host name.
    Uts,
    /// cgroup root.
    Cgroup,
    /// Ids and capabilities.
    User,
}

impl Namespace {
    /// Every one that a run makes.
    pub const ALL: [Namespace; 7] = [Self::Mount, Self::Pid, Self::Net, Self::Ipc, Self::Uts, Self::Cgroup, Self::User];

    /// The check's name.
    #[must_use]
    pub const fn check(self) -> &'static str {
        match self {
            Self::Mount => "namespace-mount",
            Self::Pid => "namespace-pid",
            Self::Net => "namespace-net",
            Self::Ipc => "namespace-ipc",
            Self::Uts => "namespace-uts",
            Self::Cgroup => "namespace-cgroup",
            Self::User => "namespace-user",
        }
    }
}

/// Something that bpf(2) is asked to load or make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bpf {
    /// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`: connect and sendmsg hooks.
    CgroupSockAddr,
    /// `BPF_PROG_TYPE_CGROUP_SOCK`: sockets as they are made and bound.
    CgroupSock,
    /// `BPF_MAP_TYPE_RINGBUF`: what the hooks saw.
    RingBuffer,
    /// `BPF_PROG_TYPE_SK_LOOKUP`: redirection to the gateway.
    SkLookup,
    /// `BPF_PROG_TYPE_TRACING` on a tracepoint with BTF: exec audit.
    Tracing,
    /// `BPF_PROG_TYPE_LSM`.
    Lsm,
}

/// What trying a cgroup leaf showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// `pure` or `hybrid`.
    pub mode: &'static str,
    /// A ceiling that this kernel cannot give.
    pub gap: Option<String>,
    /// `cgroup.kill` is there (Linux 5.14).
    pub kill: bool,
}

/// A host, asked. An error is text for the table's detail column.
pub trait Probe {
    /// Effective uid 0.
    fn is_root(&self) -> bool;
    /// `uname -r`.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn kernel_release(&self) -> Result<String, String>;
    /// Makes a leaf with every ceiling, and removes it.
    ///
    /// # Errors
    /// The step that failed.
    fn cgroups(&self) -> Result<Cgroups, String>;
    /// Unshares the namespace in a child.
    ///
    /// # Errors
    /// The kernel's answer.
    fn namespace(&self, namespace: Namespace) -> Result<(), String>;
    /// `user.max_user_namespaces`.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn user_namespaces_max(&self) -> Result<u64, String>;
    /// Installs the server's filter in a child and makes a call that it refuses there.
    ///
    /// # Errors
    /// The step that failed.
    fn seccomp(&self) -> Result<(), String>;
    /// Restricts a child by Landlock; the ABI that took effect, 0 if none.
    ///
    /// # Errors
    /// The step that failed.
    fn landlock_abi(&self) -> Result<u8, String>;
    /// Loads or makes it, and lets it go.
    ///
    /// # Errors
    /// The kernel's answer.
    fn bpf(&self, what: Bpf) -> Result<bool, String>;
    /// `/sys/kernel/btf/vmlinux` is there.
    fn has_btf(&self) -> bool;
    /// The list of `/sys/kernel/security/lsm`; none without securityfs.
    fn lsm_list(&self) -> Option<String>;
    /// The text of `/sys/kernel/security/lockdown`; none where the kernel has no lockdown.
    fn lockdown(&self) -> Option<String>;
    /// Path of sudo.
    fn sudo(&self) -> Option<String>;
    /// Wall clock, seconds since the epoch, and nanoseconds since boot.
    fn clock(&self) -> (u64, u64);
}
