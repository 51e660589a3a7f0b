//! A changed policy file: read as at start, compared with what is in force, handed to the relay.
//!
//! The file is root's, so the monitor may parse it. It is taken whole or not at all; what a running server cannot be given
//! is named. One answer of the relay is awaited at a time: the record is on disk before anything takes effect.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::lock_file::{self, LockFile};
use super::policy_watch::PolicyWatch;
use super::runtime_dir::{RUNTIME, RuntimeDir, Standing, Verdict};
use crate::bounds::{RELOAD_PROBLEMS_SHOWN, RELOAD_QUIET_MS, RELOAD_REASON_BYTES_MAX, RELOAD_WAIT_MAX_MS};
use crate::policy::{self, Policy};
use crate::relay::messages::{Attached, Rejection, ToRelay};
use crate::relay::sealed;
use crate::report::{Diagnostic, chain, printable};
use crate::sandbox::plan::ResourcesPlan;
use crate::trust::{self, Caller, TrustedFile};

/// Live downwards only: the cgroup's ceiling can be lowered and raised again, the rlimit of the start cannot.
const PROCESSES: &str = "sandbox.process.max";

/// The policy of a session, and where it came from.
#[derive(Clone, Debug)]
pub struct Governing {
    /// The loaded policy.
    pub policy: Policy,
    /// The file as named, absolute.
    pub path: PathBuf,
    /// Who called: the same check as at start.
    pub caller: Caller,
    /// Its lock file, where it names one.
    pub lock: Option<LockFile>,
}

/// Why a reload cannot go on; the session is over then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The text cannot be sealed, or the relay is gone.
    #[error("a policy or a pin cannot be handed over")]
    Hand(#[from] io::Error),
    /// It confirmed what it was not given.
    #[error("the relay confirmed a policy that it was not given")]
    NotAsked,
}

/// A policy took over: the ceilings that change with it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Those until now.
    pub old: ResourcesPlan,
    /// Those from now on.
    pub new: ResourcesPlan,
}

/// What the file came to, on reading it.
enum Read {
    Unchanged,
    New { policy: Box<Policy>, bytes: Vec<u8>, sha256: [u8; 32], lock: Option<LockFile> },
    Refused(Refused),
}

/// A file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    why: Rejection,
    /// Of the file; zeros where it could not be read.
    sha256: [u8; 32],
    /// For the log and for root.
    reason: String,
    /// For our stderr, which the caller reads: no word of a file that he may not read.
    told: String,
}

/// What the relay was handed and has not confirmed.
enum Handed {
    Policy { policy: Box<Policy>, sha256: [u8; 32], lock: Option<LockFile>, answers: bool },
    Rejection { refused: Refused, answers: bool },
}

/// The watch on the policy file.
enum Watching {
    /// It begins with the first turn. A session that ends before never pays for the end of a watch: closing an inotify
    /// descriptor waits until every reader of its marks is gone, some 10 ms.
    NotYet,
    On(PolicyWatch),
    /// It could not be had, or the session is over.
    Off,
}

/// The monitor's side of reloading.
pub struct Reloader {
    governing: Governing,
    /// Processes that the server's rlimits allow; they were set at start and nobody can raise them.
    processes_max: u64,
    watch: Watching,
    directory: RuntimeDir,
    answered: u64,
    /// A change that has not been read: when it was first and last heard of, nanoseconds since boot.
    changed: Option<(u64, u64)>,
    /// SIGHUP came: somebody waits for an answer.
    asked: bool,
    handed: Option<Handed>,
    /// What was refused last and still stands there: said once.
    refused: Option<Refused>,
}

impl Reloader {
    /// Says in the session's runtime directory who we are. The first [`Reloader::turn`], [`RELOAD_QUIET_MS`] from now,
    /// begins the watch on the policy file; whatever changed since the start is a change from then on.
    ///
    /// A file that cannot be watched is told and is no error: SIGHUP still works.
    ///
    /// # Errors
    /// Those of the runtime directory.
    pub fn start(governing: Governing, session_dir: &Path, now_ns: u64) -> io::Result<Self> {
        let directory = RuntimeDir::begin(session_dir)?;
        crate::fault::Stage::Reload.passed_io()?;
        let mut reloader = Self {
            processes_max: ResourcesPlan::of(&governing.policy.sandbox).pids_max,
            watch: Watching::NotYet,
            governing,
            directory,
            answered: 0,
            changed: Some((now_ns, now_ns)),
            asked: false,
            handed: None,
            refused: None,
        };
        reloader.say(Verdict::Started, false);
        Ok(reloader)
    }

    /// The descriptor that tells of changes.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.watch {
            Watching::On(watch) => Some(watch.fd()),
            Watching::NotYet | Watching::Off => None,
        }
    }

    /// Takes in what happened to the file.
    pub fn hear_changes(&mut self, now_ns: u64) {
        let Watching::On(watch) = &mut self.watch else { return };
        match watch.hear() {
            Ok(true) => self.changed = Some((self.changed.map_or(now_ns, |(first_ns, _)| first_ns), now_ns)),
            Ok(false) => {}
            Err(errno) => self.give_up_watching(errno),
        }
    }

    /// The session is ending: nothing is heard any more. The kernel forgets the marks while the rest ends, or the close
    /// of the watch would wait for that.
    pub fn rest(&mut self) {
        if let Watching::On(watch) = &mut self.watch {
            watch.leave();
        }
    }

    /// Somebody asks for a reload, and for an answer.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// When [`Reloader::turn`] has something to do, nanoseconds since boot.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        match (&self.handed, self.asked, self.changed) {
            (Some(_), ..) | (None, false, None) => None,
            (None, true, _) => Some(0),
            (None, false, Some((first_ns, last_ns))) => {
                let quiet_ns = last_ns.saturating_add(nanoseconds(RELOAD_QUIET_MS));
                Some(quiet_ns.min(first_ns.saturating_add(nanoseconds(RELOAD_WAIT_MAX_MS))))
            }
        }
    }

    /// Reads the file when that is due, and hands the relay what it came to.
    ///
    /// # Errors
    /// When the relay cannot be told.
    pub fn turn(&mut self, now_ns: u64, control: BorrowedFd<'_>) -> Result<(), ReloadError> {
        if self.due_ns().is_none_or(|due_ns| now_ns < due_ns) {
            return Ok(());
        }
        let answers = std::mem::take(&mut self.asked);
        self.changed = None;
        // Watched first, read then: a change after this is heard.
        let begins = matches!(self.watch, Watching::NotYet);
        self.watch_file();
        let read = self.read();
        if begins && !answers && !matches!(read, Read::Unchanged) {
            // Nobody has heard yet whether it is still being written: it waits for the quiet that every change waits for.
            self.changed = Some((now_ns, now_ns));
            return Ok(());
        }
        match read {
            Read::Unchanged => {
                if self.refused.take().is_some() || answers {
                    self.say(Verdict::Unchanged, answers);
                }
            }
            Read::New { policy, bytes, sha256, lock } => {
                let lock = lock.map(|lock| hand_lock(lock, control)).transpose()?;
                let text = sealed::seal(&bytes)?;
                let attached = Attached { bytes: bytes.len() as u64, sha256 };
                ToRelay::Policy(attached).send_with(control, text.as_fd())?;
                self.handed = Some(Handed::Policy { policy, sha256, lock, answers });
            }
            Read::Refused(refused) if !answers && self.refused.as_ref() == Some(&refused) => {}
            Read::Refused(refused) => {
                let text = sealed::seal(refused.reason.as_bytes())?;
                let attached = Attached { bytes: refused.reason.len() as u64, sha256: refused.sha256 };
                ToRelay::Rejected(refused.why, attached).send_with(control, text.as_fd())?;
                tracing::warn!("the changed policy is not taken, the old one stays in force: {}", refused.told);
                self.handed = Some(Handed::Rejection { refused, answers });
            }
        }
        Ok(())
    }

    /// The relay's rules are those of the policy with this hash. The ceilings that come with it; to be applied before
    /// [`Reloader::settled`].
    ///
    /// # Errors
    /// When that is not what it was handed: it is no relay of ours any more.
    pub fn taken(&mut self, sha256: [u8; 32]) -> Result<Taken, ReloadError> {
        match &self.handed {
            Some(Handed::Policy { policy, sha256: handed, .. }) if *handed == sha256 => Ok(Taken {
                old: ResourcesPlan::of(&self.governing.policy.sandbox),
                new: ResourcesPlan::of(&policy.sandbox),
            }),
            _ => Err(ReloadError::NotAsked),
        }
    }

    /// The new policy is in force, its ceilings too.
    pub fn settled(&mut self) {
        if let Some(Handed::Policy { policy, lock, answers, .. }) = self.handed.take() {
            self.governing.policy = *policy;
            self.governing.lock = lock;
            self.refused = None;
            self.say(Verdict::Reloaded, answers);
        }
    }

    /// The refusal is on record.
    ///
    /// # Errors
    /// When none was handed over.
    pub fn rejection_taken(&mut self) -> Result<(), ReloadError> {
        match self.handed.take() {
            Some(Handed::Rejection { refused, answers }) => {
                self.refused = Some(refused);
                self.say(Verdict::Rejected, answers);
                Ok(())
            }
            _ => Err(ReloadError::NotAsked),
        }
    }

    /// The same steps as at start: trust, text, rules; then what can be applied to a server that runs.
    fn read(&self) -> Read {
        let Governing { policy: old, path, caller, lock: old_lock } = &self.governing;
        let file = match self.trusted() {
            Ok(file) => file,
            Err(error) => {
                let reason = bounded(&chain(&error));
                return Read::Refused(Refused {
                    why: Rejection::Untrusted,
                    sha256: [0; 32],
                    told: reason.clone(),
                    reason,
                });
            }
        };
        let sha256: [u8; 32] = Sha256::digest(&file.bytes).into();
        let is_same = crate::audit::Hash(sha256).to_string() == old.sha256;
        if is_same && old_lock.is_none() {
            return Read::Unchanged;
        }
        let load = |text| policy::load(&policy::Source { path: &file.path, text });
        let loaded = match policy::decode(&file.path, &file.bytes).and_then(load) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let shown = if caller.is_real_root() { summary(&problems) } else { codes(&problems) };
                let told = bounded(&format!("{}: {shown}", path.display()));
                let reason = bounded(&summary(&problems));
                return Read::Refused(Refused { why: Rejection::Invalid, sha256, reason, told });
            }
        };
        let mut fixed = policy::fixed_changes(old, &loaded.policy);
        if ResourcesPlan::of(&loaded.policy.sandbox).pids_max > self.processes_max {
            fixed.push(PROCESSES);
        }
        if !fixed.is_empty() && crate::weaken::in_force("reload-sandbox") {
            let reason = bounded(&fixed_text(&fixed, &loaded.policy));
            return Read::Refused(Refused { why: Rejection::Fixed, sha256, told: reason.clone(), reason });
        }
        let lock = match lock_file::read(&loaded.policy, caller) {
            Ok(lock) => lock,
            Err(error) => {
                let reason = bounded(&chain(&error));
                return Read::Refused(Refused { why: Rejection::Lock, sha256, told: reason.clone(), reason });
            }
        };
        let hash = |lock: &Option<LockFile>| lock.as_ref().map(|lock| lock.sha256);
        if is_same && hash(&lock) == hash(old_lock) {
            return Read::Unchanged;
        }
        Read::New { policy: Box::new(loaded.policy), bytes: file.bytes, sha256, lock }
    }

    fn trusted(&self) -> Result<TrustedFile, trust::TrustError> {
        let Governing { path, caller, .. } = &self.governing;
        if crate::weaken::in_force("reload-trust") {
            return trust::read_policy(path, caller);
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        Ok(TrustedFile { path: path.canonicalize().unwrap_or_default(), bytes, is_unseen: false })
    }

    /// Tells root, by file, where the policy stands. Nothing depends on it but the answer that `reload` prints.
    fn say(&mut self, verdict: Verdict, answers: bool) {
        self.answered += u64::from(answers);
        let refused = self.refused.as_ref().filter(|_| verdict == Verdict::Rejected);
        let standing = Standing {
            path: self.governing.path.to_str().map(str::to_owned),
            policy: self.governing.policy.name.clone(),
            sha256: self.governing.policy.sha256.clone(),
            answered: self.answered,
            verdict,
            code: refused.map(|refused| refused.why.code().to_owned()),
            reason: refused.map(|refused| refused.reason.clone()),
        };
        if let Err(error) = self.directory.say(&standing) {
            tracing::warn!("{RUNTIME}: {error}");
        }
    }

    fn watch_file(&mut self) {
        let begun = match &mut self.watch {
            Watching::Off => return,
            Watching::On(watch) => watch.arm(),
            Watching::NotYet => PolicyWatch::new(&self.governing.path).map(|watch| self.watch = Watching::On(watch)),
        };
        if let Err(errno) = begun {
            self.give_up_watching(errno);
        }
    }

    fn give_up_watching(&mut self, errno: nix::errno::Errno) {
        self.watch = Watching::Off;
        let path = self.governing.path.display();
        tracing::warn!("{path} is not watched for changes ({errno}): `intercept-sandbox reload` or SIGHUP");
    }
}

/// A lock goes before its policy. What is kept of it is its hash.
fn hand_lock(lock: LockFile, control: BorrowedFd<'_>) -> io::Result<LockFile> {
    let attached = Attached { bytes: lock.bytes.len() as u64, sha256: lock.sha256 };
    ToRelay::Lock(attached).send_with(control, sealed::seal(&lock.bytes)?.as_fd())?;
    Ok(LockFile { bytes: Vec::new(), sha256: lock.sha256 })
}

/// `sandbox.filesystem.read cannot change while the server runs: restart the session`.
fn fixed_text(keys: &[&str], new: &Policy) -> String {
    let mut text = format!("{} cannot change while the server runs: restart the session", keys.join(", "));
    if keys.contains(&PROCESSES) {
        text.push_str("; it may have fewer processes than it started with, not more");
    }
    if keys.contains(&"name") && !new.named {
        text.push_str("; without a `name:` the counters go by the file's real path, which is another one now");
    }
    text
}

/// The first problems, one line.
fn summary(problems: &[Diagnostic]) -> String {
    let one = |problem: &Diagnostic| match &problem.place {
        Some(place) => format!("{} line {}:{}: {}", problem.code, place.line, place.column, problem.message),
        None => format!("{}: {}", problem.code, problem.message),
    };
    counted(problems, one)
}

/// The same without a word of the file.
fn codes(problems: &[Diagnostic]) -> String {
    let one = |problem: &Diagnostic| match &problem.place {
        Some(place) => format!("{} line {}", problem.code, place.line),
        None => problem.code.to_owned(),
    };
    counted(problems, one)
}

fn counted(problems: &[Diagnostic], one: impl Fn(&Diagnostic) -> String) -> String {
    let shown: Vec<String> = problems.iter().take(RELOAD_PROBLEMS_SHOWN).map(one).collect();
    let more = problems.len() - shown.len();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join("; "))
}

/// Printable, and no longer than a reason may be.
fn bounded(text: &str) -> String {
    const CUT: &str = "…";
    let text = printable(text);
    if text.len() <= RELOAD_REASON_BYTES_MAX {
        return text.into_owned();
    }
    let mut end = RELOAD_REASON_BYTES_MAX - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    [&text[..end], CUT].concat()
}

const fn nanoseconds(ms: u64) -> u64 {
    ms * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Diagnostic> {
        policy::load(&policy::Source { path: Path::new("/etc/p.yaml"), text }).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_reason_names_the_first_problems_and_counts_the_rest() {
        let found = problems("toolz: {}\na: 1\nb: 2\nc: 3\nd: 4\n");
        let text = summary(&found);
        assert!(text.starts_with("ISB-P011 line 1:1: "), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
        assert!(text.contains("toolz") && !codes(&found).contains("toolz"), "{}", codes(&found));
        assert_eq!(codes(&found[..1]), "ISB-P011 line 1");
    }

    #[test]
    fn a_reason_is_printable_and_bounded() {
        let text = bounded(&"é\u{1b}".repeat(RELOAD_REASON_BYTES_MAX));
        assert!(text.len() <= RELOAD_REASON_BYTES_MAX && text.ends_with('…') && !text.contains('\u{1b}'));
    }

    #[test]
    fn fixed_keys_are_named() {
        let load = |text| policy::load(&policy::Source { path: Path::new("/etc/p.yaml"), text }).unwrap().policy;
        assert_eq!(
            fixed_text(&["sandbox.filesystem.read", "cli.allow"], &load("name: p")),
            "sandbox.filesystem.read, cli.allow cannot change while the server runs: restart the session"
        );
        assert!(fixed_text(&["name"], &load("tools: {}")).contains("real path"));
    }
}
