//! What waits for the monitor, bounded in number and in bytes, and found without a walk: every tool of a list asks for it.

use std::collections::{HashMap, VecDeque};

use super::Errand;
use crate::bounds::{PINS_BYTES_MAX, PINS_MAX};
use crate::wire::pin::{self, Pin};

/// What an errand is filed under, and whether it is a proposal.
type Which = ([u8; 32], bool);

#[derive(Debug, Default)]
pub(super) struct Errands {
    waiting: HashMap<Which, Errand>,
    /// The same ones, the oldest first.
    order: VecDeque<Which>,
    /// Of all blobs.
    bytes: usize,
}

impl Errands {
    pub(super) fn has(&self, key: [u8; 32], proposed: bool) -> bool {
        self.waiting.contains_key(&(key, proposed))
    }

    /// Takes in a pin or a proposal, in the place of an earlier one of its tool; whether there is room. What is too many bytes
    /// goes as its hash: the pin holds as well, a diff of it is lost.
    #[must_use]
    pub(super) fn push(&mut self, mut pin: Pin, proposed: bool) -> bool {
        let key = pin::key(&pin.tool);
        let which = (key, proposed);
        match self.waiting.get(&which) {
            Some(earlier) => self.bytes = self.bytes.saturating_sub(earlier.blob.len()),
            None if self.waiting.len() >= PINS_MAX => return false,
            None => self.order.push_back(which),
        }
        let mut blob = pin.line();
        if self.bytes.saturating_add(blob.len()) > PINS_BYTES_MAX {
            pin.definition.text = None;
            blob = pin.line();
        }
        self.bytes = self.bytes.saturating_add(blob.len());
        self.waiting.insert(which, Errand { tool: pin.tool, proposed, key, blob });
        true
    }

    pub(super) fn pop(&mut self) -> Option<Errand> {
        let errand = self.waiting.remove(&self.order.pop_front()?)?;
        self.bytes = self.bytes.saturating_sub(errand.blob.len());
        Some(errand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::PIN_BYTES_MAX;
    use crate::wire::pin::Definition;

    fn pin(tool: &str, length: usize) -> Pin {
        let text = Some(vec![b'x'; length]);
        Pin { tool: tool.to_owned(), definition: Definition { sha256: [1; 32], text } }
    }

    #[test]
    fn the_last_of_a_tool_goes_in_the_place_of_the_first() {
        let mut errands = Errands::default();
        assert!(errands.push(pin("a", 1), true) && errands.push(pin("b", 1), false) && errands.push(pin("a", 9), true));
        assert!(errands.has(pin::key("a"), true) && !errands.has(pin::key("a"), false));
        let gone: Vec<_> = std::iter::from_fn(|| errands.pop()).map(|errand| (errand.tool, errand.blob)).collect();
        assert_eq!(gone, [("a".to_owned(), pin("a", 9).line()), ("b".to_owned(), pin("b", 1).line())]);
        assert_eq!((errands.bytes, errands.has(pin::key("a"), true)), (0, false));
    }

    #[test]
    fn too_many_bytes_go_as_hashes() {
        let mut errands = Errands::default();
        for n in 0..PINS_BYTES_MAX / PIN_BYTES_MAX + 2 {
            assert!(errands.push(pin(&format!("t{n}"), PIN_BYTES_MAX), false));
        }
        assert!(errands.bytes <= PINS_BYTES_MAX);
        let last = errands.waiting[&(pin::key("t65"), false)].blob.clone();
        assert_eq!(
            Pin::read(&last).unwrap(),
            Pin { definition: Definition { sha256: [1; 32], text: None }, ..pin("t65", 0) }
        );
    }
}
