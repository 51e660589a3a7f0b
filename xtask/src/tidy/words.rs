//! Words that must not stand in the repository.

use super::sources::code;
use super::{Finding, Source};

/// Names of package registries: a file that names one builds only where it can be reached. Written in halves, so that
/// this file passes its own rule.
const REGISTRIES: [[&str; 2]; 6] = [
    ["registry.", "npmjs"],
    ["pypi.", "org"],
    ["files.", "pythonhosted"],
    ["index.", "crates.io"],
    ["static.", "crates.io"],
    ["deb.", "debian.org"],
];

pub(super) fn registry_hosts(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.lines() {
            let named = REGISTRIES.iter().map(|halves| halves.concat()).find(|host| line.contains(host));
            findings.extend(named.map(|host| Finding::at(source, number, format!("names the registry host {host}"))));
        }
        if source.path.ends_with("package-lock.json") {
            let resolved = source.lines().filter(|(_, line)| line.trim_start().starts_with("\"resolved\""));
            findings.extend(
                resolved.map(|(number, _)| Finding::at(source, number, "a lock file must not name where from")),
            );
        }
    }
    findings
}

pub(super) fn unfinished(sources: &[Source]) -> Vec<Finding> {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"], ["HA", "CK"], ["todo", "!("], ["unimplemented", "!("]];
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() || source.path.ends_with(".md")) {
        for (number, line) in source.lines() {
            let mark = marks.iter().map(|halves| halves.concat()).find(|mark| is_word(line, mark));
            findings.extend(mark.map(|mark| Finding::at(source, number, format!("{mark}: finish it or file it"))));
        }
    }
    findings
}

fn is_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next()))
}

pub(super) fn unwraps(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("supervisor/src/") && source.is_rust()) {
        let lines =
            source.product_lines().into_iter().filter(|(_, line)| code(line).contains(&[".unwrap", "()"].concat()));
        findings.extend(lines.map(|(number, _)| Finding::at(source, number, "unwrap outside tests")));
    }
    findings
}
