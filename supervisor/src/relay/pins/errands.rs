//! What waits for the monitor, bounded in number and in bytes, and found without a walk: every tool of a list asks for it.
//! What a call waits for goes first.

use std::collections::{BTreeMap, HashMap};

use super::Errand;
use crate::bounds::{PINS_BYTES_MAX, PINS_MAX};
use crate::wire::pin::{self, Pin};

/// What an errand is filed under, and whether it is a proposal.
type Which = ([u8; 32], bool);

/// A place in the line: whether nobody waits for it, and a number that rises.
type Place = (bool, u64);

#[derive(Debug, Default)]
pub(super) struct Errands {
    waiting: HashMap<Which, (Place, Errand)>,
    /// The same ones: first what a call waits for, of each kind the oldest.
    order: BTreeMap<Place, Which>,
    next: u64,
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
        let place = match self.waiting.get(&which) {
            Some((place, earlier)) => {
                self.bytes = self.bytes.saturating_sub(earlier.blob.len());
                *place
            }
            None if self.waiting.len() >= PINS_MAX => return false,
            None => self.place(true, which),
        };
        let mut blob = pin.line();
        if self.bytes.saturating_add(blob.len()) > PINS_BYTES_MAX {
            pin.definition.text = None;
            blob = pin.line();
        }
        self.bytes = self.bytes.saturating_add(blob.len());
        self.waiting.insert(which, (place, Errand { tool: pin.tool, proposed, key, blob }));
        true
    }

    /// Puts it before all that nobody waits for.
    pub(super) fn hurry(&mut self, key: [u8; 32], proposed: bool) {
        let which = (key, proposed);
        let Some(((true, number), _)) = self.waiting.get(&which) else { return };
        self.order.remove(&(true, *number));
        let first = self.place(false, which);
        if let Some((place, _)) = self.waiting.get_mut(&which) {
            *place = first;
        }
    }

    fn place(&mut self, unhurried: bool, which: Which) -> Place {
        let place = (unhurried, self.next);
        self.next += 1;
        self.order.insert(place, which);
        place
    }

    pub(super) fn pop(&mut self) -> Option<Errand> {
        let (_, which) = self.order.pop_first()?;
        let (_, errand) = self.waiting.remove(&which)?;
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
    fn what_a_call_waits_for_goes_first_and_once() {
        let mut errands = Errands::default();
        for tool in ["a", "b", "c", "d"] {
            assert!(errands.push(pin(tool, 1), false));
        }
        for tool in ["d", "b", "d", "x"] {
            errands.hurry(pin::key(tool), false);
        }
        assert!(errands.push(pin("d", 2), false), "it keeps its place when it changes");
        let gone: Vec<_> = std::iter::from_fn(|| errands.pop()).map(|errand| errand.tool).collect();
        assert_eq!(gone, ["d", "b", "a", "c"]);
        assert!(errands.order.is_empty() && errands.waiting.is_empty() && errands.bytes == 0);
    }

    #[test]
    fn too_many_bytes_go_as_hashes() {
        let mut errands = Errands::default();
        for n in 0..PINS_BYTES_MAX / PIN_BYTES_MAX + 2 {
            assert!(errands.push(pin(&format!("t{n}"), PIN_BYTES_MAX), false));
        }
        assert!(errands.bytes <= PINS_BYTES_MAX);
        let last = errands.waiting[&(pin::key("t65"), false)].1.blob.clone();
        assert_eq!(
            Pin::read(&last).unwrap(),
            Pin { definition: Definition { sha256: [1; 32], text: None }, ..pin("t65", 0) }
        );
    }
}
