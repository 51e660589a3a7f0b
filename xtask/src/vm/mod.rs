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

/// `cargo xtask redteam --kernel`: the table, told `arguments`, in the guests. The tables alone go to standard output.
pub(crate) fn redteam(kernel: &str, arguments: Vec<String>) -> Outcome {
    let series = prepare(kernel)?;
    let (supervisor, table) = suites::build_table(arguments)?;
    let guest = Guest { supervisor, suites: vec![table], patience: PATIENCE, kvm: false };
    guest.boot_each(series, |kernel, said| {
        said.table.iter().for_each(|line| say::line(line));
        let wrong = guest.wrong(said);
        for what in &wrong {
            say::error(&format!("{}: {what}; all that was said: {}", kernel.release, boot::log(kernel).display()));
        }
        wrong.is_empty()
    })
}

fn prepare(kernel: &str) -> Outcome<Vec<&'static str>> {
    let series = kernel::series(kernel)?;
    setup::ensure()?;
    setup::ensure_vm()?;
    Ok(series)
}

/// `cargo xtask vm-test`.
pub(crate) fn run(terms: &Terms) -> Outcome {
    let series = prepare(&terms.kernel)?;
    let (supervisor, suites) = suites::build(&terms.suites)?;
    say::line(&format!(
        "the tests' time bounds are multiplied by {} (ISB_TEST_PATIENCE); {} suites; not run in a guest: {}",
        terms.patience,
        suites.len(),
        suites::LEFT_OUT.map(|(name, why)| format!("{name} ({why})")).join(", ")
    ));
    let guest = Guest { supervisor, suites, patience: terms.patience, kvm: terms.kvm };
    guest.boot_each(series, |kernel, said| conclude(kernel, said, &guest.wrong(said)))
}

/// What a guest of any kernel is given.
struct Guest {
    supervisor: PathBuf,
    suites: Vec<Suite>,
    patience: u32,
    kvm: bool,
}

impl Guest {
    /// Boots one guest of each series and fails with the kernels of which `is_good` was false.
    fn boot_each(&self, series: Vec<&'static str>, is_good: impl Fn(&Kernel, &Said) -> bool) -> Outcome {
        let mut failed = Vec::new();
        for series in series {
            let kernel = Kernel::of(series)?;
            let initrd = initrd::make(&kernel, &self.supervisor, &self.suites, self.patience)?;
            let mut said = boot::boot(&kernel, &initrd, self.kvm, &self.suites)?;
            // QEMU's emulation with several threads is not always sound where a kernel patches its own code: the guest's kernel then panics,
            // seldom and anywhere. One that ends before anything has ended says nothing of us; what we cause comes again.
            if said.fell_at_once() {
                say::note(&format!("{}: ended before anything had run; booted once more", kernel.release));
                said = boot::boot(&kernel, &initrd, self.kvm, &self.suites)?;
            }
            if !is_good(&kernel, &said) {
                failed.push(kernel.release);
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(format!("failed on {}", failed.join(", "))) }
    }

    /// What is wrong with what it said.
    fn wrong(&self, said: &Said) -> Vec<String> {
        said.wrong(self.suites.iter().map(|suite| suite.name.as_str()))
    }
}

/// Prints a guest's closing line, and what is wrong before it; true when nothing is.
fn conclude(kernel: &Kernel, said: &Said, wrong: &[String]) -> bool {
    for what in wrong {
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
