#![no_std]
//! Shared with the probes.
