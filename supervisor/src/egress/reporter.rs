//! The egress side of the channel to the relay: reports go out in order, and whoever must not act before its record is on
//! disk waits here for the relay's word. When the channel fails, everything that waits fails.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::exec_events::ExecStart;
use super::file_events::FileOpen;
use super::repeats::Repeats;
use super::report::{Channel, ChannelError, MessageError, NetEvent, Received, Reply, Report, Sent};
use super::report::{decode_reply, encode};
use super::serve::Lost;
use super::tally::Tally;
use crate::bounds::{EGRESS_QUEUE_MAX, EGRESS_RECORD_WAIT_MS};
use crate::clock;
use crate::sys::readiness::readiness;

/// Why a report did not become a record.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The channel has ended; so does the process.
    #[error("the relay takes no more reports")]
    Closed,
    /// The relay did not confirm in [`EGRESS_RECORD_WAIT_MS`].
    #[error("the relay did not confirm the record in time")]
    Unconfirmed,
}

/// Why the channel's pumps ended.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The runtime refused the socket.
    #[error("cannot wait for the relay")]
    Wait(#[source] std::io::Error),
    /// A message that is none, or is too long.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The relay confirmed a report that was never sent.
    #[error("the relay confirmed ticket {0}, which was never given out")]
    UnknownTicket(u64),
    /// Reports have no taker any more, or the last ones did not get out in time.
    #[error("the relay takes no more reports")]
    Stuck,
}

/// What the relay has said about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The server has not started; nothing is dialled.
    Closed,
    /// Connections are dialled.
    Open {
        /// When the server's gate opened, nanoseconds since boot.
        since_ns: u64,
    },
    /// The session is over; nothing new is accepted.
    Finishing {
        /// As of [`Phase::Open`]; none where the gate never opened.
        since_ns: Option<u64>,
    },
}

/// What the queue holds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the small one is sent once")]
enum Outgoing {
    Report(Report),
    End,
}

/// Sends reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    tickets: AtomicU64,
    repeats: Mutex<Repeats<NetEvent>>,
    execs: Mutex<Tally<ExecStart>>,
    opens: Mutex<Tally<FileOpen>>,
}

/// The two halves of the pump and what they feed.
#[derive(Debug)]
pub struct Pump {
    queue: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
}

/// Makes a reporter and the pump that empties it.
#[must_use]
pub fn reporter() -> (Reporter, Pump, watch::Receiver<Phase>) {
    let (queue, rest) = mpsc::channel(EGRESS_QUEUE_MAX);
    let (phase, watcher) = watch::channel(Phase::Closed);
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        tickets: AtomicU64::new(1),
        repeats: Mutex::default(),
        execs: Mutex::default(),
        opens: Mutex::default(),
    });
    (Reporter { queue, shared: Arc::clone(&shared) }, Pump { queue: rest, shared, phase }, watcher)
}

impl Reporter {
    /// Reports `event` and waits until its record is on disk.
    ///
    /// # Errors
    /// When it will not be, or nobody says so in time: then the caller must not act.
    pub async fn record(&self, event: NetEvent) -> Result<(), ReportError> {
        let ticket = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let (confirm, confirmed) = oneshot::channel();
        lock(&self.shared.waiting).insert(ticket, confirm);
        let recorded = async {
            self.send(Report::Net { ticket: Some(ticket), event }).await?;
            confirmed.await.map_err(|_| ReportError::Closed)
        };
        let outcome = timeout(Duration::from_millis(EGRESS_RECORD_WAIT_MS), recorded).await;
        lock(&self.shared.waiting).remove(&ticket);
        outcome.unwrap_or(Err(ReportError::Unconfirmed))
    }

    /// Reports `event` as it is, without waiting for its record.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell(&self, event: NetEvent) -> Result<(), ReportError> {
        self.send(Report::Net { ticket: None, event }).await
    }

    /// Reports `event`, or counts it when its like was reported a moment ago.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell_counted(&self, event: NetEvent) -> Result<(), ReportError> {
        let first = lock(&self.shared.repeats).push(event, now_ms());
        match first {
            Some(event) => self.tell(event).await,
            None => Ok(()),
        }
    }

    /// Reports the start of a program, or counts it when there are too many.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell_exec(&self, start: ExecStart) -> Result<(), ReportError> {
        let first = lock(&self.shared.execs).push(start, now_ms());
        match first {
            Some(start) => self.send(Report::Exec { start }).await,
            None => Ok(()),
        }
    }

    /// Reports that a file was opened, or counts it when there are too many.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell_open(&self, open: FileOpen) -> Result<(), ReportError> {
        let first = lock(&self.shared.opens).push(open, now_ms());
        match first {
            Some(open) => self.send(Report::Open { open }).await,
            None => Ok(()),
        }
    }

    /// Reports the counts that are due, or all of them at the end.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell_counts(&self, all: bool) -> Result<(), ReportError> {
        let due = {
            let mut repeats = lock(&self.shared.repeats);
            if all { repeats.drain() } else { repeats.due(now_ms()) }
        };
        let started = {
            let mut execs = lock(&self.shared.execs);
            if all { execs.drain() } else { execs.due(now_ms()) }
        };
        let opened = {
            let mut opens = lock(&self.shared.opens);
            if all { opens.drain() } else { opens.due(now_ms()) }
        };
        for event in due {
            self.tell(event).await?;
        }
        for start in started {
            self.send(Report::Exec { start }).await?;
        }
        for open in opened {
            self.send(Report::Open { open }).await?;
        }
        Ok(())
    }

    /// Reports kernel events that were lost, if any were.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn tell_lost(&self, lost: Lost) -> Result<(), ReportError> {
        if lost.events > 0 {
            self.send(Report::Lost { count: lost.events }).await?;
        }
        if lost.execs > 0 {
            self.send(Report::LostExecs { count: lost.execs }).await?;
        }
        if lost.opens > 0 {
            self.send(Report::LostOpens { count: lost.opens }).await?;
        }
        Ok(())
    }

    /// Hangs up after what has been reported so far.
    ///
    /// # Errors
    /// [`ReportError::Closed`].
    pub async fn end(&self) -> Result<(), ReportError> {
        self.queue.send(Outgoing::End).await.map_err(|_| ReportError::Closed)
    }

    async fn send(&self, report: Report) -> Result<(), ReportError> {
        self.queue.send(Outgoing::Report(report)).await.map_err(|_| ReportError::Closed)
    }
}

impl Pump {
    /// Moves reports and replies until the relay hangs up or [`Reporter::end`] is reached.
    ///
    /// # Errors
    /// When the channel breaks or the relay says what it should not.
    pub async fn run(self, channel: Channel) -> Result<(), PumpError> {
        let Self { queue, shared, phase } = self;
        let ready = readiness(&channel, Interest::READABLE | Interest::WRITABLE).map_err(PumpError::Wait)?;
        // Both at once: a relay that first wants its replies read must not be kept waiting by our reports, nor we by its.
        let ended = tokio::select! {
            sent = send_reports(&channel, &ready, queue) => sent,
            received = receive_replies(&channel, &ready, &shared, &phase) => received,
        };
        lock(&shared.waiting).clear(); // whoever waits for a confirmation now fails
        ended
    }
}

async fn send_reports(
    channel: &Channel,
    ready: &AsyncFd<OwnedFd>,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(), PumpError> {
    let mut datagram = Vec::new();
    while let Some(Outgoing::Report(report)) = queue.recv().await {
        encode(&report, &mut datagram)?;
        loop {
            let mut writable = ready.writable().await.map_err(PumpError::Wait)?;
            match channel.send(&datagram)? {
                Sent::Done => break,
                Sent::WouldBlock => writable.clear_ready(),
            }
        }
    }
    Ok(())
}

async fn receive_replies(
    channel: &Channel,
    ready: &AsyncFd<OwnedFd>,
    shared: &Shared,
    phase: &watch::Sender<Phase>,
) -> Result<(), PumpError> {
    let mut datagram = Vec::new();
    loop {
        let mut readable = ready.readable().await.map_err(PumpError::Wait)?;
        match channel.recv(&mut datagram)? {
            Received::Closed => return Ok(()),
            Received::WouldBlock => readable.clear_ready(),
            Received::Message => match decode_reply(&datagram)? {
                Reply::Recorded { ticket } => confirm(shared, ticket)?,
                Reply::GateOpen { opened_ns } => advance(phase, Phase::Open { since_ns: opened_ns }),
                Reply::Finish => finish(phase),
            },
        }
    }
}

fn confirm(shared: &Shared, ticket: u64) -> Result<(), PumpError> {
    if ticket == 0 || ticket >= shared.tickets.load(Ordering::Relaxed) {
        return Err(PumpError::UnknownTicket(ticket));
    }
    // Nobody waits any more when the confirmation came too late: then the connection has been refused.
    if let Some(waiting) = lock(&shared.waiting).remove(&ticket) {
        let _ = waiting.send(());
    }
    Ok(())
}

/// A phase never goes back.
fn advance(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|now| {
        let forward = to > *now;
        *now = to.max(*now);
        forward
    });
}

/// The last phase, which keeps when the gate opened: both words may come before anybody looks.
fn finish(phase: &watch::Sender<Phase>) {
    let since_ns = match *phase.borrow() {
        Phase::Open { since_ns } => Some(since_ns),
        Phase::Closed | Phase::Finishing { .. } => None,
    };
    advance(phase, Phase::Finishing { since_ns });
}

fn now_ms() -> u64 {
    clock::now().boot_ns / 1_000_000
}

/// No holder of these locks can panic half-way through a change, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::report::{NetOp, NetVerdict, encode_reply};

    fn event() -> NetEvent {
        NetEvent::new(NetOp::Sni, NetVerdict::Allowed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_never_answers_confirms_nothing() {
        let (reporter, pump, _phase) = reporter();
        let (_relay, egress) = Channel::pair().unwrap();
        let pump = tokio::spawn(pump.run(egress));
        let begun = tokio::time::Instant::now();
        assert!(matches!(reporter.record(event()).await, Err(ReportError::Unconfirmed)));
        assert_eq!(begun.elapsed(), Duration::from_millis(EGRESS_RECORD_WAIT_MS));
        assert!(lock(&reporter.shared.waiting).is_empty());
        pump.abort();
    }

    #[test]
    fn a_session_that_ends_at_once_is_known_to_have_begun() {
        let (phase, _watcher) = watch::channel(Phase::Closed);
        advance(&phase, Phase::Open { since_ns: 7 });
        finish(&phase);
        assert_eq!(*phase.borrow(), Phase::Finishing { since_ns: Some(7) });
        finish(&phase);
        assert_eq!(*phase.borrow(), Phase::Finishing { since_ns: Some(7) });
    }

    #[tokio::test]
    async fn a_late_confirmation_is_no_error_and_a_phase_never_goes_back() {
        let (reporter, pump, mut phase) = reporter();
        let (relay, egress) = Channel::pair().unwrap();
        let pump = tokio::spawn(pump.run(egress));
        drop(tokio::time::timeout(Duration::from_millis(20), reporter.record(event())).await);
        let mut datagram = Vec::new();
        for reply in [Reply::Recorded { ticket: 1 }, Reply::Finish, Reply::GateOpen { opened_ns: 7 }] {
            encode_reply(&reply, &mut datagram).unwrap();
            assert_eq!(relay.send(&datagram).unwrap(), Sent::Done);
        }
        drop(relay);
        pump.await.unwrap().unwrap();
        assert_eq!(*phase.borrow_and_update(), Phase::Finishing { since_ns: None });
    }

    #[tokio::test]
    async fn everything_that_waits_fails_with_the_channel() {
        let (reporter, pump, _phase) = reporter();
        let (relay, egress) = Channel::pair().unwrap();
        let pump = tokio::spawn(pump.run(egress));
        let waits = tokio::spawn({
            let reporter = reporter.clone();
            async move { reporter.record(event()).await }
        });
        tokio::task::yield_now().await;
        drop(relay);
        let _ = pump.await.unwrap();
        assert!(matches!(reporter.tell(event()).await, Err(ReportError::Closed)));
        assert!(matches!(waits.await.unwrap(), Err(ReportError::Closed)));
    }

    #[tokio::test]
    async fn more_reports_than_the_socket_holds_all_arrive_in_order() {
        let (reporter, pump, _phase) = reporter();
        let (relay, egress) = Channel::pair().unwrap();
        let pump = tokio::spawn(pump.run(egress));
        let tell = tokio::spawn(async move {
            for count in 0..5000 {
                let told = NetEvent { count, ..event() };
                reporter.tell(told).await.unwrap();
            }
            reporter.end().await.unwrap();
        });
        let mut datagram = Vec::new();
        let mut next = 0;
        loop {
            match relay.recv(&mut datagram).unwrap() {
                Received::WouldBlock => tokio::task::yield_now().await,
                Received::Closed => break,
                Received::Message => {
                    let report = crate::egress::report::decode_report(&datagram).unwrap();
                    assert!(matches!(report, Report::Net { event, .. } if event.count == next));
                    next += 1;
                }
            }
        }
        assert_eq!(next, 5000);
        tell.await.unwrap();
        pump.await.unwrap().unwrap();
    }
}
