//! The log that a test's gate wrote.

use std::path::Path;

use serde_json::Value;

/// The one segment of the one session below `root`.
pub(super) fn text(root: &Path) -> String {
    let days = std::fs::read_dir(root).unwrap().flatten().filter(|entry| entry.path().is_dir());
    let session = days.flat_map(|day| std::fs::read_dir(day.path()).unwrap().flatten()).next().unwrap();
    std::fs::read_to_string(session.path().join("000001.jsonl")).unwrap()
}

/// Its records, one a line.
pub(super) fn records(root: &Path) -> Vec<Value> {
    text(root).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
