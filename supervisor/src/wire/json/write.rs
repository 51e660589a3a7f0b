//! What is forwarded: the judged value, written by us.

use super::Value;

/// Appends `value` as compact JSON on one line. Equal in value to what was parsed; numbers keep their text.
///
/// Besides what RFC 8259 requires, DEL, the C1 controls, U+2028 and U+2029 are escaped: some readers end a line at them.
pub fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.text().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (key, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = next_escape(rest.as_bytes()) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut letters = tail.chars();
        let letter = letters.next().expect("a byte was found, at the start of a character");
        write_char(letter, out);
        rest = letters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// Where the next byte stands that may need an escape. Each block is folded without a branch, so that the compiler can use vectors:
/// most of a large text is plain.
fn next_escape(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 128;
    let needs = |block: &[u8]| block.iter().fold(false, |any, byte| any | may_need_escape(*byte));
    let index = text.chunks(BLOCK).position(needs)?;
    let start = index * BLOCK;
    text[start..].iter().position(|byte| may_need_escape(*byte)).map(|at| start + at)
}

/// True for the first byte of every character that [`write_char`] escapes, and for none inside a character.
const fn may_need_escape(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f | 0xc2 | 0xe2)
}

fn write_char(letter: char, out: &mut Vec<u8>) {
    let short = match letter {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            return;
        }
        _ => {
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
