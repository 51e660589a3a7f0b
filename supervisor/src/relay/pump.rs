//! The loop: poll(2) over the pipes and our own sockets, bytes to frames, frames to the gate, staged bytes out.
//!
//! One thread and no runtime: the path of a call is read, decide, record, write.

mod ending;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Parts;
use super::denials;
use super::desk::ControlDesk;
use super::egress_desk::{DeskError, EgressDesk, Heard};
use super::gate::{Gate, Terms};
use super::outbox::Outbox;
use super::pins::Pins;
use super::pipes::{ReadStep, Sink, Source};
use super::sealed;
use super::stderr::StderrFilter;
use super::swap::SwapError;
use crate::audit::{AuditError, Effect, Event, Journal, Kind};
use crate::bounds::{AUDIT_CHECKPOINT_SECONDS, PIPE_BACKLOG_BYTES_MAX};
use crate::clock::{self, Now};
use crate::egress::report::Reply;
use crate::fault::Stage;
use crate::relay::messages::{Attached, EndCause, FromRelay, LogPoint, PinKind, ToRelay};
use crate::sandbox::LayerReport;
use crate::wire::frame::{FrameSplitter, READ_BYTES};

/// Lines of one side handled before the others are heard.
const FRAMES_A_TURN: usize = 64;
/// Messages of the monitor handled in one turn: it tells dozens of refused calls at once, and each turn can take a while.
const MESSAGES_A_TURN: usize = 64;
/// Longest sleep: the journal's checkpoint falls due by time too.
const SLEEP_NS_MAX: u64 = AUDIT_CHECKPOINT_SECONDS * 1_000_000_000;

/// The five byte streams of a session.
#[derive(Debug)]
pub struct Pipes {
    /// From the client.
    pub client_in: Source,
    /// To the client.
    pub client_out: Sink,
    /// To the server's stdin.
    pub server_in: Sink,
    /// From the server's stdout; non-blocking.
    pub server_out: Source,
    /// From the server's stderr; non-blocking.
    pub server_err: Source,
    /// Our own stderr, for people.
    pub people: Sink,
}

impl Pipes {
    /// Every descriptor, for the confinement to keep.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        let sources = [&self.client_in, &self.server_out, &self.server_err].map(Source::fd);
        let sinks = [&self.client_out, &self.server_in, &self.people].map(Sink::fd);
        sources.into_iter().chain(sinks).flatten().map(|fd| fd.as_raw_fd()).collect()
    }
}

/// Why the relay ends a session.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The log cannot be written; nothing more is forwarded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A pipe or socket failed.
    #[error("a pipe of the session failed")]
    Pipe(#[from] std::io::Error),
    /// Egress failed.
    #[error("egress failed")]
    Egress(#[from] DeskError),
    /// The monitor is gone.
    #[error("the monitor is gone")]
    MonitorGone,
    /// The monitor handed over a policy that cannot be the one that it checked.
    #[error("the monitor's policy cannot be taken")]
    Policy(#[source] SwapError),
}

impl From<SwapError> for RelayError {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::Audit(error) => Self::Audit(error),
            error => Self::Policy(error),
        }
    }
}

impl From<Errno> for RelayError {
    fn from(errno: Errno) -> Self {
        Self::Pipe(errno.into())
    }
}

/// One session's loop.
pub(super) struct Pump {
    pipes: Pipes,
    control: OwnedFd,
    egress: Option<EgressDesk>,
    desk: ControlDesk,
    gate: Gate,
    journal: Journal,
    outbox: Outbox,
    stderr: StderrFilter,
    /// Where the server's stderr is read into.
    stderr_room: Box<[u8]>,
    client_frames: FrameSplitter,
    server_frames: FrameSplitter,
    layers: Vec<LayerReport>,
    server_pid: u32,
    gate_open: bool,
    client_gone: bool,
    client_gone_told: bool,
}

/// Which descriptors poll(2) reported.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    control: bool,
    egress: bool,
    desk: bool,
    client_in: bool,
    client_hung_up: bool,
    client_out: bool,
    server_in: bool,
    server_out: bool,
    server_err: bool,
    people: bool,
}

impl Pump {
    pub(super) fn new(parts: Parts) -> Result<Self, RelayError> {
        let pins = Pins::new(&parts.policy, parts.pins).map_err(|error| RelayError::Policy(error.into()))?;
        let terms = Terms {
            session: parts.session,
            pins,
            policy: parts.policy,
            observe: parts.observe,
            store: parts.store,
            redactor: parts.redactor,
            secrets: parts.secrets.clone(),
            client_line_bytes_max: parts.client_line_bytes_max,
            server_line_bytes_max: parts.server_line_bytes_max,
        };
        Ok(Self {
            pipes: parts.pipes,
            control: parts.control,
            egress: Some(EgressDesk::new(parts.egress)),
            desk: ControlDesk::new(parts.people)?,
            gate: Gate::new(terms, clock::now()),
            journal: parts.journal,
            outbox: Outbox::default(),
            stderr: StderrFilter::new(parts.secrets),
            stderr_room: vec![0; READ_BYTES].into_boxed_slice(),
            client_frames: FrameSplitter::new(parts.client_line_bytes_max),
            server_frames: FrameSplitter::new(parts.server_line_bytes_max),
            layers: parts.layers,
            server_pid: parts.server_pid,
            gate_open: false,
            client_gone: false,
            client_gone_told: false,
        })
    }

    /// The whole life; an audit failure is told to the client and to the monitor before it is returned.
    pub(super) fn run(mut self) -> Result<(), RelayError> {
        let ended = self.applied().and_then(|()| self.turn());
        if let Err(error) = &ended {
            let cause = match error {
                RelayError::Audit(error) if error.is_quota() => EndCause::LogQuota,
                RelayError::Audit(_) => EndCause::AuditFailure,
                RelayError::Egress(_) => EndCause::EgressDied,
                RelayError::Pipe(_) | RelayError::MonitorGone | RelayError::Policy(_) => EndCause::RelayDied,
            };
            self.apologise(cause)?;
        }
        ended
    }

    /// `sandbox.applied` on disk, then word to the monitor, which opens the gate.
    fn applied(&mut self) -> Result<(), RelayError> {
        let mut event = Event::new(Kind::SandboxApplied).with_effect(Effect::Allowed);
        event.sandbox = Some(crate::audit::Sandbox { layers: &self.layers });
        event.server = Some(crate::audit::Server { pid: Some(self.server_pid), ..Default::default() });
        let _on_disk = self.journal.append(clock::now(), &event)?;
        Stage::Applied.passed()?;
        FromRelay::Applied.send(self.control.as_fd())?;
        Ok(())
    }

    fn turn(&mut self) -> Result<(), RelayError> {
        loop {
            let ready = self.wait()?;
            let now = clock::now();
            if ready.control && self.hear_monitor()? {
                return Ok(());
            }
            if ready.egress {
                self.hear_egress(now)?;
            }
            if ready.server_out {
                self.pump_server()?;
            }
            if ready.client_in {
                self.pump_client()?;
            }
            if ready.server_err {
                self.pump_stderr()?;
            }
            if ready.desk || self.desk.deadline_ns().is_some_and(|due_ns| now.boot_ns >= due_ns) {
                self.hear_people(now)?;
            }
            self.client_gone |= ready.client_hung_up;
            self.flush(ready)?;
            self.gate.tick(now, &mut self.journal, &mut self.outbox)?;
            self.outbox.release(&mut self.pipes.server_in, &mut self.pipes.client_out)?;
            self.hand_pins()?;
            self.say_client_gone()?;
            self.checkpoint(now)?;
        }
    }

    /// Blocks until something can be done. A full sink stops the reading of what would fill it further.
    fn wait(&self) -> Result<Ready, RelayError> {
        let pipes = &self.pipes;
        // Either side's lines can fill either sink: a refusal goes back where the line came from.
        let room =
            [&pipes.server_in, &pipes.client_out].iter().all(|sink| sink.waiting_bytes() < PIPE_BACKLOG_BYTES_MAX);
        let hear_client = self.gate_open && room;
        // A client that is gone is noticed also while it is not read.
        let client_in = match (hear_client, self.client_gone) {
            (true, _) => (pipes.client_in.fd(), PollFlags::POLLIN),
            (false, false) => (pipes.client_in.fd(), PollFlags::from_bits_retain(libc::POLLRDHUP)),
            (false, true) => (None, PollFlags::empty()),
        };
        let wanted: [(Option<BorrowedFd<'_>>, PollFlags); 9] = [
            (Some(self.control.as_fd()), PollFlags::POLLIN),
            (self.egress.as_ref().map(EgressDesk::fd), PollFlags::POLLIN),
            client_in,
            (pipes.client_out.fd_if_waiting(), PollFlags::POLLOUT),
            (pipes.server_in.fd_if_waiting(), PollFlags::POLLOUT),
            (pipes.server_out.fd().filter(|_| room), PollFlags::POLLIN),
            (pipes.server_err.fd(), PollFlags::POLLIN),
            (pipes.people.fd_if_waiting(), PollFlags::POLLOUT),
            (Some(self.desk.fd()), PollFlags::POLLIN),
        ];
        // A stream that is not wanted now is polled for nothing on a descriptor that is always there.
        let mut fds = wanted.map(|(fd, flags)| match fd {
            Some(fd) => PollFd::new(fd, flags),
            None => PollFd::new(self.control.as_fd(), PollFlags::empty()),
        });
        let (kept_client, kept_server) =
            (hear_client && self.client_frames.has_more(), room && self.server_frames.has_more());
        let timeout = if kept_client || kept_server { PollTimeout::ZERO } else { self.timeout() };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let hit =
            |index: usize| wanted[index].0.is_some() && fds[index].revents().is_some_and(|events| !events.is_empty());
        Ok(Ready {
            control: hit(0),
            egress: hit(1),
            client_in: (hear_client && hit(2)) || kept_client,
            client_hung_up: !hear_client && hit(2),
            client_out: hit(3),
            server_in: hit(4),
            server_out: hit(5) || kept_server,
            server_err: hit(6),
            people: hit(7),
            desk: hit(8),
        })
    }

    /// Until the next deadline of the gate or the control desk; at most until a checkpoint may be due.
    fn timeout(&self) -> PollTimeout {
        let now_ns = clock::now().boot_ns;
        let due_ns = [self.gate.deadline_ns(), self.desk.deadline_ns()].into_iter().flatten().min();
        let left_ns = due_ns.map_or(SLEEP_NS_MAX, |due_ns| due_ns.saturating_sub(now_ns));
        PollTimeout::try_from(left_ns.min(SLEEP_NS_MAX).div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
    }

    /// What the monitor says; true when the session is over.
    fn hear_monitor(&mut self) -> Result<bool, RelayError> {
        for _ in 0..MESSAGES_A_TURN {
            if self.hear_message()? {
                return Ok(true);
            }
            if !ending::readable(Some(self.control.as_fd()))? {
                break;
            }
        }
        Ok(false)
    }

    fn hear_message(&mut self) -> Result<bool, RelayError> {
        match ToRelay::receive(self.control.as_fd())? {
            None => Err(RelayError::MonitorGone),
            Some((ToRelay::GateOpen { opened_ns }, _)) => {
                self.gate_open = true;
                if let Some(egress) = &mut self.egress {
                    egress.tell(Reply::GateOpen { opened_ns })?;
                }
                Ok(false)
            }
            Some((ToRelay::Finish { cause, status }, _)) => self.finish(cause, status).map(|()| true),
            Some((ToRelay::Ceilings(seen), _)) => {
                self.gate.hear_of_ceilings(seen, clock::now(), &mut self.journal)?;
                Ok(false)
            }
            Some((ToRelay::Denied(denied), _)) => {
                // Of what is told later nobody can say any more which call it was made for.
                let calls = denied.since_ns.map_or_else(Vec::new, |since_ns| self.gate.calls_in_flight(since_ns.get()));
                denials::record(&denied, &calls, clock::now(), &mut self.journal)?;
                Ok(false)
            }
            Some((ToRelay::Pin(answer, attached), text)) => {
                self.gate.hear_of_pin(answer, attached, text)?;
                Ok(false)
            }
            Some((message, text)) => self.hear_of_policy(message, text).map(|()| false),
        }
    }

    /// The policy changed, or its file did and was refused: between two messages, so each is judged by exactly one policy.
    fn hear_of_policy(&mut self, message: ToRelay, text: Option<OwnedFd>) -> Result<(), RelayError> {
        let Self { gate, journal, outbox, pipes, .. } = self;
        let answer = gate.hear_of_policy(message, text, clock::now(), journal, outbox)?;
        outbox.release(&mut pipes.server_in, &mut pipes.client_out)?;
        if let Some(answer) = answer {
            answer.send(self.control.as_fd())?;
        }
        Ok(())
    }

    /// Hands the monitor the next definition to keep. One at a time: neither side ever waits for the other to read.
    fn hand_pins(&mut self) -> Result<(), RelayError> {
        if let Some(errand) = self.gate.pins.next_errand() {
            let kind = if errand.proposed { PinKind::Proposed } else { PinKind::New };
            let attached = Attached { bytes: errand.blob.len() as u64, sha256: errand.key };
            FromRelay::Pin(kind, attached).send_with(self.control.as_fd(), sealed::seal(&errand.blob)?.as_fd())?;
        }
        Ok(())
    }

    fn hear_egress(&mut self, now: Now) -> Result<(), RelayError> {
        let Some(egress) = &mut self.egress else { return Ok(()) };
        if egress.hear(now, &self.gate.calls_in_flight(now.boot_ns), &mut self.journal)? == Heard::End {
            // The monitor sees the process end and ends the session; there is nothing more to hear.
            self.egress = None;
        }
        Ok(())
    }

    /// People's commands: each decision is on record before it is answered, and before what it lets go leaves.
    fn hear_people(&mut self, now: Now) -> Result<(), RelayError> {
        let Self { pipes, desk, gate, journal, outbox, .. } = self;
        desk.turn(now, |request, asker| -> Result<_, RelayError> {
            let reply = gate.hear_person(request, asker, now, journal, outbox)?;
            outbox.release(&mut pipes.server_in, &mut pipes.client_out)?;
            Ok(reply)
        })
    }

    /// Reads the client once, unless lines of the last read are left; handles so many lines and no more, so that one side
    /// cannot keep us from hearing the others.
    fn pump_client(&mut self) -> Result<(), RelayError> {
        let Self { pipes, client_frames, gate, journal, outbox, client_gone, .. } = self;
        let Pipes { client_in, client_out, server_in, .. } = pipes;
        let ended = !client_frames.has_more() && fill(client_in, client_frames)?;
        for _ in 0..FRAMES_A_TURN {
            let frame = if ended { client_frames.finish() } else { client_frames.next() };
            let Some(frame) = frame else { break };
            gate.client_frame(frame, clock::now(), journal, outbox)?;
            outbox.release(server_in, client_out)?;
        }
        *client_gone |= ended;
        Ok(())
    }

    /// As [`Pump::pump_client`], for the server.
    fn pump_server(&mut self) -> Result<(), RelayError> {
        let Self { pipes, server_frames, gate, journal, outbox, stderr, .. } = self;
        let Pipes { client_out, server_in, server_out, people, .. } = pipes;
        let ended = !server_frames.has_more() && fill(server_out, server_frames)?;
        for _ in 0..FRAMES_A_TURN {
            let frame = if ended { server_frames.finish() } else { server_frames.next() };
            let Some(frame) = frame else { break };
            if let Some(noise) = gate.server_frame(frame, clock::now(), journal, outbox)? {
                // Not MCP: shown to people, never to the client.
                let mut text = Vec::new();
                stderr.push(noise, &mut text);
                stderr.push(b"\n", &mut text);
                show(&text, stderr, people)?;
            }
            outbox.release_line(server_in, client_out, || server_frames.take())?;
        }
        Ok(())
    }

    fn pump_stderr(&mut self) -> Result<(), RelayError> {
        let mut text = Vec::new();
        match self.pipes.server_err.read(&mut self.stderr_room)? {
            ReadStep::Nothing => {}
            ReadStep::Bytes(count) => self.stderr.push(&self.stderr_room[..count], &mut text),
            ReadStep::End => self.stderr.finish(&mut text),
        }
        show(&text, &mut self.stderr, &mut self.pipes.people)
    }

    fn flush(&mut self, ready: Ready) -> Result<(), RelayError> {
        if ready.client_out {
            self.pipes.client_out.flush()?;
        }
        if ready.server_in {
            self.pipes.server_in.flush()?;
        }
        if ready.people {
            self.pipes.people.flush()?;
        }
        Ok(())
    }

    /// The monitor is told at once that the client is gone, and its clock runs: a server that does not read cannot stay.
    /// The server's stdin is closed when all that the client sent is delivered.
    fn say_client_gone(&mut self) -> Result<(), RelayError> {
        if self.client_gone && !self.client_gone_told {
            self.gate.client_left();
            FromRelay::ClientGone.send(self.control.as_fd())?;
            self.client_gone_told = true;
        }
        let Pipes { client_in, server_in, .. } = &mut self.pipes;
        let delivered = client_in.fd().is_none() && server_in.waiting_bytes() == 0 && !self.gate.has_parked();
        if delivered && server_in.is_open() {
            server_in.close();
        }
        Ok(())
    }

    fn checkpoint(&mut self, now: Now) -> Result<(), RelayError> {
        if let Some(head) = self.journal.checkpoint_due(now) {
            self.journal.sync()?;
            FromRelay::Checkpoint(LogPoint { seq: head.seq, hash: head.hash.0 }).send(self.control.as_fd())?;
        }
        Ok(())
    }
}

/// Reads once into the splitter's own buffer; true at the end of the stream.
fn fill(source: &mut Source, frames: &mut FrameSplitter) -> Result<bool, RelayError> {
    match source.read(frames.room())? {
        ReadStep::Nothing => Ok(false),
        ReadStep::Bytes(count) => {
            frames.filled(count);
            Ok(false)
        }
        ReadStep::End => Ok(true),
    }
}

/// Shows text to people as far as they read: a client that never reads our stderr holds nothing up and fills nothing.
fn show(text: &[u8], stderr: &mut StderrFilter, people: &mut Sink) -> Result<(), RelayError> {
    if people.waiting_bytes() < PIPE_BACKLOG_BYTES_MAX {
        people.write(text)?;
    } else {
        stderr.drop_lines(text);
    }
    Ok(())
}
