//! /run/intercept-sandbox/SESSION: how root finds a running session, and what its policy file came to.
//!
//! `monitor.pid` says which process to signal, in words that a reused pid does not fit. `policy` is rewritten whole, by
//! rename, whenever the monitor has an answer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Directory of the sessions' directories.
pub const RUNTIME: &str = crate::relay::control::DIRECTORY;
const PID_FILE: &str = "monitor.pid";
const POLICY_FILE: &str = "policy";
/// Longest file of a session's directory that is read, bytes. Paths end at 4096, reasons at 2 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A process in words that fit no other one, also after its pid was given away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorId {
    /// Its pid.
    pub pid: i32,
    /// Its start, clock ticks since boot (proc(5), field 22 of `stat`).
    start: u64,
    /// Inode number of the pid namespace that its pid is of.
    namespace: u64,
}

impl MonitorId {
    /// What stands at `pid` now.
    ///
    /// # Errors
    /// `NotFound` where nothing does.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may hold anything, brackets too.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' '));
        let start = fields.and_then(|mut fields| fields.nth(19)?.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        Ok(Self { pid, start, namespace: fs::metadata("/proc/self/ns/pid")?.ino() })
    }

    /// Whether this very process still runs, as far as can be told from here: one of another pid namespace may.
    #[must_use]
    pub fn may_run(self) -> bool {
        match Self::of(self.pid) {
            Ok(found) => found == self || found.namespace != self.namespace,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::metadata("/proc/self/ns/pid").map_or(true, |own| own.ino() != self.namespace)
            }
            Err(_) => true,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let id = Self {
            pid: words.next()?.parse().ok().filter(|pid| *pid > 0)?,
            start: words.next()?.parse().ok()?,
            namespace: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(id)
    }
}

/// What the policy file came to when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The policy of the start; nothing changed since.
    Started,
    /// The file took over.
    Reloaded,
    /// The file is what is in force.
    Unchanged,
    /// The file was refused; what was in force still is.
    Rejected,
}

/// The `policy` file: which policy decides, and the last answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The file's path as named at start, absolute; none where it is not UTF-8.
    pub path: Option<String>,
    /// Name of the policy in force.
    pub policy: String,
    /// Its SHA-256, 64 hex digits.
    pub sha256: String,
    /// Requests (SIGHUP) that are answered: one that is made now is answered by a higher number.
    pub answered: u64,
    /// What the file came to.
    pub verdict: Verdict,
    /// Why it was refused: a code of docs/errors.md.
    pub code: Option<String>,
    /// Why it was refused, for people.
    pub reason: Option<String>,
}

/// What the monitor says in its session's directory, which `control_dir` makes and removes.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// Says who we are in the session's directory.
    ///
    /// # Errors
    /// Those of the file.
    pub fn begin(directory: &Path) -> io::Result<Self> {
        let own = Self { path: directory.to_owned() };
        let MonitorId { pid, start, namespace } = MonitorId::of(Pid::this().as_raw())?;
        own.write(PID_FILE, format!("{pid} {start} {namespace}\n").as_bytes())?;
        Ok(own)
    }

    /// Says where the policy stands.
    ///
    /// # Errors
    /// Those of the file.
    pub fn say(&self, standing: &Standing) -> io::Result<()> {
        let mut text = serde_json::to_vec(standing)?;
        text.push(b'\n');
        self.write(POLICY_FILE, &text)
    }

    /// Whole or not at all, for whoever reads meanwhile.
    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let new = self.path.join(format!(".{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        fs::rename(&new, self.path.join(name))
    }
}

/// A session as root finds it.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub session: String,
    /// Its monitor.
    pub monitor: MonitorId,
    path: PathBuf,
}

impl Found {
    /// Where its policy stands now.
    ///
    /// # Errors
    /// `NotFound` when the session ended meanwhile.
    pub fn standing(&self) -> io::Result<Standing> {
        Ok(serde_json::from_str(&read(&self.path.join(POLICY_FILE))?)?)
    }
}

/// The sessions below `root` that say who their monitor is, by name.
///
/// # Errors
/// When `root` cannot be read; one that is not there holds no session.
pub fn sessions(root: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(session) = entry.file_name().into_string() else { continue };
        let is_name = session.len() == 32 && session.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let path = entry.path();
        let monitor = || MonitorId::parse(&read(&path.join(PID_FILE)).ok()?);
        if let Some(monitor) = is_name.then(monitor).flatten() {
            found.push(Found { session, monitor, path });
        }
    }
    found.sort_by(|a, b| a.session.cmp(&b.session));
    Ok(found)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_session_is_found_by_its_own_words() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(SESSION);
        fs::create_dir(&directory).unwrap();
        assert!(sessions(root.path()).unwrap().is_empty(), "one that is being made");
        let own = RuntimeDir::begin(&directory).unwrap();
        let standing = Standing {
            path: Some("/etc/p.yaml".into()),
            policy: "p".into(),
            sha256: "0".repeat(64),
            answered: 3,
            verdict: Verdict::Rejected,
            code: Some("ISB-R018".into()),
            reason: Some("why".into()),
        };
        own.say(&standing).unwrap();
        let found = sessions(root.path()).unwrap();
        assert_eq!(found.iter().map(|found| found.session.as_str()).collect::<Vec<_>>(), [SESSION]);
        assert_eq!(found[0].monitor, MonitorId::of(Pid::this().as_raw()).unwrap());
        assert!(found[0].monitor.may_run());
        assert_eq!(found[0].standing().unwrap(), standing);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut own = MonitorId::of(Pid::this().as_raw()).unwrap();
        own.start += 1;
        assert!(!own.may_run(), "the same pid, started at another time");
        own.namespace += 1;
        assert!(own.may_run(), "nothing is known of another pid namespace");
    }

    #[test]
    fn nonsense_is_no_process() {
        for text in ["", "1", "1 2", "0 2 3", "-1 2 3", "1 2 3 4", "x 2 3", "99999999999 2 3"] {
            assert_eq!(MonitorId::parse(text), None, "{text}");
        }
    }
}
