//! What the egress process and the relay tell each other: one JSON datagram each over a SOCK_SEQPACKET pair,
//! at most [`crate::bounds::CREW_MESSAGE_BYTES_MAX`] bytes. The relay is the one writer of the audit log, so whatever
//! egress lets through is first reported, and dialled only when the relay has answered that the record is on disk.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Egress to relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Report {
    /// Something happened on the network.
    Net {
        /// Present when egress waits for [`Reply::Recorded`] before it acts.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ticket: Option<u64>,
        /// What happened.
        event: NetEvent,
    },
    /// Kernel events that the ring buffer had no room for, since the last report.
    Lost {
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
}

/// One network event; becomes the `net` member of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetEvent {
    /// What was done.
    pub op: NetOp,
    /// Whether it was let through.
    pub verdict: NetVerdict,
    /// Why it was refused, for people; empty when allowed.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// `inet`, `inet6`, or the number of another address family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<String>,
    /// `tcp`, `udp`, or the number of another protocol.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proto: Option<String>,
    /// Destination address as the server used it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dst_ip: Option<IpAddr>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dst_port: Option<u16>,
    /// The policy's host, or the DNS name that was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The server name of the ClientHello.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sni: Option<String>,
    /// Bytes from the upstream to the server.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_in: Option<u64>,
    /// Bytes from the server to the upstream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes_out: Option<u64>,
    /// Thread group id of the process, as the host sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// Its comm, at most 16 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comm: Option<String>,
    /// How many equal events this one stands for; repeats are aggregated.
    #[serde(default = "one")]
    pub count: u64,
}

/// The operation of a [`NetEvent`]; names the record type `net.<op>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetOp {
    /// connect, sendmsg or socket refused or allowed by a probe.
    Connect,
    /// A name asked of the stub.
    Dns,
    /// The gateway's verdict on a TLS connection.
    Sni,
    /// bind by a probe.
    Bind,
    /// A finished connection with its byte counts.
    Flow,
}

/// Let through or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum NetVerdict {
    /// Let through.
    Allowed,
    /// Refused.
    Denied,
}

const fn one() -> u64 {
    1
}
