//! Staged bytes: what a decision would send, held until its record is on disk.

use super::pipes::Sink;
use crate::audit::Committed;

/// Capacity that a buffer keeps between messages, bytes.
const KEPT_BYTES: usize = 256 << 10;

/// The messages that one step of the gate wants sent. Nothing leaves without a [`Committed`] token, so that "recorded
/// before effect" (P5) is a type, not a habit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    recorded: bool,
    redacted: u64,
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

    /// So many secrets were taken out of the message that is being handled.
    pub(super) fn note_redacted(&mut self, count: u64) {
        self.redacted = count;
    }

    /// That count, once: for the message's record.
    pub(super) fn take_redacted(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.redacted)).filter(|count| *count > 0)
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
        if std::mem::take(&mut self.recorded) {
            send(&self.to_server, server)?;
            send(&self.to_client, client)?;
        }
        self.redacted = 0;
        for buffer in [&mut self.to_server, &mut self.to_client] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        Ok(())
    }

    /// What [`Outbox::release`] would send: to the server, to the client.
    #[cfg(fuzzing)]
    pub(super) fn taken(&mut self) -> (Vec<u8>, Vec<u8>) {
        let both = (std::mem::take(&mut self.to_server), std::mem::take(&mut self.to_client));
        if std::mem::take(&mut self.recorded) { both } else { (Vec::new(), Vec::new()) }
    }
}

fn send(bytes: &[u8], sink: &mut Sink) -> std::io::Result<()> {
    if bytes.is_empty() { Ok(()) } else { sink.write(bytes) }
}
