//! Verdicts, and the table of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::roads::Road;
use super::rows::{Argument, Row};
use crate::table;

/// What one run of one row came to.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the host saw the attack succeed.
    pub open: bool,
    /// What the program was told.
    pub told: String,
}

/// What a row came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Open bare and blocked under us.
    Blocked,
    /// Open under us.
    Open,
    /// This machine cannot run the attack, and why.
    NotHere(String),
    /// Not open bare, without a cause: the row sees nothing.
    Blind,
}

/// All rows with what they came to.
pub struct Table {
    rows: Vec<(&'static Row, BTreeMap<Road, Seen>)>,
    late: Vec<String>,
}

/// Errors that say: this kernel has no such thing.
const ABSENT: [(&str, &str); 7] = [
    ("EAFNOSUPPORT", "the kernel has no such socket family"),
    ("EPROTONOSUPPORT", "the kernel has no such protocol"),
    ("ESOCKTNOSUPPORT", "the kernel has no such socket type"),
    ("ENOPROTOOPT", "the kernel has no such option"),
    ("ENOSYS", "the kernel has no such call"),
    ("EOPNOTSUPP", "the file system has no such thing"),
    ("ENODEV", "the kernel has no such file system or device"),
];

impl Table {
    pub(super) fn new(rows: &[&'static Row], seen: &BTreeMap<Road, Vec<Seen>>, late: Vec<String>) -> Self {
        let of_row = |index: usize| seen.iter().map(|(road, all)| (*road, all[index].clone())).collect();
        Self { rows: rows.iter().enumerate().map(|(index, row)| (*row, of_row(index))).collect(), late }
    }

    /// Rows with their outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static Row, Outcome)> {
        self.rows.iter().map(|(row, seen)| (*row, outcome(row, seen)))
    }

    /// How many rows have an outcome that `is` takes.
    #[must_use]
    pub fn count(&self, is: fn(&Outcome) -> bool) -> usize {
        self.outcomes().filter(|(_, outcome)| is(outcome)).count()
    }

    /// How many rows were open on a road, NA ones left out.
    #[must_use]
    pub fn open_on(&self, road: Road) -> usize {
        let counted = self.rows.iter().filter(|(row, seen)| !matches!(outcome(row, seen), Outcome::NotHere(_)));
        counted.filter(|(_, seen)| seen.get(&road).is_some_and(|seen| seen.open)).count()
    }

    /// Why the table is not good: rows open under us, rows that see nothing, visitors that came late.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let of_row = |(row, seen): &(&'static Row, BTreeMap<Road, Seen>)| match outcome(row, seen) {
            Outcome::Open => Some(format!("{}: open under us: {}", row.id, seen[&Road::Ours].told)),
            Outcome::Blind => Some(format!("{}: not open bare, no cause: {}", row.id, seen[&Road::Bare].told)),
            Outcome::Blocked | Outcome::NotHere(_) => None,
        };
        let late = self.late.iter().map(|what| format!("a canary was reached late: {what}"));
        self.rows.iter().filter_map(of_row).chain(late).collect()
    }

    /// The lines of the table, with a last one that counts.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let roads: Vec<Road> = self.rows.first().map_or(Vec::new(), |(_, seen)| seen.keys().copied().collect());
        let mut headings = vec!["group", "probe", "what", "expected"];
        headings.extend(roads.iter().map(|road| road.name()));
        headings.extend(["told under us", "judged by", "stopped by", "then by"]);
        let cells = |(row, seen): &(&'static Row, BTreeMap<Road, Seen>)| {
            let mut cells =
                vec![row.group.name().to_owned(), row.id.to_owned(), row.what.to_owned(), "blocked".to_owned()];
            for road in &roads {
                cells.push(verdict(row, seen, *road));
            }
            let told = seen.get(&Road::Ours).map_or("", |seen| seen.told.as_str());
            cells.extend([told, row.judge.name(), row.layer, row.second].map(str::to_owned));
            cells
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let mut lines = table::lines(&headings, &rows);
        lines.push(String::new());
        lines.push(self.sum(&roads));
        lines
    }

    fn sum(&self, roads: &[Road]) -> String {
        let not_here = self.count(|outcome| matches!(outcome, Outcome::NotHere(_)));
        let ran = self.rows.len() - not_here;
        let open: Vec<String> = roads.iter().map(|road| format!("{} {}", road.name(), self.open_on(*road))).collect();
        format!("{ran} must-block rows ran, {not_here} not on this machine; open: {}", open.join(", "))
    }

    /// The table for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let one = |(row, seen): &(&'static Row, BTreeMap<Road, Seen>)| {
            let got: BTreeMap<&str, Value> =
                seen.iter().map(|(road, seen)| (road.name(), json!({"open": seen.open, "told": seen.told}))).collect();
            let (outcome, cause) = match outcome(row, seen) {
                Outcome::Blocked => ("blocked", None),
                Outcome::Open => ("open", None),
                Outcome::NotHere(cause) => ("na", Some(cause)),
                Outcome::Blind => ("blind", None),
            };
            json!({
                "id": row.id, "group": row.group.name(), "what": row.what, "expected": "blocked", "outcome": outcome,
                "cause": cause, "judged_by": row.judge.name(), "layer": row.layer, "second_layer": row.second, "got": got,
            })
        };
        json!({"rows": self.rows.iter().map(one).collect::<Vec<_>>(), "late": self.late})
    }
}

fn verdict(row: &Row, seen: &BTreeMap<Road, Seen>, road: Road) -> String {
    match (outcome(row, seen), seen.get(&road)) {
        (Outcome::NotHere(cause), _) if road == Road::Bare => format!("NA: {cause}"),
        (Outcome::NotHere(_), _) | (_, None) => "-".to_owned(),
        (_, Some(seen)) if seen.open => "OPEN".to_owned(),
        (_, Some(seen)) if road == Road::Bare => format!("blind: {}", seen.told),
        (_, Some(_)) => "blocked".to_owned(),
    }
}

fn outcome(row: &Row, seen: &BTreeMap<Road, Seen>) -> Outcome {
    if seen.get(&Road::Ours).is_some_and(|seen| seen.open) {
        return Outcome::Open;
    }
    match seen.get(&Road::Bare) {
        Some(bare) if !bare.open => cause(row, bare).map_or(Outcome::Blind, Outcome::NotHere),
        _ => Outcome::Blocked,
    }
}

/// What is told of a row that a bare run leaves out.
pub(super) const NOT_TRIED: &str = "not tried: it would load modules";

/// Whether this kernel has modules to load.
pub(super) fn has_modules() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Path::new("/lib/modules").join(release.trim()).exists()
}

/// Whether this process' root has a capability.
pub(super) fn has_capability(number: u32) -> bool {
    let own = crate::processes::Process::find(std::process::id()).and_then(|own| own.status("CapEff"));
    own.and_then(|set| u64::from_str_radix(&set, 16).ok()).is_none_or(|set| set >> number & 1 == 1)
}

/// Why a bare run could not succeed on this machine: it has no such thing.
fn cause(row: &Row, bare: &Seen) -> Option<String> {
    if let Argument::Text(path) = row.argument
        && ["/proc/", "/sys/", "/dev/"].iter().any(|start| path.starts_with(start))
        && !Path::new(path).exists()
    {
        return Some(format!("no {path}"));
    }
    if bare.told == NOT_TRIED {
        return Some("it would load modules, which stay".to_owned());
    }
    if let Some((number, name)) = row.needs
        && !has_capability(number)
    {
        return Some(format!("root has no {name} here"));
    }
    if let Some((errno, why)) = row.not_here
        && bare.told.contains(errno)
    {
        return Some(why.to_owned());
    }
    if let Some(cause) = row.lacks.and_then(|look| look()) {
        return Some(cause);
    }
    ABSENT.iter().find(|(errno, _)| bare.told.contains(errno)).map(|(_, why)| (*why).to_owned())
}
