//! `intercept-sandbox run`, built step by step.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::arena::{API_HOST, Arena};
use crate::paths;
use crate::session::Session;
use crate::stand_in::StandIn;

/// A run about to be started.
#[derive(Clone, Debug)]
pub struct Run {
    program: Option<PathBuf>,
    policy: PathBuf,
    flags: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Run {
    /// A run under `policy`, a text that becomes a root-owned file of the arena.
    #[must_use]
    pub fn new(arena: &Arena, policy: &str) -> Self {
        Self::with_file(arena.file("policy.yaml", policy))
    }

    /// A run under a policy file that is there.
    #[must_use]
    pub fn with_file(policy: impl Into<PathBuf>) -> Self {
        Self { program: None, policy: policy.into(), flags: Vec::new(), command: Vec::new(), environment: Vec::new() }
    }

    /// Another supervisor than this build's.
    #[must_use]
    pub fn by(self, supervisor: PathBuf) -> Self {
        Self { program: Some(supervisor), ..self }
    }

    /// Dials the stand-in where the API host is meant.
    #[must_use]
    pub fn connect_to(self, stand_in: &StandIn) -> Self {
        let address = stand_in.address();
        self.flag("--connect-to").flag(format!("{API_HOST}:443:{}:{}", address.ip(), address.port()))
    }

    /// Adds a flag or a flag's value.
    #[must_use]
    pub fn flag(mut self, flag: impl AsRef<OsStr>) -> Self {
        self.flags.push(flag.as_ref().into());
        self
    }

    /// Sets a variable of the supervisor's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    /// The server's command.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = words.into_iter().map(|word| word.as_ref().into()).collect();
        self
    }

    /// The supervisor's command line.
    #[must_use]
    pub fn to_command(&self) -> Command {
        let mut command = as_real_root(self.program.clone().unwrap_or_else(paths::supervisor));
        command.args(["run".as_ref(), "-c".as_ref(), self.policy.as_os_str()]).args(&self.flags);
        command.arg("--").args(&self.command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self) -> Session {
        Session::start(self.to_command())
    }

    /// Starts it and shakes hands: the session takes calls.
    #[must_use]
    pub fn begin(&self) -> Session {
        let mut session = self.start();
        session.initialize();
        session
    }
}

/// The supervisor as real root starts it, also where the tests themselves run behind sudo: what a caller behind sudo may
/// not do is a test of its own. `program` is the supervisor, or what starts it.
#[must_use]
pub fn as_real_root(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "DOAS_USER", "PKEXEC_UID"] {
        command.env_remove(name);
    }
    command
}

/// Starts the server's command bare, in the arena but without the sandbox: the other half of each proof.
#[must_use]
pub fn bare<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().expect("a command has a first word"));
    command.args(words);
    command
}

/// Runs another subcommand of the supervisor to its end, with a closed standard input.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn subcommand<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = as_real_root(paths::supervisor());
    command.args(arguments).stdin(std::process::Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Standard output and standard error of a finished command, joined, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
