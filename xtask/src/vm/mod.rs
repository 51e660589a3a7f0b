//! `cargo xtask vm-test`: the root suites on stock Debian kernels, under QEMU, with a pure cgroup version 2 tree and BPF LSM.
//!
//! The guest has no network card. It sees this machine's /usr, a copy of /etc, and the workspace, read-only over 9p, so that it runs
//! the very programs that were built here; it writes to a disk of its own. A guest that does not say that it is done has failed.

mod boot;
mod initrd;
mod kernel;
mod modules;
mod said;
mod suites;

use std::path::PathBuf;

use crate::say;
use crate::setup;
use crate::shell::{Outcome, workspace};
use kernel::Kernel;
use said::Said;
use suites::Suite;

/// What the emulated processor may be slower than a real one, when nothing else is asked for: bounds of the tests are multiplied by it.
pub(crate) const PATIENCE: u32 = 20;

/// What to run and how.
pub(crate) struct Terms {
    /// `6.1`, `6.12` or `all`.
    pub(crate) kernel: String,
    /// Suites by name; empty for all that run in a guest.
    pub(crate) suites: Vec<String>,
    /// Factor on the time bounds of the tests.
    pub(crate) patience: u32,
    /// Whether to use the processor's virtualisation instead of emulating.
    pub(crate) kvm: bool,
}

/// `cargo xtask vm-test`.
pub(crate) fn run(terms: &Terms) -> Outcome {
    let series = kernel::series(&terms.kernel)?;
    setup::ensure()?;
    setup::ensure_vm()?;
    let (supervisor, suites) = suites::build(&terms.suites)?;
    say::line(&format!(
        "the tests' time bounds are multiplied by {} (ISB_TEST_PATIENCE); {} suites; not run in a guest: {}",
        terms.patience,
        suites.len(),
        suites::LEFT_OUT.map(|(name, why)| format!("{name} ({why})")).join(", ")
    ));
    let mut failed = Vec::new();
    for series in series {
        let kernel = Kernel::of(series)?;
        let said =
            boot::boot(&kernel, &initrd::make(&kernel, &supervisor, &suites, terms.patience)?, terms.kvm, &suites)?;
        if !conclude(&kernel, &said, &suites) {
            failed.push(kernel.release);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed on {}", failed.join(", "))) }
}

/// Prints a guest's closing line, and what is wrong before it; true when nothing is.
fn conclude(kernel: &Kernel, said: &Said, suites: &[Suite]) -> bool {
    let wrong = said.wrong(suites.iter().map(|suite| suite.name.as_str()));
    for what in &wrong {
        say::line(&format!("{}: FAILED: {what}", kernel.release));
    }
    say::line(&format!(
        "{}: {} tests passed, {} failed, {} ignored in {} suites; {}; all that was said: {}",
        kernel.release,
        said.passed,
        said.failed.len(),
        said.ignored,
        said.ended.len(),
        if wrong.is_empty() { "all good" } else { "NOT GOOD" },
        boot::log(kernel).display(),
    ));
    wrong.is_empty()
}

/// Where kernels, disks and logs are kept.
fn folder() -> PathBuf {
    workspace().join("target/vm")
}
