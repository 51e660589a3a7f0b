//! Tells from the first bytes of an upstream whether it asks for a second ClientHello.
//!
//! A HelloRetryRequest (RFC 8446, 4.1.4) is a ServerHello whose random is fixed. What the client answers to it is a ClientHello in the
//! clear, to be read like the first. A ServerHello of any other kind is the last of the clear: with TLS 1.3 all that follows is
//! encrypted, and before it no server takes a second hello but within what it negotiated.

#![forbid(unsafe_code)]

use super::client_hello::{FRAGMENT_MAX, HANDSHAKE, RECORD_HEADER};
use crate::bounds::{SERVER_ALERTS_MAX, SERVER_HELLO_BYTES_MAX};

/// What the upstream made of a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on with the handshake.
    Hello,
    /// It wants another ClientHello.
    Retry,
}

/// The upstream says something else than a ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoServerHello;

/// Gathers the first bytes of an upstream until they tell.
#[derive(Default)]
pub struct Judge {
    bytes: Vec<u8>,
}

pub(crate) const ALERT: u8 = 21;
const ALERT_BYTES: usize = 2;
const SERVER_HELLO: u8 = 2;
/// Type and length of the message, legacy_version.
const BEFORE_RANDOM: usize = 4 + 2;
const RANDOM: usize = 32;
/// SHA-256 of "HelloRetryRequest" (RFC 8446, 4.1.3).
pub(crate) const RETRY: [u8; RANDOM] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

impl Judge {
    /// Takes the next bytes; gives the answer as soon as it shows.
    ///
    /// # Errors
    /// As soon as the bytes cannot become a ServerHello.
    pub fn push(&mut self, segment: &[u8]) -> Result<Option<Answer>, NoServerHello> {
        let room = SERVER_HELLO_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&segment[..segment.len().min(room)]);
        match judge(&self.bytes)? {
            None if self.bytes.len() == SERVER_HELLO_BYTES_MAX => Err(NoServerHello),
            answer => Ok(answer),
        }
    }
}

/// An alert may come first (TLS 1.2: a warning, such as unrecognized_name); it must not end the look.
fn judge(stream: &[u8]) -> Result<Option<Answer>, NoServerHello> {
    let (mut rest, mut message, mut alerts) = (stream, Vec::new(), 0);
    loop {
        let is_alert = match rest {
            [] => return Ok(None),
            [ALERT, ..] if message.is_empty() => true,
            [HANDSHAKE, ..] => false,
            _ => return Err(NoServerHello),
        };
        if rest.get(1).is_some_and(|major| *major != 3) {
            return Err(NoServerHello);
        }
        let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if is_alert {
            alerts += 1;
            if length != ALERT_BYTES || alerts > SERVER_ALERTS_MAX {
                return Err(NoServerHello);
            }
        } else {
            if length == 0 || length > FRAGMENT_MAX {
                return Err(NoServerHello);
            }
            message.extend_from_slice(&after[..length.min(after.len())]);
            if let Some(answer) = of_message(&message)? {
                return Ok(Some(answer));
            }
        }
        let Some(next) = after.get(length..) else { return Ok(None) };
        rest = next;
    }
}

fn of_message(message: &[u8]) -> Result<Option<Answer>, NoServerHello> {
    if message.first().is_some_and(|kind| *kind != SERVER_HELLO) {
        return Err(NoServerHello);
    }
    // A shorter message would have the next one's bytes read for its random.
    if let [_, 0, 0, length, ..] = message
        && usize::from(*length) + 4 < BEFORE_RANDOM + RANDOM
    {
        return Err(NoServerHello);
    }
    let random = message.get(BEFORE_RANDOM..BEFORE_RANDOM + RANDOM);
    Ok(random.map(|random| if random == RETRY { Answer::Retry } else { Answer::Hello }))
}

/// Hand-made answers for the tests of this folder.
#[cfg(test)]
pub(crate) mod made {
    /// A ServerHello with `random`, as a handshake message: no session id, one suite, no extension.
    pub(crate) fn server_hello(random: [u8; 32]) -> Vec<u8> {
        [&[2, 0, 0, 40, 3, 3][..], &random, &[0, 0x13, 0x01, 0, 0, 0]].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::client_hello::made::records;
    use super::made::server_hello;
    use super::*;

    const WARNING: [u8; 7] = [21, 3, 3, 0, 2, 1, 112];
    const CCS: [u8; 6] = [20, 3, 3, 0, 1, 1];

    fn pushed(stream: &[u8], segment: usize) -> Result<Option<Answer>, NoServerHello> {
        let mut judge = Judge::default();
        stream.chunks(segment).map(|part| judge.push(part)).find(|told| *told != Ok(None)).unwrap_or(Ok(None))
    }

    #[test]
    fn the_random_tells_however_records_and_segments_are_cut() {
        for (random, answer) in [(RETRY, Answer::Retry), ([7; 32], Answer::Hello)] {
            for fragment in [1, 2, 5, 37, 38, 39, 5000] {
                let plain = records(&server_hello(random), fragment);
                for stream in [plain.clone(), [&WARNING[..], &WARNING, &plain, &CCS].concat()] {
                    for segment in [1, 3, 44, 5000] {
                        assert_eq!(pushed(&stream, segment), Ok(Some(answer)), "{fragment} {segment}");
                    }
                }
                assert_eq!(pushed(&plain[..plain.len().min(37)], 1), Ok(None));
            }
        }
    }

    #[test]
    fn a_random_that_differs_by_a_bit_is_no_request() {
        for place in 0..RANDOM {
            let mut random = RETRY;
            random[place] ^= 1;
            assert_eq!(pushed(&records(&server_hello(random), 5000), 5000), Ok(Some(Answer::Hello)));
        }
    }

    #[test]
    fn what_is_no_server_hello_is_refused() {
        let hello = server_hello([7; 32]);
        let mut short = hello.clone();
        short[3] = 33;
        let cases = [
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            b"220 ESMTP ready\r\n".to_vec(),
            records(&[0, 0, 0, 0], 5000), // HelloRequest
            records(&[&[0, 0, 0, 0][..], &hello].concat(), 5000),
            records(&[&[3, 0, 0, 3, 3, 3, 0][..], &hello].concat(), 5000), // HelloVerifyRequest
            records(&[1, 0, 0, 40], 5000),
            records(&short, 5000),
            CCS.to_vec(),
            vec![23, 3, 3, 0, 40],
            vec![22, 2],
            vec![22, 3, 3, 0, 0],
            vec![22, 3, 3, 0x40, 1],
            vec![21, 3, 3, 0, 3],
            WARNING.repeat(SERVER_ALERTS_MAX + 1),
            [&records(&hello[..10], 10)[..], &WARNING, &records(&hello[10..], 5000)].concat(),
        ];
        for stream in cases {
            for segment in [1, 5000] {
                assert_eq!(pushed(&stream, segment), Err(NoServerHello), "{stream:x?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..700), segment in 1usize..700) {
            let _ = pushed(&bytes, segment);
            let _ = pushed(&records(&[&[2, 0, 0, 40][..], &bytes].concat(), 3), segment);
        }
    }
}
