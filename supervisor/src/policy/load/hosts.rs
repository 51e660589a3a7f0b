//! `sandbox.network.allow:`.

use std::collections::{HashMap, HashSet};

use super::read::{Reader, Section};
use super::units;
use crate::bounds::{HOST_PORTS_MAX, HOSTS_MAX, POLICY_REASON_BYTES_MAX};
use crate::policy::codes::Code;
use crate::policy::model::{HostRule, TlsMode};
use crate::policy::yaml::Node;

pub(super) const NETWORK: Section = Section { what: "sandbox.network", keys: &["allow"], later: &[] };
pub(super) const HOST: Section = Section {
    what: "an allowed host",
    keys: &["host", "ports", "tls", "reason", "max_bytes_out"],
    later: &["http", "inject", "max_requests_per_call", "max_connections_per_call"],
};

pub(super) const TLS: &[(&str, TlsMode)] = &[("passthrough", TlsMode::Passthrough), ("none", TlsMode::None)];

/// Longest DNS name as text, bytes (RFC 1035, 2.3.4, less root and length octets).
const NAME_BYTES_MAX: usize = 253;
/// Longest label, bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Reads the section.
pub(super) fn network(reader: &mut Reader<'_>, node: &Node) -> Vec<HostRule> {
    let Some(fields) = reader.section(node, &NETWORK) else { return Vec::new() };
    let Some(allow) = fields.require(reader, "allow", "sandbox.network") else { return Vec::new() };
    let Some(items) = reader.list(allow, "sandbox.network.allow", HOSTS_MAX) else { return Vec::new() };
    let mut first_lines: HashMap<String, u32> = HashMap::new();
    let mut hosts = Vec::new();
    for item in items {
        let Some(host) = host_rule(reader, item) else { continue };
        if let Some(line) = first_lines.get(&host.host) {
            let message = format!("{} is allowed twice, first on line {line}", host.host);
            reader.error(Code::DuplicateHost, item.span, message).help =
                Some("name a host once, with all its ports: `ports: [443, 8443]`".into());
            continue;
        }
        first_lines.insert(host.host.clone(), host.line);
        hosts.push(host);
    }
    hosts
}

fn host_rule(reader: &mut Reader<'_>, node: &Node) -> Option<HostRule> {
    let fields = reader.section(node, &HOST)?;
    let host = fields.require(reader, "host", "an allowed host").and_then(|node| host_name(reader, node));
    let ports = fields.get("ports").map_or(Some(vec![443]), |node| ports(reader, node));
    let tls =
        fields.get("tls").map_or(Some(TlsMode::Passthrough), |node| reader.choice(node, "tls", TLS, &["terminate"]));
    let reason_node = fields.get("reason");
    let reason = reason_node.and_then(|node| reader.bounded(node, "reason", POLICY_REASON_BYTES_MAX));
    let max_bytes_out = fields.get("max_bytes_out").map(|node| units::bytes(reader, node, "max_bytes_out", 1 << 50));
    match (tls, reason_node) {
        (Some(TlsMode::None), None) => {
            reader.error(Code::PlainTcpReason, node.span, "`tls: none` needs a `reason`").help =
                Some("anyone on the way can read and change plain TCP; say why that is fine here".into());
        }
        (Some(TlsMode::Passthrough), Some(reason)) => {
            reader.error(Code::PlainTcpReason, reason.span, "`reason` here explains `tls: none`, which is not set");
        }
        _ => {}
    }
    let max_bytes_out = match max_bytes_out {
        Some(value) => Some(value?),
        None => None,
    };
    let reason = reason.map(str::to_owned);
    Some(HostRule { host: host?, ports: ports?, tls: tls?, reason, max_bytes_out, line: node.span.line })
}

fn ports(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<u16>> {
    let items = reader.list(node, "ports", HOST_PORTS_MAX)?;
    if items.is_empty() {
        reader.error(Code::OutOfRange, node.span, "`ports` names no port").help = Some("leave it out for 443".into());
        return None;
    }
    let mut seen = HashSet::new();
    let mut ports = Vec::new();
    for item in items {
        let port = reader.integer(item, "ports", 1..=65_535).and_then(|port| u16::try_from(port).ok())?;
        if seen.insert(port) {
            ports.push(port);
        } else {
            reader.error(Code::DuplicateHost, item.span, format!("port {port} stands twice"));
        }
    }
    Some(ports)
}

fn host_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "host")?;
    if text.contains('*') {
        reader.not_enforced(node, "a wildcard host");
        return None;
    }
    let Some(help) = fault(text) else { return Some(text.to_owned()) };
    let message = format!("\"{text}\" is not a host name the gateway can hold a server to");
    reader.error(Code::BadHost, node.span, message).help = Some(help.into());
    None
}

/// What is wrong with a host name, as advice.
pub(in crate::policy) fn fault(text: &str) -> Option<&'static str> {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    };
    if !text.is_ascii() {
        Some("write the name in its ASCII form (xn--...)")
    } else if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some("write it in lower case")
    } else if text.contains('/') {
        Some("give the name alone, without https:// or a path")
    } else if text.contains('@') {
        Some("give the name alone, without a user")
    } else if text.matches(':').count() > 1 || text.starts_with('[') {
        Some("an IP address has no name to check a connection against; name the host")
    } else if text.contains(':') {
        Some("ports go into `ports: [443]`")
    } else if text.ends_with('.') {
        Some("leave out the final dot")
    } else if hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())) {
        Some("an IP address has no name to check a connection against; name the host")
    } else if text.len() > NAME_BYTES_MAX {
        Some("a DNS name has at most 253 characters")
    } else if !text.split('.').all(label_ok) {
        Some("labels of 1 to 63 letters, digits and inner hyphens, joined by dots")
    } else {
        None
    }
}
