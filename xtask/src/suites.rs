//! The tests, the demo and the bench: build as the caller, run as root.

use std::env;
use std::process::Command;

use crate::mutate::weakenable;
use crate::shell::{Outcome, as_root, cargo, has, is_root, output, run};
use crate::{say, setup};

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
    let mut suites = rooted(cargo(&["test", "--workspace", "--no-fail-fast", "--test", "*"]))?;
    if full {
        suites.args(["--", "--include-ignored"]);
    }
    run(suites)?;
    if full { faults() } else { Ok(()) }
}

/// A fault at every step of a launch: the one suite that needs a supervisor which can be weakened.
pub(crate) fn faults() -> Outcome {
    run(weakenable(&["build", "--bins"]))?;
    run(rooted(weakenable(&["test", "--test", "faults"]))?)
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
    let keep = "--preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,RUST_BACKTRACE,NO_COLOR,ISB_BIN";
    cargo.env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), format!("sudo -n {keep}"));
    Ok(cargo)
}
