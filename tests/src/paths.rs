//! Where the programs and fixtures of this build are.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_path_buf()
}

/// Directory of this build's programs: `target/debug` of whichever target directory this test was built into.
#[must_use]
pub fn programs() -> PathBuf {
    let own = env::current_exe().expect("a running program has a path");
    let folder = own.parent().expect("a program stands in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps stands in the profile's folder").into()
    } else {
        folder.into()
    }
}

/// The supervisor: `ISB_BIN`, or the one of this build.
///
/// # Panics
/// When it was not built; `cargo xtask test` builds it first.
#[must_use]
pub fn supervisor() -> PathBuf {
    let path = env::var_os("ISB_BIN").map_or_else(|| programs().join("intercept-sandbox"), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p intercept-sandbox`, or `cargo xtask test`",
        path.display()
    );
    path
}

/// The supervisor of a build with the feature `weaken`: the one of this build where it is such a build, else the one that
/// `cargo xtask test` and `cargo xtask mutate` make in `target/weaken`.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn weakenable() -> PathBuf {
    if intercept_sandbox::weaken::POSSIBLE {
        return supervisor();
    }
    let path = workspace().join("target/weaken/debug/intercept-sandbox");
    assert!(path.is_file(), "{} is missing: `cargo xtask test` builds it", path.display());
    path
}

/// A helper program of this package, by name.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn helper(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build -p intercept-sandbox-tests`", path.display());
    path
}

/// A fixture server's folder, `tests/servers/NAME`.
#[must_use]
pub fn server(name: &str) -> PathBuf {
    workspace().join("tests/servers").join(name)
}
