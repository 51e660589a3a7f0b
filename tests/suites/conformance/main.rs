//! The official conformance suite against one server, bare and behind us under a policy that allows everything: the same
//! verdict on every check, but for those that docs/conformance.md lists. The suite speaks HTTP; the bridge beside the
//! server turns that into lines. One bridge, one server, one suite: what differs between the two runs is us alone.

mod bench;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::{arena, paths, table};
use serde_json::Value;

use crate::bench::{Bench, Round, Verdicts};

const STABLE: &str = "@modelcontextprotocol/conformance";
const NEXT: &str = "conformance-next";

/// What allow-all means: no tool is judged, no method refused, the sandbox shows the server's folder and nothing else.
const ALLOW_ALL: &str = "version: \"1\"\nname: conformance\ndefault: allow\ntools: {}\n";

fn scenarios(verdicts: &Verdicts) -> usize {
    verdicts.keys().filter_map(|key| key.split('/').next()).collect::<BTreeSet<_>>().len()
}

fn of(verdicts: &Verdicts, check: &str) -> String {
    verdicts.get(check).map_or("none", String::as_str).to_owned()
}

/// Where the two runs differ, as docs/conformance.md writes it: release, revision, check, bare, ours.
fn differences(round: Round, bare: &Verdicts, ours: &Verdicts) -> BTreeSet<[String; 5]> {
    let checks: BTreeSet<&String> = bare.keys().chain(ours.keys()).collect();
    let rows = checks.into_iter().map(|check| {
        [release(round.package), round.revision.to_owned(), check.clone(), of(bare, check), of(ours, check)]
    });
    rows.filter(|[.., bare, ours]| bare != ours).collect()
}

/// The version of an installed release of the suite.
fn release(package: &str) -> String {
    let path = paths::server("conformance").join("node_modules").join(package).join("package.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let package: Value = serde_json::from_str(&text).expect("npm writes JSON");
    package["version"].as_str().expect("a package has a version").to_owned()
}

/// The rows of a table of docs/conformance.md that are about this round: release and revision stand in the first columns.
fn documented(round: Round, head: &str) -> Vec<Vec<String>> {
    let path = paths::workspace().join("docs/conformance.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.lines().any(|line| line == head), "docs/conformance.md has the table {head}");
    let rows = text.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    let columns = head.trim_matches('|').split('|').count();
    assert!(rows.iter().all(|row| row.len() == columns && !row.iter().any(String::is_empty)), "{rows:?}");
    rows.into_iter().filter(|row| row[0] == release(round.package) && row[1] == round.revision).collect()
}

/// The differences that are listed, without their reasons.
fn listed(round: Round) -> BTreeSet<[String; 5]> {
    let rows = documented(round, "| Release | Revision | Check | Bare | Ours | Why |");
    rows.into_iter().map(|row| [0, 1, 2, 3, 4].map(|column| row[column].clone())).collect()
}

/// The checks that the fixture is known to fail by itself.
fn known_failures(round: Round) -> BTreeSet<String> {
    documented(round, "| Release | Revision | Fails bare | Why |").into_iter().map(|row| row[2].clone()).collect()
}

/// Scenarios and verdicts that the release has for the revision. Fewer would be an empty run, more an update to look at.
fn counts(round: Round) -> Vec<[usize; 2]> {
    let rows = documented(round, "| Release | Revision | Scenarios | Verdicts |");
    rows.iter().map(|row| [2, 3].map(|column| row[column].parse().expect("a count"))).collect()
}

/// The server bare has every scenario, and fails no check that docs/conformance.md does not list.
fn judge_bare(round: Round, bare: &Verdicts) {
    let verdicts = bare.values().map(|statuses| statuses.split(' ').count()).sum();
    assert_eq!(counts(round), [[scenarios(bare), verdicts]], "what docs/conformance.md says of {round:?}");
    let failed = bare.iter().filter(|(_, statuses)| statuses.contains("FAILURE")).map(|(check, _)| check.clone());
    assert_eq!(failed.collect::<BTreeSet<_>>(), known_failures(round), "what the fixture itself fails in {round:?}");
}

fn compare(round: Round) {
    arena::run(move |arena| {
        let begun = Instant::now();
        let bench = Bench::new(arena);
        let server = bench.server(round.server);
        let (bare, ours) = thread::scope(|scope| {
            let bare = scope.spawn(|| bench.verdicts("bare", round.package, &round.flags(), &server));
            let policed = bench.policed(round.server, ALLOW_ALL);
            let ours = bench.verdicts("ours", round.package, &round.flags(), &policed);
            (bare.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
        });
        show(round, &bare, &ours, begun.elapsed());
        judge_bare(round, &bare);
        assert_eq!(differences(round, &bare, &ours), listed(round), "what differs, and what docs/conformance.md lists");
    });
}

fn show(round: Round, bare: &Verdicts, ours: &Verdicts, took: Duration) {
    let checks: BTreeSet<&String> = bare.keys().chain(ours.keys()).collect();
    let rows: Vec<Vec<String>> = checks
        .into_iter()
        .map(|check| {
            let (bare, ours) = (of(bare, check), of(ours, check));
            let ours = if ours == bare { "same".to_owned() } else { ours };
            vec![check.clone(), bare, ours]
        })
        .collect();
    let title = format!("conformance {} at {}, {:.0} s", release(round.package), round.revision, took.as_secs_f64());
    table::print(&title, &["check", "bare", "ours"], &rows);
}

#[test]
fn the_stable_release_gives_the_same_verdicts() {
    compare(Round { package: STABLE, revision: "2025-11-25", server: "server.js" });
}

#[test]
fn the_next_release_gives_the_same_verdicts_at_2025_06_18() {
    compare(Round { package: NEXT, revision: "2025-06-18", server: "server.js" });
}

#[test]
fn the_next_release_gives_the_same_verdicts_at_2025_11_25() {
    compare(Round { package: NEXT, revision: "2025-11-25", server: "server.js" });
}

#[test]
fn the_next_release_gives_the_same_verdicts_at_2026_07_28() {
    compare(Round { package: NEXT, revision: "2026-07-28", server: "stateless.js" });
}

/// The other half: what we refuse, the suite sees. Else equal verdicts could mean that nobody looked.
#[test]
fn a_tool_that_the_policy_denies_fails_its_scenario() {
    arena::run(|arena| {
        let bench = Bench::new(arena);
        let denied = "version: \"1\"\nname: conformance\ndefault: allow\n\
                      tools: {test_image_content: {rules: [{action: deny}]}}\n";
        for (results, policy, wanted) in [("allowed", ALLOW_ALL, "SUCCESS"), ("denied", denied, "FAILURE")] {
            let flags = ["--scenario", "tools-call-image"];
            let verdicts = bench.verdicts(results, STABLE, &flags, &bench.policed("server.js", policy));
            let check = "tools-call-image/tools-call-image";
            assert_eq!(verdicts, Verdicts::from([(check.to_owned(), wanted.to_owned())]));
        }
    });
}
