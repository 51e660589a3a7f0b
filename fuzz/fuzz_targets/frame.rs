//! Any stream in any chunks: the splitter gives the lines that a split at LF gives, over-long ones by their length alone.

#![no_main]

use intercept_sandbox::wire::frame::{Frame, FrameSplitter};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Line {
    Whole(Vec<u8>),
    TooLong(u64),
}

fuzz_target!(|bytes: &[u8]| {
    let [line_max, seed, stream @ ..] = bytes else { return };
    let line_bytes_max = usize::from(*line_max) + 1;
    let mut splitter = FrameSplitter::new(line_bytes_max);
    let mut found = Vec::new();
    let mut chunk_bytes = usize::from(*seed);
    let mut rest = stream;
    while !rest.is_empty() {
        // Sizes that repeat late and hit 1, the bound and more than the bound.
        chunk_bytes = (chunk_bytes * 7 + 3) % (2 * line_bytes_max + 1) + 1;
        let room = splitter.room();
        let (chunk, tail) = rest.split_at(chunk_bytes.min(rest.len()).min(room.len()));
        room[..chunk.len()].copy_from_slice(chunk);
        splitter.filled(chunk.len());
        while let Some(frame) = splitter.next() {
            found.push(own(frame));
        }
        rest = tail;
    }
    while let Some(frame) = splitter.finish() {
        found.push(own(frame));
    }
    assert_eq!(found, expected(stream, line_bytes_max));
});

fn own(frame: Frame<'_>) -> Line {
    match frame {
        Frame::Line(line) => Line::Whole(line.to_vec()),
        Frame::TooLong(line) => Line::TooLong(line.bytes),
    }
}

fn expected(stream: &[u8], line_bytes_max: usize) -> Vec<Line> {
    let lines = stream.split(|byte| *byte == b'\n').map(|line| match line {
        line if line.len() > line_bytes_max => Line::TooLong(line.len() as u64),
        line => Line::Whole(line.strip_suffix(b"\r").unwrap_or(line).to_vec()),
    });
    lines.filter(|line| *line != Line::Whole(Vec::new())).collect()
}
