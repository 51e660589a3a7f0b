//! Launch and kill, again and again, at any moment and whoever of us it hits; and many sessions at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, ROOT};
use harness::processes::{self, Process};
use harness::remains::{Before, GONE_LIMIT, Namespaces};
use harness::run::Run;
use harness::session::Session;
use harness::{policies, table};
use nix::sys::signal::Signal;
use serde_json::json;

/// A launch takes some 100 ms in a debug build: half of the kills hit it, half what runs.
const DELAY_MS_MAX: u64 = 300;

fn run(arena: &Arena, before: &Before) -> Run {
    arena.program("echo_server");
    // The second word only marks the command line; the server serves whatever it is.
    let script = format!("exec {ROOT}/bin/echo_server");
    Run::new(arena, &policies::plain(&["echo"], &format!("{ROOT}/bin"))).command([
        "/bin/sh",
        "-c",
        &script,
        before.mark(),
    ])
}

/// Random enough to hit every moment, and the same again from the same seed (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Struck {
    /// Whom it was.
    victim: String,
    /// What the session had made by then.
    namespaces: Namespaces,
    /// Whether it was the monitor, before its janitor stood: then the next start sweeps what it held.
    is_nobody_left: bool,
}

/// Kills one process of the session, or leaves as the client.
fn strike(session: &mut Session, dice: &mut Dice) -> Struck {
    let crowd = session.processes();
    let namespaces = Namespaces::of(&crowd);
    let chosen = usize::try_from(dice.below(crowd.len() as u64 + 1)).expect("few processes");
    let Some(victim) = crowd.get(chosen) else {
        session.close();
        return Struck { victim: "client".into(), namespaces, is_nobody_left: false };
    };
    // It may have ended on its own a moment ago: then this round kills nobody.
    let _ = victim.signal(Signal::SIGKILL);
    let is_nobody_left = victim.pid == session.pid() && !crowd.iter().any(|process| process.comm == "isb-janitor");
    Struck { victim: victim.comm.clone(), namespaces, is_nobody_left }
}

fn rounds(arena: &Arena, count: u64) {
    let seed = std::env::var("ISB_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 32 | 0x9e37_79b9);
    let before = Before::look();
    let (run, mut dice) = (run(arena, &before), Dice(seed));
    let mut victims: BTreeMap<String, u32> = BTreeMap::new();
    let begun = Instant::now();
    let (mut slowest, mut made) = (Duration::ZERO, 0);
    for round in 0..count {
        let mut session = run.start();
        std::thread::sleep(Duration::from_millis(dice.below(DELAY_MS_MAX)));
        let Struck { victim, namespaces, is_nobody_left } = strike(&mut session, &mut dice);
        let started = Instant::now();
        // Whoever it hit: the session ends, at the latest when its client leaves.
        session.close();
        let ended = session.ended();
        let what = format!("round {round}, seed {seed}, killed {victim}: {}", ended.stderr);
        let look = if is_nobody_left { Before::processes } else { Before::all };
        assert_eq!(before.after(GONE_LIMIT, look), [] as [String; 0], "{what}");
        assert_eq!(before.after(GONE_LIMIT, |_| namespaces.holders()), [] as [String; 0], "{what}");
        slowest = slowest.max(started.elapsed());
        made += namespaces.count();
        if is_nobody_left {
            // Here and not later, so that no other round finds, or hides, what this one left.
            let ended = run.start().finish();
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            assert_eq!(before.after(GONE_LIMIT, Before::all), [] as [String; 0], "swept after {what}");
        }
        *victims.entry(victim).or_default() += 1;
    }
    let took = begun.elapsed();
    assert!(made > 0, "no round saw a namespace of its session");
    let rows: Vec<_> = victims.into_iter().map(|(victim, times)| vec![victim, times.to_string()]).collect();
    let title = format!(
        "launch and kill: {count} rounds in {took:.1?}, slowest end {slowest:.1?}, nothing left, {made} namespaces among it; ISB_SEED={seed} repeats it"
    );
    table::print(&title, &["killed", "times"], &rows);
}

#[test]
fn launch_and_kill_leaves_nothing() {
    arena::run(|arena| rounds(arena, 25));
}

#[test]
#[ignore = "slow: `cargo xtask test --full`"]
fn a_thousand_rounds_of_launch_and_kill_leave_nothing() {
    arena::run(|arena| rounds(arena, 1_000));
}

/// Sessions that live at the same time; each has answered a call before the first one ends, and once more after the last one
/// has started.
fn at_once(arena: &Arena, count: usize) {
    let before = Before::look();
    let run = run(arena, &before);
    let begun = Instant::now();
    let mut sessions: Vec<Session> = Vec::with_capacity(count);
    for _ in 0..count {
        let session = run.begin();
        sessions.push(session);
    }
    let started = begun.elapsed();
    let uids: std::collections::BTreeSet<String> = sessions.iter().map(uid).collect();
    assert_eq!(uids.len(), count, "every session has a uid of its own");
    for (number, session) in sessions.iter_mut().enumerate() {
        let answer = session.call("echo", json!({"text": "x"}));
        assert!(answer["result"].is_object(), "session {number}: {answer}");
    }
    let answered = begun.elapsed();
    let of_us: Vec<Process> = sessions.iter().flat_map(Session::processes).collect();
    let taken_mib = of_us.iter().map(pss_kib).sum::<u64>() / 1024;
    let of_us = of_us.len();
    for session in sessions {
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    assert_eq!(before.after(GONE_LIMIT, Before::all), [] as [String; 0]);
    let row = vec![format!("{started:.1?}"), format!("{answered:.1?}"), of_us.to_string(), format!("{taken_mib} MiB")];
    let title = format!("{count} sessions at once");
    table::print(&title, &["all started after", "all answered after", "processes", "their memory"], &[row]);
}

/// The uid of a session's pid 1.
fn uid(session: &Session) -> String {
    let tree = processes::tree(session.pid());
    let init = tree.iter().find(|process| process.comm.starts_with("memfd:")).expect("a session has a pid 1");
    init.status("Uid").expect("it runs")
}

/// Its share of memory, pages that others have too counted in parts (proc_pid_smaps(5)).
fn pss_kib(process: &Process) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).unwrap_or_default();
    let number = text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

#[test]
fn a_dozen_sessions_live_at_once() {
    arena::run(|arena| at_once(arena, 12));
}

#[test]
#[ignore = "slow: `cargo xtask test --full`"]
fn two_hundred_sessions_live_at_once() {
    arena::run(|arena| at_once(arena, 200));
}
