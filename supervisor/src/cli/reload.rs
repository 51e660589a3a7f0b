//! `reload`: running sessions read their policy files again, and say what came of it.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::bounds::RELOAD_ANSWER_WAIT_MS;
use crate::monitor::runtime_dir::{self, Found, MonitorId, RUNTIME, Standing, Verdict};
use crate::policy;
use crate::report::{chain, printable};
use crate::sys::pidfd;
use crate::trust::{self, Caller};
use crate::{clock, relay::messages::Rejection};

/// Pause between two looks at a session's answer, milliseconds; the end of the session is noticed at once.
const LOOK_EVERY_MS: u16 = 10;

/// Digits that name a session: as many as `audit tail` prints.
const SESSION_DIGITS_MIN: usize = 8;

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// One session: its name, or the beginning of it, at least the eight digits that `audit tail` prints; without it, every
    /// session of this host.
    #[arg(value_name = "SESSION", value_parser = session_digits)]
    session: Option<String>,
}

/// Why a session did not answer.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("reload needs root; run it through sudo")]
    NotRoot,
    #[error("{RUNTIME} cannot be read")]
    Runtime(#[source] io::Error),
    #[error("no session {0} runs here")]
    NoSession(String),
    #[error("more than one session begins with {0}: give more digits")]
    Ambiguous(String),
    #[error("its directory in {RUNTIME} cannot be read")]
    Standing(#[source] io::Error),
    #[error("it is of another pid namespace, or its monitor is gone")]
    Gone,
    #[error("its monitor cannot be signalled")]
    Signal(#[source] Errno),
    #[error("it ended meanwhile")]
    Ended,
    #[error("no answer within {} s", RELOAD_ANSWER_WAIT_MS / 1000)]
    NoAnswer,
}

/// 0: every session runs its file's policy; 1: one does not; 2: wrong usage, or not root.
pub(super) fn run(arguments: &ReloadArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    match reload(arguments, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // A closed stderr leaves no one to tell.
            let _ = writeln!(io::stderr(), "error: {}", printable(&chain(&error)));
            let unnamed = matches!(error, ReloadError::NoSession(_) | ReloadError::Ambiguous(_));
            ExitCode::from(if unnamed { 1 } else { 2 })
        }
    }
}

fn reload(arguments: &ReloadArgs, out: &mut impl Write) -> Result<bool, ReloadError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ReloadError::NotRoot);
    }
    let caller = Caller::discover(&std::env::vars_os().collect::<Vec<_>>());
    let mut found = runtime_dir::sessions(Path::new(RUNTIME)).map_err(ReloadError::Runtime)?;
    match &arguments.session {
        Some(name) => choose(name, &mut found, |found| &found.session)?,
        // What a killed monitor left is its janitor's, or the next start's.
        None => found.retain(|found| found.monitor.may_run()),
    }
    let mut all = true;
    for session in &found {
        let line = match ask(session, &caller) {
            Ok(standing) => {
                all &= standing.verdict != Verdict::Rejected;
                told(&session.session, &standing, &caller)
            }
            Err(error) => {
                all = false;
                format!("failed: {}: {}", session.session, error.0)
            }
        };
        // A closed stdout leaves no one to tell; the sessions are asked all the same.
        let _ = writeln!(out, "{}", printable(&line));
    }
    if found.is_empty() {
        let _ = writeln!(out, "no session runs here");
    }
    Ok(all)
}

/// Keeps the one session that begins with `name`.
fn choose<T>(name: &str, found: &mut Vec<T>, session: impl Fn(&T) -> &String) -> Result<(), ReloadError> {
    found.retain(|found| session(found).starts_with(name));
    match found.len() {
        0 => Err(ReloadError::NoSession(name.to_owned())),
        1 => Ok(()),
        _ => Err(ReloadError::Ambiguous(name.to_owned())),
    }
}

/// Hex digits, in either case, enough of them.
fn session_digits(text: &str) -> Result<String, String> {
    let digits = text.to_ascii_lowercase();
    if digits.len() >= SESSION_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(format!("a session is named by at least {SESSION_DIGITS_MIN} hex digits, as `audit tail` prints them"))
    }
}

/// One line about a session that was not reloaded.
struct Failed(String);

impl From<ReloadError> for Failed {
    fn from(error: ReloadError) -> Self {
        Self(chain(&error))
    }
}

/// Checks the file first, so that who made the mistake reads of it, and then lets the monitor read it.
fn ask(session: &Found, caller: &Caller) -> Result<Standing, Failed> {
    let before = session.standing().map_err(ReloadError::Standing)?;
    if let Some(path) = &before.path {
        check(Path::new(path), caller)?;
    }
    let monitor = hold(session.monitor)?;
    pidfd::signal(monitor.as_fd(), Signal::SIGHUP).map_err(ReloadError::Signal)?;
    Ok(answer(session, before.answered, monitor.as_fd())?)
}

/// The check of the monitor, in the words of `policy check` on stderr.
fn check(path: &Path, caller: &Caller) -> Result<(), Failed> {
    let file = trust::read_policy(path, caller).map_err(|error| Failed(format!("not signalled: {}", chain(&error))))?;
    let load = |text| policy::load(&policy::Source { path: &file.path, text });
    let Err(problems) = policy::decode(&file.path, &file.bytes).and_then(load) else { return Ok(()) };
    for problem in &problems {
        let shown = if caller.is_real_root() { problem.clone() } else { problem.without_quotes() };
        // A closed stderr leaves no one to tell.
        let _ = write!(io::stderr(), "{shown}");
    }
    Err(Failed(format!("not signalled: {} does not load; errors: {}", path.display(), problems.len())))
}

/// Holds the monitor's process, then looks whether it is that one: a pid that was given away again is not signalled.
fn hold(monitor: MonitorId) -> Result<OwnedFd, ReloadError> {
    let held = match pidfd::open(Pid::from_raw(monitor.pid)) {
        Err(Errno::ESRCH) => return Err(ReloadError::Gone),
        held => held.map_err(ReloadError::Signal)?,
    };
    if MonitorId::of(monitor.pid).is_ok_and(|found| found == monitor) { Ok(held) } else { Err(ReloadError::Gone) }
}

/// Waits for an answer to a request that was made after `before` of them were answered.
fn answer(session: &Found, before: u64, monitor: BorrowedFd<'_>) -> Result<Standing, ReloadError> {
    let give_up_ns = clock::now().boot_ns.saturating_add(RELOAD_ANSWER_WAIT_MS * 1_000_000);
    loop {
        match session.standing() {
            Ok(standing) if standing.answered > before => return Ok(standing),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReloadError::Ended),
            Err(error) => return Err(ReloadError::Standing(error)),
        }
        if pidfd::readable(monitor, PollTimeout::from(LOOK_EVERY_MS)).map_err(ReloadError::Signal)? {
            return Err(ReloadError::Ended);
        }
        if clock::now().boot_ns >= give_up_ns {
            return Err(ReloadError::NoAnswer);
        }
    }
}

fn told(session: &str, standing: &Standing, caller: &Caller) -> String {
    let Standing { policy, sha256, .. } = standing;
    match standing.verdict {
        Verdict::Reloaded => format!("reloaded: {session} now runs {policy} {sha256}"),
        Verdict::Started | Verdict::Unchanged => format!("unchanged: {session} runs {policy} {sha256}"),
        Verdict::Rejected => {
            let code = standing.code.as_deref().unwrap_or_default();
            // The words of a file that does not load are for who may read the file.
            let hidden = code == Rejection::Invalid.code() && !caller.is_real_root();
            let reason = standing.reason.as_deref().filter(|_| !hidden).unwrap_or("it does not load");
            format!("rejected: {session} still runs {policy} {sha256}: [{code}] {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(verdict: Verdict, code: Rejection) -> Standing {
        Standing {
            path: None,
            policy: "p".into(),
            sha256: "00".into(),
            answered: 1,
            verdict,
            code: Some(code.code().into()),
            reason: Some("ISB-P013 line 1:1: not a mapping: root:$6$salt".into()),
        }
    }

    #[test]
    fn the_answer_is_told_in_one_line() {
        let root = Caller::judge(0, None, &[]);
        let tell = |verdict| told("s", &standing(verdict, Rejection::Invalid), &root);
        assert_eq!(tell(Verdict::Reloaded), "reloaded: s now runs p 00");
        assert_eq!(tell(Verdict::Unchanged), "unchanged: s runs p 00");
        assert!(tell(Verdict::Rejected).starts_with("rejected: s still runs p 00: [ISB-R005] ISB-P013"));
    }

    #[test]
    fn who_may_not_read_the_file_reads_no_word_of_it_here() {
        let user = Caller::judge(0, Some("1000"), &[]);
        let line = told("s", &standing(Verdict::Rejected, Rejection::Invalid), &user);
        assert_eq!(line, "rejected: s still runs p 00: [ISB-R005] it does not load");
        assert!(told("s", &standing(Verdict::Rejected, Rejection::Fixed), &user).contains("ISB-P013"));
    }

    #[test]
    fn the_beginning_of_a_name_is_enough_where_one_session_has_it() {
        let running = || vec!["74f77020aa".to_owned(), "74f77020bb".to_owned(), "0123456789".to_owned()];
        let choose = |name: &str| {
            let mut found = running();
            super::choose(name, &mut found, |found| found).map(|()| found)
        };
        assert_eq!(choose("01234567").unwrap(), ["0123456789"]);
        assert_eq!(choose("74f77020bb").unwrap(), ["74f77020bb"]);
        assert!(matches!(choose("74f77020"), Err(ReloadError::Ambiguous(_))));
        assert!(matches!(choose("ffffffff"), Err(ReloadError::NoSession(_))));
        assert_eq!(session_digits("74F77020").unwrap(), "74f77020");
        for wrong in ["", "74f7702", "74f7702g", "../74f77020", "74f77020#1"] {
            assert!(session_digits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pid_of_another_process_is_not_held() {
        let own = MonitorId::of(std::process::id().cast_signed()).unwrap();
        assert!(hold(own).is_ok());
        let mut init = own;
        init.pid = 1;
        assert!(matches!(hold(init), Err(ReloadError::Gone)));
    }
}
