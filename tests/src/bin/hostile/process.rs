//! Other processes: reaching them, making too many, outliving the session.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, read, setsid, write};

use crate::raw::{At, syscall};
use crate::{Probe, Told};

/// Children of the fork bomb, at most. Enough to pass any sensible limit, few enough for the bare run.
const BOMB_CHILDREN: usize = 200;
/// How long a lingering process lives when nothing ends it.
const LINGER: Duration = Duration::from_secs(30);

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("ptrace", |pid| ptrace::seize(number(pid), ptrace::Options::empty()).map(|()| "attached".into()).at("ptrace")),
    ("ptrace-init", |_| {
        ptrace::seize(Pid::from_raw(1), ptrace::Options::empty()).map(|()| "attached".into()).at("ptrace")
    }),
    ("kill", |pid| kill(number(pid), Signal::SIGKILL).map(|()| "killed".into()).at("kill")),
    ("user-namespace", |_| in_child(|| unshare(CloneFlags::CLONE_NEWUSER))),
    ("clone3-user-namespace", |_| clone3_user_namespace()),
    ("become-root", |_| in_child(|| nix::unistd::setuid(nix::unistd::Uid::from_raw(0)))),
    ("fork-bomb", |_| fork_bomb()),
    ("daemonise", daemonise),
];

/// Waits to be ended; bounded, so that a bare run leaves nothing for long.
pub(crate) fn linger() -> std::io::Result<()> {
    std::thread::sleep(LINGER);
    Ok(())
}

fn number(pid: &str) -> Pid {
    Pid::from_raw(pid.parse().expect("the suite sends a number"))
}

/// Dies with its parent, so that the bare run cleans up after itself.
fn die_with_parent() {
    // Nothing to do when it is refused: the suite ends its children itself too.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Does `step` in a child that stays, so that the host can look at it.
fn in_child(step: fn() -> nix::Result<()>) -> Told {
    let (from_child, to_parent) = pipe().at("pipe")?;
    // SAFETY: this program is single-threaded.
    if let ForkResult::Child = unsafe { fork() }.at("fork")? {
        die_with_parent();
        let errno = step().err().map_or(0, |errno| errno as i32);
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

fn clone3_user_namespace() -> Told {
    // struct clone_args (clone(2)): flags first, exit_signal fifth.
    let mut arguments = [0u64; 8];
    arguments[0] = libc::CLONE_NEWUSER as u64;
    arguments[4] = libc::SIGCHLD as u64;
    let made =
        syscall(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments), 0, 0, 0, 0]).at("clone3")?;
    if made == 0 {
        die_with_parent();
        loop {
            pause();
        }
    }
    Ok("done".into())
}

fn fork_bomb() -> Told {
    for made in 0..BOMB_CHILDREN {
        // SAFETY: this program is single-threaded.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                die_with_parent();
                loop {
                    pause();
                }
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(errno) => return Ok(format!("{made} children, then {errno:?}")),
        }
    }
    Ok(format!("{BOMB_CHILDREN} children"))
}

/// Forks twice, leaves the session and runs on as `hostile linger MARKER`.
fn daemonise(marker: &str) -> Told {
    let own = env::current_exe().at("readlink")?;
    // SAFETY: this program is single-threaded.
    if let ForkResult::Parent { child } = unsafe { fork() }.at("fork")? {
        return nix::sys::wait::waitpid(child, None).map(|_| "left".into()).at("wait");
    }
    let _ = setsid();
    // SAFETY: as above.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        let failed = Command::new(own).args(["linger", marker]).exec();
        drop(failed);
    }
    // SAFETY: ends this child at once, without the parent's buffers.
    unsafe { libc::_exit(0) }
}
