//! A real redis-server inside the arena, unprivileged, with a password, on TCP and on a socket of its group.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::arena::{Arena, NOBODY, ROOT};
use crate::wait;

/// Where it listens: an address of the arena's `lo`.
pub const ADDRESS: &str = "10.0.0.5";
/// Its password; stands nowhere else.
pub const PASSWORD: &str = "isb-redis-pa55word-5f1c";

/// A running server.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    folder: PathBuf,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(arena: &Arena) -> Self {
        let folder = arena.writable_folder("redis");
        let redis = Self { process: launch(&folder), folder };
        redis.answers();
        redis
    }

    /// A root-only file with its address and password, for `--state-dsn file:...`.
    #[must_use]
    pub fn dsn_file(&self, arena: &Arena) -> String {
        private(arena, "redis.dsn", &format!("redis://:{PASSWORD}@{ADDRESS}\n"))
    }

    /// The same over its socket.
    #[must_use]
    pub fn socket_dsn(&self) -> String {
        format!("unix://{ROOT}/redis/redis.sock")
    }

    /// Lets anybody in who may connect at all.
    ///
    /// # Panics
    /// When it does not obey.
    pub fn drop_password(&self) {
        assert!(self.cli(&["CONFIG", "SET", "requirepass", ""]).status.success());
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("our own child");
    }

    /// Starts it again, with nothing of before.
    pub fn restart(&mut self) {
        self.process = launch(&self.folder);
        self.answers();
    }

    /// Stops it, or lets it go on.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).expect("pids are small")), signal).expect("it runs");
    }

    /// One command by redis-cli.
    ///
    /// # Panics
    /// When redis-cli cannot be started.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Output {
        let mut command = Command::new("redis-cli");
        command.args(["-h", ADDRESS, "--no-auth-warning"]).env("REDISCLI_AUTH", PASSWORD).args(words);
        command.output().expect("redis-tools is installed: cargo xtask setup")
    }

    fn answers(&self) {
        let up = || String::from_utf8_lossy(&self.cli(&["PING"]).stdout).contains("PONG");
        assert!(wait::becomes_true(wait::COMES_LIMIT, up), "redis-server does not answer");
    }
}

/// Makes a root-only file; returns it as `--state-dsn` takes it.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn private(arena: &Arena, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = arena.file(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("own file");
    format!("file:{}", path.display())
}

fn launch(folder: &PathBuf) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", ADDRESS, "--save", "", "--unixsocket", "redis.sock", "--unixsocketperm", "770"]);
    command.args(["--requirepass", PASSWORD, "--dir"]).arg(folder).current_dir(folder);
    command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null()).stdout(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts helpers")]
    command.spawn().expect("redis-server is installed: cargo xtask setup")
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A test may have killed it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
