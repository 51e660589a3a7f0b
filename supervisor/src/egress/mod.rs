//! The server's only road out: wall, probes, resolver, gateway.

pub mod events;
pub mod netlink;
pub mod probes;
pub mod report;
pub mod sockets;
pub mod wall;
