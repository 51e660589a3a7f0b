//! What .ci/run checks besides the tests.

use crate::shell::{self, Outcome, cargo, has};
use crate::{fuzz, mutate, probes, tidy};

/// How long each fuzz target runs.
const FUZZ_SECONDS: u64 = 60;

/// `cargo xtask ci`.
pub(crate) fn run() -> Outcome {
    shell::run(cargo(&["fmt", "--all", "--check"]))?;
    shell::run(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    if !has("cargo-deny") {
        shell::run(cargo(&["install", "--locked", "cargo-deny"]))?;
    }
    shell::run(cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    tidy::run()?;
    probes::check()?;
    mutate::run(None)?;
    fuzz::fuzz(FUZZ_SECONDS, None)
}
