//! The tests, the demo and the bench: build as the caller, run as root.

use std::env;
use std::process::Command;

use crate::shell::{Outcome, as_root, cargo, has, is_root, output, run};
use crate::{mutate, say, setup};

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

/// `cargo xtask redteam`. The table alone goes to standard output.
pub(crate) fn redteam(json: bool, group: Option<String>, without: Option<String>, filter: Option<String>) -> Outcome {
    setup::ensure()?;
    let packages = ["--package", "intercept-sandbox", "--package", "intercept-sandbox-tests", "--bins"];
    let tests = ["--quiet", "--package", "intercept-sandbox-tests", "--bin", "redteam_table"];
    // A protection can be dropped in a build that knows how, in a target directory of its own.
    let feature: &[&str] = if without.is_some() { &["--features", mutate::FEATURE] } else { &[] };
    // Both packages on both lines: cargo would otherwise settle on other features, and build twice.
    let mut build = cargo(&[&["build"][..], &packages, feature].concat());
    let mut start = rooted(cargo(&[&["run"][..], &tests, feature].concat()))?;
    if let Some(protections) = &without {
        let target = mutate::target();
        build.env("CARGO_TARGET_DIR", &target);
        start.env("CARGO_TARGET_DIR", &target).env("ISB_WEAKEN", protections);
    }
    run(build)?;
    start.arg("--");
    if json {
        start.arg("--json");
    }
    for (flag, value) in [("--group", group), ("--without", without)] {
        start.args(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    run({
        start.args(filter);
        start
    })
}

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
    let keep = "--preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,RUST_BACKTRACE,NO_COLOR,ISB_BIN,ISB_WEAKEN";
    cargo.env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), format!("sudo -n {keep}"));
    Ok(cargo)
}
