//! A stand-in for the image API: TLS with a CA of its own, one endpoint, and a count of what reached it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::image;

/// Longest body that the stand-in reads, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest wait for a byte of a connection.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that are kept of what a connection says after its first hello: another hello at most is in the clear.
const SAID_BYTES_MAX: usize = 4096;

/// One request that reached the endpoint.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST /v1/images/generations`.
    pub line: String,
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The JSON body.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Handshakes with a HelloRetryRequest.
    asked_again: usize,
    names: Vec<Option<String>>,
    /// What each connection said after its first hello, as it came.
    said: Vec<Vec<u8>>,
    requests: Vec<Request>,
}

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    ca_pem: String,
    seen: Arc<Mutex<Seen>>,
    listener: TcpListener,
}

impl StandIn {
    /// Serves `host` on `address` (port 0: any) from a thread in the caller's namespaces.
    ///
    /// # Errors
    /// When the address cannot be bound.
    ///
    /// # Panics
    /// When certificates cannot be made.
    pub fn serve(host: &str, address: &str) -> io::Result<Self> {
        Self::serve_with(ring::default_provider(), host, address)
    }

    /// The same with P-384 alone, of which no runtime sends a share unasked: every TLS 1.3 client gets a HelloRetryRequest.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn serve_asking_again(host: &str, address: &str) -> io::Result<Self> {
        let kx_groups = vec![ring::kx_group::SECP384R1];
        Self::serve_with(CryptoProvider { kx_groups, ..ring::default_provider() }, host, address)
    }

    fn serve_with(provider: CryptoProvider, host: &str, address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let (ca_pem, config) = credentials(provider, host);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (accepting, shared) = (listener.try_clone()?, Arc::clone(&seen));
        thread::Builder::new().name("stand-in".into()).spawn(move || accept_all(&accepting, &config, &shared))?;
        Ok(Self { address: listener.local_addr()?, ca_pem, seen, listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its CA's certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TCP connections so far, whatever they carried.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Server names of the ClientHellos so far.
    #[must_use]
    pub fn names(&self) -> Vec<Option<String>> {
        self.lock().names.clone()
    }

    /// Connections so far that said `text` in the clear after their first hello.
    #[must_use]
    pub fn heard_in_clear(&self, text: &str) -> usize {
        let holds = |said: &&Vec<u8>| said.windows(text.len()).any(|window| window == text.as_bytes());
        self.lock().said.iter().filter(holds).count()
    }

    /// Requests so far that came after a HelloRetryRequest.
    #[must_use]
    pub fn asked_again(&self) -> usize {
        self.lock().asked_again
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Wakes the accepting thread, which then ends; a listener that is already gone needs no waking.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_all(listener: &TcpListener, config: &Arc<ServerConfig>, seen: &Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept() {
        lock(seen).connections += 1;
        let (config, seen) = (Arc::clone(config), Arc::clone(seen));
        // A client that breaks off is the client's business: nothing is counted beyond what it sent.
        let serve = move || drop(serve_one(stream, config, &seen));
        if thread::Builder::new().name("stand-in-client".into()).spawn(serve).is_err() {
            return;
        }
    }
}

/// A connection of which [`StandIn::heard_in_clear`] knows.
struct Overheard<'a> {
    stream: TcpStream,
    seen: &'a Mutex<Seen>,
    /// Its place in `said`.
    number: usize,
}

impl Read for Overheard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        let said = &mut lock(self.seen).said[self.number];
        said.extend(&buffer[..length.min(SAID_BYTES_MAX - said.len())]);
        Ok(length)
    }
}

impl Write for Overheard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn serve_one(mut stream: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Seen>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut stream)? == 0 {
            return Ok(());
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::other(error)),
        }
    };
    let number = {
        let mut seen = lock(seen);
        seen.names.push(accepted.client_hello().server_name().map(str::to_owned));
        seen.said.push(Vec::new());
        seen.said.len() - 1
    };
    let stream = Overheard { stream, seen, number };
    let connection = accepted.into_connection(config).map_err(|(error, _)| io::Error::other(error))?;
    let mut tls = BufReader::new(StreamOwned::<ServerConnection, _>::new(connection, stream));
    let request = read_request(&mut tls)?;
    let answer = answer(&request);
    let asked_again = tls.get_ref().conn.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);
    lock(seen).asked_again += usize::from(asked_again);
    lock(seen).requests.push(request);
    let tls = tls.get_mut();
    tls.write_all(answer.as_bytes())?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn read_request(input: &mut impl BufRead) -> io::Result<Request> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        if input.read_line(&mut header)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("body too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Ok(Request { line, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn answer(request: &Request) -> String {
    let (status, body) = if request.line == "POST /v1/images/generations" {
        let count = request.body["n"].as_u64().unwrap_or(1).min(16);
        let image = image::base64(&image::png(200, 40, 120));
        let data: Vec<_> = (0..count).map(|index| json!({"index": index, "b64_json": image})).collect();
        ("200 OK", json!({"id": "stand-in", "model": request.body["model"], "object": "list", "data": data}))
    } else {
        ("404 Not Found", json!({"error": {"message": "no such endpoint"}}))
    };
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A CA, and a TLS configuration for `host` that it signed.
fn credentials(provider: CryptoProvider, host: &str) -> (String, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().expect("the system has randomness");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "intercept-sandbox test CA");
    let ca_pem = ca.self_signed(&ca_key).expect("a valid template").pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().expect("the system has randomness");
    let leaf = CertificateParams::new([host.to_owned()]).expect("a DNS name").signed_by(&key, &issuer).expect("signed");
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key fits the certificate");
    (ca_pem, Arc::new(config))
}
