//! Compiles init/ with the compiler that builds us into a static program of a few kilobytes; sandbox/init.rs embeds it.

use std::path::PathBuf;
use std::process::Command;

#[allow(clippy::print_stdout)] // how a build script speaks to cargo
fn main() {
    println!("cargo::rerun-if-changed=init");
    // 26,000 addresses to correct at each start as bitmaps of some kilobytes, not as a table of 600 (glibc 2.36; a linker that does
    // not know the word passes over it).
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let target = variable("TARGET");
    let output = PathBuf::from(variable("OUT_DIR")).join("init");
    let mut compiler = Command::new(variable("RUSTC"));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut setting = std::ffi::OsString::from("linker=");
        setting.push(linker);
        compiler.arg("-C").arg(setting);
    }
    compiler
        .args(["init/main.rs", "--crate-name", "init", "--crate-type", "bin", "--edition", "2024"])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "debuginfo=0"])
        .args(["-C", "relocation-model=static", "-C", "target-feature=+crt-static"])
        .args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-nostartfiles", "-C", "link-arg=-static"])
        .args(["-C", "link-arg=-Wl,--build-id=none", "-C", "link-arg=-Wl,-z,noexecstack"])
        .arg("--target")
        .arg(&target)
        .arg("-o")
        .arg(&output);
    let status = compiler.status().unwrap_or_else(|error| panic!("cannot start the compiler: {error}"));
    assert!(status.success(), "init/ does not compile for {}", target.display());
}
