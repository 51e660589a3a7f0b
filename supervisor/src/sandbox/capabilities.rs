//! Every capability set empty, and the securebits that could refill one locked (capabilities(7)).

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;

use crate::sys::prctl;

/// `SECBIT_NOROOT`, `NO_SETUID_FIXUP` and `NO_CAP_AMBIENT_RAISE` with their locks, and the lock of `KEEP_CAPS`, which
/// stays off: uid 0 means nothing, no set id changes a set, and none of this can be undone.
pub const SECUREBITS: i32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80;
/// Capability numbers are bits of a 64-bit mask.
const CAPABILITIES_MAX: u32 = 64;
const SETS: [(CapSet, &str); 4] = [
    (CapSet::Ambient, "ambient"),
    (CapSet::Effective, "effective"),
    (CapSet::Permitted, "permitted"),
    (CapSet::Inheritable, "inheritable"),
];

/// Why the capabilities of this process are not known to be gone.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// The bounding set could not be emptied.
    #[error("capability {capability} stays in the bounding set")]
    Bounding {
        /// Its number.
        capability: u32,
        /// `EPERM`: `CAP_SETPCAP` is not effective.
        source: Errno,
    },
    /// The securebits could not be set.
    #[error("securebits could not be locked")]
    Securebits(#[source] Errno),
    /// A set could not be emptied.
    #[error("the {set} capability set could not be emptied")]
    Clear {
        /// Which.
        set: &'static str,
        /// The crate's account.
        source: caps::errors::CapsError,
    },
    /// A set is not empty.
    #[error("the {0} capability set is not empty")]
    Left(&'static str),
    /// The securebits are not ours.
    #[error("securebits are {0:#x}")]
    Unlocked(i32),
}

/// Empties the bounding, ambient, inheritable, permitted and effective sets of the calling thread and locks the
/// securebits; then looks. Needs `CAP_SETPCAP` in its user namespace.
///
/// # Errors
/// The step that failed. The process must not go on.
pub fn drop_all() -> Result<(), CapabilityError> {
    if !crate::weaken::in_force("capabilities") {
        return Ok(());
    }
    seal()?;
    clear()
}

/// The first half: the bounding set emptied, the securebits locked. What is held stays held, over setresuid(2) too, so a
/// process that has ids to change does that between the halves.
pub(super) fn seal() -> Result<(), CapabilityError> {
    // Up to the first number that this kernel does not know; a newer one may know more than any list of ours.
    for capability in 0..CAPABILITIES_MAX {
        match prctl::drop_from_bounding(capability) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            Err(source) => return Err(CapabilityError::Bounding { capability, source }),
        }
    }
    prctl::set_securebits(SECUREBITS).map_err(CapabilityError::Securebits)
}

/// The second half: the sets emptied, and a look at all of it.
pub(super) fn clear() -> Result<(), CapabilityError> {
    for (set, name) in SETS {
        caps::clear(None, set).map_err(|source| CapabilityError::Clear { set: name, source })?;
    }
    assert_empty()
}

/// The second half for a process that needs `kept`: all others gone, these permitted and effective, none inheritable.
pub(super) fn keep(kept: &CapsHashSet) -> Result<(), CapabilityError> {
    for (set, name) in SETS {
        let wanted =
            if matches!(set, CapSet::Effective | CapSet::Permitted) { kept.clone() } else { CapsHashSet::new() };
        caps::set(None, set, &wanted).map_err(|source| CapabilityError::Clear { set: name, source })?;
        let held = caps::read(None, set).map_err(|source| CapabilityError::Clear { set: name, source })?;
        if held != wanted {
            return Err(CapabilityError::Left(name));
        }
    }
    Ok(())
}

/// Looks whether every set of the calling thread is empty and the securebits are locked.
///
/// # Errors
/// What is not so.
pub fn assert_empty() -> Result<(), CapabilityError> {
    for (set, name) in SETS {
        let held = caps::read(None, set).map_err(|source| CapabilityError::Clear { set: name, source })?;
        if !held.is_empty() {
            return Err(CapabilityError::Left(name));
        }
    }
    if bounding().any(|held| held) {
        return Err(CapabilityError::Left("bounding"));
    }
    match prctl::securebits().map_err(CapabilityError::Securebits)? {
        SECUREBITS => Ok(()),
        other => Err(CapabilityError::Unlocked(other)),
    }
}

/// Whether the bounding set has them, for each number that this kernel knows.
fn bounding() -> impl Iterator<Item = bool> {
    (0..CAPABILITIES_MAX).map_while(|capability| prctl::in_bounding(capability).ok())
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::wait::WaitStatus;

    use super::*;
    use crate::sys::fork::ask_child;

    /// In a user namespace of its own, where an unprivileged test has every capability.
    fn in_user_namespace(question: impl FnOnce() -> i32) -> i32 {
        let status = ask_child(|| match unshare(CloneFlags::CLONE_NEWUSER) {
            Ok(()) => question(),
            Err(_) => 99,
        });
        match status {
            Ok(WaitStatus::Exited(_, code)) => code,
            other => panic!("the child ended with {other:?}"),
        }
    }

    #[test]
    fn leaves_no_capability_and_locks_the_way_back() {
        let code = in_user_namespace(|| {
            if assert_empty().is_ok() {
                return 1; // a new user namespace gives all: the check must see it
            }
            if drop_all().is_err() {
                return 2;
            }
            match (
                assert_empty(),
                prctl::set_securebits(0),
                caps::raise(None, CapSet::Effective, caps::Capability::CAP_CHOWN),
            ) {
                (Ok(()), Err(Errno::EPERM), Err(_)) => 0,
                _ => 3,
            }
        });
        assert_eq!(code, 0, "1: check is blind, 2: drop failed, 3: the way back is open, 99: no user namespaces");
    }

    #[test]
    fn says_when_it_may_not_drop() {
        let code = in_user_namespace(|| {
            if caps::clear(None, CapSet::Effective).is_err() {
                return 1;
            }
            match drop_all() {
                Err(CapabilityError::Bounding { capability: 0, source: Errno::EPERM }) => 0,
                _ => 2,
            }
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn knows_every_capability_of_the_kernel() {
        let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
        assert_eq!(u32::try_from(bounding().count()).unwrap(), last + 1);
    }
}
