//! The differential suite: hostile lines, sent to real servers bare and under us. What a server executed must be what was judged.
//!
//! [`Grammar`] makes the lines, [`servers`] are the readers, [`drive`] sends, [`judged`] compares what the server wrote down with the
//! audit log. A server's own log is its word on what it saw: these servers are ours and honest, their SDKs are what is tested.

mod bytes;
mod draft;
mod dress;
pub mod drive;
pub mod grammar;
pub mod judged;
mod leaves;
mod random;
pub mod servers;

pub use drive::{Bare, Policed, Stage};
pub use grammar::{Aim, Branch, Grammar, Line};
pub use servers::Server;
