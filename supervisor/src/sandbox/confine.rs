//! Confining our own processes, before they read the first byte that somebody else wrote.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use caps::Capability;
use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid, setsid};

use super::capabilities::{self, CapabilityError};
use super::landlock::{LandlockError, Rules};
use super::rlimits::{self, RlimitError};
use super::seccomp::{Filter, FilterError};
use super::{Answer, Layer};
use crate::bounds::{
    AUDIT_SESSION_BYTES_MAX, DIALER_DESCRIPTORS_MAX, DIALER_MEMORY_BYTES_MAX, EGRESS_DESCRIPTORS_MAX,
    EGRESS_MEMORY_BYTES_MAX, JANITOR_MEMORY_BYTES_MAX, LINK_MEMORY_BYTES_MAX, METER_DESCRIPTORS_MAX,
    METER_MEMORY_BYTES_MAX, RELAY_DESCRIPTORS_MAX, relay_memory_bytes_max,
};
use crate::sys::prctl::close_range;
use crate::sys::process::task_count;
use crate::sys::sigsys;

/// What a process of ours is to become.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The service uid; never 0 for those that give up root. The janitor keeps uid 0 and ignores it.
    pub uid: u32,
    /// The service gid; likewise.
    pub gid: u32,
    /// The process that forked this one and takes it along when it dies.
    pub parent: Pid,
    /// The descriptors that stay open, in any order. Of 0, 1 and 2 those not listed become `/dev/null`.
    pub keep: &'a [RawFd],
}

/// What is in force, for `sandbox.applied`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Confined {
    /// Which process.
    pub process: &'static str,
    /// Landlock is an extra layer: a kernel without it does not stop the run.
    pub landlock: Answer,
    /// Calls that its filter lets through.
    pub calls_allowed: usize,
}

/// Why a process could not be confined. It must end at once.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Another thread would stay unconfined.
    #[error("{0} threads in a process that is to be confined; one is expected")]
    Threads(usize),
    /// Uid or gid 0 given for a process that gives up root.
    #[error("uid and gid 0 are not a confined identity")]
    Root,
    /// The parent died before its death could be bound to ours.
    #[error("the parent process is gone")]
    Orphan,
    /// A file of the confinement itself.
    #[error("{path} cannot be opened")]
    Open {
        /// Which.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A system call, named.
    #[error("{call} failed")]
    Call {
        /// Which.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The capability sets.
    #[error(transparent)]
    Capabilities(#[from] CapabilityError),
    /// The limits.
    #[error(transparent)]
    Rlimits(#[from] RlimitError),
    /// Landlock.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// The filter's table.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Confines the calling process as relay: service uid, the kept descriptors, the limit store's directory, no socket, memory by the
/// longest lines of both directions together.
///
/// # Errors
/// The step that failed.
pub fn relay(terms: &Terms<'_>, lines_bytes: u64, limits_dir: &Path) -> Result<Confined, ConfineError> {
    bound_files()?;
    let ceilings = (RELAY_DESCRIPTORS_MAX, relay_memory_bytes_max(lines_bytes));
    service("relay", &Filter::relay(Pid::this())?, ceilings, &Rules::relay(limits_dir.to_owned()), terms)
}

/// The same for a relay whose limit store is a connection that it is handed: no directory at all.
///
/// # Errors
/// The step that failed.
pub fn relay_without_files(terms: &Terms<'_>, lines_bytes: u64) -> Result<Confined, ConfineError> {
    bound_files()?;
    let ceilings = (RELAY_DESCRIPTORS_MAX, relay_memory_bytes_max(lines_bytes));
    service("relay", &Filter::relay(Pid::this())?, ceilings, &Rules::egress(), terms)
}

/// Confines the calling process as the link to a shared limit store: service uid, the kept descriptors, sockets, no file.
///
/// # Errors
/// The step that failed.
pub fn link(terms: &Terms<'_>) -> Result<Confined, ConfineError> {
    let ceilings = (RELAY_DESCRIPTORS_MAX, LINK_MEMORY_BYTES_MAX);
    service("link", &Filter::link(Pid::this())?, ceilings, &Rules::egress(), terms)
}

/// Confines the calling process as egress: service uid, the kept descriptors, no socket of its own making, no file.
///
/// # Errors
/// The step that failed.
pub fn egress(terms: &Terms<'_>) -> Result<Confined, ConfineError> {
    let ceilings = (EGRESS_DESCRIPTORS_MAX, EGRESS_MEMORY_BYTES_MAX);
    service("egress", &Filter::egress(Pid::this())?, ceilings, &Rules::egress(), terms)
}

/// Confines the calling process as dialer: service uid, the kept descriptors, Internet sockets, no file.
///
/// # Errors
/// The step that failed.
pub fn dialer(terms: &Terms<'_>) -> Result<Confined, ConfineError> {
    let ceilings = (DIALER_DESCRIPTORS_MAX, DIALER_MEMORY_BYTES_MAX);
    service("dialer", &Filter::dialer(Pid::this())?, ceilings, &Rules::egress(), terms)
}

/// Confines the calling process as janitor: uid 0 without a capability, so that it may empty the `directories` that root
/// owns and nothing else. It outlives the monitor on purpose, so its parent's death does not end it.
///
/// # Errors
/// The step that failed.
pub fn janitor(terms: &Terms<'_>, directories: &[PathBuf]) -> Result<Confined, ConfineError> {
    let filter = Filter::janitor(Pid::this())?;
    begin(terms)?;
    rlimits::apply_to_ourselves(RELAY_DESCRIPTORS_MAX, 0, JANITOR_MEMORY_BYTES_MAX)?;
    call("setgroups", setgroups(&[]))?;
    if crate::weaken::in_force("confine-capabilities") {
        capabilities::seal()?;
        capabilities::clear()?;
    }
    end("janitor", &Rules::janitor(directories), &filter)
}

/// Confines the calling process as meter: a service uid that may look into every folder and at the descriptors of other
/// processes, and a filter that lets it open nothing but folders. Without Landlock: from inside a domain the descriptors of
/// processes outside of it, the server's, cannot be seen (ptrace_access_check in security/landlock/task.c).
///
/// # Errors
/// The step that failed.
pub fn meter(terms: &Terms<'_>) -> Result<(), ConfineError> {
    let filter = Filter::meter(Pid::this())?;
    begin(terms)?;
    rlimits::apply_to_ourselves(METER_DESCRIPTORS_MAX, 0, METER_MEMORY_BYTES_MAX)?;
    become_service(terms, &[Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE])?;
    lock(&filter)
}

/// The relay alone holds files that it may write: none of them grows beyond what a session's log may be. A write beyond is an error
/// like that of a full disk, and no `SIGXFSZ`: standard error may be a file that somebody else made long.
fn bound_files() -> Result<(), ConfineError> {
    let mut beyond = SigSet::empty();
    beyond.add(Signal::SIGXFSZ);
    call("sigprocmask", beyond.thread_block())?;
    if crate::weaken::in_force("confine-file-size") {
        rlimits::apply_to_files(Some(AUDIT_SESSION_BYTES_MAX))?;
    }
    Ok(())
}

/// Those that need neither root nor a capability, and of files no more than `rules` say. Of descriptors and bytes of memory they get
/// as many as `ceilings` say.
fn service(
    process: &'static str,
    filter: &Filter,
    ceilings: (u64, u64),
    rules: &Rules,
    terms: &Terms<'_>,
) -> Result<Confined, ConfineError> {
    begin(terms)?;
    rlimits::apply_to_ourselves(ceilings.0, 0, ceilings.1)?;
    become_service(terms, &[])?;
    end(process, rules, filter)
}

/// One thread, a session of its own, no descriptor that is not listed.
fn begin(terms: &Terms<'_>) -> Result<(), ConfineError> {
    let unread = |errno: Errno| ConfineError::Open { path: "/proc/self/task", source: errno.into() };
    match task_count().map_err(unread)? {
        1 => {}
        threads => return Err(ConfineError::Threads(threads)),
    }
    match setsid() {
        // EPERM: it leads a session or a process group already.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(source) => return Err(ConfineError::Call { call: "setsid", source }),
    }
    if crate::weaken::in_force("confine-close-fds") {
        close_all_but(terms.keep)?;
    }
    Ok(())
}

fn close_all_but(keep: &[RawFd]) -> Result<(), ConfineError> {
    // A descriptor 0 to 2 that is free would be given to the next file that is opened, and what is meant for stderr
    // would end in a database.
    let standard = [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO];
    let open = |source| ConfineError::Open { path: "/dev/null", source };
    let null: File = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(open)?;
    for descriptor in standard.into_iter().filter(|descriptor| !keep.contains(descriptor)) {
        call("dup2", crate::sys::prctl::replace_descriptor(null.as_raw_fd(), descriptor))?;
    }
    drop(null);
    let mut kept: Vec<u32> = keep.iter().chain(&standard).filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut next = 0;
    for descriptor in kept {
        if descriptor > next {
            call("close_range", close_range(next, descriptor - 1))?;
        }
        next = descriptor + 1;
    }
    call("close_range", close_range(next, u32::MAX))
}

/// The service uid without groups and with no capability but those `kept`, and an end together with the parent.
fn become_service(terms: &Terms<'_>, kept: &[Capability]) -> Result<(), ConfineError> {
    if terms.uid == 0 || terms.gid == 0 {
        return Err(ConfineError::Root);
    }
    let (uid, gid) = (Uid::from_raw(terms.uid), Gid::from_raw(terms.gid));
    if crate::weaken::in_force("confine-capabilities") {
        capabilities::seal()?;
    }
    if crate::weaken::in_force("confine-identity") {
        call("setgroups", setgroups(&[]))?;
        call("setresgid", setresgid(gid, gid, gid))?;
        call("setresuid", setresuid(uid, uid, uid))?;
    }
    if crate::weaken::in_force("confine-capabilities") {
        match kept {
            [] => capabilities::clear()?,
            kept => capabilities::keep(&kept.iter().copied().collect())?,
        }
    }
    // After the change of ids, which clears it.
    if crate::weaken::in_force("confine-pdeathsig") {
        call("prctl(PR_SET_PDEATHSIG)", set_pdeathsig(Signal::SIGKILL))?;
    }
    if getppid() != terms.parent {
        return Err(ConfineError::Orphan);
    }
    Ok(())
}

/// What needs no privilege, the filter last: the steps before it make calls that it forbids.
fn end(process: &'static str, rules: &Rules, filter: &Filter) -> Result<Confined, ConfineError> {
    call("prctl(PR_SET_NO_NEW_PRIVS)", set_no_new_privs())?;
    let landlock = rules.restrict_self()?;
    lock(filter)?;
    Ok(Confined { process, landlock, calls_allowed: filter.allowed() })
}

fn lock(filter: &Filter) -> Result<(), ConfineError> {
    call("prctl(PR_SET_DUMPABLE)", set_dumpable(false))?;
    call("prctl(PR_SET_NO_NEW_PRIVS)", set_no_new_privs())?;
    if cfg!(debug_assertions) {
        call("sigaction", sigsys::report_violations())?;
    }
    call("seccomp", filter.install())
}

fn call<T>(call: &'static str, result: Result<T, Errno>) -> Result<T, ConfineError> {
    result.map_err(|source| ConfineError::Call { call, source })
}

impl std::fmt::Display for Confined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = match &self.landlock {
            Answer::Enforced => "enforced",
            Answer::Partial(reason) | Answer::Unsupported(reason) => reason,
        };
        write!(f, "{}: seccomp {} calls, {} {landlock}", self.process, self.calls_allowed, Layer::Landlock.name())
    }
}
