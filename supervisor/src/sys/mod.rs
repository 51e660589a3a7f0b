//! The only unsafe code of the library: thin wrappers, one system call each, for what neither std nor nix offers safely.
//!
//! Each module allows `unsafe_code` for itself and gives every block its reason.

pub mod bpf;
pub mod clone;
pub mod environment;
pub mod fds;
pub mod fork;
pub mod kcmp;
pub mod listener;
pub mod mount;
pub mod pass;
pub mod pidfd;
pub mod prctl;
pub mod process;
pub mod quota;
#[cfg(test)]
pub(crate) mod raw;
pub mod readiness;
pub mod seccomp;
pub mod sigsys;
pub mod syslog;
