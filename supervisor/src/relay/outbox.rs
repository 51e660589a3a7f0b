//! Staged bytes: what a decision would send, held until its record is on disk.

use super::pipes::Sink;
use crate::audit::Committed;
use crate::bounds::HAND_OVER_BYTES_MIN;
use crate::wire::frame::OwnedLine;
use crate::wire::jsonrpc::{HandOver, Raw, RequestId};

/// Capacity that a buffer keeps between messages, bytes.
const KEPT_BYTES: usize = 256 << 10;

/// The messages that one step of the gate wants sent. Nothing leaves without a [`Committed`] token, so that "recorded
/// before effect" (P5) is a type, not a habit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// A large line of the server that goes to the client, behind `to_client`, in the buffer that it was read into.
    line: Option<HandOver>,
    recorded: bool,
    redacted: u64,
    /// The message that is being handled does not stand in the buffer that it was read into.
    copied: bool,
}

impl Outbox {
    /// The buffer for lines to the server, each ended by LF.
    pub(super) fn server(&mut self) -> &mut Vec<u8> {
        &mut self.to_server
    }

    /// The buffer for lines to the client, each ended by LF.
    pub(super) fn client(&mut self) -> &mut Vec<u8> {
        &mut self.to_client
    }

    /// So many secrets were taken out of the message that is being handled, which is a copy of the line from here on.
    pub(super) fn note_redacted(&mut self, count: u64) {
        self.copied = true;
        self.redacted = count;
    }

    /// That count, once: for the message's record.
    pub(super) fn take_redacted(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.redacted)).filter(|count| *count > 0)
    }

    /// Stages the server's line for the client as it came, under `id`. A large one is not copied: its buffer is handed over
    /// by [`Outbox::release_line`]. Once a step.
    pub(super) fn pass_on(&mut self, raw: &Raw<'_>, id: Option<&RequestId>) {
        // What was taken out of a line was taken out of a copy: the buffer still has it.
        if raw.bytes() >= HAND_OVER_BYTES_MIN
            && !self.copied
            && self.line.is_none()
            && let Some(line) = raw.hand_over(id)
        {
            self.line = Some(line);
        } else {
            raw.pass_on(id, &mut self.to_client);
            self.to_client.push(b'\n');
        }
    }

    /// What is staged has its record.
    pub(super) fn commit(&mut self, _token: Committed) {
        self.recorded = true;
    }

    /// Sends what is staged and recorded; what is not recorded is dropped.
    ///
    /// # Errors
    /// When a pipe fails for another reason than a reader that is gone.
    pub(super) fn release(&mut self, server: &mut Sink, client: &mut Sink) -> std::io::Result<()> {
        self.release_line(server, client, || None)
    }

    /// As [`Outbox::release`]; `take` gives the line that the last step was about, if its buffer is to go on.
    ///
    /// # Errors
    /// As [`Outbox::release`].
    pub(super) fn release_line(
        &mut self,
        server: &mut Sink,
        client: &mut Sink,
        take: impl FnOnce() -> Option<OwnedLine>,
    ) -> std::io::Result<()> {
        let line = self.line.take();
        if std::mem::take(&mut self.recorded) {
            send(&mut self.to_server, server)?;
            send(&mut self.to_client, client)?;
            if let Some(parts) = line
                && let Some(line) = take()
            {
                client.write_line(line, parts)?;
            }
        }
        self.redacted = 0;
        self.copied = false;
        for buffer in [&mut self.to_server, &mut self.to_client] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        Ok(())
    }

    /// What [`Outbox::release`] would send: to the server, to the client.
    #[cfg(fuzzing)]
    pub(super) fn taken(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.copied = false;
        let both = (std::mem::take(&mut self.to_server), std::mem::take(&mut self.to_client));
        if std::mem::take(&mut self.recorded) { both } else { (Vec::new(), Vec::new()) }
    }
}

/// Writes `bytes`; a large buffer goes whole, so that what has to wait is not copied.
fn send(bytes: &mut Vec<u8>, sink: &mut Sink) -> std::io::Result<()> {
    match bytes.len() {
        0 => Ok(()),
        HAND_OVER_BYTES_MIN.. => sink.write_buffer(std::mem::take(bytes)),
        _ => sink.write(bytes),
    }
}
