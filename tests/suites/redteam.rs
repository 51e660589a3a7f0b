//! The red team's table, bare and under us: every row opens bare, or says why it cannot here; none under us.

use std::collections::BTreeSet;

use harness::arena::{self, ROOT};
use harness::redteam::{self, Group, Options, Outcome, Road};
use harness::run::Run;
use harness::stand_in::StandIn;
use harness::{policies, records, table, wait};
use serde_json::{Value, json};

/// Rows that must have run, by group: a table that shrinks proves less. What is left out are rows that some kernel has no call, file or
/// device for.
const ROWS_MIN: [(Group, usize); 6] = [
    (Group::Network, 90),
    (Group::Files, 60),
    (Group::Process, 50),
    (Group::Kernel, 70),
    (Group::Resources, 12),
    (Group::Lifecycle, 11),
];

fn run(group: Group) {
    arena::run(move |arena| {
        let options = Options { group: Some(group), ..Options::default() };
        let found = redteam::run(arena, &options);
        table::print_lines(&format!("red team: {}", group.name()), &found.lines());
        assert_eq!(found.complaints(), Vec::<String>::new());
        assert_eq!(found.open_on(Road::Ours), 0);
        let ran = found.count(|outcome| matches!(outcome, Outcome::Blocked));
        let least = ROWS_MIN.iter().find(|(of, _)| *of == group).map_or(usize::MAX, |(_, least)| *least);
        assert!(ran >= least, "{ran} rows ran; {least} at least");
        assert_eq!(found.open_on(Road::Bare), ran, "each that counts was open bare");
    });
}

#[test]
fn no_network_attack_gets_through() {
    run(Group::Network);
}

#[test]
fn no_attack_on_files_gets_through() {
    run(Group::Files);
}

#[test]
fn no_attack_on_processes_gets_through() {
    run(Group::Process);
}

#[test]
fn no_attack_on_the_kernel_gets_through() {
    run(Group::Kernel);
}

#[test]
fn nothing_takes_more_than_its_share() {
    run(Group::Resources);
}

#[test]
fn nothing_outlives_its_session_or_reaches_another() {
    run(Group::Lifecycle);
}

/// What a table would not notice: two rows of one name, a group that nobody asked for, fewer rows than promised.
#[test]
fn rows_have_names_of_their_own_and_groups_their_least() {
    let mut names = BTreeSet::new();
    let twice: Vec<_> = redteam::all().filter(|row| !names.insert(row.id)).map(|row| row.id).collect();
    assert_eq!(twice, Vec::<&str>::new());
    for group in Group::ALL {
        assert!(ROWS_MIN.iter().any(|(of, _)| *of == group), "{}", group.name());
    }
    assert!(ROWS_MIN.iter().map(|(_, least)| least).sum::<usize>() >= 120);
}

#[test]
fn network_attacks_leave_records() {
    arena::run(|arena| {
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let stand_in =
            StandIn::serve(arena::API_HOST, &format!("{}:443", arena::API_ADDRESS)).expect("the arena has the address");
        let run = Run::new(arena, &policies::hostile()).connect_to(&stand_in).command([format!("{ROOT}/bin/redteam")]);
        let mut session = run.begin();
        let known = records::read(records::DEFAULT_DIRECTORY);
        for probe in ["tcp-literal", "tcp-v6", "udp-sendto", "tcp-other-port", "dns-tunnel", "sni-other"] {
            session.call("probe", json!({"name": probe}));
        }
        let denied = |op: &str, check: &dyn Fn(&Value) -> bool| {
            let wanted =
                |r: &Value| r["type"] == format!("net.{op}") && r["net"]["verdict"] == "denied" && check(&r["net"]);
            let found = records::wait_for(records::DEFAULT_DIRECTORY, &known, wait::COMES_LIMIT, wanted);
            let all: Vec<_> = records::read(records::DEFAULT_DIRECTORY).into_iter().map(|r| r["net"].clone()).collect();
            assert!(found.is_some(), "no net.{op} record among {all:#?}");
        };
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["dst_port"] == 443 && net["proto"] == "tcp");
        denied("connect", &|net| net["dst_ip"] == "2001:db8::53");
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["proto"] == "udp");
        denied("connect", &|net| net["dst_port"] == 8443);
        denied("dns", &|net| net["host"].as_str().is_some_and(|host| host.ends_with("tunnel.example")));
        denied("sni", &|net| net["sni"] == "exfil.example");
        assert_eq!(session.finish().code, 0);
    });
}
