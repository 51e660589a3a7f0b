//! A network event as the egress process tells it and a record shows it.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
    /// Made by our own self-test, before the server's first instruction.
    #[serde(skip_serializing_if = "is_false", default)]
    pub self_test: bool,
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

impl NetEvent {
    /// An event of which nothing is known but what was done and whether it was let through.
    #[must_use]
    pub const fn new(op: NetOp, verdict: NetVerdict) -> Self {
        Self {
            op,
            verdict,
            reason: String::new(),
            family: None,
            proto: None,
            dst_ip: None,
            dst_port: None,
            host: None,
            sni: None,
            bytes_in: None,
            bytes_out: None,
            pid: None,
            comm: None,
            self_test: false,
            count: 1,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

const fn one() -> u64 {
    1
}
