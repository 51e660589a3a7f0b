//! The plan of one run: policy and request resolved into what will be mounted, mapped, limited and allowed. Printable.

use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Layer;
use super::programs::Program;
use crate::limits::redis::Source;
use crate::policy::{Durability, TlsMode};
use crate::wire::secrets::{SECRET_BYTES_MIN, Secrets};

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
    /// Names of the variables whose values are secret ([`crate::policy::is_secret`]).
    pub secret_names: Vec<OsString>,
    /// Their values, ready to be searched for: blanked in what the server says, on stderr and in the log.
    pub secrets: Secrets,
    /// What it sees of the disk.
    pub filesystem: FilesystemPlan,
    /// What it reaches of the network.
    pub network: NetworkPlan,
    /// What it may use up.
    pub resources: ResourcesPlan,
    /// Extra layers without which the run is refused.
    pub require: Vec<Layer>,
    /// Where and how the run is recorded.
    pub audit: AuditPlan,
    /// Directory of the limit store.
    pub state_dir: PathBuf,
    /// Tool rules refuse nothing, they are recorded. The sandbox holds all the same.
    pub observe: bool,
    /// The shared limit store, in place of the directory.
    pub state_dsn: Option<Source>,
    /// Arguments of the command that name something outside the view. Where root alone asks, only what the host has; else
    /// whatever is named, so that nobody learns here which files there are.
    pub unseen: Vec<PathBuf>,
}

impl Plan {
    /// What whoever starts the run should look at, one line each.
    pub fn advice(&self) -> impl Iterator<Item = String> + '_ {
        self.unseen.iter().map(|path| super::unseen::advice(path))
    }
}

/// Mounts besides the minimal view.
#[derive(Clone, Debug, Default)]
pub struct FilesystemPlan {
    /// Files and directories shown read-only under the same path.
    pub read: Vec<PathBuf>,
    /// Folders that the server may write.
    pub write: Vec<WritableFolder>,
    /// The programs that may be executed, `None` for all of the view. With a list no writable mount is executable, no memory
    /// file can be made, and Landlock is required.
    pub exec: Option<Vec<Program>>,
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
    /// Which folder that is.
    pub id: FolderId,
    /// Host uid that files written there belong to; never 0.
    pub owner_uid: u32,
    /// Host gid that files written there belong to; never 0.
    pub owner_gid: u32,
    /// Bytes that it may hold.
    pub max_bytes: Option<u64>,
    /// Whether a project quota of the file system holds it to them (`sandbox/quota`); otherwise they are counted (`sandbox/usage`).
    pub by_quota: bool,
}

/// Which folder a path named when the plan was made. Who may rename in its parent can put another folder in its place, so each later
/// opening compares: what is checked, counted and shown is one folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderId {
    device: u64,
    inode: u64,
    /// When it was made (`stx_btime` of statx(2)), where the file system knows: the number of a removed folder may be given again.
    made: Option<SystemTime>,
}

impl FolderId {
    /// The one of this metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), made: metadata.created().ok() }
    }
}

impl WritableFolder {
    /// Bytes that it may hold, where they are counted.
    #[must_use]
    pub fn counted_max(&self) -> Option<u64> {
        self.max_bytes.filter(|_| !self.by_quota)
    }
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

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
        writeln!(f, "session      {}", self.session)?;
        writeln!(f, "command      {} ({})", words.join(" "), self.executable.display())?;
        writeln!(f, "directory    {}", self.cwd.display())?;
        for (name, value) in &self.environment {
            // Values may be secrets: names are enough to check a policy by.
            let mark = match self.secret_names.contains(name) {
                true if value.len() < SECRET_BYTES_MIN => " (under 8 bytes: not blanked)",
                true => " (secret: blanked in results, stderr and log)",
                false => "",
            };
            writeln!(f, "environment  {}{mark}", name.to_string_lossy())?;
        }
        for path in &self.filesystem.read {
            writeln!(f, "read         {}", path.display())?;
        }
        for folder in &self.filesystem.write {
            let WritableFolder { inside, source, owner_uid, owner_gid, max_bytes, by_quota, .. } = folder;
            let keeper = if *by_quota { " by project quota" } else { "" };
            let max = max_bytes.map(|bytes| format!(", at most {bytes} bytes{keeper}")).unwrap_or_default();
            writeln!(f, "write        {} = {} as {owner_uid}:{owner_gid}{max}", inside.display(), source.display())?;
        }
        for program in self.filesystem.exec.iter().flatten() {
            writeln!(f, "execute      {program}")?;
        }
        if self.network.hosts.is_empty() {
            writeln!(f, "network      none")?;
        }
        for host in &self.network.hosts {
            let ports: Vec<_> = host.ports.iter().map(u16::to_string).collect();
            writeln!(f, "network      {}:{} {} as {}", host.name, ports.join(","), host.tls.word(), host.address)?;
        }
        for ConnectTo { host, port, to_host, to_port } in &self.network.connect_to {
            writeln!(f, "connect-to   {host}:{port} -> {to_host}:{to_port}")?;
        }
        let ResourcesPlan { memory_bytes, cpu_millis, pids_max, open_files, wall } = &self.resources;
        writeln!(f, "memory       {memory_bytes} bytes, /tmp {} bytes", self.filesystem.tmp_bytes)?;
        writeln!(f, "cpu          {}.{:03} cores", cpu_millis / 1000, cpu_millis % 1000)?;
        writeln!(f, "processes    {pids_max}, {open_files} open files each")?;
        if let Some(wall) = wall {
            writeln!(f, "wall         {} s", wall.as_secs())?;
        }
        for layer in Layer::ALL.iter().filter(|layer| layer.is_core() || self.require.contains(layer)) {
            writeln!(f, "require      {}", layer.name())?;
        }
        writeln!(f, "audit        {} ({})", self.audit.directory.display(), self.audit.durability.word())?;
        match &self.state_dsn {
            Some(source) => write!(f, "state        {source}")?,
            None => write!(f, "state        {}", self.state_dir.display())?,
        }
        if self.observe {
            write!(f, "\nobserve      tool rules refuse nothing, they are recorded")?;
        }
        self.advice().try_for_each(|advice| write!(f, "\nwarning      {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::sandbox::test_plan;

    #[test]
    fn a_secret_too_short_to_be_blanked_is_not_said_to_be() {
        let mut plan = test_plan();
        plan.environment = vec![("A_KEY".into(), "seven77".into()), ("B_KEY".into(), "eight888".into())];
        plan.secret_names = vec!["A_KEY".into(), "B_KEY".into()];
        let text = plan.to_string();
        assert!(text.contains("environment  A_KEY (under 8 bytes: not blanked)\n"), "{text}");
        assert!(text.contains("environment  B_KEY (secret: blanked in results, stderr and log)\n"), "{text}");
    }
}
