//! The server's calls whose arguments decide.

use super::table::{Action, Call, EPERM, Group, any_of, calls, is, masked, ruled, when};

/// Set-user-id and set-group-id.
const SETID: u32 = 0o6000;
/// Flags of open(2) that make it read its mode. `__O_TMPFILE` is the bit of `O_TMPFILE` without `O_DIRECTORY`.
const CREATES: u32 = (libc::O_CREAT | 0o20_000_000) as u32;
/// `SOCK_CLOEXEC | SOCK_NONBLOCK` taken out of a socket type.
const TYPE: u32 = !((libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32);
const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DGRAM: u32 = libc::SOCK_DGRAM as u32;
const RAW: u32 = libc::SOCK_RAW as u32;
const TCP: u32 = libc::IPPROTO_TCP as u32;
const UDP: u32 = libc::IPPROTO_UDP as u32;
/// `MSG_FASTOPEN | MSG_OOB`.
const BAD_SEND: u32 = (libc::MSG_FASTOPEN | libc::MSG_OOB) as u32;
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// The byte of a request of ioctl(2) that says whose it is (`_IOC_TYPE`).
const REQUEST_TYPE: u32 = 0xff00;

const SETID_REASON: &str = "a set-id file made in an idmapped folder is a set-id file on the host";

pub(super) const RULED: &[Group] = &[
    ruled(
        calls![SYS_clone],
        &[when(&[any_of(0, NAMESPACES)], Action::Tell)],
        Action::Allow,
        "a new user namespace gives every capability inside it, and with them most of the kernel's attack surface",
    ),
    ruled(
        calls![SYS_socket],
        &[
            when(&[is(0, UNIX), masked(1, TYPE, STREAM), is(2, 0)], Action::Allow),
            when(&[is(0, UNIX), masked(1, TYPE, DGRAM), is(2, 0)], Action::Allow),
            when(&[is(0, INET), masked(1, TYPE, STREAM), is(2, 0)], Action::Allow),
            when(&[is(0, INET), masked(1, TYPE, STREAM), is(2, TCP)], Action::Allow),
            when(&[is(0, INET), masked(1, TYPE, DGRAM), is(2, 0)], Action::Allow),
            when(&[is(0, INET), masked(1, TYPE, DGRAM), is(2, UDP)], Action::Allow),
            when(&[is(0, INET6), masked(1, TYPE, STREAM), is(2, 0)], Action::Allow),
            when(&[is(0, INET6), masked(1, TYPE, STREAM), is(2, TCP)], Action::Allow),
            when(&[is(0, INET6), masked(1, TYPE, DGRAM), is(2, 0)], Action::Allow),
            when(&[is(0, INET6), masked(1, TYPE, DGRAM), is(2, UDP)], Action::Allow),
            // NETLINK_ROUTE is 0. glibc's getifaddrs opens it, and Node stops without it.
            when(&[is(0, NETLINK), masked(1, TYPE, RAW), is(2, 0)], Action::Allow),
            // The others are tried by honest programs: Go asks for MPTCP, ping for raw sockets.
            when(&[is(0, libc::AF_PACKET as u32)], Action::Tell),
            when(&[is(0, libc::AF_ALG as u32)], Action::Tell),
            when(&[is(0, libc::AF_VSOCK as u32)], Action::Tell),
        ],
        EPERM,
        "vsock is in no namespace, packet and raw pass the hooks, MPTCP and SCTP pass Landlock, AF_ALG and the rest are \
         attack surface",
    ),
    ruled(
        calls![SYS_socketpair],
        &[when(&[is(0, UNIX), masked(1, TYPE, STREAM), is(2, 0)], Action::Allow)],
        EPERM,
        "pairs of Unix sockets for children",
    ),
    ruled(
        calls![SYS_sendto, SYS_sendmmsg],
        &[when(&[any_of(3, BAD_SEND)], Action::Tell)],
        Action::Allow,
        "MSG_FASTOPEN connects without the connect hook; MSG_OOB on Unix sockets has a record of kernel bugs",
    ),
    ruled(
        calls![SYS_sendmsg],
        &[when(&[any_of(2, BAD_SEND)], Action::Tell)],
        Action::Allow,
        "MSG_FASTOPEN connects without the connect hook; MSG_OOB on Unix sockets has a record of kernel bugs",
    ),
    ruled(
        calls![SYS_setsockopt],
        &[
            when(&[is(1, TCP), is(2, libc::TCP_FASTOPEN as u32)], EPERM),
            when(&[is(1, TCP), is(2, libc::TCP_FASTOPEN_CONNECT as u32)], EPERM),
            when(&[is(1, TCP), is(2, 33)], EPERM), // TCP_FASTOPEN_KEY
            when(&[is(1, TCP), is(2, 34)], EPERM), // TCP_FASTOPEN_NO_COOKIE
            when(&[is(1, TCP), is(2, libc::TCP_ULP as u32)], EPERM),
            when(&[is(1, TCP), is(2, libc::TCP_REPAIR as u32)], EPERM),
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_ATTACH_FILTER as u32)], EPERM),
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, 50)], EPERM), // SO_ATTACH_BPF
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, 51)], EPERM), // SO_ATTACH_REUSEPORT_CBPF
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, 52)], EPERM), // SO_ATTACH_REUSEPORT_EBPF
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_MARK as u32)], EPERM),
            when(&[is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_BINDTODEVICE as u32)], EPERM),
            // IPT_BASE_CTL and IP6T_BASE_CTL: netfilter tables of the namespace.
            when(&[is(1, 0), masked(2, !0x3f, 64)], EPERM),
            when(&[is(1, libc::IPPROTO_IPV6 as u32), is(2, 64)], EPERM),
            when(&[is(1, libc::IPPROTO_IPV6 as u32), is(2, 65)], EPERM),
        ],
        Action::Allow,
        "fast open moves data before the hooks see a connection; upper layer protocols, repair, filters, marks and \
         netfilter tables are for whoever runs the network",
    ),
    ruled(
        calls![SYS_ioctl],
        &[
            when(&[is(1, libc::TIOCSTI as u32)], Action::Tell),
            when(&[is(1, 0x541C)], Action::Tell), // TIOCLINUX
            when(&[is(1, libc::TIOCCONS as u32)], Action::Tell),
            when(&[is(1, 0x5423)], Action::Tell),       // TIOCSETD
            when(&[is(1, 0x8008_6601)], Action::Allow), // FS_IOC_GETFLAGS
            when(&[is(1, 0x4004_9409)], Action::Allow), // FICLONE
            // All else of ext4, fscrypt and fsverity, of XFS, btrfs, f2fs and bcachefs (Documentation/userspace-api/ioctl).
            when(&[masked(1, REQUEST_TYPE, 0x6600)], EPERM),
            when(&[masked(1, REQUEST_TYPE, 0x5800)], EPERM),
            when(&[masked(1, REQUEST_TYPE, 0x9400)], EPERM),
            when(&[masked(1, REQUEST_TYPE, 0xF500)], EPERM),
            when(&[masked(1, REQUEST_TYPE, 0xBC00)], EPERM),
        ],
        Action::Allow,
        "typing into a terminal (TIOCSTI, TIOCLINUX), loading line disciplines, and what outlives the run: file attributes, keys \
         of a file system, subvolumes, files sealed by verity; the kernel compares 32 bits of the request, so do we",
    ),
    ruled(
        calls![SYS_fcntl],
        &[when(&[is(1, libc::F_SETLEASE as u32)], EPERM), when(&[is(1, libc::F_NOTIFY as u32)], EPERM)],
        Action::Allow,
        "whoever else opens a file waits for the holder of a lease; no runtime asks for one, nor for signals about folders",
    ),
    ruled(
        calls![SYS_prctl],
        &[
            when(&[is(0, libc::PR_SET_NAME as u32)], Action::Allow),
            when(&[is(0, libc::PR_GET_NAME as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_PDEATHSIG as u32)], Action::Allow),
            when(&[is(0, libc::PR_GET_DUMPABLE as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_DUMPABLE as u32)], Action::Allow),
            when(&[is(0, libc::PR_GET_SECCOMP as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_SECCOMP as u32)], Action::Allow),
            when(&[is(0, libc::PR_CAPBSET_READ as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_CHILD_SUBREAPER as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_NO_NEW_PRIVS as u32)], Action::Allow),
            when(&[is(0, libc::PR_GET_NO_NEW_PRIVS as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_THP_DISABLE as u32)], Action::Allow),
            when(&[is(0, libc::PR_SET_VMA as u32)], Action::Allow),
        ],
        EPERM,
        "names, memory names, death signals and reading one's state; not PR_SET_MM, PR_SET_PTRACER, securebits, capabilities, speculation",
    ),
    ruled(
        calls![SYS_personality],
        &[when(&[is(0, 0)], Action::Allow), when(&[is(0, u32::MAX)], Action::Allow)],
        EPERM,
        "asking is fine; ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC undo the kernel's own hardening",
    ),
    ruled(
        calls![SYS_seccomp],
        &[when(&[is(0, 1), any_of(1, 8)], Action::Tell)], // SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER
        Action::Allow,
        "a tighter filter of its own is welcome; a listener could answer calls for others",
    ),
    ruled(
        calls![SYS_openat],
        &[when(&[any_of(2, CREATES), any_of(3, SETID)], Action::Tell)],
        Action::Allow,
        SETID_REASON,
    ),
    ruled(calls![SYS_fchmod], &[when(&[any_of(1, SETID)], Action::Tell)], Action::Allow, SETID_REASON),
    ruled(calls![SYS_fchmodat, SYS_mkdirat], &[when(&[any_of(2, SETID)], Action::Tell)], Action::Allow, SETID_REASON),
    // 452 on every architecture; libc names it on some.
    ruled(
        &[Call { name: "fchmodat2", number: 452 }],
        &[when(&[any_of(2, SETID)], Action::Tell)],
        Action::Allow,
        SETID_REASON,
    ),
    ruled(
        calls![SYS_mknodat],
        &[
            when(&[any_of(2, SETID)], Action::Tell),
            when(&[masked(2, libc::S_IFMT, libc::S_IFCHR)], Action::Tell),
            when(&[masked(2, libc::S_IFMT, libc::S_IFBLK)], Action::Tell),
        ],
        Action::Allow,
        "device nodes; and a set-id file made in an idmapped folder is a set-id file on the host",
    ),
];

#[cfg(target_arch = "x86_64")]
pub(super) const RULED_HERE: &[Group] = &[
    ruled(
        calls![SYS_open],
        &[when(&[any_of(1, CREATES), any_of(2, SETID)], Action::Tell)],
        Action::Allow,
        SETID_REASON,
    ),
    ruled(
        calls![SYS_creat, SYS_chmod, SYS_mkdir],
        &[when(&[any_of(1, SETID)], Action::Tell)],
        Action::Allow,
        SETID_REASON,
    ),
    ruled(
        calls![SYS_mknod],
        &[
            when(&[any_of(1, SETID)], Action::Tell),
            when(&[masked(1, libc::S_IFMT, libc::S_IFCHR)], Action::Tell),
            when(&[masked(1, libc::S_IFMT, libc::S_IFBLK)], Action::Tell),
        ],
        Action::Allow,
        "device nodes; and a set-id file made in an idmapped folder is a set-id file on the host",
    ),
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const RULED_HERE: &[Group] = &[];
