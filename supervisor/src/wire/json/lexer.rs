//! What both readings of a line share below the grammar: bytes, strings, numbers.

use memchr::{memchr2, memmem};

use super::{Reject, RejectCode, number};
use crate::weaken;

/// A line that holds of the bytes what must hold before any grammar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    pub(super) text: &'a str,
    /// Whether the line holds no raw character that some reader takes for the end of a line (U+0085, U+2028, U+2029).
    pub(super) one_line_everywhere: bool,
}

/// No byte order mark, UTF-8, no control byte.
pub(super) fn check(line: &[u8]) -> Result<Checked<'_>, Reject> {
    if line.starts_with("\u{feff}".as_bytes()) {
        return Err(Reject { code: RejectCode::ByteOrderMark, offset: 0 });
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| Reject { code: RejectCode::InvalidUtf8, offset: error.valid_up_to() })?;
    let bytes = Bytes::of(line);
    if let Some(offset) = bytes.control
        && weaken::in_force("json-control-bytes")
    {
        return Err(Reject { code: RejectCode::ControlByte, offset });
    }
    Ok(Checked { text, one_line_everywhere: bytes.is_ascii || separators(line).next().is_none() })
}

/// Where the characters stand at which some reader ends a line: Node's readline at U+2028 and U+2029, Python's `str.splitlines` at
/// U+0085 too. Each with its length in bytes.
pub(super) fn separators(line: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut next = (find_three(line, 0), find_two(line, 0));
    std::iter::from_fn(move || match next {
        (Some(three), two) if two.is_none_or(|two| three < two) => {
            next.0 = find_three(line, three + 3);
            Some((three, 3))
        }
        (_, Some(two)) => {
            next.1 = find_two(line, two + 2);
            Some((two, 2))
        }
        (_, None) => None,
    })
}

fn find_three(line: &[u8], from: usize) -> Option<usize> {
    let rest = line.get(from..)?;
    let found = memmem::find_iter(rest, b"\xe2\x80").find(|at| matches!(rest.get(at + 2), Some(0xa8 | 0xa9)));
    found.map(|at| from + at)
}

fn find_two(line: &[u8], from: usize) -> Option<usize> {
    memmem::find(line.get(from..)?, b"\xc2\x85").map(|at| from + at)
}

/// What one pass over all bytes finds.
struct Bytes {
    /// The first byte below 0x20.
    control: Option<usize>,
    is_ascii: bool,
}

impl Bytes {
    /// Each block is folded without a branch, so that the compiler can use vectors.
    fn of(line: &[u8]) -> Self {
        const BLOCK: usize = 1024;
        let is_control = |byte: &u8| *byte < 0x20;
        let mut found = Self { control: None, is_ascii: true };
        for (index, block) in line.chunks(BLOCK).enumerate() {
            let (any_control, bits) =
                block.iter().fold((false, 0), |(any, bits), byte| (any | is_control(byte), bits | byte));
            found.is_ascii &= bits < 0x80;
            if any_control && found.control.is_none() {
                found.control = block.iter().position(is_control).map(|at| index * BLOCK + at);
            }
        }
        found
    }
}

/// A place in a checked line.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Reads a string, whose quote is next. The text between the quotes when no escape stands in it; else its unescaped text is
    /// appended to `unescaped`, if somebody wants it.
    pub(super) fn string(&mut self, mut unescaped: Option<&mut String>) -> Result<Option<&'a str>, Reject> {
        self.at += 1;
        let start = self.at;
        let stop = self.string_stop()?;
        if self.text.as_bytes()[stop] == b'"' {
            self.at = stop + 1;
            return Ok(Some(&self.text[start..stop]));
        }
        loop {
            let stop = self.string_stop()?;
            let plain = &self.text[self.at..stop];
            self.at = stop + 1;
            if let Some(unescaped) = unescaped.as_deref_mut() {
                unescaped.push_str(plain);
            }
            if self.text.as_bytes()[stop] == b'"' {
                return Ok(None);
            }
            let letter = self.escape(stop)?;
            if let Some(unescaped) = unescaped.as_deref_mut() {
                unescaped.push(letter);
            }
        }
    }

    /// Where the next quote or backslash stands.
    fn string_stop(&self) -> Result<usize, Reject> {
        match memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..]) {
            Some(length) => Ok(self.at + length),
            None => Err(Reject { code: RejectCode::Truncated, offset: self.text.len() }),
        }
    }

    /// Reads what stands behind a backslash at `backslash`.
    fn escape(&mut self, backslash: usize) -> Result<char, Reject> {
        let Some(letter) = self.peek() else {
            return Err(self.reject(RejectCode::Truncated));
        };
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(backslash),
            _ => return Err(Reject { code: RejectCode::BadEscape, offset: backslash }),
        })
    }

    fn unicode_escape(&mut self, backslash: usize) -> Result<char, Reject> {
        let lone = Reject { code: RejectCode::LoneSurrogate, offset: backslash };
        let high = self.hex4(backslash)?;
        let scalar = match high {
            0xd800..=0xdbff => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let low = self.hex4(self.at - 2)?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(lone);
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(scalar).ok_or(lone)
    }

    fn hex4(&mut self, backslash: usize) -> Result<u32, Reject> {
        let bad = Reject { code: RejectCode::BadEscape, offset: backslash };
        let mut code = 0;
        for _ in 0..4 {
            let digit = match self.peek() {
                Some(byte) => char::from(byte).to_digit(16).ok_or_else(|| bad.clone())?,
                None => return Err(self.reject(RejectCode::Truncated)),
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Reads a number that every reader reads alike; its text.
    pub(super) fn number(&mut self) -> Result<&'a str, Reject> {
        let rest = &self.text[self.at..];
        let length = number::scan(rest).map_err(|code| self.reject(code))?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// Reads exactly `word`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Reject> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        let code = match rest {
            _ if word.starts_with(rest) => RejectCode::Truncated,
            _ if self.is_non_finite() => RejectCode::NonFinite,
            _ => RejectCode::Syntax,
        };
        Err(self.reject(code))
    }

    pub(super) fn is_non_finite(&self) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        [&b"nan"[..], b"infinity"]
            .iter()
            .any(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
    }

    /// Takes a comma (false) or the closing `bracket` (true).
    pub(super) fn ends(&mut self, bracket: u8) -> Result<bool, Reject> {
        if self.take_if(b',') {
            return Ok(false);
        }
        if self.take_if(bracket) { Ok(true) } else { Err(self.unexpected()) }
    }

    pub(super) fn take_if(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_spaces(&mut self) {
        // The other three whitespace bytes of RFC 8259 are control bytes and were refused.
        let spaces =
            self.text.as_bytes()[self.at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.at += spaces.count();
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn unexpected(&self) -> Reject {
        self.reject(if self.at == self.text.len() { RejectCode::Truncated } else { RejectCode::Syntax })
    }

    pub(super) fn reject(&self, code: RejectCode) -> Reject {
        Reject { code, offset: self.at }
    }
}
