//! Parts of the kernel that a server has no use for. What opens stays open: the host looks at the descriptors.

use std::ffi::c_long;

use crate::raw::{At, syscall};
use crate::{Probe, Told};

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("io-uring", |_| io_uring()),
    ("bpf", |_| bpf_map()),
    ("bpf-program", |_| bpf_program()),
    ("userfaultfd", |_| open(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0])), // UFFD_USER_MODE_ONLY
    ("perf", |_| perf()),
    ("fanotify", |_| open(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
    ("memfd-secret", |_| open(libc::SYS_memfd_secret, [0, 0, 0, 0, 0, 0])),
    ("message-queue", |_| message_queue()),
    ("seccomp-listener", |_| seccomp_listener()),
    ("add-key", |_| add_key()),
    ("request-key", |_| request_key()),
    ("keyctl", |_| open(libc::SYS_keyctl, [1, 0, 0, 0, 0, 0])), // KEYCTL_JOIN_SESSION_KEYRING, of the probe's own process
    ("sysv-shm", |_| {
        open(libc::SYS_shmget, [0, 4096, 0o1600, 0, 0, 0]).and_then(|told| removed(libc::SYS_shmctl, told))
    }),
    ("sysv-sem", |_| open(libc::SYS_semget, [0, 1, 0o1600, 0, 0, 0]).and_then(|told| removed(libc::SYS_semctl, told))),
    ("sysv-msg", |_| open(libc::SYS_msgget, [0, 0o1600, 0, 0, 0, 0]).and_then(|told| removed(libc::SYS_msgctl, told))),
    ("old-aio", |_| {
        let mut context = 0usize;
        open(libc::SYS_io_setup, [4, (&raw mut context) as usize, 0, 0, 0, 0])
    }),
];

fn open(number: c_long, arguments: [usize; 6]) -> Told {
    syscall(number, arguments).map(|fd| format!("descriptor {fd}")).at("open")
}

/// Takes away again what was made in the bare run's namespace.
fn removed(control: c_long, told: String) -> Told {
    let id = told.rsplit(' ').next().and_then(|id| id.parse().ok()).unwrap_or(0);
    // IPC_RMID is 0, and so is the number of the semaphore.
    syscall(control, [id, 0, 0, 0, 0, 0]).map(|_| told).at("remove")
}

fn io_uring() -> Told {
    let parameters = [0u8; 120]; // struct io_uring_params
    open(libc::SYS_io_uring_setup, [4, parameters.as_ptr() as usize, 0, 0, 0, 0])
}

fn bpf_map() -> Told {
    // union bpf_attr for BPF_MAP_CREATE: an array map of one 4-byte value.
    let attributes: [u32; 18] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    open(libc::SYS_bpf, [0, attributes.as_ptr() as usize, size_of_val(&attributes), 0, 0, 0])
}

/// BPF_PROG_LOAD of a socket filter: `r0 = 0; exit`.
fn bpf_program() -> Told {
    let code: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    // union bpf_attr: type SOCKET_FILTER and count; instructions; licence; log.
    let attributes: [u64; 16] =
        [1 | 2 << 32, code.as_ptr() as u64, c"GPL".as_ptr() as u64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    open(libc::SYS_bpf, [5, attributes.as_ptr() as usize, 72, 0, 0, 0])
}

fn perf() -> Told {
    // struct perf_event_attr: type PERF_TYPE_SOFTWARE, size 112 (v5), config PERF_COUNT_SW_CPU_CLOCK.
    let mut attributes = [0u32; 28];
    attributes[0] = 1;
    attributes[1] = 112;
    open(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0, 0])
}

fn message_queue() -> Told {
    let flags = (libc::O_CREAT | libc::O_RDWR) as usize;
    let name = c"isb-redteam".as_ptr() as usize;
    let told = open(libc::SYS_mq_open, [name, flags, 0o600, 0, 0, 0]);
    let _ = syscall(libc::SYS_mq_unlink, [name, 0, 0, 0, 0, 0]);
    told
}

/// A filter of its own with a listener, which could answer other processes' system calls.
fn seccomp_listener() -> Told {
    let allow_all = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let program = libc::sock_fprog { len: 1, filter: (&raw const allow_all).cast_mut() };
    let (set_mode_filter, new_listener) = (1, 8);
    open(libc::SYS_seccomp, [set_mode_filter, new_listener, &raw const program as usize, 0, 0, 0])
}

fn add_key() -> Told {
    let process_keyring = -2isize as usize; // KEY_SPEC_PROCESS_KEYRING: gone with the probe
    let (kind, name, payload) = (c"user", c"isb-probe", b"loot");
    let arguments = [kind.as_ptr() as usize, name.as_ptr() as usize, payload.as_ptr() as usize, 4, process_keyring, 0];
    syscall(libc::SYS_add_key, arguments).map(|key| format!("key {key}")).at("add_key")
}

/// A key that nobody has: ENOKEY is the answer of a keyring that was searched.
fn request_key() -> Told {
    let (kind, name) = (c"user".as_ptr() as usize, c"isb-none".as_ptr() as usize);
    crate::raw::reach(libc::SYS_request_key, [kind, name, 0, 0, 0, 0], &[nix::errno::Errno::ENOKEY])
}
