//! Registers a descriptor with the runtime's epoll.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Readiness of what `source` refers to: a duplicate of its descriptor, registered with the running tokio runtime.
///
/// # Errors
/// When the descriptor cannot be duplicated or does not poll (epoll_ctl(2): EPERM).
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub fn readiness(source: &impl AsFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let duplicate = source.as_fd().try_clone_to_owned()?;
    // SAFETY: an OwnedFd names the same open descriptor for its whole life, and the AsyncFd owns it from here on.
    unsafe { AsyncFd::register_with_interest(duplicate, interest) }.map_err(Into::into)
}
