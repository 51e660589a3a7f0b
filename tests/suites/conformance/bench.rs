//! One run of the suite: the arena's copy of the fixture, the bridge, the suite's program, and the verdicts that it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::arena::{Arena, ROOT};
use harness::run::{Run, as_real_root};
use harness::session::{ANSWER_LIMIT, Session};
use harness::wait;
use serde_json::Value;

/// Longest wait for all scenarios of one revision; they take half a minute on an idle machine.
const SUITE_LIMIT: Duration = Duration::from_secs(300);

/// One run of the suite: which of the two releases, for which MCP revision, and with which server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) package: &'static str,
    pub(crate) revision: &'static str,
    pub(crate) server: &'static str,
}

impl Round {
    pub(crate) fn flags(self) -> [&'static str; 4] {
        ["--suite", "all", "--spec-version", self.revision]
    }
}

/// Checks by `scenario/check`; each with its statuses in their order, for a check may be made several times.
pub(crate) type Verdicts = BTreeMap<String, String>;

/// The fixture's folder in the arena, its Node, and a fresh folder for results.
pub(crate) struct Bench<'a> {
    arena: &'a Arena,
    folder: PathBuf,
    node: PathBuf,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(arena: &'a Arena) -> Self {
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

    pub(crate) fn server(&self, name: &str) -> [PathBuf; 2] {
        [self.node.clone(), self.folder.join(name)]
    }

    /// The server behind us, under `policy` and with its folder shown.
    pub(crate) fn policed(&self, name: &str, policy: &str) -> Vec<PathBuf> {
        let shown = format!("{policy}sandbox:\n  filesystem:\n    read: [{ROOT}/conformance]\n");
        let command = Run::new(self.arena, &shown).command(self.server(name)).to_command();
        [command.get_program()].into_iter().chain(command.get_args()).map(PathBuf::from).collect()
    }

    /// Runs the suite with `flags` against `server`, each session a process of its own; reads the verdicts from `results`.
    pub(crate) fn verdicts(&self, results: &str, package: &str, flags: &[&str], server: &[PathBuf]) -> Verdicts {
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
