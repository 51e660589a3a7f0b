//! The official conformance suite against one server, bare and behind us under a policy that allows everything: the same
//! verdict on every check, but for those that docs/conformance.md lists. The suite speaks HTTP; the bridge beside the
//! server turns that into lines. One bridge, one server, one suite: what differs between the two runs is us alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, ROOT};
use harness::run::{Run, as_real_root};
use harness::session::{ANSWER_LIMIT, Session};
use harness::{paths, table, wait};
use serde_json::Value;

/// Longest wait for all scenarios of one revision; a scenario that hangs costs 30 s.
const SUITE_LIMIT: Duration = Duration::from_secs(180);

const STABLE: &str = "@modelcontextprotocol/conformance";
const NEXT: &str = "conformance-next";

/// What allow-all means: no tool is judged, no method refused, the sandbox shows the server's folder and nothing else.
const ALLOW_ALL: &str = "version: \"1\"\nname: conformance\ndefault: allow\ntools: {}\n";

/// One run of the suite: which of the two releases, for which MCP revision, and with which server.
#[derive(Clone, Copy, Debug)]
struct Round {
    package: &'static str,
    revision: &'static str,
    server: &'static str,
}

/// Checks by `scenario/check`; each with its statuses in their order, for a check may be made several times.
type Verdicts = BTreeMap<String, String>;

/// The fixture's folder in the arena, its Node, and a fresh folder for results.
struct Bench<'a> {
    arena: &'a Arena,
    folder: PathBuf,
    node: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(arena: &'a Arena) -> Self {
        let folder = arena.fixture("conformance");
        let platform = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => panic!("no Node for {other}"),
        };
        let node = folder.join(format!("node_modules/node-linux-{platform}/bin/node"));
        assert!(node.is_file(), "{} is missing: run `cargo xtask setup`", node.display());
        Self { arena, folder, node }
    }

    fn server(&self, name: &str) -> [PathBuf; 2] {
        [self.node.clone(), self.folder.join(name)]
    }

    /// The server behind us, under `policy` and with its folder shown.
    fn policed(&self, name: &str, policy: &str) -> Vec<PathBuf> {
        let shown = format!("{policy}sandbox:\n  filesystem:\n    read: [{ROOT}/conformance]\n");
        let command = Run::new(self.arena, &shown).command(self.server(name)).to_command();
        [command.get_program()].into_iter().chain(command.get_args()).map(PathBuf::from).collect()
    }

    /// Runs the suite with `flags` against `server`, each session a process of its own; reads the verdicts from `results`.
    fn verdicts(&self, results: &str, package: &str, flags: &[&str], server: &[PathBuf]) -> Verdicts {
        let results = self.arena.folder(results);
        let mut bridge = as_real_root(self.node.clone());
        bridge.arg(self.folder.join("bridge.js")).args(server);
        let mut bridge = Session::start(bridge);
        let url = bridge.try_line(ANSWER_LIMIT).unwrap_or_else(|| panic!("no bridge: {}", bridge.stderr()));

        let log = fs::File::create(results.join("log")).expect("the arena's folder is ours");
        let mut suite = Command::new(&self.node);
        suite.arg(self.folder.join("node_modules").join(package).join("dist/index.js"));
        suite.args(["server", "--url", &url]).args(flags).arg("--output-dir").arg(&results);
        suite.stderr(log.try_clone().expect("a file can be shared")).stdout(log).current_dir(&results);
        #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts the suite")]
        let mut suite = suite.spawn().expect("the fixture's Node can be started");
        let status = wait::until(SUITE_LIMIT, || suite.try_wait().expect("our own child"));
        if status.is_none() {
            suite.kill().expect("our own child");
        }
        let said = || fs::read_to_string(results.join("log")).unwrap_or_default();
        // 0: every check passed; 1: some did not. Which is read from its files, not from its summary.
        let done = status.and_then(|status| status.code()).is_some_and(|code| code <= 1);
        assert!(done, "the suite ended with {status:?}\n{}\n{}", said(), bridge.stderr());
        let verdicts = read(&results);
        assert!(!verdicts.is_empty(), "no verdict\n{}\n{}", said(), bridge.stderr());
        assert_eq!(bridge.finish().code, 0, "the bridge and every server behind it end when asked to");
        verdicts
    }
}

/// Reads `server-SCENARIO-TIME/checks.json` under `results`.
fn read(results: &Path) -> Verdicts {
    const TIME: usize = "-2026-07-28T00-00-00-000Z".len();
    let mut verdicts = Verdicts::new();
    for entry in fs::read_dir(results).expect("the arena's folder is ours") {
        let entry = entry.expect("the arena's folder is ours");
        let name = entry.file_name().into_string().expect("plain");
        let Some(scenario) = name.strip_prefix("server-").and_then(|rest| rest.get(..rest.len() - TIME)) else {
            continue;
        };
        let text =
            fs::read_to_string(entry.path().join("checks.json")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let checks: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for check in &checks {
            let field = |name: &str| check[name].as_str().unwrap_or_else(|| panic!("no {name} in {check}"));
            // INFO is what the suite noticed on its way; it judges nothing.
            if field("status") == "INFO" {
                continue;
            }
            let statuses = verdicts.entry(format!("{scenario}/{}", field("id"))).or_default();
            if !statuses.is_empty() {
                statuses.push(' ');
            }
            statuses.push_str(field("status"));
        }
    }
    verdicts
}

fn scenarios(verdicts: &Verdicts) -> usize {
    verdicts.keys().filter_map(|key| key.split('/').next()).collect::<BTreeSet<_>>().len()
}

/// Where the two runs differ, as docs/conformance.md writes it: release, revision, check, bare, ours.
fn differences(round: Round, bare: &Verdicts, ours: &Verdicts) -> BTreeSet<[String; 5]> {
    let of = |verdicts: &Verdicts, check: &str| verdicts.get(check).map_or("none", String::as_str).to_owned();
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

/// Scenarios and verdicts that the release has for the revision. Fewer would be an empty run, more an update to look at.
fn counts(round: Round) -> Vec<[usize; 2]> {
    let rows = documented(round, "| Release | Revision | Scenarios | Verdicts |");
    rows.iter().map(|row| [2, 3].map(|column| row[column].parse().expect("a count"))).collect()
}

fn compare(round: Round) {
    arena::run(move |arena| {
        let begun = Instant::now();
        let bench = Bench::new(arena);
        let flags = ["--suite", "all", "--spec-version", round.revision];
        let server = bench.server(round.server);
        let (bare, ours) = thread::scope(|scope| {
            let bare = scope.spawn(|| bench.verdicts("bare", round.package, &flags, &server));
            let ours = bench.verdicts("ours", round.package, &flags, &bench.policed(round.server, ALLOW_ALL));
            (bare.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
        });
        show(round, &bare, &ours, begun.elapsed());
        let verdicts = bare.values().map(|statuses| statuses.split(' ').count()).sum();
        assert_eq!(counts(round), [[scenarios(&bare), verdicts]], "what docs/conformance.md says of {round:?}");
        let failed: Vec<_> = bare.iter().filter(|(_, statuses)| statuses.contains("FAILURE")).collect();
        assert!(failed.is_empty(), "the fixture itself does not conform: {failed:?}");
        assert_eq!(differences(round, &bare, &ours), listed(round), "what differs, and what docs/conformance.md lists");
    });
}

fn show(round: Round, bare: &Verdicts, ours: &Verdicts, took: Duration) {
    let rows: Vec<Vec<String>> = bare
        .iter()
        .map(|(check, status)| {
            let ours = ours.get(check).map_or("none", String::as_str);
            vec![check.clone(), status.clone(), if ours == status { "same".to_owned() } else { ours.to_owned() }]
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
