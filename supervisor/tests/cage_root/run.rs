//! One launch by the helper process, and what the host says of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::launcher::ROLE;

/// A launch that has been started.
pub(crate) struct Run {
    child: Option<Child>,
    facts: PathBuf,
    _directory: tempfile::TempDir,
}

/// How a finished launch ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts the helper with `options` and the command `argv`.
pub(crate) fn start<S: AsRef<OsStr>>(options: &[&str], argv: &[S]) -> Run {
    start_with(options, argv, |command| command)
}

/// The same, after `prepare` has had its way with the helper's command.
#[allow(clippy::disallowed_methods)] // the helper is a process of the test, not of the product
pub(crate) fn start_with<S: AsRef<OsStr>>(
    options: &[&str],
    argv: &[S],
    prepare: impl FnOnce(&mut Command) -> &mut Command,
) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let facts = directory.path().join("facts");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ROLE).arg("--facts").arg(&facts).args(options).arg("--").args(argv);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Some(prepare(&mut command).spawn().unwrap());
    Run { child, facts, _directory: directory }
}

/// The same, started by another program: `through` and its arguments, then the helper and its own.
#[allow(clippy::disallowed_methods)] // the helper is a process of the test, not of the product
pub(crate) fn start_through<S: AsRef<OsStr>>(through: &[&str], options: &[&str], argv: &[S]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let facts = directory.path().join("facts");
    let mut command = Command::new(through[0]);
    command.args(&through[1..]).arg(std::env::current_exe().unwrap());
    command.arg(ROLE).arg("--facts").arg(&facts).args(options).arg("--").args(argv);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run { child: Some(command.spawn().unwrap()), facts, _directory: directory }
}

/// Runs `script` with /bin/sh in a sandbox to its end.
pub(crate) fn shell(options: &[&str], script: &str) -> Ended {
    start(options, &["/bin/sh", "-c", script]).finish()
}

/// What stands in /proc/PID/status under `field`.
pub(crate) fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} in {text}")).trim().to_owned()
}

/// How much slower than a real machine this one may be: `cargo xtask vm-test` sets it for its emulated processor.
pub(crate) fn patience() -> u32 {
    std::env::var("ISB_TEST_PATIENCE").map_or(1, |text| text.parse().unwrap())
}

/// Waits until `done`, at most as long as a promise of ours may take (1 s); how long it took.
pub(crate) fn within_a_second(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(1) * patience(), "not within a second: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// Host pids of every process whose real uid is `uid`.
pub(crate) fn of_uid(uid: u32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let uid = format!("Uid:\t{uid}\t");
    pids.filter(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with(&uid)) && !status.contains("State:\tZ")
    })
    .collect()
}

/// A case that fails leaves no sandbox behind.
impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Run {
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Pid of the launcher.
    pub(crate) fn launcher(&self) -> i32 {
        self.child.as_ref().unwrap().id().cast_signed()
    }

    /// The facts, once the server stands at the gate.
    pub(crate) fn facts(&mut self) -> BTreeMap<String, String> {
        let start = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.facts) {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                return pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            }
            if let Some(status) = self.child().try_wait().unwrap() {
                let mut err = String::new();
                std::io::Read::read_to_string(self.child().stderr.as_mut().unwrap(), &mut err).unwrap();
                panic!("the launcher ended with {status}: {err}");
            }
            assert!(start.elapsed() < Duration::from_secs(20) * patience(), "no facts");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads one line of the server's standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        let out = self.child().stdout.as_mut().unwrap();
        while std::io::Read::read(out, &mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child().stdin.as_mut().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.launcher()), signal).unwrap();
    }

    /// Closes standard input and waits.
    pub(crate) fn finish(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        drop(child.stdin.take());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        Ended {
            code: status.code(),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

/// The host pid of the sandbox's main process: the one child of its pid 1.
pub(crate) fn main_process(init: &str) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    children.split_whitespace().next().unwrap_or_else(|| panic!("{init} has no child")).parse().unwrap()
}

/// Whether a cgroup directory of `session` is left anywhere.
pub(crate) fn cgroups_left(session: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let leaf = |point: &str| Path::new(point).join("intercept-sandbox").join(session);
    points.filter_map(|line| line.split(' ').nth(1)).map(leaf).filter(|path| path.exists()).collect()
}
