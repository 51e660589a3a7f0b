//! Streams cut at every place, and what the buffer costs.

use proptest::prelude::*;

use super::*;
use crate::wire::jsonrpc::RequestId;
use crate::wire::overlong::OverlongKind;

#[derive(Debug, PartialEq)]
enum Owned {
    Line(Vec<u8>),
    TooLong(u64),
}

fn split(line_bytes_max: usize, chunks: &[&[u8]]) -> Vec<Owned> {
    let own = |frame: Frame<'_>| match frame {
        Frame::Line(line) => Owned::Line(line.to_vec()),
        Frame::TooLong(overlong) => Owned::TooLong(overlong.bytes),
    };
    let mut splitter = FrameSplitter::new(line_bytes_max);
    let mut frames = Vec::new();
    for chunk in chunks {
        feed(&mut splitter, chunk);
        while let Some(frame) = splitter.next() {
            frames.push(own(frame));
        }
        assert!(!splitter.has_more());
    }
    frames.extend(splitter.finish().map(own));
    assert_eq!(splitter.finish(), None, "the end is reported once");
    frames
}

/// As one read would.
fn feed(splitter: &mut FrameSplitter, bytes: &[u8]) {
    splitter.room()[..bytes.len()].copy_from_slice(bytes);
    splitter.filled(bytes.len());
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
fn endless_line_costs_no_memory_and_its_id_is_known() {
    let mut splitter = FrameSplitter::new(8);
    feed(&mut splitter, br#"{"result":""#);
    for _ in 0..1000 {
        assert_eq!(splitter.next(), None);
        feed(&mut splitter, &[b'x'; 1000]);
        assert!(splitter.buffer.capacity() <= 2 * READ_BYTES);
    }
    assert_eq!(splitter.next(), None);
    feed(&mut splitter, br#"","id":5}"#);
    assert_eq!(splitter.next(), None);
    let expected = Overlong { bytes: 1_000_020, id: Some(RequestId::Integer(5)), kind: OverlongKind::Response };
    assert_eq!(splitter.finish(), Some(Frame::TooLong(expected)));
}

/// From the read to whoever writes it out, the bytes of a line stay where they are.
#[test]
fn a_line_is_lent_and_handed_over_where_it_was_read() {
    let mut splitter = FrameSplitter::new(1 << 20);
    let room = splitter.room();
    let read_at = room.as_ptr();
    room[..9].copy_from_slice(b"whole\r\nne");
    splitter.filled(9);
    let Some(Frame::Line(line)) = splitter.next() else { panic!("a line") };
    assert_eq!((line.as_ptr(), line), (read_at, &b"whole"[..]));
    let owned = splitter.take().expect("it was lent");
    assert_eq!(owned.buffer.as_ptr(), read_at, "the buffer itself, not a copy");
    assert_eq!(&owned.buffer[owned.line.start..=owned.line.end], b"whole\n");
    assert!(splitter.take().is_none(), "once");
    assert_eq!(splitter.next(), None);
    feed(&mut splitter, b"xt\nlast");
    assert_eq!(splitter.next(), Some(Frame::Line(b"next")), "what stood behind it is not lost");
    assert_eq!(splitter.next(), None);
    assert_eq!(splitter.finish(), Some(Frame::Line(b"last")));
    let owned = splitter.take().expect("it was lent");
    assert_eq!(&owned.buffer[owned.line.start..=owned.line.end], b"last\n");
}

#[test]
fn a_large_line_is_not_copied_while_it_grows_and_its_memory_is_given_back() {
    let mut splitter = FrameSplitter::new(64 << 20);
    let line_bytes = 40 << 20;
    let cost = allocation_counter::measure(|| {
        for _ in 0..line_bytes / READ_BYTES {
            feed(&mut splitter, &[b'x'; READ_BYTES]);
            assert_eq!(splitter.next(), None);
        }
        feed(&mut splitter, b"\n{}\n");
        assert!(matches!(splitter.next(), Some(Frame::Line(line)) if line.len() == line_bytes));
    });
    assert!(cost.count_total < 10, "few steps, which the allocator makes without copying: {cost:?}");
    assert!(splitter.buffer.capacity() <= (64 << 20) + READ_BYTES);
    assert_eq!(splitter.next(), Some(Frame::Line(b"{}")));
    assert_eq!(splitter.next(), None);
    assert!(splitter.buffer.capacity() <= BYTES_KEPT);
}

#[test]
fn large_lines_in_a_row_share_their_memory_and_a_small_one_gives_it_back() {
    let mut splitter = FrameSplitter::new(64 << 20);
    let mut say = |bytes: usize| {
        let mut rest = bytes;
        while rest > 0 {
            let part = rest.min(READ_BYTES);
            feed(&mut splitter, &[b'x'; READ_BYTES][..part]);
            assert_eq!(splitter.next(), None);
            rest -= part;
        }
        feed(&mut splitter, b"\n");
        assert!(matches!(splitter.next(), Some(Frame::Line(line)) if line.len() == bytes));
        assert_eq!(splitter.next(), None);
        splitter.buffer.capacity()
    };
    assert!(say(1 << 20) > 1 << 20);
    let cost = allocation_counter::measure(|| assert!(say(1 << 20) > 1 << 20));
    assert_eq!(cost.count_total, 0, "{cost:?}");
    assert!(say(40 << 20) <= LARGE_BYTES_KEPT, "the largest are not kept");
    assert!(say(5) <= BYTES_KEPT);
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
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
            .filter(|line| line.len() > max || !without_cr(line).is_empty())
            .map(|line| if line.len() > max { Owned::TooLong(line.len() as u64) } else { Owned::Line(without_cr(line).to_vec()) })
            .collect();
        prop_assert_eq!(split(max, &chunks), expected);
    }
}
