//! The egress process from its runtime to its end.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use intercept_sandbox_abi as abi;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::dial_link::DialLinkError;
use super::dns;
use super::exec_events::ExecStart;
use super::file_events::FileOpen;
use super::gateway::Gateway;
use super::hosts::HostTable;
use super::report::{Channel, ChannelError, NetEvent};
use super::reporter::{Phase, PumpError, ReportError, Reporter, reporter};
use super::upstreams::Upstreams;
use super::wall::Listeners;
use crate::bounds::{EGRESS_FINISH_WAIT_MS, EGRESS_RECORD_WAIT_MS, REPEATS_PAUSE_MIN_MS};
use crate::sandbox::plan::NetworkPlan;
use crate::sys::readiness::readiness;

/// Kernel events taken before others get their turn.
const EVENTS_AT_ONCE: usize = 64;
/// Kernel events taken before losses, counts and the end are looked after: as many as the ring holds, so that one round takes all that
/// was there when it began.
const EVENTS_A_ROUND: usize = abi::RING_BYTES as usize / abi::EVENT_BYTES;

/// What the kernel saw.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all events are the large one")]
pub enum KernelEvent {
    /// The server's network.
    Net(NetEvent),
    /// A program that was started, or refused.
    Exec(ExecStart),
    /// A file that was opened for writing.
    Open(FileOpen),
}

/// Events that the kernel had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Of the network.
    pub events: u64,
    /// Programs that were started, or refused.
    pub execs: u64,
    /// Files that were opened for writing.
    pub opens: u64,
}

/// Where kernel events come from: a descriptor that polls readable, and what to read then.
pub trait EventSource: AsFd {
    /// The next event, or `None` when there is none now.
    fn next(&mut self) -> Option<KernelEvent>;

    /// How many events the kernel had no room for since the last call.
    fn lost(&mut self) -> Lost;

    /// The server's gate opened at `since_ns`, nanoseconds since boot: what is older is the self-test's. Called before the
    /// first event is read.
    fn gate_opened(&mut self, since_ns: u64);
}

/// No kernel events: the type to name where there are none.
#[derive(Debug)]
pub enum NoEvents {}

impl AsFd for NoEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

impl EventSource for NoEvents {
    fn next(&mut self) -> Option<KernelEvent> {
        match *self {}
    }

    fn lost(&mut self) -> Lost {
        match *self {}
    }

    fn gate_opened(&mut self, _since_ns: u64) {
        match *self {}
    }
}

/// Everything that the egress process has; it opens nothing more.
#[derive(Debug)]
pub struct EgressParts<E: EventSource = NoEvents> {
    /// Its sockets.
    pub listeners: Listeners,
    /// Kernel events, where the probes are attached.
    pub events: Option<E>,
    /// The allowed hosts.
    pub network: NetworkPlan,
    /// SOCK_SEQPACKET to the relay.
    pub report: OwnedFd,
    /// SOCK_SEQPACKET to the dialer; none where the policy allows no host.
    pub dialer: Option<OwnedFd>,
}

impl<E: EventSource> EgressParts<E> {
    /// Every descriptor, for the confinement to keep; `events` says which are the kernel's.
    #[must_use]
    pub fn descriptors(&self, events: impl FnOnce(&E) -> Vec<RawFd>) -> Vec<RawFd> {
        let Listeners { gateway, dns_udp, dns_tcp, fallback } = &self.listeners;
        let mut all = vec![gateway.as_raw_fd(), dns_udp.as_raw_fd(), dns_tcp.as_raw_fd(), self.report.as_raw_fd()];
        all.extend(fallback.iter().map(|(_, listener)| listener.as_raw_fd()));
        all.extend(self.dialer.as_ref().map(AsRawFd::as_raw_fd));
        all.extend(self.events.as_ref().map(events).into_iter().flatten());
        all
    }
}

/// Why the egress process ended by itself. Whatever it is, the server's road ends with it.
#[derive(Debug, Error)]
pub enum EgressError {
    /// No runtime.
    #[error("cannot start the egress runtime")]
    Runtime(#[source] io::Error),
    /// A socket cannot be served.
    #[error("cannot serve the {0}")]
    Socket(&'static str, #[source] io::Error),
    /// The dialer cannot be asked.
    #[error(transparent)]
    Dialer(#[from] DialLinkError),
    /// The report socket cannot be used.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Talking to the relay failed.
    #[error("reports no longer reach the relay")]
    Relay(#[from] PumpError),
    /// A task of ours died.
    #[error("a part of egress died")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves until the relay hangs up or says [`Reply::Finish`](super::report::Reply::Finish). Call it in a confined process
/// that has no other thread; it makes the runtime, starts no thread and opens no file.
///
/// # Errors
/// [`EgressError`]. The caller ends the process in either case.
pub fn serve<E: EventSource>(parts: EgressParts<E>) -> Result<(), EgressError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(EgressError::Runtime)?;
    runtime.block_on(run(parts))
}

async fn run<E: EventSource>(parts: EgressParts<E>) -> Result<(), EgressError> {
    let EgressParts { listeners, mut events, network, report, dialer } = parts;
    let (reporter, pump, phase) = reporter();
    let hosts = Arc::new(HostTable::new(&network));
    let upstreams = Arc::new(Upstreams::new(dialer)?);
    let gateway = Arc::new(Gateway::new(Arc::clone(&hosts), Arc::clone(&upstreams), reporter.clone(), phase.clone()));
    let mut services = start(listeners, &gateway, &hosts, &reporter)?;
    let mut pump = pin!(pump.run(Channel::new(report)?));
    let mut answers = pin!(upstreams.hear());
    tokio::select! {
        ended = &mut pump => return Ok(ended?),
        failed = first_failure(&mut services) => return Err(failed),
        broken = &mut answers => return Err(broken.into()),
        told = watch_kernel(&mut events, &reporter, phase) => told?, // until the relay wants the rest
    }
    // Nothing new is taken, what is open may end, and what the kernel told last, what it had no room for and what was counted is told.
    services.shutdown().await;
    let rest = async {
        // Connections that stay are cut when the process ends; they have had their time.
        let _ = timeout(Duration::from_millis(EGRESS_FINISH_WAIT_MS), gateway.idle()).await;
        // The server has ended, so one round is all of it.
        if let Some(source) = &mut events {
            let _more = tell_events(source, &reporter).await?;
        }
        reporter.tell_counts(true).await?;
        reporter.end().await
    };
    let finish = async {
        tokio::select! {
            (ended, _) = async { tokio::join!(pump, rest) } => Ok(ended?),
            broken = answers => Err(broken.into()),
        }
    };
    match timeout(Duration::from_millis(EGRESS_RECORD_WAIT_MS), finish).await {
        Ok(ended) => ended,
        Err(_) => Err(PumpError::Stuck.into()),
    }
}

fn start(
    listeners: Listeners,
    gateway: &Arc<Gateway>,
    hosts: &Arc<HostTable>,
    reporter: &Reporter,
) -> Result<JoinSet<Result<(), EgressError>>, EgressError> {
    let mut services = JoinSet::new();
    let fallback = listeners.fallback.into_iter().map(|(_, listener)| listener);
    for listener in std::iter::once(listeners.gateway).chain(fallback) {
        let failed = |error| EgressError::Socket("gateway", error);
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let gateway = Arc::clone(gateway);
        services.spawn(async move { gateway.serve(listener).await.map_err(failed) });
    }
    let failed = |error| EgressError::Socket("DNS stub", error);
    let udp = tokio::net::UdpSocket::from_std(listeners.dns_udp).map_err(failed)?;
    let tcp = tokio::net::TcpListener::from_std(listeners.dns_tcp).map_err(failed)?;
    let (for_udp, for_tcp) = ((Arc::clone(hosts), reporter.clone()), (Arc::clone(hosts), reporter.clone()));
    services.spawn(async move { dns::serve_udp(udp, for_udp.0, for_udp.1).await.map_err(failed) });
    services.spawn(async move { dns::serve_tcp(tcp, for_tcp.0, for_tcp.1).await.map_err(failed) });
    Ok(services)
}

/// No service ends while the relay is there, so the first that does ends everything.
async fn first_failure(services: &mut JoinSet<Result<(), EgressError>>) -> EgressError {
    match services.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => PumpError::Stuck.into(),
    }
}

/// Tells kernel events and, once a second, what has been counted, until the session finishes. It is never dropped half-way through a
/// report but by a failure: an event that was taken is told.
async fn watch_kernel<E: EventSource>(
    events: &mut Option<E>,
    reporter: &Reporter,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), EgressError> {
    // The ring holds what the self-test did until it can be told from what the server does.
    let since_ns = match phase.wait_for(|phase| *phase != Phase::Closed).await.as_deref() {
        Ok(Phase::Open { since_ns } | Phase::Finishing { since_ns: Some(since_ns) }) => *since_ns,
        // The server never ran, or the pump has gone, which its own branch notices.
        Ok(Phase::Closed | Phase::Finishing { since_ns: None }) | Err(_) => u64::MAX,
    };
    let failed = |error| EgressError::Socket("kernel event ring", error);
    let mut events = match events {
        Some(source) => {
            source.gate_opened(since_ns);
            Some((readiness(&*source, Interest::READABLE).map_err(failed)?, source))
        }
        None => None,
    };
    let mut tick = interval(Duration::from_millis(REPEATS_PAUSE_MIN_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        let ready = events.as_ref().map(|(ready, _)| ready);
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| matches!(phase, Phase::Finishing { .. })) => return Ok(()),
            _ = tick.tick() => reporter.tell_counts(false).await.map_err(gone)?,
            () = yield_now(), if more => {}
            // Cleared before the ring is emptied: what comes in between polls readable again.
            cleared = cleared(ready), if !more => cleared.map_err(failed)?,
        }
        if let Some((_, source)) = &mut events {
            more = tell_events(&mut **source, reporter).await.map_err(gone)?;
        }
    }
}

/// Waits until there is something to read, and forgets that there was; for good where there is no ring.
async fn cleared(ready: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match ready {
        Some(ready) => ready.readable().await.map(|mut readable| readable.clear_ready()),
        None => pending().await,
    }
}

/// Tells what is in the ring, a round of it, and what there was no room for; whether there may be more.
async fn tell_events(events: &mut impl EventSource, reporter: &Reporter) -> Result<bool, ReportError> {
    for taken in 1..=EVENTS_A_ROUND {
        match events.next() {
            Some(KernelEvent::Net(event)) => reporter.tell_counted(event).await?,
            Some(KernelEvent::Exec(start)) => reporter.tell_exec(start).await?,
            Some(KernelEvent::Open(open)) => reporter.tell_open(open).await?,
            None => {
                reporter.tell_lost(events.lost()).await?;
                return Ok(false);
            }
        }
        if taken % EVENTS_AT_ONCE == 0 {
            yield_now().await;
        }
    }
    reporter.tell_lost(events.lost()).await?;
    Ok(true)
}

fn gone(_: ReportError) -> EgressError {
    PumpError::Stuck.into()
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
