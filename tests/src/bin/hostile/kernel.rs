//! Parts of the kernel that a server has no use for. What opens stays open: the host looks at the descriptors.

use std::ffi::c_long;

use nix::mount::{MsFlags, mount};

use crate::raw::{At, syscall};
use crate::{Probe, Told};

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("io-uring", |_| io_uring()),
    ("bpf", |_| bpf()),
    ("userfaultfd", |_| open(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0])), // UFFD_USER_MODE_ONLY
    ("perf", |_| perf()),
    ("fanotify", |_| open(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
    ("seccomp-listener", |_| seccomp_listener()),
    ("fsopen", |_| open(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0, 0, 0, 0, 0])),
    ("mount", |_| mount_tmpfs()),
    ("add-key", |_| add_key()),
];

fn open(number: c_long, arguments: [usize; 6]) -> Told {
    syscall(number, arguments).map(|fd| format!("descriptor {fd}")).at("open")
}

fn io_uring() -> Told {
    let parameters = [0u8; 120]; // struct io_uring_params
    open(libc::SYS_io_uring_setup, [4, parameters.as_ptr() as usize, 0, 0, 0, 0])
}

fn bpf() -> Told {
    // union bpf_attr for BPF_MAP_CREATE: an array map of one 4-byte value.
    let attributes: [u32; 18] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    open(libc::SYS_bpf, [0, attributes.as_ptr() as usize, size_of_val(&attributes), 0, 0, 0])
}

fn perf() -> Told {
    // struct perf_event_attr: type PERF_TYPE_SOFTWARE, size 112 (v5), config PERF_COUNT_SW_CPU_CLOCK.
    let mut attributes = [0u32; 28];
    attributes[0] = 1;
    attributes[1] = 112;
    open(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0, 0])
}

/// A filter of its own with a listener, which could answer other processes' system calls.
fn seccomp_listener() -> Told {
    let allow_all = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let program = libc::sock_fprog { len: 1, filter: (&raw const allow_all).cast_mut() };
    let (set_mode_filter, new_listener) = (1, 8);
    open(libc::SYS_seccomp, [set_mode_filter, new_listener, &raw const program as usize, 0, 0, 0])
}

fn mount_tmpfs() -> Told {
    mount(Some("isb-probe"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .map(|()| "mounted".into())
        .at("mount")
}

fn add_key() -> Told {
    let session_keyring = -3isize as usize; // KEY_SPEC_SESSION_KEYRING
    let (kind, name, payload) = (c"user", c"isb-probe", b"loot");
    let arguments = [kind.as_ptr() as usize, name.as_ptr() as usize, payload.as_ptr() as usize, 4, session_keyring, 0];
    syscall(libc::SYS_add_key, arguments).map(|key| format!("key {key}")).at("add_key")
}
