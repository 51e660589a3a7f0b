//! Running other programs.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::say;

/// Whatever went wrong, for a person.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ stands in the workspace").to_path_buf()
}

/// A command that runs in the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace());
    command
}

/// Cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Runs a command to its end and says so.
pub(crate) fn run(mut command: Command) -> Outcome {
    let shown = shown(&command);
    say::step(&shown);
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// Runs a command quietly and gives its output, whatever its exit code.
pub(crate) fn output(mut command: Command) -> Outcome<Output> {
    let shown = shown(&command);
    command.output().map_err(|error| format!("{shown}: {error}"))
}

/// Whether we are root: who owns our own /proc entry.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Whether a program is on the PATH.
pub(crate) fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(program).is_file())
}

/// `program` with its arguments, through sudo where we are not root.
pub(crate) fn as_root(program: &str, arguments: &[&str]) -> Command {
    if is_root() {
        return command(program, arguments);
    }
    command("sudo", &[&["-n", program], arguments].concat())
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
