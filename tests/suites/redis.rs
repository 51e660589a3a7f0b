//! One quota for several supervisors, in Redis: counted together, refused when it is gone, its password in one process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, ROOT};
use harness::processes::Process;
use harness::redis::{ADDRESS, PASSWORD, Redis, private};
use harness::run::{self, Run, said};
use harness::session::{Session, denial_code, text_of};
use harness::together::Together;
use harness::wait::{COMES_LIMIT, on_this_machine};
use harness::{policies, records};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The echo server, with `max` calls a minute.
fn echo(arena: &Arena, max: u32, state_dsn: &str) -> Run {
    let program = arena.program("echo_server");
    let text = policies::plain(&["echo", "free"], &format!("{ROOT}/bin"));
    let limited = format!("echo: {{rules: [{{rate_limit: {{max: {max}, window: 60}}}}]}}");
    // The server executes `free` without listing it: pins would refuse that.
    let text = format!("{}server: {{pins: off}}\n", text.replace("echo: {rules: []}", &limited));
    Run::new(arena, &text).flag("--state-dsn").flag(state_dsn).command([program])
}

fn say(session: &mut Session) -> Option<String> {
    denial_code(&session.call("echo", json!({"text": "x"}))).map(str::to_owned)
}

#[test]
fn two_supervisors_on_one_redis_allow_ten_together_and_say_the_wait() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let stage = Together::stage(arena);
        let run = stage.run.flag("--state-dsn").flag(redis.dsn_file(arena));
        let mut sessions = [run.start(), run.start()];
        sessions.iter_mut().for_each(|session| drop(session.initialize()));
        let draw = |session: &mut Session| session.call("generate_image", json!({"prompt": "a lighthouse"}));

        let before_first = Instant::now();
        let mut after_first = None;
        for number in 0..10 {
            let answer = draw(&mut sessions[number % 2]);
            assert_eq!(denial_code(&answer), None, "call {number}: {answer}");
            after_first.get_or_insert_with(Instant::now);
        }
        let before_last = Instant::now();
        let answer = draw(&mut sessions[1]);
        let after_last = Instant::now();
        assert_eq!(denial_code(&answer), Some("rate_limited"), "{answer}");
        let wait_ms = answer["result"]["_meta"]["intercept-sandbox/decision"]["retry_after_ms"].as_u64();
        let wait_ms = u128::from(wait_ms.unwrap_or_else(|| panic!("{answer}")));
        let least = 60_000_u128.saturating_sub((after_last - before_first).as_millis() + 1);
        let most = 60_000_u128.saturating_sub((before_last - after_first.expect("ten calls")).as_millis()) + 1;
        assert!((least..=most).contains(&wait_ms), "{wait_ms} ms is not in {least}..={most}");
        let text = text_of(&answer);
        assert!(text.ends_with(&format!("Try again in {} s.", wait_ms.div_ceil(1000))), "{text}");
        assert_eq!(denial_code(&draw(&mut sessions[0])), Some("rate_limited"));
        assert_eq!(stage.stand_in.requests().len(), 10);
        for session in sessions {
            let ended = session.finish();
            assert_eq!(ended.code, 0);
            assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
        }
        for segment in records::segments(records::DEFAULT_DIRECTORY) {
            assert!(!fs::read_to_string(&segment).expect("a log").contains(PASSWORD), "the password is in the log");
        }
        let kept = fs::read_dir("/var/lib/intercept-sandbox").expect("there").flatten().map(|entry| entry.file_name());
        assert_eq!(kept.collect::<Vec<_>>(), ["pins"], "no counts are kept here");
    });
}

#[test]
fn a_killed_supervisor_resets_nothing_over_a_socket_either() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        redis.drop_password();
        let run = echo(arena, 2, &redis.socket_dsn());
        let mut session = run.begin();
        assert_eq!((say(&mut session), say(&mut session)), (None, None), "{}", session.stderr());
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);
        let mut session = run.begin();
        assert_eq!(say(&mut session).as_deref(), Some("rate_limited"));
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn without_redis_calls_with_a_limit_are_refused_and_the_session_lives() {
    arena::run(|arena| {
        let mut redis = Redis::start(arena);
        let mut session = echo(arena, 100, &redis.dsn_file(arena)).begin();
        assert_eq!(say(&mut session), None);
        redis.kill();
        for _ in 0..5 {
            let begun = Instant::now();
            assert_eq!(say(&mut session).as_deref(), Some("store_down"));
            assert!(begun.elapsed() < on_this_machine(Duration::from_secs(3)), "{:?}", begun.elapsed());
        }
        assert_eq!(denial_code(&session.call("free", json!({}))), None, "what has no limit goes on");
        redis.restart();
        let recovered = harness::wait::until(COMES_LIMIT, || say(&mut session).is_none().then_some(()));
        assert!(recovered.is_some(), "{}", session.stderr());
        let ended = session.finish();
        assert_eq!(ended.code, 0);
        assert!(ended.stderr.contains("limit store") && !ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    });
}

#[test]
fn a_hanging_redis_costs_a_call_two_seconds_and_no_more() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let mut session = echo(arena, 100, &redis.dsn_file(arena)).begin();
        assert_eq!(say(&mut session), None);
        redis.signal(Signal::SIGSTOP);
        for _ in 0..4 {
            let begun = Instant::now();
            assert_eq!(say(&mut session).as_deref(), Some("store_down"));
            assert!(begun.elapsed() < on_this_machine(Duration::from_millis(3_000)), "{:?}", begun.elapsed());
        }
        assert_eq!(denial_code(&session.call("free", json!({}))), None);
        redis.signal(Signal::SIGCONT);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_link_is_confined_and_its_death_ends_nothing() {
    arena::run(|arena| {
        let mut redis = Redis::start(arena);
        let mut session = echo(arena, 100, &redis.dsn_file(arena)).begin();
        let link = session.of_ours("isb-link");
        let status = |field: &str| link.status(field).unwrap_or_default();
        assert_eq!(status("Seccomp"), "2");
        assert_eq!(status("NoNewPrivs"), "1");
        assert_eq!(status("CapEff"), "0000000000000000");
        assert!(!status("Uid").starts_with("0\t") && !status("Gid").starts_with("0\t"), "{}", status("Uid"));
        let sockets = link.descriptors().values().filter(|what| what.starts_with("socket:")).count();
        assert_eq!(sockets, 1, "it keeps no connection of its own: {:?}", link.descriptors());

        assert!(link.signal(Signal::SIGKILL), "it runs");
        assert_eq!(say(&mut session), None, "the relay has its connection");
        redis.kill();
        redis.restart();
        assert_eq!(say(&mut session).as_deref(), Some("store_down"), "and nobody makes another");
        assert_eq!(denial_code(&session.call("free", json!({}))), None);
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_password_is_in_the_memory_of_the_link_alone() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let mut session = echo(arena, 100, &redis.dsn_file(arena)).begin();
        assert_eq!(say(&mut session), None);
        let supervisor = Process::find(session.pid()).expect("it runs");
        let holders: Vec<String> = [supervisor]
            .into_iter()
            .chain(session.processes())
            .filter(|process| holds(process, PASSWORD.as_bytes()))
            .map(|process| process.comm)
            .collect();
        assert_eq!(holders, ["isb-link"]);
        assert_eq!(session.finish().code, 0);
    });
}

/// Whether the bytes stand anywhere in the writable memory of a process.
fn holds(process: &Process, wanted: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap_or_default();
    let memory = File::open(format!("/proc/{}/mem", process.pid)).expect("root can look");
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("proc_pid_maps(5)");
        let address = |hex: &str| u64::from_str_radix(hex, 16).expect("proc_pid_maps(5)");
        let (from, to) = (address(from), address(to));
        // Reserved and never touched: a thread's arena, not a place for a password. What is read page by page is there.
        (from..to).step_by(1 << 20).any(|start| {
            let mut part = vec![0; usize::try_from((to - start).min((1 << 20) + 4096)).expect("a megabyte")];
            let length = memory.read_at(&mut part, start).unwrap_or(0);
            part[..length].windows(wanted.len()).any(|window| window == wanted)
        })
    })
}

#[test]
fn a_store_that_cannot_be_used_stops_the_run() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let wrong = private(arena, "wrong.dsn", &format!("redis://:{PASSWORD}-not@{ADDRESS}"));
        let no_db = private(arena, "no-db.dsn", &format!("redis://:{PASSWORD}@{ADDRESS}/99"));
        let nobody = private(arena, "nobody.dsn", &format!("redis://:{PASSWORD}@{ADDRESS}:9"));
        let refused = |state_dsn: &str, code: &str, why: &str| {
            let ended = echo(arena, 1, state_dsn).start().finish();
            assert_eq!(ended.code, 125, "{state_dsn}: {}", ended.stderr);
            assert!(ended.stderr.contains(code) && ended.stderr.contains(why), "{state_dsn}: {}", ended.stderr);
            assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
        };
        refused(&wrong, "ISB-R012", "WRONGPASS");
        refused(&no_db, "ISB-R012", "database 99");
        refused(&nobody, "ISB-R012", "refused");
        refused(&format!("redis://{ADDRESS}"), "ISB-R012", "NOAUTH");
        refused(&format!("redis://:{PASSWORD}@{ADDRESS}"), "ISB-R020", "file:/PATH");
        refused("rediss://redis.internal", "ISB-R020", "TLS");
        let open = arena.file("open.dsn", format!("redis://:{PASSWORD}@{ADDRESS}"));
        refused(&format!("file:{}", open.display()), "ISB-R012", "chmod 0600");
        assert!(redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).status.success());
        refused(&redis.dsn_file(arena), "ISB-R012", "maxmemory-policy");
    });
}

#[test]
fn the_flag_loosens_and_does_not_go_with_a_directory() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let run = echo(arena, 1, &redis.dsn_file(arena));
        let mut behind_sudo = run.to_command();
        behind_sudo.env("SUDO_UID", "1000");
        let ended = Session::start(behind_sudo).finish();
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.stderr.contains("--state-dsn loosens"), "{}", ended.stderr);
        let both = run.clone().flag("--state-dir").flag(arena.path("state")).start().finish();
        assert_ne!(both.code, 0, "{}", both.stderr);
        assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);

        let plan = run.flag("--dry-run").to_command().output().expect("it starts");
        assert!(plan.status.success(), "{}", said(&plan));
        let shown = said(&plan);
        assert!(shown.contains("state        file:") && !shown.contains(PASSWORD), "{shown}");
        let checked = run::subcommand(["policy".as_ref(), "check".as_ref(), arena.path("policy.yaml").as_os_str()]);
        assert!(checked.status.success(), "{}", said(&checked));
    });
}

#[test]
fn a_policy_may_allow_the_flag() {
    arena::run(|arena| {
        let redis = Redis::start(arena);
        let text = policies::plain(&["echo"], &format!("{ROOT}/bin")) + "cli: {allow: [state-dsn]}\n";
        let run = Run::new(arena, &text)
            .flag("--state-dsn")
            .flag(redis.dsn_file(arena))
            .command([arena.program("echo_server")]);
        let mut behind_sudo = run.to_command();
        behind_sudo.env("SUDO_UID", "1000");
        let mut session = Session::start(behind_sudo);
        session.initialize();
        let answer: Value = session.call("echo", json!({}));
        assert_eq!(denial_code(&answer), None, "{answer}");
        assert_eq!(session.finish().code, 0);
    });
}
