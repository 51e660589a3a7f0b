//! One run, told in order: load, plan, build, launch, watch, finish. The table of contents of the program.

mod error;
mod request;
mod stdio;

use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::stat::{Mode, umask};

use crate::clock;
use crate::egress::wall::{Raising, Wall};
use crate::fault::{self, Stage};
use crate::monitor::ceilings::Ceilings;
use crate::monitor::client_end::ClientEnd;
use crate::monitor::control_dir::{self, ControlDir};
use crate::monitor::crew::{Crew, RelayBrief};
use crate::monitor::denials::Denials;
use crate::monitor::ledger::{Ledger, RelayLog};
use crate::monitor::reload::{Governing, Reloader};
use crate::monitor::signals::Signals;
use crate::monitor::state_dir::State;
use crate::monitor::watch::{Ended, Watch};
use crate::relay::PinSource;
use crate::relay::control;
use crate::relay::messages::{EndCause, ToRelay};
use crate::sandbox::cgroup;
use crate::sandbox::launch::Cage;
use crate::sandbox::rlimits::CallersLimits;
use crate::sandbox::rootfs;
use crate::sandbox::{Answer, Layer, LayerReport, Plan};

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
    let callers = part_from_the_caller(request)?; // his limits are the server's, not ours
    let governing = request.load_policy()?; // strict, or nothing starts
    let policy = &governing.policy;
    request.check_flags(policy)?; // a flag that loosens is the policy's to allow
    let plan = Plan::resolve(policy, request.inputs()?)?; // what will be mounted, mapped, limited, allowed
    if request.dry_run {
        return Ok(Outcome::Planned(Box::new(plan)));
    }
    stdio::never_wait_for_a_reader(&request.caller)?; // what we say is never worth a wait
    if plan.observe {
        tracing::warn!(
            "--observe: NO tool rule of {} is enforced; what it refuses is recorded and let through",
            policy.name
        );
    }
    plan.advice().for_each(|advice| tracing::warn!("{advice}"));
    let signals = Signals::block()?;
    if !request.caller.is_real_root() && crate::weaken::in_force("callers-cgroup") {
        cgroup::leave_the_callers()?; // where he could freeze us; before any fork, and before we hold a lock
    }
    let raising = Raising::begin(&plan.network); // the verifier reads our programs; meanwhile:
    cgroup::sweep()?; // what a crashed host left behind
    control_dir::sweep(Path::new(control::DIRECTORY))?;
    Stage::Swept.passed_io()?;
    let (mut ledger, log) = Ledger::open(&plan, policy, governing.lock.as_ref(), &request.caller)?; // no journal, no session
    match guard(&plan, Begun { governing, log, raising }, callers, &signals, &mut ledger) {
        Ok(ended) => finish(ledger, &ended),
        Err(error) => {
            ledger.close_for_the_dead(error.code(), &error.chain(), 0)?;
            Err(error)
        }
    }
}

/// From here on nobody has a dump of us, be it asked for by a signal of his terminal: a `core_pattern` that is a pipe gets one
/// whatever RLIMIT_CORE says (core(5)). The caller's limits end no process of ours.
fn part_from_the_caller(request: &Request) -> Result<CallersLimits, SessionError> {
    if request.caller.uid != 0 {
        return Ok(CallersLimits::default()); // a dry run, with no more rights than he has
    }
    if crate::weaken::in_force("callers-dumps") {
        nix::sys::prctl::set_dumpable(false).map_err(std::io::Error::from)?;
    }
    if crate::weaken::in_force("callers-umask") {
        umask(Mode::from_bits_truncate(0o022)); // what we make has the mode that we say
    }
    let sheds = crate::weaken::in_force("callers-rlimits");
    Ok(if sheds { CallersLimits::shed() } else { CallersLimits::default() })
}

/// What is open or under way when everything else is still to be done.
struct Begun {
    governing: Governing,
    log: RelayLog,
    raising: Raising,
}

/// Everything between the first record and the last: build, launch, watch. Whatever fails, nothing of it survives.
fn guard(
    plan: &Plan,
    begun: Begun,
    callers: CallersLimits,
    signals: &Signals,
    ledger: &mut Ledger,
) -> Result<Ended, SessionError> {
    let state = State::open(plan, &begun.governing.policy)?; // counts and pins of earlier sessions
    let cage = Cage::build(plan)?.telling().within(callers); // cgroup, identity, filters
    let ended = live(plan, begun, state, signals, ledger, &cage);
    let cleared = cage.leaf().clear(); // whatever happened
    let ended = ended?;
    cleared?;
    Ok(ended)
}

/// From the wall to the last process. When it returns, ours are dead and the server's pid 1 with them.
fn live(
    plan: &Plan,
    Begun { mut governing, log, raising }: Begun,
    state: State,
    signals: &Signals,
    ledger: &mut Ledger,
    cage: &Cage,
) -> Result<Ended, SessionError> {
    for path in rootfs::unreadable(plan, cage.identity().uid()) {
        tracing::warn!("the server cannot read {}: its uid has no right to", path.display());
    }
    let (session_dir, people) = ControlDir::create(Path::new(control::DIRECTORY), &plan.session)?; // for approvals
    let Stdio { server: inside, pipes } = Stdio::open()?;
    let enclosure = raising.enclose(&plan.network)?; // a network without a route; one thread from here on
    let launching = cage.begin(plan, inside.over(&enclosure.netns))?; // builds its view; meanwhile:
    let mut crew = Crew::begin(cage.leaf(), session_dir.path())?; // the janitor
    let wall = enclosure.arm(cage.leaf().v2_dir(), cage.executables(plan).as_ref())?; // probes attached
    let walled = wall.answers();
    let Wall { netns: _netns, listeners, mut probes } = wall;
    crew.fork_egress(plan, listeners, &mut probes)?; // and the link
    crew.fork_meter(plan, cage.leaf())?;
    let policy = governing.policy.clone();
    let lock = governing.lock.as_mut().map(|lock| std::mem::take(&mut lock.bytes));
    let brief = RelayBrief {
        log,
        policy,
        pins: PinSource { lock, kept: state.kept },
        limits_dir: state.limits_dir,
        pipes,
        people,
        server_pid: launching.init_pid(),
    };
    crew.fork_relay(plan, brief)?;
    let mut dialer = Ok(());
    let server = launching.finish_meanwhile(|| dialer = crew.fork_dialer(plan)); // self-tested, waits at the gate
    dialer?; // where a host is allowed
    crew.await_confined()?; // all of ours; one that died is why the self-test failed
    let server = server?;
    let hooked = vec![probes.lsm_answer(), probes.exec_answer(), probes.file_answer()]; // by what they refused of the self-test, and saw of pid 1
    let layers = accept(plan, [walled, hooked, crew.answers(), server.layers().to_vec()].concat())?;
    let control = crew.record_layers(&layers)?; // `sandbox.applied` is on disk
    let opened_ns = clock::now().boot_ns;
    let reload = Reloader::start(governing, session_dir.path(), opened_ns)?; // after the last fork: its watch is nobody else's
    let client = ClientEnd::of_stdin()?; // looked at, never read
    let mut running = server.open_gate()?; // the server runs
    let denials = Denials::of(running.listener(), opened_ns); // what its filter refuses waits for us
    ToRelay::GateOpen { opened_ns }.send(control.as_fd())?;
    let (crew, alive) = crew.into_parts();
    let watch = Watch {
        crew,
        alive,
        control,
        running: Some(running),
        client,
        signals,
        wall: plan.resources.wall,
        leaf: cage.leaf(),
        ceilings: Ceilings::watch(cage.leaf()),
        denials,
        ledger,
        pins: state.pins,
        reload,
        probes: Some(probes),
    };
    Ok(watch.run()?)
}

/// Core layers, and those that the policy requires, are in force, or the server does not start (P7). The log says of every
/// layer what it answered; of two answers the later one counts, for it looked at what the earlier one did.
fn accept(plan: &Plan, answers: Vec<LayerReport>) -> Result<Vec<LayerReport>, SessionError> {
    let silent = |layer| LayerReport { layer, answer: Answer::Unsupported("no answer".to_owned()) };
    let last = |layer| answers.iter().rev().find(|report| report.layer == layer).cloned();
    let layers: Vec<LayerReport> =
        Layer::ALL.into_iter().map(|layer| last(layer).unwrap_or_else(|| silent(layer))).collect();
    let needed = |layer: Layer| layer.is_core() || plan.require.contains(&layer);
    for LayerReport { layer, answer } in layers.iter().filter(|report| needed(report.layer)) {
        if let Answer::Unsupported(why) = answer
            && crate::weaken::in_force("core-layers")
        {
            return Err(SessionError::Layer { layer: layer.name(), why: why.clone() });
        }
        if fault::lacks(layer.name()) {
            return Err(SessionError::Layer { layer: layer.name(), why: "a test took it away".to_owned() });
        }
    }
    Ok(layers)
}

/// The text of a log's end where the relay did not write it.
const CUT_SHORT: &str = "the relay could not end the log: what it had not recorded is not in it";

/// The last note, the host index, and the exit code of docs/cli.md.
fn finish(ledger: Ledger, ended: &Ended) -> Result<Outcome, SessionError> {
    match ended.last {
        Some(point) => ledger.close(point)?,
        None => ledger.close_for_the_dead(ended.cause.code(), CUT_SHORT, ended.untold)?,
    }
    if ended.untold > 0 {
        tracing::warn!(
            "{} refused system calls are not in the log one by one: the relay did not take them",
            ended.untold
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced() -> Vec<LayerReport> {
        let core = Layer::ALL.into_iter().filter(|layer| layer.is_core());
        core.map(|layer| LayerReport { layer, answer: Answer::Enforced }).collect()
    }

    #[test]
    fn every_layer_answers_and_a_core_one_that_does_not_hold_stops_the_run() {
        let mut plan = crate::sandbox::test_plan();
        let accepted = accept(&plan, enforced()).unwrap();
        assert_eq!(accepted.iter().map(|report| report.layer).collect::<Vec<_>>(), Layer::ALL);
        for missing in enforced() {
            let mut answers = enforced();
            answers.retain(|report| report.layer != missing.layer);
            assert!(accept(&plan, answers.clone()).is_err(), "{}: no answer", missing.layer.name());
            answers.push(LayerReport { layer: missing.layer, answer: Answer::Partial("a gap".to_owned()) });
            assert!(accept(&plan, answers.clone()).is_ok(), "{}: partial", missing.layer.name());
            answers.push(LayerReport { layer: missing.layer, answer: Answer::Unsupported("gone".to_owned()) });
            assert!(accept(&plan, answers).is_err(), "{}: the later answer counts", missing.layer.name());
        }
        plan.require = vec![Layer::Lsm];
        assert!(accept(&plan, enforced()).is_err(), "an extra layer that the policy requires");
    }
}
