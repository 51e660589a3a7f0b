//! The host's process that attacks aim at (`redteam stand`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::ground::Ground;
use crate::paths;
use crate::processes::Process;

/// One, from its start to its end.
#[derive(Debug)]
pub struct Stand {
    child: Child,
    before: Option<Process>,
    /// Address of its secret, hex.
    pub address: String,
    /// Id of its System V segment.
    pub segment: String,
    /// Id of its System V queue.
    pub queue: String,
}

impl Stand {
    pub(super) fn start() -> Self {
        let mut command = Command::new(paths::helper("redteam"));
        command.args(["stand", &format!("{}/secret-of-stand", Ground::PRIVATE)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(Ground::PRIVATE);
        command.env(
            "ISB_STAND",
            std::fs::read_to_string(format!("{}/secret-of-stand", Ground::PRIVATE)).expect("planted"),
        );
        #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts helpers")]
        let mut child = command.spawn().expect("a helper of this build");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a pipe can be read");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", address, segment, queue] = words[..] else { panic!("the stand says {line:?}") };
        let (address, segment, queue) = (address.to_owned(), segment.to_owned(), queue.to_owned());
        let before = Process::find(child.id());
        Self { child, before, address, segment, queue }
    }

    /// Its number on the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.before.as_ref().is_some_and(Process::is_alive)
    }

    /// A field of `/proc/PID/status`.
    #[must_use]
    pub fn status(&self, field: &str) -> String {
        self.before.as_ref().and_then(|process| process.status(field)).unwrap_or_default()
    }

    /// A field of `/proc/PID/stat`, by its number in proc_pid_stat(5).
    #[must_use]
    pub fn stat(&self, number: usize) -> String {
        stat(self.pid(), number)
    }

    /// A file of its folder in `/proc`.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap_or_default()
    }

    /// What stands in the second half of its secret's buffer.
    #[must_use]
    pub fn memory(&self) -> String {
        use std::os::unix::fs::FileExt;
        let address = u64::from_str_radix(&self.address, 16).expect("an address");
        let mut bytes = [0; 8];
        let Ok(file) = std::fs::File::open(format!("/proc/{}/mem", self.pid())) else { return String::new() };
        file.read_exact_at(&mut bytes, address + 256)
            .map(|()| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Messages in its queue (proc_sysvipc(5): the fourth number).
    #[must_use]
    pub fn messages(&self) -> usize {
        let table = std::fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = rows.into_iter().find(|row| row.get(1) == Some(&self.queue.as_str()));
        own.and_then(|row| row.get(4)?.parse().ok()).unwrap_or(0)
    }
}

/// A field of `/proc/PID/stat`, by its number in proc_pid_stat(5), from 3 on.
#[must_use]
pub(super) fn stat(pid: u32, number: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let tail = stat.rsplit_once(')').map_or("", |(_, tail)| tail);
    tail.split_whitespace().nth(number - 3).unwrap_or_default().to_owned()
}

impl Drop for Stand {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends with its input, unless an attack stopped or killed it; a killed one leaves its queue.
        let ended = crate::wait::becomes_true(std::time::Duration::from_millis(300), || {
            self.child.try_wait().is_ok_and(|status| status.is_some())
        });
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = Command::new("ipcrm").args(["-q", &self.queue]).stderr(Stdio::null()).status();
    }
}
