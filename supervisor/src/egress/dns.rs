//! Serves the DNS stub over UDP and TCP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::accept::accept;
use super::hosts::HostTable;
use super::reporter::{ReportError, Reporter};
use super::resolver::{Transport, answer};
use crate::bounds::{DNS_MESSAGE_BYTES_MAX, DNS_TCP_CONNECTIONS_MAX, DNS_TCP_WAIT_MS};

/// Answers datagrams until the reports have no taker or the socket fails.
///
/// # Errors
/// When the socket fails.
pub async fn serve_udp(socket: UdpSocket, hosts: Arc<HostTable>, reporter: Reporter) -> io::Result<()> {
    // One byte more than the bound shows a datagram that is over it.
    let mut buffer = vec![0; DNS_MESSAGE_BYTES_MAX + 1];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue, // ICMP about an earlier reply
            Err(error) => return Err(error),
        };
        let answer = answer(&buffer[..length], Transport::Udp, &hosts);
        // Not recorded, not answered.
        if reporter.tell_counted(answer.event).await.is_err() {
            return Ok(());
        }
        if let Some(reply) = answer.reply {
            // A client that has gone is no reason to stop serving the others.
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

/// Answers streams until the listener fails.
///
/// # Errors
/// When the listener fails.
pub async fn serve_tcp(listener: TcpListener, hosts: Arc<HostTable>, reporter: Reporter) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(DNS_TCP_CONNECTIONS_MAX));
    loop {
        let stream = accept(&listener).await?;
        // Over the cap: closed at once; a resolver tries again.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (hosts, reporter) = (Arc::clone(&hosts), reporter.clone());
        tokio::spawn(async move {
            // Whatever goes wrong on one stream ends that stream and nothing else.
            let _ = serve_stream(stream, &hosts, &reporter).await;
            drop(slot);
        });
    }
}

async fn serve_stream(mut stream: TcpStream, hosts: &HostTable, reporter: &Reporter) -> Result<(), StreamEnd> {
    let wait = Duration::from_millis(DNS_TCP_WAIT_MS);
    let mut buffer = vec![0; DNS_MESSAGE_BYTES_MAX];
    loop {
        let length = timeout(wait, read_message(&mut stream, &mut buffer)).await.map_err(|_| StreamEnd)??;
        let answer = answer(&buffer[..length], Transport::Tcp, hosts);
        reporter.tell_counted(answer.event).await?;
        let Some(reply) = answer.reply else { return Err(StreamEnd) };
        let mut framed = u16::try_from(reply.len()).map_err(|_| StreamEnd)?.to_be_bytes().to_vec();
        framed.extend_from_slice(&reply);
        timeout(wait, stream.write_all(&framed)).await.map_err(|_| StreamEnd)??;
    }
}

/// The end of one stream: done, cut, too long, too slow; all the same to the stub.
struct StreamEnd;

impl From<io::Error> for StreamEnd {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<ReportError> for StreamEnd {
    fn from(_: ReportError) -> Self {
        Self
    }
}

async fn read_message(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let length = usize::from(stream.read_u16().await?);
    let Some(message) = buffer.get_mut(..length) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a DNS message over the bound"));
    };
    stream.read_exact(message).await?;
    Ok(length)
}
