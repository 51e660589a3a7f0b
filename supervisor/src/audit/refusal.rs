//! A run that was refused is a record too: a session of two or three records that `audit verify` checks like any other.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::directory::SessionDirectory;
use super::error::AuditError;
use super::event::{Actor, Event, Policy, Server};
use super::keys;
use super::kind::{Effect, Kind};
use crate::clock::Now;
use crate::policy::Durability;

/// What was refused and why.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Stable code, such as `ISB-P012`.
    pub code: &'a str,
    /// For people.
    pub text: &'a str,
    /// The command that was to be run.
    pub argv: &'a [OsString],
    /// Path of the policy, as given.
    pub policy: &'a str,
    /// Who asked.
    pub actor: Actor<'a>,
    /// Host name.
    pub host: &'a str,
    /// Whether it is the policy that was refused: `policy.reject` says so.
    pub rejects_policy: bool,
}

/// Records a refused run below `root`, signed; returns the session's directory.
///
/// # Errors
/// When it cannot be recorded. The caller falls back to syslog.
pub fn record_refusal(
    root: &Path,
    key_directory: &Path,
    now: Now,
    refusal: &Refusal<'_>,
) -> Result<PathBuf, AuditError> {
    keys::ensure(key_directory)?;
    let signer = keys::load_signer(key_directory)?;
    let opened = SessionDirectory::create(root, &keys::session_name()?, Durability::Strict, now)?;
    let mut journal = opened.journal;

    let mut start = Event::new(Kind::SessionStart).with_effect(Effect::Denied);
    start.host = Some(refusal.host);
    start.actor = Some(refusal.actor);
    start.server = Some(Server { argv: refusal.argv, ..Server::default() });
    start.policy = Some(Policy { name: refusal.policy, sha256: None, previous: None, lock: None });
    start.previous = Some(&opened.previous);
    let end = Event::new(Kind::SessionEnd).with_effect(Effect::Denied).with_reason(refusal.code, refusal.text);
    let mut reject = Event::new(Kind::PolicyReject).with_effect(Effect::Denied);
    reject.policy = start.policy;
    reject.reason = end.reason;
    let events: &[Event<'_>] = if refusal.rejects_policy { &[start, reject, end] } else { &[start, end] };
    let head = journal.append_all(now, events)?.head();

    drop(journal);
    let path = opened.directory.path().to_owned();
    opened.directory.close(&signer, head, now)?;
    Ok(path)
}
