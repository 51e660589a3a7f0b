//! `cargo xtask probes build|check`: the committed eBPF objects and proof that they come from the committed sources.
//!
//! `build` compiles `ebpf-probes/` and replaces the objects and `BUILD.txt` in `prebuilt/`. `check` compares digests, then
//! compiles again in a fresh directory and compares byte for byte, if the compiler is the recorded one. Where that cannot
//! be had, a developer is told so; in CI (environment `CI=true`) it is a failure.

mod compile;
mod digest;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use toolchain::Toolchain;

/// The cgroup and `sk_lookup` programs, and apart from them the LSM programs, and those that tell of execs and of files: binaries of the
/// package, objects in `prebuilt/`.
const OBJECTS: [&str; 4] = ["probes", "lsm", "exec", "files"];
const RECORD: &str = "prebuilt/BUILD.txt";

/// What made the committed objects, and from what.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// `rustc --version`.
    rustc: String,
    /// `bpf-linker --version`.
    linker: String,
    /// Where `core` came from: shipped with the compiler, or built from rust-src.
    core: String,
    /// SHA-256 of each of [`OBJECTS`].
    objects: [String; 4],
    /// SHA-256 over the sources.
    sources: String,
}

/// Runs `build` or `check`.
///
/// # Errors
/// With the text for the developer.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => build(),
        ["check"] => check(),
        _ => Err("usage: cargo xtask probes build|check".into()),
    }
}

/// Where a committed object stands.
fn place(object: &str) -> String {
    format!("prebuilt/{object}.o")
}

/// Compiles the probes and replaces the committed objects.
///
/// # Errors
/// With the text for the developer.
pub(crate) fn build() -> Result<(), String> {
    let probes = probes_directory();
    let toolchain = Toolchain::any()?;
    say(&format!("building with {}, {}, {} core", toolchain.rustc, toolchain.linker, toolchain.core_name()));
    let objects = compile::in_fresh_directory(&probes, &toolchain, OBJECTS)?;
    let record = Record {
        rustc: toolchain.rustc.clone(),
        linker: toolchain.linker.clone(),
        core: toolchain.core_name().into(),
        objects: objects.each_ref().map(|object| digest::bytes(object)),
        sources: digest::sources(&probes)?,
    };
    for ((name, object), sum) in OBJECTS.into_iter().zip(&objects).zip(&record.objects) {
        write(&probes.join(place(name)), object)?;
        say(&format!("wrote {}, {} bytes, sha256 {sum}", place(name), object.len()));
    }
    write(&probes.join(RECORD), record.to_text().as_bytes())
}

/// Proves that the committed objects are what the committed sources compile to.
///
/// # Errors
/// When it is not, or when CI cannot tell.
pub(crate) fn check() -> Result<(), String> {
    let probes = probes_directory();
    let text = read(&probes.join(RECORD))?;
    let record = Record::from_text(&String::from_utf8_lossy(&text))?;
    for (name, sum) in OBJECTS.into_iter().zip(&record.objects) {
        let place = place(name);
        if digest::bytes(&read(&probes.join(&place))?) != *sum {
            return Err(format!("{place} is not the object that {RECORD} describes: run `cargo xtask probes build`"));
        }
    }
    if digest::sources(&probes)? != record.sources {
        return Err("the sources are newer than the objects: run `cargo xtask probes build`".into());
    }
    let toolchain = match Toolchain::like(&record) {
        Ok(toolchain) => toolchain,
        Err(why) if in_ci() => return Err(format!("{why}; CI must compile the probes to compare them")),
        Err(why) => {
            say(&format!("digests agree; not compiled again: {why}"));
            return Ok(());
        }
    };
    for (name, rebuilt) in OBJECTS.into_iter().zip(compile::in_fresh_directory(&probes, &toolchain, OBJECTS)?) {
        let place = place(name);
        if rebuilt != read(&probes.join(&place))? {
            let digest = digest::bytes(&rebuilt);
            return Err(format!("{place} differs from what its sources compile to (sha256 {digest})"));
        }
        say(&format!("{place} is what its sources compile to, byte for byte ({})", toolchain.rustc));
    }
    Ok(())
}

impl Record {
    fn to_text(&self) -> String {
        let [probes, lsm, exec, files] = &self.objects;
        format!(
            "# Written by `cargo xtask probes build`, read by `cargo xtask probes check`.\n\
             rustc: {}\nlinker: {}\ncore: {}\nprobes-sha256: {probes}\nlsm-sha256: {lsm}\nexec-sha256: {exec}\nfiles-sha256: {files}\nsources-sha256: {}\n",
            self.rustc, self.linker, self.core, self.sources
        )
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.map(str::to_owned).ok_or_else(|| format!("{RECORD} has no `{key}`"))
        };
        Ok(Self {
            rustc: value("rustc")?,
            linker: value("linker")?,
            core: value("core")?,
            objects: [value("probes-sha256")?, value("lsm-sha256")?, value("exec-sha256")?, value("files-sha256")?],
            sources: value("sources-sha256")?,
        })
    }
}

fn probes_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ stands in the workspace");
    workspace.join("ebpf-probes")
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn say(text: &str) {
    eprintln!("probes: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let text = |text: &str| text.to_owned();
        let objects = [text("o"), text("m"), text("e"), text("f")];
        Record { rustc: text("r"), linker: text("l"), core: text("c"), objects, sources: text("s") }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::from_text(&record().to_text()), Ok(record()));
    }

    #[test]
    fn a_record_without_a_line_is_refused() {
        let text = record().to_text();
        let sums = ["probes-sha256", "lsm-sha256", "exec-sha256", "files-sha256", "sources-sha256"];
        for key in ["rustc", "linker", "core"].into_iter().chain(sums) {
            let without: String =
                text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            assert_eq!(Record::from_text(&without), Err(format!("{RECORD} has no `{key}`")));
        }
    }

    #[test]
    fn only_the_two_subcommands_run() {
        assert!(run(&[]).is_err());
        assert!(run(&["build".into(), "check".into()]).is_err());
    }
}
