//! New namespaces and those of others. Who got one stays in it, so that the host can see.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork, pause};

use crate::process::{die_with_parent, in_child};
use crate::raw::{At, open, syscall};
use crate::{Probe, Told};

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("user-namespace", |_| in_child(|| unshare(CloneFlags::CLONE_NEWUSER))),
    ("clone-namespace", |kind| clone(flag(kind))),
    ("clone3-namespace", |kind| clone3(flag(kind))),
    ("unshare-mnt", |_| in_child(|| unshare(CloneFlags::CLONE_NEWNS))),
    ("unshare-net", |_| in_child(|| unshare(CloneFlags::CLONE_NEWNET))),
    ("unshare-pid", |_| in_child(|| unshare(CloneFlags::CLONE_NEWPID).and_then(|()| child_that_stays()))),
    ("unshare-ipc", |_| in_child(|| unshare(CloneFlags::CLONE_NEWIPC))),
    ("unshare-uts", |_| in_child(|| unshare(CloneFlags::CLONE_NEWUTS))),
    ("unshare-cgroup", |_| in_child(|| unshare(CloneFlags::CLONE_NEWCGROUP))),
    ("unshare-time", |_| in_child(|| unshare(CloneFlags::from_bits_retain(0x80)))),
    ("unshare-all-as-user", |_| {
        in_child(|| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET))
    }),
    ("setns-net", |pid| enter(&format!("/proc/{pid}/ns/net"))),
    ("setns-uts", |pid| enter(&format!("/proc/{pid}/ns/uts"))),
    ("setns-pidfd", setns_pidfd),
];

/// The first child is the one that is in a new pid namespace.
fn child_that_stays() -> nix::Result<()> {
    // SAFETY: this program is single-threaded.
    if let ForkResult::Child = unsafe { fork() }? {
        die_with_parent();
        loop {
            pause();
        }
    }
    Ok(())
}

/// The flag of a namespace by its name in /proc/PID/ns.
fn flag(kind: &str) -> i32 {
    match kind {
        "user" => libc::CLONE_NEWUSER,
        "mnt" => libc::CLONE_NEWNS,
        "net" => libc::CLONE_NEWNET,
        "pid" => libc::CLONE_NEWPID,
        "ipc" => libc::CLONE_NEWIPC,
        "uts" => libc::CLONE_NEWUTS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "time" => 0x80, // CLONE_NEWTIME, which clone3 alone takes
        _ => panic!("the suite sends the name of a namespace"),
    }
}

fn clone(flags: i32) -> Told {
    let arguments = [(flags | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0];
    stay(syscall(libc::SYS_clone, arguments).at("clone")?)
}

fn clone3(flag: i32) -> Told {
    // struct clone_args (clone(2)): flags first, exit_signal fifth.
    let mut arguments = [0u64; 8];
    arguments[0] = flag as u64;
    arguments[4] = libc::SIGCHLD as u64;
    stay(syscall(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments), 0, 0, 0, 0]).at("clone3")?)
}

fn stay(made: i64) -> Told {
    if made == 0 {
        die_with_parent();
        loop {
            pause();
        }
    }
    Ok("done".into())
}

/// Enters the namespace behind a path, for good: this process is the probe's own.
fn enter(path: &str) -> Told {
    let fd = open(path, libc::O_RDONLY)?;
    syscall(libc::SYS_setns, [fd as usize, 0, 0, 0, 0, 0]).map(|_| "entered".into()).at("setns")
}

fn setns_pidfd(pid: &str) -> Told {
    let pid: usize = pid.parse().map_err(|_| Errno::EINVAL).at("pid")?;
    let fd = syscall(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]).at("pidfd_open")?;
    syscall(libc::SYS_setns, [fd as usize, libc::CLONE_NEWNET as usize, 0, 0, 0, 0])
        .map(|_| "entered".into())
        .at("setns")
}
