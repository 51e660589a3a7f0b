//! The egress process from its runtime to its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::Interest;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::dial::Dialer;
use super::dns;
use super::gateway::Gateway;
use super::hosts::HostTable;
use super::report::{Channel, ChannelError, NetEvent};
use super::reporter::{Phase, PumpError, ReportError, Reporter, reporter};
use super::system_dns::{SystemDns, SystemDnsError};
use super::wall::Listeners;
use crate::bounds::{EGRESS_FINISH_WAIT_MS, EGRESS_RECORD_WAIT_MS, REPEATS_PAUSE_MIN_MS};
use crate::sandbox::plan::NetworkPlan;
use crate::sys::readiness::readiness;

/// Kernel events taken before others get their turn.
const EVENTS_AT_ONCE: usize = 64;

/// Where kernel events come from: a descriptor that polls readable, and what to read then.
pub trait EventSource: AsFd {
    /// The next event, or `None` when there is none now.
    fn next(&mut self) -> Option<NetEvent>;

    /// How many events the kernel had no room for since the last call.
    fn lost(&mut self) -> u64;

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
    fn next(&mut self) -> Option<NetEvent> {
        match *self {}
    }

    fn lost(&mut self) -> u64 {
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
    /// The host's resolver settings.
    pub upstream_dns: SystemDns,
}

impl<E: EventSource> EgressParts<E> {
    /// Every descriptor, for the confinement to keep; `events` says which are the kernel's.
    #[must_use]
    pub fn descriptors(&self, events: impl FnOnce(&E) -> Vec<RawFd>) -> Vec<RawFd> {
        let Listeners { gateway, dns_udp, dns_tcp, fallback } = &self.listeners;
        let mut all = vec![gateway.as_raw_fd(), dns_udp.as_raw_fd(), dns_tcp.as_raw_fd(), self.report.as_raw_fd()];
        all.extend(fallback.iter().map(|(_, listener)| listener.as_raw_fd()));
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
    /// The resolver settings do not work.
    #[error(transparent)]
    Dns(#[from] SystemDnsError),
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
    let EgressParts { listeners, events, network, report, upstream_dns } = parts;
    let (reporter, pump, phase) = reporter();
    let hosts = Arc::new(HostTable::new(&network));
    let dialer = Dialer::new(upstream_dns.resolver()?, network.connect_to);
    let gateway = Arc::new(Gateway::new(Arc::clone(&hosts), dialer, reporter.clone(), phase.clone()));
    let mut services = start(listeners, &gateway, &hosts, &reporter)?;
    let mut pump = pin!(pump.run(Channel::new(report)?));
    tokio::select! {
        ended = &mut pump => return Ok(ended?),
        failed = first_failure(&mut services) => return Err(failed),
        told = watch_kernel(events, &reporter, phase.clone()) => told?,
        () = finishing(phase) => {}
    }
    // The relay wants the rest: nothing new is taken, what is open may end, what was counted is told.
    services.shutdown().await;
    let rest = async {
        // Connections that stay are cut when the process ends; they have had their time.
        let _ = timeout(Duration::from_millis(EGRESS_FINISH_WAIT_MS), gateway.idle()).await;
        reporter.tell_counts(true).await?;
        reporter.end().await
    };
    let finish = async { tokio::join!(pump, rest) };
    match timeout(Duration::from_millis(EGRESS_RECORD_WAIT_MS), finish).await {
        Ok((ended, _)) => Ok(ended?),
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

async fn finishing(mut phase: watch::Receiver<Phase>) {
    // An error means that the pump has gone, which its own branch notices.
    let _ = phase.wait_for(|phase| *phase == Phase::Finishing).await;
}

/// Tells kernel events and, once a second, what has been counted. Never ends but by a failure.
async fn watch_kernel<E: EventSource>(
    mut events: Option<E>,
    reporter: &Reporter,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), EgressError> {
    // The ring holds what the self-test did until it can be told from what the server does.
    let since_ns = match phase.wait_for(|phase| *phase != Phase::Closed).await.as_deref() {
        Ok(Phase::Open { since_ns }) => *since_ns,
        // The server never ran, or the pump has gone, which its own branch notices.
        Ok(Phase::Closed | Phase::Finishing) | Err(_) => u64::MAX,
    };
    if let Some(source) = &mut events {
        source.gate_opened(since_ns);
    }
    let failed = |error| EgressError::Socket("kernel event ring", error);
    let mut events = match events {
        Some(source) => Some((readiness(&source, Interest::READABLE).map_err(failed)?, source)),
        None => None,
    };
    let mut tick = interval(Duration::from_millis(REPEATS_PAUSE_MIN_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = match &mut events {
            None => {
                tick.tick().await;
                reporter.tell_counts(false).await
            }
            Some((ready, source)) => {
                tokio::select! {
                    // Cleared before the ring is emptied: what comes in between polls readable again.
                    readable = ready.readable() => readable.map_err(failed)?.clear_ready(),
                    _ = tick.tick() => reporter.tell_counts(false).await.map_err(gone)?,
                }
                tell_events(source, reporter).await
            }
        };
        told.map_err(gone)?;
    }
}

async fn tell_events(events: &mut impl EventSource, reporter: &Reporter) -> Result<(), ReportError> {
    let mut taken = 0;
    while let Some(event) = events.next() {
        reporter.tell_counted(event).await?;
        taken += 1;
        if taken % EVENTS_AT_ONCE == 0 {
            yield_now().await;
        }
    }
    match events.lost() {
        0 => Ok(()),
        count => reporter.tell_lost(count).await,
    }
}

fn gone(_: ReportError) -> EgressError {
    PumpError::Stuck.into()
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
