//! What the server says on stderr, made fit for a person's terminal: prefixed, escaped, redacted, paced.
//!
//! The text is the server's, so it is hostile: control and bidi characters could repaint the operator's screen, a secret
//! could be printed on purpose, a flood could bury what matters.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::bounds::{STDERR_BURST_BYTES, STDERR_BYTES_A_SECOND, STDERR_LINE_BYTES_MAX};
use crate::weaken;
use crate::wire::secrets::Secrets;

/// Lines a second that pass; the burst is the same. Far above what a person reads, far below a flood.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not zero");
/// Lines alone are no bound: so many of the longest ones, each byte escaped, are ten megabytes a second.
const BYTES: Quota = Quota::per_second(NonZeroU32::new(STDERR_BYTES_A_SECOND).expect("not zero"))
    .allow_burst(NonZeroU32::new(STDERR_BURST_BYTES).expect("not zero"));

/// Turns the server's stderr bytes into safe lines.
pub struct StderrFilter {
    /// The line, and beyond the bound as much as tells whether a secret begins before it.
    line: Vec<u8>,
    /// Bytes of the current line past that.
    cut: u64,
    secrets: Secrets,
    pace: DefaultDirectRateLimiter,
    bytes: DefaultDirectRateLimiter,
    dropped: u64,
}

impl StderrFilter {
    /// A filter that blanks `secrets` wherever they stand in a line.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self {
            line: Vec::new(),
            cut: 0,
            secrets,
            pace: RateLimiter::direct(Quota::per_second(LINES_PER_SECOND)),
            bytes: RateLimiter::direct(BYTES),
            dropped: 0,
        }
    }

    /// Takes bytes, appends finished lines to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = STDERR_LINE_BYTES_MAX + self.secrets.reach() - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.cut += text.len().saturating_sub(room) as u64;
            if ended {
                self.end_line(out);
            }
        }
    }

    /// The server closed its stderr: what is left of a line, and how many lines were dropped.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            self.end_line(out);
        }
        self.report_dropped(out);
    }

    /// Counts lines that no one reads.
    pub fn drop_lines(&mut self, text: &[u8]) {
        self.dropped += memchr::memchr_iter(b'\n', text).count() as u64;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        let mut line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        if self.pace.check().is_err() {
            self.dropped += 1;
        } else {
            let (start, dropped) = (out.len(), self.dropped);
            self.report_dropped(out);
            self.secrets.blank(&mut line);
            let shown = line.len().min(STDERR_LINE_BYTES_MAX);
            let cut = cut + (line.len() - shown) as u64;
            out.extend_from_slice(b"[server] ");
            escape(&line[..shown], out);
            if cut > 0 {
                out.extend_from_slice(format!(" [{cut} more bytes]").as_bytes());
            }
            out.push(b'\n');
            if !self.admits(out.len() - start) {
                out.truncate(start);
                self.dropped = dropped + 1;
            }
        }
        line.clear();
        self.line = line;
    }

    /// Whether so many bytes may pass now. More than the burst never do.
    fn admits(&self, bytes: usize) -> bool {
        let Some(bytes) = u32::try_from(bytes).ok().and_then(NonZeroU32::new) else { return false };
        !weaken::in_force("stderr-bytes") || matches!(self.bytes.check_n(bytes), Ok(Ok(())))
    }

    fn report_dropped(&mut self, out: &mut Vec<u8>) {
        if self.dropped > 0 {
            out.extend_from_slice(format!("[intercept-sandbox] {} stderr lines dropped\n", self.dropped).as_bytes());
            self.dropped = 0;
        }
    }
}

impl std::fmt::Debug for StderrFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secrets, never the line.
        f.debug_struct("StderrFilter").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

/// Writes `line` with everything that could steer a terminal escaped: C0, C1, DEL, bidi controls, bytes that are not UTF-8.
pub fn escape(line: &[u8], out: &mut Vec<u8>) {
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            if steers_a_terminal(character) {
                out.extend_from_slice(format!("\\u{{{:x}}}", u32::from(character)).as_bytes());
            } else {
                let mut utf8 = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// Control characters but TAB, and the bidi controls of UAX #9.
fn steers_a_terminal(character: char) -> bool {
    (character.is_control() && character != '\t')
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(filter: &mut StderrFilter, chunks: &[&[u8]]) -> String {
        let mut out = Vec::new();
        for chunk in chunks {
            filter.push(chunk, &mut out);
        }
        filter.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_prefixed_and_escaped() {
        let mut filter = StderrFilter::new(Secrets::default());
        let text = filtered(&mut filter, &[b"one\ntw", b"o \x1b[2J \xff \xe2\x80\xae\n", b"rest"]);
        assert_eq!(text, "[server] one\n[server] two \\u{1b}[2J \\xff \\u{202e}\n[server] rest\n");
    }

    #[test]
    fn a_secret_is_blanked_across_reads() {
        let mut filter = StderrFilter::new(Secrets::new([&b"sk-123456"[..], b"short"]).unwrap());
        let text = filtered(&mut filter, &[b"key=sk-12", b"3456 short\n"]);
        assert_eq!(text, "[server] key=********* short\n");
        assert!(!format!("{filter:?}").contains("sk-"));
    }

    #[test]
    fn no_form_of_a_secret_is_shown_and_none_is_half_shown_where_a_line_is_cut() {
        let secrets = Secrets::new([&b"hunter2-hunter2"[..]]).unwrap();
        for form in
            ["hunter2-hunter2", "68756e746572322d68756e74657232", "h%75nter2-hunter%32", r"\u0068unter2-hunter2"]
        {
            for place in STDERR_LINE_BYTES_MAX - form.len() - 1..STDERR_LINE_BYTES_MAX {
                let line = format!("{}{form}{}\n", "-".repeat(place), "~".repeat(100_000));
                let text = filtered(&mut StderrFilter::new(secrets.clone()), &[line.as_bytes()]);
                let kept = text.trim_start_matches("[server] ").split(" [").next().unwrap_or_default();
                assert_eq!(kept.len(), STDERR_LINE_BYTES_MAX, "{place}");
                assert!(kept.bytes().all(|byte| b"-*~".contains(&byte)), "{form} at {place}");
                assert!(text.ends_with(&format!(" [{} more bytes]\n", place + form.len() + 100_000 - 8192)), "{place}");
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut filter = StderrFilter::new(Secrets::default());
        let mut long = vec![b'a'; STDERR_LINE_BYTES_MAX + 3];
        long.push(b'\n');
        let text = filtered(&mut filter, &[&long]);
        assert!(text.ends_with("aaa [3 more bytes]\n"));
        assert_eq!(text.matches('a').count(), STDERR_LINE_BYTES_MAX);
    }

    #[test]
    fn long_lines_do_not_pass_as_fast_as_short_ones() {
        let mut filter = StderrFilter::new(Secrets::default());
        // Fewer lines than pass in a second; escaped, each is six times as long.
        let line = [&[0x1b; STDERR_LINE_BYTES_MAX][..], b"\n"].concat();
        let text = filtered(&mut filter, &[&line.repeat(100)]);
        let burst = usize::try_from(STDERR_BURST_BYTES).unwrap();
        assert!(text.len() > burst / 2 && text.len() < 2 * burst, "{} bytes", text.len());
        assert!(text.contains("stderr lines dropped"));
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut filter = StderrFilter::new(Secrets::default());
        let text = filtered(&mut filter, &[&b"x\n".repeat(100_000)]);
        let passed = text.matches("[server] x").count();
        assert!(passed < 10_000, "{passed} of 100,000 passed");
        assert!(text.contains("stderr lines dropped"));
    }
}
