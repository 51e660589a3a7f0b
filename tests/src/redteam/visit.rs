//! One session of the hostile program, and one attempt in it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::eyes::{self, Judge};
use super::ground::Ground;
use super::outcome::Seen;
use super::roads::Road;
use super::rows::{Argument, Row};
use super::stand::Stand;
use crate::processes::{self, Process};
use crate::session::{Session, text_of};
use crate::wait;

/// How long the program may take for one probe: longer than its own limit, on a slow machine too.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How the program begins to say that a probe has not come to its end (tests/src/bin/redteam/serve.rs).
const STILL_AT_IT: &str = "no word in";

pub(super) struct Visit<'a> {
    ground: &'a Ground,
    road: Road,
    pub(super) session: Session,
    pub(super) server: Process,
    stand: Stand,
    next_id: u64,
}

impl<'a> Visit<'a> {
    pub(super) fn start(ground: &'a Ground, road: Road) -> Self {
        Self::with_arguments(ground, road, &[])
    }

    pub(super) fn with_arguments(ground: &'a Ground, road: Road, arguments: &[&str]) -> Self {
        Self::of(road.command(ground, arguments), ground, road)
    }

    /// Under the policy that bounds the writable folder.
    pub(super) fn bounded(ground: &'a Ground, road: Road) -> Self {
        Self::of(road.command_under(&ground.bounded, ground, &[]), ground, road)
    }

    fn of(command: Command, ground: &'a Ground, road: Road) -> Self {
        let mut session = Session::start(command);
        session.initialize();
        let server = match road {
            Road::Bare => Process::find(session.pid()).expect("it has answered"),
            Road::Ours | Road::Bwrap => session.server(Ground::PROGRAM),
        };
        Self { ground, road, session, server, stand: Stand::start(), next_id: 1_000_000 }
    }

    /// Whether the server is gone.
    pub(super) fn is_over(&self) -> bool {
        !self.server.is_alive()
    }

    /// Asks the program for one probe. What it tells is for people, not for the verdict.
    pub(super) fn ask(&mut self, probe: &str, argument: &str) -> String {
        self.next_id += 1;
        let id = self.next_id;
        let arguments = json!({"name": probe, "argument": argument});
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "probe", "arguments": arguments}});
        if self.session.send_bytes(format!("{message}\n").as_bytes()).is_err() {
            return "the session is over".into();
        }
        let deadline = Instant::now() + ANSWER_LIMIT;
        while let Some(line) = self.session.try_line(deadline.saturating_duration_since(Instant::now())) {
            let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
            if answer["id"] == id {
                return answer["error"]["message"]
                    .as_str()
                    .map_or_else(|| text_of(&answer), |said| format!("error: {said}"));
            }
        }
        "the session is over".into()
    }

    /// The probe's processes: what descends from the server.
    pub(super) fn crowd(&self) -> Vec<Process> {
        processes::tree(self.server.pid).into_iter().filter(|process| process.pid != self.server.pid).collect()
    }

    pub(super) fn attempt(&mut self, row: &Row) -> Seen {
        if self.road == Road::Bare && row.loads_modules && super::outcome::has_modules() {
            return Seen { open: false, told: super::outcome::NOT_TRIED.into() };
        }
        self.ask("rest", "");
        if !self.stand.is_alive() || self.stand.status("State").starts_with('T') {
            self.stand = Stand::start();
        }
        if let Judge::Canary(name) = row.judge {
            self.ground.canaries.take(name);
        }
        // Where a state is judged, and not an effect, what was so before is open too.
        let is_state = matches!(row.judge, Judge::Namespace(_) | Judge::Process(_) | Judge::Crowd(_));
        let before = if is_state { 0 } else { self.count(row.judge, "") };
        let argument = self.argument(row.argument);
        let told = self.ask(row.probe, &argument);
        let look = || self.count(row.judge, &told).saturating_sub(before);
        let mut hits = look();
        // An effect may come later than the answer, or than the program's patience with a probe that is still at it (400 MiB are a lot
        // for an emulated processor); only where one is to be expected is it waited for.
        let patient = self.road == Road::Bare && !matches!(row.judge, Judge::Word | Judge::Leak(_) | Judge::Text(_));
        if hits == 0 && patient && (told.starts_with("ok") || told.starts_with(STILL_AT_IT)) {
            hits = wait::until(wait::COMES_LIMIT, || Some(look()).filter(|hits| *hits > 0)).unwrap_or(0);
        }
        Seen { open: hits > 0, told: short(&told) }
    }

    fn argument(&self, argument: Argument) -> String {
        let pid = self.stand.pid();
        match argument {
            Argument::None => String::new(),
            Argument::Text(text) => text.to_owned(),
            Argument::Stand => pid.to_string(),
            Argument::StandFile(name) => format!("{pid}/{name}"),
            Argument::StandMemory => format!("{pid}:{}", self.stand.address),
            Argument::StandSegment => self.stand.segment.clone(),
            Argument::StandQueue => self.stand.queue.clone(),
            Argument::Handle => handle(&format!("{}/secret", Ground::PRIVATE)),
        }
    }

    fn count(&self, judge: Judge, told: &str) -> usize {
        match judge {
            Judge::Canary(name) => self.ground.canaries.take(name),
            Judge::StandIn => self.ground.stand_in.connections(),
            Judge::HeardInClear(text) => self.ground.stand_in.heard_in_clear(text),
            Judge::Leak(name) => usize::from(told.contains(self.ground.secret(name))),
            Judge::Text(text) => usize::from(told.contains(text)),
            Judge::Descriptor(part) => self.crowd().iter().filter(|process| eyes::holds(process, part)).count(),
            Judge::Netlink(protocol) => {
                self.crowd().iter().filter(|process| eyes::holds_netlink(process, protocol)).count()
            }
            Judge::Files(look) | Judge::Reachable(look) => usize::from(look()),
            Judge::Namespace(kind) => {
                self.crowd().iter().filter(|process| eyes::differs(process, &self.server, kind)).count()
            }
            Judge::Process(look) => self.crowd().iter().filter(|process| look(process, &self.server)).count(),
            Judge::Crowd(look) => usize::from(look(&self.crowd())),
            Judge::Stand(look) => usize::from(look(&self.stand)),
            Judge::Mounts => fs::read_to_string(format!("/proc/{}/mountinfo", self.server.pid))
                .map_or(0, |text| text.lines().count()),
            Judge::Life(_) => 0,
            Judge::Word => usize::from(told.starts_with("ok")),
        }
    }
}

/// The kernel's handle of a file, hex of struct file_handle: what an attacker would have to guess.
fn handle(path: &str) -> String {
    let told = crate::run::bare([
        crate::paths::helper("redteam").as_os_str(),
        "probe".as_ref(),
        "name-to-handle".as_ref(),
        path.as_ref(),
    ]);
    let output = { told }.output().expect("a helper of this build");
    String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("ok ").to_owned()
}

fn short(told: &str) -> String {
    told.lines().next().unwrap_or_default().chars().take(48).collect()
}
