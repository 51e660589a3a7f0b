//! The spellings of one secret: what is searched for, byte for byte.

use super::SECRET_BYTES_MIN;

/// Longer values are searched for piece by piece, so that a part of a key file is found too. Of a multiple of three, so
/// that the base64 of one piece ends where that of the next begins.
const PIECE_BYTES: usize = 96;
/// Pieces overlap by this much: the base64 character that two pieces share belongs to both.
const OVERLAP_BYTES: usize = 3;
/// Pieces of one value; those of a longer value are longer.
const PIECES_MAX: usize = 128;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is searched for on behalf of `value`: it, and each line of it where it has several, for stderr comes line by line.
pub(super) fn parts(value: &[u8]) -> Vec<&[u8]> {
    let mut parts = pieces(value);
    if value.contains(&b'\n') {
        // The armour of a PEM file is no secret.
        let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        parts.extend(lines.filter(|line| !line.starts_with(b"-----")).flat_map(pieces));
    }
    parts
}

fn pieces(value: &[u8]) -> Vec<&[u8]> {
    let step = PIECE_BYTES.max(value.len().div_ceil(PIECES_MAX).next_multiple_of(3));
    let starts = (0..value.len()).step_by(step);
    let pieces = starts.map(|start| &value[start..value.len().min(start + step + OVERLAP_BYTES)]);
    pieces.filter(|piece| piece.len() >= SECRET_BYTES_MIN).collect()
}

/// Every spelling of `part` that does not come out of a decoder: as it is, in a form (`+` for a space), as JSON writes it
/// inside a string that is quoted again, in hex and in base64.
pub(super) fn spellings(part: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![part.to_vec()];
    if part.contains(&b' ') {
        all.push(part.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect());
    }
    all.push(hex(part, b"0123456789abcdef"));
    all.push(hex(part, b"0123456789ABCDEF"));
    for alphabet in [STANDARD, URL_SAFE] {
        all.extend((0..3).map(|before| base64_inside(part, before, alphabet)));
    }
    all
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

/// The characters that stand for `bytes` alone when `before` others (0 to 2, modulo 3) come first in what is encoded.
fn base64_inside(bytes: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let (first_bit, last_bit) = (before * 8, (before + bytes.len()) * 8);
    let byte_at = |at: usize| at.checked_sub(before).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
    (first_bit.div_ceil(6)..last_bit / 6)
        .map(|character| {
            let (at, shift) = (character * 6 / 8, character * 6 % 8);
            let pair = u16::from(byte_at(at)) << 8 | u16::from(byte_at(at + 1));
            alphabet[usize::from(pair >> (10 - shift) & 63)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_at_each_alignment_is_the_part_that_the_neighbours_do_not_touch() {
        // printf 'hunter2-hunter2' | base64, with x and xx before, and with Q and QQ.
        let inside = |before| String::from_utf8(base64_inside(b"hunter2-hunter2", before, STANDARD)).unwrap();
        assert!("aHVudGVyMi1odW50ZXIy".contains(&inside(0)) && inside(0).len() == 20);
        for whole in ["eGh1bnRlcjItaHVudGVyMg==", "UWh1bnRlcjItaHVudGVyMg=="] {
            assert!(whole.contains(&inside(1)), "{}", inside(1));
        }
        for whole in ["eHhodW50ZXIyLWh1bnRlcjI=", "UVFodW50ZXIyLWh1bnRlcjI="] {
            assert!(whole.contains(&inside(2)), "{}", inside(2));
        }
    }

    #[test]
    fn pieces_cover_the_value_and_overlap() {
        for length in [8, 95, 96, 97, 99, 100, 200, 5000, 65_536] {
            let value: Vec<u8> = (0..length).map(|n: usize| (n % 251) as u8).collect();
            let pieces = pieces(&value);
            assert!(pieces.len() <= PIECES_MAX, "{length}");
            let covered: usize = pieces.iter().map(|piece| piece.len()).sum();
            assert!(covered + OVERLAP_BYTES + SECRET_BYTES_MIN > length, "{length}");
        }
        assert!(pieces(b"seven77").is_empty());
    }

    #[test]
    fn a_key_file_is_searched_for_line_by_line_without_its_armour() {
        let parts = parts(b"-----BEGIN KEY-----\nMIIBVgIBADAN\r\nBgkqhkiG9w0B\n-----END KEY-----\n");
        assert!(parts.contains(&&b"MIIBVgIBADAN"[..]) && parts.contains(&&b"BgkqhkiG9w0B"[..]));
        assert!(!parts.iter().any(|part| part.starts_with(b"-----") && !part.contains(&b'\n')));
    }
}
