//! The server's only road out: wall, probes, resolver, gateway.
//!
//! The egress process serves it: forked from the monitor, confined, single-threaded. It opens no file and resolves no
//! name through libc; what it needs of the disk is in [`SystemDns`], read before. It lets nothing through that the relay
//! has not recorded, and it ends when the relay hangs up.

pub mod accept;
pub mod channel;
pub mod client_hello;
pub mod copy;
pub mod dial;
pub mod dns;
pub mod events;
pub mod gateway;
pub mod hosts;
pub mod kernel_events;
pub mod netlink;
pub mod probes;
pub mod repeats;
pub mod report;
pub mod reporter;
pub mod resolver;
pub mod serve;
pub mod sockets;
pub mod system_dns;
pub mod tls;
pub mod wall;

pub use serve::{EgressError, EgressParts, EventSource, NoEvents, serve};
pub use system_dns::SystemDns;
