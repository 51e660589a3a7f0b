//! What every attempt stands on: secrets, canaries, another session, and a session for each attempt.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::arena::{self, Arena, ROOT};
use harness::canary::Canaries;
use harness::processes::Process;
use harness::run::Run;
use harness::session::Session;
use harness::{paths, policies, records, wait};
use serde_json::json;

use crate::deeds::{Deed, Judge, Target, maps};

/// The key that signs notes.
pub(crate) const KEY: &str = "/etc/intercept-sandbox/keys/signing.key";
/// What is written to the client.
pub(crate) const PIPE_WORD: &str = "isb-into-the-pipe";
/// How long an attempt may take to be seen, or its process to answer or die.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// How much later than the process' own word the host may see it.
const EFFECT_LIMIT: Duration = Duration::from_secs(2);

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
}

/// What came of an attempt.
pub(crate) struct Outcome {
    pub(crate) seen: bool,
    pub(crate) told: String,
}

impl Ground {
    pub(crate) fn lay(arena: &Arena) -> Self {
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let private = arena.folder("private");
        let secret_path = private.join("secret");
        let shadow = fs::read_to_string("/etc/shadow").expect("root reads shadow");
        let other = start(arena, None);
        Self {
            canaries: Canaries::open(&private.join("canary.sock")),
            secret: arena::plant_secret(&secret_path),
            secret_path,
            shadow: shadow.lines().next().expect("root has a line").to_owned(),
            log: records::segments(records::DEFAULT_DIRECTORY).into_iter().next().expect("the other session's"),
            made: private.join("made"),
            mount_point: arena.folder("mount-point"),
            other,
        }
    }

    /// The seed of the signing key, as its file has it.
    pub(crate) fn key(&self) -> String {
        let text = fs::read_to_string(KEY).expect("the other session made it");
        text.lines().nth(2).expect("the seed").to_owned()
    }

    /// A process of the other session.
    pub(crate) fn other(&self, comm: &str) -> Process {
        process(&self.other, comm)
    }

    /// A session of its own, up and answering.
    pub(crate) fn session(&self, arena: &Arena, dropped: Option<&str>) -> Session {
        start(arena, dropped)
    }

    pub(crate) fn attempt(&self, arena: &Arena, target: Target, deed: &Deed, dropped: Option<&str>) -> Outcome {
        let mut session = start(arena, dropped);
        let process = process(&session, target.comm());
        if dropped.is_some() && matches!(deed.judge, Judge::Root | Judge::Capabilities) {
            // It never gave them up: there is nothing that it has to do.
            let seen = deed.judge.sees(self, &mut session, &process, 0);
            return Outcome { seen, told: "still has them".into() };
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
        let decided = wait::becomes_true(ATTEMPT_LIMIT, || {
            // The end first: what is looked at afterwards is all that there will be.
            let is_over = session.stderr().contains(&said) || Process::find(monitor).is_none();
            seen = seen || deed.judge.sees(self, &mut session, &process, maps_before);
            seen || is_over
        });
        assert!(decided, "{}: neither done nor refused: {}", deed.name, session.stderr());
        let told = told(&session.stderr(), &said);
        if !seen && session.stderr().contains(&said) && !told.starts_with("error") {
            seen = wait::becomes_true(EFFECT_LIMIT, || deed.judge.sees(self, &mut session, &process, maps_before));
        }
        if matches!(deed.judge, Judge::MonitorKilled) {
            seen = seen && session.ended().code == 128 + 9;
        }
        Outcome { seen, told }
    }
}

/// What standard error says of an attempt, in one line.
fn told(stderr: &str, said: &str) -> String {
    let of_the_deed = stderr.lines().find_map(|line| line.strip_prefix(said));
    let line = of_the_deed.or_else(|| stderr.lines().find(|line| line.starts_with("seccomp: ")));
    line.unwrap_or("nothing").chars().take(70).collect()
}

fn start(arena: &Arena, dropped: Option<&str>) -> Session {
    let run = Run::new(arena, &policies::hostile()).by(paths::weakenable()).command([format!("{ROOT}/bin/redteam")]);
    let run = dropped.iter().fold(run, |run, names| run.env("ISB_WEAKEN", names));
    let mut session = run.start();
    session.initialize();
    session
}

/// A process of ours, by its name.
pub(crate) fn process(session: &Session, comm: &str) -> Process {
    let all = session.processes();
    all.iter().find(|process| process.comm == comm).unwrap_or_else(|| panic!("no {comm} in {all:?}")).clone()
}

/// A session's name, from the path of the log that its relay writes.
pub(crate) fn session_name(relay: &Process) -> String {
    let all = relay.descriptors();
    let log = all.values().find(|to| to.starts_with(records::DEFAULT_DIRECTORY)).expect("the relay's log");
    let folder = Path::new(log).parent().and_then(Path::file_name).expect("a log stands in its session's folder");
    folder.to_string_lossy().into_owned()
}
