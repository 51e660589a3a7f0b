//! Policy and request in, [`Plan`] out: the only step that looks at the host before anything is changed.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::plan::{
    AuditPlan, ConnectTo, FilesystemPlan, FolderId, NetworkPlan, Plan, PlannedHost, ResourcesPlan, WritableFolder,
};
use super::unseen::{to_show, unseen};
use super::{Layer, Sight, environment, programs, quota, sight};
use crate::bounds::HOSTS_MAX;
use crate::limits::redis::Source;
use crate::policy::{self, Policy, Resources, SandboxSection, WriteRule};
use crate::report::chain;
use crate::trust::Caller;
use crate::wire::secrets::{Secrets, TooManySecrets};

/// Where a bare command name is looked up; also the server's PATH.
pub const SEARCH_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// What every server sees, read-only, besides /etc, /dev, /proc and /tmp of its own.
pub const MINIMAL_VIEW: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// The first synthetic address given to a host; 198.18.0.1 is the DNS stub (RFC 2544 range, never routed).
const FIRST_HOST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 1, 1]);
/// Bytes of a script that the kernel reads for its `#!` line (include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE).
const SCRIPT_HEAD_BYTES: u64 = 256;
/// `nobody`: who owns files that root's own run writes.
const NOBODY: u32 = 65_534;

/// What a run adds to its policy.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Names the session.
    pub session: String,
    /// The command; empty takes `server.command`.
    pub command: Vec<OsString>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    /// The caller's environment, before we cleaned ours.
    pub environment: Vec<(OsString, OsString)>,
    /// Who called.
    pub caller: Caller,
    /// `--connect-to`.
    pub connect_to: Vec<ConnectTo>,
    /// `--observe`.
    pub observe: bool,
    /// Root of the audit logs.
    pub audit_dir: PathBuf,
    /// Directory of the limit store.
    pub state_dir: PathBuf,
    /// The shared limit store, in place of the directory.
    pub state_dsn: Option<Source>,
}

/// Why no plan could be made; the run ends before anything was started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither a command nor `server.command`.
    #[error("no command: give one after `--`, or `server.command` in the policy")]
    NoCommand,
    /// Another command than the policy's.
    #[error("the policy allows only its own server.command: {allowed:?}")]
    OtherCommand {
        /// What the policy names.
        allowed: Vec<String>,
    },
    /// Exit 127.
    #[error("{command}: command not found{hint}")]
    CommandNotFound {
        /// As given.
        command: String,
        /// The line that would fix it, or empty.
        hint: String,
    },
    /// Exit 126.
    #[error("{path}: {why}")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would fix it.
        why: String,
    },
    /// A path of the policy is not there.
    #[error("sandbox.filesystem.read: {path}: {why}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A program of `process.exec` that could not be executed.
    #[error("sandbox.process.exec: {program}: {why}")]
    Program {
        /// As the policy names it.
        program: String,
        /// What is wrong and what would fix it.
        why: String,
    },
    /// A writable folder that its owner could not write.
    #[error("line {line}: filesystem.write {path}: {why}")]
    Writable {
        /// Line of the entry.
        line: u32,
        /// Host path.
        path: PathBuf,
        /// What is wrong and what to chown.
        why: String,
    },
    /// More hosts than addresses are set aside for.
    #[error("more than {HOSTS_MAX} hosts")]
    TooManyHosts,
    /// A variable that must be passed is not set.
    #[error(transparent)]
    Environment(#[from] environment::EnvError),
    /// What may not leak could not be searched for.
    #[error(transparent)]
    Secrets(#[from] TooManySecrets),
}

impl PlanError {
    /// The exit code of `run`: 127 not found, 126 found but not executable, else 125 (docs/cli.md).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            _ => 125,
        }
    }
}

impl Plan {
    /// Resolves command, mounts, identity of files, limits and hosts. Nothing is changed on the host.
    ///
    /// # Errors
    /// [`PlanError`], one for each thing that cannot be as the policy says.
    pub fn resolve(policy: &Policy, inputs: Inputs) -> Result<Self, PlanError> {
        let mut filesystem = filesystem(policy, &inputs.caller)?;
        let argv = command(policy, &inputs.command)?;
        let sight = Sight::of(&inputs.caller);
        let executable = executable(&argv[0], &inputs.cwd, &filesystem, sight)?;
        if let Some(listed) = &policy.sandbox.exec {
            filesystem.exec = Some(programs::resolve(&executable, listed, &filesystem, sight)?);
        }
        let cwd = if in_view(&inputs.cwd, &filesystem) { inputs.cwd.clone() } else { PathBuf::from("/") };
        let environment = environment::construct(&policy.sandbox, &inputs.environment)?;
        let unseen = named_outside(&argv, &filesystem, &inputs.caller);
        let is_passed = |name: &OsStr| policy.sandbox.env_pass.iter().any(|pass| name == OsStr::new(&pass.name));
        let is_secret = |name: &OsStr, value: &OsStr| is_passed(name) && policy::is_secret(name, value);
        let secret: Vec<_> = environment.iter().filter(|(name, value)| is_secret(name, value)).collect();
        let secrets = Secrets::new(secret.iter().map(|(_, value)| value.as_bytes()))?;
        Ok(Self {
            secret_names: secret.iter().map(|(name, _)| name.clone()).collect(),
            secrets,
            argv,
            executable,
            cwd,
            environment,
            network: network(policy, inputs.connect_to)?,
            resources: ResourcesPlan::of(&policy.sandbox),
            require: required(&policy.sandbox),
            filesystem,
            audit: AuditPlan { directory: inputs.audit_dir, durability: policy.audit.durability },
            state_dir: inputs.state_dir,
            observe: inputs.observe,
            state_dsn: inputs.state_dsn,
            session: inputs.session,
            unseen,
        })
    }
}

impl ResourcesPlan {
    /// The ceilings that a policy asks for, defaults filled in.
    #[must_use]
    pub fn of(section: &SandboxSection) -> Self {
        let resources = &section.resources;
        Self {
            memory_bytes: resources.memory_bytes.unwrap_or(Resources::DEFAULT_MEMORY_BYTES),
            cpu_millis: resources.cpu_millis.unwrap_or(Resources::DEFAULT_CPU_MILLIS),
            pids_max: section.processes_max.unwrap_or(Resources::DEFAULT_PROCESSES),
            open_files: resources.open_files.unwrap_or(Resources::DEFAULT_OPEN_FILES),
            wall: resources.wall.filter(|wall| !wall.is_zero()),
        }
    }
}

/// The extra layers without which nothing starts: those that the policy names, and the one that enforces `process.exec`.
fn required(section: &SandboxSection) -> Vec<Layer> {
    let mut layers: Vec<Layer> = section.require.iter().filter_map(|name| Layer::from_name(name)).collect();
    if section.exec.is_some() && !layers.contains(&Layer::Landlock) {
        layers.push(Layer::Landlock);
    }
    layers
}

fn command(policy: &Policy, given: &[OsString]) -> Result<Vec<OsString>, PlanError> {
    let own = policy.server_command.as_ref();
    match (given.is_empty(), own) {
        (true, None) => Err(PlanError::NoCommand),
        (true, Some(own)) => Ok(own.iter().map(OsString::from).collect()),
        (false, Some(own)) if !given.iter().eq(own.iter().map(OsStr::new)) => {
            Err(PlanError::OtherCommand { allowed: own.clone() })
        }
        (false, _) => Ok(given.to_vec()),
    }
}

fn network(policy: &Policy, connect_to: Vec<ConnectTo>) -> Result<NetworkPlan, PlanError> {
    if policy.sandbox.hosts.len() > HOSTS_MAX {
        return Err(PlanError::TooManyHosts);
    }
    let hosts = (FIRST_HOST_ADDRESS..)
        .zip(&policy.sandbox.hosts)
        .map(|(address, rule)| PlannedHost {
            name: rule.host.clone(),
            ports: rule.ports.clone(),
            address: Ipv4Addr::from(address),
            tls: rule.tls,
            max_bytes_out: rule.max_bytes_out,
        })
        .collect();
    Ok(NetworkPlan { hosts, connect_to })
}

fn filesystem(policy: &Policy, caller: &Caller) -> Result<FilesystemPlan, PlanError> {
    let section = &policy.sandbox;
    for path in &section.read {
        let there =
            sight::plain(path).map_err(|error| PlanError::Path { path: path.clone(), why: error.to_string() })?;
        if !(there.is_file() || there.is_dir()) {
            return Err(PlanError::Path { path: path.clone(), why: "neither a file nor a directory".into() });
        }
    }
    Ok(FilesystemPlan {
        read: section.read.clone(),
        write: section.write.iter().map(|rule| writable(rule, caller)).collect::<Result<_, _>>()?,
        exec: None,
        tmp_bytes: section.resources.tmp_bytes.unwrap_or(Resources::DEFAULT_TMP_BYTES),
    })
}

/// A writable folder must exist and be writable by the one its files will belong to, or the run stops.
fn writable(rule: &WriteRule, caller: &Caller) -> Result<WritableFolder, PlanError> {
    let fail = |why: String| PlanError::Writable { line: rule.line, path: rule.from.clone(), why };
    let meta = sight::plain(&rule.from).map_err(|error| fail(error.to_string()))?;
    if !meta.is_dir() {
        return Err(fail("not a directory (symbolic links are not followed)".into()));
    }
    let (uid, gid) = match &rule.owner {
        Some(owner) => account(owner).ok_or_else(|| fail(format!("no such user: {owner}")))?,
        None => match caller.behind.filter(|uid| *uid != 0) {
            Some(uid) => (uid, primary_group(uid)),
            None if meta.uid() != 0 => (meta.uid(), meta.gid()),
            None => (NOBODY, NOBODY),
        },
    };
    if uid == 0 {
        return Err(fail("files written by a server never belong to root; name another `owner`".into()));
    }
    let gid = if gid == 0 { NOBODY } else { gid };
    // The folder is mapped from this one uid and gid to the run's: what belongs to others cannot be written through it.
    if (meta.uid(), meta.gid()) != (uid, gid) || meta.permissions().mode() & 0o300 != 0o300 {
        let shown = rule.from.display();
        let nobodys = rule.owner.is_none() && uid == NOBODY && meta.uid() == 0;
        return Err(fail(if nobodys {
            format!(
                "it belongs to root; give it to the user whose its files are to be, who calls by sudo or whose the server is: \
                 chown USER: {shown}"
            )
        } else if (meta.uid(), meta.gid()) == (uid, gid) {
            format!("its owner {uid}:{gid} may not write it; run: chmod u+wx {shown}")
        } else {
            format!("it must belong to {uid}:{gid}, who may write it; run: chown {uid}:{gid} {shown}")
        }));
    }
    let id = FolderId::of(&meta);
    // Last: it looks at all that stands in the folder.
    if let Some(max_bytes) = rule.max_bytes.filter(|_| rule.by_quota) {
        quota::check(&rule.from, id, max_bytes).map_err(|error| fail(chain(&error)))?;
    }
    Ok(WritableFolder {
        inside: rule.path.clone(),
        source: rule.from.clone(),
        id,
        owner_uid: uid,
        owner_gid: gid,
        max_bytes: rule.max_bytes,
        by_quota: rule.by_quota,
    })
}

fn account(owner: &str) -> Option<(u32, u32)> {
    if let Ok(uid) = owner.parse::<u32>() {
        return Some((uid, primary_group(uid)));
    }
    let user = nix::unistd::User::from_name(owner).ok()??;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn primary_group(uid: u32) -> u32 {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.gid.as_raw(),
        Ok(None) | Err(_) => uid,
    }
}

/// Whether `path` is shown to the server under the same name.
#[must_use]
pub fn in_view(path: &Path, filesystem: &FilesystemPlan) -> bool {
    MINIMAL_VIEW.iter().any(|shown| path.starts_with(shown))
        || filesystem.read.iter().any(|shown| path.starts_with(shown))
        || filesystem.write.iter().any(|folder| path.starts_with(&folder.inside))
        || path == Path::new("/")
        || path == Path::new("/tmp")
}

/// Absolute arguments outside the view. Behind sudo the host is not asked whether they exist: he who asks may not know.
fn named_outside(argv: &[OsString], filesystem: &FilesystemPlan, caller: &Caller) -> Vec<PathBuf> {
    let mut named = unseen(argv, filesystem);
    if caller.is_real_root() {
        named.retain(|path| path.exists());
    }
    named
}

/// The entries of `filesystem.read` that show `programs`.
pub(super) fn line_to_add(programs: &[&Path], filesystem: &FilesystemPlan) -> String {
    let mut missing: Vec<String> = Vec::new();
    for path in programs.iter().filter(|path| !in_view(path, filesystem)) {
        let path = to_show(path).display().to_string();
        if !missing.contains(&path) {
            missing.push(path);
        }
    }
    format!("add to the policy: sandbox.filesystem.read: [{}]", missing.join(", "))
}

/// The command's file: what a shell with the server's PATH would find, inside the view.
fn executable(name: &OsStr, cwd: &Path, filesystem: &FilesystemPlan, sight: Sight) -> Result<PathBuf, PlanError> {
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![cwd.join(name)]
    } else {
        SEARCH_PATH.iter().map(|directory| Path::new(directory).join(name)).collect()
    };
    let seen = |path: PathBuf| sight.look(&path, filesystem).ok().map(|seen| (path, seen));
    let Some((path, seen)) = candidates.into_iter().find_map(seen) else {
        return Err(not_found(name, cwd, filesystem, sight));
    };
    if !in_view(&path, filesystem) || !in_view(&seen.real, filesystem) {
        let hint = format!(" in the server's view; {}", line_to_add(&[&path, &seen.real], filesystem));
        return Err(PlanError::CommandNotFound { command: path.display().to_string(), hint });
    }
    if !seen.is_program() {
        return Err(PlanError::NotExecutable { path, why: "not an executable file".into() });
    }
    match seen.head(SCRIPT_HEAD_BYTES) {
        Ok(head) => interpreter(&path, &head.unwrap_or_default(), filesystem, sight)?,
        Err(error) => return Err(PlanError::NotExecutable { path, why: error.to_string() }),
    }
    Ok(path)
}

/// Root is told where it stands. Everybody else reads what follows from the policy and his own words.
fn not_found(name: &OsStr, cwd: &Path, filesystem: &FilesystemPlan, sight: Sight) -> PlanError {
    let is_path = name.as_bytes().contains(&b'/');
    let hint = match sight {
        Sight::Root => outside_hint(name).unwrap_or_default(),
        Sight::Server => {
            let path = cwd.join(name);
            let to_add = (is_path && !in_view(&path, filesystem)).then(|| line_to_add(&[&path], filesystem));
            let to_add = to_add.unwrap_or_else(|| "what is not for everybody's eyes is not there".into());
            format!(" in the server's view; {to_add}")
        }
    };
    PlanError::CommandNotFound { command: name.to_string_lossy().into_owned(), hint }
}

/// A script's interpreter must be in the view too; the kernel would only say ENOENT. `head` is the file's.
fn interpreter(path: &Path, head: &[u8], filesystem: &FilesystemPlan, sight: Sight) -> Result<(), PlanError> {
    let Some(line) = head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next()) else {
        return Ok(());
    };
    let name = line.trim_ascii().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let interpreter = Path::new(OsStr::from_bytes(name));
    let shown = interpreter.display();
    let why = if !in_view(interpreter, filesystem) {
        format!("its interpreter {shown} is not in the server's view; {}", line_to_add(&[interpreter], filesystem))
    } else if sight.look(interpreter, filesystem).is_err() {
        format!("its interpreter {shown} is missing")
    } else {
        return Ok(());
    };
    Err(PlanError::NotExecutable { path: path.to_owned(), why })
}

/// Where the caller's own PATH would have found it: the hint that saves a search.
fn outside_hint(name: &OsStr) -> Option<String> {
    if name.as_bytes().contains(&b'/') {
        return None;
    }
    let path = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/bin", "/snap/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())?;
    Some(format!("; it stands at {0}: give that path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_roots_is_not_said_to_be_nobodys_to_have() {
        let rule = WriteRule {
            path: "/out".into(),
            from: "/usr".into(),
            owner: None,
            max_bytes: None,
            by_quota: false,
            line: 7,
        };
        let refused = |sudo: &[(OsString, OsString)]| {
            writable(&rule, &Caller::judge(0, None, sudo)).expect_err("it belongs to root").to_string()
        };
        let own = refused(&[]);
        assert!(own.starts_with("line 7: filesystem.write /usr: it belongs to root"), "{own}");
        assert!(own.ends_with("chown USER: /usr"), "{own}");
        let behind = refused(&[("SUDO_UID".into(), "4294960000".into())]);
        assert!(behind.ends_with("run: chown 4294960000:4294960000 /usr"), "the caller's: {behind}");
    }
}
