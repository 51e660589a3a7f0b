//! What a process is and may: ids, capabilities, scheduling, the machine's own hardening. Read on the host from /proc.

use nix::unistd::{Gid, Uid};

use crate::process::in_child;
use crate::raw::{At, syscall};
use crate::{Probe, Told};

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("become-root", |_| in_child(|| nix::unistd::setuid(Uid::from_raw(0)))),
    ("become-root-saved", |_| {
        in_child(|| nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)))
    }),
    ("become-other", |_| in_child(|| nix::unistd::setuid(Uid::from_raw(1234)))),
    ("become-root-group", |_| in_child(|| nix::unistd::setgid(Gid::from_raw(0)))),
    ("join-groups", |_| in_child(|| nix::unistd::setgroups(&[Gid::from_raw(0), Gid::from_raw(27)]))),
    ("file-system-root", |_| one(libc::SYS_setfsuid, [0, 0, 0, 0, 0, 0])),
    ("raise-ambient", |_| raise_ambient()),
    ("raise-inheritable", |_| raise_inheritable()),
    ("realtime", |_| {
        let priority = 1i32;
        one(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO as usize, &raw const priority as usize, 0, 0, 0])
    }),
    ("deadline", |_| {
        // struct sched_attr: size, policy SCHED_DEADLINE; flags; nice, priority; runtime, deadline, period (ns).
        let attributes: [u64; 6] = [48 | 6 << 32, 0, 0, 10_000_000, 100_000_000, 100_000_000];
        one(libc::SYS_sched_setattr, [0, attributes.as_ptr() as usize, 0, 0, 0, 0])
    }),
    ("nice-up", |_| one(libc::SYS_setpriority, [0, 0, -15isize as usize, 0, 0, 0])),
    ("io-realtime", |_| one(libc::SYS_ioprio_set, [1, 0, 1 << 13, 0, 0, 0])),
    ("lock-all-memory", |_| one(libc::SYS_mlockall, [1, 0, 0, 0, 0, 0])),
    ("lock-much-memory", |_| lock_much()),
    ("no-randomisation", |_| one(libc::SYS_personality, [libc::ADDR_NO_RANDOMIZE as usize, 0, 0, 0, 0, 0])),
    ("exec-implied", |_| one(libc::SYS_personality, [libc::READ_IMPLIES_EXEC as usize, 0, 0, 0, 0, 0])),
    ("raise-limits", |_| {
        let limits: [u64; 2] = [1 << 19, 1 << 19];
        one(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, limits.as_ptr() as usize, 0, 0, 0])
    }),
    ("raise-core-limit", |_| {
        let limits: [u64; 2] = [u64::MAX, u64::MAX];
        one(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, limits.as_ptr() as usize, 0, 0, 0])
    }),
];

fn one(call: libc::c_long, arguments: [usize; 6]) -> Told {
    syscall(call, arguments).map(|value| format!("gave {value}")).at("call")
}

/// struct __user_cap_header_struct (version 3, own pid) and two __user_cap_data_struct.
fn capability_sets() -> Result<[u32; 6], crate::raw::Failure> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0u32; 6];
    syscall(libc::SYS_capget, [header.as_ptr() as usize, sets.as_mut_ptr() as usize, 0, 0, 0, 0]).at("capget")?;
    Ok(sets)
}

/// CAP_NET_RAW (13) into the inheritable set.
fn raise_inheritable() -> Told {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = capability_sets()?;
    sets[2] |= 1 << 13;
    one(libc::SYS_capset, [header.as_ptr() as usize, sets.as_ptr() as usize, 0, 0, 0, 0])
}

fn raise_ambient() -> Told {
    raise_inheritable()?;
    one(libc::SYS_prctl, [libc::PR_CAP_AMBIENT as usize, libc::PR_CAP_AMBIENT_RAISE as usize, 13, 0, 0, 0])
}

/// 64 MiB that cannot be swapped out.
fn lock_much() -> Told {
    let memory = vec![1u8; 64 << 20];
    let told = one(libc::SYS_mlock, [memory.as_ptr() as usize, memory.len(), 0, 0, 0, 0]);
    std::mem::forget(memory);
    told
}
