//! The gateway: takes every TCP connection that the server makes, finds the host that it means by the address it dialled,
//! and joins it to that host if the policy's rule is met and the record of it is on disk. Everything else is reset.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::accept::accept;
use super::copy::{Counts, End, copy_both_ways};
use super::hosts::{Destination, Host, HostTable};
use super::report::{NetEvent, NetOp, NetVerdict};
use super::reporter::{Phase, ReportError, Reporter};
use super::retry::copy_after_hello;
use super::tls::{self, Hello, Sniffer};
use super::upstreams::Upstreams;
use crate::bounds::{GATEWAY_CONNECTIONS_MAX, GATEWAY_IDLE_MS, GATEWAY_SNIFF_WAIT_MS};
use crate::policy::TlsMode;
use crate::weaken;

/// Serves connections. Shared by all listeners of a session, and so are its caps.
pub struct Gateway {
    hosts: Arc<HostTable>,
    upstreams: Arc<Upstreams>,
    reporter: Reporter,
    phase: watch::Receiver<Phase>,
    slots: Arc<Semaphore>,
}

/// Why a connection is reset: the event that says so, or nobody left to say it to.
type Refused = Option<NetEvent>;

impl Gateway {
    /// A gateway to `hosts` that has nothing dialled before `phase` is [`Phase::Open`].
    #[must_use]
    pub fn new(
        hosts: Arc<HostTable>,
        upstreams: Arc<Upstreams>,
        reporter: Reporter,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { hosts, upstreams, reporter, phase, slots: Arc::new(Semaphore::new(GATEWAY_CONNECTIONS_MAX)) }
    }

    /// Accepts until the listener fails or the reports have no taker.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        loop {
            let mut stream = accept(&listener).await?;
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                let gateway = Arc::clone(&self);
                tokio::spawn(async move {
                    gateway.connection(stream).await;
                    drop(slot);
                });
                continue;
            }
            let event = event_of(&mut stream, NetOp::Connect).denied("more connections than a session may hold open");
            reset(stream);
            if self.reporter.tell_counted(event).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Ends when no connection is open.
    pub async fn idle(&self) {
        let all = u32::try_from(GATEWAY_CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed, so the only outcome is that all slots are free.
        let _ = self.slots.acquire_many(all).await;
    }

    async fn connection(&self, mut stream: TcpStream) {
        if let Err(refused) = self.attend(&mut stream).await {
            reset(stream);
            // No taker: the process is ending, and the connection is already cut.
            let _ = match refused {
                Some(flow) if flow.op == NetOp::Flow => self.reporter.tell(flow).await, // its byte counts are its own
                Some(event) => self.reporter.tell_counted(event).await,
                None => Ok(()),
            };
        }
    }

    async fn attend(&self, stream: &mut TcpStream) -> Result<(), Refused> {
        let (host, port) = self.host_of(stream).await?;
        self.wait_for_gate().await?;
        let (hello, event) = match host.plan.tls {
            TlsMode::Passthrough => hello_for(&host, stream).await.map(|(hello, event)| (Some(hello), event))?,
            TlsMode::None => (None, event_of(stream, NetOp::Connect).host(&host)),
        };
        self.record(event).await?;
        let event = event_of(stream, NetOp::Connect).host(&host);
        let mut upstream = match self.upstreams.connect(host.place, port).await {
            Ok(upstream) => upstream,
            Err(error) if error.is_denial() => return Err(Some(event.denied(&error.to_string()))),
            Err(error) => return Err(Some(flow(event, &Counts::default(), &error.to_string()))),
        };
        let counts = Counts::default();
        // Small requests wait for nobody; TCP_NODELAY can only fail on a socket that is gone, which copying will notice.
        let _ = (stream.set_nodelay(true), upstream.set_nodelay(true));
        let charge = |bytes| host.charge(bytes);
        let end = match &hello {
            Some(hello) => copy_after_hello(stream, &mut upstream, hello, &host.plan.name, &counts, charge).await,
            None => copy_both_ways(stream, &mut upstream, b"", &counts, charge).await,
        };
        let event = match end {
            End::Complete => {
                let told = self.reporter.tell(flow(event, &counts, "")).await;
                return told.map_err(|_| None);
            }
            End::Failed(error) => flow(event, &counts, &format!("cut: {error}")),
            End::Idle => flow(event, &counts, &format!("cut: silent for {} s", GATEWAY_IDLE_MS / 1000)),
            End::OverBudget => flow(event, &counts, "").denied(&over_budget(&host)),
            End::NoServerHello => {
                flow(event, &counts, "").denied("cut: the answer to the ClientHello is not a ServerHello")
            }
            End::SecondHello(refusal, name) => {
                let mut denied = event_of(stream, NetOp::Sni).host(&host);
                denied.sni = name;
                let denied = denied.denied(&format!("after a HelloRetryRequest: {refusal}"));
                self.reporter.tell_counted(denied).await.map_err(|_| None)?;
                flow(event, &counts, "cut: the second ClientHello is refused")
            }
        };
        reset(upstream);
        Err(Some(event))
    }

    /// The host that the server means: the local address of the accepted socket is the address that it dialled.
    async fn host_of(&self, stream: &mut TcpStream) -> Result<(Arc<Host>, u16), Refused> {
        let local = stream.local_addr().map_err(|_| None)?; // reset before it was accepted
        let (event, reason) = match self.hosts.at(local.ip(), local.port()) {
            Destination::Allowed(host) => return Ok((host, local.port())),
            Destination::OtherPort(host) if !weaken::in_force("gateway-address") => return Ok((host, local.port())),
            Destination::OtherPort(host) => {
                (event_of(stream, NetOp::Connect).host(&host), "a port that the policy does not allow for this host")
            }
            Destination::Unknown => {
                (event_of(stream, NetOp::Connect), "an address that stands for no host of the policy")
            }
        };
        let mut event = event.denied(reason);
        let wait = Duration::from_millis(GATEWAY_SNIFF_WAIT_MS);
        if let Ok(Some(name)) = timeout(wait, sniff_name(stream)).await {
            event.op = NetOp::Sni;
            event.sni = Some(name);
        }
        Err(Some(event))
    }

    /// The self-test connects before the server starts and may not cause a single packet outside.
    async fn wait_for_gate(&self) -> Result<(), Refused> {
        match self.phase.clone().wait_for(|phase| *phase != Phase::Closed).await.as_deref() {
            Ok(Phase::Open { .. }) => Ok(()),
            _ => Err(None),
        }
    }

    /// Returns when the record of `event` is on disk; until then nothing has gone out.
    async fn record(&self, event: NetEvent) -> Result<(), Refused> {
        if !weaken::in_force("egress-record-first") {
            return self.reporter.tell(event).await.map_err(|_| None);
        }
        match self.reporter.record(event.clone()).await {
            Ok(()) => Ok(()),
            Err(ReportError::Closed) => Err(None),
            Err(error @ ReportError::Unconfirmed) => Err(Some(event.denied(&error.to_string()))),
        }
    }
}

/// Reads the ClientHello and admits it to `host`; gives it and the event to record.
async fn hello_for(host: &Host, stream: &mut TcpStream) -> Result<(Hello, NetEvent), Refused> {
    let mut event = event_of(stream, NetOp::Sni).host(host);
    let hello = match tls::read_hello(stream).await {
        Ok(hello) => hello,
        Err(refusal) => return Err(Some(event.denied(&refusal.to_string()))),
    };
    event.sni.clone_from(&hello.server_name);
    match tls::admit(&hello, &host.plan.name) {
        Ok(()) => Ok((hello, event)),
        Err(refusal) => Err(Some(event.denied(&refusal.to_string()))),
    }
}

/// The server name of whatever comes, for the record of a connection that is refused anyway.
async fn sniff_name(stream: &mut TcpStream) -> Option<String> {
    let mut sniffer = Sniffer::default();
    let mut segment = [0; 2048];
    loop {
        let length = stream.read(&mut segment).await.ok().filter(|length| *length > 0)?;
        if let Some(hello) = sniffer.push(&segment[..length]).ok()? {
            return hello.server_name;
        }
    }
}

/// Closes with RST: what the kernel still holds in either direction is thrown away, and the peer sees a failure, not an end.
fn reset(stream: TcpStream) {
    // It fails only on a socket that is already gone.
    let _ = stream.set_zero_linger();
    drop(stream);
}

fn over_budget(host: &Host) -> String {
    format!("cut: the next bytes would be over max_bytes_out ({})", host.plan.max_bytes_out.unwrap_or(u64::MAX))
}

fn event_of(stream: &mut TcpStream, op: NetOp) -> NetEvent {
    let mut event = NetEvent::new(op, NetVerdict::Allowed);
    event.proto = Some("tcp".into());
    if let Ok(local) = stream.local_addr() {
        let ip = local.ip().to_canonical();
        event.family = Some(if ip.is_ipv4() { "inet" } else { "inet6" }.into());
        event.dst_ip = Some(ip);
        event.dst_port = Some(local.port());
    }
    event
}

/// The record of a connection that has ended; `mishap` says what went wrong, if anything did.
fn flow(mut event: NetEvent, counts: &Counts, mishap: &str) -> NetEvent {
    event.op = NetOp::Flow;
    event.reason = mishap.into();
    event.bytes_in = Some(counts.bytes_in.load(Ordering::Relaxed));
    event.bytes_out = Some(counts.bytes_out.load(Ordering::Relaxed));
    event
}

impl NetEvent {
    fn denied(mut self, reason: &str) -> Self {
        self.verdict = NetVerdict::Denied;
        self.reason = reason.into();
        self
    }

    fn host(mut self, host: &Host) -> Self {
        self.host = Some(host.plan.name.clone());
        self
    }
}
