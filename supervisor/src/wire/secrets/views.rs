//! What a reader of a text would see after decoding it: JSON's escapes, percent encoding. Lenient, for the text may be
//! any: what is no escape stands for itself.

use memchr::memchr_iter;

/// A decoding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoder {
    /// `\n`, `\/`, `\u0041`, .. (RFC 8259 §7).
    Json,
    /// `%41` (RFC 3986 §2.1).
    Percent,
}

impl Decoder {
    pub(super) const ALL: [Self; 2] = [Self::Json, Self::Percent];

    const fn mark(self) -> u8 {
        match self {
            Self::Json => b'\\',
            Self::Percent => b'%',
        }
    }
}

/// A decoded text, and where each of its bytes came from.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The text.
    pub(super) bytes: Vec<u8>,
    /// For each byte the offset of its source, then the length of the source.
    sources: Vec<usize>,
}

impl View {
    /// `text` decoded; none when there is nothing to decode in it.
    pub(super) fn of(text: &[u8], decoder: Decoder) -> Option<Self> {
        let mut view = Self::default();
        let mut copied = 0;
        for at in memchr_iter(decoder.mark(), text) {
            if at < copied {
                continue;
            }
            let Some((decoded, length)) = read(&text[at..], decoder) else { continue };
            view.copy(text, copied..at);
            view.bytes.extend_from_slice(decoded.as_slice());
            view.sources.resize(view.bytes.len(), at);
            copied = at + length;
        }
        if copied == 0 {
            return None;
        }
        view.copy(text, copied..text.len());
        view.sources.push(text.len());
        Some(view)
    }

    fn copy(&mut self, text: &[u8], range: std::ops::Range<usize>) {
        self.bytes.extend_from_slice(&text[range.clone()]);
        self.sources.extend(range);
    }

    /// Where the source of these bytes stands, whole escapes.
    pub(super) fn source(&self, range: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let last = self.sources[range.end.saturating_sub(1)];
        let end = self.sources[range.end..].iter().find(|source| **source > last);
        self.sources[range.start]..end.copied().unwrap_or(last + 1)
    }
}

/// Up to four bytes.
struct Decoded([u8; 4], usize);

impl Decoded {
    const fn byte(byte: u8) -> Self {
        Self([byte, 0, 0, 0], 1)
    }

    fn character(character: char) -> Self {
        let mut utf8 = [0; 4];
        let length = character.encode_utf8(&mut utf8).len();
        Self(utf8, length)
    }

    fn as_slice(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// What stands at the start of `text`, and how many bytes of it that takes.
fn read(text: &[u8], decoder: Decoder) -> Option<(Decoded, usize)> {
    match decoder {
        Decoder::Percent => {
            let byte = number(text.get(1..3)?)?;
            Some((Decoded::byte(u8::try_from(byte).ok()?), 3))
        }
        Decoder::Json => {
            let short = match text.get(1)? {
                b'u' => return unicode(text),
                byte @ (b'"' | b'\\' | b'/') => *byte,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                _ => return None,
            };
            Some((Decoded::byte(short), 2))
        }
    }
}

/// `\uXXXX`, or two of them for a character beyond U+FFFF.
fn unicode(text: &[u8]) -> Option<(Decoded, usize)> {
    let first = number(text.get(2..6)?)?;
    if let Some(character) = char::from_u32(first) {
        return Some((Decoded::character(character), 6));
    }
    let second = number(text.get(6..12)?.strip_prefix(b"\\u")?)?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Some((Decoded::character(character), 12))
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, decoder: Decoder) -> Option<String> {
        View::of(text.as_bytes(), decoder).map(|view| String::from_utf8(view.bytes).unwrap())
    }

    #[test]
    fn json_escapes_of_every_kind_are_read_and_others_stand() {
        let text = r#"a\u0041\n\/\"\\x\ud83d\uDE00\q\ud800\u12"#;
        assert_eq!(decoded(text, Decoder::Json).unwrap(), "aA\n/\"\\x😀\\q\\ud800\\u12");
        assert_eq!(decoded("no escape", Decoder::Json), None);
        assert_eq!(decoded(r"\q", Decoder::Json), None);
    }

    #[test]
    fn percent_encoding_is_read_in_either_case_and_other_signs_stand() {
        assert_eq!(
            decoded("100%, %41%6a%6A%%zz%4", Decoder::Percent).unwrap(),
            "100%, AjJ".replace("jJ", "jj") + "%%zz%4"
        );
        assert_eq!(decoded("100% sure", Decoder::Percent), None);
    }

    #[test]
    fn a_place_in_the_view_leads_back_to_whole_escapes() {
        let text = r"ab\u00e9c\/d";
        let view = View::of(text.as_bytes(), Decoder::Json).unwrap();
        assert_eq!(view.bytes, "abéc/d".as_bytes());
        let source = |range| &text[view.source(&range)];
        assert_eq!(source(0..2), "ab");
        assert_eq!(source(2..4), r"\u00e9");
        assert_eq!(source(2..3), r"\u00e9", "half a character is the whole escape");
        assert_eq!(source(4..6), r"c\/");
        assert_eq!(source(5..7), r"\/d");
    }
}
