//! The root process: it forks the others, then only waits. It parses nothing that the server, the client or the network
//! wrote.

pub mod ceilings;
pub mod child;
pub mod client_end;
pub mod control_dir;
pub mod crew;
pub mod denials;
pub mod janitor;
pub mod ledger;
pub mod lock_file;
pub mod meter;
pub mod patience;
pub mod pin_store;
pub mod policy_watch;
pub mod reload;
pub mod runtime_dir;
pub mod signals;
pub mod state_dir;
pub mod store_link;
pub mod watch;
