//! The only unsafe code: thin, each call with its reason.

pub mod readiness;
