//! Other processes: reaching them, changing them, outliving the session.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, read, setsid, write};

use crate::raw::{At, reach, syscall};
use crate::{Probe, Told};

/// How long a lingering process lives when nothing ends it.
const LINGER: Duration = Duration::from_secs(30);

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("ptrace", |pid| attach(number(pid))),
    ("ptrace-init", |_| trace_init()),
    ("ptrace-parent", |_| attach(nix::unistd::getppid())),
    ("kill", |pid| kill(number(pid), Signal::SIGKILL).map(|()| "killed".into()).at("kill")),
    ("stop", |pid| kill(number(pid), Signal::SIGSTOP).map(|()| "stopped".into()).at("kill")),
    ("tgkill", |pid| one(libc::SYS_tgkill, [of(pid), of(pid), 9, 0, 0, 0])),
    ("tkill", |pid| one(libc::SYS_tkill, [of(pid), 9, 0, 0, 0, 0])),
    ("sigqueue", sigqueue),
    ("pidfd-signal", pidfd_signal),
    ("pidfd-open", |pid| one(libc::SYS_pidfd_open, [of(pid), 0, 0, 0, 0, 0])),
    ("owner-signal", owner_signal),
    ("vm-read", vm_read),
    ("vm-write", vm_write),
    ("pidfd-getfd", pidfd_getfd),
    ("process-madvise", |pid| {
        let pidfd = syscall(libc::SYS_pidfd_open, [of(pid), 0, 0, 0, 0, 0]).unwrap_or(-1) as usize;
        reach(libc::SYS_process_madvise, [pidfd, 0, 0, 20, 0, 0], &[Errno::EINVAL, Errno::EBADF])
    }),
    ("kcmp", |pid| one(libc::SYS_kcmp, [of(pid), std::process::id() as usize, 2, 0, 0, 0])),
    ("prlimit-other", |pid| {
        let limits: [u64; 2] = [77, 77];
        one(libc::SYS_prlimit64, [of(pid), libc::RLIMIT_NOFILE as usize, limits.as_ptr() as usize, 0, 0, 0])
    }),
    ("renice-other", |pid| one(libc::SYS_setpriority, [0, of(pid), 7, 0, 0, 0])),
    ("affinity-other", |pid| {
        let cpu: u64 = 1;
        one(libc::SYS_sched_setaffinity, [of(pid), 8, &raw const cpu as usize, 0, 0, 0])
    }),
    ("move-pages", |pid| one(libc::SYS_move_pages, [of(pid), 0, 0, 0, 0, 0])),
    ("migrate-pages", |pid| {
        let node: u64 = 1;
        one(libc::SYS_migrate_pages, [of(pid), 64, &raw const node as usize, &raw const node as usize, 0, 0])
    }),
    ("daemonise", |marker| daemonise(marker, false)),
    ("daemonise-stubborn", |marker| daemonise(marker, true)),
    ("daemonise-stopped", |marker| stopped(marker)),
];

/// Waits to be ended; bounded, so that a bare run leaves nothing for long.
pub(crate) fn linger() -> std::io::Result<()> {
    std::thread::sleep(LINGER);
    Ok(())
}

/// `PID:HEX`, a process and an address in it.
pub(crate) fn target(text: &str) -> (u32, u64) {
    let (pid, address) = text.split_once(':').expect("the suite sends PID:ADDRESS");
    (pid.parse().expect("a number"), u64::from_str_radix(address, 16).expect("a number in hex"))
}

fn number(pid: &str) -> Pid {
    Pid::from_raw(pid.parse().expect("the suite sends a number"))
}

fn of(pid: &str) -> usize {
    pid.parse().expect("the suite sends a number")
}

fn one(call: libc::c_long, arguments: [usize; 6]) -> Told {
    syscall(call, arguments).map(|value| format!("gave {value}")).at("call")
}

fn attach(pid: Pid) -> Told {
    ptrace::seize(pid, ptrace::Options::empty()).map(|()| "attached".into()).at("ptrace")
}

/// Traces PID 1: of a pid namespace of its own where it may have one (the bare run has no business with the machine's), else of its server's.
fn trace_init() -> Told {
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).is_err() {
        return attach(Pid::from_raw(1));
    }
    // SAFETY: this program is single-threaded.
    if let ForkResult::Child = unsafe { fork() }.at("fork")? {
        die_with_parent();
        loop {
            pause();
        }
    }
    in_child(|| ptrace::seize(Pid::from_raw(1), ptrace::Options::empty()))
}

fn sigqueue(pid: &str) -> Told {
    let mut info = [0i32; 32]; // siginfo_t: signo, errno, code (SI_QUEUE)
    info[0] = libc::SIGKILL;
    info[2] = -1;
    one(libc::SYS_rt_sigqueueinfo, [of(pid), 9, info.as_ptr() as usize, 0, 0, 0])
}

fn pidfd_signal(pid: &str) -> Told {
    let fd = syscall(libc::SYS_pidfd_open, [of(pid), 0, 0, 0, 0, 0]).at("pidfd_open")?;
    syscall(libc::SYS_pidfd_send_signal, [fd as usize, 9, 0, 0, 0, 0]).map(|_| "killed".into()).at("pidfd_send_signal")
}

/// A signal by way of a pipe: F_SETOWN names who gets it, O_ASYNC sends it, F_SETSIG says which.
fn owner_signal(pid: &str) -> Told {
    let mut pair = [0i32; 2];
    // SAFETY: the array has room for the two descriptors.
    Errno::result(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) })
        .at("socketpair")?;
    let fd = pair[0] as usize;
    syscall(libc::SYS_fcntl, [fd, libc::F_SETOWN as usize, of(pid), 0, 0, 0]).at("F_SETOWN")?;
    syscall(libc::SYS_fcntl, [fd, 10, libc::SIGTERM as usize, 0, 0, 0]).at("F_SETSIG")?;
    syscall(libc::SYS_fcntl, [fd, libc::F_SETFL as usize, libc::O_ASYNC as usize, 0, 0, 0]).at("F_SETFL")?;
    crate::raw::send(pair[1], b"x").map(|()| "sent".into())
}

fn vm_read(text: &str) -> Told {
    let (pid, address) = target(text);
    let mut bytes = [0u8; 64];
    let ours = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let theirs = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    let arguments = [pid as usize, &raw const ours as usize, 1, &raw const theirs as usize, 1, 0];
    syscall(libc::SYS_process_vm_readv, arguments).at("process_vm_readv")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn vm_write(text: &str) -> Told {
    let (pid, address) = target(text);
    let ours = libc::iovec { iov_base: b"written!".as_ptr().cast_mut().cast(), iov_len: 8 };
    let theirs = libc::iovec { iov_base: (address + 256) as *mut libc::c_void, iov_len: 8 };
    one(libc::SYS_process_vm_writev, [pid as usize, &raw const ours as usize, 1, &raw const theirs as usize, 1, 0])
}

/// The stand keeps a secret open on descriptor 20.
fn pidfd_getfd(pid: &str) -> Told {
    let pidfd = syscall(libc::SYS_pidfd_open, [of(pid), 0, 0, 0, 0, 0]).at("pidfd_open")?;
    let fd = syscall(libc::SYS_pidfd_getfd, [pidfd as usize, 20, 0, 0, 0, 0]).at("pidfd_getfd")?;
    fs::read_to_string(format!("/proc/self/fd/{fd}")).at("read")
}

/// Dies with its parent, so that the bare run cleans up after itself.
pub(crate) fn die_with_parent() {
    // Nothing to do when it is refused: the suite ends its children itself too.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Does `step` in a child that stays, so that the host can look at it.
pub(crate) fn in_child(step: fn() -> nix::Result<()>) -> Told {
    let (from_child, to_parent) = pipe().at("pipe")?;
    // SAFETY: this program is single-threaded.
    if let ForkResult::Child = unsafe { fork() }.at("fork")? {
        let errno = step().err().map_or(0, |errno| errno as i32);
        // After the step: a change of ids clears it.
        die_with_parent();
        let _ = write(&to_parent, &errno.to_ne_bytes());
        loop {
            pause();
        }
    }
    let mut errno = [0; 4];
    read(&from_child, &mut errno).at("read")?;
    match i32::from_ne_bytes(errno) {
        0 => Ok("done".into()),
        errno => Err(Errno::from_raw(errno)).at("child"),
    }
}

/// Forks twice, leaves the session and runs on as `redteam linger MARKER`.
fn daemonise(marker: &str, stubborn: bool) -> Told {
    let own = env::current_exe().at("readlink")?;
    // SAFETY: this program is single-threaded.
    if let ForkResult::Parent { child } = unsafe { fork() }.at("fork")? {
        return nix::sys::wait::waitpid(child, None).map(|_| "left".into()).at("wait");
    }
    let _ = setsid();
    if stubborn {
        for signal in Signal::iterator() {
            // SAFETY: no handler of ours runs; KILL and STOP refuse, which is fine.
            unsafe { libc::signal(signal as i32, libc::SIG_IGN) };
        }
    }
    // SAFETY: as above.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        let failed = Command::new(own).args(["linger", marker]).exec();
        drop(failed);
    }
    // SAFETY: ends this child at once, without the parent's buffers.
    unsafe { libc::_exit(0) }
}

/// As [`daemonise`], and the daemon is stopped, so that it handles nothing.
fn stopped(marker: &str) -> Told {
    daemonise(marker, true)?;
    for _ in 0..50 {
        for entry in fs::read_dir("/proc").at("open")?.flatten() {
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                && line.split('\0').any(|word| word == marker)
            {
                return kill(Pid::from_raw(pid), Signal::SIGSTOP).map(|()| "stopped".into()).at("kill");
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Errno::ESRCH).at("find")
}
