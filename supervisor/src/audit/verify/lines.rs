//! Reads a file line by line, never more of it than a record may have.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::audit::error::AuditError;
use crate::audit::read::open_regular;
use crate::bounds::AUDIT_RECORD_BYTES_MAX;

/// One piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line that ended in LF; its bytes without it.
    Line,
    /// A line that ended in LF and is longer than a record may be; its first bytes.
    Overlong,
    /// What stands after the last LF.
    Tail,
}

/// A reader of lines. The buffer holds the piece read last.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<io::Take<File>>,
    /// The bytes of the piece read last.
    pub(super) bytes: Vec<u8>,
    /// Offset behind the piece read last.
    pub(super) offset: u64,
}

impl Lines {
    /// Opens a file. A file that grows meanwhile is read to the length it had when it was opened.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = open_regular(path).map_err(AuditError::file("open", path))?;
        let length = file.metadata().map_err(AuditError::file("look at", path))?.len();
        Ok(Self {
            reader: BufReader::with_capacity(64 << 10, io::Read::take(file, length)),
            bytes: Vec::new(),
            offset: 0,
        })
    }

    /// Reads the next piece; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        self.bytes.clear();
        let mut overlong = false;
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok((!self.bytes.is_empty()).then_some(Piece::Tail));
            }
            let feed = memchr::memchr(b'\n', chunk);
            let taken = feed.unwrap_or(chunk.len());
            let room = AUDIT_RECORD_BYTES_MAX - self.bytes.len();
            overlong |= taken > room;
            self.bytes.extend_from_slice(&chunk[..taken.min(room)]);
            let consumed = taken + usize::from(feed.is_some());
            self.reader.consume(consumed);
            self.offset += consumed as u64;
            if feed.is_some() {
                return Ok(Some(if overlong { Piece::Overlong } else { Piece::Line }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_overlong_lines_and_a_tail() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        let long = "x".repeat(AUDIT_RECORD_BYTES_MAX);
        std::fs::write(&path, format!("a\n\n{long}\n{long}x\nb")).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut seen = Vec::new();
        while let Some(piece) = lines.next().unwrap() {
            seen.push((piece, lines.bytes.len(), lines.offset));
        }
        let max = AUDIT_RECORD_BYTES_MAX;
        let at = |bytes: usize| bytes as u64;
        assert_eq!(
            seen,
            [
                (Piece::Line, 1, 2),
                (Piece::Line, 0, 3),
                (Piece::Line, max, at(max + 4)),
                (Piece::Overlong, max, at(2 * max + 6)),
                (Piece::Tail, 1, at(2 * max + 7)),
            ]
        );
    }
}
