//! What every attempt stands on: secrets, canaries, another session, and a session for each attempt.

use std::fs;
use std::path::{Path, PathBuf};

use harness::arena::{self, API_HOST, Arena, ROOT};
use harness::canary::Canaries;
use harness::processes::Process;
use harness::remains::Before;
use harness::run::Run;
use harness::session::Session;
use harness::wait::{self, COMES_LIMIT};
use harness::{neighbour, paths, policies, records};
use serde_json::json;

use crate::deeds::{Deed, Judge, Target, maps};

/// The key that signs notes.
pub(crate) const KEY: &str = "/etc/intercept-sandbox/keys/signing.key";
/// What is written to the client.
pub(crate) const PIPE_WORD: &str = "isb-into-the-pipe";
/// What the sessions' policy allows, and what the host takes each name for: the second one leads inside.
pub(crate) const POLICY_HOSTS: [(&str, u16, &str); 2] =
    [(API_HOST, 443, "9.9.9.9"), ("inside.example", 80, "10.0.0.5")];

/// Laid once a run.
pub(crate) struct Ground {
    pub(crate) canaries: Canaries,
    pub(crate) secret: String,
    pub(crate) secret_path: PathBuf,
    /// A line of /etc/shadow.
    pub(crate) shadow: String,
    /// The log of the other session.
    pub(crate) log: PathBuf,
    /// A file that is not there yet.
    pub(crate) made: PathBuf,
    pub(crate) mount_point: PathBuf,
    other: Session,
    /// Dropped last: what the sessions leave is there by then.
    runs: Runs,
}

/// The runs of one ground, ended with it. A janitor that is not confined keeps its end of the pipe open that its sleep ends with,
/// so it sleeps on when its monitor is killed.
struct Runs(Before);

impl Drop for Runs {
    fn drop(&mut self) {
        let left = self.0.end_all();
        assert!(left.is_empty() || std::thread::panicking(), "left behind: {left:#?}");
    }
}

/// What came of an attempt, and the session that it was made in, where that is not over already.
pub(crate) struct Outcome {
    pub(crate) seen: bool,
    pub(crate) told: String,
    pub(crate) session: Option<Session>,
}

impl Ground {
    pub(crate) fn lay(arena: &Arena) -> Self {
        arena.program("redteam");
        let hosts = POLICY_HOSTS.map(|(name, _, address)| format!("{address} {name}\n"));
        fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{}", hosts.concat())).expect("the arena's own");
        arena.writable_folder("images");
        arena.folder("shown");
        let private = arena.folder("private");
        let secret_path = private.join("secret");
        let shadow = fs::read_to_string("/etc/shadow").expect("root reads shadow");
        let runs = Runs(Before::look());
        let other = start(arena, &runs, None);
        Self {
            canaries: Canaries::open(&private.join("canary.sock")).beyond(neighbour::open(&[443, 853])),
            secret: arena::plant_secret(&secret_path),
            secret_path,
            shadow: shadow.lines().next().expect("root has a line").to_owned(),
            log: records::segments(records::DEFAULT_DIRECTORY).into_iter().next().expect("the other session's"),
            made: private.join("made"),
            mount_point: arena.folder("mount-point"),
            other,
            runs,
        }
    }

    /// The seed of the signing key, as its file has it.
    pub(crate) fn key(&self) -> String {
        let text = fs::read_to_string(KEY).expect("the other session made it");
        text.lines().nth(2).expect("the seed").to_owned()
    }

    /// A process of the other session.
    pub(crate) fn other(&self, comm: &str) -> Process {
        self.other.of_ours(comm)
    }

    /// A session of its own, up and answering.
    pub(crate) fn session(&self, arena: &Arena, dropped: Option<&str>) -> Session {
        start(arena, &self.runs, dropped)
    }

    pub(crate) fn attempt(&self, arena: &Arena, target: Target, deed: &Deed, dropped: Option<&str>) -> Outcome {
        let mut session = self.session(arena, dropped);
        let process = session.of_ours(target.comm());
        if dropped.is_some() && matches!(deed.judge, Judge::Root | Judge::Capabilities) {
            // It never gave them up: there is nothing that it has to do.
            let seen = deed.judge.sees(self, &mut session, &process, 0);
            return Outcome { seen, told: "still has them".into(), session: Some(session) };
        }
        let maps_before = maps(&process);
        let monitor = session.pid();
        let argument = deed.argument.replace("{monitor}", &monitor.to_string());
        let order = |who: &str| format!("isb-planted {who} {} {argument};", deed.order);
        match target {
            Target::Relay => session.send(&json!({"planted": order("relay")})),
            Target::Egress => {
                let arguments = json!({"name": "say-to-allowed", "argument": order("egress")});
                let params = json!({"name": "probe", "arguments": arguments});
                session.send(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
            }
        }
        let said = format!("planted {} {argument}: ", deed.order);
        let mut seen = false;
        let decided = wait::becomes_true(COMES_LIMIT, || {
            // The end first: what is looked at afterwards is all that there will be.
            let is_over = session.stderr().contains(&said) || Process::find(monitor).is_none();
            seen = seen || deed.judge.sees(self, &mut session, &process, maps_before);
            seen || is_over
        });
        assert!(decided, "{}: neither done nor refused: {}", deed.name, session.stderr());
        if !seen && Process::find(monitor).is_none() {
            // The session is over, and its last words may not have been read yet.
            let _ = wait::becomes_true(COMES_LIMIT, || {
                let is_all = session.has_said_all();
                seen = deed.judge.sees(self, &mut session, &process, maps_before);
                seen || is_all
            });
        }
        let told = told(&session.stderr(), &said);
        if !seen && session.stderr().contains(&said) && !told.starts_with("error") {
            seen = wait::becomes_true(COMES_LIMIT, || deed.judge.sees(self, &mut session, &process, maps_before));
        }
        if matches!(deed.judge, Judge::MonitorKilled) {
            seen = seen && session.ended().code == 128 + 9;
            return Outcome { seen, told, session: None };
        }
        Outcome { seen, told, session: Some(session) }
    }
}

/// What standard error says of an attempt, in one line.
fn told(stderr: &str, said: &str) -> String {
    let of_the_deed = stderr.lines().find_map(|line| line.strip_prefix(said));
    let line = of_the_deed.or_else(|| stderr.lines().find(|line| line.starts_with("seccomp: ")));
    line.unwrap_or("nothing").chars().take(70).collect()
}

fn start(arena: &Arena, runs: &Runs, dropped: Option<&str>) -> Session {
    let hosts = POLICY_HOSTS.map(|(name, port, _)| format!("- {{host: {name}, ports: [{port}]}}"));
    let policy = policies::hostile().replace(&format!("- host: {API_HOST}"), &hosts.join("\n      "));
    let run = Run::new(arena, &policy).by(paths::weakenable()).command([&format!("{ROOT}/bin/redteam"), runs.0.mark()]);
    let run = dropped.iter().fold(run, |run, names| run.env("ISB_WEAKEN", names));
    run.begin()
}

/// A session's name, from the path of the log that its relay writes.
pub(crate) fn session_name(relay: &Process) -> String {
    let all = relay.descriptors();
    let log = all.values().find(|to| to.starts_with(records::DEFAULT_DIRECTORY)).expect("the relay's log");
    let folder = Path::new(log).parent().and_then(Path::file_name).expect("a log stands in its session's folder");
    folder.to_string_lossy().into_owned()
}
