//! A bounded reader of the one TLS message that travels in the clear: records, handshake, ClientHello, extensions.
//!
//! rustls reads it as well ([`crate::egress::tls`]); this reader is stricter and shows the extensions that rustls keeps to
//! itself. Both must agree. Formats: RFC 8446, 4.1.2, 4.2 and 5.1; server name: RFC 6066, 3; ECH: RFC 9849.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use thiserror::Error;

use crate::bounds::CLIENT_HELLO_BYTES_MAX;

/// Why the bytes are not a ClientHello that the gateway reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first record is not a TLS handshake.
    #[error("not TLS")]
    NotTls,
    /// The bytes end before the hello does.
    #[error("the ClientHello is not complete")]
    Incomplete,
    /// Over [`CLIENT_HELLO_BYTES_MAX`].
    #[error("the ClientHello is over the bound")]
    TooLong,
    /// A length or a list that does not hold together.
    #[error("the ClientHello is malformed")]
    Malformed,
}

/// What the gateway needs of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name of the server_name extension, as sent.
    pub server_name: Option<String>,
    /// Whether it hides another ClientHello: encrypted_client_hello, or the ESNI drafts before it.
    pub encrypted: bool,
}

pub(crate) const RECORD_HEADER: usize = 5;
/// RFC 8446, 5.1: a record's fragment has at most 2^14 bytes.
pub(crate) const FRAGMENT_MAX: usize = 1 << 14;
pub(crate) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// encrypted_client_hello; ech_outer_extensions, which only an inner hello may carry; encrypted_server_name of the drafts.
const ENCRYPTED: [u16; 3] = [0xfe0d, 0xfd00, 0xffce];

/// Reads the ClientHello at the start of `stream`, the bytes of a connection so far.
///
/// # Errors
/// [`HelloError`]; every error but `Incomplete` is final.
pub fn parse(stream: &[u8]) -> Result<ClientHello, HelloError> {
    let (message, _) = handshake_message(stream)?;
    let mut body = Reader(&message);
    body.take(2 + 32)?; // legacy_version, random
    body.vector8()?; // legacy_session_id
    let suites = body.vector16()?;
    let compressions = body.vector8()?;
    if suites.0.is_empty() || suites.0.len() % 2 != 0 || compressions.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut hello = ClientHello { server_name: None, encrypted: false };
    if body.0.is_empty() {
        return Ok(hello); // TLS 1.2 allows a hello without extensions
    }
    let mut extensions = body.vector16()?;
    if !body.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut seen = HashSet::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        if !seen.insert(kind) {
            return Err(HelloError::Malformed); // RFC 8446, 4.2: at most one of a type
        }
        if kind == SERVER_NAME {
            hello.server_name = Some(host_name(content)?);
        }
        hello.encrypted |= ENCRYPTED.contains(&kind);
    }
    Ok(hello)
}

/// How many bytes of `stream` are the records of the ClientHello at its start.
///
/// # Errors
/// As [`parse`].
pub fn length(stream: &[u8]) -> Result<usize, HelloError> {
    handshake_message(stream).map(|(_, length)| length)
}

/// The body of the handshake message that the leading records carry, a ClientHello, alone; and the length of these records.
fn handshake_message(stream: &[u8]) -> Result<(Vec<u8>, usize), HelloError> {
    let mut rest = stream;
    let mut message = Vec::new();
    loop {
        match rest {
            [kind, ..] if *kind != HANDSHAKE => return Err(HelloError::NotTls),
            [_, major, ..] if *major != 3 => return Err(HelloError::NotTls),
            _ => {}
        }
        let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER>() else {
            return Err(HelloError::Incomplete);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > FRAGMENT_MAX {
            return Err(HelloError::Malformed);
        }
        let fragment = &after[..length.min(after.len())];
        message.extend_from_slice(fragment);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::NotTls);
        }
        if let [_, a, b, c, ..] = *message.as_slice() {
            let whole = 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
            if whole > CLIENT_HELLO_BYTES_MAX {
                return Err(HelloError::TooLong);
            }
            // Nothing may follow in the hello's last record (RFC 8446, 5.1: no message spans a change of keys).
            if message.len() > whole || (message.len() == whole && fragment.len() < length) {
                return Err(HelloError::Malformed);
            }
            if message.len() == whole {
                message.drain(..4);
                return Ok((message, stream.len() - after.len() + length));
            }
        }
        if fragment.len() < length {
            return Err(HelloError::Incomplete);
        }
        rest = &after[length..];
    }
}

/// The one host name of a server_name extension.
fn host_name(mut extension: Reader<'_>) -> Result<String, HelloError> {
    let mut list = extension.vector16()?;
    let kind = list.u8()?;
    let name = list.vector16()?;
    if kind != HOST_NAME || name.0.is_empty() || !list.0.is_empty() || !extension.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    // RFC 6066: ASCII. Control characters would end in a log and in no certificate.
    if !name.0.iter().all(u8::is_ascii_graphic) {
        return Err(HelloError::Malformed);
    }
    String::from_utf8(name.0.to_vec()).map_err(|_| HelloError::Malformed)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<Reader<'a>, HelloError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(HelloError::Malformed)?;
        self.0 = tail;
        Ok(Reader(head))
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        Ok(self.take(1)?.0[0])
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?.0;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Result<Reader<'a>, HelloError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Result<Reader<'a>, HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// Hand-made hellos for the tests of this folder.
#[cfg(test)]
pub(crate) mod made {
    /// An extension.
    pub(crate) fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    /// A server_name extension.
    pub(crate) fn server_name(name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap();
        let entry = [&[0][..], &length.to_be_bytes(), name].concat();
        extension(0, &[&(length + 3).to_be_bytes()[..], &entry].concat())
    }

    /// The extensions without which rustls gives up: signature_algorithms, supported_groups, supported_versions, key_share.
    pub(crate) fn usual() -> Vec<u8> {
        let share = [&[0, 36, 0, 29, 0, 32][..], &[7; 32]].concat();
        [extension(13, &[0, 2, 4, 3]), extension(10, &[0, 2, 0, 29]), extension(43, &[2, 3, 4]), extension(51, &share)]
            .concat()
    }

    /// A handshake message with `extensions`.
    pub(crate) fn hello(extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len()).unwrap();
        let body =
            [&[3, 3][..], &[9; 32], &[0], &[0, 2, 0x13, 0x01], &[1, 0], &length.to_be_bytes(), extensions].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1, length[1], length[2], length[3]][..], &body].concat()
    }

    /// `message` in records of at most `fragment` bytes.
    pub(crate) fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        message.chunks(fragment).flat_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::made::*;
    use super::*;

    fn named(name: &str) -> Vec<u8> {
        hello(&[server_name(name.as_bytes()), usual()].concat())
    }

    fn expected(name: &str) -> ClientHello {
        ClientHello { server_name: Some(name.into()), encrypted: false }
    }

    #[test]
    fn the_name_is_found_however_the_records_are_cut() {
        let message = named("api.example");
        for fragment in [1, 2, 3, 5, 37, 100, message.len()] {
            let stream = records(&message, fragment);
            assert_eq!(parse(&stream), Ok(expected("api.example")), "{fragment}");
            for end in 0..stream.len() {
                assert_eq!(parse(&stream[..end]), Err(HelloError::Incomplete), "{fragment} {end}");
            }
            let followed = [&stream[..], b"\x14\x03\x03\x00\x01\x01"].concat();
            assert_eq!(parse(&followed), Ok(expected("api.example")));
            assert_eq!(length(&followed), Ok(stream.len()));
        }
    }

    #[test]
    fn hidden_hellos_are_seen() {
        for kind in ENCRYPTED {
            let message = hello(&[server_name(b"api.example"), usual(), extension(kind, &[1])].concat());
            assert!(parse(&records(&message, 200)).unwrap().encrypted, "{kind:#x}");
        }
    }

    #[test]
    fn no_name_is_none_and_odd_names_are_malformed() {
        assert_eq!(parse(&records(&hello(&usual()), 999)).unwrap().server_name, None);
        let plain = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        let message = [&[1, 0, 0, u8::try_from(plain.len()).unwrap()][..], &plain].concat();
        assert_eq!(parse(&records(&message, 999)).unwrap().server_name, None);
        for name in [&b""[..], b"api.example\0.evil", b"api example", b"\xc3\xa4.example", b"a\n"] {
            assert_eq!(parse(&records(&hello(&server_name(name)), 999)), Err(HelloError::Malformed), "{name:?}");
        }
        let two = [0, 10, 0, 0, 2, b'a', b'a', 0, 0, 2, b'b', b'b'];
        assert_eq!(parse(&records(&hello(&extension(0, &two)), 999)), Err(HelloError::Malformed));
        let twice = [server_name(b"a.example"), server_name(b"b.example")].concat();
        assert_eq!(parse(&records(&hello(&twice), 999)), Err(HelloError::Malformed));
    }

    #[test]
    fn a_dot_at_the_end_of_a_name_is_shown() {
        assert_eq!(parse(&records(&named("api.example."), 999)), Ok(expected("api.example.")));
    }

    #[test]
    fn what_is_not_tls_is_said_from_its_first_byte() {
        for stream in [
            &b"G"[..],
            b"GET / HTTP/1.1\r\n",
            b"\x80\x2e\x01",
            b"\x16\x02",
            b"\x16\x03\x01\x00\x04\x02",
            b"\x17\x03\x03",
        ] {
            assert_eq!(parse(stream), Err(HelloError::NotTls), "{stream:?}");
        }
    }

    #[test]
    fn what_follows_in_the_same_record_is_refused() {
        let mut message = named("api.example");
        message.push(20);
        assert_eq!(parse(&records(&message, 9999)), Err(HelloError::Malformed));
        let mut open = records(&message, 9999);
        open.pop(); // the byte after the hello is announced but has not come
        assert_eq!(parse(&open), Err(HelloError::Malformed));
        assert_eq!(parse(b"\x16\x03\x01\x00\x00"), Err(HelloError::Malformed));
        assert_eq!(parse(b"\x16\x03\x01\x40\x01"), Err(HelloError::Malformed));
    }

    #[test]
    fn one_byte_over_the_bound_is_refused_before_it_is_gathered() {
        let announced = |length: usize| {
            let bytes = u32::try_from(length - 4).unwrap().to_be_bytes();
            records(&[1, bytes[1], bytes[2], bytes[3]], 999)
        };
        assert_eq!(parse(&announced(CLIENT_HELLO_BYTES_MAX)), Err(HelloError::Incomplete));
        assert_eq!(parse(&announced(CLIENT_HELLO_BYTES_MAX + 1)), Err(HelloError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let _ = parse(&records(&[&[1, 0, 0, 100][..], &bytes].concat(), 64));
            let _ = parse(&records(&hello(&bytes), 512));
        }

        #[test]
        fn a_damaged_hello_is_read_as_rustls_reads_it_or_refused(place in 0usize..400, value in any::<u8>(), cut in 1usize..300) {
            let mut stream = records(&named("api.example"), cut);
            let place = place % stream.len();
            stream[place] = value;
            let mut acceptor = rustls::server::Acceptor::default();
            let mut unread = stream.as_slice();
            while !unread.is_empty() && acceptor.read_tls(&mut unread).is_ok_and(|n| n > 0) {}
            if let (Ok(ours), Ok(Some(theirs))) = (parse(&stream), acceptor.accept()) {
                let theirs = theirs.client_hello().server_name().map(str::to_ascii_lowercase);
                // rustls ignores names that are no DNS names and drops a dot at the end; ours shows both, and tls.rs refuses them.
                if let Some(theirs) = theirs {
                    let ours = ours.server_name.unwrap_or_default().to_ascii_lowercase();
                    prop_assert_eq!(ours.strip_suffix('.').unwrap_or(&ours), theirs);
                }
            }
        }
    }
}
