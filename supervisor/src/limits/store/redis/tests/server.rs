//! A real redis-server of a test's own, on a socket in its own directory. No network.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::resp::Reply;
use super::super::{Dsn, Link, RedisStore, Wire, handshake};
use super::{Connect, SCRIPT_WITH_TEST_CLOCK, WALL_US, deadline};

pub(super) struct Server {
    process: Child,
    directory: TempDir,
    options: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    pub(super) fn with(options: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = launch(&directory, &options);
        let server = Self { process, directory, options };
        server.wait();
        server
    }

    /// Killed, and started again on the same socket with nothing of before.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.process = launch(&self.directory, &self.options);
        self.wait();
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(super) fn dsn(&self) -> Dsn {
        Dsn::parse(&format!("unix://{}", self.socket().display())).unwrap()
    }

    pub(super) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    /// One command of somebody else.
    pub(super) fn ask(&self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        Wire::new(self.connect().into()).ask(&words, deadline()).unwrap()
    }

    /// The store as the product has it.
    pub(super) fn store(&self) -> RedisStore {
        RedisStore::new(self.link())
    }

    pub(super) fn link(&self) -> Box<dyn Link> {
        let (dsn, socket) = (self.dsn(), self.socket());
        let link = move || {
            let stream = UnixStream::connect(&socket).map_err(|error| error.to_string())?;
            handshake(stream.into(), &dsn, deadline()).map(|(connection, _)| connection.fd)
        };
        Box::new(Connect(link))
    }

    /// The store with a clock that [`Self::set_clock`] sets.
    pub(super) fn store_with_test_clock(&self) -> RedisStore {
        self.set_clock(0);
        RedisStore { script: SCRIPT_WITH_TEST_CLOCK, ..self.store() }
    }

    /// So many microseconds after [`WALL_US`].
    pub(super) fn set_clock(&self, us: u64) {
        assert_eq!(self.ask(&["SET", "test-clock", &(WALL_US + us).to_string()]), Reply::Simple(b"OK".to_vec()));
    }

    fn wait(&self) {
        let begun = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(self.socket())
                && let Ok(Reply::Simple(_) | Reply::Error(_)) = Wire::new(stream.into()).ask(&[b"PING"], deadline())
            {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test needs a server of its own")]
fn launch(directory: &TempDir, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"]).arg(directory.path());
    command.args(options).current_dir(directory.path()).stdout(Stdio::null());
    command.spawn().expect("redis-server is installed: cargo xtask setup")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
