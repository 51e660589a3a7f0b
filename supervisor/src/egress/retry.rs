//! Copies a TLS connection whose first ClientHello was admitted, and reads the second one, if there is to be one.
//!
//! A server may answer with a HelloRetryRequest; the client's second ClientHello is in the clear like the first, and many servers go by
//! its name. So what the client sends after its first hello is held until the answer shows. After a request the second hello is
//! read and admitted as the first was, with the same name.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::client_hello::{HANDSHAKE, HelloError, RECORD_HEADER};
use super::copy::{Activity, Counts, End, copy, copy_both_ways, spend};
use super::server_hello::{ALERT, Answer, Judge, NoServerHello};
use super::tls::{Hello, Refusal, Sniffer, admit};
use crate::bounds::{CLIENT_HELLO_WAIT_MS, EARLY_DATA_BYTES_MAX};
use crate::weaken;

const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;
/// Records of which a client may send one after its first hello.
const KINDS: [u8; 4] = [CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA];
/// Bytes that are read at once while the handshake is looked at.
const SEGMENT_BYTES: usize = 4096;

/// Sends `first` upstream, then copies both ways as [`copy_both_ways`]; a second hello goes on only if it may go to `host`.
pub async fn copy_after_hello(
    server: &mut TcpStream,
    upstream: &mut TcpStream,
    first: &Hello,
    host: &str,
    counts: &Counts,
    charge: impl Fn(u64) -> bool,
) -> End {
    if !weaken::in_force("gateway-retry") {
        return copy_both_ways(server, upstream, &first.bytes, counts, charge).await;
    }
    let activity = Activity::new();
    let (mut server_read, mut server_write) = server.split();
    let (mut upstream_read, mut upstream_write) = upstream.split();
    let (tell, mut told) = oneshot::channel();
    let (hello, rest) = first.bytes.split_at(first.length);
    let out = async {
        spend(&mut upstream_write, hello, &counts.bytes_out, &charge).await?;
        let next = match hold(&mut server_read, rest.to_vec(), &mut told, &activity).await? {
            (Some(Answer::Hello), held) => held,
            (Some(Answer::Retry), held) => second_hello(&mut server_read, held, first, host).await?,
            (None, _) => {
                upstream_write.shutdown().await.map_err(End::Failed)?;
                return drain(&mut server_read, &activity).await;
            }
        };
        spend(&mut upstream_write, &next, &counts.bytes_out, &charge).await?;
        drop(next);
        copy(server_read, upstream_write, &counts.bytes_out, &activity, &charge).await
    };
    let back = async {
        if listen(&mut upstream_read, &mut server_write, counts, &activity, tell).await? {
            copy(upstream_read, server_write, &counts.bytes_in, &activity, |_| true).await?;
        }
        Ok(())
    };
    tokio::select! {
        both = async { tokio::try_join!(out, back) } => both.map_or_else(|end| end, |_| End::Complete),
        () = activity.idle() => End::Idle,
    }
}

/// Passes what comes from the upstream on until it shows what it is; false if the upstream ended before.
async fn listen(
    upstream: &mut ReadHalf<'_>,
    server: &mut WriteHalf<'_>,
    counts: &Counts,
    activity: &Activity,
    tell: oneshot::Sender<Answer>,
) -> Result<bool, End> {
    let mut judge = Judge::default();
    let mut buffer = vec![0; SEGMENT_BYTES];
    loop {
        let length = upstream.read(&mut buffer).await.map_err(End::Failed)?;
        activity.mark();
        if length == 0 {
            server.shutdown().await.map_err(End::Failed)?;
            return Ok(false);
        }
        let answer = judge.push(&buffer[..length]).map_err(|NoServerHello| End::NoServerHello)?;
        server.write_all(&buffer[..length]).await.map_err(End::Failed)?;
        counts.bytes_in.fetch_add(length as u64, Ordering::Relaxed);
        activity.mark();
        if let Some(answer) = answer {
            // Nobody listens when the client has ended without a byte more: then nothing is left to be judged.
            let _ = tell.send(answer);
            return Ok(true);
        }
    }
}

/// Holds what comes from the server until the answer is told, in bounds; gives both. No answer: the upstream ended without one.
async fn hold(
    server: &mut ReadHalf<'_>,
    mut held: Vec<u8>,
    told: &mut oneshot::Receiver<Answer>,
    activity: &Activity,
) -> Result<(Option<Answer>, Vec<u8>), End> {
    let mut segment = vec![0; SEGMENT_BYTES];
    let mut ended = false;
    loop {
        tokio::select! {
            answer = &mut *told => return Ok((answer.ok(), held)),
            length = server.read(&mut segment), if !ended && held.len() < EARLY_DATA_BYTES_MAX => {
                let length = length.map_err(End::Failed)?;
                activity.mark();
                held.extend_from_slice(&segment[..length]);
                ended = length == 0;
                if ended && held.is_empty() {
                    return Ok((Some(Answer::Hello), held)); // it has said all, and all of that was read: its end may pass
                }
            }
        }
    }
}

/// Reads the second hello, of which `held` may be the beginning; gives what is to be sent.
async fn second_hello(server: &mut ReadHalf<'_>, held: Vec<u8>, first: &Hello, host: &str) -> Result<Vec<u8>, End> {
    let wait = Duration::from_millis(CLIENT_HELLO_WAIT_MS);
    let refused = |refusal| End::SecondHello(refusal, None);
    let gathered = timeout(wait, gather(server, held)).await.unwrap_or(Err(Refusal::TooSlow));
    let (before, second) = gathered.map_err(refused)?;
    let admitted = admit(&second, host).and_then(|()| match second.server_name == first.server_name {
        true => Ok(()),
        false => Err(Refusal::Changed),
    });
    match admitted {
        Ok(()) => Ok([before, second.bytes].concat()),
        Err(refusal) => Err(End::SecondHello(refusal, second.server_name)),
    }
}

async fn gather(server: &mut ReadHalf<'_>, held: Vec<u8>) -> Result<(Vec<u8>, Hello), Refusal> {
    let mut before = BeforeHello { unread: held, ..BeforeHello::default() };
    let mut sniffer = Sniffer::default();
    let mut segment = vec![0; SEGMENT_BYTES];
    loop {
        if before.step_over()?
            && let Some(hello) = sniffer.push(&std::mem::take(&mut before.unread))?
        {
            return Ok((before.kept, hello));
        }
        let length = server.read(&mut segment).await.map_err(|_| Refusal::Ended)?;
        if length == 0 {
            return Err(Refusal::Ended);
        }
        before.unread.extend_from_slice(&segment[..length]);
    }
}

/// What may come between the two hellos.
#[derive(Default)]
struct BeforeHello {
    unread: Vec<u8>,
    kept: Vec<u8>,
    dropped: usize,
    /// The second hello has begun: nothing is stepped over within it.
    is_over: bool,
}

impl BeforeHello {
    /// Keeps one ChangeCipherSpec and drops early data, which a server that asks for another hello has to skip unread (RFC 8446,
    /// 4.2.10); true when what is unread is the second hello's.
    fn step_over(&mut self) -> Result<bool, Refusal> {
        while !self.is_over {
            let Some((header, after)) = self.unread.split_first_chunk::<RECORD_HEADER>() else {
                let foreign = self.unread.first().is_some_and(|kind| !KINDS.contains(kind));
                return if foreign { Err(HelloError::NotTls.into()) } else { Ok(false) };
            };
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            match header {
                [CHANGE_CIPHER_SPEC, 3, _, 0, 1] if self.kept.is_empty() => match after.first() {
                    None => return Ok(false),
                    Some(1) => self.kept.extend(self.unread.drain(..RECORD_HEADER + length)),
                    Some(_) => return Err(HelloError::NotTls.into()),
                },
                [APPLICATION_DATA, 3, ..] => {
                    if self.dropped + RECORD_HEADER + length > EARLY_DATA_BYTES_MAX {
                        return Err(HelloError::TooLong.into());
                    }
                    if after.len() < length {
                        return Ok(false);
                    }
                    self.dropped += RECORD_HEADER + length;
                    self.unread.drain(..RECORD_HEADER + length);
                }
                [ALERT, 3, ..] => return Err(Refusal::GaveUp),
                [HANDSHAKE, ..] => self.is_over = true,
                _ => return Err(HelloError::NotTls.into()),
            }
        }
        Ok(true)
    }
}

/// Reads and drops until the client ends: its upstream has, without an answer to the hello.
async fn drain(server: &mut ReadHalf<'_>, activity: &Activity) -> Result<(), End> {
    let mut segment = vec![0; SEGMENT_BYTES];
    while server.read(&mut segment).await.map_err(End::Failed)? > 0 {
        activity.mark();
    }
    Ok(())
}
