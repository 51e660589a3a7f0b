//! How a session ends in the relay: in order when the server is gone, or with an apology when nothing can be recorded.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Pipes, Pump, RelayError};
use crate::clock;
use crate::egress::report::Reply;
use crate::relay::gate::ServerEnd;
use crate::relay::messages::{EndCause, FromRelay, LogPoint};

impl Pump {
    /// The server is gone: what it still said is delivered, what is pending is answered, the last record is written.
    pub(super) fn finish(&mut self, cause: EndCause, status: i32) -> Result<(), RelayError> {
        while self.server_frames.has_more() || readable(self.pipes.server_out.fd())? {
            self.pump_server()?;
        }
        while self.pipes.server_err.fd().is_some() && readable(self.pipes.server_err.fd())? {
            self.pump_stderr()?;
        }
        self.hear_egress_out()?;
        let end = ServerEnd { cause, status };
        self.gate.server_gone(end, clock::now(), &mut self.journal, &mut self.outbox)?;
        self.outbox.release(&mut self.pipes.server_in, &mut self.pipes.client_out)?;
        // The log is whole, whether the client reads on or not.
        let head = self.journal.head();
        FromRelay::Finished(LogPoint { seq: head.seq, hash: head.hash.0 }).send(self.control.as_fd())?;
        self.drain_sinks()
    }

    /// The last flows with their byte counts; egress hangs up when it has said all. The monitor's patience is the bound.
    fn hear_egress_out(&mut self) -> Result<(), RelayError> {
        if let Some(egress) = &mut self.egress {
            // A dead egress process has hung up: its end is heard below.
            if let Err(error) = egress.tell(Reply::Finish) {
                tracing::warn!("egress: {error}");
            }
        }
        while let Some(egress) = &self.egress {
            let mut fds = [PollFd::new(egress.fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.hear_egress(clock::now())?;
        }
        Ok(())
    }

    /// Waits until client and people have what is theirs; the monitor's patience is the bound.
    fn drain_sinks(&mut self) -> Result<(), RelayError> {
        loop {
            let Pipes { client_out, people, .. } = &self.pipes;
            let waiting: Vec<_> = [client_out.fd_if_waiting(), people.fd_if_waiting()].into_iter().flatten().collect();
            if waiting.is_empty() {
                return Ok(());
            }
            let mut fds: Vec<_> = waiting.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLOUT)).collect();
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.pipes.client_out.flush()?;
            self.pipes.people.flush()?;
        }
    }

    /// Fail closed, and say so: every open question of the client is answered, the monitor ends the session. This is
    /// the one thing sent without a record, because no record can be written any more.
    pub(super) fn apologise(&mut self, cause: EndCause) -> Result<(), RelayError> {
        let mut text = Vec::new();
        self.gate.refuse_everything(cause, &mut text);
        self.pipes.client_out.write(&text)?;
        self.pipes.client_out.flush()?;
        FromRelay::Failed(cause).send(self.control.as_fd())?;
        Ok(())
    }
}

/// Whether there is something to read, or an end to hear.
pub(super) fn readable(fd: Option<BorrowedFd<'_>>) -> Result<bool, RelayError> {
    let Some(fd) = fd else { return Ok(false) };
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}
