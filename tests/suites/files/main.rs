//! What a server does with the folders that it may write and the programs that it may execute. Verdicts are the host's.

mod disk;
mod left_behind;
mod programs;
mod shown;
mod unread;
mod write_max;
mod write_max_still;
mod write_quota;

use std::path::Path;

use harness::arena::{Arena, ROOT};
use harness::records;
use harness::run::Run;
use serde_json::Value;

/// A server that runs `script` with /bin/sh and may write the arena's folder `out` as /out, with `more` keys of the folder and
/// `process` keys of `sandbox.process`.
fn shell(arena: &Arena, more: &str, process: &str, script: &str) -> Run {
    arena.writable_folder("out");
    let policy = format!(
        "name: files\ndefault: deny\ntools: {{}}\nsandbox:\n  filesystem: {{write: [{{path: /out, from: {ROOT}/out{more}}}]}}\n  process: {{{process}}}\n"
    );
    Run::new(arena, &policy).command(["/bin/sh", "-c", script])
}

/// Every name below `folder`, with what stands there.
fn walk(folder: &Path) -> Vec<(std::path::PathBuf, std::fs::Metadata)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("it stands there");
        if metadata.is_dir() {
            found.extend(walk(&path));
        }
        found.push((path, metadata));
    }
    found
}

/// The last record of the one session.
fn end() -> Value {
    let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
    assert_eq!(ends.len(), 1, "{ends:#?}");
    ends[0].clone()
}
