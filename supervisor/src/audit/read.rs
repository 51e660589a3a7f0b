//! Finds and reads records for people. Nothing here judges them; that is `verify`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;

use super::directory::segment_name;
use super::error::AuditError;
use super::verify::{self, Subject};
use crate::bounds::AUDIT_RECORD_BYTES_MAX;

/// One line of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The segment.
    pub file: PathBuf,
    /// The line without its LF.
    pub bytes: Vec<u8>,
}

/// A session's segment that is read on from where it was left.
#[derive(Clone, Debug)]
pub struct Cursor {
    file: PathBuf,
    offset: u64,
}

impl Cursor {
    /// At the beginning of a segment.
    #[must_use]
    pub const fn start(file: PathBuf) -> Self {
        Self { file, offset: 0 }
    }

    /// The segment.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Takes the whole lines that stand behind the cursor, one megabyte at most; the cursor moves behind them. A line
    /// that is not finished yet stays.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub fn take(&mut self) -> Result<Vec<Line>, AuditError> {
        const BYTES_MAX: u64 = 1 << 20;
        let read = || AuditError::file("read", &self.file);
        let file = open_regular(&self.file).map_err(read())?;
        let length = file.metadata().map_err(read())?.len();
        let mut bytes = vec![0; length.saturating_sub(self.offset).min(BYTES_MAX) as usize];
        file.read_exact_at(&mut bytes, self.offset).map_err(read())?;
        let end = match memchr::memrchr(b'\n', &bytes) {
            Some(feed) => feed + 1,
            // No record is this long: pass over what is none.
            None if bytes.len() as u64 == BYTES_MAX => bytes.len(),
            None => 0,
        };
        self.offset += end as u64;
        Ok(split(&self.file, &bytes[..end]))
    }
}

/// Opens a file of a log: no link, which could lead anywhere, and no pipe, which would wait for its writer.
///
/// # Errors
/// Those of open(2), `ELOOP` for a link; `InvalidInput` for what is no regular file.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let plain = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let flags = if crate::weaken::in_force("log-links") { plain } else { libc::O_CLOEXEC };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

/// The sessions of a log root, the one written last first.
///
/// # Errors
/// When a directory cannot be listed.
pub fn sessions(root: &Path) -> Result<Vec<PathBuf>, AuditError> {
    if verify::kind_of(root)? != Subject::Root {
        return Err(AuditError::Untrusted { path: root.to_owned(), why: "is no log root".into() });
    }
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for relative in verify::sessions(root)? {
        let path = root.join(relative);
        let newest = segments(&path)?.pop().unwrap_or_else(|| path.clone());
        let modified = newest.metadata().and_then(|metadata| metadata.modified());
        found.push((modified.map_err(AuditError::file("look at", &newest))?, path));
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

/// The segments of a session, in order.
///
/// # Errors
/// When the directory cannot be listed.
pub fn segments(session: &Path) -> Result<Vec<PathBuf>, AuditError> {
    Ok(verify::segments(session)?.into_iter().map(|number| session.join(segment_name(number))).collect())
}

/// The last `count` whole lines of a session, oldest first, and cursors behind the end of each segment.
///
/// # Errors
/// When a segment cannot be read.
pub fn last_lines(session: &Path, count: usize) -> Result<(Vec<Line>, Vec<Cursor>), AuditError> {
    let mut lines = Vec::new();
    let mut cursors = Vec::new();
    for path in segments(session)?.into_iter().rev() {
        let (mut older, end) = tail_of(&path, count.saturating_sub(lines.len()))?;
        older.append(&mut lines);
        lines = older;
        cursors.push(Cursor { file: path, offset: end });
    }
    Ok((lines, cursors))
}

/// The last `count` whole lines of a segment, and where the last of them ends. Reads backwards, a block at a time.
fn tail_of(path: &Path, count: usize) -> Result<(Vec<Line>, u64), AuditError> {
    let read = || AuditError::file("read", path);
    let file = open_regular(path).map_err(read())?;
    let length = file.metadata().map_err(read())?.len();
    let mut block = AUDIT_RECORD_BYTES_MAX as u64;
    loop {
        let from = length.saturating_sub(block);
        let mut bytes = vec![0; (length - from) as usize];
        file.read_exact_at(&mut bytes, from).map_err(read())?;
        let feeds = memchr::memchr_iter(b'\n', &bytes).count();
        if from > 0 && feeds <= count {
            block *= 4;
            continue;
        }
        let end = memchr::memrchr(b'\n', &bytes).map_or(0, |feed| feed + 1);
        let mut lines = split(path, &bytes[..end]);
        lines.drain(..lines.len().saturating_sub(count));
        return Ok((lines, from + end as u64));
    }
}

fn split(file: &Path, bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    lines.split(|byte| *byte == b'\n').map(|line| Line { file: file.to_owned(), bytes: line.to_vec() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8(line.bytes.clone()).unwrap()).collect()
    }

    #[test]
    fn the_last_lines_run_across_segments_and_leave_a_torn_one() {
        let root = tempfile::tempdir().unwrap();
        let long = "x".repeat(AUDIT_RECORD_BYTES_MAX);
        std::fs::write(root.path().join("000001.jsonl"), format!("a\n{long}\nb\n")).unwrap();
        std::fs::write(root.path().join("000002.jsonl"), "c\nd\nto").unwrap();
        std::fs::write(root.path().join("notes"), "n\n").unwrap();
        let last = |count| texts(&last_lines(root.path(), count).unwrap().0);
        assert_eq!(last(0), [""; 0]);
        assert_eq!(last(1), ["d"]);
        assert_eq!(last(3), ["b", "c", "d"]);
        assert_eq!(last(4), [&long, "b", "c", "d"]);
        assert_eq!(last(99).len(), 5);
    }

    #[test]
    fn a_cursor_takes_a_line_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("000001.jsonl");
        std::fs::write(&file, "a\nb").unwrap();
        let mut cursor = Cursor::start(file.clone());
        assert_eq!(texts(&cursor.take().unwrap()), ["a"]);
        assert_eq!(cursor.take().unwrap(), []);
        std::fs::write(&file, "a\nbc\n\n").unwrap();
        assert_eq!(texts(&cursor.take().unwrap()), ["bc", ""]);

        let (_, cursors) = last_lines(root.path(), 1).unwrap();
        assert_eq!(cursors[0].offset, 6);
    }
}
