//! `redteam_table [--json] [--group NAME] [--without PROTECTION] [FILTER]`: the red team's table (`cargo xtask redteam`).
//!
//! Bare and under us, and under bubblewrap where it is installed. With `--without` under us alone, and what it prints is which rows
//! open: the caller has dropped the protection; with `--json` too, the rows with what each came to.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use harness::arena::Arena;
use harness::redteam::{self, Group, Options, Outcome, Road};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut json, mut without) = (false, None);
    let mut options = Options { roads: vec![Road::Bare, Road::Ours], group: None, filter: None, weakened: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--without" => without = arguments.next(),
            "--group" => {
                let name = arguments.next().unwrap_or_default();
                let Some(group) = Group::ALL.into_iter().find(|group| group.name() == name) else {
                    return complain(&format!("no group is called {name:?}"), 2);
                };
                options.group = Some(group);
            }
            flag if flag.starts_with('-') => return complain(&format!("what is {flag}?"), 2),
            filter => options.filter = Some(filter.to_owned()),
        }
    }
    if without.is_some() {
        options.roads = vec![Road::Ours];
        options.weakened = true;
    } else if has_bubblewrap() {
        options.roads.push(Road::Bwrap);
    }
    let table = redteam::run(&Arena::enter(), &options);
    if let Some(protection) = without.filter(|_| !json) {
        let open: Vec<&str> =
            table.outcomes().filter(|(_, outcome)| matches!(outcome, Outcome::Open)).map(|(row, _)| row.id).collect();
        return say(&format!("without {protection}: {} open: {}", open.len(), open.join(", ")));
    }
    let text = if json { table.to_json().to_string() } else { table.lines().join("\n") };
    let told = say(&text);
    let complaints = if options.weakened { Vec::new() } else { table.complaints() };
    if complaints.is_empty() { told } else { complain(&complaints.join("\n"), 1) }
}

fn has_bubblewrap() -> bool {
    let found = Command::new("bwrap").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

fn say(text: &str) -> ExitCode {
    let written = writeln!(std::io::stdout(), "{text}");
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Nobody listening is no reason to succeed.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
