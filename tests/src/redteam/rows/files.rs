//! Files that are none of its business.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::eyes::{Judge, has_attribute, is_immutable, shown, special};
use super::super::ground::Ground;
use super::{Argument, Group, Row};

const ROOT: &str = "own root";
const UID: &str = "uid of the run";
const READ_ONLY: &str = "read-only mounts";
const LANDLOCK: &str = "Landlock";
const SECCOMP: &str = "seccomp";
const PROC: &str = "own /proc, masked";

/// Where `write-path` rows write in a bare run.
pub(super) const PLANTED: &[&str] = &[
    "/tmp/isb-redteam-planted",
    "/var/tmp/isb-redteam-planted",
    "/dev/shm/isb-redteam-planted",
    "/etc/isb-redteam-planted",
    "/usr/local/bin/isb-redteam-planted",
    "/mnt/arena/home/alice/.ssh/authorized_keys",
];

const fn row(id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Files, id, what, judge, layers)
}

const fn leak(id: &'static str, what: &'static str, secret: &'static str, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Leak(secret), layers)
}

/// A file that `read-path` is asked for.
const fn read(
    id: &'static str,
    what: &'static str,
    secret: &'static str,
    path: &'static str,
    layers: [&'static str; 2],
) -> Row {
    leak(id, what, secret, layers).by("read-path", Argument::Text(path))
}

/// A file of the kernel, opened to write and left alone.
const fn open_to_write(id: &'static str, what: &'static str, path: &'static str) -> Row {
    row(id, what, Judge::Descriptor(path), [PROC, UID]).by("open-write", Argument::Text(path))
}

const fn open_to_read(id: &'static str, what: &'static str, path: &'static str) -> Row {
    row(id, what, Judge::Descriptor(path), [PROC, UID]).by("open-read", Argument::Text(path))
}

const fn write(id: &'static str, what: &'static str, index: usize, seen: fn() -> bool) -> Row {
    row(id, what, Judge::Files(seen), [ROOT, READ_ONLY]).by("write-path", Argument::Text(PLANTED[index]))
}

const fn folder(id: &'static str, what: &'static str, seen: fn() -> bool, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Files(seen), layers)
}

fn planted(index: usize) -> bool {
    Path::new(PLANTED[index]).exists()
}

pub(super) const ROWS: &[Row] = &[
    leak("read-shadow", "/etc/shadow", "shadow", [ROOT, UID]),
    read(
        "read-root-only",
        "a root's 0600 file in a shown folder",
        "root-only",
        "/mnt/arena/shown/root-only",
        [UID, ""],
    ),
    read(
        "read-group-only",
        "the same with root's group",
        "group-only",
        "/mnt/arena/shown/group-only",
        ["no groups of the caller's", ""],
    ),
    read("read-private", "a file beside the shown folder", "private", "/mnt/arena/private/secret", [ROOT, UID]),
    read("read-dotdot", "the same through ..", "private", "/mnt/arena/shown/../private/secret", [ROOT, UID]),
    read("read-ssh-key", "another user's ssh key", "ssh", "/mnt/arena/home/alice/.ssh/id_ed25519", [ROOT, UID]),
    read("read-cloud-key", "another user's cloud key", "aws", "/mnt/arena/home/alice/.aws/credentials", [ROOT, UID]),
    read("read-host-shm", "a file in the host's /dev/shm", "shm", "/dev/shm/isb-secret-in-memory", [ROOT, UID]),
    read(
        "read-init-root",
        "the secret through /proc/1/root",
        "private",
        "/proc/1/root/mnt/arena/private/secret",
        [PROC, UID],
    )
    .by("read-proc-root", Argument::Stand),
    leak("read-stand-cwd", "through another process' working folder", "stand", [PROC, "pid namespace"])
        .by("read-proc", Argument::StandFile("cwd/secret-of-stand")),
    leak("read-stand-fd", "through another process' descriptor", "stand", [PROC, "pid namespace"])
        .by("read-proc", Argument::StandFile("fd/20")),
    leak("read-stand-environment", "another process' environment", "stand", [PROC, "pid namespace"])
        .by("read-proc", Argument::StandFile("environ")),
    leak("read-inherited", "descriptors 3 to 1023", "inherited", ["close_range", ""]),
    leak("read-environment", "the caller's environment", "environment", ["constructed environment", ""]),
    leak("read-by-handle", "a file by its handle (open_by_handle_at)", "private", [SECCOMP, "no capabilities"])
        .told(Argument::Handle)
        .unless("ESTALE", "the file system opens no handles here"),
    row("name-to-handle", "asks for a file's handle", Judge::Word, [SECCOMP, ""])
        .told(Argument::Text("/mnt/arena/shown/note")),
    row("list-private", "the names in a folder beside the shown one", Judge::Text("inherited-secret"), [ROOT, ""])
        .by("list-folder", Argument::Text("/mnt/arena/private")),
    row("list-home", "the names of users", Judge::Text("alice"), [ROOT, ""])
        .by("list-folder", Argument::Text("/mnt/arena/home")),
    folder("write-shown", "a new file in a folder that may be read", || shown("planted").is_some(), [READ_ONLY, UID]),
    folder("append-shown", "more in a file that may be read", || false, [READ_ONLY, UID]).judged(Judge::Word),
    folder(
        "truncate-shown",
        "a file that may be read, cut",
        || shown("cut").is_some_and(|m| m.size() == 0),
        [READ_ONLY, UID],
    ),
    folder("unlink-shown", "a file that may be read, removed", || shown("gone").is_none(), [READ_ONLY, UID]),
    folder("rename-shown", "a file that may be read, moved out", || shown("moved").is_none(), [READ_ONLY, UID]),
    folder(
        "chmod-shown",
        "its mode loosened",
        || shown("loosened").is_some_and(|m| m.mode() & 0o7777 == 0o666),
        [READ_ONLY, UID],
    ),
    folder("chown-shown", "its owner changed", || shown("owned").is_some_and(|m| m.uid() == 1234), [READ_ONLY, UID]),
    row("fifo-shown-write", "into a pipe of the host in it", Judge::Canary("pipe shown"), ["owner map", LANDLOCK])
        .by("write-path", Argument::Text("/mnt/arena/shown/canary.pipe")),
    folder("mkdir-shown", "a folder in it", || shown("planted-folder").is_some(), [READ_ONLY, UID]),
    write("write-host-tmp", "a file in the host's /tmp", 0, || planted(0)),
    write("write-host-var-tmp", "a file in the host's /var/tmp", 1, || planted(1)),
    write("write-host-shm", "a file in the host's /dev/shm", 2, || planted(2)),
    write("write-host-etc", "a file in the host's /etc", 3, || planted(3)),
    write("write-host-bin", "a program in the host's path", 4, || planted(4)),
    write("write-host-home", "an ssh key for another user", 5, || planted(5)),
    folder("setuid-chmod", "a setuid program by chmod", || special("setuid-chmod"), [SECCOMP, ""]),
    folder("setuid-fchmodat2", "by fchmodat2", || special("setuid-fchmodat2"), [SECCOMP, ""]),
    folder("setuid-open", "by open", || special("setuid-open"), [SECCOMP, ""]),
    folder("setuid-mknod", "by mknod", || special("setuid-mknod"), [SECCOMP, ""]),
    folder("setuid-openat2", "by openat2, whose mode no filter sees", || special("setuid-openat2"), [SECCOMP, ""]),
    folder("setgid-folder", "a folder that hands its group on", || special("setgid-folder"), [SECCOMP, ""]),
    folder("device-node", "a character device", || special("device-node"), [SECCOMP, LANDLOCK]),
    folder("block-node", "a block device", || special("block-node"), [SECCOMP, LANDLOCK]),
    folder("fifo", "a pipe in a folder of the host", || special("fifo"), [LANDLOCK, ""]),
    folder("socket-node", "a socket in a folder of the host", || special("socket-node"), [LANDLOCK, ""]),
    folder("symlink-out", "a link to a secret for the host to follow", || special("symlink-out"), [LANDLOCK, ""]),
    folder("symlink-folder", "a link to a folder", || special("symlink-folder"), [LANDLOCK, ""]),
    folder("symlink-swap", "a file that becomes a link and back", || special("swapped"), [LANDLOCK, ""]),
    folder(
        "link-out",
        "a hard link to a file that may be read",
        || shown("note").is_some_and(|m| m.nlink() > 1),
        [READ_ONLY, LANDLOCK],
    ),
    folder("give-to-root", "a file of root's", || owner("given") == Some(0), ["user namespace", "no capabilities"]),
    folder(
        "file-capability",
        "a file with a capability",
        || has_attribute("security.capability"),
        [SECCOMP, "no capabilities"],
    ),
    folder("trusted-attribute", "a trusted attribute", || has_attribute("trusted.isb"), [SECCOMP, "no capabilities"]),
    folder("user-attribute", "an attribute that outlives the run", || has_attribute("user.isb"), [SECCOMP, ""]),
    folder(
        "access-list",
        "an access list for somebody else",
        || has_attribute("system.posix_acl_access"),
        [SECCOMP, ""],
    ),
    folder("immutable-file", "a file that root cannot remove", is_immutable, [SECCOMP, "no capabilities"]),
    row("exe-of-init", "the program of PID 1", Judge::Word, [PROC, "not dumpable"])
        .unless("EACCES", "PID 1 may do more than root here"),
    row("own-program-writable", "the program that runs, to be overwritten", Judge::Word, [READ_ONLY, UID]),
    leak("host-shm", "a System V segment of the host", "stand", ["ipc namespace", SECCOMP])
        .told(Argument::StandSegment),
    row(
        "host-queue",
        "a message into a System V queue of the host",
        Judge::Stand(|stand| stand.messages() > 0),
        ["ipc namespace", SECCOMP],
    )
    .told(Argument::StandQueue),
    row(
        "write-core-pattern",
        "/proc/sys/kernel/core_pattern",
        Judge::Descriptor("/proc/sys/kernel/core_pattern"),
        [PROC, UID],
    ),
    row("write-sysrq", "/proc/sysrq-trigger", Judge::Descriptor("/proc/sysrq-trigger"), [PROC, UID])
        .unless("ENOENT", "no /proc/sysrq-trigger"),
    row("read-kcore", "/proc/kcore", Judge::Descriptor("/proc/kcore"), [PROC, UID]).unless("ENOENT", "no /proc/kcore"),
    row("kernel-addresses", "addresses in /proc/kallsyms", Judge::Word, [PROC, UID])
        .unless("ENOENT", "no /proc/kallsyms"),
    open_to_write("write-modprobe", "who loads modules", "/proc/sys/kernel/modprobe"),
    open_to_write("write-sysrq-mask", "which keys work", "/proc/sys/kernel/sysrq"),
    open_to_write("write-poweroff", "what powers off", "/proc/sys/kernel/poweroff_cmd"),
    open_to_write("write-overcommit", "how memory is promised", "/proc/sys/vm/overcommit_memory"),
    open_to_write("write-drop-caches", "drops the caches", "/proc/sys/vm/drop_caches"),
    open_to_write("write-file-max", "files of the whole machine", "/proc/sys/fs/file-max"),
    open_to_write("write-hardlinks", "protection of hard links", "/proc/sys/fs/protected_hardlinks"),
    open_to_write("write-randomize", "address randomisation", "/proc/sys/kernel/randomize_va_space"),
    open_to_write("write-ptrace-scope", "who may trace", "/proc/sys/kernel/yama/ptrace_scope"),
    open_to_write("write-dmesg-restrict", "who reads the log", "/proc/sys/kernel/dmesg_restrict"),
    open_to_write("write-forwarding", "forwarding of packets", "/proc/sys/net/ipv4/ip_forward"),
    open_to_write("write-binfmt", "interpreters by magic number", "/proc/sys/fs/binfmt_misc/register"),
    open_to_read("read-kmsg-proc", "the kernel's log", "/proc/kmsg"),
    open_to_read("read-kpagecount", "counts of every page", "/proc/kpagecount"),
    open_to_read("read-keys", "keys of everybody", "/proc/keys"),
    open_to_read("read-config", "the kernel's configuration", "/proc/config.gz"),
    open_to_read("read-timers", "timers of everybody", "/proc/timer_list"),
    open_to_write("write-uevent-helper", "who handles devices", "/sys/kernel/uevent_helper"),
    open_to_write("write-power-state", "sleep", "/sys/power/state"),
    open_to_write("write-cpu-online", "a processor off", "/sys/devices/system/cpu/cpu1/online"),
    open_to_read("read-sysfs", "kernel sections in sysfs", "/sys/kernel/notes"),
    open_to_write("write-cgroup-root", "the root cgroup", "/sys/fs/cgroup/unified/cgroup.procs"),
    open_to_write("write-cgroup-root-v2", "the root cgroup of a pure v2 machine", "/sys/fs/cgroup/cgroup.procs"),
    open_to_write(
        "write-release-agent",
        "a program that runs on the host when a cgroup empties",
        "/sys/fs/cgroup/memory/release_agent",
    ),
    open_to_read("read-tracing", "tracing", "/sys/kernel/tracing/trace"),
    open_to_read("read-debugfs", "debugging", "/sys/kernel/debug/sched/debug"),
];

fn owner(name: &str) -> Option<u32> {
    fs::symlink_metadata(Ground::image(name)).ok().map(|found| found.uid())
}
