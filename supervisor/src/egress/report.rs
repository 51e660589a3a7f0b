//! What the egress process and the relay tell each other: one JSON datagram each over a SOCK_SEQPACKET pair,
//! at most [`crate::bounds::CREW_MESSAGE_BYTES_MAX`] bytes. The relay is the one writer of the audit log, so whatever
//! egress lets through is first reported, and dialled only when the relay has answered that the record is on disk.

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::audit::net::{NetEvent, NetOp, NetVerdict};
use crate::bounds::CREW_MESSAGE_BYTES_MAX;
pub use crate::egress::channel::{Channel, ChannelError, Received, Sent};
use crate::egress::exec_events::ExecStart;
use crate::egress::file_events::FileOpen;

/// Egress to relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "nearly all reports are the large one")]
pub enum Report {
    /// Something happened on the network.
    Net {
        /// Present when egress waits for [`Reply::Recorded`] before it acts.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ticket: Option<u64>,
        /// What happened.
        event: NetEvent,
    },
    /// Programs were started, or refused.
    Exec {
        /// Which, and how many.
        start: ExecStart,
    },
    /// Files were opened for writing.
    Open {
        /// Which, and how often.
        open: FileOpen,
    },
    /// Kernel events that the ring buffer had no room for, since the last report.
    Lost {
        /// How many.
        count: u64,
    },
    /// Programs that were started or refused and are not told, since the last report.
    LostExecs {
        /// How many.
        count: u64,
    },
    /// Files that were opened for writing and are not told, since the last report.
    LostOpens {
        /// How many.
        count: u64,
    },
}

/// Relay to egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Reply {
    /// The report with this ticket is on disk: go on.
    Recorded {
        /// Its ticket.
        ticket: u64,
    },
    /// The server may start: from now on connections are dialled. Until then they are accepted and held.
    GateOpen {
        /// When, nanoseconds since boot: a kernel event of an earlier time is our own self-test's.
        opened_ns: u64,
    },
    /// The session is over: report what is still counted, then hang up.
    Finish,
}

/// Why a datagram is not a message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// Over [`CREW_MESSAGE_BYTES_MAX`].
    #[error("the message has {0} bytes, more than {CREW_MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// Not the JSON of a message of this direction.
    #[error("not a message of the egress channel")]
    Malformed(#[from] serde_json::Error),
}

/// Writes `report` as one datagram into `out`, replacing what it held.
///
/// # Errors
/// [`MessageError::TooLong`] when it would not fit one message.
pub fn encode(report: &Report, out: &mut Vec<u8>) -> Result<(), MessageError> {
    encode_message(report, out)
}

/// Writes `reply` as one datagram into `out`, replacing what it held.
///
/// # Errors
/// [`MessageError::TooLong`] when it would not fit one message.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) -> Result<(), MessageError> {
    encode_message(reply, out)
}

/// Reads one datagram from egress.
///
/// # Errors
/// When it is over the bound or no [`Report`].
pub fn decode_report(datagram: &[u8]) -> Result<Report, MessageError> {
    within_bound(datagram)?;
    Ok(serde_json::from_slice(datagram)?)
}

/// Reads one datagram from the relay.
///
/// # Errors
/// When it is over the bound or no [`Reply`].
pub fn decode_reply(datagram: &[u8]) -> Result<Reply, MessageError> {
    within_bound(datagram)?;
    Ok(serde_json::from_slice(datagram)?)
}

fn encode_message(message: &impl Serialize, out: &mut Vec<u8>) -> Result<(), MessageError> {
    out.clear();
    serde_json::to_writer(&mut *out, message)?;
    within_bound(out)
}

fn within_bound(datagram: &[u8]) -> Result<(), MessageError> {
    if datagram.len() > CREW_MESSAGE_BYTES_MAX { Err(MessageError::TooLong(datagram.len())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_replies_survive_the_channel() {
        let mut event = NetEvent::new(NetOp::Sni, NetVerdict::Denied);
        event.reason = "the server name is not the host".into();
        event.dst_ip = Some("198.18.0.2".parse().unwrap());
        event.dst_port = Some(443);
        event.sni = Some("evil.example".into());
        event.count = 7;
        let mut bytes = Vec::new();
        let start = ExecStart {
            path: Some("/bin/sh".into()),
            interpreter: None,
            cut: true,
            pid: 42,
            ppid: Some(41),
            comm: "sh".into(),
            count: 7,
            others: true,
            denied: true,
        };
        let open = FileOpen { path: Some("/out/a".into()), pid: 42, comm: "sh".into(), count: 7, others: true };
        let lost = [Report::Lost { count: 3 }, Report::LostExecs { count: 4 }, Report::LostOpens { count: 5 }];
        let told = [Report::Net { ticket: Some(u64::MAX), event }, Report::Exec { start }, Report::Open { open }];
        for report in told.into_iter().chain(lost) {
            encode(&report, &mut bytes).unwrap();
            assert_eq!(decode_report(&bytes).unwrap(), report);
        }
        for reply in [Reply::Recorded { ticket: 1 }, Reply::GateOpen { opened_ns: 7 }, Reply::Finish] {
            encode_reply(&reply, &mut bytes).unwrap();
            assert_eq!(decode_reply(&bytes).unwrap(), reply);
        }
        assert_eq!(bytes, br#"{"t":"finish"}"#);
    }

    #[test]
    fn absent_members_are_not_written_and_count_defaults_to_one() {
        let mut bytes = Vec::new();
        encode(&Report::Net { ticket: None, event: NetEvent::new(NetOp::Dns, NetVerdict::Allowed) }, &mut bytes)
            .unwrap();
        assert_eq!(bytes, br#"{"t":"net","event":{"op":"dns","verdict":"allowed","count":1}}"#);
        let read = decode_report(br#"{"t":"net","event":{"op":"dns","verdict":"allowed"}}"#).unwrap();
        assert_eq!(read, Report::Net { ticket: None, event: NetEvent::new(NetOp::Dns, NetVerdict::Allowed) });
    }

    #[test]
    fn one_byte_over_the_bound_is_refused_both_ways() {
        let mut event = NetEvent::new(NetOp::Dns, NetVerdict::Denied);
        let mut bytes = Vec::new();
        encode(&Report::Net { ticket: None, event: event.clone() }, &mut bytes).unwrap();
        let spare = CREW_MESSAGE_BYTES_MAX - bytes.len() - r#","reason":"""#.len();
        event.reason = "x".repeat(spare);
        encode(&Report::Net { ticket: None, event: event.clone() }, &mut bytes).unwrap();
        assert_eq!(bytes.len(), CREW_MESSAGE_BYTES_MAX);
        event.reason.push('x');
        let error = encode(&Report::Net { ticket: None, event }, &mut bytes).unwrap_err();
        assert!(matches!(error, MessageError::TooLong(n) if n == CREW_MESSAGE_BYTES_MAX + 1));
        assert!(matches!(decode_report(&bytes), Err(MessageError::TooLong(_))));
        assert!(matches!(decode_reply(&vec![b' '; CREW_MESSAGE_BYTES_MAX + 1]), Err(MessageError::TooLong(_))));
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for text in ["", "{}", "[]", r#"{"t":"net"}"#, r#"{"t":"recorded"}"#, r#"{"t":"lost","count":-1}"#, "\u{0}"] {
            assert!(matches!(decode_report(text.as_bytes()), Err(MessageError::Malformed(_))), "{text}");
        }
        assert!(matches!(decode_reply(br#"{"t":"lost","count":1}"#), Err(MessageError::Malformed(_))));
    }
}
