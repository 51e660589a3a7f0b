//! The real servers: two releases of the TypeScript SDK, two of Python's, Rust's, and Go's decoder.

use std::path::{Path, PathBuf};

/// A server of tests/servers that writes down what it executes.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// What a table calls it.
    pub name: &'static str,
    /// Its folder under tests/servers.
    pub folder: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Whether the server reads an argument of this name at all. What it does not read it cannot act on.
    pub reads: fn(&str) -> bool,
}

/// TypeScript SDK 1.32.2.
pub const TS: Server = node("ts 1.32.2", &["server.js", "sdk-current"]);
/// TypeScript SDK 0.6.0.
pub const TS_OLD: Server = node("ts 0.6.0", &["server.js", "sdk-old"]);
/// Python SDK 1.30.0.
pub const PY1: Server = python("python 1.30.0", "diff-py1");
/// Python SDK 2.3.0.
pub const PY2: Server = python("python 2.3.0", "diff-py2");
/// Rust SDK 3.11.0.
pub const RMCP: Server = Server {
    name: "rmcp 3.11.0",
    folder: "diff-rmcp",
    program: "target/debug/diff-rmcp",
    arguments: &[],
    reads: |_| true,
};
/// encoding/json of Go 1.27.3.
pub const GO: Server = Server {
    name: "go 1.27.3",
    folder: "diff-go",
    program: ".venv/bin/diff-go",
    arguments: &[],
    reads: |key| ["tag", "text", "n", "flag", "nested"].contains(&key),
};
/// All of them.
pub const ALL: [Server; 6] = [TS, TS_OLD, PY1, PY2, RMCP, GO];

const fn node(name: &'static str, arguments: &'static [&'static str]) -> Server {
    // The SDK's validator leaves this one out, so that it is no object's prototype.
    Server { name, folder: "diff-ts", program: "node", arguments, reads: |key| key != "__proto__" }
}

const fn python(name: &'static str, folder: &'static str) -> Server {
    Server { name, folder, program: ".venv/bin/python", arguments: &["server.py"], reads: |_| true }
}

impl Server {
    /// The command that starts it, where its folder is shown as `folder`.
    #[must_use]
    pub fn command(&self, folder: &Path) -> Vec<PathBuf> {
        let program = if self.program.contains('/') { folder.join(self.program) } else { self.program.into() };
        let arguments = self.arguments.iter().map(|word| match word.contains('.') {
            true => folder.join(word),
            false => PathBuf::from(word),
        });
        [program].into_iter().chain(arguments).collect()
    }
}
