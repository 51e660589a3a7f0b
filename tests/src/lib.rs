//! Harness of the end-to-end suites.
//!
//! A root test runs in an [`arena`]: a network and mount namespace of its own, with the addresses that hostile programs aim
//! at on its `lo` and with the product's directories replaced by empty ones. Verdicts are read on the host side, from
//! [`canary`] sockets, files and `/proc`, never from a hostile program's own word.

pub mod arena;
pub mod canary;
pub mod differential;
pub mod image;
pub mod leak;
pub mod neighbour;
pub mod paths;
pub mod policies;
pub mod processes;
pub mod records;
pub mod redis;
pub mod redteam;
pub mod remains;
pub mod run;
pub mod session;
pub mod stand_in;
pub mod table;
pub mod together;
pub mod wait;
