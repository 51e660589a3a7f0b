//! Nothing outlives anything: whoever dies, however, the server's last process is gone within a second.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use intercept_sandbox::sandbox::cgroup::sweep;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::run::{Run, of_uid, shell, start, status, within_a_second};

/// Every case of this file.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("sigkill_of_the_monitor_leaves_nobody", sigkill_of_the_monitor_leaves_nobody),
    ("the_lifeline_alone_is_enough", the_lifeline_alone_is_enough),
    ("the_parent_death_signal_alone_is_enough", the_parent_death_signal_alone_is_enough),
    ("sigkill_of_pid_1_leaves_nobody", sigkill_of_pid_1_leaves_nobody),
    ("daemons_die_with_the_server", daemons_die_with_the_server),
    ("term_and_int_reach_the_server", term_and_int_reach_the_server),
    ("orphans_are_reaped", orphans_are_reaped),
    ("sigkill_at_any_moment_of_a_launch_leaves_nobody", sigkill_at_any_moment_of_a_launch_leaves_nobody),
    ("a_fork_bomb_stays_inside", a_fork_bomb_stays_inside),
];

/// A server that does all it can to stay: ignores signals, double forks, changes session, burns CPU.
const CLINGING: &str = "trap '' HUP INT TERM USR1 USR2
    (setsid sh -c \"trap '' HUP INT TERM; sleep 1000 & while :; do :; done\" & ) &
    (sleep 1000 &) & sleep 0.2; echo ready; while :; do sleep 1000; done";

fn clinging() -> (Run, u32, i32) {
    let mut run = start(&[], &["/bin/sh", "-c", CLINGING]);
    assert_eq!(run.line(), "ready");
    let facts = run.facts();
    let (uid, init) = (facts["uid"].parse().unwrap(), facts["init"].parse().unwrap());
    assert!(of_uid(uid).len() >= 5, "{:?}", of_uid(uid));
    (run, uid, init)
}

fn nobody(uid: u32) {
    within_a_second("processes of the run are left", || of_uid(uid).is_empty());
}

fn sigkill_of_the_monitor_leaves_nobody() {
    let (run, uid, _) = clinging();
    run.signal(Signal::SIGKILL);
    nobody(uid);
    run.finish();
    sweep().unwrap();
}

fn the_lifeline_alone_is_enough() {
    let mut run = start(&["--cut"], &["/bin/sh", "-c", CLINGING]);
    assert_eq!(run.line(), "ready");
    let uid = run.facts()["uid"].parse().unwrap();
    run.signal(Signal::SIGUSR1);
    nobody(uid);
    assert_eq!(run.finish().code, Some(137));
}

fn the_parent_death_signal_alone_is_enough() {
    let (run, uid, init) = clinging();
    let pipe = std::fs::read_link(format!("/proc/{init}/fd/0")).unwrap();
    let launcher = run.launcher();
    // A second holder of the lifeline: it does not hang up when the launcher dies.
    let held = std::fs::read_dir(format!("/proc/{launcher}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_link(path).unwrap() == pipe)
        .map(|path| OpenOptions::new().write(true).open(path).unwrap());
    assert!(held.is_some(), "the launcher does not hold {}", pipe.display());
    run.signal(Signal::SIGKILL);
    nobody(uid);
    run.finish();
    sweep().unwrap();
}

fn sigkill_of_pid_1_leaves_nobody() {
    let (run, uid, init) = clinging();
    kill(Pid::from_raw(init), Signal::SIGKILL).unwrap();
    nobody(uid);
    assert_eq!(run.finish().code, Some(137));
}

fn daemons_die_with_the_server() {
    let mut run = start(&[], &["/bin/sh", "-c", "(setsid sleep 1000 &) & sleep 0.1; exit 4"]);
    let uid = run.facts()["uid"].parse().unwrap();
    // The daemon holds our pipes: they end only because it does.
    assert_eq!(run.finish().code, Some(4));
    assert_eq!(of_uid(uid), [] as [i32; 0]);
}

fn term_and_int_reach_the_server() {
    let script = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = start(&["--terminate"], &["/bin/sh", "-c", script]);
    assert_eq!(run.line(), "ready");
    run.signal(Signal::SIGUSR1);
    assert_eq!(run.line(), "told");
    assert_eq!(run.finish().code, Some(5));

    let mut run = start(&[], &["/bin/sh", "-c", &script.replace("TERM", "INT")]);
    assert_eq!(run.line(), "ready");
    kill(Pid::from_raw(run.facts()["init"].parse().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(run.line(), "told");
    assert_eq!(run.finish().code, Some(5));
}

fn orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 0' & ) ; done; echo ready; read line";
    let mut run = start(&[], &["/bin/sh", "-c", script]);
    assert_eq!(run.line(), "ready");
    let init = run.facts()["init"].clone();
    let children = || std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    within_a_second("orphans stay", || children().split_whitespace().count() == 1);
    let main = super::run::main_process(&init);
    assert_ne!(status(main, "State").chars().next(), Some('Z'));
    run.stdin().write_all(b"\n").unwrap();
    assert_eq!(run.finish().code, Some(0));
}

fn sigkill_at_any_moment_of_a_launch_leaves_nobody() {
    for step in 0..40_u64 {
        let mark = format!("cage-mark-{}-{step}", std::process::id());
        let run = start(&[], &["/bin/sh", "-c", "echo \"$0\"; sleep 1000", &mark]);
        std::thread::sleep(Duration::from_micros(step * 700));
        run.signal(Signal::SIGKILL);
        // Before the exec a process of ours still has the launcher's command line, which has the mark, too.
        within_a_second("marked processes are left", || !marked(&mark));
        run.finish();
    }
    sweep().unwrap();
}

/// Whether a live process has `mark` in its command line.
fn marked(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line.windows(mark.len()).any(|window| window == mark.as_bytes()))
}

fn a_fork_bomb_stays_inside() {
    let mut run = start(&["--pids", "16"], &["/bin/sh", "-c", "b() { b | b & }; b; sleep 0.5; echo over"]);
    let uid = run.facts()["uid"].parse().unwrap();
    let mut most = 0;
    for _ in 0..50 {
        most = most.max(of_uid(uid).len());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!((2..=17).contains(&most), "{most} processes"); // pids.max and pid 1
    run.finish();
    nobody(uid);
    assert_eq!(shell(&[], "exit 0").code, Some(0));
}
