//! The red team: every attack of the threat model, tried bare, under us and under bubblewrap, judged on the host.
//!
//! A row is one attack. It must be OPEN bare, or the machine itself must have a reason why it cannot be (then the row is NA, counted
//! apart, with its cause); under us it must be blocked. The verdict is what the host sees; where a call leaves nothing to see, it is the
//! kernel's answer, and the row says so.

mod eyes;
mod ground;
mod life;
mod outcome;
mod roads;
mod rows;
mod stand;
mod visit;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::arena::Arena;

pub use eyes::Judge;
pub use ground::Ground;
pub use outcome::{Outcome, Seen, Table};
pub use roads::Road;
pub use rows::{Argument, Group, Row, all};

use visit::Visit;

/// One table at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The roads, [`Road::Bare`] first where rows are to be judged.
    pub roads: Vec<Road>,
    /// Only this group.
    pub group: Option<Group>,
    /// Only rows whose name contains this.
    pub filter: Option<String>,
    /// Whether a protection is dropped: then the allowed road need not be open, which other protections may lead elsewhere.
    pub weakened: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { roads: vec![Road::Bare, Road::Ours], group: None, filter: None, weakened: false }
    }
}

/// Runs the rows in the calling thread's arena.
///
/// # Panics
/// When the ground cannot be laid, or a run without an attack does not work: then no verdict would mean anything.
#[must_use]
pub fn run(arena: &Arena, options: &Options) -> Table {
    // Bare runs leave traces in places that all of them share.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = |row: &&Row| {
        options.group.is_none_or(|group| group == row.group)
            && options.filter.as_deref().is_none_or(|part| row.id.contains(part))
    };
    let rows: Vec<&'static Row> = all().filter(wanted).collect();
    let ground = Ground::lay(arena);
    let mut seen: BTreeMap<Road, Vec<Seen>> = BTreeMap::new();
    let mut late = Vec::new();
    for road in &options.roads {
        let mut of_road = Vec::with_capacity(rows.len());
        for group in Group::ALL {
            let of_group: Vec<&Row> = rows.iter().copied().filter(|row| row.group == group).collect();
            if of_group.is_empty() {
                continue;
            }
            ground.reset();
            of_road.extend(run_group(&ground, *road, &of_group, options.weakened));
            let strays = ground.canaries.take_all();
            if *road == Road::Ours && !strays.is_empty() {
                late.push(format!("{}: {strays:?}", group.name()));
            }
        }
        seen.insert(*road, of_road);
    }
    // A row's place in the table is its group's.
    let ordered: Vec<&'static Row> =
        Group::ALL.iter().flat_map(|group| rows.iter().copied().filter(move |row| row.group == *group)).collect();
    Table::new(&ordered, &seen, late)
}

fn run_group(ground: &Ground, road: Road, rows: &[&Row], weakened: bool) -> Vec<Seen> {
    let mut visit: Option<Visit<'_>> = None;
    let mut seen = Vec::with_capacity(rows.len());
    for row in rows {
        if let Judge::Life(life) = row.judge {
            visit = None;
            seen.push(life(ground, road));
            continue;
        }
        // A row that spoils its session, and whatever ends one, gets a session of its own.
        if row.alone || visit.as_ref().is_some_and(Visit::is_over) {
            visit = None;
        }
        let mut current = visit.take().unwrap_or_else(|| Visit::start(ground, road));
        if seen.is_empty() && row.group == Group::Network && road != Road::Bwrap && !weakened {
            let told = current.ask("tls-allowed", "");
            assert!(told.starts_with("ok heard"), "the allowed road is open, {}: {told}", road.name());
        }
        seen.push(current.attempt(row));
        visit = (!row.alone).then_some(current);
    }
    seen
}
