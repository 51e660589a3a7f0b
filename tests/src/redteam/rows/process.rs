//! Other processes, namespaces, ids and what a process may do to itself.

use super::super::eyes::{Judge, core_limit_is_hard, file_of, has_id, kilobytes, limit, nonzero, number};
use super::{Argument, Group, Row};

const PID: &str = "pid namespace";
const UID: &str = "uid of the run";
const SECCOMP: &str = "seccomp";
const CAPS: &str = "no capabilities";
const USER: &str = "user namespace";

const fn row(id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Process, id, what, judge, layers)
}

/// An attack on the stand, seen on the stand.
const fn stand(
    id: &'static str,
    what: &'static str,
    seen: fn(&super::super::stand::Stand) -> bool,
    layers: [&'static str; 2],
) -> Row {
    row(id, what, Judge::Stand(seen), layers).told(Argument::Stand)
}

/// A change of the probe's own process, seen in /proc.
const fn own(
    id: &'static str,
    what: &'static str,
    seen: fn(&crate::processes::Process, &crate::processes::Process) -> bool,
    layers: [&'static str; 2],
) -> Row {
    row(id, what, Judge::Process(seen), layers)
}

/// A process in another namespace than the server's, `kind` in /proc/PID/ns.
const fn namespace(id: &'static str, what: &'static str, kind: &'static str, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Namespace(kind), layers)
}

/// A child in a namespace of its own: by clone, or by clone3 where the row's name says so.
const fn clone(id: &'static str, what: &'static str, kind: &'static str, second: &'static str) -> Row {
    // The sixth byte of the name tells the two calls apart: a constant function compares no strings.
    let probe = if id.as_bytes()[5] == b'3' { "clone3-namespace" } else { "clone-namespace" };
    namespace(id, what, kind, [SECCOMP, second]).by(probe, Argument::Text(kind))
}

pub(super) const ROWS: &[Row] = &[
    stand("kill", "SIGKILL to a process outside", |stand| !stand.is_alive(), [PID, UID]),
    stand("stop", "SIGSTOP to a process outside", |stand| stand.status("State").starts_with('T'), [PID, UID]),
    stand("tgkill", "by thread group", |stand| !stand.is_alive(), [PID, UID]),
    stand("tkill", "by thread", |stand| !stand.is_alive(), [PID, UID]),
    stand("sigqueue", "by rt_sigqueueinfo", |stand| !stand.is_alive(), [SECCOMP, PID]),
    stand("pidfd-signal", "by pidfd", |stand| !stand.is_alive(), [PID, UID]),
    stand("owner-signal", "as the owner of a socket's signals", |stand| !stand.is_alive(), [PID, UID]),
    row("pidfd-open", "a descriptor of a process outside", Judge::Descriptor("anon_inode:[pidfd]"), [PID, ""])
        .told(Argument::Stand),
    stand("ptrace", "traces a process outside", |stand| stand.status("TracerPid") != "0", [PID, SECCOMP]),
    row("ptrace-parent", "traces its parent", Judge::Word, [SECCOMP, ""]),
    row("ptrace-init", "traces PID 1 of its pid namespace, by number", Judge::Word, [SECCOMP, "not dumpable"]),
    row("vm-read", "another process' memory (process_vm_readv)", Judge::Leak("stand"), [PID, SECCOMP])
        .told(Argument::StandMemory),
    row(
        "vm-write",
        "writes it (process_vm_writev)",
        Judge::Stand(|stand| stand.memory() == "written!"),
        [PID, SECCOMP],
    )
    .told(Argument::StandMemory),
    row("read-memory", "through /proc/PID/mem", Judge::Leak("stand"), [PID, "own /proc"]).told(Argument::StandMemory),
    row("pidfd-getfd", "a descriptor of another process", Judge::Leak("stand"), [PID, SECCOMP]).told(Argument::Stand),
    row("process-madvise", "another process' memory, given away", Judge::Word, [SECCOMP, PID]).told(Argument::Stand),
    row("kcmp", "compares kernel objects", Judge::Word, [SECCOMP, PID]).told(Argument::Stand),
    row("move-pages", "moves another process' pages", Judge::Word, [SECCOMP, PID]).told(Argument::Stand),
    row("migrate-pages", "moves them all", Judge::Word, [SECCOMP, PID]).told(Argument::Stand),
    stand(
        "prlimit-other",
        "another process' limits",
        |stand| stand.file("limits").lines().any(|line| line.starts_with("Max open files") && line.contains(" 77 ")),
        [PID, UID],
    ),
    stand("renice-other", "another process' priority", |stand| stand.stat(19) == "7", [PID, UID]),
    stand(
        "affinity-other",
        "another process' processors",
        |stand| stand.status("Cpus_allowed_list") == "0",
        [PID, UID],
    ),
    stand(
        "write-oom-score",
        "whom the kernel kills first",
        |stand| stand.file("oom_score_adj").trim() == "500",
        [PID, UID],
    ),
    own(
        "protect-from-oom",
        "itself, never to be killed",
        |process, _| file_of(process, "oom_score_adj").trim() == "-1000",
        [CAPS, "user namespace"],
    )
    .needs(24, "CAP_SYS_RESOURCE"),
    namespace("user-namespace", "a user namespace (unshare)", "user", [SECCOMP, ""]),
    clone("clone-user-namespace", "by clone", "user", ""),
    clone("clone-mnt-namespace", "a mount namespace by clone", "mnt", CAPS),
    clone("clone-net-namespace", "a network namespace by clone", "net", CAPS),
    clone("clone-pid-namespace", "a pid namespace by clone", "pid", CAPS),
    clone("clone-ipc-namespace", "an ipc namespace by clone", "ipc", CAPS),
    clone("clone-uts-namespace", "a host name by clone", "uts", CAPS),
    clone("clone-cgroup-namespace", "a cgroup namespace by clone", "cgroup", CAPS),
    clone("clone3-user-namespace", "by clone3, whose flags no filter sees", "user", ""),
    clone("clone3-mnt-namespace", "a mount namespace by clone3", "mnt", CAPS),
    clone("clone3-net-namespace", "a network namespace by clone3", "net", CAPS),
    clone("clone3-pid-namespace", "a pid namespace by clone3", "pid", CAPS),
    clone("clone3-ipc-namespace", "an ipc namespace by clone3", "ipc", CAPS),
    clone("clone3-uts-namespace", "a host name by clone3", "uts", CAPS),
    clone("clone3-cgroup-namespace", "a cgroup namespace by clone3", "cgroup", CAPS),
    clone("clone3-time-namespace", "a time namespace by clone3", "time", CAPS),
    namespace("unshare-mnt", "a mount namespace", "mnt", [SECCOMP, CAPS]),
    namespace("unshare-net", "a network namespace", "net", [SECCOMP, CAPS]),
    namespace("unshare-pid", "a pid namespace for its children", "pid", [SECCOMP, CAPS]),
    namespace("unshare-ipc", "an ipc namespace", "ipc", [SECCOMP, CAPS]),
    namespace("unshare-uts", "a host name of its own", "uts", [SECCOMP, CAPS]),
    namespace("unshare-cgroup", "a cgroup namespace", "cgroup", [SECCOMP, CAPS]),
    namespace("unshare-time", "a time namespace", "time_for_children", [SECCOMP, CAPS]),
    namespace("unshare-all-as-user", "user, mount and network at once", "user", [SECCOMP, ""]),
    namespace("setns-net", "the network namespace of another process", "net", [SECCOMP, PID]).told(Argument::Stand),
    namespace("setns-uts", "another process' host name", "uts", [SECCOMP, PID]).told(Argument::Stand),
    namespace("setns-pidfd", "by pidfd", "net", [SECCOMP, PID]).told(Argument::Stand),
    own("chroot", "another root", |p, server| root(p) != root(server), [SECCOMP, CAPS]),
    own("become-root", "uid 0 (setuid)", |p, _| has_id(p, "Uid", "0"), [USER, CAPS]),
    own("become-root-saved", "uid 0 (setresuid)", |p, _| has_id(p, "Uid", "0"), [USER, CAPS]),
    own("become-other", "another user", |p, _| has_id(p, "Uid", "1234"), [USER, CAPS]),
    own("become-root-group", "gid 0", |p, _| has_id(p, "Gid", "0"), [USER, CAPS]),
    own("join-groups", "groups root and sudo", |p, _| has_id(p, "Groups", "27"), [SECCOMP, "setgroups denied"]),
    own("file-system-root", "root for files alone (setfsuid)", |p, _| has_id(p, "Uid", "0"), [SECCOMP, USER]),
    own("effective-capabilities", "capabilities it has", |p, _| nonzero(p, "CapEff"), [CAPS, USER])
        .by("rest", Argument::None),
    own("permitted-capabilities", "capabilities it may take", |p, _| nonzero(p, "CapPrm"), [CAPS, USER])
        .by("rest", Argument::None),
    own(
        "bounding-capabilities",
        "capabilities a program could give it",
        |p, _| nonzero(p, "CapBnd"),
        [CAPS, "no_new_privs"],
    )
    .by("rest", Argument::None),
    own("raise-inheritable", "an inheritable capability", |p, _| nonzero(p, "CapInh"), [SECCOMP, CAPS]),
    own("raise-ambient", "an ambient capability", |p, _| nonzero(p, "CapAmb"), [SECCOMP, CAPS]),
    own(
        "new-privileges",
        "privileges by exec",
        |p, _| p.status("NoNewPrivs").as_deref() == Some("0"),
        ["no_new_privs", ""],
    )
    .by("rest", Argument::None),
    own(
        "without-filter",
        "runs without a filter of calls",
        |p, _| p.status("Seccomp").as_deref() == Some("0"),
        [SECCOMP, ""],
    )
    .by("rest", Argument::None),
    own(
        "host-uid",
        "runs with a uid that files of the host have",
        |p, _| {
            p.status("Uid")
                .and_then(|ids| ids.split_whitespace().next()?.parse::<u32>().ok())
                .is_none_or(|uid| uid < 0x7000_0000)
        },
        [UID, ""],
    )
    .by("rest", Argument::None),
    own("realtime", "a real-time class", |p, _| number(p.pid, 41) == 1, [SECCOMP, CAPS])
        .unless("EPERM", "no real-time share in this cgroup"),
    own("deadline", "a deadline class", |p, _| number(p.pid, 41) == 6, [SECCOMP, CAPS])
        .unless("EPERM", "deadlines are not to be had in this cpuset"),
    own("nice-up", "a priority above others", |p, _| number(p.pid, 19) < 0, ["RLIMIT_NICE", CAPS]),
    row("io-realtime", "a real-time class of the disk", Judge::Word, [SECCOMP, CAPS]),
    own("lock-all-memory", "all memory locked", |p, _| kilobytes(p, "VmLck") > 0, [SECCOMP, "RLIMIT_MEMLOCK"]),
    own("lock-much-memory", "64 MiB locked", |p, _| kilobytes(p, "VmLck") >= 64 << 10, ["RLIMIT_MEMLOCK", ""]),
    own(
        "no-randomisation",
        "address randomisation off (personality)",
        |p, _| personality(p) & 0x0004_0000 != 0,
        [SECCOMP, ""],
    ),
    own("exec-implied", "readable memory executable", |p, _| personality(p) & 0x0040_0000 != 0, [SECCOMP, ""]),
    own(
        "raise-limits",
        "more open files than given",
        |p, _| limit(p, "Max open files") > 256,
        ["hard RLIMIT_NOFILE", CAPS],
    ),
    own("raise-core-limit", "core files", |p, _| limit(p, "Max core file size") > 0, ["hard RLIMIT_CORE", CAPS])
        .unless_lacking(core_limit_is_hard),
];

fn root(process: &crate::processes::Process) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{}/root", process.pid)).ok()
}

fn personality(process: &crate::processes::Process) -> u64 {
    u64::from_str_radix(file_of(process, "personality").trim(), 16).unwrap_or(0)
}
