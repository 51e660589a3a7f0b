//! The server's only road out: wall, probes, resolver, gateway.

pub mod report;
