//! Calls, devices and mounts that a server has no use for.

use super::super::eyes::Judge;
use super::{Argument, Group, Row};

const SECCOMP: &str = "seccomp";
const CAPS: &str = "no capabilities";
const DEV: &str = "own /dev";
const ARCH: &str = "seccomp: kill";

const fn row(id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Kernel, id, what, judge, layers)
}

const fn held(id: &'static str, what: &'static str, part: &'static str, layers: [&'static str; 2]) -> Row {
    row(id, what, Judge::Descriptor(part), layers)
}

const fn mounts(id: &'static str, what: &'static str) -> Row {
    row(id, what, Judge::Mounts, [SECCOMP, CAPS])
}

/// A call that leaves nothing to see: its answer tells whether it was looked at.
const fn call(id: &'static str, what: &'static str, second: &'static str) -> Row {
    row(id, what, Judge::Word, [SECCOMP, second])
}

const fn device(id: &'static str, what: &'static str, path: &'static str) -> Row {
    row(id, what, Judge::Descriptor(path), [DEV, "uid of the run"]).by("open-read", Argument::Text(path))
}

/// A door for another architecture.
const fn door(id: &'static str, what: &'static str) -> Row {
    row(id, what, Judge::Word, [ARCH, ""])
}

pub(super) const ROWS: &[Row] = &[
    held("io-uring", "calls that no filter sees", "anon_inode:[io_uring]", [SECCOMP, ""]),
    held("bpf", "a BPF map", "anon_inode:bpf-map", [SECCOMP, CAPS]),
    held("bpf-program", "a BPF program", "anon_inode:bpf-prog", [SECCOMP, CAPS]),
    held("userfaultfd", "stops the kernel in a copy", "anon_inode:[userfaultfd]", [SECCOMP, ""]),
    held("perf", "performance counters", "anon_inode:[perf_event]", [SECCOMP, ""]),
    held("fanotify", "watches of whole mounts", "anon_inode:[fanotify]", [SECCOMP, CAPS]),
    held("memfd-secret", "memory nobody can look into", "secretmem", [SECCOMP, ""]),
    held("message-queue", "a POSIX message queue", "/isb-redteam", [SECCOMP, "RLIMIT_MSGQUEUE"]),
    held("seccomp-listener", "answers calls for others", "anon_inode:seccomp notify", [SECCOMP, ""]),
    held("fsopen", "a file system by the new calls", "anon_inode:[fscontext]", [SECCOMP, CAPS]),
    held("fspick", "another mount's options", "anon_inode:[fscontext]", [SECCOMP, CAPS]),
    call("open-tree", "a copy of a mount", CAPS),
    mounts("mount", "a tmpfs"),
    mounts("mount-proc", "another /proc, unmasked"),
    mounts("mount-sysfs", "a /sys"),
    mounts("mount-cgroup2", "the cgroups"),
    mounts("mount-bpffs", "pinned BPF objects"),
    mounts("mount-devpts", "terminals"),
    mounts("mount-mqueue", "message queues"),
    mounts("mount-overlay", "an overlay over system folders"),
    mounts("mount-bind", "a folder in another place"),
    mounts("mount-fuse", "a file system of its own (FUSE)").unless_lacking(|| missing("/dev/fuse")),
    mounts("new-mount-api", "a tmpfs by fsopen, fsmount, move_mount"),
    call("remount-writable", "a mount's options", CAPS),
    call("umount", "takes a mount away", CAPS),
    call("move-mount", "moves a mount", CAPS),
    call("mount-setattr", "makes all mounts writable", CAPS),
    call("pivot-root", "another root", CAPS),
    call("mount-list", "mounts of a namespace (listmount)", ""),
    call("init-module", "a kernel module", CAPS),
    call("finit-module", "a module from a file", CAPS),
    call("delete-module", "takes a module out", CAPS),
    call("kexec-load", "another kernel", CAPS),
    call("kexec-file-load", "another kernel from a file", CAPS),
    call("reboot", "reboots", CAPS),
    call("swapon", "swap on a file of its own", CAPS),
    call("swapoff", "swap off", CAPS),
    call("acct", "process accounting to a file of its own", CAPS),
    call("kernel-log", "the kernel's log (syslog)", CAPS),
    call("quotactl", "quotas", CAPS),
    call("quotactl-fd", "quotas by descriptor", CAPS),
    call("set-clock", "the machine's clock (clock_settime)", CAPS),
    call("set-time-of-day", "the same by settimeofday", CAPS),
    call("adjust-clock", "the clock's rate (adjtimex)", CAPS),
    call("clock-adjtime", "the clock's rate (clock_adjtime)", CAPS),
    call("set-hostname", "the host's name", CAPS),
    call("set-domainname", "the NIS name", CAPS),
    call("modify-ldt", "16-bit segments", ""),
    call("iopl", "all hardware ports", CAPS),
    call("ioperm", "one hardware port", CAPS),
    call("mbind", "memory policy of a range", ""),
    call("set-mempolicy", "memory policy of a process", ""),
    call("vmsplice", "pages given to a pipe", ""),
    call("remap-file-pages", "an obsolete map", ""),
    call("set-mm", "its own memory layout in /proc (PR_SET_MM)", CAPS).needs(24, "CAP_SYS_RESOURCE"),
    call("securebits", "securebits", CAPS),
    call("bounding-set", "the bounding set", CAPS),
    call("speculation", "speculation control", ""),
    call("machine-check-policy", "who dies of a broken page", ""),
    call("terminal-input", "types into a terminal (TIOCSTI)", "no terminal"),
    call("terminal-input-64", "the same with a high bit that the kernel ignores", "no terminal"),
    call("terminal-linux", "pastes into a console (TIOCLINUX)", "no terminal"),
    call("file-system-key", "a key that its file system keeps (fscrypt)", ""),
    call("file-verity", "a file that nobody can change again (fsverity)", ""),
    call("subvolume", "a subvolume (btrfs)", ""),
    call("lease", "a lease: whoever opens the file waits (F_SETLEASE)", ""),
    call("line-discipline", "loads a line discipline", "no terminal"),
    call("terminal-console", "takes the console's output", "no terminal"),
    call("fanotify-mark", "marks a mount", CAPS),
    call("uselib", "an obsolete loader", ""),
    call("ustat", "an obsolete statfs", ""),
    call("sysfs-call", "an obsolete list of file systems", ""),
    call("add-key", "a key in a keyring", ""),
    call("request-key", "asks for a key, which runs a program on the host", ""),
    call("keyctl", "a keyring", ""),
    call("sysv-shm", "System V memory", ""),
    call("sysv-sem", "System V semaphores", ""),
    call("sysv-msg", "a System V queue", ""),
    call("old-aio", "old asynchronous I/O", ""),
    device("device-mem", "all memory", "/dev/mem"),
    device("device-kmsg", "the kernel's log", "/dev/kmsg"),
    device("device-kvm", "virtual machines", "/dev/kvm"),
    device("device-fuse", "file systems of its own", "/dev/fuse"),
    device("device-tun", "network interfaces", "/dev/net/tun"),
    device("device-loop", "files as disks", "/dev/loop-control"),
    device("device-disk", "a disk", "/dev/vda").unless("EPERM", "a device cgroup keeps root from the disk"),
    device("device-disk-sda", "a disk", "/dev/sda").unless("EPERM", "a device cgroup keeps root from the disk"),
    device("device-vsock", "the hypervisor", "/dev/vsock"),
    device("device-userfaultfd", "userfaultfd without the call", "/dev/userfaultfd"),
    device("device-console", "the console", "/dev/tty0"),
    device("device-autofs", "automatic mounts", "/dev/autofs"),
    door("int80-getpid", "the 32-bit entry"),
    door("int80-socket", "a socket by the 32-bit entry"),
    door("int80-unshare", "a namespace by the 32-bit entry"),
    door("int80-ptrace", "tracing by the 32-bit entry"),
    door("int80-keyctl", "a keyring by the 32-bit entry"),
    door("int80-personality", "personality by the 32-bit entry"),
    door("x32-getpid", "x32").unless("ENOSYS", "the kernel has no x32"),
    door("x32-socket", "a socket by x32").unless("ENOSYS", "the kernel has no x32"),
    row(
        "cgroup-make",
        "a cgroup of its own",
        Judge::Files(|| std::path::Path::new(GROUP).exists()),
        ["no cgroupfs", "cgroup namespace"],
    )
    .told(Argument::Text(GROUP)),
    row(
        "cgroup-make-v2",
        "a cgroup of its own, on a pure v2 machine",
        Judge::Files(|| std::path::Path::new(GROUP_V2).join("cgroup.procs").exists()),
        ["no cgroupfs", "cgroup namespace"],
    )
    .by("cgroup-make", Argument::Text(GROUP_V2))
    .unless_lacking(|| missing("/sys/fs/cgroup/cgroup.controllers")),
    row("cgroup-leave", "leaves its cgroup", Judge::Word, ["no cgroupfs", "uid of the run"]),
];

const GROUP: &str = "/sys/fs/cgroup/unified/isb-redteam";
const GROUP_V2: &str = "/sys/fs/cgroup/isb-redteam";

fn missing(path: &str) -> Option<String> {
    (!std::path::Path::new(path).exists()).then(|| format!("no {path}"))
}
