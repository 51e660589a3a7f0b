//! What a fresh Debian 12 lacks. Idempotent; each action is printed; what is there already is left alone.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::say;
use crate::shell::{Outcome, as_root, cargo, command, has, is_root, output, run, workspace};

/// Oldest Node.js major version that the TypeScript fixture runs on.
const NODE_MAJOR_MIN: u32 = 18;

/// A program and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 12] = [
    ("bwrap", "bubblewrap"),
    ("cc", "build-essential"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("npm", "npm"),
    ("redis-server", "redis-server"),
    ("setpriv", "util-linux"),
    ("setquota", "quota"),
    ("strace", "strace"),
    ("sudo", "sudo"),
    ("unshare", "util-linux"),
];

/// The same for the virtual machines of `vm-test`.
const VM_PROGRAMS: [(&str, &str); 4] =
    [("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static"), ("cpio", "cpio"), ("xz", "xz-utils")];

/// Installs what the demo and the bench lack; says nothing when nothing is missing.
pub(crate) fn ensure() -> Outcome {
    prepare(false)
}

/// What `vm-test` needs besides: an emulator, and what an initial file system is made of.
pub(crate) fn ensure_vm() -> Outcome {
    let mut missing: Vec<&str> =
        VM_PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// As [`ensure`], for the tests: with the servers of the differential suite.
pub(crate) fn ensure_all() -> Outcome {
    prepare(false)?;
    differential_servers(false)
}

/// `cargo xtask setup`: as [`ensure_all`], and says what was there already.
pub(crate) fn show() -> Outcome {
    prepare(true)?;
    differential_servers(true)
}

fn prepare(talkative: bool) -> Outcome {
    let missing = missing_packages()?;
    if !missing.is_empty() {
        install(&missing)?;
    } else if talkative {
        say::line("Debian packages: all there");
    }
    NODE_SERVERS.iter().try_for_each(|name| node_server(name, talkative))?;
    PYTHON_SERVERS.iter().try_for_each(|name| python_server(name, talkative))
}

/// SDKs of other languages and other days, and a Go toolchain.
fn differential_servers(talkative: bool) -> Outcome {
    node_server("diff-ts", talkative)?;
    ["diff-py1", "diff-py2"].iter().try_for_each(|name| python_server(name, talkative))?;
    go_server(talkative)?;
    rust_server(talkative)
}

fn missing_packages() -> Outcome<Vec<&'static str>> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    match node_major() {
        Some(major) if major >= NODE_MAJOR_MIN => {}
        Some(major) => return Err(format!("node {major} is too old: {NODE_MAJOR_MIN} or newer is needed")),
        None => missing.push("nodejs"),
    }
    // The distribution's own Python: the sandbox shows /usr, not a version manager's folder in somebody's home.
    let venv = output(command("/usr/bin/python3", &["-c", "import ensurepip, venv"]));
    if !venv.is_ok_and(|output| output.status.success()) {
        missing.push("python3-venv");
    }
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

fn node_major() -> Option<u32> {
    let version = String::from_utf8(output(command("node", &["--version"])).ok()?.stdout).ok()?;
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn install(packages: &[&str]) -> Outcome {
    if !is_root() && !has("sudo") {
        return Err(format!(
            "these Debian packages are missing, and only root can install them: {}",
            packages.join(" ")
        ));
    }
    say::step(&format!("installing Debian packages: {}", packages.join(" ")));
    run(as_root("apt-get", &["update", "-q"]))?;
    let options = ["install", "-q", "-y", "--no-install-recommends"];
    let mut install = as_root("env", &["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    install.args(options).args(packages);
    run(install)
}

/// Servers on npm: our fixtures, the published ones that ready policies are for, and the conformance suite with its server.
const NODE_SERVERS: [&str; 4] = ["together-ts", "filesystem", "github", "conformance"];
/// Servers on PyPI, likewise.
const PYTHON_SERVERS: [&str; 2] = ["images-py", "fetch"];
/// The server in Go. Its toolchain comes from PyPI and stands in the same `.venv` as what it builds.
const GO_SERVER: &str = "diff-go";
/// The server on the Rust SDK, a workspace of its own.
const RUST_SERVER: &str = "diff-rmcp";

fn node_server(name: &str, talkative: bool) -> Outcome {
    let folder = server_folder(name);
    unless_fresh(&folder, &["package-lock.json"], "node_modules", talkative, || {
        let mut npm = command("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.current_dir(&folder);
        run(npm)
    })
}

fn python_server(name: &str, talkative: bool) -> Outcome {
    let folder = server_folder(name);
    unless_fresh(&folder, &["requirements.txt"], ".venv", talkative, || venv(&folder))
}

fn go_server(talkative: bool) -> Outcome {
    let folder = server_folder(GO_SERVER);
    unless_fresh(&folder, &["requirements.txt", "go.mod", "main.go"], ".venv", talkative, || {
        venv(&folder)?;
        let mut build = command(folder.join(".venv/bin/go"), &["build", "-o", ".venv/bin/diff-go", "."]);
        // The standard library alone: nothing is downloaded, and no other toolchain is fetched.
        build.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("CGO_ENABLED", "0")]);
        build.env("GOCACHE", folder.join(".venv/cache")).env("GOPATH", folder.join(".venv/path"));
        build.current_dir(&folder);
        run(build)
    })
}

fn rust_server(talkative: bool) -> Outcome {
    let folder = server_folder(RUST_SERVER);
    unless_fresh(&folder, &["Cargo.toml", "Cargo.lock", "src/main.rs"], "target", talkative, || {
        let mut build = cargo(&["build", "--locked", "--target-dir", "target"]);
        build.current_dir(&folder);
        run(build)
    })
}

fn server_folder(name: &str) -> PathBuf {
    workspace().join("tests/servers").join(name)
}

/// Makes `.venv` in `folder` anew, with what its requirements.txt names.
fn venv(folder: &Path) -> Outcome {
    let in_folder = |program: &str, arguments: &[&str]| {
        let mut command = command(program, arguments);
        command.current_dir(folder);
        run(command)
    };
    in_folder("/usr/bin/python3", &["-m", "venv", "--clear", ".venv"])?;
    in_folder(".venv/bin/pip", &["install", "--quiet", "-r", "requirements.txt"])
}

/// Does `make` unless `product` was made from the present contents of `sources`; a stamp inside `product` remembers.
fn unless_fresh(
    folder: &Path,
    sources: &[&str],
    product: &str,
    talkative: bool,
    make: impl Fn() -> Outcome,
) -> Outcome {
    let mut hasher = Sha256::new();
    for source in sources {
        hasher.update(fs::read(folder.join(source)).map_err(|error| format!("{source}: {error}"))?);
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let (product, stamp) = (folder.join(product), folder.join(product).join(".made-from"));
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == digest) {
        if talkative {
            say::line(&format!("{}: up to date", product.display()));
        }
        return Ok(());
    }
    say::step(&format!("making {}", product.display()));
    make()?;
    // The server's own uid must be able to read it, whatever umask this clone was made under.
    run(command("chmod", &["-R", "a+rX", &folder.to_string_lossy()]))?;
    fs::write(&stamp, digest).map_err(|error| format!("{}: {error}", stamp.display()))
}
