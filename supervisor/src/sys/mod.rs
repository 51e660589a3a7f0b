//! The only unsafe code of the program, one system interface a file.

pub mod fork;
pub mod prctl;
pub mod seccomp;
pub mod sigsys;
