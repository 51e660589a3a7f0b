//! Lines out of a byte stream. MCP's stdio transport: one message a line, ended by LF, none inside.

use std::mem;

use memchr::memchr;

use crate::weaken;

/// Spare capacity kept between lines, bytes. A rare large line does not pin its memory for the rest of the session.
const CARRY_BYTES_KEPT: usize = 256 << 10;

/// One line of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line without its LF, and without one CR directly before that LF. Never empty.
    Line(&'a [u8]),
    /// A line over the bound. Its content is gone; the stream goes on behind its LF.
    TooLong {
        /// How long it was, bytes, without the LF.
        bytes: u64,
    },
}

/// Cuts a byte stream into lines of bounded length.
///
/// A line that lies whole inside one chunk is lent from the chunk; only a line that spans chunks is copied, once. No byte is scanned
/// twice. A stream that never ends its line costs the bound, not more.
#[derive(Debug)]
pub struct FrameSplitter {
    line_bytes_max: usize,
    carry: Vec<u8>,
    /// The carry was lent by the last call and is cleared by the next.
    carry_lent: bool,
    /// Bytes of the over-long line so far; while set, everything up to the next LF is dropped.
    skipped: Option<u64>,
}

impl FrameSplitter {
    /// A splitter that accepts lines of up to `line_bytes_max` bytes before the LF (a stripped CR counts).
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, carry: Vec::new(), carry_lent: false, skipped: None }
    }

    /// The next line, taking what it uses from the front of `chunk`. `None` when the chunk is used up.
    ///
    /// Call until `None` before feeding the next chunk.
    pub fn next<'s, 'c: 's>(&'s mut self, chunk: &mut &'c [u8]) -> Option<Frame<'s>> {
        self.release_carry();
        loop {
            let Some(end) = memchr(b'\n', chunk) else {
                self.hold(mem::take(chunk));
                return None;
            };
            let head = &chunk[..end];
            *chunk = &chunk[end + 1..];
            if let Some(bytes) = self.skipped.take() {
                return Some(Frame::TooLong { bytes: bytes + head.len() as u64 });
            }
            if self.is_over(head.len()) {
                let bytes = (self.carry.len() + head.len()) as u64;
                self.carry.clear();
                return Some(Frame::TooLong { bytes });
            }
            if self.carry.is_empty() {
                match strip_cr(head) {
                    [] => continue,
                    line => return Some(Frame::Line(line)),
                }
            }
            self.carry.extend_from_slice(head);
            if strip_cr(&self.carry).is_empty() {
                self.carry.clear();
                continue;
            }
            self.carry_lent = true;
            return Some(Frame::Line(strip_cr(&self.carry)));
        }
    }

    /// The last line of a stream that ended without an LF. Call once, at end of file.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        self.release_carry();
        if let Some(bytes) = self.skipped.take() {
            return Some(Frame::TooLong { bytes });
        }
        self.carry_lent = true;
        match strip_cr(&self.carry) {
            [] => None,
            line => Some(Frame::Line(line)),
        }
    }

    /// Keeps the start of a line whose LF has not come, or counts it away once it is over the bound.
    fn hold(&mut self, part: &[u8]) {
        if let Some(bytes) = &mut self.skipped {
            *bytes += part.len() as u64;
        } else if self.is_over(part.len()) {
            self.skipped = Some((self.carry.len() + part.len()) as u64);
            self.carry = Vec::new();
        } else {
            self.carry.extend_from_slice(part);
        }
    }

    fn is_over(&self, more: usize) -> bool {
        self.carry.len() + more > self.line_bytes_max && weaken::in_force("line-bytes")
    }

    fn release_carry(&mut self) {
        if mem::take(&mut self.carry_lent) {
            self.carry.clear();
            self.carry.shrink_to(CARRY_BYTES_KEPT);
        }
    }
}

/// Clients on some systems end lines with CR LF; any other CR is left for the parser to refuse.
fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Owned {
        Line(Vec<u8>),
        TooLong(u64),
    }

    fn split(line_bytes_max: usize, chunks: &[&[u8]]) -> Vec<Owned> {
        let own = |frame: Frame<'_>| match frame {
            Frame::Line(line) => Owned::Line(line.to_vec()),
            Frame::TooLong { bytes } => Owned::TooLong(bytes),
        };
        let mut splitter = FrameSplitter::new(line_bytes_max);
        let mut frames = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(frame) = splitter.next(&mut rest) {
                frames.push(own(frame));
            }
            assert!(rest.is_empty());
        }
        frames.extend(splitter.finish().map(own));
        assert_eq!(splitter.finish(), None, "the end is reported once");
        frames
    }

    fn line(text: &str) -> Owned {
        Owned::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_whole_however_the_chunks_fall() {
        assert_eq!(split(99, &[b"one\ntwo\n"]), [line("one"), line("two")]);
        assert_eq!(split(99, &[b"o", b"", b"ne", b"\nt", b"wo\n"]), [line("one"), line("two")]);
    }

    #[test]
    fn last_line_without_lf_is_given_at_the_end() {
        assert_eq!(split(99, &[b"one\ntw", b"o"]), [line("one"), line("two")]);
        assert_eq!(split(99, &[b"one\r"]), [line("one")]);
    }

    #[test]
    fn empty_lines_are_ignored() {
        assert_eq!(split(99, &[b"\n\r\n\none\n\n", b"\r", b"\n"]), [line("one")]);
        assert_eq!(split(99, &[]), []);
    }

    #[test]
    fn only_the_cr_before_the_lf_is_stripped() {
        assert_eq!(split(99, &[b"a\rb\r\r\n"]), [line("a\rb\r")]);
        assert_eq!(split(99, &[b"ab\r", b"\n"]), [line("ab")]);
    }

    #[test]
    fn line_at_the_bound_passes_and_one_over_is_reported_once() {
        assert_eq!(split(4, &[b"1234\n12345\n1\n"]), [line("1234"), Owned::TooLong(5), line("1")]);
        assert_eq!(
            split(4, &[b"12", b"34", b"\n12", b"345", b"67", b"8\n1\n"]),
            [line("1234"), Owned::TooLong(8), line("1")]
        );
        assert_eq!(split(4, &[b"12", b"345\n1"]), [Owned::TooLong(5), line("1")]);
        assert_eq!(split(4, &[b"123", b"45"]), [Owned::TooLong(5)]);
    }

    #[test]
    fn endless_line_costs_no_memory() {
        let mut splitter = FrameSplitter::new(8);
        for _ in 0..1000 {
            assert_eq!(splitter.next(&mut &[b'x'; 1000][..]), None);
            assert!(splitter.carry.capacity() <= 16);
        }
        assert_eq!(splitter.finish(), Some(Frame::TooLong { bytes: 1_000_000 }));
    }

    #[test]
    fn line_inside_one_chunk_is_not_copied() {
        let stream = b"whole\n".to_vec();
        let mut splitter = FrameSplitter::new(99);
        let mut rest = &stream[..];
        let Some(Frame::Line(line)) = splitter.next(&mut rest) else { panic!("a line") };
        assert_eq!(line.as_ptr(), stream.as_ptr());
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(stream in "[ab\r\n]{0,60}", cuts in prop::collection::vec(0usize..8, 0..30), max in 1usize..6) {
            let bytes = stream.as_bytes();
            let mut chunks = Vec::new();
            let mut rest = bytes;
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            let expected: Vec<Owned> = bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() > max || !strip_cr(line).is_empty())
                .map(|line| if line.len() > max { Owned::TooLong(line.len() as u64) } else { Owned::Line(strip_cr(line).to_vec()) })
                .collect();
            prop_assert_eq!(split(max, &chunks), expected);
        }
    }
}
