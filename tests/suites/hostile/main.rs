//! Every attack runs twice in one arena: bare, where the host must see it succeed, and under us, where it must not.
//! A row that the machine itself refuses to the bare run (no such socket family, say) proves nothing and says so.

mod attacks;
mod ground;

use std::path::Path;
use std::time::Duration;

use harness::arena;
use harness::run::{self, Run};
use harness::{policies, records, table, wait};

use crate::attacks::{ATTACKS, Argument, Judge};
use crate::ground::{Ground, Visit, clear_traces, visit};

/// How long the bare run may take to show its effect.
const EFFECT_LIMIT: Duration = Duration::from_secs(3);

struct Row {
    told: String,
    hits: usize,
}

fn run_all(visit: &mut Visit<'_>, bare: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for attack in ATTACKS {
        let before = visit.ground.stand_in.connections();
        let told = visit.call(attack.probe, attack.argument);
        let mut hits = visit.hits(attack.judge, &told, before);
        if bare && hits == 0 && told.starts_with("ok") {
            let seen = wait::until(EFFECT_LIMIT, || match visit.hits(attack.judge, &told, before) {
                0 => None,
                hits => Some(hits),
            });
            hits = seen.unwrap_or(0);
        }
        rows.push(Row { told: told.lines().next().unwrap_or_default().chars().take(40).collect(), hits });
    }
    rows
}

/// A bare failure that is the machine's own: it has no such socket family, or no such file in its /proc.
fn not_on_this_machine(judge: Judge, told: &str) -> bool {
    let absent = |part: &str| part.starts_with("/proc/") && !Path::new(part).exists();
    if let Judge::Descriptor(part) = judge
        && absent(part)
    {
        return true;
    }
    ["EAFNOSUPPORT", "EPROTONOSUPPORT", "ENOSYS", "ESOCKTNOSUPPORT", "ENOPROTOOPT"]
        .iter()
        .any(|name| told.contains(name))
}

fn print(bare: &[Row], ours: Option<&[Row]>) {
    let rows: Vec<Vec<String>> = ATTACKS
        .iter()
        .zip(bare)
        .enumerate()
        .map(|(index, (attack, bare))| {
            let seen = if bare.hits > 0 { bare.hits.to_string() } else { format!("0: {}", bare.told) };
            let (held, told) = ours.map_or((String::new(), String::new()), |ours| {
                (ours[index].hits.to_string(), ours[index].told.clone())
            });
            vec![attack.probe.into(), seen, held, told, attack.held_by.into()]
        })
        .collect();
    table::print("attacks", &["probe", "bare", "ours", "what the program was told", "held by"], &rows);
}

fn bare_rows(ground: &Ground) -> Vec<Row> {
    let mut bare = visit(ground, &run::bare(["/mnt/arena/bin/redteam"]), true);
    let told = bare.call("tls-allowed", Argument::None);
    assert!(told.starts_with("ok heard"), "the stand-in answers a bare client: {told}");
    let rows = run_all(&mut bare, true);
    drop(bare);
    clear_traces();
    ground.canaries.take_all();
    rows
}

fn assert_bare_sees(bare: &[Row]) {
    let blind: Vec<_> = ATTACKS
        .iter()
        .zip(bare)
        .filter(|(_, row)| row.hits == 0)
        .filter(|(attack, row)| !not_on_this_machine(attack.judge, &row.told))
        .map(|(attack, row)| format!("{}: {}", attack.probe, row.told))
        .collect();
    assert!(blind.is_empty(), "the host does not see these attacks succeed bare: {blind:#?}");
}

#[test]
fn every_attack_succeeds_without_us() {
    arena::run(|arena| {
        let bare = bare_rows(&Ground::lay(arena));
        print(&bare, None);
        assert_bare_sees(&bare);
    });
}

#[test]
fn no_attack_succeeds_under_us() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let bare = bare_rows(&ground);
        assert_bare_sees(&bare);

        let run =
            Run::new(arena, &policies::hostile()).connect_to(&ground.stand_in).command(["/mnt/arena/bin/redteam"]);
        let mut ours = visit(&ground, &run.to_command(), false);
        let before = ground.stand_in.connections();
        let told = ours.call("tls-allowed", Argument::None);
        assert!(told.starts_with("ok heard"), "the allowed road is open: {told}\n{}", ours.session.stderr());
        assert_eq!(ground.stand_in.connections(), before + 1);

        let rows = run_all(&mut ours, false);
        print(&bare, Some(&rows));
        let open: Vec<_> = ATTACKS
            .iter()
            .zip(&rows)
            .filter(|(_, row)| row.hits > 0)
            .map(|(attack, row)| format!("{}: {} hits, told {}", attack.probe, row.hits, row.told))
            .collect();
        assert!(open.is_empty(), "these attacks got through: {open:#?}");
        assert_eq!(ours.session.finish().code, 0);
        assert_eq!(ground.canaries.take_all().into_iter().collect::<Vec<_>>(), [], "and nothing came late");
    });
}

#[test]
fn network_attacks_leave_records() {
    arena::run(|arena| {
        let ground = Ground::lay(arena);
        let run =
            Run::new(arena, &policies::hostile()).connect_to(&ground.stand_in).command(["/mnt/arena/bin/redteam"]);
        let mut ours = visit(&ground, &run.to_command(), false);
        let known = records::read(records::DEFAULT_DIRECTORY);
        for probe in ["tcp-literal", "tcp-v6", "udp-sendto", "tcp-other-port", "dns-tunnel", "sni-other"] {
            ours.call(probe, Argument::None);
        }
        let denied = |op: &str, check: &dyn Fn(&serde_json::Value) -> bool| {
            let wanted = |r: &serde_json::Value| {
                r["type"] == format!("net.{op}") && r["net"]["verdict"] == "denied" && check(&r["net"])
            };
            let found = records::wait_for(records::DEFAULT_DIRECTORY, &known, EFFECT_LIMIT, wanted);
            let all: Vec<_> = records::read(records::DEFAULT_DIRECTORY).into_iter().map(|r| r["net"].clone()).collect();
            assert!(found.is_some(), "no net.{op} record among {all:#?}");
        };
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["dst_port"] == 443 && net["proto"] == "tcp");
        denied("connect", &|net| net["dst_ip"] == "2001:db8::53");
        denied("connect", &|net| net["dst_ip"] == "1.1.1.1" && net["proto"] == "udp");
        denied("connect", &|net| net["dst_port"] == 8443);
        denied("dns", &|net| net["host"].as_str().is_some_and(|host| host.ends_with("tunnel.example")));
        denied("sni", &|net| net["sni"] == "exfil.example");
        assert_eq!(ours.session.finish().code, 0);
    });
}
