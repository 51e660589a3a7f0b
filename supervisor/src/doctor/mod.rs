//! What this host can enforce: one row a check, each found by really trying.
//!
//! [`probe`] names the questions, [`host`] asks this host, [`judge`] says what an answer means. Nothing here reads what a
//! server, a client or the network wrote.

pub mod host;
mod judge;
pub mod probe;

use serde::Serialize;

use self::probe::Probe;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[must_use]
pub enum State {
    /// There, whole.
    Ok,
    /// Runs start, with less: an extra layer or a convenience is not there.
    Degraded,
    /// Runs do not start: a core layer needs it.
    Missing,
}

impl State {
    /// The word of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name, kebab case.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What is lost; none if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<&'static str>,
    /// What to do about it; none if nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// Checks this host.
#[must_use]
pub fn checks() -> Vec<Check> {
    checks_with(&host::Host)
}

/// Checks the host that `probe` speaks for, in the order of the table.
#[must_use]
pub fn checks_with(probe: &dyn Probe) -> Vec<Check> {
    judge::ALL.iter().flat_map(|judge| judge(probe)).collect()
}

/// Whether every core layer can be had.
#[must_use]
pub fn can_run(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Missing)
}
