//! Lines out of a byte stream. MCP's stdio transport: one message a line, ended by LF, none inside.

use std::mem;
use std::ops::Range;

use memchr::memchr;

use super::overlong::{Overlong, Probe};
use crate::weaken;

/// Bytes that one read is offered; a pipe holds 64 KiB by default (pipe(7)).
pub const READ_BYTES: usize = 64 << 10;
/// Capacity kept between lines, bytes. A rare large line does not pin its memory for the rest of the session.
const BYTES_KEPT: usize = 256 << 10;
/// Capacity kept after a line that needed more than [`BYTES_KEPT`], until a line comes that does not: where one large line follows the
/// other, the kernel need not clear fresh memory for each.
const LARGE_BYTES_KEPT: usize = 4 << 20;

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line without its LF, and without one CR directly before that LF. Never empty.
    Line(&'a [u8]),
    /// A line over the bound, and what could be told of it while it was dropped.
    TooLong(Overlong),
}

/// A line with the buffer that it was read into.
#[derive(Debug)]
pub struct OwnedLine {
    /// The buffer; at least one byte longer than the line, and that byte is an LF.
    pub buffer: Vec<u8>,
    /// Where the line stands in it.
    pub line: Range<usize>,
}

/// Cuts a byte stream into lines of bounded length.
///
/// Bytes are read directly into its buffer ([`FrameSplitter::room`]) and lines are lent from there: no line is copied, but for the
/// part of one that is moved to the front once to make room for the rest. No byte is searched twice. A stream that never ends its
/// line costs the bound, not more.
#[derive(Debug)]
pub struct FrameSplitter {
    line_bytes_max: usize,
    /// Initialised throughout; what was read and not yet given away is `start..end`.
    buffer: Vec<u8>,
    start: usize,
    /// Up to here there is no LF.
    searched: usize,
    end: usize,
    /// The line that was lent last, until something is read over it.
    lent: Option<Range<usize>>,
    /// Capacity that is kept when everything is given away.
    kept: usize,
    /// The over-long line so far; while set, everything up to the next LF is dropped.
    skipped: Option<Probe>,
}

impl FrameSplitter {
    /// A splitter that accepts lines of up to `line_bytes_max` bytes before the LF (a stripped CR counts).
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        let (buffer, kept) = (Vec::new(), BYTES_KEPT);
        Self { line_bytes_max, buffer, start: 0, searched: 0, end: 0, lent: None, kept, skipped: None }
    }

    /// Where the next bytes of the stream belong: [`READ_BYTES`] of room. Say with [`FrameSplitter::filled`] how many came.
    pub fn room(&mut self) -> &mut [u8] {
        self.rewind();
        if self.buffer.len() < self.end + READ_BYTES {
            self.move_to_front();
            let wanted = self.end + READ_BYTES;
            if self.buffer.capacity() < wanted {
                // In large steps, since each may copy; but never past the longest line and one read, all that can ever stand here.
                let largest = self.line_bytes_max.saturating_add(READ_BYTES);
                let capacity = self.buffer.capacity().saturating_mul(4).min(largest).max(wanted);
                self.buffer.reserve_exact(capacity - self.buffer.len());
            }
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        &mut self.buffer[self.end..self.end + READ_BYTES]
    }

    /// The first `count` bytes of the last [`FrameSplitter::room`] are now bytes of the stream.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Whether there are bytes that [`FrameSplitter::next`] has not seen: call it again before reading on.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.searched < self.end
    }

    /// The next line. `None` when more must be read first.
    ///
    /// Not an iterator: each line is lent until the next call.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.lent = None;
        loop {
            let Some(length) = memchr(b'\n', &self.buffer[self.searched..self.end]) else {
                self.hold();
                return None;
            };
            let end = self.searched + length;
            let start = mem::replace(&mut self.start, end + 1);
            self.searched = end + 1;
            self.kept = if end - start > BYTES_KEPT { LARGE_BYTES_KEPT } else { BYTES_KEPT };
            if let Some(overlong) = self.over(start..end) {
                return Some(Frame::TooLong(overlong));
            }
            let line = strip_cr(&self.buffer, start..end);
            if !line.is_empty() {
                self.lent = Some(line.clone());
                return Some(Frame::Line(&self.buffer[line]));
            }
        }
    }

    /// The last line of a stream that ended without an LF. Call at end of file, when [`FrameSplitter::next`] gives none.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        let rest = mem::replace(&mut self.start, self.end)..self.end;
        self.searched = self.end;
        self.lent = None;
        if let Some(overlong) = self.over(rest.clone()) {
            return Some(Frame::TooLong(overlong));
        }
        let line = strip_cr(&self.buffer, rest);
        self.lent = Some(line.clone());
        (!line.is_empty()).then(|| Frame::Line(&self.buffer[line]))
    }

    /// The line that was lent last, with the buffer it stands in: for a large line that goes on as it came. None when none is lent.
    ///
    /// What stands behind it, less than one read, is copied into a buffer of its own.
    pub fn take(&mut self) -> Option<OwnedLine> {
        let line = self.lent.take().filter(|line| !line.is_empty())?;
        let rest = self.buffer[self.start..self.end].to_vec();
        let mut buffer = mem::replace(&mut self.buffer, rest);
        (self.searched, self.start, self.end) = (self.searched - self.start, 0, self.buffer.len());
        match buffer.get_mut(line.end) {
            Some(behind) => *behind = b'\n',
            None => buffer.push(b'\n'),
        }
        Some(OwnedLine { buffer, line })
    }

    /// Whether the line `part`, which has ended, is over the bound.
    fn over(&mut self, part: Range<usize>) -> Option<Overlong> {
        let mut probe = match self.skipped.take() {
            None if !self.is_over(part.len()) => return None,
            begun => begun.unwrap_or_default(),
        };
        probe.push(&self.buffer[part]);
        Some(probe.finish())
    }

    /// Keeps the start of a line whose LF has not come, or drops it once it is over the bound.
    fn hold(&mut self) {
        self.searched = self.end;
        let part = self.start..self.end;
        if self.skipped.is_some() || self.is_over(part.len()) {
            self.skipped.get_or_insert_default().push(&self.buffer[part]);
            self.start = self.end;
        }
        self.rewind();
    }

    fn is_over(&self, bytes: usize) -> bool {
        bytes > self.line_bytes_max && weaken::in_force("line-bytes")
    }

    /// Begins again at the front when everything is given away, and gives a large line's memory back.
    fn rewind(&mut self) {
        if self.start == self.end {
            (self.start, self.searched, self.end, self.lent) = (0, 0, 0, None);
            self.buffer.truncate(self.kept);
            self.buffer.shrink_to(self.kept);
        }
    }

    fn move_to_front(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.searched -= self.start;
        self.end -= self.start;
        self.start = 0;
        self.lent = None;
    }
}

/// Clients on some systems end lines with CR LF; any other CR is left for the parser to refuse.
fn strip_cr(buffer: &[u8], line: Range<usize>) -> Range<usize> {
    line.start..line.end - usize::from(buffer[line].ends_with(b"\r"))
}

#[cfg(test)]
mod tests;
