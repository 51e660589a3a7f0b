//! The red team's whole table, bare and under us: every row opens bare, or says why it cannot here; none under us.

use std::collections::BTreeSet;

use harness::arena;
use harness::redteam::{self, Group, Options, Outcome, Road};
use harness::table;

/// Rows that must have run: a table that shrinks proves less.
const ROWS_MIN: usize = 120;

#[test]
fn no_row_is_open_under_us_and_every_row_is_open_bare() {
    arena::run(|arena| {
        let found = redteam::run(arena, &Options::default());
        table::print_lines("red team", &found.lines());
        assert_eq!(found.complaints(), Vec::<String>::new());
        let ran = found.count(|outcome| matches!(outcome, Outcome::Blocked));
        assert!(ran >= ROWS_MIN, "{ran} rows ran; {ROWS_MIN} at least");
        assert_eq!(found.open_on(Road::Ours), 0);
        assert_eq!(found.open_on(Road::Bare), ran, "each that counts was open bare");
    });
}

/// What the table would not notice: two rows of one name, a group without rows.
#[test]
fn rows_have_names_of_their_own_and_every_group_has_some() {
    let mut names = BTreeSet::new();
    let twice: Vec<_> = redteam::all().filter(|row| !names.insert(row.id)).map(|row| row.id).collect();
    assert_eq!(twice, Vec::<&str>::new());
    for group in Group::ALL {
        assert!(redteam::all().any(|row| row.group == group), "{}", group.name());
    }
}
