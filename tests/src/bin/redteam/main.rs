//! The red team's program: an MCP server that does as it is told through `tools/call` of its one tool `probe`, and tells what
//! came of it. Nobody believes it: the suites judge on the host. It needs libc and nothing else, so that it runs in any root.
//!
//! Each probe runs in a child of its own, which then stays, so that the host can look at what it holds; the next call ends it.
//! `redteam probe NAME [ARGUMENT]` is one probe without the pipe, `redteam linger MARKER` is what it leaves behind when it can,
//! and `redteam stand FILE` is the host's process that attacks aim at.
#![allow(unsafe_code, reason = "attacks are raw system calls; this program is no part of the product")]

mod bombs;
mod calls;
mod entries;
mod files;
mod folder;
mod hello;
mod kernel;
mod mounts;
mod names;
mod network;
mod process;
mod raw;
mod serve;
mod sockets;
mod spaces;
mod stand;
mod state;
mod system;

use std::io::{self, Write};

/// What a probe reports: a word on success, an error's name otherwise.
type Told = Result<String, raw::Failure>;
/// One attack. `argument` is whatever the suite wants it to know.
type Probe = fn(argument: &str) -> Told;

/// Every attack, by name.
const PROBES: &[&[(&str, Probe)]] = &[
    network::PROBES,
    names::PROBES,
    sockets::PROBES,
    files::PROBES,
    folder::PROBES,
    system::PROBES,
    mounts::PROBES,
    process::PROBES,
    spaces::PROBES,
    state::PROBES,
    kernel::PROBES,
    calls::PROBES,
    entries::PROBES,
    bombs::PROBES,
];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "linger", _] => process::linger(),
        [_, "stand", file] => stand::stand(file),
        [_, "probe", name] => writeln!(io::stdout(), "{}", attempt(name, "")),
        [_, "probe", name, argument] => writeln!(io::stdout(), "{}", attempt(name, argument)),
        _ => serve::serve(),
    }
}

fn attempt(name: &str, argument: &str) -> String {
    match PROBES.iter().copied().flatten().find(|(known, _)| *known == name) {
        None => format!("no probe is called {name}"),
        Some((_, probe)) => match probe(argument) {
            Ok(told) => format!("ok {told}").trim_end().to_owned(),
            Err(failure) => failure.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use harness::redteam::{Judge, Row, all};

    use super::PROBES;

    /// What cases with sessions of their own ask for, here and in other suites, under other names than their rows'; and the allowed road.
    const ASKED_BY_CASES: [&str; 7] = [
        "connect-forever",
        "daemonise",
        "daemonise-stopped",
        "daemonise-stubborn",
        "say-to-allowed",
        "spin",
        "tls-allowed",
    ];

    /// A case names what it asks for itself; its row's name may be another.
    fn has_probe(row: &&Row) -> bool {
        !matches!(row.judge, Judge::Life(_)) || PROBES.iter().copied().flatten().any(|(name, _)| *name == row.probe)
    }

    #[test]
    fn every_probe_has_a_row_and_every_row_a_probe() {
        let probes: BTreeSet<&str> = PROBES.iter().copied().flatten().map(|(name, _)| *name).collect();
        let of_rows: BTreeSet<&str> = all().filter(has_probe).map(|row| row.probe).chain(ASKED_BY_CASES).collect();
        assert_eq!(probes.difference(&of_rows).collect::<Vec<_>>(), [] as [&&str; 0], "nobody tries these");
        assert_eq!(of_rows.difference(&probes).collect::<Vec<_>>(), [] as [&&str; 0], "no probe of this name");
    }
}
