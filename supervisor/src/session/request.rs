//! What the caller asks for, and which of it he may ask for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::SessionError;
use crate::audit::keys;
use crate::limits::redis::Source;
use crate::monitor::lock_file;
use crate::monitor::reload::Governing;
use crate::policy::{self, Policy};
use crate::report::Diagnostic;
use crate::sandbox::plan::ConnectTo;
use crate::sandbox::resolve::Inputs;
use crate::trust::{self, Caller, TrustError};

/// Where `--profile NAME` resolves to, as NAME.yaml.
pub const PROFILES: &str = "/etc/intercept-sandbox/policies";
/// Root of the audit logs by default.
pub const AUDIT_DIR: &str = "/var/log/intercept-sandbox";
pub use crate::monitor::state_dir::STATE_DIR;

/// Which policy.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// `-c FILE`.
    File(PathBuf),
    /// `--profile NAME`.
    Profile(String),
}

/// One `run`, as asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The policy.
    pub source: PolicySource,
    /// The command; empty takes `server.command`.
    pub command: Vec<OsString>,
    /// Print the plan and stop.
    pub dry_run: bool,
    /// `--observe`.
    pub observe: bool,
    /// `--audit-dir`.
    pub audit_dir: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--state-dsn`: an address or `file:/PATH`.
    pub state_dsn: Option<String>,
    /// `--connect-to`.
    pub connect_to: Vec<ConnectTo>,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The caller's working directory.
    pub cwd: PathBuf,
    /// Who called.
    pub caller: Caller,
}

impl Request {
    /// The policy file's path as named.
    #[must_use]
    pub fn policy_path(&self) -> PathBuf {
        match &self.source {
            PolicySource::File(path) => path.clone(),
            PolicySource::Profile(name) => Path::new(PROFILES).join(format!("{name}.yaml")),
        }
    }

    /// The root of the audit logs: the flag counts for refusals too, but only where real root gave it.
    #[must_use]
    pub fn refusal_dir(&self) -> PathBuf {
        match &self.audit_dir {
            Some(directory) if self.caller.is_real_root() => directory.clone(),
            _ => PathBuf::from(AUDIT_DIR),
        }
    }

    /// Building a sandbox takes root.
    ///
    /// # Errors
    /// [`SessionError::NotRoot`].
    pub fn check_caller(&self) -> Result<(), SessionError> {
        if self.caller.uid == 0 || self.dry_run { Ok(()) } else { Err(SessionError::NotRoot) }
    }

    /// Reads and loads the policy; its warnings are told. With it goes what a later reload needs: its path and who called.
    ///
    /// # Errors
    /// When the file is not root's, or anything in it is wrong: all of it at once.
    pub fn load_policy(&self) -> Result<Governing, SessionError> {
        if let PolicySource::Profile(name) = &self.source
            && !is_profile_name(name)
        {
            return Err(SessionError::ProfileName(name.clone()));
        }
        let unusable = |source| SessionError::Trust { path: self.policy_path(), source };
        let file = trust::read_policy(&self.policy_path(), &self.caller).map_err(unusable)?;
        let broken = |diagnostics| match file.is_unseen {
            false => SessionError::Policy(diagnostics),
            true => unusable(TrustError::Unseen { path: self.policy_path() }),
        };
        let text = policy::decode(&file.path, &file.bytes).map_err(broken)?;
        let source = policy::Source { path: &file.path, text };
        let loaded = policy::load(&source).map_err(broken)?;
        let hides = !self.caller.is_real_root() && crate::weaken::in_force("warning-quotes");
        if !(hides && file.is_unseen) {
            Self::warn(&loaded.warnings, hides);
        }
        if matches!(self.source, PolicySource::Profile(_)) && loaded.policy.server_command.is_none() {
            return Err(SessionError::ProfileCommand);
        }
        let path = std::path::absolute(self.policy_path())?;
        let lock = lock_file::read(&loaded.policy, &self.caller)?;
        Ok(Governing { policy: loaded.policy, path, caller: self.caller.clone(), lock })
    }

    /// Tells the warnings; as with errors, without the lines of a file that the caller might not be allowed to read.
    fn warn(warnings: &[Diagnostic], hides: bool) {
        for warning in warnings {
            let shown = if hides { warning.without_quotes() } else { warning.clone() };
            // `WARN` says already how bad it is.
            tracing::warn!("{}", shown.to_string().trim_start_matches("warning").trim_end());
        }
    }

    /// Refuses a loosening flag that the policy does not name in `cli.allow`, unless real root gave it.
    ///
    /// # Errors
    /// [`SessionError::Flag`].
    pub fn check_flags(&self, policy: &Policy) -> Result<(), SessionError> {
        let given = [
            ("connect-to", !self.connect_to.is_empty()),
            ("observe", self.observe),
            ("audit-dir", self.audit_dir.is_some()),
            ("state-dir", self.state_dir.is_some()),
            ("state-dsn", self.state_dsn.is_some()),
        ];
        if self.caller.is_real_root() || !crate::weaken::in_force("loosening-flags") {
            return Ok(());
        }
        match given.into_iter().find(|(flag, given)| *given && !policy.cli_allow.contains(*flag)) {
            Some((flag, _)) => Err(SessionError::Flag { flag }),
            None => Ok(()),
        }
    }

    /// What the plan is made from.
    ///
    /// # Errors
    /// When the kernel gives no random bytes for the session's name, or `--state-dsn` names no store.
    pub fn inputs(&self) -> Result<Inputs, SessionError> {
        let or = |given: &Option<PathBuf>, default: &str| given.clone().unwrap_or_else(|| PathBuf::from(default));
        Ok(Inputs {
            session: keys::session_name()?,
            command: self.command.clone(),
            cwd: self.cwd.clone(),
            environment: self.environment.clone(),
            caller: self.caller.clone(),
            connect_to: self.connect_to.clone(),
            observe: self.observe,
            audit_dir: or(&self.audit_dir, AUDIT_DIR),
            state_dir: or(&self.state_dir, STATE_DIR),
            state_dsn: self.state_dsn.as_deref().map(|value| Source::parse(value, &self.caller)).transpose()?,
        })
    }
}

/// Letters, digits, `-`, `_` and inner dots: never a path.
fn is_profile_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_name_never_a_path() {
        for good in ["together-ai", "a.b_c-1"] {
            assert!(is_profile_name(good), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b", "a b", &long] {
            assert!(!is_profile_name(bad), "{bad}");
        }
    }
}
