//! The three ways to start the hostile program.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::ground::Ground;
use crate::arena::ROOT;
use crate::run::{Run, as_real_root, bare};

/// How the program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Road {
    /// As root, with nothing around it but the arena.
    Bare,
    /// Under intercept-sandbox, with a policy that grants one host, one folder to read and one to write.
    Ours,
    /// Under bubblewrap, as root, with the same folders.
    Bwrap,
}

impl Road {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours => "ours",
            Self::Bwrap => "bwrap",
        }
    }

    /// The command, with one secret in its environment; another is open on a descriptor that every process of ours inherits
    /// ([`Ground::lay`]).
    pub(super) fn command(self, ground: &Ground, arguments: &[&str]) -> Command {
        self.command_under(&ground.policy, ground, arguments)
    }

    /// The same with another policy.
    pub(super) fn command_under(self, policy: &Path, ground: &Ground, arguments: &[&str]) -> Command {
        let program = [Ground::PROGRAM].into_iter().chain(arguments.iter().copied());
        let inner = match self {
            // Mounts of its own, or the next row would stand on what the last one mounted.
            Self::Bare => bare(["unshare", "--mount", "--"].into_iter().chain(program)),
            Self::Ours => Run::with_file(policy).connect_to(&ground.stand_in).command(program).to_command(),
            Self::Bwrap => bubblewrap(program),
        };
        let mut outer = as_real_root(inner.get_program().into());
        outer.args(inner.get_args()).env("ISB_REDTEAM", ground.secret("environment")).current_dir("/");
        outer
    }
}

/// `bwrap` as its manual's example has it: everything unshared, system folders and what is needed to read, one folder to write.
fn bubblewrap<'a>(program: impl Iterator<Item = &'a str>) -> Command {
    let mut words: Vec<OsString> =
        ["bwrap", "--unshare-all", "--die-with-parent", "--new-session"].map(OsString::from).to_vec();
    let mut add = |flag: &str, from: &str, to: &str| words.extend([flag, from, to].map(OsString::from));
    add("--ro-bind", "/usr", "/usr");
    for name in ["bin", "sbin", "lib", "lib64"] {
        let path = format!("/{name}");
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            add("--symlink", &format!("usr/{name}"), &path);
        } else if Path::new(&path).exists() {
            add("--ro-bind", &path, &path);
        }
    }
    for path in ["/etc/resolv.conf", "/etc/hosts", "/etc/ld.so.cache", "/etc/ssl"] {
        add("--ro-bind-try", path, path);
    }
    words.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"].map(OsString::from));
    let mut add = |flag: &str, name: &str| {
        words.extend([flag.to_owned(), format!("{ROOT}/{name}"), format!("{ROOT}/{name}")].map(OsString::from))
    };
    add("--ro-bind", "bin");
    add("--ro-bind", "shown");
    add("--bind", "images");
    let mut words = words.into_iter();
    let mut command = bare([words.next().expect("the list begins with the program")]);
    command.args(words).arg("--").args(program);
    command
}
