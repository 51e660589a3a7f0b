//! A server that takes all it can get, one resource after the other: what it got is counted on the host, what the kernel did
//! about it is in the log, and a client whose call died with it is told why.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use harness::arena::{self, Arena, ROOT};
use harness::processes::{self, Process};
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::run::Run;
use harness::session::{Session, text_of};
use harness::wait;
use serde_json::{Value, json};

/// First uid of runs.
const RUN_BASE: u32 = 0x7000_0000;

/// The greedy server under `resources` and at most `processes` processes, ready to be called.
fn greedy(arena: &Arena, resources: &str, processes: u32) -> (Session, Process) {
    arena.folder("bin");
    let script = arena.file("bin/greedy.py", include_str!("greedy.py"));
    let policy = format!(
        "version: \"1\"\nname: greedy\ndefault: deny\ntools: {{take: {{rules: []}}}}\nsandbox:\n  filesystem: {{read: [{ROOT}/bin]}}\n  resources: {{{resources}}}\n  process: {{max: {processes}}}\n"
    );
    let script = script.to_str().expect("a plain path");
    let session = Run::new(arena, &policy).command(["python3", script]).begin();
    let server = processes::tree(session.pid())
        .into_iter()
        .find(|process| process.arguments().iter().any(|a| a == script) && uid(process) >= RUN_BASE);
    (session, server.expect("the server runs"))
}

fn take(session: &mut Session, what: &str) -> Value {
    session.call("take", json!({"what": what}))
}

/// `COUNT ERRNO` as the server tells it; only the errno is believed, and only to show that it went as far as it could.
fn refused_with(answer: &Value) -> i32 {
    let text = text_of(answer);
    text.split(' ').nth(1).and_then(|errno| errno.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn uid(process: &Process) -> u32 {
    let ids = process.status("Uid").unwrap_or_default();
    ids.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0)
}

fn alerts(code: &str) -> Vec<Value> {
    let alerts = records::of_type(DEFAULT_DIRECTORY, "alert");
    alerts.into_iter().filter(|record| record["reason"]["code"] == code).collect()
}

/// The most memory that all processes of the run were seen with, KiB, until it is told to stop.
fn watch_memory(root: u32) -> (Arc<AtomicBool>, thread::JoinHandle<u64>) {
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let watch = thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            let of_run = processes::tree(root).into_iter().filter(|process| uid(process) >= RUN_BASE);
            let resident =
                of_run.filter_map(|process| process.status("RssAnon")?.split(' ').next()?.parse::<u64>().ok());
            most = most.max(resident.sum());
        }
        most
    });
    (done, watch)
}

#[test]
fn a_server_that_uses_up_its_memory_is_killed_recorded_and_its_client_told() {
    arena::run(|arena| {
        let (mut session, _) = greedy(arena, "memory: 96M", 20);
        let (done, watch) = watch_memory(session.pid());
        let answer = take(&mut session, "memory");
        done.store(true, Ordering::Relaxed);
        let most_kib = watch.join().expect("it counts");
        assert!(most_kib > 32 << 10 && most_kib <= 96 << 10, "{most_kib} KiB of 96 MiB");
        let told = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"));
        for part in ["The server ended: signal 9.", "killed", "resources.memory"] {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
        let ended = session.ended();
        assert_eq!(ended.code, 128 + 9, "{}", ended.stderr);
        let alerts = alerts("out_of_memory");
        assert_eq!(alerts.len(), 1, "{alerts:#?}");
        assert_eq!((&alerts[0]["proc"]["oom"], &alerts[0]["severity"]), (&json!(true), &json!("warning")));
        let end = &records::of_type(DEFAULT_DIRECTORY, "session.end")[0];
        assert_eq!((&end["proc"]["oom"], &end["proc"]["signal"]), (&json!(true), &json!(9)), "{end}");
    });
}

#[test]
fn a_child_that_uses_up_the_memory_is_recorded_too() {
    arena::run(|arena| {
        let (mut session, _) = greedy(arena, "memory: 96M", 20);
        let answer = take(&mut session, "child_memory");
        // Version 1 kills the one process, version 2 the whole run.
        if answer["error"].is_null() {
            assert_eq!(text_of(&answer), "signal 9");
        }
        let _code = session.finish();
        assert_eq!(alerts("out_of_memory").len(), 1);
        let end = &records::of_type(DEFAULT_DIRECTORY, "session.end")[0];
        assert!(end["reason"]["text"].as_str().is_some_and(|text| text.contains("resources.memory")), "{end}");
    });
}

#[test]
fn processes_end_at_the_ceiling_and_the_log_says_so_while_the_server_lives() {
    arena::run(|arena| {
        let (mut session, server) = greedy(arena, "memory: 256M", 20);
        let answer = take(&mut session, "processes");
        assert_eq!(refused_with(&answer), libc::EAGAIN, "{answer}");
        let of_run = session.processes().into_iter().filter(|process| uid(process) >= RUN_BASE).count();
        assert!((10..=20).contains(&of_run), "{of_run} processes");
        assert!(server.is_alive());
        let recorded = || !alerts("process_limit").is_empty();
        assert!(wait::becomes_true(wait::COMES_LIMIT, recorded), "no alert");
        let told = alerts("process_limit")[0]["reason"]["text"].to_string();
        assert!(told.contains("process.max"), "{told}");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn descriptors_end_at_the_ceiling() {
    arena::run(|arena| {
        let (mut session, server) = greedy(arena, "open_files: 64", 20);
        let answer = take(&mut session, "files");
        assert_eq!(refused_with(&answer), libc::EMFILE, "{answer}");
        let open = server.descriptors().len();
        assert!((32..=64).contains(&open), "{open} descriptors");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_private_tmp_is_full_at_its_ceiling_of_bytes_and_of_files() {
    arena::run(|arena| {
        let (mut session, server) = greedy(arena, "tmp: 8M", 20);
        let tmp = format!("/proc/{}/root/tmp", server.pid);
        let answer = take(&mut session, "space");
        assert_eq!(refused_with(&answer), libc::ENOSPC, "{answer}");
        let filled = fs::metadata(format!("{tmp}/fill")).expect("root looks into its view").len();
        assert!((4 << 20..=8 << 20).contains(&filled), "{filled} bytes of 8 MiB");
        assert_eq!(session.finish().code, 0);

        let (mut session, server) = greedy(arena, "tmp: 8M", 20);
        let answer = take(&mut session, "inodes");
        assert_eq!(refused_with(&answer), libc::ENOSPC, "{answer}");
        let files = fs::read_dir(format!("/proc/{}/root/tmp", server.pid)).expect("root looks into its view").count();
        assert!((100..100_000).contains(&files), "{files} files in 8 MiB");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_processor_is_shared_as_the_policy_says() {
    arena::run(|arena| {
        let (mut session, server) = greedy(arena, "cpu: 0.25", 20);
        let before = seconds_of(&session);
        let begun = Instant::now();
        let answer = take(&mut session, "cpu");
        assert_eq!(text_of(&answer), "2", "{answer}");
        let (used, took) = (seconds_of(&session) - before, begun.elapsed().as_secs_f64());
        assert!(server.is_alive());
        // Three burn for 3 s; a period more than the share may be under way at either end.
        assert!(used > 0.1 && used <= took * 0.25 + 0.25, "{used:.2} s of the processor in {took:.2} s");
        assert_eq!(session.finish().code, 0);
    });
}

/// Processor time of the run's processes, those that ended included, seconds (proc_pid_stat(5): 14 to 17).
fn seconds_of(session: &Session) -> f64 {
    let of_run = session.processes().into_iter().filter(|process| uid(process) >= RUN_BASE);
    let ticks = of_run.filter_map(|process| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
        let (_, tail) = stat.rsplit_once(") ")?;
        tail.split(' ').skip(11).take(4).map(|field| field.parse::<u32>().ok()).sum::<Option<u32>>()
    });
    f64::from(ticks.sum::<u32>()) / 100.0 // USER_HZ is 100 on every architecture of ours
}

#[test]
fn a_flood_on_stderr_is_cut_line_by_line() {
    const LINES: usize = 100;
    const LINE_BYTES_MAX: usize = (8 << 10) + 128;
    arena::run(|arena| {
        let (mut session, _) = greedy(arena, "memory: 256M", 20);
        let answer = take(&mut session, "noise");
        assert_eq!(text_of(&answer), "said", "{answer}");
        let ended = session.finish();
        assert_eq!(ended.code, 0);
        let shown = ended.stderr.lines().filter(|line| line.contains("nnnn")).count();
        assert!((1..=LINES).contains(&shown), "{shown} lines");
        assert!(ended.stderr.len() <= LINES * LINE_BYTES_MAX, "{} bytes", ended.stderr.len());
    });
}
