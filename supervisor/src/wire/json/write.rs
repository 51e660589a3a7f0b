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
///
/// Each block is folded without a branch, so that the compiler can use vectors: most of a large text is plain. Only a block that
/// holds something to escape is read byte by byte.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    const BLOCK: usize = 32;
    let bytes = text.as_bytes();
    let mut written = 0;
    out.push(b'"');
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if !block.iter().fold(false, |any, byte| any | may_need_escape(*byte)) {
            continue;
        }
        for (place, _) in block.iter().enumerate().filter(|(_, byte)| may_need_escape(**byte)) {
            let at = index * BLOCK + place;
            let letter = text[at..].chars().next().expect("a byte was found, at the start of a character");
            out.extend_from_slice(&bytes[written..at]);
            write_char(letter, out);
            written = at + letter.len_utf8();
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
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
