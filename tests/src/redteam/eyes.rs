//! The host's eyes: where an attack's success shows.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::ground::Ground;
use super::outcome::{Seen, has_capability};
use super::roads::Road;
use super::stand::{Stand, stat};
use crate::processes::Process;

/// Where on the host a success shows.
#[derive(Clone, Copy)]
pub enum Judge {
    /// A canary's count.
    Canary(&'static str),
    /// The allowed host's count of connections: something got there that must not.
    StandIn,
    /// The allowed host's count of connections that said this in the clear after the first hello.
    HeardInClear(&'static str),
    /// A secret of the host, by name, in the answer.
    Leak(&'static str),
    /// This text in the answer, which only the host's own state can have put there.
    Text(&'static str),
    /// A descriptor of the probe's processes whose description contains this.
    Descriptor(&'static str),
    /// The kernel's own table of netlink sockets (proc(5), /proc/net/netlink) has one of this protocol that a probe holds.
    Netlink(u32),
    /// A condition on the host's files.
    Files(fn() -> bool),
    /// One of the probe's processes is in another namespace of this kind (its name in /proc/PID/ns) than the server.
    Namespace(&'static str),
    /// A condition on one of the probe's processes, beside the server's own.
    Process(fn(&Process, &Process) -> bool),
    /// A condition on all of the probe's processes and the server.
    Crowd(fn(&[Process]) -> bool),
    /// A condition on the stand.
    Stand(fn(&Stand) -> bool),
    /// More mounts than before in the server's mount namespace.
    Mounts,
    /// The host reaches what the probe listens on.
    Reachable(fn() -> bool),
    /// A case with sessions of its own, which looks for itself.
    Life(fn(&Ground, Road) -> Seen),
    /// Nothing outside shows it: the kernel's answer is all there is.
    Word,
}

impl Judge {
    /// What the verdict rests on, for the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canary(_) => "canary",
            Self::StandIn | Self::HeardInClear(_) => "allowed host's count",
            Self::Leak(_) | Self::Text(_) => "secret in the answer",
            Self::Descriptor(_) => "/proc/PID/fd",
            Self::Netlink(_) => "/proc/PID/net/netlink",
            Self::Files(_) => "host's files",
            Self::Namespace(_) | Self::Process(_) | Self::Crowd(_) => "/proc/PID",
            Self::Stand(_) => "the attacked process",
            Self::Mounts => "/proc/PID/mountinfo",
            Self::Reachable(_) => "host connects",
            Self::Life(_) => "host, after the end",
            Self::Word => "kernel's answer",
        }
    }
}

/// A descriptor of `process` that says `part`, and is what it says: a mask is a device under another file's name.
pub(super) fn holds(process: &Process, part: &str) -> bool {
    let mut held = process.descriptors().into_iter().filter(|(_, text)| text.contains(part));
    let is_kernel_file = part.starts_with("/proc/") || part.starts_with("/sys/");
    held.any(|(number, _)| {
        !is_kernel_file
            || fs::metadata(format!("/proc/{}/fd/{number}", process.pid)).is_ok_and(|m| !m.file_type().is_char_device())
    })
}

/// Whether `process` holds a netlink socket of `protocol`: the table names it with its inode.
pub(super) fn holds_netlink(process: &Process, protocol: u32) -> bool {
    let table = fs::read_to_string(format!("/proc/{}/net/netlink", process.pid)).unwrap_or_default();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let wanted = protocol.to_string();
    let inodes: Vec<String> = rows
        .filter(|row| row.get(1) == Some(&wanted.as_str()))
        .filter_map(|row| row.last().map(|inode| format!("socket:[{inode}]")))
        .collect();
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return false };
    let mut links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
}

/// Whether the host's folder has something of that name that is no ordinary file, or one with a set-id bit.
pub(super) fn special(name: &str) -> bool {
    let Ok(found) = fs::symlink_metadata(Ground::image(name)) else { return false };
    let kind = found.file_type();
    let set = if kind.is_dir() { 0o2000 } else { 0o6000 };
    !(kind.is_file() || kind.is_dir()) || found.mode() & set != 0
}

pub(super) fn shown(name: &str) -> Option<fs::Metadata> {
    fs::symlink_metadata(Path::new(Ground::SHOWN).join(name)).ok()
}

pub(super) fn has_attribute(name: &str) -> bool {
    rustix::fs::lgetxattr(Ground::image("marked"), name, &mut [0u8; 256][..]).is_ok()
}

pub(super) fn is_immutable() -> bool {
    let flags = fs::File::open(Ground::image("immutable")).ok().and_then(|file| rustix::fs::ioctl_getflags(&file).ok());
    flags.is_some_and(|flags| flags.contains(rustix::fs::IFlags::IMMUTABLE))
}

pub(super) fn differs(process: &Process, server: &Process, kind: &str) -> bool {
    process.namespace(kind).is_some_and(|own| Some(own) != server.namespace(kind))
}

/// One of the ids of a field of `/proc/PID/status` is `id`.
pub(super) fn has_id(process: &Process, field: &str, id: &str) -> bool {
    process.status(field).is_some_and(|ids| ids.split_whitespace().any(|own| own == id))
}

pub(super) fn nonzero(process: &Process, field: &str) -> bool {
    process.status(field).is_some_and(|value| !value.trim_matches('0').is_empty())
}

pub(super) fn number(pid: u32, field: usize) -> i64 {
    stat(pid, field).parse().unwrap_or(0)
}

pub(super) fn file_of(process: &Process, name: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{name}", process.pid)).unwrap_or_default()
}

/// The soft limit of a row of `/proc/PID/limits`.
pub(super) fn limit(process: &Process, row: &str) -> u64 {
    let text = file_of(process, "limits");
    let value = text.lines().find_map(|line| line.strip_prefix(row)?.split_whitespace().next().map(str::to_owned));
    value.map_or(0, |value| value.parse().unwrap_or(u64::MAX))
}

/// Number of CAP_SYS_RESOURCE (capabilities(7)).
const SYS_RESOURCE: u32 = 24;

/// Why no program that we start can raise its limit on core files: ours is hard, as behind sudo, and nobody here may lift it.
pub(super) fn core_limit_is_hard() -> Option<String> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = text.lines().find_map(|line| line.strip_prefix("Max core file size")?.split_whitespace().nth(1))?;
    let is_hard = hard != "unlimited" && !has_capability(SYS_RESOURCE);
    is_hard.then(|| format!("the hard RLIMIT_CORE is {hard} already, and root has no CAP_SYS_RESOURCE here"))
}

/// The same, or that the kernel hands core files to a program or another folder (core(5)).
pub(super) fn no_core_file_in_place() -> Option<String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let elsewhere = pattern.starts_with(['|', '/']);
    core_limit_is_hard().or_else(|| elsewhere.then(|| format!("core files go to {}", pattern.trim())))
}

/// Kilobytes of a field of `/proc/PID/status`.
pub(super) fn kilobytes(process: &Process, field: &str) -> u64 {
    process.status(field).and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time of all of them, clock ticks (a hundredth of a second on Linux).
pub(super) fn ticks(crowd: &[Process]) -> i64 {
    crowd.iter().map(|process| number(process.pid, 14) + number(process.pid, 15)).sum()
}

/// Whether the process' own cgroup has a bound on processor time, in version 1's files or version 2's.
pub(super) fn has_cpu_bound(process: &Process) -> bool {
    let bounds = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { return false };
        let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{name}")).unwrap_or_default();
        let quota = read(&format!("/{controllers}{path}/cpu.cfs_quota_us"));
        let most = [read(&format!("{path}/cpu.max")), read(&format!("/unified{path}/cpu.max"))];
        quota.trim().parse().is_ok_and(|quota: i64| quota > 0)
            || most.iter().any(|most| !most.is_empty() && !most.starts_with("max"))
    };
    file_of(process, "cgroup").lines().any(bounds)
}

pub(super) fn connects(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("a literal of the rows");
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

pub(super) fn connects_abstract(name: &str) -> bool {
    UnixAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name)).is_ok()
}
