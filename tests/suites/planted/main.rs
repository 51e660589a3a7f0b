//! A relay and an egress that were taken over: a planted bug, in a build with the feature `weaken` alone, lets an input order
//! either process to do what an intruder would try. The host judges; what the process says is only printed.

mod deeds;
mod ground;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use harness::arena::{self, Arena};
use harness::processes::Process;
use harness::wait::{self, COMES_LIMIT};
use harness::{paths, records, table};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::deeds::{ComesTo, Target, asked, deeds};
use crate::ground::{Ground, KEY};

/// Does every deed in a session of its own, weakened by `dropped` or as it is; gives the names of those that the host saw.
fn seen(arena: &Arena, target: Target, dropped: Option<&str>) -> (BTreeSet<&'static str>, usize) {
    let ground = Ground::lay(arena);
    let (mut rows, mut names) = (Vec::new(), BTreeSet::new());
    let all = deeds(target, &ground);
    let count = all.len();
    for deed in all {
        let outcome = ground.attempt(arena, target, &deed, dropped);
        if outcome.seen {
            names.insert(deed.name);
        }
        let seen = if outcome.seen { "SEEN" } else { "no" };
        rows.push(vec![deed.name.to_owned(), seen.to_owned(), outcome.told]);
    }
    let title = format!("{} taken over, {}", target.comm(), dropped.map_or("confined", |_| "not confined"));
    table::print(&title, &["deed", "the host", "the process"], &rows);
    (names, count)
}

fn assert_nothing(target: Target) {
    arena::run(move |arena| {
        let (seen, _) = seen(arena, target, None);
        assert!(seen.is_empty(), "a {} that was taken over did this: {seen:?}", target.comm());
    });
}

/// The other half of the proof: where nothing confines it, the host sees every deed.
fn assert_everything(target: Target) {
    arena::run(move |arena| {
        let (seen, count) = seen(arena, target, Some(target.layers()));
        assert_eq!(seen.len(), count, "the host sees only {seen:?}");
    });
}

#[test]
fn a_relay_that_was_taken_over_gets_nothing() {
    assert_nothing(Target::Relay);
}

#[test]
fn an_egress_that_was_taken_over_gets_nothing() {
    assert_nothing(Target::Egress);
}

#[test]
fn an_unconfined_relay_does_everything() {
    assert_everything(Target::Relay);
}

#[test]
fn an_unconfined_egress_does_everything() {
    assert_everything(Target::Egress);
}

/// What cannot be had aborts: the session ends in order, and its log names who died.
#[test]
fn who_would_take_more_memory_than_is_his_ends_the_session() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        for (target, code) in [(Target::Relay, "relay_died"), (Target::Egress, "egress_died")] {
            let outcome = ground.attempt(arena, target, &target.takes_twice(), None);
            assert!(!outcome.seen, "{code}: {}", outcome.told);
            let ended = outcome.session.expect("nobody has ended it").ended();
            assert_eq!(ended.code, 124, "{}", ended.stderr);
            let said = format!("{} was ended by SIGABRT", target.comm());
            assert!(ended.stderr.contains(&said) && ended.stderr.contains("memory allocation"), "{}", ended.stderr);
            let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
            assert!(ends.iter().any(|end| end["reason"]["code"] == code), "{code}: {ends:#?}");
        }
    });
}

/// The dialer is all the road that an egress has which was taken over: what it gives is what the policy allows.
#[test]
fn a_dialer_gives_what_the_policy_allows_and_nothing_else() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let mut rows = Vec::new();
        for asked in asked() {
            let before = ends_of_overstepping();
            let outcome = ground.attempt(arena, Target::Egress, &asked.deed, None);
            let name = asked.deed.name;
            let is_over = !matches!(asked.comes_to, ComesTo::Connection | ComesTo::Refusal(_));
            let code = outcome.session.map(|session| if is_over { session.ended() } else { session.finish() }.code);
            rows.push(vec![name.to_owned(), format!("{}", outcome.seen), outcome.told]);
            assert_eq!(outcome.seen, asked.comes_to == ComesTo::Connection, "{name}");
            assert_eq!(ground.canaries.take_all().into_iter().collect::<Vec<_>>(), [], "{name}: another canary");
            assert_eq!(code, Some(if is_over { 124 } else { 0 }), "{name}");
            assert_eq!(ends_of_overstepping() - before, usize::from(is_over), "{name}: the log says so");
        }
        table::print("what a dialer is asked for", &["asked", "the host", "the process"], &rows);
    });
}

/// The other half of the proof: the host sees what a dialer without its rules gives.
#[test]
fn a_dialer_without_its_rules_gives_more() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        for asked in asked() {
            if let ComesTo::Refusal(rule) | ComesTo::End(rule) = asked.comes_to {
                let outcome = ground.attempt(arena, Target::Egress, &asked.deed, Some(rule));
                assert!(outcome.seen, "{} without {rule}: {}", asked.deed.name, outcome.told);
            }
        }
    });
}

/// The dialer says that egress overstepped, be it after egress and the server are gone.
#[test]
fn an_egress_that_oversteps_and_dies_first_is_told_by_what_it_asked() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let mut session = ground.session(arena, None);
        let (dialer, egress, monitor) = (session.of_ours("isb-dialer"), session.of_ours("isb-egress"), session.pid());
        let crowd = session.processes();
        let server: Vec<_> = crowd.iter().filter(|it| !it.comm.starts_with("isb-") && it.pid != monitor).collect();
        assert!(!server.is_empty() && dialer.signal(Signal::SIGSTOP), "{crowd:?}");
        let arguments = json!({"name": "say-to-allowed", "argument": "isb-planted egress overstep exfil.example:443;"});
        let params = json!({"name": "probe", "arguments": arguments});
        session.send(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
        let all_gone = || !egress.is_alive() && server.iter().all(|process| !process.is_alive());
        assert!(wait::becomes_true(COMES_LIMIT, all_gone), "{}", session.stderr());
        dialer.signal(Signal::SIGCONT); // where the monitor did not wait for it, it is gone
        assert_eq!(session.ended().code, 124);
        assert_eq!(ends_of_overstepping(), 1);
    });
}

/// How many sessions ended because egress asked for what it never asks for.
fn ends_of_overstepping() -> usize {
    let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
    ends.iter().filter(|end| end["reason"]["code"] == "egress_overstepped").count()
}

/// What a relay was connected by may be another process' by the time that it dies: nobody waits there for its last words.
#[test]
fn a_relay_whose_sockets_another_process_keeps_dies_like_any_other() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let session = ground.session(arena, None);
        let (relay, crowd) = (session.of_ours("isb-relay"), session.processes());
        let mut holder = Command::new(paths::helper("sockets_of"));
        holder.arg(relay.pid.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts helpers")]
        let mut holder = holder.spawn().expect("it was built");
        let mut told = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut told).expect("a pipe can be read");
        assert!(told.starts_with("held ") && told != "held 0\n", "{told}");
        assert!(relay.signal(Signal::SIGKILL), "it runs");
        let died = wait::becomes_true(COMES_LIMIT, || crowd.iter().all(|process| !process.is_alive()));
        // First, for who waits for the sockets waits no longer then.
        drop(holder.stdin.take());
        assert!(holder.wait().expect("our own child").success());
        assert!(died, "the session lives as long as the relay's sockets");
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
        assert_eq!(ends.last().map(|end| &end["reason"]["code"]), Some(&json!("relay_died")), "{ends:#?}");
    });
}

#[test]
fn nobody_but_the_monitor_holds_the_pipe_of_another_or_the_key() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        // The first session of a host makes the keys, the second finds them.
        for session in ["first", "second"] {
            let running = ground.session(arena, None);
            let of = |comm: &str| running.of_ours(comm);
            let pipes = |process: &Process| -> BTreeSet<String> {
                let all = process.descriptors();
                all.iter().filter(|(fd, to)| **fd != 2 && to.starts_with("pipe:")).map(|(_, to)| to.clone()).collect()
            };
            let (relay, egress) = (of("isb-relay"), of("isb-egress"));
            assert!(pipes(&relay).len() >= 5, "client, server and their stderr: {:?}", relay.descriptors());
            let shared: Vec<_> = pipes(&relay).intersection(&pipes(&egress)).cloned().collect();
            assert!(shared.is_empty(), "{session}: egress holds pipes of the relay: {shared:?}");
            assert_eq!(pipes(&of("isb-dialer")), BTreeSet::new(), "{session}: the dialer holds pipes");

            let key = fs::read_to_string(KEY).expect("made by the first session");
            let seed = key.lines().nth(2).expect("the seed");
            let needles = [seed.as_bytes().to_vec(), decode(seed)];
            // The search sees: the relay knows its own session's name.
            let known = ground::session_name(&relay);
            assert!(holds(&relay, known.as_bytes()), "{session}: the search finds nothing at all");
            for process in [relay, egress, of("isb-dialer"), of("isb-janitor")] {
                let found = needles.iter().any(|needle| holds(&process, needle));
                assert!(!found, "{session}: the signing key is in the memory of {}", process.comm);
            }
            assert_eq!(running.finish().code, 0);
        }
    });
}

/// Whether `needle` stands anywhere in the memory that the process may write to.
fn holds(process: &Process, needle: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).expect("root may look");
    let memory = File::open(format!("/proc/{}/mem", process.pid)).expect("root may look");
    maps.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let ends = range.split_once('-').map(|(start, end)| (number(start), number(end)));
        let Some((start, end)) = ends.filter(|_| rights.starts_with("rw")) else { return false };
        let mut bytes = vec![0; usize::try_from(end - start).expect("a mapping")];
        // What cannot be read, a device's memory, holds no key.
        memory.read_exact_at(&mut bytes, start).is_ok() && bytes.windows(needle.len()).any(|window| window == needle)
    })
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("proc(5)")
}

/// Base64 of 32 bytes, standard alphabet.
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|known| *known == byte));
    let bits: Vec<bool> = digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1 == 1)).collect();
    let bytes = bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit)));
    bytes.collect()
}
