//! Copies bytes both ways between the server and an upstream, counts them, and stops at the host's byte budget.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::tls::Refusal;
use crate::bounds::{GATEWAY_COPY_BYTES, GATEWAY_IDLE_MS};

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// Both sides said that they were done.
    Complete,
    /// One side failed or was reset.
    Failed(io::Error),
    /// The next bytes would have been over the host's budget; they were not sent.
    OverBudget,
    /// [`GATEWAY_IDLE_MS`] without a byte either way.
    Idle,
    /// The upstream answers the ClientHello with something else than a ServerHello; nothing further went to it.
    NoServerHello,
    /// The second ClientHello, which the upstream asked for, is refused; it was not sent.
    SecondHello(Refusal, Option<String>),
}

/// Bytes of a connection.
#[derive(Debug, Default)]
pub struct Counts {
    /// From the upstream to the server.
    pub bytes_in: AtomicU64,
    /// From the server to the upstream.
    pub bytes_out: AtomicU64,
}

/// Sends `first` upstream, then copies both ways until both are done. An end of one direction is passed on as such and
/// leaves the other open. `charge` is asked before bytes go upstream, and they do not when it says no.
pub async fn copy_both_ways(
    server: &mut TcpStream,
    upstream: &mut TcpStream,
    first: &[u8],
    counts: &Counts,
    charge: impl Fn(u64) -> bool,
) -> End {
    let activity = Activity::new();
    let (server_read, server_write) = server.split();
    let (upstream_read, upstream_write) = upstream.split();
    let out = async {
        let mut upstream_write = upstream_write;
        spend(&mut upstream_write, first, &counts.bytes_out, &charge).await?;
        copy(server_read, upstream_write, &counts.bytes_out, &activity, &charge).await
    };
    let back = copy(upstream_read, server_write, &counts.bytes_in, &activity, |_| true);
    tokio::select! {
        both = async { tokio::try_join!(out, back) } => both.map_or_else(|end| end, |_| End::Complete),
        () = activity.idle() => End::Idle,
    }
}

pub(super) async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
    activity: &Activity,
    charge: impl Fn(u64) -> bool,
) -> Result<(), End> {
    let mut buffer = vec![0; GATEWAY_COPY_BYTES];
    loop {
        let length = from.read(&mut buffer).await.map_err(End::Failed)?;
        activity.mark();
        if length == 0 {
            return to.shutdown().await.map_err(End::Failed);
        }
        spend(&mut to, &buffer[..length], count, &charge).await?;
        activity.mark();
    }
}

pub(super) async fn spend(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    count: &AtomicU64,
    charge: &impl Fn(u64) -> bool,
) -> Result<(), End> {
    let length = bytes.len() as u64;
    if !charge(length) {
        return Err(End::OverBudget);
    }
    to.write_all(bytes).await.map_err(End::Failed)?;
    count.fetch_add(length, Ordering::Relaxed);
    Ok(())
}

/// When a byte last moved, in milliseconds since the connection began.
pub(super) struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    pub(super) fn mark(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for the bound.
    pub(super) async fn idle(&self) {
        loop {
            let limit_ms = self.last_ms.load(Ordering::Relaxed).saturating_add(GATEWAY_IDLE_MS);
            let Some(limit) = self.start.checked_add(Duration::from_millis(limit_ms)) else { return pending().await };
            if Instant::now() >= limit {
                return;
            }
            sleep_until(limit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn silence_both_ways_is_cut_at_the_bound() {
        let ((_client, mut server), (mut upstream, _api)) = (pair().await, pair().await);
        tokio::time::pause();
        let begun = Instant::now();
        let end = copy_both_ways(&mut server, &mut upstream, b"", &Counts::default(), |_| true).await;
        assert!(matches!(end, End::Idle), "{end:?}");
        let silent = begun.elapsed().as_millis();
        assert!((u128::from(GATEWAY_IDLE_MS)..u128::from(GATEWAY_IDLE_MS) + 10).contains(&silent), "{silent}");
    }

    #[tokio::test]
    async fn the_first_bytes_are_charged_too() {
        let ((_client, mut server), (mut upstream, _api)) = (pair().await, pair().await);
        let counts = Counts::default();
        let end = copy_both_ways(&mut server, &mut upstream, b"12345", &counts, |bytes| bytes < 5).await;
        assert!(matches!(end, End::OverBudget), "{end:?}");
        assert_eq!(counts.bytes_out.into_inner(), 0);
    }

    #[tokio::test]
    async fn a_reset_of_the_upstream_ends_both_ways() {
        let ((mut client, mut server), (mut upstream, api)) = (pair().await, pair().await);
        api.set_zero_linger().unwrap();
        drop(api);
        let end = copy_both_ways(&mut server, &mut upstream, b"", &Counts::default(), |_| true).await;
        assert!(matches!(end, End::Failed(_)), "{end:?}");
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
