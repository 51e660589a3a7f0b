//! Faults that a test plants into a launch: every step can be made to fail, and the process that takes it to die there.
//!
//! `ISB_FAULT=fail:PLACE` has the place fail with EIO after it was done, so that there is something to take back;
//! `kill:PLACE` sends SIGKILL to the process that is there; `lack:LAYER` has a layer answer that it is not in force. A place
//! is `launch/STAGE` ([`Stage`]) or `sandbox/STEP` ([`crate::sandbox::Step`]). In a build without the cargo feature `weaken`
//! nothing here reads the environment, and every place is passed.

use std::io;

use nix::errno::Errno;

/// One step of a launch outside the sandboxed child, in the order in which they are begun: our processes and the child go
/// on by themselves while the monitor goes on. Each resource is one: it is held when the step is passed, and somebody has to
/// give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Signals are blocked, and read from a descriptor.
    Signals,
    /// What dead sessions left is swept.
    Swept,
    /// The log is open, its first records are on disk.
    Log,
    /// The folder of the counts is there.
    State,
    /// The run has an identity.
    Identity,
    /// The cgroup is there, with its ceilings.
    Cgroup,
    /// The session's directory and control socket are there.
    Control,
    /// The pipes between relay and server are there.
    Pipes,
    /// The network namespace and its listeners are there.
    Network,
    /// The eBPF programs are loaded; from here on the monitor has one thread.
    Probes,
    /// A writable folder's owner is mapped.
    Owners,
    /// The sandboxed child is cloned. It builds its view while the launch goes on.
    Cloned,
    /// The janitor is there (in the monitor).
    JanitorForked,
    /// The janitor is confined (in the janitor).
    Janitor,
    /// The programs are attached.
    Attached,
    /// Egress is there (in the monitor).
    EgressForked,
    /// Egress is confined (in egress).
    Egress,
    /// The link is there, where the plan names a shared limit store (in the monitor).
    LinkForked,
    /// The link is confined (in the link).
    Link,
    /// The meter is there, where a folder needs one (in the monitor).
    MeterForked,
    /// The meter is confined (in the meter).
    Meter,
    /// The relay is there (in the monitor).
    RelayForked,
    /// The relay is confined (in the relay).
    Relay,
    /// The child was found in every tree of its cgroup.
    Adopted,
    /// Its id maps are written.
    Mapped,
    /// The dialer is there, where the policy allows a host (in the monitor).
    DialerForked,
    /// The dialer is confined (in the dialer).
    Dialer,
    /// The child waits at the gate.
    AtGate,
    /// `sandbox.applied` is on disk (in the relay).
    Applied,
    /// The relay has said so (in the monitor).
    Recorded,
    /// The reloader is there.
    Reload,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 31] = [
        Self::Signals,
        Self::Swept,
        Self::Log,
        Self::State,
        Self::Identity,
        Self::Cgroup,
        Self::Control,
        Self::Pipes,
        Self::Network,
        Self::Probes,
        Self::Owners,
        Self::Cloned,
        Self::JanitorForked,
        Self::Janitor,
        Self::Attached,
        Self::EgressForked,
        Self::Egress,
        Self::LinkForked,
        Self::Link,
        Self::MeterForked,
        Self::Meter,
        Self::RelayForked,
        Self::Relay,
        Self::Adopted,
        Self::Mapped,
        Self::DialerForked,
        Self::Dialer,
        Self::AtGate,
        Self::Applied,
        Self::Recorded,
        Self::Reload,
    ];

    /// The name in `ISB_FAULT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Swept => "swept",
            Self::Log => "log",
            Self::State => "state",
            Self::Identity => "identity",
            Self::Owners => "owners",
            Self::Cgroup => "cgroup",
            Self::Network => "network",
            Self::Control => "control",
            Self::JanitorForked => "janitor-forked",
            Self::Janitor => "janitor",
            Self::Pipes => "pipes",
            Self::Cloned => "cloned",
            Self::Probes => "probes",
            Self::Attached => "attached",
            Self::EgressForked => "egress-forked",
            Self::Egress => "egress",
            Self::LinkForked => "link-forked",
            Self::Link => "link",
            Self::MeterForked => "meter-forked",
            Self::Meter => "meter",
            Self::RelayForked => "relay-forked",
            Self::Relay => "relay",
            Self::Adopted => "adopted",
            Self::Mapped => "mapped",
            Self::DialerForked => "dialer-forked",
            Self::Dialer => "dialer",
            Self::AtGate => "at-gate",
            Self::Applied => "applied",
            Self::Recorded => "recorded",
            Self::Reload => "reload",
        }
    }

    /// The code of docs/errors.md with which a run ends that fails here.
    #[must_use]
    pub const fn refusal(self) -> &'static str {
        match self {
            Self::Log => "ISB-R008",
            Self::State => "ISB-R016",
            Self::Identity | Self::Cgroup => "ISB-R010",
            Self::Probes | Self::Network | Self::Attached => "ISB-R011",
            Self::Janitor
            | Self::JanitorForked
            | Self::Egress
            | Self::EgressForked
            | Self::Dialer
            | Self::DialerForked
            | Self::Link
            | Self::LinkForked
            | Self::Meter
            | Self::MeterForked
            | Self::Relay
            | Self::RelayForked
            | Self::Applied
            | Self::Recorded => "ISB-R012",
            Self::Owners | Self::Cloned | Self::Adopted | Self::Mapped | Self::AtGate => "ISB-R013",
            Self::Signals | Self::Swept | Self::Pipes | Self::Reload => "ISB-R017",
            Self::Control => "ISB-R019",
        }
    }

    /// Passed, unless a test wants otherwise.
    ///
    /// # Errors
    /// `EIO`, in a `weaken` build that is told so.
    #[inline]
    pub fn passed(self) -> Result<(), Errno> {
        passed("launch", self.name())
    }

    /// The same where the step's errors are those of files.
    ///
    /// # Errors
    /// `EIO`, in a `weaken` build that is told so.
    #[inline]
    pub fn passed_io(self) -> io::Result<()> {
        self.passed().map_err(io::Error::from)
    }
}

/// Passed, unless a test wants otherwise.
#[cfg(not(feature = "weaken"))]
#[inline(always)]
pub(crate) const fn passed(_realm: &str, _place: &str) -> Result<(), Errno> {
    Ok(())
}

/// Whether a test wants this layer to be missing.
#[cfg(not(feature = "weaken"))]
#[must_use]
#[inline(always)]
pub const fn lacks(_layer: &str) -> bool {
    false
}

/// Passed, unless a test wants otherwise.
#[cfg(feature = "weaken")]
pub(crate) fn passed(realm: &str, place: &str) -> Result<(), Errno> {
    let is_here = |there: &str| there.split_once('/') == Some((realm, place));
    match planted() {
        Some(("fail", there)) if is_here(there) => Err(Errno::EIO),
        Some(("kill", there)) if is_here(there) => {
            // It cannot be caught or refused; what comes back is an errno that ends the launch as well.
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
            Err(Errno::EIO)
        }
        _ => Ok(()),
    }
}

/// Whether a test wants this layer to be missing.
#[cfg(feature = "weaken")]
#[must_use]
pub fn lacks(layer: &str) -> bool {
    planted() == Some(("lack", layer))
}

/// The verb and the place.
#[cfg(feature = "weaken")]
fn planted() -> Option<(&'static str, &'static str)> {
    use std::sync::OnceLock;
    static FAULT: OnceLock<String> = OnceLock::new();
    FAULT.get_or_init(|| std::env::var("ISB_FAULT").unwrap_or_default()).split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_listed_once_in_order() {
        assert!(Stage::ALL.is_sorted_by(|one, next| one < next));
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index, "{}", stage.name());
        }
    }
}
