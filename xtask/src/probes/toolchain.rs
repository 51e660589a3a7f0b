//! Finds a compiler that can make BPF objects, installs what is missing where it may, and names it where it may not.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Record, say};

const LINKER_VERSION: &str = "0.13.0";
/// Debian's newer compiler, which ships `core` for BPF.
const COMPILER_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev-bpf"];
/// What bpf-linker is built with.
const LINKER_PACKAGES: [&str; 4] = ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Where `core` for BPF comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Core {
    /// Shipped with the compiler.
    Shipped,
    /// Compiled from rust-src by a nightly.
    FromSource,
}

/// A compiler and linker that work together.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// The cargo to run.
    pub(super) cargo: PathBuf,
    /// Its first arguments (`+nightly`).
    pub(super) cargo_arguments: Vec<String>,
    /// The compiler.
    pub(super) rustc_path: PathBuf,
    /// `rustc --version`.
    pub(super) rustc: String,
    /// `bpf-linker --version`.
    pub(super) linker: String,
    /// Where `core` comes from.
    pub(super) core: Core,
}

impl Toolchain {
    /// The first that is there or can be installed.
    pub(super) fn any() -> Result<Self, String> {
        if candidates().is_empty() {
            install_compiler()?;
        }
        if linker().is_none() {
            install_linker()?;
        }
        candidates()
            .into_iter()
            .next()
            .ok_or_else(|| "no compiler for BPF, although its packages are installed".to_owned())
    }

    /// The one that made the committed object.
    pub(super) fn like(record: &Record) -> Result<Self, String> {
        let found = |candidates: Vec<Self>| candidates.into_iter().find(|candidate| candidate.is(record));
        if let Some(toolchain) = found(candidates()) {
            return Ok(toolchain);
        }
        let wanted = format!("{} with {} ({} core)", record.rustc, record.linker, record.core);
        let any = Self::any().map_err(|why| format!("{wanted} is not here: {why}"))?;
        found(candidates()).ok_or_else(|| format!("{wanted} is not here; {} is", any.rustc))
    }

    /// `shipped` or `from-source`.
    pub(super) const fn core_name(&self) -> &'static str {
        match self.core {
            Core::Shipped => "shipped",
            Core::FromSource => "from-source",
        }
    }

    fn is(&self, record: &Record) -> bool {
        self.rustc == record.rustc && self.linker == record.linker && self.core_name() == record.core
    }
}

/// `$CARGO_HOME` or `~/.cargo`.
pub(super) fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".cargo"),
        PathBuf::from,
    )
}

fn candidates() -> Vec<Toolchain> {
    let Some(linker) = linker() else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(distribution(&linker));
    found.extend(nightly(&linker));
    found
}

/// The distribution's compiler, if it has `core` for BPF.
fn distribution(linker: &str) -> Option<Toolchain> {
    let (rustc_path, cargo) = (PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/bin/cargo"));
    let sysroot = output(Command::new(&rustc_path).args(["--print", "sysroot"]))?;
    let core = Path::new(&sysroot).join("lib/rustlib/bpfel-unknown-none/lib");
    let rustc = output(Command::new(&rustc_path).arg("--version"))?;
    (core.is_dir() && cargo.exists()).then(|| Toolchain {
        cargo,
        cargo_arguments: Vec::new(),
        rustc_path,
        rustc,
        linker: linker.to_owned(),
        core: Core::Shipped,
    })
}

/// A rustup nightly, if it has rust-src.
fn nightly(linker: &str) -> Option<Toolchain> {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    let rustc_path = Path::new(&sysroot).join("bin/rustc");
    let rustc = output(Command::new(&rustc_path).arg("--version"))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
    sources.is_dir().then(|| Toolchain {
        cargo: "cargo".into(),
        cargo_arguments: vec!["+nightly".into()],
        rustc_path,
        rustc,
        linker: linker.to_owned(),
        core: Core::FromSource,
    })
}

fn linker() -> Option<String> {
    let installed = cargo_home().join("bin/bpf-linker");
    output(Command::new(installed).arg("--version")).or_else(|| output(Command::new("bpf-linker").arg("--version")))
}

/// Trimmed stdout of a command that succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn install_compiler() -> Result<(), String> {
    if distribution("").is_some() || nightly("").is_some() {
        return Ok(()); // only the linker is missing
    }
    let instead = "or a rustup nightly with rust-src";
    apt_install(&COMPILER_PACKAGES).map_err(|why| format!("{why}, {instead}"))
}

fn install_linker() -> Result<(), String> {
    apt_install(&LINKER_PACKAGES)?;
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--no-default-features",
        "--features",
        "llvm-22",
    ];
    say(&format!("running LLVM_PREFIX={LLVM_PREFIX} cargo {}", arguments.join(" ")));
    let status = Command::new("cargo").args(arguments).env("LLVM_PREFIX", LLVM_PREFIX).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo install bpf-linker failed ({status})")),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    let wanted = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let uid = output(Command::new("id").arg("-u")).unwrap_or_default();
    if uid != "0" {
        return Err(format!("missing; as root: {wanted}"));
    }
    // A fresh machine has no package lists yet; without them nothing is found.
    say("running apt-get update -q");
    if !Command::new("apt-get").args(["update", "-q"]).status().is_ok_and(|status| status.success()) {
        return Err(format!("apt-get update failed; needed: {wanted}"));
    }
    say(&format!("running {wanted}"));
    let status = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{wanted}` failed ({status})")),
        Err(error) => Err(format!("cannot run apt-get ({error}); needed: {}", packages.join(" "))),
    }
}
