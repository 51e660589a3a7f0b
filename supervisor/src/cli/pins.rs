//! `pins`: which definitions of a server's tools are taken, and a person's word when one has changed. Needs root.

mod pretty;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::monitor::pin_store::{Entry, PinStore};
use crate::monitor::state_dir;
use crate::policy::{self, Policy};
use crate::report::{chain, printable};
use crate::session::{PROFILES, STATE_DIR};
use crate::trust::{self, Caller};
use crate::wire::pin::{self, Definition, Pin, hex, unhex};
use crate::wire::tool_names::visible;
use crate::wire::{pin_diff, pin_lock};

/// Look at the first-use pins of a policy, and approve a changed tool. Needs root.
///
/// Exit code 0: done; 1: there is no such pin, or it is not what was approved; 2: wrong usage, not root, or unreadable.
#[derive(Debug, Subcommand)]
pub enum PinsCommand {
    /// The pinned tools, and those that a server lists differently since.
    List(WhichArgs),
    /// One tool's definition, and what changed where a server lists another one.
    Show {
        /// The tool.
        #[arg(value_name = "TOOL")]
        tool: String,
        /// Whose pins.
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Take the definition that a server lists now, as `show` showed it. Sessions that run keep theirs.
    Approve {
        /// The tool.
        #[arg(value_name = "TOOL")]
        tool: String,
        /// The hash of the definition that was looked at, all 64 digits.
        #[arg(long, value_name = "HEX", value_parser = hash)]
        sha256: Hash,
        /// Whose pins.
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Write a lock file from the pins, for `server: {pins: {lock: FILE}}`.
    Lock {
        /// A new file instead of stdout. Real root alone; others redirect stdout.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: Option<PathBuf>,
        /// Whose pins.
        #[command(flatten)]
        which: WhichArgs,
    },
}

/// Whose pins.
#[derive(Debug, Args)]
pub struct WhichArgs {
    /// The policy file.
    #[arg(short = 'c', long = "config", value_name = "FILE", required_unless_present = "profile")]
    config: Option<PathBuf>,
    /// The installed policy of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = profile)]
    profile: Option<String>,
    /// Where the pins are instead of /var/lib/intercept-sandbox. Real root alone.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash([u8; 32]);

fn hash(text: &str) -> Result<Hash, String> {
    unhex(text).map(Hash).ok_or_else(|| "64 hex digits in lower case".to_owned())
}

fn profile(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain);
    if good { Ok(text.to_owned()) } else { Err("letters, digits, `-`, `_` and inner dots".to_owned()) }
}

/// Why the pins cannot be had.
#[derive(Debug, thiserror::Error)]
enum PinsError {
    #[error("only root can see and change pins: run it with sudo")]
    NotRoot,
    #[error("{0} is for real root alone: behind sudo it could write where only root may")]
    RealRoot(&'static str),
    #[error("the policy does not load: see `policy check`")]
    Policy,
    #[error("this policy keeps no pins between sessions: `server.pins` is not `first_use`")]
    NotKept,
    #[error("{path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Exit code, or what cannot be done.
type Done = Result<u8, Box<dyn Error>>;

/// Runs a `pins` command. Results go to stdout, what went wrong to stderr.
#[must_use]
pub fn run(command: &PinsCommand) -> ExitCode {
    let mut out = io::stdout().lock();
    let caller = Caller::discover(&std::env::vars_os().collect::<Vec<(OsString, OsString)>>());
    let done = match command {
        PinsCommand::List(which) => which.open(&caller).and_then(|store| list(&store, &mut out)),
        PinsCommand::Show { tool, which } => which.open(&caller).and_then(|store| show(&store, tool, &mut out)),
        PinsCommand::Approve { tool, sha256, which } => {
            which.open(&caller).and_then(|store| approve(store, tool, *sha256, &mut out))
        }
        PinsCommand::Lock { output, which } if output.is_none() || caller.is_real_root() => {
            which.open(&caller).and_then(|store| lock(&store, output.as_deref(), &mut out))
        }
        PinsCommand::Lock { .. } => Err(PinsError::RealRoot("--output").into()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {}", printable(&chain(&*error)));
            ExitCode::from(2)
        }
    }
}

/// The pins of a policy, as files and as far as they can be read.
struct Pins {
    store: PinStore,
    tools: BTreeMap<String, Kept>,
    /// Files that are no pin.
    unreadable: Vec<PathBuf>,
}

/// One tool.
struct Kept {
    pinned: Option<Definition>,
    proposed: Option<Definition>,
}

impl WhichArgs {
    fn open(&self, caller: &Caller) -> Result<Pins, Box<dyn Error>> {
        if caller.uid != 0 {
            return Err(PinsError::NotRoot.into());
        }
        if self.state_dir.is_some() && !caller.is_real_root() {
            return Err(PinsError::RealRoot("--state-dir").into());
        }
        let named = |name: &String| Path::new(PROFILES).join(format!("{name}.yaml"));
        let path = self.config.clone().or_else(|| self.profile.as_ref().map(named)).unwrap_or_default();
        let policy = read(&path, caller)?;
        let root = self.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR));
        let name = format!("pins-{}", std::process::id());
        let Some((store, entries)) = state_dir::open_pins(&root, &policy, &name)? else {
            return Err(PinsError::NotKept.into());
        };
        Ok(Pins::of(store, entries, &state_dir::pins_folder(&root, &policy)))
    }
}

fn read(path: &Path, caller: &Caller) -> Result<Policy, Box<dyn Error>> {
    let file = trust::read_policy(path, caller)?;
    let text = policy::decode(&file.path, &file.bytes).map_err(|_| PinsError::Policy)?;
    let loaded = policy::load(&policy::Source { path: &file.path, text }).map_err(|_| PinsError::Policy)?;
    Ok(loaded.policy)
}

impl Pins {
    fn of(store: PinStore, entries: Vec<Entry>, folder: &Path) -> Self {
        let mut pins = Self { store, tools: BTreeMap::new(), unreadable: Vec::new() };
        for Entry { key, pin, proposed } in entries {
            let read =
                |blob: Option<Vec<u8>>| blob.map(|blob| Pin::read(&blob).ok().filter(|pin| pin::key(&pin.tool) == key));
            let (pin, proposed) = (read(pin), read(proposed));
            if matches!(pin, Some(None)) {
                pins.unreadable.push(folder.join(hex(&key)));
            }
            let (pin, proposed) = (pin.flatten(), proposed.flatten());
            if let Some(tool) = pin.as_ref().or(proposed.as_ref()).map(|pin| pin.tool.clone()) {
                let [pinned, proposed] = [pin, proposed].map(|pin| pin.map(|pin| pin.definition));
                pins.tools.insert(tool, Kept { pinned, proposed });
            }
        }
        pins
    }
}

fn list(pins: &Pins, out: &mut impl Write) -> Done {
    for (tool, kept) in &pins.tools {
        let hash = |definition: &Option<Definition>| definition.as_ref().map(|definition| hex(&definition.sha256));
        let pinned = hash(&kept.pinned).unwrap_or_else(|| "-".repeat(64));
        let changed = if kept.proposed.is_some() { "  a server lists another one: see `pins show`" } else { "" };
        writeln!(out, "{pinned}  {}{changed}", visible(tool))?;
    }
    for path in &pins.unreadable {
        writeln!(out, "{}  cannot be read, its tool is refused; remove it to pin anew", path.display())?;
    }
    Ok(0)
}

fn show(pins: &Pins, tool: &str, out: &mut impl Write) -> Done {
    let Some(kept) = pins.tools.get(tool) else { return unknown(tool) };
    if let Some(pinned) = &kept.pinned {
        writeln!(out, "pinned {}", hex(&pinned.sha256))?;
        out.write_all(pretty::text(pinned).as_bytes())?;
    }
    if let Some(proposed) = &kept.proposed {
        writeln!(out, "listed {}", hex(&proposed.sha256))?;
        out.write_all(pretty::text(proposed).as_bytes())?;
        if let Some(pinned) = &kept.pinned {
            writeln!(out, "changed: {}", pin_diff::changes(pinned, proposed))?;
        }
        writeln!(out, "to take it: intercept-sandbox pins approve TOOL --sha256 {} ...", hex(&proposed.sha256))?;
    }
    Ok(0)
}

/// Only what was looked at is taken: a server may list something else meanwhile.
fn approve(mut pins: Pins, tool: &str, Hash(sha256): Hash, out: &mut impl Write) -> Done {
    let Some(proposed) = pins.tools.get(tool).and_then(|kept| kept.proposed.clone()) else { return unknown(tool) };
    if proposed.sha256 != sha256 && crate::weaken::in_force("pin-approve") {
        eprintln!("error: what the server lists now has the hash {}: look at it again", hex(&proposed.sha256));
        return Ok(1);
    }
    let pin = Pin { tool: tool.to_owned(), definition: proposed };
    pins.store.replace(pin::key(tool), &pin.line())?;
    writeln!(out, "pinned {}  {}", hex(&pin.definition.sha256), visible(tool))?;
    writeln!(out, "sessions that run keep what they began with")?;
    Ok(0)
}

fn unknown(tool: &str) -> Done {
    eprintln!("error: there is nothing of a tool \"{}\"; see `pins list`", visible(tool));
    Ok(1)
}

fn lock(pins: &Pins, output: Option<&Path>, out: &mut impl Write) -> Done {
    let pinned = pins.tools.iter().filter_map(|(tool, kept)| Some((tool.clone(), kept.pinned.clone()?)));
    write_lock(&pinned.collect(), output, out)
}

/// Writes a lock to a new file, or to `out`.
pub(super) fn write_lock(pins: &BTreeMap<String, Definition>, output: Option<&Path>, out: &mut impl Write) -> Done {
    let text = pin_lock::write(pins);
    match output {
        None => out.write_all(&text)?,
        Some(path) => {
            let failed = |source| PinsError::Write { path: path.to_owned(), source };
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
            file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    fn definition(description: &str) -> Definition {
        let text = format!(r#"{{"name":"a","description":"{description}"}}"#);
        Definition::of(&json::parse(text.as_bytes()).unwrap())
    }

    fn open(folder: &Path) -> Pins {
        let (store, entries) = PinStore::open(folder, "test").unwrap();
        Pins::of(store, entries, folder)
    }

    fn said(done: impl FnOnce(&mut Vec<u8>) -> Done) -> (u8, String) {
        let mut out = Vec::new();
        let code = done(&mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn pin(description: &str) -> Vec<u8> {
        Pin { tool: "a".into(), definition: definition(description) }.line()
    }

    #[test]
    fn a_changed_tool_is_shown_and_only_what_was_seen_is_approved() {
        let root = tempfile::tempdir().unwrap();
        let mut pins = open(root.path());
        let key = pin::key("a");
        drop(pins.store.keep(key, &pin("one")).unwrap());
        pins.store.propose(key, &pin("t\\u001bwo")).unwrap();
        let (code, text) = said(|out| list(&open(root.path()), out));
        assert!(code == 0 && text.contains("a server lists another one"), "{text}");
        let (_, text) = said(|out| show(&open(root.path()), "a", out));
        let new = definition("t\\u001bwo").sha256;
        assert!(text.contains("changed: description changed from \"one\" to \"t\\u{1b}wo\""), "{text}");
        assert!(text.contains(&hex(&new)) && !text.contains('\u{1b}'), "{text}");
        pins.store.propose(key, &pin("three")).unwrap();
        assert_eq!(said(|out| approve(open(root.path()), "a", Hash(new), out)).0, 1, "it changed after it was shown");
        assert_eq!(open(root.path()).tools["a"].pinned.as_ref(), Some(&definition("one")));
        let now = definition("three").sha256;
        assert_eq!(said(|out| approve(open(root.path()), "a", Hash(now), out)).0, 0);
        let kept = &open(root.path()).tools["a"];
        assert_eq!((kept.pinned.as_ref(), kept.proposed.as_ref()), (Some(&definition("three")), None));
        assert_eq!(said(|out| show(&open(root.path()), "b", out)).0, 1);
    }

    #[test]
    fn a_lock_is_written_from_the_pins_to_a_new_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("pins");
        std::fs::create_dir(&folder).unwrap();
        let mut pins = open(&folder);
        drop(pins.store.keep(pin::key("a"), &pin("one")).unwrap());
        drop(pins.store.keep(pin::key("b"), b"torn").unwrap());
        let path = root.path().join("tools.lock");
        assert_eq!(said(|out| lock(&open(&folder), Some(&path), out)), (0, String::new()));
        let read = pin_lock::read(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, [("a".to_owned(), definition("one"))].into());
        assert!(lock(&open(&folder), Some(&path), &mut Vec::new()).is_err(), "nothing is replaced");
        assert!(said(|out| list(&open(&folder), out)).1.contains("cannot be read"));
    }
}
