//! Our own environment, taken once and cleared: nothing of the caller's steers us or what we start.
#![allow(unsafe_code)]

use std::ffi::OsString;

/// The caller's environment; ours is empty afterwards (environ(7)).
#[must_use]
pub fn take() -> Vec<(OsString, OsString)> {
    // Reads the variables of a mutation build before they are gone.
    let _ = (crate::weaken::in_force(""), crate::fault::lacks(""));
    let environment = std::env::vars_os().collect();
    // SAFETY: the process has one thread; nobody else holds a pointer into environ.
    unsafe { libc::clearenv() };
    environment
}
