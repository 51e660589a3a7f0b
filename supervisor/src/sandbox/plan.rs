//! The plan of one run: policy and request resolved into what will be mounted, mapped, limited and allowed. Printable.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::policy::{Durability, TlsMode};

/// Everything that a run will do, decided before anything is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names the session in the log, the cgroup and the runtime directory: 32 lower-case hex digits.
    pub session: String,
    /// The command as given.
    pub argv: Vec<OsString>,
    /// The file that will be executed, absolute, inside the view.
    pub executable: PathBuf,
    /// Working directory inside the view.
    pub cwd: PathBuf,
    /// The server's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it sees of the disk.
    pub filesystem: FilesystemPlan,
    /// What it reaches of the network.
    pub network: NetworkPlan,
    /// What it may use up.
    pub resources: ResourcesPlan,
    /// Extra layers without which the run is refused.
    pub require: Vec<super::Layer>,
    /// Where and how the run is recorded.
    pub audit: AuditPlan,
    /// Directory of the limit store.
    pub state_dir: PathBuf,
}

/// Mounts besides the minimal view.
#[derive(Clone, Debug, Default)]
pub struct FilesystemPlan {
    /// Files and directories shown read-only under the same path.
    pub read: Vec<PathBuf>,
    /// Folders that the server may write.
    pub write: Vec<WritableFolder>,
    /// Size of the private /tmp, bytes.
    pub tmp_bytes: u64,
}

/// One writable folder.
#[derive(Clone, Debug)]
pub struct WritableFolder {
    /// Path inside.
    pub inside: PathBuf,
    /// Path on the host.
    pub source: PathBuf,
    /// Host uid that files written there belong to; never 0.
    pub owner_uid: u32,
    /// Host gid that files written there belong to; never 0.
    pub owner_gid: u32,
}

/// The allowed hosts and how they are reached.
#[derive(Clone, Debug, Default)]
pub struct NetworkPlan {
    /// Allowed hosts, each with its synthetic address.
    pub hosts: Vec<PlannedHost>,
    /// `--connect-to` redirections.
    pub connect_to: Vec<ConnectTo>,
}

/// One allowed host.
#[derive(Clone, Debug)]
pub struct PlannedHost {
    /// Exact name, lower case.
    pub name: String,
    /// Allowed ports.
    pub ports: Vec<u16>,
    /// The address of 198.18.0.0/15 that stands for it in this run.
    pub address: Ipv4Addr,
    /// What the gateway demands.
    pub tls: TlsMode,
    /// Bytes that the server may send to it in this session.
    pub max_bytes_out: Option<u64>,
}

/// curl's `--connect-to HOST:PORT:HOST2:PORT2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// The host that is meant.
    pub host: String,
    /// The port that is meant.
    pub port: u16,
    /// The host or IP literal that is dialled.
    pub to_host: String,
    /// The port that is dialled.
    pub to_port: u16,
}

/// Ceilings of the cgroup and rlimits.
#[derive(Clone, Debug)]
pub struct ResourcesPlan {
    /// memory.max, bytes.
    pub memory_bytes: u64,
    /// cpu.max, thousandths of one core.
    pub cpu_millis: u64,
    /// pids.max, processes and threads.
    pub pids_max: u64,
    /// RLIMIT_NOFILE.
    pub open_files: u64,
    /// Longest life of the session.
    pub wall: Option<Duration>,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct AuditPlan {
    /// Root of the logs, `/var/log/intercept-sandbox` by default.
    pub directory: PathBuf,
    /// When a record counts as written.
    pub durability: Durability,
}
