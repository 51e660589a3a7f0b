//! The janitor sleeps on a pipe whose HUP means "the monitor is gone", then kills the session's cgroup and cleans up: the cgroup's
//! directories and the session's own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::unistd::{Pid, pipe2};

use super::child::{Child, ForkError, Ready, Role};
use super::control_dir;
use crate::fault::Stage;
use crate::sandbox::cgroup::{CgroupError, Leaf};
use crate::sandbox::confine::{self, ConfineError, Terms};
use crate::sys::pidfd;

/// A sleeping janitor and the pipe end that keeps it asleep.
#[derive(Debug)]
pub struct Janitor {
    /// The process.
    pub child: Child,
    /// Never written: its closing by our death is the signal.
    pub alive: OwnedFd,
}

/// Why the janitor ended early.
#[derive(Debug, thiserror::Error)]
enum JanitorError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("the session's directory stays; the next start removes it")]
    Directory(#[source] std::io::Error),
    #[error(transparent)]
    System(#[from] Errno),
}

/// Forks the janitor; the caller waits until it is confined ([`Child::await_confined`]).
///
/// # Errors
/// [`ForkError`].
pub fn fork(leaf: &Leaf, session_dir: &Path) -> Result<Janitor, ForkError> {
    let start = |source| ForkError::Start { role: Role::Janitor.name(), source };
    let (hup, alive) = pipe2(OFlag::O_CLOEXEC).map_err(start)?;
    let monitor = Pid::this();
    let child = Child::start(Role::Janitor, |ready| match watch(&hup, leaf, session_dir, monitor, ready) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("janitor: {}", crate::report::chain(&error));
            1
        }
    })?;
    Ok(Janitor { child, alive })
}

/// The janitor's whole life. Of the pipe it keeps the reading end alone, or it would wait for itself.
fn watch(hup: &OwnedFd, leaf: &Leaf, session_dir: &Path, monitor: Pid, ready: Ready) -> Result<(), JanitorError> {
    let keep = [hup.as_raw_fd(), leaf.v2_dir().as_raw_fd(), ready.fd().as_raw_fd(), libc::STDERR_FILENO];
    let directories: Vec<PathBuf> = leaf.directories().chain([session_dir]).map(Path::to_owned).collect();
    let terms = Terms { uid: 0, gid: 0, parent: monitor, keep: &keep };
    let _ = confine::janitor(&terms, &directories)?;
    Stage::Janitor.passed()?;
    // A monitor that died meanwhile hears nothing, and leaves all the more to do.
    let _unheard = ready.say();
    while !pidfd::readable(hup.as_fd(), PollTimeout::NONE)? {}
    if !crate::weaken::in_force("janitor-clears") {
        return Ok(());
    }
    let cleared = leaf.clear(); // first: what runs is worse than what lies there
    control_dir::discard(session_dir).map_err(JanitorError::Directory)?;
    Ok(cleared?)
}
