//! The tests, the demo and the bench: build as the caller, run as root.

use std::env;
use std::process::Command;

use crate::shell::{Outcome, as_root, cargo, has, is_root, output, run};
use crate::{mutate, opened, say, setup, vm};

/// `cargo xtask test`.
pub(crate) fn test(full: bool, unprivileged: bool) -> Outcome {
    setup::ensure_all()?;
    // The suites start the supervisor's program, which their own build does not make.
    run(cargo(&["build", "--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--bins"]))?;
    run(cargo(&["test", "--workspace", "--lib", "--bins"]))?;
    if unprivileged {
        say::line("left out, for they need root: the end-to-end suites (tests/suites, supervisor/tests)");
        return Ok(());
    }
    mutate::build_programs()?; // for the suites that plant bugs and faults; `mutate` builds on it
    let mut suites = rooted(cargo(&["test", "--workspace", "--no-fail-fast", "--test", "*"]))?;
    if full {
        suites.args(["--", "--include-ignored"]);
    }
    run(suites)
}

/// `cargo xtask demo`.
pub(crate) fn demo() -> Outcome {
    setup::ensure()?;
    run(cargo(&["build", "--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--bins"]))?;
    run(rooted(cargo(&["run", "--quiet", "--package", "intercept-sandbox-tests", "--bin", "demo"]))?)
}

/// `cargo xtask bench`: with optimisation, or the figures mean nothing.
pub(crate) fn bench() -> Outcome {
    setup::ensure()?;
    let packages = ["--release", "--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--bins"];
    run(cargo(&[&["build"][..], &packages].concat()))?;
    let arguments = ["run", "--release", "--quiet", "--package", "intercept-sandbox-tests", "--bin", "bench"];
    run(rooted(cargo(&arguments))?)
}

/// What of the red team's table is wanted.
pub(crate) struct RedTeam {
    /// For programs.
    pub(crate) json: bool,
    /// Only this group.
    pub(crate) group: Option<String>,
    /// Without these protections, with commas.
    pub(crate) without: Option<String>,
    /// Only rows whose name contains this.
    pub(crate) filter: Option<String>,
}

impl RedTeam {
    /// What the table's program is told.
    fn arguments(&self) -> Vec<String> {
        let flags = [("--group", &self.group), ("--without", &self.without)];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]));
        self.json.then(|| "--json".to_owned()).into_iter().chain(flags.flatten()).chain(self.filter.clone()).collect()
    }
}

/// `cargo xtask redteam`, here or in guests with other kernels. The table alone goes to standard output.
pub(crate) fn redteam(wanted: &RedTeam, kernel: Option<&str>) -> Outcome {
    if let Some(kernel) = kernel {
        return vm::redteam(kernel, wanted.arguments());
    }
    setup::ensure()?;
    // A protection can be dropped in a build that knows how, in a target directory of its own.
    let feature: &[&str] = if wanted.without.is_some() { &["--features", mutate::FEATURE] } else { &[] };
    let mut build = cargo(&[&["build"][..], &RED_TEAM, feature].concat());
    if wanted.without.is_some() {
        build.env("CARGO_TARGET_DIR", mutate::target());
    }
    run(build)?;
    if wanted.without.as_deref() == Some("all") {
        return opened::write();
    }
    let program = ["run", "--quiet", "--package", "intercept-sandbox-tests", "--bin", "redteam_table"];
    let mut start = rooted(cargo(&[&program[..], feature].concat()))?;
    if let Some(protections) = &wanted.without {
        start.env("CARGO_TARGET_DIR", mutate::target()).env("ISB_WEAKEN", protections);
    }
    start.arg("--").args(wanted.arguments());
    run(start)
}

/// Both packages, also where a program of one is run: cargo would otherwise settle on other features, and build twice.
const RED_TEAM: [&str; 5] = ["--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--bins"];

/// Lets cargo build as the caller and run what it built as root, through `sudo -n` where that is needed.
fn rooted(mut cargo: Command) -> Outcome<Command> {
    if is_root() {
        return Ok(cargo);
    }
    let sudo = if has("sudo") { output(as_root("true", &[])).ok() } else { None };
    if !sudo.is_some_and(|output| output.status.success()) {
        return Err("this needs root: run it as root, or let `sudo -n` work, or pass --unprivileged to test".into());
    }
    let architecture = env::consts::ARCH.to_uppercase();
    let keep = "--preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,RUST_BACKTRACE,NO_COLOR,ISB_BIN,ISB_WEAKEN,ISB_SEED,ISB_TEST_PATIENCE";
    cargo.env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), format!("sudo -n {keep}"));
    Ok(cargo)
}
