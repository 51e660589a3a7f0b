//! The process that becomes the server: it takes everything from itself, has the kernel confirm that, tries to get out,
//! waits at the gate, and executes.

use std::convert::Infallible;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, execve, setsid};

use super::namespaces::{Blueprint, await_word, fail, inside_id, take_identity};
use super::step::{At, Failure, Message, Reporter, Step};
use super::{Answer, Layer, LayerReport, capabilities, exec, landlock, rlimits, selftest, verify};
use crate::sys::fds::close_from;
use crate::sys::process::reset_signals;
use crate::weaken::in_force;

/// Descriptors 0, 1, 2, the report pipe and the go pipe.
const DESCRIPTORS: u32 = 5;

/// The rest of this process's life as ours.
pub(super) fn run(blueprint: &Blueprint<'_>, report: Reporter, go: OwnedFd) -> ! {
    let outcome = confine(blueprint, &report)
        .and_then(|untold| prove(blueprint, &report, untold))
        .and_then(|()| report.send(&Message::AtGate).at(Step::Gate))
        .and_then(|()| await_word(&go, Step::Gate))
        .and_then(|()| execute(blueprint));
    match outcome {
        Err(failure) => fail(&report, failure),
        Ok(never) => match never {},
    }
}

/// Answers why nobody hears of what the filter refuses, where somebody should.
fn confine(blueprint: &Blueprint<'_>, report: &Reporter) -> Result<Option<String>, Failure> {
    let said = |step| move |detail: String| Failure { step, errno: None, detail };
    setsid().at(Step::Session)?;
    reset_signals().at(Step::Signals)?;
    umask(Mode::from_bits_truncate(0o022));
    blueprint
        .callers
        .restore()
        .and_then(|()| rlimits::apply(&blueprint.plan.resources))
        .and_then(|()| rlimits::apply_to_files(blueprint.plan.filesystem.file_bytes_max()))
        .map_err(|error| said(Step::Rlimits)(chain(&error)))
        .at(Step::Rlimits)?;
    if in_force("close-range") {
        close_from(DESCRIPTORS).at(Step::CloseRange)?;
    }
    take_identity(blueprint.run_id).at(Step::Identity)?;
    capabilities::drop_all().map_err(|error| said(Step::Capabilities)(chain(&error))).at(Step::Capabilities)?;
    // Its parent is the init: when that dies the kernel kills the namespace anyway.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).at(Step::ParentDeath)?;
    if in_force("no-new-privs") {
        nix::sys::prctl::set_no_new_privs().at(Step::NoNewPrivs)?;
    }
    // Asked here, because Landlock would set it, too, and hide that we had not.
    if !nix::sys::prctl::get_no_new_privs().at(Step::NoNewPrivs)? && in_force("core-layers") {
        return Err(said(Step::NoNewPrivs)("not set".to_owned()));
    }
    chdir(&blueprint.plan.cwd)
        .map_err(|errno| Failure {
            step: Step::WorkingDirectory,
            errno: Some(errno),
            detail: blueprint.plan.cwd.display().to_string(),
        })
        .at(Step::WorkingDirectory)?;
    let answer = landlock::Rules::workload(&blueprint.plan.filesystem)
        .restrict_self()
        .map_err(|error| said(Step::Landlock)(chain(&error)))?;
    report.send(&Message::Layer(LayerReport { layer: Layer::Landlock, answer })).at(Step::Landlock)?;
    filter(blueprint, report).at(Step::Seccomp)
}

/// The filter. Its listener goes to the parent at once: what executes the server has none. Where the kernel gives no listener, the
/// same calls are refused and nobody hears of it; the answer is why.
fn filter(blueprint: &Blueprint<'_>, report: &Reporter) -> Result<Option<String>, Failure> {
    let failed = |errno| Failure { step: Step::Seccomp, errno: Some(errno), detail: String::new() };
    let untold = match blueprint.tells.then(|| blueprint.filter.install_telling()) {
        Some(Ok(listener)) => return report.hand_listener(listener).map(|()| None).map_err(failed),
        Some(Err(errno)) => Some(format!("denials are not recorded: no listener for the filter: {}", errno.desc())),
        None => None,
    };
    blueprint.filter.install().map(|()| untold).map_err(failed)
}

/// An error and its causes, one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Asks the kernel what holds, and the network whether it is closed.
fn prove(blueprint: &Blueprint<'_>, report: &Reporter, mut untold: Option<String>) -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/self/status").at(Step::Verify)?;
    for mut layer in verify::layers(&status, inside_id(blueprint.run_id)) {
        if layer.layer == Layer::Seccomp && layer.answer == Answer::Enforced {
            layer.answer = untold.take().map_or(Answer::Enforced, Answer::Partial);
        }
        report.send(&Message::Layer(layer)).at(Step::Verify)?;
    }
    let answer = if in_force("self-test") {
        selftest::run(&blueprint.plan.network).map_err(|breach| Failure {
            step: Step::SelfTest,
            errno: None,
            detail: format!("{}: {}", breach.probe, breach.got),
        })?;
        Answer::Enforced
    } else {
        Answer::Partial("not tested".to_owned())
    };
    report.send(&Message::Layer(LayerReport { layer: Layer::Netns, answer })).at(Step::SelfTest)
}

/// execve; comes back only with the reason why not. The detail is the missing interpreter, or empty.
fn execute(blueprint: &Blueprint<'_>) -> Result<Infallible, Failure> {
    Ok::<_, Failure>(()).at(Step::Exec)?;
    let image = blueprint.image;
    let Err(errno) = execve(&image.path, &image.argv, &image.environment);
    let program: &Path = &blueprint.plan.executable;
    let missing = if errno == Errno::ENOENT { exec::missing_interpreter(program) } else { None };
    let detail = missing.map(|path| path.display().to_string()).unwrap_or_default();
    Err(Failure { step: Step::Exec, errno: Some(errno), detail })
}
