//! The allowed hosts of a run, found by name (for the stub) or by the address that stands for them (for the gateway).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sandbox::plan::{NetworkPlan, PlannedHost};

/// One allowed host and what the session has used of it.
#[derive(Debug)]
pub struct Host {
    /// Its rule.
    pub plan: PlannedHost,
    /// Its place in the policy's list, by which the dialer knows it.
    pub place: u16,
    bytes_out: AtomicU64,
}

impl Host {
    /// Whether `bytes` more may go to the host in this session; counts them if so. One budget for all connections.
    #[must_use]
    pub fn charge(&self, bytes: u64) -> bool {
        let Some(max) = self.plan.max_bytes_out else { return true };
        let charge = |spent: u64| spent.checked_add(bytes).filter(|total| *total <= max);
        self.bytes_out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge).is_ok()
    }
}

/// All allowed hosts of a run.
#[derive(Debug)]
pub struct HostTable {
    hosts: Vec<Arc<Host>>,
    by_address: HashMap<Ipv4Addr, usize>,
    by_name: HashMap<String, usize>,
}

/// What stands behind a destination.
#[derive(Clone, Debug)]
pub enum Destination {
    /// An allowed host on one of its ports.
    Allowed(Arc<Host>),
    /// The address of an allowed host, but a port that its rule does not name.
    OtherPort(Arc<Host>),
    /// No allowed host.
    Unknown,
}

impl HostTable {
    /// Indexes the hosts of `plan`.
    #[must_use]
    pub fn new(plan: &NetworkPlan) -> Self {
        let host = |(place, host): (u16, &PlannedHost)| {
            Arc::new(Host { plan: host.clone(), place, bytes_out: AtomicU64::new(0) })
        };
        let hosts: Vec<_> = (0..).zip(&plan.hosts).map(host).collect();
        let by_address = hosts.iter().enumerate().map(|(index, host)| (host.plan.address, index)).collect();
        let by_name = hosts.iter().enumerate().map(|(i, host)| (host.plan.name.to_ascii_lowercase(), i)).collect();
        Self { hosts, by_address, by_name }
    }

    /// The address that stands for `name`: exact but for ASCII case, no trailing dot.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|index| self.hosts[*index].plan.address)
    }

    /// What stands behind `address` and `port`.
    #[must_use]
    pub fn at(&self, address: IpAddr, port: u16) -> Destination {
        let IpAddr::V4(address) = address.to_canonical() else { return Destination::Unknown };
        match self.by_address.get(&address).map(|index| &self.hosts[*index]) {
            Some(host) if host.plan.ports.contains(&port) => Destination::Allowed(Arc::clone(host)),
            Some(host) => Destination::OtherPort(Arc::clone(host)),
            None => Destination::Unknown,
        }
    }
}

#[cfg(test)]
pub(crate) fn planned(name: &str, address: [u8; 4], ports: &[u16]) -> PlannedHost {
    PlannedHost {
        name: name.into(),
        ports: ports.to_vec(),
        address: address.into(),
        tls: crate::policy::TlsMode::Passthrough,
        max_bytes_out: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> HostTable {
        let hosts = vec![planned("api.example", [198, 18, 0, 2], &[443]), planned("b.example", [198, 18, 0, 3], &[80])];
        HostTable::new(&NetworkPlan { hosts, connect_to: Vec::new() })
    }

    #[test]
    fn an_address_leads_to_its_host_on_its_ports_alone() {
        let table = table();
        let at = |ip: &str, port| match table.at(ip.parse().unwrap(), port) {
            Destination::Allowed(host) => format!("allowed {}", host.plan.name),
            Destination::OtherPort(host) => format!("port {}", host.plan.name),
            Destination::Unknown => "unknown".into(),
        };
        assert_eq!(at("198.18.0.2", 443), "allowed api.example");
        assert_eq!(at("::ffff:198.18.0.2", 443), "allowed api.example");
        assert_eq!(at("198.18.0.2", 80), "port api.example");
        assert_eq!(at("198.18.0.3", 443), "port b.example");
        assert_eq!(at("198.18.0.4", 443), "unknown");
        assert_eq!(at("1.1.1.1", 443), "unknown");
        assert_eq!(at("2606:4700::1111", 443), "unknown");
    }

    #[test]
    fn a_name_is_exact_but_for_case() {
        let table = table();
        assert_eq!(table.address("API.Example"), Some(Ipv4Addr::new(198, 18, 0, 2)));
        for name in ["api.example.", "x.api.example", "example", "", "api.example.lan", "api\\.example"] {
            assert_eq!(table.address(name), None, "{name}");
        }
    }

    #[test]
    fn the_budget_is_shared_and_never_overdrawn() {
        let mut host = planned("a.example", [198, 18, 0, 2], &[443]);
        host.max_bytes_out = Some(10);
        let host = Host { plan: host, place: 0, bytes_out: AtomicU64::new(0) };
        assert!(host.charge(6));
        assert!(!host.charge(5));
        assert!(host.charge(4));
        assert!(host.charge(0));
        assert!(!host.charge(1));
        assert!(!host.charge(u64::MAX));
    }
}
