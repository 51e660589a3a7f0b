//! One compilation, the same whatever directory, home or environment it runs in.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain::{Core, Toolchain, cargo_home};

const TARGET: &str = "bpfel-unknown-none";

/// Compiles `probes` in a target directory of its own and returns the `objects`.
pub(super) fn in_fresh_directory<const N: usize>(
    probes: &Path,
    toolchain: &Toolchain,
    objects: [&str; N],
) -> Result<[Vec<u8>; N], String> {
    let target = std::env::temp_dir().join(format!("intercept-sandbox-probes-{}", std::process::id()));
    let outcome = compile(probes, toolchain, &target).and_then(|built| {
        let mut read = objects.map(|_| Vec::new());
        for (bytes, name) in read.iter_mut().zip(objects) {
            *bytes = super::read(&built.join(name))?;
        }
        Ok(read)
    });
    if target.exists() {
        fs::remove_dir_all(&target).map_err(|error| format!("cannot remove {}: {error}", target.display()))?;
    }
    outcome
}

/// Gives the folder that the objects are in.
fn compile(probes: &Path, toolchain: &Toolchain, target: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new(&toolchain.cargo);
    clean_environment(&mut command);
    command
        .current_dir(probes)
        .args(&toolchain.cargo_arguments)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(probes))
        .env("AYA_BPF_TARGET_ARCH", "x86_64") // fixed: no program here reads registers of the host
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path_with_cargo_bin()?);
    match toolchain.core {
        Core::Shipped => command.env("RUSTC", &toolchain.rustc_path),
        Core::FromSource => command.args(["-Z", "build-std=core"]),
    };
    let status = command.status().map_err(|error| format!("cannot run {}: {error}", toolchain.cargo.display()))?;
    if !status.success() {
        return Err(format!("the probes do not compile ({status})"));
    }
    Ok(target.join(TARGET).join("release"))
}

/// Nothing of the caller's build settings reaches the compiler.
fn clean_environment(command: &mut Command) {
    let foreign =
        ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED_", "RUSTFLAGS", "RUSTC", "RUSTUP_TOOLCHAIN"];
    for (name, _) in std::env::vars_os() {
        if foreign.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}

/// No absolute path gets into the object.
fn flags(probes: &Path) -> OsString {
    let mut flags = OsString::new();
    for (from, to) in [(probes, "/probes"), (cargo_home().as_path(), "/cargo")] {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

/// bpf-linker is installed by cargo, whose directory root's PATH often lacks.
fn path_with_cargo_bin() -> Result<OsString, String> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(cargo_home().join("bin")).chain(std::env::split_paths(&old));
    std::env::join_paths(all.collect::<Vec<PathBuf>>()).map_err(|error| format!("PATH: {error}"))
}
