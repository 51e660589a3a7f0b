//! What egress reports becomes a record; what waits for its record gets its answer.

use super::pump::RelayError;
use crate::audit::{AuditError, Effect, Event, Gap, Journal, Kind, Severity};
use crate::clock::Now;
use crate::egress::channel::{Channel, ChannelError, Received, Sent};
use crate::egress::report::{self, MessageError, NetOp, NetVerdict, Reply, Report};

/// Reports handled in one turn, so that a flood from the server cannot starve the pipe.
const REPORTS_A_TURN: usize = 64;

/// Why egress is of no more use: the session ends.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The channel broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Egress sent something that is no report.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Egress does not read its answers.
    #[error("egress does not read its answers")]
    Deaf,
}

/// Whether there is more to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Heard {
    /// Nothing more now.
    Enough,
    /// Egress hung up.
    End,
}

/// The relay's end of the channel to egress.
pub(super) struct EgressDesk {
    channel: Channel,
    buffer: Vec<u8>,
}

impl EgressDesk {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, buffer: Vec::new() }
    }

    pub(super) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.channel)
    }

    /// Tells egress something.
    pub(super) fn tell(&mut self, reply: Reply) -> Result<(), DeskError> {
        report::encode_reply(&reply, &mut self.buffer)?;
        match self.channel.send(&self.buffer)? {
            Sent::Done => Ok(()),
            Sent::WouldBlock => Err(DeskError::Deaf),
        }
    }

    /// Records what egress has to say. `calls` are the calls in flight: a flow belongs to one of them.
    pub(super) fn hear(&mut self, now: Now, calls: &[String], journal: &mut Journal) -> Result<Heard, RelayError> {
        let corr = calls.join(",");
        for _ in 0..REPORTS_A_TURN {
            match self.channel.recv(&mut self.buffer).map_err(DeskError::from)? {
                Received::WouldBlock => return Ok(Heard::Enough),
                Received::Closed => return Ok(Heard::End),
                Received::Message => {}
            }
            let report = report::decode_report(&self.buffer).map_err(DeskError::from)?;
            if let Some(ticket) = record(&report, now, &corr, journal)? {
                self.tell(Reply::Recorded { ticket })?;
            }
        }
        Ok(Heard::Enough)
    }
}

/// Writes one record; the ticket that waits for it.
fn record(report: &Report, now: Now, corr: &str, journal: &mut Journal) -> Result<Option<u64>, AuditError> {
    match report {
        Report::Lost { count } => {
            let mut event = Event::new(Kind::AuditGap);
            event.gap = Some(Gap { source: "ring", count: *count });
            let _on_disk = journal.append(now, &event)?;
            Ok(None)
        }
        Report::Net { ticket, event: net } => {
            let kind = match net.op {
                NetOp::Connect => Kind::NetConnect,
                NetOp::Dns => Kind::NetDns,
                NetOp::Sni => Kind::NetSni,
                NetOp::Bind => Kind::NetBind,
                NetOp::Flow => Kind::NetFlow,
            };
            let mut event = Event::new(kind).with_effect(match net.verdict {
                NetVerdict::Allowed => Effect::Allowed,
                NetVerdict::Denied => Effect::Denied,
            });
            event.severity = net.self_test.then_some(Severity::Info);
            event.net = Some(net);
            event.corr = Some(corr).filter(|corr| !corr.is_empty());
            let _on_disk = journal.append(now, &event)?;
            Ok(*ticket)
        }
    }
}
