//! The dialer process: it alone opens connections to the outside, and only to the hosts and ports of the policy.
//!
//! It holds the policy's list, resolves, checks addresses, connects ([`super::dial`]) and hands the connection to egress. Of
//! connections it never reads a byte; what it reads from outside is the resolvers' answers. Egress, which reads what server
//! and peer wrote, opens no socket: whoever takes egress over can ask for what the policy allows, at a bounded pace, and for
//! nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::dial::{DialError, Dialer};
use super::dial_link::{Answer, DialLink, DialLinkError, QUESTION_BYTES, Question};
use super::system_dns::{SystemDns, SystemDnsError};
use crate::bounds::{DIALS_AT_ONCE_MAX, DIALS_PER_S_MAX, GATEWAY_CONNECTIONS_MAX};
use crate::sandbox::plan::{NetworkPlan, PlannedHost};
use crate::weaken;

/// Exit code of a dialer that was asked for what egress never asks for.
pub const OVERSTEPPED: u8 = 2;

/// Why the dialer ended by itself.
#[derive(Debug, Error)]
pub enum DialerError {
    /// No runtime.
    #[error("cannot start the dialer's runtime")]
    Runtime(#[source] io::Error),
    /// The host's resolver settings.
    #[error(transparent)]
    Dns(#[from] SystemDnsError),
    /// The socket to egress.
    #[error(transparent)]
    Link(#[from] DialLinkError),
    /// Egress, whose list is the same, asks for something else: it is not ours any more.
    #[error("egress asked for {0}: it was taken over, or is broken")]
    Overstepped(&'static str),
}

/// Everything that the process has.
#[derive(Debug)]
pub struct DialerParts {
    link: OwnedFd,
    network: NetworkPlan,
    dns: SystemDns,
}

impl DialerParts {
    /// Reads what stands in files, the host's resolver settings. Call it in the process that dials, before confinement.
    ///
    /// # Errors
    /// [`DialerError::Dns`].
    pub fn prepare(network: NetworkPlan, link: OwnedFd) -> Result<Self, DialerError> {
        Ok(Self { link, network, dns: SystemDns::read()? })
    }

    /// The one descriptor, to be kept open by the confinement.
    #[must_use]
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.link.as_fd()
    }

    #[cfg(test)]
    pub(super) fn of(network: NetworkPlan, link: OwnedFd, dns: SystemDns) -> Self {
        Self { link, network, dns }
    }
}

/// Dials what egress asks for until it hangs up. Call it in a confined process; it starts no thread and opens no file.
///
/// # Errors
/// [`DialerError`]. The caller ends the process in either case.
pub fn serve(parts: DialerParts) -> Result<(), DialerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(DialerError::Runtime)?.block_on(run(parts))
}

async fn run(parts: DialerParts) -> Result<(), DialerError> {
    let DialerParts { link, network, dns } = parts;
    let link = Arc::new(DialLink::new(link)?);
    let dialer = Arc::new(Dialer::new(dns.resolver()?, network.connect_to));
    let gone = Arc::new(Notify::new());
    tokio::select! {
        ended = dial_all(&link, &dialer, &network.hosts, &gone) => ended,
        // Nothing more is dialled for somebody who no longer listens.
        () = gone.notified() => Ok(()),
    }
}

/// Dials what egress asks for, until it hangs up.
async fn dial_all(
    link: &Arc<DialLink>,
    dialer: &Arc<Dialer>,
    hosts: &[PlannedHost],
    gone: &Arc<Notify>,
) -> Result<(), DialerError> {
    let in_flight = Arc::new(Semaphore::new(GATEWAY_CONNECTIONS_MAX));
    let mut pace = Pace::rested();
    while let Some(question) = ask(link).await? {
        let name = allowed(hosts, question)?.name.clone();
        pace.turn().await;
        // Egress has as many connections at most. What is over waits unread, and so in the end does whoever asks.
        let Ok(slot) = Arc::clone(&in_flight).acquire_owned().await else { return Ok(()) }; // never closed
        let (link, dialer, gone) = (Arc::clone(link), Arc::clone(dialer), Arc::clone(gone));
        tokio::spawn(async move {
            let dialled = dialer.dial(&name, question.port).await;
            if answer(&link, question.ticket, dialled).await.is_err() {
                gone.notify_one();
            }
            drop(slot);
        });
    }
    Ok(())
}

/// The next question; none when egress has hung up.
async fn ask(link: &DialLink) -> Result<Option<Question>, DialerError> {
    let mut datagram = [0; QUESTION_BYTES + 1]; // one over shows
    let question = match link.receive_alone(&mut datagram).await.map_err(DialLinkError::Broken)? {
        Some(0) => return Ok(None),
        Some(length) => Question::decode(&datagram[..length]),
        None => return Err(DialerError::Overstepped("nothing, but sent descriptors")),
    };
    question.map(Some).ok_or(DialerError::Overstepped("something that is no question"))
}

/// The host that is meant, if the policy allows it and the port.
fn allowed(hosts: &[PlannedHost], question: Question) -> Result<&PlannedHost, DialerError> {
    let host = hosts.get(usize::from(question.host)).ok_or(DialerError::Overstepped("a host that is not listed"))?;
    if !host.ports.contains(&question.port) && weaken::in_force("dialer-list") {
        return Err(DialerError::Overstepped("a port that is not listed"));
    }
    Ok(host)
}

async fn answer(link: &DialLink, ticket: u64, dialled: Result<TcpStream, DialError>) -> Result<(), Errno> {
    let failed = |text: String| Answer::Failed(text).encode(ticket);
    let stream = match dialled {
        Ok(stream) => stream,
        Err(error) if error.is_denial() => {
            return link.send(&Answer::Refused(error.to_string()).encode(ticket), None).await;
        }
        Err(error) => return link.send(&failed(error.to_string()), None).await,
    };
    match link.send(&Answer::Connected.encode(ticket), Some(stream.as_fd())).await {
        Ok(()) => Ok(()),
        Err(errno @ (Errno::EPIPE | Errno::ECONNRESET)) => Err(errno),
        Err(errno) => link.send(&failed(format!("the connection cannot be handed over: {}", errno.desc())), None).await,
    }
}

/// How fast egress may have dials begun (GCRA, ITU-T I.371): a burst after a rest, then one at a time.
struct Pace {
    /// When it will have rested for a whole burst.
    rested: Instant,
}

impl Pace {
    const EACH: Duration = Duration::from_nanos(1_000_000_000 / DIALS_PER_S_MAX as u64);

    fn rested() -> Self {
        Self { rested: Instant::now() }
    }

    /// Waits until the next dial may begin.
    async fn turn(&mut self) {
        let now = Instant::now();
        self.rested = self.rested.max(now) + Self::EACH;
        match self.rested.checked_sub(Self::EACH * DIALS_AT_ONCE_MAX) {
            Some(due) if due > now && weaken::in_force("dialer-pace") => sleep_until(due).await,
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "dialer_tests.rs"]
mod tests;
