//! The server's only road out: wall, probes, resolver, gateway.
//!
//! The egress process serves it: forked from the monitor, confined, single-threaded. It opens no file and no socket. It lets
//! nothing through that the relay has not recorded, and it ends when the relay hangs up. The dialer process beside it makes the
//! connections: it resolves no name through libc, and what it needs of the disk is in [`SystemDns`], read before.

pub mod accept;
pub mod btf_object;
pub mod channel;
pub mod client_hello;
pub mod copy;
pub mod dial;
pub mod dial_link;
pub mod dialer;
pub mod dns;
pub mod events;
pub mod exec_events;
pub mod exec_files;
pub mod exec_trace;
pub mod extra;
pub mod file_events;
pub mod file_trace;
pub mod gateway;
pub mod hosts;
pub mod kernel_events;
pub mod kernel_memo;
pub mod kernel_types;
pub mod lsm;
pub mod netlink;
pub mod probes;
pub mod repeats;
pub mod report;
pub mod reporter;
pub mod resolver;
pub mod retry;
pub mod serve;
pub mod server_hello;
pub mod sockets;
pub mod system_dns;
pub mod tally;
pub mod tls;
pub mod upstreams;
pub mod wall;

pub use serve::{EgressError, EgressParts, EventSource, NoEvents, serve};
pub use system_dns::SystemDns;
