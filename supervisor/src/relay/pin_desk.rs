//! The pins' way out of the gate: into the log first, then to the monitor, which keeps them; and its answers.

use std::os::fd::OwnedFd;

use super::gate::Gate;
use super::messages::{Attached, PinAnswer};
use super::pins::{Kept, Said};
use super::sealed;
use super::swap::SwapError;
use crate::audit::{self, AuditError, Effect, Event, Gap, Journal, Kind};
use crate::bounds::PIN_BLOB_BYTES_MAX;
use crate::clock::Now;
use crate::wire::pin::hex;

impl Gate {
    /// Records what was pinned and what was refused since the last time.
    ///
    /// # Errors
    /// Only when it cannot be recorded: the session is over then.
    pub(super) fn say_of_pins(&mut self, now: Now, journal: &mut Journal) -> Result<(), AuditError> {
        while let Some(said) = self.pins.next_said() {
            let _on_disk = match said {
                Said::Pinned { tool, sha256 } => {
                    let sha256 = hex(&sha256);
                    let mut event = Event::new(Kind::PolicyPin).with_effect(Effect::Allowed);
                    event.pin = Some(audit::Pin { tool: &tool, sha256: &sha256, pinned: None });
                    journal.append_unsynced(now, &event)?
                }
                Said::Refused { tool, refusal } => {
                    let (sha256, pinned) = (hex(&refusal.sha256), refusal.pinned.map(|pinned| hex(&pinned)));
                    let effect = if self.observe { Effect::Observed } else { Effect::Denied };
                    let mut event = Event::new(Kind::PolicyPin).with_effect(effect);
                    event = event.with_reason(refusal.code.as_str(), &refusal.detail);
                    event.pin = Some(audit::Pin { tool: &tool, sha256: &sha256, pinned: pinned.as_deref() });
                    journal.append(now, &event)?
                }
                Said::More { count } => {
                    let mut event = Event::new(Kind::AuditGap);
                    event.gap = Some(Gap { source: "pins", count });
                    journal.append(now, &event)?
                }
            };
        }
        Ok(())
    }

    /// The monitor's answer about a pin that it was handed.
    ///
    /// # Errors
    /// When it answers what it was not asked.
    pub(super) fn hear_of_pin(
        &mut self,
        answer: PinAnswer,
        attached: Attached,
        text: Option<OwnedFd>,
    ) -> Result<(), SwapError> {
        let kept = match (answer, text) {
            (PinAnswer::Kept, _) => Kept::Yes,
            (PinAnswer::Failed, _) => Kept::No,
            (PinAnswer::Stood, Some(text)) => {
                Kept::Stood(sealed::open(text, attached.bytes, PIN_BLOB_BYTES_MAX as u64)?)
            }
            (PinAnswer::Stood, None) => return Err(SwapError::NoText),
        };
        let tool = self.pins.answered(attached.sha256, kept).ok_or(SwapError::NotAsked)?;
        self.parking.wake(&tool);
        Ok(())
    }
}
