//! What the program says while it runs, on stderr: paced, and never worth waiting for.
//!
//! Much of it is about what a server did, so a server can have it said. Each of our processes says at most
//! [`VOICE_BURST_BYTES`] at once and [`VOICE_BYTES_A_SECOND`] in the long run; what is more is counted and left out.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;
use tracing_subscriber::fmt::MakeWriter;

use crate::bounds::{VOICE_BURST_BYTES, VOICE_BYTES_A_SECOND};
use crate::weaken;

const BYTES: Quota = Quota::per_second(NonZeroU32::new(VOICE_BYTES_A_SECOND).expect("not zero"))
    .allow_burst(NonZeroU32::new(VOICE_BURST_BYTES).expect("not zero"));

/// The writer of `tracing`. A process that is forked goes on with a pace of its own.
pub(super) struct Voice {
    pace: DefaultDirectRateLimiter,
    left_out: Mutex<u64>,
    /// The process that this was made in.
    monitor: Pid,
}

impl Voice {
    pub(super) fn new() -> Self {
        Self { pace: RateLimiter::direct(BYTES), left_out: Mutex::new(0), monitor: Pid::this() }
    }

    /// One message, whole: `tracing` writes each with one call. Answers what to write, which is nothing past the pace.
    fn paced(&self, message: &[u8]) -> Vec<u8> {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = u32::try_from(message.len()).ok().and_then(NonZeroU32::new);
        let passes = !weaken::in_force("voice-pace")
            || bytes.is_some_and(|bytes| matches!(self.pace.check_n(bytes), Ok(Ok(()))));
        if !passes {
            *left_out += 1;
            return Vec::new();
        }
        match std::mem::take(&mut *left_out) {
            0 => message.to_vec(),
            some => [format!(" WARN messages left out: {some}\n").as_bytes(), message].concat(),
        }
    }
}

impl Voice {
    /// To a socket without waiting for room: how long a write(2) waits there is said by a time that everybody sets who shares it
    /// (SO_SNDTIMEO). In the first process alone: it is the one that must not stand still, and the filters of the others know no
    /// send(2) that they do not need.
    fn say(&self, message: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        if !message.is_empty() && Pid::this() == self.monitor && weaken::in_force("stderr-sockets") {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(stderr.as_raw_fd(), message, flags) {
                Err(Errno::ENOTSOCK) => {}
                sent => return sent.map(drop).map_err(io::Error::from),
            }
        }
        stderr.lock().write_all(message)
    }
}

/// One message.
pub(super) struct Line<'v>(&'v Voice);

impl<'v> MakeWriter<'v> for Voice {
    type Writer = Line<'v>;

    fn make_writer(&'v self) -> Line<'v> {
        Line(self)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // A reader that is gone, or does not read: nobody is left to tell, and nothing here waits for him.
        let _unheard = self.0.say(&self.0.paced(message));
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_the_first_messages_pass_whole() {
        let voice = Voice::new();
        let message = [b'x'; 1000];
        let said: usize = (0..10_000).map(|_| voice.paced(&message).len()).sum();
        let burst = VOICE_BURST_BYTES as usize;
        // What the clock let through meanwhile comes on top.
        assert!((burst - message.len()..burst + burst / 2).contains(&said), "{said}");
        assert!(*voice.left_out.lock().unwrap() > 9_000);
    }

    #[test]
    fn what_was_left_out_is_told_with_the_next_message() {
        let voice = Voice::new();
        *voice.left_out.lock().unwrap() = 7;
        assert_eq!(voice.paced(b"a\n"), b" WARN messages left out: 7\na\n");
        assert_eq!(voice.paced(b"b\n"), b"b\n");
        assert_eq!(voice.paced(&vec![b'x'; VOICE_BURST_BYTES as usize + 1]), b"", "longer than a burst: never");
    }
}
