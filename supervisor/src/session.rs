//! One run, told in order: load, plan, launch, guard, pump, finish. The table of contents of the program.

mod error;
mod request;
mod stdio;

use std::os::fd::AsFd;

use crate::egress::wall::Wall;
use crate::monitor::crew::{Crew, RelayBrief};
use crate::monitor::ledger::{Ledger, RelayLog};
use crate::monitor::messages::{EndCause, ToRelay};
use crate::monitor::signals::Signals;
use crate::monitor::state_dir;
use crate::monitor::watch::{Ended, Watch};
use crate::policy::Policy;
use crate::sandbox::cgroup;
use crate::sandbox::launch::Cage;
use crate::sandbox::{Answer, LayerReport, Plan};

pub use error::SessionError;
pub use request::{AUDIT_DIR, PROFILES, PolicySource, Request, STATE_DIR};
use stdio::Stdio;

/// What a run came to.
#[derive(Debug)]
pub enum Outcome {
    /// `--dry-run`: what would have been done.
    Planned(Box<Plan>),
    /// The session ended; the exit code of docs/cli.md.
    Ended(u8),
}

/// Runs one session, from the policy file to the last record.
///
/// # Errors
/// [`SessionError`]: nothing was started, or nothing of it is left.
pub fn run(request: &Request) -> Result<Outcome, SessionError> {
    request.check_caller()?; // root, or nothing works
    let policy = request.load_policy()?; // strict, or nothing starts
    request.check_flags(&policy)?; // a flag that loosens is the policy's to allow
    let plan = Plan::resolve(&policy, request.inputs()?)?; // what will be mounted, mapped, limited, allowed
    if request.dry_run {
        return Ok(Outcome::Planned(Box::new(plan)));
    }
    let signals = Signals::block()?;
    cgroup::sweep()?; // what a crashed host left behind
    let (mut ledger, log) = Ledger::open(&plan, &policy, &request.caller)?; // no journal, no session
    match guard(&plan, policy, log, &signals, &mut ledger) {
        Ok(ended) => finish(ledger, &ended),
        Err(error) => {
            ledger.close_for_the_dead(error.code(), &error.chain())?;
            Err(error)
        }
    }
}

/// Everything between the first record and the last: build, launch, watch. Whatever fails, nothing of it survives.
fn guard(
    plan: &Plan,
    policy: Policy,
    log: RelayLog,
    signals: &Signals,
    ledger: &mut Ledger,
) -> Result<Ended, SessionError> {
    let limits_dir = state_dir::prepare(&plan.state_dir, &policy)?;
    let cage = Cage::build(plan)?; // cgroup, identity, filters
    let wall = Wall::raise(&plan.network, cage.leaf().v2_dir())?; // no route; probes attached
    let walled = wall.answers();
    let Wall { netns, listeners, mut probes } = wall;
    let mut crew = Crew::fork(plan, cage.leaf(), listeners, &mut probes)?; // janitor and egress: confined, serving
    let Stdio { server: inside, pipes } = Stdio::open(cage.identity())?;
    let server = cage.launch(plan, inside.over(&netns))?; // self-tested, waits at the gate
    let layers = accept(plan, [walled, crew.answers(), server.layers().to_vec()].concat())?;
    let brief = RelayBrief { log, policy, limits_dir, pipes, layers, server_pid: server.init_pid() };
    let control = crew.fork_relay(plan, brief)?; // confined; `sandbox.applied` is on disk
    let running = server.open_gate()?; // the server runs
    ToRelay::GateOpen.send(control.as_fd())?;
    let (crew, alive) = crew.into_parts();
    let watch = Watch {
        crew,
        alive,
        control,
        running: Some(running),
        signals,
        wall: plan.resources.wall,
        leaf: cage.leaf(),
        ledger,
    };
    let ended = watch.run()?;
    cage.leaf().clear()?;
    Ok(ended)
}

/// Core layers, and those that the policy requires, are in force, or the server does not start (P7).
fn accept(plan: &Plan, layers: Vec<LayerReport>) -> Result<Vec<LayerReport>, SessionError> {
    for layer in crate::sandbox::Layer::ALL.into_iter().filter(|layer| layer.is_core() || plan.require.contains(layer))
    {
        let why = match layers.iter().find(|report| report.layer == layer).map(|report| &report.answer) {
            Some(Answer::Enforced | Answer::Partial(_)) => continue,
            Some(Answer::Unsupported(why)) => why.clone(),
            None => "it gave no answer".to_owned(),
        };
        return Err(SessionError::Layer { layer: layer.name(), why });
    }
    Ok(layers)
}

/// The last note, the host index, and the exit code of docs/cli.md.
fn finish(ledger: Ledger, ended: &Ended) -> Result<Outcome, SessionError> {
    match ended.last {
        Some(point) => ledger.close(point)?,
        None => ledger.close_for_the_dead(ended.cause.code(), "the relay could not end the log")?,
    }
    let code = match (ended.cause, ended.terminated) {
        (EndCause::Client, true) => 0,
        (EndCause::Server | EndCause::Client | EndCause::Signal, _) => ended.ending.code(),
        _ => {
            tracing::error!("the session was ended: {}", ended.cause.code());
            124
        }
    };
    Ok(Outcome::Ended(code))
}
