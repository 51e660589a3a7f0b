//! Which attacks each layer holds: the red team runs with one layer after the other switched off, and docs/threat-model.md says what opened.
//!
//! A layer without which nothing opens must have another behind it, shown by dropping both, or a reason in the table; else the red team is
//! blind to it, and the run fails.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::shell::{Outcome, as_root, output, workspace};
use crate::{mutate, say};
pub(crate) use table::{LAYERS, Layer};

/// The document that has the table.
pub(crate) const DOCUMENT: &str = "docs/threat-model.md";
/// The lines around it.
const MARKS: [&str; 2] = ["<!-- written by `cargo xtask redteam --without all` -->", "<!-- end of what it wrote -->"];

/// Names of rows.
type Rows = BTreeSet<String>;

/// `cargo xtask redteam --without all`, with programs that are built.
pub(crate) fn write() -> Outcome {
    let mut team = Team::default();
    let (mut lines, mut blind) = (Vec::new(), Vec::new());
    for layer in LAYERS {
        let found = team.try_without(layer)?;
        say::line(&format!("{}: {} open, {} more behind", layer.name, found.alone.len(), found.behind.len()));
        if found.alone.is_empty() && found.behind.is_empty() && layer.why.is_empty() {
            blind.push(layer.name);
        }
        lines.push(found.line(layer));
    }
    let rows = team.rows()?;
    let path = workspace().join(DOCUMENT);
    let text = fs::read_to_string(&path).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    fs::write(&path, replaced(&text, rows, &lines)?).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    if blind.is_empty() { Ok(()) } else { Err(format!("the red team is blind to: {}", blind.join(", "))) }
}

/// What opened without a layer.
struct Found {
    alone: Rows,
    behind: Rows,
}

impl Found {
    fn line(&self, layer: &Layer) -> String {
        let mut second: Vec<String> = Vec::new();
        if let Some((what, _)) = layer.behind.filter(|_| !self.behind.is_empty()) {
            second.push(format!("{what}; without both {}", listed(&self.behind)));
        } else if let Some((what, _)) = layer.behind.filter(|_| self.alone.is_empty()) {
            second.push(format!("without {what} too, nothing opens"));
        }
        second.extend(Some(layer.why.to_owned()).filter(|why| !why.is_empty()));
        let names = layer.drop.split(',').map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("| {} | {names} | {} | {} |", layer.name, listed(&self.alone), second.join("; "))
    }
}

fn listed(rows: &Rows) -> String {
    let names: Vec<&str> = rows.iter().map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { format!("{}: {}", names.len(), names.join(", ")) }
}

/// The red team with its memory of runs that are the same.
#[derive(Default)]
struct Team {
    known: BTreeMap<(String, Option<&'static str>), (Rows, usize)>,
}

impl Team {
    fn try_without(&mut self, layer: &Layer) -> Outcome<Found> {
        let common = self.open(layer, &[layer.beside])?;
        let alone: Rows = self.open(layer, &[layer.drop, layer.beside])?.difference(&common).cloned().collect();
        let Some((_, names)) = layer.behind else { return Ok(Found { alone, behind: Rows::new() }) };
        let common = self.open(layer, &[layer.beside, names])?;
        let both = self.open(layer, &[layer.drop, layer.beside, names])?;
        let behind = both.difference(&common).filter(|row| !alone.contains(*row)).cloned().collect();
        Ok(Found { alone, behind })
    }

    /// The rows, of those that `layer` is tried with, that are open without `protections`, lists with commas.
    fn open(&mut self, layer: &Layer, protections: &[&str]) -> Outcome<Rows> {
        let names: BTreeSet<&str> =
            protections.iter().flat_map(|list| list.split(',')).filter(|n| !n.is_empty()).collect();
        if let Some(unknown) = names.iter().find(|name| mutate::row(name).is_none()) {
            return Err(format!("no protection is called {unknown}"));
        }
        let names = names.into_iter().collect::<Vec<_>>().join(",");
        let key = (names.clone(), layer.group);
        if let Some((rows, _)) = self.known.get(&key) {
            return Ok(rows.clone());
        }
        let ended = output(red_team(&names, layer.group))?;
        let table: Value = serde_json::from_slice(&ended.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&ended.stderr);
            let reason =
                said.lines().find(|line| line.starts_with("error")).unwrap_or("it said nothing that is a table");
            format!("without {names}: {reason} ({error})")
        })?;
        let all = table["rows"].as_array().ok_or("a table has rows")?;
        let open =
            all.iter().filter(|row| row["outcome"] == "open").filter_map(|row| row["id"].as_str().map(str::to_owned));
        let open: Rows = open.collect();
        if names.is_empty() && !open.is_empty() {
            return Err(format!("open with every layer in force: {}", listed(&open)));
        }
        self.known.insert(key, (open.clone(), all.len()));
        Ok(open)
    }

    /// How many rows there are.
    fn rows(&self) -> Outcome<usize> {
        self.known.values().map(|(_, rows)| *rows).max().ok_or_else(|| "no run was made".to_owned())
    }
}

/// The red team without `protections`, which says what came of its rows as JSON.
fn red_team(protections: &str, group: Option<&str>) -> Command {
    let weaken = format!("ISB_WEAKEN={protections}");
    let program = mutate::target().join("debug/redteam_table");
    let program = program.to_string_lossy();
    let mut command = as_root("env", &[&weaken, &program, "--json", "--without", protections]);
    command.args(group.iter().flat_map(|group| ["--group", group]));
    command
}

/// The document with the table between its marks.
fn replaced(text: &str, rows: usize, lines: &[String]) -> Outcome<String> {
    let [begin, end] = MARKS;
    let (before, rest) = text.split_once(begin).ok_or_else(|| format!("{DOCUMENT} has no line {begin}"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("{DOCUMENT} has no line {end}"))?;
    let head = "| Layer | Dropped | Rows that open | Behind it |\n|---|---|---|---|";
    Ok(format!("{before}{begin}\n\n{head}\n{}\n\nOf {rows} rows.\n\n{end}{after}", lines.join("\n")))
}

/// The protections that a table of layers drops in some line.
pub(crate) fn dropped() -> BTreeSet<&'static str> {
    LAYERS.iter().flat_map(|layer| layer.drop.split(',')).collect()
}

/// Whether the document has the table of these layers.
pub(crate) fn is_written(text: &str) -> bool {
    let [begin, end] = MARKS;
    let inside = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(inside, _)| inside);
    let named = |layer: &Layer| inside.lines().any(|line| line.starts_with(&format!("| {} | ", layer.name)));
    let lines = inside.lines().filter(|line| line.starts_with("| ")).count();
    lines == LAYERS.len() + 1 && LAYERS.iter().all(named)
}
