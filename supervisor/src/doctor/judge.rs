//! What an answer means: the state, what is lost, the fix.

use super::probe::{Bpf, Namespace, Probe};
use super::{Check, State};

/// The checks in the order of the table.
pub(super) const ALL: [fn(&dyn Probe) -> Vec<Check>; 13] =
    [privilege, kernel, cgroups, namespaces, user_namespaces, seccomp, landlock, bpf, btf, lsm, lockdown, sudo, clock];

/// 2025-01-01T00:00:00Z: this program is younger.
const WALL_SECONDS_MIN: u64 = 1_735_689_600;
/// The ABI that the rules are written for.
const LANDLOCK_ABI_WHOLE: u8 = 6;

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, state: State::Ok, detail: detail.into(), lost: None, fix: None }
}

fn bad(state: State, name: &'static str, detail: impl Into<String>, lost: &'static str, fix: &'static str) -> Check {
    Check { name, state, detail: detail.into(), lost: Some(lost), fix: Some(fix) }
}

fn privilege(probe: &dyn Probe) -> Vec<Check> {
    let check = if probe.is_root() {
        ok("privilege", "root")
    } else {
        let lost = "namespaces, cgroups and BPF programs cannot be made, nor checked from here";
        bad(State::Missing, "privilege", "not root", lost, "sudo intercept-sandbox doctor")
    };
    vec![check]
}

fn kernel(probe: &dyn Probe) -> Vec<Check> {
    let name = "kernel";
    let release = match probe.kernel_release() {
        Ok(release) => release,
        Err(error) => {
            return vec![bad(State::Missing, name, error, "nothing can be said of this kernel", "mount /proc")];
        }
    };
    let check = match version(&release) {
        Some(version) if version >= (5, 14) => ok(name, release),
        Some(version) if version >= (5, 12) => bad(
            State::Degraded,
            name,
            release,
            "cgroup.kill (Linux 5.14): ending a run freezes it and signals each process instead",
            "boot Linux 6.1 or later",
        ),
        _ => bad(
            State::Missing,
            name,
            release,
            "the view is made with mount_setattr, and owners of folders are mapped (Linux 5.12)",
            "boot Linux 6.1 or later",
        ),
    };
    vec![check]
}

/// Major and minor of `6.1.0-50-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn cgroups(probe: &dyn Probe) -> Vec<Check> {
    let name = "cgroup";
    let check = match probe.cgroups() {
        Ok(found) => {
            let kill = if found.kill { "cgroup.kill" } else { "no cgroup.kill" };
            let detail = format!("{}, leaf made and removed, {kill}", found.mode);
            match found.gap {
                None => ok(name, detail),
                Some(gap) => bad(
                    State::Degraded,
                    name,
                    format!("{detail}; {gap}"),
                    "part of the memory ceiling",
                    "boot with systemd.unified_cgroup_hierarchy=1 swapaccount=1",
                ),
            }
        }
        Err(error) => bad(
            State::Missing,
            name,
            error,
            "no ceiling on memory, processes and cpu, no kill for all, no place for the BPF programs",
            "mount -t cgroup2 none /sys/fs/cgroup, with the memory, pids and cpu controllers on either version",
        ),
    };
    vec![check]
}

fn namespaces(probe: &dyn Probe) -> Vec<Check> {
    Namespace::ALL
        .into_iter()
        .map(|namespace| match probe.namespace(namespace) {
            Ok(()) => ok(namespace.check(), "unshared in a child"),
            Err(error) => bad(
                State::Missing,
                namespace.check(),
                error,
                "the server would share this with the host",
                "run as root outside of a container that takes unshare(2) away; the kernel needs CONFIG_NAMESPACES",
            ),
        })
        .collect()
}

fn user_namespaces(probe: &dyn Probe) -> Vec<Check> {
    let name = "user-namespaces-max";
    let check = match probe.user_namespaces_max() {
        Ok(0) => {
            bad(State::Missing, name, "0", "the server's ids cannot be mapped", "sysctl user.max_user_namespaces=1024")
        }
        Ok(most) => ok(name, most.to_string()),
        Err(error) => {
            bad(State::Missing, name, error, "the kernel has no user namespaces", "boot a kernel with CONFIG_USER_NS")
        }
    };
    vec![check]
}

fn seccomp(probe: &dyn Probe) -> Vec<Check> {
    let check = match probe.seccomp() {
        Ok(()) => ok("seccomp", "filter installed in a child, a call refused"),
        Err(error) => bad(
            State::Missing,
            "seccomp",
            error,
            "every system call of the kernel is open to the server",
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        ),
    };
    vec![check]
}

fn landlock(probe: &dyn Probe) -> Vec<Check> {
    let name = "landlock";
    let lost = "a second say on files, signals and abstract sockets beside mounts and namespaces";
    let fix = "boot Linux 6.12 or later with landlock in the lsm= list";
    let check = match probe.landlock_abi() {
        Ok(0) => bad(State::Degraded, name, "not in this kernel or not enabled", lost, fix),
        Ok(abi) if abi < LANDLOCK_ABI_WHOLE => bad(State::Degraded, name, format!("ABI {abi}"), lost, fix),
        Ok(abi) => ok(name, format!("a child restricted, ABI {abi} used")),
        Err(error) => bad(State::Degraded, name, error, lost, fix),
    };
    vec![check]
}

fn bpf(probe: &dyn Probe) -> Vec<Check> {
    let core = "the hooks on connect, sendmsg and sockets, the innermost wall around the network";
    let kinds = [
        (Bpf::CgroupSockAddr, "bpf-cgroup-sock-addr", State::Missing, core, "CONFIG_CGROUP_BPF"),
        (Bpf::CgroupSock, "bpf-cgroup-sock", State::Missing, core, "CONFIG_CGROUP_BPF"),
        (Bpf::RingBuffer, "bpf-ring-buffer", State::Missing, "records of what the hooks refused", "Linux 5.8"),
        (
            Bpf::SkLookup,
            "bpf-sk-lookup",
            State::Degraded,
            "redirection of every TCP connection to the gateway",
            "boot a kernel with CONFIG_BPF_SYSCALL and CONFIG_INET, Linux 5.9",
        ),
        (
            Bpf::Tracing,
            "bpf-tp-btf",
            State::Degraded,
            "records of each exec",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
    ];
    kinds
        .into_iter()
        .map(|(kind, name, state, lost, fix)| match probe.bpf(kind) {
            Ok(true) => ok(name, "loaded"),
            Ok(false) => bad(state, name, "the kernel does not know it", lost, fix),
            Err(error) => bad(state, name, error, lost, fix),
        })
        .collect()
}

fn btf(probe: &dyn Probe) -> Vec<Check> {
    let check = if probe.has_btf() {
        ok("btf", "/sys/kernel/btf/vmlinux")
    } else {
        let fix = "boot a kernel with CONFIG_DEBUG_INFO_BTF";
        bad(State::Degraded, "btf", "no /sys/kernel/btf/vmlinux", "tracing and LSM programs", fix)
    };
    vec![check]
}

fn lsm(probe: &dyn Probe) -> Vec<Check> {
    let name = "bpf-lsm";
    let lost = "a third lock on connect and send, a second on exec, and records of files opened for writing";
    let check = match (probe.lsm_list(), probe.bpf(Bpf::Lsm)) {
        (Some(list), _) if !list.split(',').any(|lsm| lsm.trim() == "bpf") => {
            bad(State::Degraded, name, format!("lsm={list}"), lost, "add bpf to the kernel's lsm= list")
        }
        (_, Ok(false)) => bad(
            State::Degraded,
            name,
            "the kernel does not load LSM programs",
            lost,
            "boot a kernel with CONFIG_BPF_LSM and bpf in the lsm= list",
        ),
        (_, Err(error)) => {
            bad(State::Degraded, name, error, lost, "boot a kernel with CONFIG_BPF_LSM and bpf in the lsm= list")
        }
        (None, Ok(true)) => bad(
            State::Degraded,
            name,
            "programs load, but whether they are called is not known",
            lost,
            "mount -t securityfs none /sys/kernel/security",
        ),
        (Some(list), Ok(true)) => ok(name, format!("lsm={list}")),
    };
    vec![check]
}

fn lockdown(probe: &dyn Probe) -> Vec<Check> {
    let name = "lockdown";
    let check = match probe.lockdown() {
        Some(text) if text.contains("[confidentiality]") => bad(
            State::Degraded,
            name,
            text,
            "tracing programs that read kernel memory: records of each exec",
            "boot with lockdown=integrity",
        ),
        Some(text) => ok(name, text),
        None => ok(name, "not in this kernel, or securityfs is not mounted"),
    };
    vec![check]
}

fn sudo(probe: &dyn Probe) -> Vec<Check> {
    let check = match probe.sudo() {
        Some(path) => ok("sudo", path),
        None => bad(
            State::Degraded,
            "sudo",
            "not found",
            "MCP clients that do not run as root cannot start a server",
            "apt-get install sudo",
        ),
    };
    vec![check]
}

fn clock(probe: &dyn Probe) -> Vec<Check> {
    let (wall, boot_ns) = probe.clock();
    let check = if boot_ns == 0 {
        let lost = "rate limits have no clock that cannot be set back";
        bad(State::Missing, "clock", "CLOCK_BOOTTIME stands at 0", lost, "boot a kernel with CLOCK_BOOTTIME")
    } else if wall < WALL_SECONDS_MIN {
        let lost = "the times of audit records, and TLS certificates that look not yet valid";
        bad(
            State::Degraded,
            "clock",
            format!("the wall clock says {wall}"),
            lost,
            "set the clock: timedatectl set-ntp true",
        )
    } else {
        ok("clock", "wall clock plausible, CLOCK_BOOTTIME runs")
    };
    vec![check]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
