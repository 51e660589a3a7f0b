//! Whether the client is still there, as the kernel says it: the monitor polls the client's end for its closing and reads no byte.
//!
//! The relay says the same when it has read what the client left. One that hangs does not: the wait for its word has an end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::PollFlags;

use super::patience::Patience;

/// The client's end of the session. A file or /dev/null is never closed by anybody: there the relay's word is all there is.
#[derive(Debug)]
pub struct ClientEnd {
    /// None once it is closed.
    stdin: Option<OwnedFd>,
    /// The wait for the relay's word, since then.
    word: Option<Patience>,
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
        Self { stdin: Some(stdin), word: None }
    }

    /// What to poll; none once it was closed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// It was closed: the relay's time runs. Its log is `log_bytes` long.
    pub fn closed(&mut self, now_ns: u64, log_bytes: u64) {
        if self.stdin.take().is_some() {
            self.word = Some(Patience::begin(now_ns, log_bytes));
        }
    }

    /// When the relay is looked at again, nanoseconds since boot.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        self.word.map(|word| word.due_ns())
    }

    /// Whether the relay's time is over. Where its log has grown since the last look, to `log_bytes`, it gets more.
    pub fn is_over(&mut self, now_ns: u64, log_bytes: u64) -> bool {
        self.word.as_mut().is_some_and(|word| word.is_over(now_ns, log_bytes))
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
    use crate::bounds::RELAY_WORD_WAIT_MS;

    const WAIT_NS: u64 = RELAY_WORD_WAIT_MS * 1_000_000;

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
        assert_eq!((end.due_ns(), end.is_over(u64::MAX, 0)), (None, false));
        end.closed(7, 100);
        end.closed(1_000_000_000, 100);
        assert_eq!((end.due_ns(), end.fd().is_none()), (Some(7 + WAIT_NS), true));
        assert!(!end.is_over(6 + WAIT_NS, 100) && end.is_over(7 + WAIT_NS, 100), "no byte more, no time more");
    }
}
