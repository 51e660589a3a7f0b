//! Rules that stay though none of the traced programs needed them, on the machine that the list was last looked through on.
//!
//! Where a program has another way when the call answers `ENOSYS`, that is no reason to stay.

/// Labels of rules, and who needs them.
pub(super) const KEPT: &[(&[&str], &str)] = &[
    (
        &["clock_getres", "clock_gettime", "getcpu", "gettimeofday", "time"],
        "asked of the kernel where the vDSO cannot answer: no stable clock in a virtual machine",
    ),
    (
        &["accept", "fork", "lstat", "mknod", "open", "pipe", "readv", "select", "stat", "tkill"],
        "what musl calls on this architecture: programs of Alpine, static programs of Rust",
    ),
    (
        &["chown", "lchown", "renameat", "truncate"],
        "by path or by folder, of Python's os and tar: no other call does it",
    ),
    (&["dup3", "faccessat", "sched_yield", "tgkill", "waitid"], "Go's runtime and os/exec, where they come to it"),
    (
        &["pidfd_open", "pidfd_send_signal"],
        "Go 1.23 and Python 3.12 start and wait for children by them; without, they race with reused pids",
    ),
    (
        &["alarm", "getitimer", "pause", "rt_sigpending", "rt_sigtimedwait", "setitimer"],
        "timeouts of perl and Python, profilers, tini and dumb-init: POSIX functions with one call behind them",
    ),
    (
        &["timer_delete", "timer_getoverrun", "timer_gettime"],
        "the rest of POSIX timers, of which timeout(1) makes one: a program that has a timer can ask for it",
    ),
    (
        &["signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime"],
        "event loops of C and C++ servers (libevent, asio, sd-event), and s6",
    ),
    (&["pselect6", "ppoll"], "select(3) of glibc, and waiting with a signal mask"),
    (&["preadv", "pwritev"], "Node's fs.readv and fs.writev at a position, Python's os.preadv"),
    (&["sendfile", "splice"], "copies of Python's shutil and Go's io"),
    (&["fallocate"], "posix_fallocate(3) of databases; the fall-back writes every block"),
    (
        &["fgetxattr", "flistxattr", "listxattr", "llistxattr"],
        "Python's shutil.copy2 and rsync ask before they copy; the setters are refused",
    ),
    (&["fchmodat2"], "fchmodat(3) with flags, glibc 2.39 and newer"),
    (&["execveat"], "fexecve(3), which goes by /proc otherwise; execve(2) reaches all that it does"),
    (&["memfd_create"], "JIT compilers that map code twice (.NET, LuaJIT); refused under `process.exec`"),
    (&["membarrier"], ".NET's garbage collector and liburcu"),
    (&["mlock", "munlock"], "libsodium and OpenSSL keep keys out of the swap; RLIMIT_MEMLOCK says how much"),
    (&["msync"], "LMDB and mmap.flush of Python"),
    (
        &[
            "sched_get_priority_max",
            "sched_get_priority_min",
            "sched_getparam",
            "sched_getscheduler",
            "sched_setaffinity",
        ],
        "pthread_getschedparam(3) of the JVM and .NET; OpenMP and NumPy pin their threads",
    ),
    (&["getrusage"], "process.cpuUsage of Node, resource of Python"),
    (&["getpeername"], "remoteAddress of Node's sockets, and of every server's log"),
    (&["getpgid", "getsid"], "shells with job control"),
    (
        &["getresgid", "getresuid", "setgid", "setresgid", "setresuid", "setuid"],
        "children with a uid said (libuv, Python's subprocess, setpriv): it can only be the one that is mapped",
    ),
    (&["restart_syscall"], "the kernel's own way to go on with a sleep that a signal stopped"),
    (&["sendmmsg"], "glibc's resolver asks for both kinds of address at once"),
    (
        &["seccomp", "prctl(22)", "prctl(38)", "prctl(21)", "prctl(39)"],
        "sandboxes of a server's own, which only tighten",
    ),
    (&["prctl(1)"], "PR_SET_PDEATHSIG: children that die with their parent (Go's Pdeathsig)"),
    (&["prctl(3)", "prctl(4)"], "PR_SET_DUMPABLE: agents that hold keys"),
    (&["prctl(16)"], "PR_GET_NAME of the JVM and of profilers"),
    (&["prctl(36)"], "PR_SET_CHILD_SUBREAPER: tini and dumb-init below another process"),
    (&["prctl(41)"], "PR_SET_THP_DISABLE: Redis and other servers of a server"),
    (&["prctl(1398164801)"], "PR_SET_VMA: glibc 2.39's and V8's names for their memory"),
    (
        &["personality(0)", "personality(4294967295)"],
        "setarch(8), and SBCL before it starts itself again: asking, and the plain one",
    ),
    (&["ioctl(2148034049)"], "FS_IOC_GETFLAGS: libarchive's tar, and lsattr(1)"),
    (&["socket(1, 2, 0)"], "syslog(3)"),
    (
        &["socket(10, 1, 0)", "socket(10, 1, 6)", "socket(10, 2, 0)", "socket(10, 2, 17)", "socket(2, 2, 17)"],
        "IPv6, and the protocol that getaddrinfo(3) names: programs try what they are given",
    ),
];
