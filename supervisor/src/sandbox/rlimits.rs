//! Per-process ceilings (setrlimit(2)). The server's only ever go down: a ceiling that its caller had lower stays. Ours do not depend on
//! the caller: one that is low enough would end the monitor, or any other process of ours, when it suits him.

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

use super::plan::ResourcesPlan;
use crate::bounds::{LOCKED_MEMORY_BYTES_MAX, MONITOR_DESCRIPTORS_MIN, PENDING_SIGNALS_MAX};

/// A limit that could not be set.
#[derive(Debug, thiserror::Error)]
#[error("rlimit {name} could not be set")]
pub struct RlimitError {
    /// The name of setrlimit(2).
    pub name: &'static str,
    /// The kernel's answer.
    pub source: Errno,
}

/// What a caller could end us by, and how much of it we take. What is not here does nothing to a process of ours.
const OURS: [(Resource, rlim_t); 11] = [
    (Resource::RLIMIT_AS, RLIM_INFINITY),
    (Resource::RLIMIT_CPU, RLIM_INFINITY),
    (Resource::RLIMIT_DATA, RLIM_INFINITY),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY),
    (Resource::RLIMIT_LOCKS, RLIM_INFINITY),
    (Resource::RLIMIT_MEMLOCK, RLIM_INFINITY),
    (Resource::RLIMIT_NOFILE, MONITOR_DESCRIPTORS_MIN),
    (Resource::RLIMIT_NPROC, RLIM_INFINITY),
    (Resource::RLIMIT_RTTIME, RLIM_INFINITY),
    (Resource::RLIMIT_SIGPENDING, RLIM_INFINITY),
    (Resource::RLIMIT_STACK, 8 << 20),
];

/// The limits that our caller had, for the server: it gets no more than he had himself.
#[derive(Clone, Debug, Default)]
pub struct CallersLimits(Vec<(Resource, rlim_t, rlim_t)>);

impl CallersLimits {
    /// Takes the calling process out of its caller's limits, as far as it may: without `CAP_SYS_RESOURCE` up to the hard ones.
    #[must_use]
    pub fn shed() -> Self {
        let mut callers = Vec::new();
        for (resource, enough) in OURS {
            // A limit that this kernel does not have binds nobody.
            let Ok((soft, hard)) = getrlimit(resource) else { continue };
            if soft >= enough {
                continue;
            }
            let raised = setrlimit(resource, enough, hard.max(enough));
            // As high as we may, or as it was.
            if raised.is_ok() || setrlimit(resource, hard.min(enough), hard).is_ok() {
                callers.push((resource, soft, hard));
            }
        }
        Self(callers)
    }

    /// Puts them back on the calling process.
    ///
    /// # Errors
    /// The first that could not be set.
    pub fn restore(&self) -> Result<(), RlimitError> {
        let set = |&(resource, soft, hard)| {
            setrlimit(resource, soft, hard).map_err(|source| RlimitError { name: "of the caller", source })
        };
        self.0.iter().try_for_each(set)
    }
}

/// No core file of the calling process and of what it will start: root's memory is not for whoever calls.
///
/// # Errors
/// When it could not be set.
pub fn refuse_cores() -> Result<(), RlimitError> {
    lower(Resource::RLIMIT_CORE, "CORE", 0)
}

/// Sets the server's limits on the calling process.
///
/// # Errors
/// The first limit that could not be set.
pub fn apply(plan: &ResourcesPlan) -> Result<(), RlimitError> {
    lower(Resource::RLIMIT_NOFILE, "NOFILE", plan.open_files)?;
    // The run's uid is nobody else's, so the count is the run's; a second cord beside pids.max. One more than that, because the
    // kernel asks this one first and counts only what the other refuses (pids.events).
    lower(Resource::RLIMIT_NPROC, "NPROC", plan.pids_max.saturating_add(1))?;
    lower(Resource::RLIMIT_MEMLOCK, "MEMLOCK", LOCKED_MEMORY_BYTES_MAX)?;
    lower(Resource::RLIMIT_SIGPENDING, "SIGPENDING", PENDING_SIGNALS_MAX)?;
    // A core file would carry the server's secrets to wherever core_pattern points on the host.
    lower(Resource::RLIMIT_CORE, "CORE", 0)?;
    lower(Resource::RLIMIT_MSGQUEUE, "MSGQUEUE", 0)?;
    lower(Resource::RLIMIT_RTPRIO, "RTPRIO", 0)?;
    lower(Resource::RLIMIT_NICE, "NICE", 0)
}

/// Bounds every file that the calling process writes, where every folder that it may write is bounded. A second cord: what
/// several files hold together is counted (`sandbox/usage`). Blocks beyond the end of a file are not held (fallocate(2)). A write beyond fails with `EFBIG` and raises `SIGXFSZ`.
///
/// # Errors
/// When it could not be set.
pub fn apply_to_files(bytes_max: Option<u64>) -> Result<(), RlimitError> {
    bytes_max.map_or(Ok(()), |bytes| lower(Resource::RLIMIT_FSIZE, "FSIZE", bytes))
}

/// Sets the limits of one of our own processes: few descriptors, no core file, a ceiling of memory, and no further process where
/// `processes` is 0. Of memory it is the address space, for `RLIMIT_DATA` does not count what is shared without a file.
///
/// # Errors
/// The first limit that could not be set.
pub fn apply_to_ourselves(descriptors: u64, processes: u64, memory_bytes: u64) -> Result<(), RlimitError> {
    if crate::weaken::in_force("confine-memory") {
        lower(Resource::RLIMIT_AS, "AS", memory_bytes)?;
    }
    lower(Resource::RLIMIT_NOFILE, "NOFILE", descriptors)?;
    lower(Resource::RLIMIT_NPROC, "NPROC", processes)?;
    lower(Resource::RLIMIT_CORE, "CORE", 0)
}

fn lower(resource: Resource, name: &'static str, ceiling: u64) -> Result<(), RlimitError> {
    let error = |source| RlimitError { name, source };
    let (_, hard) = getrlimit(resource).map_err(error)?;
    let value = ceiling.min(hard);
    setrlimit(resource, value, value).map_err(error)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;
    use nix::sys::wait::WaitStatus;

    use super::*;
    use crate::sys::fork::ask_child;

    fn plan() -> ResourcesPlan {
        ResourcesPlan { memory_bytes: 1 << 29, cpu_millis: 1000, pids_max: 64, open_files: 100, wall: None }
    }

    #[test]
    fn sets_every_ceiling_and_none_can_be_raised() {
        let status = ask_child(|| {
            if apply(&plan()).is_err() {
                return 1;
            }
            let expected = [
                (Resource::RLIMIT_NOFILE, 100),
                (Resource::RLIMIT_NPROC, 65),
                (Resource::RLIMIT_CORE, 0),
                (Resource::RLIMIT_MSGQUEUE, 0),
                (Resource::RLIMIT_RTPRIO, 0),
                (Resource::RLIMIT_NICE, 0),
            ];
            let all = expected.into_iter().all(|(resource, value)| getrlimit(resource) == Ok((value, value)));
            i32::from(!all) * 2
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }

    #[test]
    fn never_raises_a_lower_ceiling() {
        let status = ask_child(|| {
            if setrlimit(Resource::RLIMIT_NOFILE, 50, 50).is_err() || apply(&plan()).is_err() {
                return 1;
            }
            i32::from(getrlimit(Resource::RLIMIT_NOFILE) != Ok((50, 50))) * 2
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }

    #[test]
    fn what_the_caller_had_lower_binds_the_server_and_not_us() {
        // The hard ones stay: to raise them takes a capability that root of a container may lack.
        let check = |resource: Resource, low: rlim_t, enough: rlim_t| {
            let (_, hard) = getrlimit(resource)?;
            setrlimit(resource, low, hard)?;
            let callers = CallersLimits::shed();
            let ours = getrlimit(resource)?;
            let restored = callers.restore().is_ok() && getrlimit(resource)? == (low, hard);
            Ok::<bool, Errno>(ours.0 >= enough.min(hard) && ours.1 >= hard && restored)
        };
        for (resource, enough) in OURS {
            let status = ask_child(|| i32::from(check(resource, 30, enough) != Ok(true)));
            assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{resource:?}: {status:?}");
        }
    }

    #[test]
    fn memory_of_ours_ends_at_its_ceiling_and_an_allocation_beyond_it_aborts() {
        const CEILING: u64 = 4 << 30;
        let taken = |bytes: usize| {
            let mut taken = Vec::<u8>::new();
            taken.try_reserve_exact(bytes).is_ok()
        };
        let status = ask_child(|| {
            if apply_to_ourselves(64, 0, CEILING).is_err() {
                return 1;
            }
            i32::from(!taken(1 << 20) || taken(4 << 30)) * 2
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
        let status = ask_child(|| {
            let set = apply_to_ourselves(64, 0, CEILING);
            i32::from(set.is_ok() && !std::hint::black_box(Vec::<u8>::with_capacity(4 << 30)).is_empty())
        });
        assert!(matches!(status, Ok(WaitStatus::Signaled(_, Signal::SIGABRT, _))), "{status:?}");
    }

    #[test]
    fn one_descriptor_over_is_refused() {
        let status = ask_child(|| {
            let mut few = plan();
            few.open_files = 8;
            if apply(&few).is_err() {
                return 1;
            }
            let opened = (0..9).map(|_| nix::unistd::dup(std::io::stderr())).collect::<Vec<_>>();
            match opened.last() {
                Some(Err(Errno::EMFILE)) => 0,
                _ => 2,
            }
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }
}
