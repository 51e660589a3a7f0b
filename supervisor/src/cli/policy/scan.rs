//! `policy scan`: starts a server in the strictest sandbox, asks for its tools and drafts a policy.
//!
//! The server is started by `run` and nothing else: this command writes a policy without network or write folder, executes our own
//! program on it and is its MCP client. So a scanned server meets every layer that a policed one meets.

mod client;
mod error;
mod ground;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use crate::bounds::SCAN_SECONDS_MAX;
use crate::policy::draft::{self, Draft, Proposal, Scanned};
use crate::policy::{self, Source};
use crate::report::printable;
use crate::trust::Caller;
use crate::wire::json::Value;
use crate::wire::pin::Definition;
use crate::wire::pin_lock;
use client::Listed;
use error::ScanError;
use ground::Ground;
use server::Server;

/// What to scan.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Write the draft to this new file instead of stdout. Real root alone; others redirect stdout.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the lock file of the listed tools to this new file; with -o, beside it as `tools.lock`. Real root alone.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Print one JSON object: the tools with their verdicts, and the draft as text.
    #[arg(long)]
    json: bool,
    /// Time for the whole conversation: 20s, 2m.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = seconds)]
    timeout: u64,
    /// A folder that the server needs to see, absolute. Repeatable. Real root alone.
    #[arg(long, value_name = "DIR")]
    read: Vec<String>,
    /// A variable of yours that the server needs. Repeatable. Real root alone.
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
    /// The server's command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Digits, then nothing or s for seconds, m for minutes.
fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix('m') {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = number.and_then(|number| number.checked_mul(factor));
    seconds
        .filter(|seconds| (1..=SCAN_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| format!("a time such as 20s or 2m, at most {SCAN_SECONDS_MAX}s"))
}

pub(super) fn run(arguments: &ScanArgs, out: &mut impl Write) -> Done {
    let behind = check_caller(arguments)?;
    let command = words(&arguments.command)?;
    let strictest = draft::strictest(&arguments.read, &arguments.env, arguments.timeout + 60);
    check_flags(&strictest)?;
    let drafted = scan(arguments, &strictest).and_then(|listed| {
        let scanned = Scanned {
            command: &command,
            read: &arguments.read,
            env: &arguments.env,
            server: &listed.server,
            tools: &listed.tools,
        };
        let draft = draft::draft(&scanned);
        // The last word is the loader's: what it refuses is not handed out.
        load(&draft.text).map(|()| (listed, draft)).map_err(ScanError::Draft)
    });
    match drafted {
        Ok((listed, draft)) => present(arguments, &listed, &draft, out),
        Err(error) => {
            let error = if behind && crate::weaken::in_force("scan-stderr") { error.without_stderr() } else { error };
            let text = crate::report::chain(&error);
            eprintln!("error: the scan failed: {}", printable(&text));
            Ok(1)
        }
    }
}

/// Root, and behind sudo no path of the caller's choice: he could have root write where only root may, or show a server, whose
/// program he names and whose answers he reads, folders that he cannot open himself. Returns whether someone is behind root.
fn check_caller(arguments: &ScanArgs) -> Result<bool, ScanError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ScanError::NotRoot);
    }
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let behind = !Caller::discover(&environment).is_real_root();
    let looser = !arguments.read.is_empty() || !arguments.env.is_empty();
    if behind && looser && crate::weaken::in_force("scan-read") {
        return Err(ScanError::LooserBehindSudo);
    }
    if behind && (arguments.output.is_some() || arguments.lock.is_some()) && crate::weaken::in_force("scan-output") {
        return Err(ScanError::OutputBehindSudo);
    }
    let exists = |path: &PathBuf| path.symlink_metadata().is_ok();
    match arguments.output.iter().chain(&lock_path(arguments)).find(|path| exists(path)) {
        Some(path) => Err(ScanError::OutputExists(path.clone())),
        None => Ok(behind),
    }
}

/// Where the lock goes: where `--lock` says, else beside the draft.
fn lock_path(arguments: &ScanArgs) -> Option<PathBuf> {
    let beside = || arguments.output.as_ref().map(|output| output.with_file_name("tools.lock"));
    arguments.lock.clone().or_else(beside)
}

/// The definitions of the tools that the draft has, as they were listed. One that was listed twice has none to go by.
fn lock_of(listed: &Listed, draft: &Draft) -> BTreeMap<String, Definition> {
    let drafted: HashSet<&str> = draft.tools.iter().map(|tool| tool.name.as_str()).collect();
    let mut pins = BTreeMap::new();
    let mut twice = HashSet::new();
    for definition in &listed.tools {
        let Some(name) = definition.member("name").and_then(Value::as_str).filter(|name| drafted.contains(name)) else {
            continue;
        };
        if pins.insert(name.to_owned(), Definition::of(definition)).is_some() {
            twice.insert(name);
        }
    }
    pins.retain(|name, _| !twice.contains(name.as_str()));
    pins
}

/// The command's words as a policy can hold them.
fn words(command: &[OsString]) -> Result<Vec<String>, ScanError> {
    command.iter().map(|word| word.to_str().map(str::to_owned).ok_or(ScanError::Word)).collect()
}

/// What --read and --env name is judged by the loader before anything is started.
fn check_flags(strictest: &str) -> Result<(), ScanError> {
    load(strictest).map_err(ScanError::Flags)
}

fn load(text: &str) -> Result<(), String> {
    let source = Source { path: Path::new("scan.yaml"), text };
    let loaded = policy::load(&source).map(drop);
    loaded.map_err(|errors| {
        let text = |error: &crate::report::Diagnostic| match &error.help {
            Some(help) => format!("{} ({help})", error.message),
            None => error.message.clone(),
        };
        errors.iter().map(text).collect::<Vec<_>>().join("; ")
    })
}

/// One run from start to end. Whatever happens, the run is over and its directory gone when this returns.
fn scan(arguments: &ScanArgs, strictest: &str) -> Result<Listed, ScanError> {
    let ground = Ground::make(strictest)?;
    let (audit, state, policy) = (ground.path("audit"), ground.path("state"), ground.path(ground::POLICY));
    let own = ["intercept-sandbox", "run", "-c"].map(OsStr::new);
    let flags = [OsStr::new("--audit-dir"), audit.as_os_str(), OsStr::new("--state-dir"), state.as_os_str()];
    let command = arguments.command.iter().map(OsString::as_os_str);
    let line = own.into_iter().chain([policy.as_os_str()]).chain(flags).chain([OsStr::new("--")]).chain(command);
    let mut server = Server::start(line.map(OsStr::as_bytes), arguments.timeout)?;
    let listed = client::list(&mut server);
    let ended = server.end();
    ground.clear()?;
    match (listed, ended) {
        (Ok(listed), Ok(_)) => Ok(listed),
        (Err(error), Ok(ended)) => Err(error.with(&ended)),
        (_, Err(error)) => Err(error),
    }
}

fn present(arguments: &ScanArgs, listed: &Listed, draft: &Draft, out: &mut impl Write) -> Done {
    let text = if arguments.json { format!("{:#}\n", report(listed, draft)) } else { draft.text.clone() };
    let new = |path: &Path, bytes: &[u8]| {
        let failed = |source| ScanError::Output { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
    };
    if let Some(path) = lock_path(arguments) {
        new(&path, &pin_lock::write(&lock_of(listed, draft)))?;
    }
    match &arguments.output {
        None => out.write_all(text.as_bytes())?,
        Some(path) => new(path, text.as_bytes())?,
    }
    Ok(0)
}

fn report(listed: &Listed, draft: &Draft) -> serde_json::Value {
    let tool = |tool: &draft::DraftedTool| {
        let (proposal, why) = match &tool.proposal {
            Proposal::Allow(_) => ("allow", None),
            Proposal::Deny(why) => ("deny", Some(why)),
        };
        serde_json::json!({"name": tool.name, "sha256": tool.sha256, "proposal": proposal, "why": why})
    };
    let refused = |(name, why): &(String, &str)| serde_json::json!({"name": name, "why": why});
    serde_json::json!({
        "server": listed.server,
        "protocol": listed.protocol,
        "tools": draft.tools.iter().map(tool).collect::<Vec<_>>(),
        "refused": draft.refused.iter().map(refused).collect::<Vec<_>>(),
        "left_out": draft.left_out,
        "policy": draft.text,
    })
}
