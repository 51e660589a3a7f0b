//! Audit records as a reader of the files sees them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// Where a run without `--audit-dir` writes.
pub const DEFAULT_DIRECTORY: &str = "/var/log/intercept-sandbox";

/// All segments of sessions under `directory`, sorted by path: `<date>/<session>/000001.jsonl`.
#[must_use]
pub fn segments(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| {
        path.file_stem().is_some_and(|stem| stem.to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
    };
    files(directory).into_iter().filter(is_segment).collect()
}

/// Every log file under `directory`, the host's index and refused runs included, sorted by path.
fn files(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![directory.as_ref().to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jsonl") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Names of the sessions that have a folder under `directory`: `<date>/<session>`.
#[must_use]
pub fn sessions(directory: impl AsRef<Path>) -> BTreeSet<String> {
    let folders = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = folders(directory.as_ref().to_path_buf()).flat_map(folders);
    all.filter(|path| path.is_dir()).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

/// Every whole record under `directory`, in file order.
///
/// # Panics
/// When a whole line is not JSON.
#[must_use]
pub fn read(directory: impl AsRef<Path>) -> Vec<Value> {
    let mut records = Vec::new();
    for segment in files(directory) {
        let text = fs::read_to_string(&segment).unwrap_or_default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let parse = serde_json::from_str(line);
            records.push(parse.unwrap_or_else(|error| panic!("{}: {error}: {line}", segment.display())));
        }
    }
    records
}

/// Records of one type.
#[must_use]
pub fn of_type(directory: impl AsRef<Path>, kind: &str) -> Vec<Value> {
    read(directory).into_iter().filter(|record| record["type"] == kind).collect()
}

/// What the layer of that name answered in the last run.
///
/// # Panics
/// When there was no run, or it says nothing of the layer.
#[must_use]
pub fn layer(name: &str) -> Value {
    let applied = of_type(DEFAULT_DIRECTORY, "sandbox.applied");
    let last = applied.iter().max_by_key(|record| record["boot_ns"].as_u64()).expect("a run");
    let layers = last["sandbox"]["layers"].as_array().expect("a list").clone();
    layers.into_iter().find(|layer| layer["layer"] == name).expect("an answer")
}

/// The records of that type which name the call of `tool`.
///
/// # Panics
/// When it was not called.
#[must_use]
pub fn of_call(kind: &str, tool: &str) -> Vec<Value> {
    let requests = of_type(DEFAULT_DIRECTORY, "mcp.request");
    let call = requests.into_iter().find(|record| record["mcp"]["tool"] == tool).expect("the call is recorded");
    of_type(DEFAULT_DIRECTORY, kind).into_iter().filter(|record| record["corr"] == call["corr"]).collect()
}

/// Codes of the runs that were refused before anything started.
#[must_use]
pub fn refusals(directory: impl AsRef<Path>) -> Vec<String> {
    let ends = of_type(directory, "session.end").into_iter().filter(|record| record["effect"] == "denied");
    ends.filter_map(|record| record["reason"]["code"].as_str().map(str::to_owned)).collect()
}

/// Waits for a record that is not among `known` and that `wanted` accepts. What was known before an attempt cannot be
/// its record: the self-test of each run leaves refusals too.
pub fn wait_for(
    directory: impl AsRef<Path>,
    known: &[Value],
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Option<Value> {
    let is_new = |record: &Value| !known.contains(record) && wanted(record);
    wait::until(limit, || read(&directory).into_iter().find(is_new))
}
