//! Reads the ClientHello of a connection and decides whether its name is the host's. The bytes are kept, to be replayed.

use std::time::Duration;

use rustls::server::Acceptor;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::client_hello::{self, HelloError};
use crate::bounds::{CLIENT_HELLO_BYTES_MAX, CLIENT_HELLO_WAIT_MS};
use crate::{planted, weaken};

/// Why a connection's hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The strict reader does not take it.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// rustls does not take it, or reads another name than the strict reader.
    #[error("the ClientHello is not one that a TLS server would take")]
    Unacceptable,
    /// The client closed or reset the connection before the hello was whole.
    #[error("the connection ended within the ClientHello")]
    Ended,
    /// [`CLIENT_HELLO_WAIT_MS`] passed before the hello was whole.
    #[error("the ClientHello did not come in time")]
    TooSlow,
    /// No server_name extension.
    #[error("the ClientHello names no server")]
    NoName,
    /// Another name than the host's.
    #[error("the server name of the ClientHello is not the host")]
    OtherName,
    /// An encrypted ClientHello could name any server.
    #[error("the ClientHello is encrypted")]
    Encrypted,
    /// After a HelloRetryRequest: not the name of the first hello, byte for byte (RFC 8446, 4.1.2).
    #[error("the second ClientHello names another server than the first")]
    Changed,
    /// After a HelloRetryRequest: it does not want to go on.
    #[error("the client ended the handshake with an alert")]
    GaveUp,
}

/// Gathers the bytes of one connection until they are a ClientHello.
#[derive(Default)]
pub struct Sniffer {
    acceptor: Acceptor,
    bytes: Vec<u8>,
}

/// A whole ClientHello and every byte that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name as sent.
    pub server_name: Option<String>,
    /// Whether it hides another hello.
    pub encrypted: bool,
    /// All bytes read so far, the hello first.
    pub bytes: Vec<u8>,
    /// How many of them are the hello.
    pub length: usize,
}

impl Sniffer {
    /// Takes the next bytes; gives the hello as soon as it is whole. Not to be called again after a hello or an error.
    ///
    /// # Errors
    /// [`Refusal`] as soon as the bytes cannot become a ClientHello.
    pub fn push(&mut self, segment: &[u8]) -> Result<Option<Hello>, Refusal> {
        planted::bug(planted::Who::Egress, segment);
        if self.bytes.len() + segment.len() > CLIENT_HELLO_BYTES_MAX {
            return Err(HelloError::TooLong.into());
        }
        self.bytes.extend_from_slice(segment);
        // The strict reader is cheap on a prefix only for a few segments; the first bytes alone tell what is not TLS.
        if self.bytes.len() <= 5
            && let Err(error @ HelloError::NotTls) = client_hello::parse(&self.bytes)
        {
            return Err(error.into());
        }
        let mut unread = segment;
        while !unread.is_empty() {
            // A slice cannot fail to be read; what fails is room in rustls's own buffer.
            self.acceptor.read_tls(&mut unread).map_err(|_| HelloError::TooLong)?;
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let read_by_rustls = accepted.client_hello().server_name().map(str::to_owned);
                    return self.agree(read_by_rustls.as_deref()).map(Some);
                }
                // Say what the strict reader has against it, if it has anything.
                Err(_) => return Err(self.strictly().err().unwrap_or(Refusal::Unacceptable)),
            }
        }
        Ok(None)
    }

    /// Two readers must see the same name: a hello that they read differently could be read in a third way upstream.
    fn agree(&mut self, read_by_rustls: Option<&str>) -> Result<Hello, Refusal> {
        let strict = self.strictly()?;
        let same = match (strict.server_name.as_deref(), read_by_rustls) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        if !same {
            return Err(Refusal::Unacceptable);
        }
        let length = client_hello::length(&self.bytes)?;
        let bytes = std::mem::take(&mut self.bytes);
        Ok(Hello { server_name: strict.server_name, encrypted: strict.encrypted, bytes, length })
    }

    fn strictly(&self) -> Result<client_hello::ClientHello, Refusal> {
        match client_hello::parse(&self.bytes) {
            Err(HelloError::Incomplete) => Err(Refusal::Unacceptable), // rustls has done with it, one way or the other
            parsed => Ok(parsed?),
        }
    }
}

/// Whether `hello` may go on to `host`.
///
/// # Errors
/// The [`Refusal`] if not.
pub fn admit(hello: &Hello, host: &str) -> Result<(), Refusal> {
    if hello.encrypted && weaken::in_force("gateway-ech") {
        return Err(Refusal::Encrypted);
    }
    if !weaken::in_force("gateway-sni") {
        return Ok(());
    }
    match hello.server_name.as_deref() {
        None => Err(Refusal::NoName),
        Some(name) if name.eq_ignore_ascii_case(host) => Ok(()), // so a trailing dot is another name
        Some(_) => Err(Refusal::OtherName),
    }
}

/// Reads from `stream` until the ClientHello is whole.
///
/// # Errors
/// [`Refusal`] with the reason; nothing is kept then.
pub async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Refusal> {
    let wait = Duration::from_millis(CLIENT_HELLO_WAIT_MS);
    timeout(wait, gather(stream)).await.unwrap_or(Err(Refusal::TooSlow))
}

async fn gather(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Refusal> {
    let mut sniffer = Sniffer::default();
    let mut segment = [0; 4096];
    loop {
        let length = stream.read(&mut segment).await.map_err(|_| Refusal::Ended)?;
        if length == 0 {
            return Err(Refusal::Ended);
        }
        if let Some(hello) = sniffer.push(&segment[..length])? {
            return Ok(hello);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_hello::made::*;
    use super::*;

    fn sniff(stream: &[u8], segment: usize) -> Result<Option<Hello>, Refusal> {
        let mut sniffer = Sniffer::default();
        let mut outcome = Ok(None);
        for part in stream.chunks(segment) {
            outcome = sniffer.push(part);
            if !matches!(outcome, Ok(None)) {
                break;
            }
        }
        outcome
    }

    fn named(name: &str) -> Vec<u8> {
        hello(&[server_name(name.as_bytes()), usual()].concat())
    }

    #[test]
    fn a_hello_is_put_together_from_records_and_segments_and_kept_to_the_byte() {
        let message = named("api.example");
        for fragment in [1, 10, 5000] {
            let stream = records(&message, fragment);
            for segment in [1, 3, 7, 4096] {
                let hello = sniff(&stream, segment).unwrap().unwrap();
                assert_eq!(hello.server_name.as_deref(), Some("api.example"));
                assert_eq!(hello.bytes, stream);
                assert_eq!(admit(&hello, "api.example"), Ok(()));
            }
        }
    }

    #[test]
    fn what_follows_the_hello_is_kept_for_the_upstream() {
        let stream = [&records(&named("api.example"), 5000)[..], b"\x14\x03\x03\x00\x01\x01"].concat();
        assert_eq!(sniff(&stream, 4096).unwrap().unwrap().bytes, stream);
    }

    #[test]
    fn the_name_must_be_the_host() {
        let admitted = |name: &str| admit(&sniff(&records(&named(name), 5000), 4096).unwrap().unwrap(), "api.example");
        assert_eq!(admitted("API.Example"), Ok(()));
        for other in ["evil.example", "x.api.example", "api.example.evil", "example", "api-example", "xapi.example"] {
            assert_eq!(admitted(other), Err(Refusal::OtherName), "{other}");
        }
        let unnamed = sniff(&records(&hello(&usual()), 5000), 4096).unwrap().unwrap();
        assert_eq!(admit(&unnamed, "api.example"), Err(Refusal::NoName));
    }

    #[test]
    fn a_trailing_dot_and_an_address_are_refused() {
        for name in ["api.example.", "198.18.0.2", "api.example:443", "user@api.example", "*.example"] {
            let outcome = sniff(&records(&named(name), 5000), 4096).map(|hello| admit(&hello.unwrap(), "api.example"));
            assert!(matches!(outcome, Err(Refusal::Unacceptable) | Ok(Err(Refusal::OtherName))), "{name} {outcome:?}");
        }
    }

    #[test]
    fn an_encrypted_hello_is_refused_under_the_right_name() {
        let ech = extension(0xfe0d, &[&[0, 0, 1, 0, 1, 5, 0, 1, 9, 0, 1][..], &[3]].concat());
        let message = hello(&[server_name(b"api.example"), usual(), ech].concat());
        let hello = sniff(&records(&message, 5000), 4096).unwrap().unwrap();
        assert_eq!(admit(&hello, "api.example"), Err(Refusal::Encrypted));
    }

    #[test]
    fn garbage_plain_http_and_oversize_are_refused() {
        assert_eq!(sniff(b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n", 1), Err(HelloError::NotTls.into()));
        assert_eq!(sniff(b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n", 4096), Err(HelloError::NotTls.into()));
        assert!(sniff(&[0x16; 3000], 100).is_err());
        let endless = records(&[&[1, 0, 0xff, 0xf0][..], &vec![0; 0xfff0]].concat(), 1000);
        assert_eq!(sniff(&endless, 4096), Err(HelloError::TooLong.into()));
    }

    #[test]
    fn a_hello_of_a_real_client_is_read() {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "api.example".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut stream = Vec::new();
        client.write_tls(&mut stream).unwrap();
        let hello = sniff(&stream, 100).unwrap().unwrap();
        assert_eq!((hello.server_name.as_deref(), hello.encrypted), (Some("api.example"), false));
    }

    #[test]
    fn a_hello_of_openssl_is_read() {
        // OpenSSL 3.0.19, `s_client -servername api.example`.
        let stream = include_bytes!("testdata/openssl-client-hello.bin");
        let hello = sniff(stream, 100).unwrap().unwrap();
        assert_eq!((hello.server_name.as_deref(), hello.encrypted), (Some("api.example"), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hello_that_trickles_in_is_cut_at_the_bound() {
        use tokio::io::AsyncWriteExt;
        let (mut client, mut gateway) = tokio::io::duplex(64);
        let stream = records(&named("api.example"), 5000);
        let begun = tokio::time::Instant::now();
        let trickle = async {
            for byte in &stream {
                client.write_all(std::slice::from_ref(byte)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            refusal = read_hello(&mut gateway) => assert_eq!(refusal, Err(Refusal::TooSlow)),
            () = trickle => panic!("all of it was taken"),
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(CLIENT_HELLO_WAIT_MS));
    }
}
