//! Layers and what each answers. Core layers are in force or the server does not start (P7).

use serde::Serialize;

/// One layer of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Layer {
    /// Mount, pid, ipc, uts, cgroup and user namespaces.
    Namespaces,
    /// Own minimal read-only root.
    Rootfs,
    /// An unprivileged host uid unique to the run.
    Identity,
    /// All capability sets empty, securebits locked.
    Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// System call allow-list.
    Seccomp,
    /// Memory, pids, cpu and cgroup.kill.
    Cgroup,
    /// A network namespace with `lo` and no route out.
    Netns,
    /// DNS stub and gateway, the only road.
    Gateway,
    /// connect, sendmsg, sock_create and bind hooks on the cgroup.
    CgroupBpf,
    /// Landlock rules (extra).
    Landlock,
    /// Redirection of every TCP connection to the gateway (extra).
    SkLookup,
    /// Exec audit by tp_btf (extra).
    ExecTrace,
    /// BPF LSM programs (extra).
    Lsm,
    /// File audit by a BPF LSM program (extra).
    FsTrace,
}

/// What a layer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
#[must_use]
pub enum Answer {
    /// In force, whole.
    Enforced,
    /// In force with a gap, named.
    Partial(String),
    /// Not in force, and why.
    Unsupported(String),
}

/// One layer's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerReport {
    /// The layer.
    pub layer: Layer,
    /// Its answer.
    #[serde(flatten)]
    pub answer: Answer,
}

impl Layer {
    /// Every layer, core first.
    pub const ALL: [Layer; 15] = [
        Layer::Namespaces,
        Layer::Rootfs,
        Layer::Identity,
        Layer::Capabilities,
        Layer::NoNewPrivs,
        Layer::Seccomp,
        Layer::Cgroup,
        Layer::Netns,
        Layer::Gateway,
        Layer::CgroupBpf,
        Layer::Landlock,
        Layer::SkLookup,
        Layer::ExecTrace,
        Layer::Lsm,
        Layer::FsTrace,
    ];

    /// The name used in policies, records and `doctor`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Rootfs => "rootfs",
            Self::Identity => "identity",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivs => "no-new-privs",
            Self::Seccomp => "seccomp",
            Self::Cgroup => "cgroup",
            Self::Netns => "netns",
            Self::Gateway => "gateway",
            Self::CgroupBpf => "cgroup-bpf",
            Self::Landlock => "landlock",
            Self::SkLookup => "sk-lookup",
            Self::ExecTrace => "exec-trace",
            Self::Lsm => "lsm",
            Self::FsTrace => "fs-trace",
        }
    }

    /// The layer of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }

    /// Whether a run needs it always.
    #[must_use]
    pub const fn is_core(self) -> bool {
        !matches!(self, Self::Landlock | Self::SkLookup | Self::ExecTrace | Self::Lsm | Self::FsTrace)
    }
}
