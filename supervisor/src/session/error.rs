//! Why a run did not start, or did not end as it should: each step of `run` fails in its own way.

use std::path::PathBuf;

use crate::audit::AuditError;
use crate::egress::wall::WallError;
use crate::limits::redis::SourceError;
use crate::monitor::control_dir::ControlDirError;
use crate::monitor::crew::CrewError;
use crate::monitor::lock_file::LockFileError;
use crate::monitor::state_dir::StateError;
use crate::monitor::watch::WatchError;
use crate::report::{self, Diagnostic};
use crate::sandbox::cgroup::CgroupError;
use crate::sandbox::launch::{CageError, LaunchError};
use crate::sandbox::resolve::PlanError;
use crate::trust::TrustError;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not root.
    #[error("only root can build a sandbox: run it with sudo")]
    NotRoot,
    /// `--profile` with something that is not a plain name.
    #[error("`{0}` is not a profile name: letters, digits, `-`, `_` and inner dots")]
    ProfileName(String),
    /// `--profile` of a policy without `server.command`.
    #[error("a profile needs `server.command` in its policy, so that nobody runs another program with its hosts")]
    ProfileCommand,
    /// The policy file is not root's.
    #[error("the policy file {} cannot be used", path.display())]
    Trust {
        /// The file that was meant.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// The policy does not load.
    #[error("the policy does not load; errors: {}", .0.len())]
    Policy(Vec<Diagnostic>),
    /// Its lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] LockFileError),
    /// A loosening flag that the policy does not allow this caller.
    #[error("--{flag} loosens the sandbox: only real root may use it, or a policy with `cli: {{allow: [{flag}]}}`")]
    Flag {
        /// The flag.
        flag: &'static str,
    },
    /// The policy and the host do not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The log cannot be opened or closed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The cgroup cannot be had.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Identity, filters or init cannot be prepared.
    #[error(transparent)]
    Cage(#[from] CageError),
    /// The namespace or the probes cannot be had.
    #[error(transparent)]
    Wall(#[from] WallError),
    /// One of our own processes cannot be had.
    #[error(transparent)]
    Crew(#[from] CrewError),
    /// A layer did not take hold, or the server could not be executed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A required layer is not in force.
    #[error("the policy requires layer `{layer}`: {why}")]
    Layer {
        /// Its name.
        layer: &'static str,
        /// What it answered.
        why: String,
    },
    /// The monitor failed.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The counts have no place.
    #[error(transparent)]
    State(#[from] StateError),
    /// The control socket cannot be had.
    #[error("the control socket cannot be had")]
    ControlDir(#[from] ControlDirError),
    /// The shared store is not named as it must be.
    #[error(transparent)]
    StateDsn(#[from] SourceError),
    /// A system call of the set-up failed.
    #[error("the session cannot be set up")]
    System(#[from] std::io::Error),
}

impl SessionError {
    /// The stable code of docs/errors.md.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotRoot => "ISB-R001",
            Self::ProfileName(_) => "ISB-R002",
            Self::ProfileCommand => "ISB-R003",
            Self::Trust { .. } => "ISB-R004",
            Self::Policy(_) => "ISB-R005",
            Self::Flag { .. } => "ISB-R006",
            Self::Plan(_) => "ISB-R007",
            Self::Audit(_) => "ISB-R008",
            Self::Cgroup(_) => "ISB-R009",
            Self::Cage(_) => "ISB-R010",
            Self::Wall(_) => "ISB-R011",
            Self::Crew(_) => "ISB-R012",
            Self::Launch(_) => "ISB-R013",
            Self::Layer { .. } => "ISB-R014",
            Self::Watch(_) => "ISB-R015",
            Self::State(_) => "ISB-R016",
            Self::System(_) => "ISB-R017",
            Self::ControlDir(_) => "ISB-R019",
            Self::StateDsn(_) => "ISB-R020",
            Self::Lock(_) => "ISB-R021",
        }
    }

    /// Whether the session had no log yet that says it: the caller records the refusal.
    #[must_use]
    pub const fn is_unrecorded(&self) -> bool {
        matches!(
            self,
            Self::NotRoot
                | Self::ProfileName(_)
                | Self::ProfileCommand
                | Self::Trust { .. }
                | Self::Policy(_)
                | Self::Lock(_)
                | Self::Flag { .. }
                | Self::Plan(_)
                | Self::Audit(_)
                | Self::StateDsn(_)
        )
    }

    /// The exit code of `run` (docs/cli.md): 126 and 127 for the command, 124 where a running session failed, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(error) => error.exit_code(),
            Self::Launch(error) => error.exit_code(),
            Self::Watch(_) => 124,
            _ => 125,
        }
    }

    /// The error and its causes, one line.
    #[must_use]
    pub fn chain(&self) -> String {
        report::chain(self)
    }
}
