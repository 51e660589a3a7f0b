//! The hash chain over the lines of a log.
//!
//! `hash = SHA-256("intercept-sandbox/audit/v1\n" || the line before ,"hash":)`; `prev` is the hash of the record
//! before, the first one 64 zeros; `seq` counts from 1 without holes, across segments.
#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

/// Domain of session logs.
pub const SESSION_DOMAIN: &str = "intercept-sandbox/audit/v1\n";
/// Domain of the host index.
pub const INDEX_DOMAIN: &str = "intercept-sandbox/audit-index/v1\n";

/// Fixed beginning of a line, before the digits of its seq.
pub const SEQ_MARK: &[u8] = b"{\"v\":1,\"seq\":";
const PREV_MARK: &[u8] = b",\"prev\":\"";
const HASH_MARK: &[u8] = b",\"hash\":\"";
const END_MARK: &[u8] = b"\"}";
const HEX_BYTES: usize = 64;

/// A SHA-256 digest of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first record names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);

    /// Reads 64 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != HEX_BYTES {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Where a chain stands: what the next record continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// seq of the last record; 0 before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: Hash,
}

impl Head {
    /// Before the first record.
    pub const START: Self = Self { seq: 0, hash: Hash::ZERO };
}

/// The chain's members of one line, read at their fixed places; the JSON between is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its seq.
    pub seq: u64,
    /// The hash that it names as its predecessor's.
    pub prev: Hash,
    /// The hash that it names as its own.
    pub hash: Hash,
    /// Whether that is the hash of its bytes.
    pub intact: bool,
}

impl Link {
    /// Reads a line without its LF. None when the members are not where they must be.
    #[must_use]
    pub fn read(domain: &str, line: &[u8]) -> Option<Self> {
        let seq = read_seq(line)?;
        let tail = HASH_MARK.len() + HEX_BYTES + END_MARK.len();
        let (covered, tail) = line.split_at_checked(line.len().checked_sub(tail)?)?;
        let hash = Hash::parse(tail.strip_prefix(HASH_MARK)?.strip_suffix(END_MARK)?)?;
        let prev = covered.strip_suffix(b"\"")?;
        let (before, prev) = prev.split_at_checked(prev.len().checked_sub(HEX_BYTES)?)?;
        let prev = Hash::parse(prev)?;
        before.ends_with(PREV_MARK).then_some(())?;
        Some(Self { seq, prev, hash, intact: digest(domain, covered) == hash })
    }

    /// Whether this is the record that follows `head`.
    #[must_use]
    pub fn follows(&self, head: Head) -> bool {
        self.seq == head.seq + 1 && self.prev == head.hash
    }

    /// Where the chain stands after this record.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// Reads the digits after [`SEQ_MARK`]; none for a leading zero, more than 19 digits or anything but a comma after them.
#[must_use]
pub fn read_seq(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(SEQ_MARK)?;
    let length = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    if !(1..=19).contains(&length) || digits[0] == b'0' || digits[length] != b',' {
        return None;
    }
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

/// Closes an open line (`{"v":1,..` without its brace) with `prev` and `hash` and LF, and returns its hash.
pub fn seal(domain: &str, line: &mut Vec<u8>, start: usize, prev: Hash) -> Hash {
    line.extend_from_slice(PREV_MARK);
    line.extend_from_slice(&hex_array(&prev.0));
    line.push(b'"');
    let hash = digest(domain, &line[start..]);
    line.extend_from_slice(HASH_MARK);
    line.extend_from_slice(&hex_array(&hash.0));
    line.extend_from_slice(END_MARK);
    line.push(b'\n');
    hash
}

/// Lower-case hex of any bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn hex_array(bytes: &[u8; 32]) -> [u8; HEX_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|index| {
        let byte = bytes[index / 2];
        DIGITS[usize::from(if index % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

fn digest(domain: &str, covered: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    sha.update(domain.as_bytes());
    sha.update(covered);
    Hash(sha.finalize().into())
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        let mut line = b"{\"v\":1,\"seq\":1,\"x\":\"y\"".to_vec();
        seal(SESSION_DOMAIN, &mut line, 0, Hash::ZERO);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn a_sealed_line_reads_back_and_follows_the_start() {
        let line = sealed();
        let link = Link::read(SESSION_DOMAIN, &line).unwrap();
        assert!(link.intact);
        assert!(link.follows(Head::START));
        assert!(!link.follows(Head { seq: 1, hash: Hash::ZERO }));
        assert!(!link.follows(Head { seq: 0, hash: Hash([1; 32]) }));
        // hashlib.sha256(b'intercept-sandbox/audit/v1\n{"v":1,"seq":1,"x":"y","prev":"' + b'0'*64 + b'"').hexdigest()
        assert_eq!(link.hash.to_string(), "b801a6e20f3255a83f30cdd61ea208221ac6d8273cf9548198414fc1679150bb");
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_found() {
        let line = sealed();
        for index in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line.clone();
                bad[index] ^= 1 << bit;
                assert!(Link::read(SESSION_DOMAIN, &bad).is_none_or(|link| !link.intact), "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn the_domain_is_part_of_the_hash() {
        assert!(!Link::read(INDEX_DOMAIN, &sealed()).unwrap().intact);
    }

    #[test]
    fn a_seq_has_one_spelling() {
        for bad in [
            "{\"v\":1,\"seq\":01,",
            "{\"v\":1,\"seq\":,",
            "{\"v\":1,\"seq\":1}",
            "{\"v\":1,\"seq\":1",
            "{\"v\":1,\"seq\":-1,",
            "{\"v\":1,\"seq\":12345678901234567890,",
        ] {
            assert_eq!(read_seq(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read_seq(b"{\"v\":1,\"seq\":9999999999999999999,"), Some(9_999_999_999_999_999_999));
    }
}
