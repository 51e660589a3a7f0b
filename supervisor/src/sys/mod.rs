//! The only unsafe code of the program, one system interface a file.

pub mod bpf;
pub mod fork;
pub mod prctl;
#[cfg(test)]
pub(crate) mod raw;
pub mod seccomp;
pub mod sigsys;
