//! The few bytes of DNS that the self-test speaks (RFC 1035): one question, one address.

use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 12;
/// Answers to this id are ours; the socket is connected and lives for one question.
const ID: [u8; 2] = [0x15, 0xB5];

/// What the resolver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The first A record.
    Address(Ipv4Addr),
    /// NXDOMAIN.
    NoSuchName,
    /// Anything else, with its response code; 255 for what is no answer at all.
    Other(u8),
}

/// A question for the A record of `name`; `None` when it is no DNS name.
pub(super) fn query(name: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![ID[0], ID[1], 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]; // recursion desired, one question
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]); // root; type A; class IN
    (bytes.len() <= HEADER_BYTES + 255 + 4).then_some(bytes)
}

/// Reads the answer to `question`.
pub(super) fn read_reply(bytes: &[u8], question: &[u8]) -> Reply {
    address(bytes, question).unwrap_or(Reply::Other(255))
}

fn address(bytes: &[u8], question: &[u8]) -> Option<Reply> {
    let is_answer = bytes.get(..2)? == ID && bytes.get(2)? & 0x80 != 0;
    if !is_answer {
        return None;
    }
    match bytes.get(3)? & 0x0F {
        0 => {}
        3 => return Some(Reply::NoSuchName),
        code => return Some(Reply::Other(code)),
    }
    if bytes.get(6..8)? == [0, 0] {
        return Some(Reply::Other(0));
    }
    let mut rest = bytes.get(question.len()..)?;
    // The name of the record: a pointer (two bytes) or labels.
    while let [length, ..] = *rest {
        if length & 0xC0 == 0xC0 {
            rest = rest.get(2..)?;
            break;
        }
        rest = rest.get(1 + usize::from(length)..)?;
        if length == 0 {
            break;
        }
    }
    match *rest {
        [0, 1, 0, 1, _, _, _, _, 0, 4, a, b, c, d, ..] => Some(Reply::Address(Ipv4Addr::new(a, b, c, d))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(flags: [u8; 2], answers: u8, record: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let question = query("api.example.com").unwrap();
        let mut bytes = question.clone();
        bytes[2..4].copy_from_slice(&flags);
        bytes[7] = answers;
        bytes.extend_from_slice(record);
        (bytes, question)
    }

    #[test]
    fn a_question_is_that_of_the_rfc() {
        let bytes = query("a.bc").unwrap();
        assert_eq!(bytes[2..], *b"\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
    }

    #[test]
    fn labels_end_at_63_bytes() {
        assert!(query(&"a".repeat(63)).is_some());
        assert!(query(&"a".repeat(64)).is_none());
        assert!(query("a..b").is_none());
        assert!(query("").is_none());
    }

    #[test]
    fn an_address_is_read_after_pointer_and_after_labels() {
        let data = [0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 2];
        let expected = Reply::Address(Ipv4Addr::new(198, 18, 0, 2));
        for name in [&[0xC0, 12][..], b"\x03api\x07example\x03com\0"] {
            let (bytes, question) = answered([0x81, 0x80], 1, &[name, &data].concat());
            assert_eq!(read_reply(&bytes, &question), expected);
        }
    }

    #[test]
    fn everything_else_is_told_apart() {
        let (nxdomain, question) = answered([0x81, 0x83], 0, &[]);
        assert_eq!(read_reply(&nxdomain, &question), Reply::NoSuchName);
        let (no_data, _) = answered([0x81, 0x80], 0, &[]);
        assert_eq!(read_reply(&no_data, &question), Reply::Other(0));
        let (refused, _) = answered([0x81, 0x85], 0, &[]);
        assert_eq!(read_reply(&refused, &question), Reply::Other(5));
        let (echoed, _) = answered([0x01, 0x00], 0, &[]);
        assert_eq!(read_reply(&echoed, &question), Reply::Other(255));
        for length in 0..nxdomain.len().min(3) {
            assert_eq!(read_reply(&nxdomain[..length], &question), Reply::Other(255));
        }
        let (cut, _) = answered([0x81, 0x80], 1, &[0xC0, 12, 0, 1, 0, 1]);
        assert_eq!(read_reply(&cut, &question), Reply::Other(255));
    }
}
