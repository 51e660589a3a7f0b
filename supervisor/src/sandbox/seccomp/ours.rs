//! What our own processes may ask of the kernel after they confined themselves. Everything else kills.
//!
//! A violation here is a bug or an intruder, so the process dies (and with it the session) instead of going on with an
//! error that nobody expected.

use crate::bounds::AUDIT_SESSION_BYTES_MAX;
use crate::sys::kcmp::KCMP_FILES;

use super::table::{Action, Clause, Group, HIGH_HALF, allowed, any_of, calls, is, is_own_pid, masked, ruled, when};

/// Which of our processes a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Moves and decides messages, writes the log.
    Relay,
    /// The stub resolver and the gateway.
    Egress,
    /// Connects to the hosts of the policy.
    Dialer,
    /// Connects to a shared limit store.
    Link,
    /// Cleans up after a dead monitor.
    Janitor,
    /// Counts writable folders.
    Meter,
}

impl Who {
    /// The name used in records and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Egress => "egress",
            Self::Dialer => "dialer",
            Self::Link => "link",
            Self::Janitor => "janitor",
            Self::Meter => "meter",
        }
    }

    /// The groups of its filter. No call stands in two of one process's groups (tested).
    pub(super) const fn groups(self) -> &'static [&'static [Group]] {
        match self {
            Self::Relay => &[EVERY, RUNTIME, RELAY, STORE_HERE],
            Self::Egress => &[EVERY, RUNTIME, EGRESS],
            Self::Dialer => &[EVERY, RUNTIME, DIALER],
            Self::Link => &[EVERY, RUNTIME, LINK],
            Self::Janitor => &[EVERY, JANITOR, JANITOR_HERE],
            Self::Meter => &[EVERY, METER],
        }
    }
}

const TYPE: u32 = !((libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32);
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DGRAM: u32 = libc::SOCK_DGRAM as u32;
/// Where the relay may allocate blocks of its log from: all ones, and not less than the log may hold.
const ALLOCATED_FROM_MAX: u32 = (AUDIT_SESSION_BYTES_MAX as u32).next_power_of_two() * 2 - 1;
/// How many of them at once: all ones, and far more than one append of records, its reserve and a chunk.
const ALLOCATED_BYTES_MAX: u32 = (1 << 28) - 1;
const BAD_SEND: u32 = (libc::MSG_FASTOPEN | libc::MSG_OOB) as u32;

/// What happens to a call that one of our own processes must not make.
///
/// Development builds raise `SIGSYS`, whose handler ([`crate::sys::sigsys`]) names the call on stderr and then dies of
/// the same signal; a release kills without a word.
pub(super) const VIOLATION: Action = if cfg!(debug_assertions) { Action::Trap } else { Action::Kill };

/// Executable memory is for nobody of ours: what an intruder writes stays data.
const NO_EXEC_MAP: &[Clause] = &[when(&[any_of(2, libc::PROT_EXEC as u32)], VIOLATION)];

const EVERY: &[Group] = &[
    allowed(
        calls![
            SYS_read,
            SYS_write,
            SYS_readv,
            SYS_writev,
            SYS_close,
            SYS_ppoll,
            SYS_fstat,
            SYS_newfstatat,
            SYS_statx,
            SYS_lseek,
            SYS_getpid,
            SYS_gettid,
        ],
        "descriptors that it holds",
    ),
    allowed(
        calls![
            SYS_munmap,
            SYS_mremap,
            SYS_madvise,
            SYS_brk,
            SYS_futex,
            SYS_sigaltstack,
            SYS_rt_sigreturn,
            SYS_rt_sigprocmask,
            SYS_rt_sigaction,
            SYS_restart_syscall,
            SYS_sched_yield,
            SYS_getrandom,
            SYS_clock_gettime,
            SYS_clock_nanosleep,
            SYS_exit,
            SYS_exit_group,
        ],
        "memory, signals, time and its own end: what every Rust program does",
    ),
    // An abort is tgkill to oneself; a panic must end with the right signal. Relays of other sessions have the same uid:
    // the uid alone would let one end another.
    ruled(
        calls![SYS_tgkill],
        &[when(&[is_own_pid(0), is(2, libc::SIGABRT as u32)], Action::Allow)],
        VIOLATION,
        "abort(3) of itself and nothing else",
    ),
    ruled(calls![SYS_mmap, SYS_mprotect], NO_EXEC_MAP, Action::Allow, "memory that is never code"),
];

/// The event loop and the allocator of relay, egress, dialer and link.
const RUNTIME: &[Group] = &[
    #[cfg(target_arch = "x86_64")]
    allowed(calls![SYS_poll, SYS_epoll_wait], "waiting, as libc words it on this architecture"),
    allowed(
        calls![
            SYS_epoll_create1,
            SYS_epoll_ctl,
            SYS_epoll_pwait,
            SYS_eventfd2,
            SYS_timerfd_create,
            SYS_timerfd_settime,
            SYS_timerfd_gettime,
            SYS_sched_getaffinity,
            SYS_getuid,
            SYS_geteuid,
            SYS_getgid,
            SYS_getegid,
        ],
        "the event loop",
    ),
    ruled(
        calls![SYS_ioctl],
        &[when(&[is(1, libc::FIONBIO as u32)], Action::Allow), when(&[is(1, libc::FIONREAD as u32)], Action::Allow)],
        VIOLATION,
        "FIONBIO sets a descriptor non-blocking, FIONREAD asks how much waits",
    ),
    ruled(
        calls![SYS_sendto],
        &[when(&[any_of(3, BAD_SEND)], VIOLATION)],
        Action::Allow,
        "held sockets, without the flags that pass the hooks",
    ),
    ruled(
        calls![SYS_sendmsg],
        &[when(&[any_of(2, BAD_SEND)], VIOLATION)],
        Action::Allow,
        "held sockets, without the flags that pass the hooks",
    ),
    allowed(calls![SYS_recvfrom, SYS_recvmsg, SYS_shutdown, SYS_getsockopt], "held sockets"),
];

const SETS_OWNER: Clause = when(&[is(1, libc::F_SETOWN as u32)], VIOLATION);
const SETS_OWNER_EX: Clause = when(&[is(1, 15)], VIOLATION); // F_SETOWN_EX

/// fcntl(2) of egress, dialer and link.
const HELD_FLAGS: Group = ruled(
    calls![SYS_fcntl],
    &[SETS_OWNER, SETS_OWNER_EX],
    Action::Allow,
    "flags of held descriptors; not signals to a process of its choosing",
);

const UNIX_STREAM: Clause = when(&[is(0, libc::AF_UNIX as u32), masked(1, TYPE, STREAM)], Action::Allow);
const INET_STREAM: Clause = when(&[is(0, libc::AF_INET as u32), masked(1, TYPE, STREAM)], Action::Allow);
const INET_DGRAM: Clause = when(&[is(0, libc::AF_INET as u32), masked(1, TYPE, DGRAM)], Action::Allow);
const INET6_STREAM: Clause = when(&[is(0, libc::AF_INET6 as u32), masked(1, TYPE, STREAM)], Action::Allow);
const INET6_DGRAM: Clause = when(&[is(0, libc::AF_INET6 as u32), masked(1, TYPE, DGRAM)], Action::Allow);

/// What dialer and link do with the sockets that each may make.
const DIALS: Group = allowed(
    calls![SYS_connect, SYS_bind, SYS_setsockopt, SYS_getsockname, SYS_getpeername],
    "the connections that it is there for",
);

/// fcntl(2) of those that list folders.
const LISTS_FOLDERS: Group = ruled(
    calls![SYS_fcntl],
    &[
        when(&[is(1, libc::F_GETFL as u32)], Action::Allow),
        when(&[is(1, libc::F_GETFD as u32)], Action::Allow),
        when(&[is(1, libc::F_SETFD as u32)], Action::Allow),
    ],
    VIOLATION,
    "fdopendir(3) reads flags and sets close-on-exec",
);

const RELAY: &[Group] = &[
    // F_SETFL takes O_APPEND off, and with it the one thing that keeps a written record of the segment from being
    // overwritten. What must not block is made so before the filter.
    ruled(
        calls![SYS_fcntl],
        &[when(&[is(1, libc::F_SETFL as u32)], VIOLATION), SETS_OWNER, SETS_OWNER_EX],
        Action::Allow,
        "locks of held descriptors; not their flags, not signals to a process of its choosing",
    ),
    // The flags of `relay::sealed`, with MFD_NOEXEC_SEAL (0x8) where the kernel has it. What is in it is never code: NO_EXEC_MAP,
    // and no call here executes.
    ruled(
        calls![SYS_memfd_create],
        &[
            when(&[is(1, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)], Action::Allow),
            when(&[is(1, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | 0x8)], Action::Allow),
        ],
        VIOLATION,
        "pins for the monitor, which keeps them",
    ),
    // Close-on-exec and nothing else, as std's accept does; non-blocking by FIONBIO.
    ruled(
        calls![SYS_accept4],
        &[when(&[is(3, libc::SOCK_CLOEXEC as u32)], Action::Allow)],
        VIOLATION,
        "root's commands on the control socket, the one listener that it holds",
    ),
    allowed(calls![SYS_fdatasync, SYS_fsync, SYS_ftruncate], "the audit segment, on disk before effect"),
    // RLIMIT_FSIZE does not hold what is allocated beyond the end of a file.
    ruled(
        calls![SYS_fallocate],
        &[when(
            &[
                is(1, libc::FALLOC_FL_KEEP_SIZE as u32),
                is(2 + HIGH_HALF, 0),
                masked(2, !ALLOCATED_FROM_MAX, 0),
                is(3 + HIGH_HALF, 0),
                masked(3, !ALLOCATED_BYTES_MAX, 0),
            ],
            Action::Allow,
        )],
        VIOLATION,
        "the audit segment's blocks ahead of its end, as far as a session's log may grow",
    ),
    allowed(
        calls![
            SYS_openat,
            SYS_unlinkat,
            SYS_faccessat,
            SYS_faccessat2,
            SYS_readlinkat,
            SYS_getcwd,
            SYS_pread64,
            SYS_pwrite64,
            SYS_fchmod,
            SYS_fchown,
            SYS_statfs,
            SYS_fstatfs,
            SYS_utimensat,
        ],
        "SQLite in the limits directory; Landlock says which directory",
    ),
];

#[cfg(target_arch = "x86_64")]
const STORE_HERE: &[Group] = &[allowed(
    calls![SYS_open, SYS_unlink, SYS_access, SYS_stat, SYS_lstat, SYS_readlink],
    "SQLite in the limits directory, as libc words it on this architecture",
)];
#[cfg(not(target_arch = "x86_64"))]
const STORE_HERE: &[Group] = &[];

const EGRESS: &[Group] = &[
    HELD_FLAGS,
    // No socket, no connect, no bind: the connections are the dialer's, handed over. Nor an option that sends what goes through
    // one to another place (IP_OPTIONS with a source route, SO_BINDTODEVICE).
    ruled(
        calls![SYS_setsockopt],
        &[
            when(&[is(1, libc::IPPROTO_TCP as u32), is(2, libc::TCP_NODELAY as u32)], Action::Allow),
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_LINGER as u32)], Action::Allow),
        ],
        VIOLATION,
        "small requests wait for nobody; a reset instead of an end",
    ),
    allowed(calls![SYS_accept4, SYS_getsockname, SYS_getpeername, SYS_splice], "the gateway's connections"),
    ruled(
        calls![SYS_bpf],
        &[
            when(&[is(0, 1)], Action::Allow), // BPF_MAP_LOOKUP_ELEM
            when(&[is(0, 2)], Action::Allow), // BPF_MAP_UPDATE_ELEM
            when(&[is(0, 3)], Action::Allow), // BPF_MAP_DELETE_ELEM
        ],
        VIOLATION,
        "elements of the maps that it holds; no program, no link, no new map",
    ),
];

const DIALER: &[Group] = &[
    HELD_FLAGS,
    ruled(
        calls![SYS_socket],
        &[INET_STREAM, INET_DGRAM, INET6_STREAM, INET6_DGRAM],
        VIOLATION,
        "dialling the allowed hosts and asking the host's resolvers",
    ),
    DIALS,
];

const LINK: &[Group] = &[
    HELD_FLAGS,
    ruled(
        calls![SYS_socket],
        &[UNIX_STREAM, INET_STREAM, INET_DGRAM, INET6_STREAM, INET6_DGRAM],
        VIOLATION,
        "dialling the limit store and asking the host's resolvers for it",
    ),
    DIALS,
];

const JANITOR: &[Group] = &[
    allowed(
        calls![SYS_openat, SYS_unlinkat, SYS_getdents64, SYS_kill, SYS_flock],
        "finding the dead run's directories, killing what is in its cgroup, removing them",
    ),
    #[cfg(target_arch = "x86_64")]
    allowed(calls![SYS_poll], "waiting, as libc words it on this architecture"),
    LISTS_FOLDERS,
];

/// Bits of open(2) that write or make a file, and the one that asks for a folder. `__O_TMPFILE` is the bit of `O_TMPFILE`
/// without `O_DIRECTORY`.
const OPENS: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | 0o20_000_000 | libc::O_DIRECTORY) as u32;

const METER: &[Group] = &[
    ruled(
        calls![SYS_openat],
        &[when(&[masked(2, OPENS, libc::O_DIRECTORY as u32)], Action::Allow)],
        VIOLATION,
        "folders, to be listed: it sees every name and no content",
    ),
    allowed(calls![SYS_getdents64], "listing them"),
    ruled(
        calls![SYS_kcmp],
        &[when(&[is(2, KCMP_FILES)], Action::Allow)],
        VIOLATION,
        "which threads share their descriptors, so that they are looked at once",
    ),
    LISTS_FOLDERS,
];

#[cfg(target_arch = "x86_64")]
const JANITOR_HERE: &[Group] =
    &[allowed(calls![SYS_open, SYS_rmdir, SYS_unlink, SYS_stat], "the same, as libc words it on this architecture")];
#[cfg(not(target_arch = "x86_64"))]
const JANITOR_HERE: &[Group] = &[];

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::super::tests::ours_says;
    use super::*;

    #[test]
    fn egress_sets_no_option_that_leads_a_connection_elsewhere() {
        let option = |level: i32, name: i32| {
            let [level, name] = [level, name].map(|number| u64::from(number.unsigned_abs()));
            ours_says(Filter::egress, 1, libc::SYS_setsockopt, [3, level, name, 0, 0, 0])
        };
        for (level, name) in [(libc::IPPROTO_TCP, libc::TCP_NODELAY), (libc::SOL_SOCKET, libc::SO_LINGER)] {
            assert_eq!(option(level, name), Action::Allow.value(), "{level} {name}");
        }
        for (level, name) in [
            (libc::IPPROTO_IP, libc::IP_OPTIONS),
            (libc::IPPROTO_IP, libc::TCP_NODELAY),
            (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
            (libc::IPPROTO_TCP, libc::TCP_REPAIR),
        ] {
            assert_eq!(option(level, name), VIOLATION.value(), "{level} {name}");
        }
    }
}
