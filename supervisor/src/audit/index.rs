//! The host index: one chained line at the start and one at the end of every session, in `<root>/index.jsonl`.
//! A session or day that was deleted is missing from the disk but not from here; a line that was deleted is missing from
//! the chain; and each `session.start` carries the hash of its line.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{self, Hash, Head, INDEX_DOMAIN, Link};
use super::error::AuditError;
use super::medium::{self, Ahead, Medium};
use super::timestamp::Timestamp;
use super::trusted;
use crate::bounds::AUDIT_SIDECAR_RESERVE_BYTES;
use crate::clock::Now;
use crate::lock;

/// The index in the root of the logs.
pub(super) const INDEX: &str = "index.jsonl";
/// Longest line that we write is under 600 bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Start or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Op {
    /// The session's directory and first segment are there.
    Start,
    /// The session ended in order.
    End,
}

/// The part of a line that is not the chain's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) op: Op,
    pub(super) session: String,
    /// Of the session's directory, below the root.
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) last_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) last_hash: Option<String>,
    /// Bytes before this line that a crash left: they belong to no line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) torn_bytes: Option<u64>,
}

/// Enters the start of a session; returns the hash of its line.
pub(super) fn begin(root: &Path, session: &str, path: &str, now: Now) -> Result<Hash, AuditError> {
    append(root, Op::Start, session, path, None, now)
}

/// Enters the end of a session.
pub(super) fn end(root: &Path, session: &str, path: &str, head: Head, now: Now) -> Result<Hash, AuditError> {
    append(root, Op::End, session, path, Some(head), now)
}

fn append(
    root: &Path,
    op: Op,
    session: &str,
    relative: &str,
    head: Option<Head>,
    now: Now,
) -> Result<Hash, AuditError> {
    let path = root.join(INDEX);
    let mut file = open(root)?;
    lock::exclusive(&file).map_err(AuditError::file("lock", &path))?; // until it is closed
    let length = file.metadata().map_err(AuditError::file("look at", &path))?.len();
    let (last, torn) = last_line(&file, length, &path)?;
    let entry = Entry {
        op,
        session: session.to_owned(),
        path: relative.to_owned(),
        last_seq: head.map(|head| head.seq),
        last_hash: head.map(|head| head.hash.to_string()),
        torn_bytes: (torn > 0).then_some(torn),
    };
    let mut line = if torn > 0 { b"\n".to_vec() } else { Vec::new() };
    let start = line.len();
    line.extend_from_slice(
        format!("{{\"v\":1,\"seq\":{},\"time\":\"{}\",", last.seq + 1, Timestamp(now.wall_ns)).as_bytes(),
    );
    let json = serde_json::to_vec(&entry).map_err(|error| AuditError::file("write", &path)(error.into()))?;
    line.extend_from_slice(&json[1..json.len() - 1]);
    let hash = chain::seal(INDEX_DOMAIN, &mut line, start, last.hash);

    let mut ahead = Ahead::new(length, AUDIT_SIDECAR_RESERVE_BYTES, 0);
    // The end of a session is entered out of the reserve that its start left, if it must.
    match ahead.ensure(&mut file, line.len() as u64) {
        Err(error) if op == Op::Start => return Err(AuditError::file("reserve space for", &path)(error)),
        _ => {}
    }
    medium::write_all(&mut file, &line).map_err(|(_, error)| AuditError::file("write", &path)(error))?;
    Medium::sync_data(&mut file).map_err(AuditError::file("sync", &path))?;
    Ok(hash)
}

fn open(root: &Path) -> Result<File, AuditError> {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::Mode;

    let path = root.join(INDEX);
    let directory = trusted::directory(root, 0o750)?;
    match trusted::create(&directory, root, INDEX, 0o640) {
        Ok(_) => trusted::sync_directory(&directory, root)?,
        Err(AuditError::File { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(other) => return Err(other),
    }
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file: File = openat(&directory, INDEX, flags, Mode::empty())
        .map_err(|errno| AuditError::file("open", &path)(errno.into()))?
        .into();
    trusted::check(&file, &path, 0o022)?;
    Ok(file)
}

/// The last whole line's place in the chain, as it says itself (an edit is for `verify` to find, not a reason to lose
/// the chain), and how many torn bytes stand behind it.
fn last_line(file: &File, length: u64, path: &Path) -> Result<(Head, u64), AuditError> {
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    let mut window = vec![0; (length - from) as usize];
    file.read_exact_at(&mut window, from).map_err(AuditError::file("read", path))?;
    let Some(feed) = window.iter().rposition(|byte| *byte == b'\n') else {
        // Nothing at all, or a first line that a crash tore.
        return if from == 0 {
            Ok((Head::START, length))
        } else {
            Err(AuditError::IndexDamaged { path: path.to_owned() })
        };
    };
    let start = window[..feed].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let link = Link::read(INDEX_DOMAIN, &window[start..feed]);
    let torn = (window.len() - feed - 1) as u64;
    link.map(|link| (link.head(), torn)).ok_or_else(|| AuditError::IndexDamaged { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { wall_ns: 1, boot_ns: 2 };

    fn lines(root: &Path) -> Vec<String> {
        std::fs::read_to_string(root.join(INDEX)).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_chained() {
        let root = tempfile::tempdir().unwrap();
        let first = begin(root.path(), "a", "d/a", NOW).unwrap();
        let second = end(root.path(), "a", "d/a", Head { seq: 9, hash: Hash([1; 32]) }, NOW).unwrap();
        let lines = lines(root.path());
        let links: Vec<_> = lines.iter().map(|line| Link::read(INDEX_DOMAIN, line.as_bytes()).unwrap()).collect();
        assert!(links[0].intact && links[0].follows(Head::START) && links[0].hash == first);
        assert!(links[1].intact && links[1].follows(links[0].head()) && links[1].hash == second);
        let entry: Entry = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!((entry.op, entry.last_seq), (Op::End, Some(9)));
    }

    #[test]
    fn a_torn_tail_is_named_by_the_next_line() {
        let root = tempfile::tempdir().unwrap();
        let first = begin(root.path(), "a", "d/a", NOW).unwrap();
        let mut bytes = std::fs::read(root.path().join(INDEX)).unwrap();
        bytes.extend_from_slice(b"{\"v\":1,\"se");
        std::fs::write(root.path().join(INDEX), bytes).unwrap();
        let _ = begin(root.path(), "b", "d/b", NOW).unwrap();
        let lines = lines(root.path());
        let link = Link::read(INDEX_DOMAIN, lines[2].as_bytes()).unwrap();
        assert!(link.intact && link.seq == 2 && link.prev == first);
        assert_eq!(serde_json::from_str::<Entry>(&lines[2]).unwrap().torn_bytes, Some(10));
    }

    #[test]
    fn an_index_that_ends_in_no_line_of_ours_stops_the_start() {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), "a", "d/a", NOW).unwrap();
        std::fs::write(root.path().join(INDEX), "{}\n").unwrap();
        assert!(matches!(begin(root.path(), "b", "d/b", NOW), Err(AuditError::IndexDamaged { .. })));
    }

    #[test]
    fn an_index_that_somebody_keeps_locked_stops_the_start_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), "a", "d/a", NOW).unwrap();
        let held = File::open(root.path().join(INDEX)).unwrap();
        lock::exclusive(&held).unwrap();
        let refused = begin(root.path(), "b", "d/b", NOW).unwrap_err();
        assert!(refused.to_string().ends_with("index.jsonl"), "{refused}");
        assert!(
            matches!(&refused, AuditError::File { what: "lock", source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
            "{refused:?}"
        );
        drop(held);
        begin(root.path(), "b", "d/b", NOW).unwrap();
    }

    #[test]
    fn sixteen_writers_make_one_chain() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let root = root.path();
                scope.spawn(move || begin(root, &number.to_string(), "d/x", NOW).unwrap());
            }
        });
        let mut head = Head::START;
        for line in lines(root.path()) {
            let link = Link::read(INDEX_DOMAIN, line.as_bytes()).unwrap();
            assert!(link.intact && link.follows(head));
            head = link.head();
        }
        assert_eq!(head.seq, 16);
    }
}
