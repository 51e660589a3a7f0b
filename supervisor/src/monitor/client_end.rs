//! Whether the client is still there, as the kernel says it: the monitor polls the client's end for its closing and reads no byte.
//!
//! The relay says the same when it has read what the client left. A relay that hangs does not, and must not keep the session.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::PollFlags;

use crate::bounds::RELAY_WORD_WAIT_MS;

/// The client's end of the session. A file or /dev/null is never closed by anybody: there the relay's word is all there is.
#[derive(Debug)]
pub struct ClientEnd {
    /// None once it is closed.
    stdin: Option<OwnedFd>,
    /// When the relay should have said so, nanoseconds since boot.
    due_ns: Option<u64>,
}

impl ClientEnd {
    /// What is polled for: its closing, whole or for writing. POLLHUP and POLLERR come unasked (poll(2)). Nothing about bytes,
    /// for they are the relay's to read.
    pub const EVENTS: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

    /// Our own stdin. Call it after the last fork: nobody else needs another copy.
    ///
    /// # Errors
    /// dup(2).
    pub fn of_stdin() -> io::Result<Self> {
        Ok(Self::new(io::stdin().as_fd().try_clone_to_owned()?))
    }

    const fn new(stdin: OwnedFd) -> Self {
        Self { stdin: Some(stdin), due_ns: None }
    }

    /// What to poll; none once it was closed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// It was closed: the relay's time runs.
    pub fn closed(&mut self, now_ns: u64) {
        if self.stdin.take().is_some() {
            self.due_ns = Some(now_ns.saturating_add(RELAY_WORD_WAIT_MS * 1_000_000));
        }
    }

    /// When the relay's time is over, nanoseconds since boot.
    #[must_use]
    pub const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::OFlag;
    use nix::poll::{PollFd, PollTimeout, poll};
    use nix::unistd::pipe2;

    use super::*;

    fn is_closed(end: &ClientEnd) -> bool {
        let mut fds = [PollFd::new(end.fd().unwrap(), ClientEnd::EVENTS)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn a_closing_is_seen_on_pipes_and_sockets_and_bytes_are_not() {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let end = ClientEnd::new(read);
        let mut write = std::fs::File::from(write);
        write.write_all(b"not ours to read").unwrap();
        assert!(!is_closed(&end));
        drop(write);
        assert!(is_closed(&end), "whatever is left in it");
        for whole in [false, true] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let end = ClientEnd::new(ours.into());
            theirs.write_all(b"not ours to read").unwrap();
            assert!(!is_closed(&end));
            theirs.shutdown(if whole { Shutdown::Both } else { Shutdown::Write }).unwrap();
            assert!(is_closed(&end));
        }
        let nothing = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_closed(&ClientEnd::new(nothing.into())));
    }

    #[test]
    fn the_time_runs_once() {
        let mut end = ClientEnd::new(std::fs::File::open("/dev/null").unwrap().into());
        assert_eq!(end.due_ns(), None);
        end.closed(7);
        end.closed(1_000_000_000);
        assert_eq!((end.due_ns(), end.fd().is_none()), (Some(7 + RELAY_WORD_WAIT_MS * 1_000_000), true));
    }
}
