//! Every developer command. `cargo xtask test` and `cargo xtask demo` are the two that a newcomer needs.

mod ci;
mod fuzz;
mod mutate;
mod opened;
mod probes;
mod say;
mod setup;
mod shell;
mod suites;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of intercept-sandbox")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests and the demo need: Debian packages, the fixture servers' dependencies.
    Setup,
    /// Tell the product's story in under three minutes, on real parts, inside a network namespace of its own.
    Demo,
    /// Run every test, the root ones included.
    Test {
        /// Also run the tests that are marked slow.
        #[arg(long)]
        full: bool,
        /// Leave out the suites that need root, and say so.
        #[arg(long)]
        unprivileged: bool,
    },
    /// Everything that .ci/run checks besides the tests: format, lints, dependencies, repository rules, probes, mutations.
    Ci,
    /// Check the repository's own rules.
    Tidy,
    /// Build the eBPF object, or check that the committed one is what its source gives.
    Probes {
        /// `build` or `check`.
        arguments: Vec<String>,
    },
    /// Drop each protection in turn and see its named test fail.
    Mutate {
        /// Only protections whose name contains this.
        filter: Option<String>,
    },
    /// Try every attack of the threat model bare, under us and under bubblewrap where it is installed, and print the table.
    Redteam {
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Only this group: network, files, process, kernel, resources or lifecycle.
        #[arg(long)]
        group: Option<String>,
        /// Under us alone, without this protection (or these, with commas): which rows open. `all`: without one layer after the
        /// other, and write what opened into docs/threat-model.md.
        #[arg(long)]
        without: Option<String>,
        /// In guests with stock Debian kernels, as vm-test boots them: `6.1`, `6.12` or `all`.
        #[arg(long, conflicts_with = "without")]
        kernel: Option<String>,
        /// Only rows whose name contains this.
        filter: Option<String>,
    },
    /// Fuzz the policy language on the stable toolchain; what it finds is in fuzz/target.
    Fuzz {
        /// How long each target runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target.
        target: Option<String>,
    },
    /// Boot stock Debian kernels under QEMU and run the root suites there: pure cgroup version 2, BPF LSM on.
    VmTest {
        /// `6.1`, `6.12` or `all`.
        #[arg(long, default_value = "all")]
        kernel: String,
        /// Only these suites; with commas, or given several times.
        #[arg(long = "suite", value_delimiter = ',')]
        suites: Vec<String>,
        /// Factor on the time bounds of the tests, for the emulated processor is slow.
        #[arg(long, default_value_t = vm::PATIENCE)]
        patience: u32,
        /// Use the processor's virtualisation instead of emulating.
        #[arg(long)]
        kvm: bool,
    },
    /// Measure a call's and a launch's cost, side by side in one run, and write docs/performance.md.
    Bench,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::show(),
        Task::Demo => suites::demo(),
        Task::Test { full, unprivileged } => suites::test(full, unprivileged),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Probes { arguments } => probes::run(&arguments),
        Task::Mutate { filter } => mutate::run(filter.as_deref()),
        Task::Redteam { json, group, without, kernel, filter } => {
            suites::redteam(&suites::RedTeam { json, group, without, filter }, kernel.as_deref())
        }
        Task::Fuzz { seconds, target } => fuzz::fuzz(seconds, target.as_deref()),
        Task::VmTest { kernel, suites, patience, kvm } => vm::run(&vm::Terms { kernel, suites, patience, kvm }),
        Task::Bench => suites::bench(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}
