//! What the server has not seen yet: messages that wait for the list of its tools, and calls that wait for one tool's pin.
//!
//! A list wakes those that wait for a list, a filed pin the calls of its tool. So each is judged again as often as what it waits
//! for comes, however many pins are filed meanwhile.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::bounds::{PARKED_BYTES_MAX, PIN_WAIT_MS, SCHEMA_WAIT_MS};
use crate::weaken;
use crate::wire::jsonrpc::RequestId;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The list of the server's tools.
    Tools,
    /// Its tool's pin, on its way to the disk.
    Pin,
}

/// A message that waits, as it came.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ours: RequestId,
    pub(super) line: Vec<u8>,
}

/// A time in nanoseconds since boot, and a number that tells two of the same time apart.
type Due = (u64, u64);

#[derive(Debug)]
enum Place {
    Tools,
    Pin { tool: String, due: Due },
    Woken,
}

/// Everything that waits, bounded in bytes; in number by the table of open requests.
#[derive(Debug, Default)]
pub(super) struct Parking {
    places: HashMap<RequestId, Place>,
    for_tools: VecDeque<Parked>,
    for_pins: HashMap<String, VecDeque<Parked>>,
    /// Calls whose pin is filed.
    woken: VecDeque<Parked>,
    /// When the calls that wait for a pin have waited long enough.
    due: BTreeMap<Due, RequestId>,
    /// Of all lines.
    bytes: usize,
    next: u64,
    /// How many were taken out to be judged again.
    #[cfg(test)]
    pub(super) taken: usize,
}

/// When a call that came at `came_ns` has waited long enough for its pin: however often it is put back, never later than both waits
/// after it came.
pub(super) fn pin_due_ns(came_ns: u64, now_ns: u64) -> u64 {
    let both_ns = (SCHEMA_WAIT_MS + PIN_WAIT_MS) * 1_000_000;
    now_ns.saturating_add(PIN_WAIT_MS * 1_000_000).min(came_ns.saturating_add(both_ns))
}

impl Parking {
    /// Whether a line of so many bytes may wait as well.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= PARKED_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn has(&self, ours: &RequestId) -> bool {
        self.places.contains_key(ours)
    }

    /// It waits for the list.
    pub(super) fn for_tools(&mut self, parked: Parked) {
        self.bytes += parked.line.len();
        self.places.insert(parked.ours.clone(), Place::Tools);
        self.for_tools.push_back(parked);
    }

    /// It waits for the pin of `tool`, until `due_ns`.
    pub(super) fn for_pin(&mut self, parked: Parked, tool: &str, due_ns: u64) {
        self.bytes += parked.line.len();
        let due = (due_ns, self.next);
        self.next += 1;
        self.due.insert(due, parked.ours.clone());
        self.places.insert(parked.ours.clone(), Place::Pin { tool: tool.to_owned(), due });
        self.for_pins.entry(tool.to_owned()).or_default().push_back(parked);
    }

    /// The pin of `tool` is filed, or will not be: its calls may go on, and no others.
    pub(super) fn wake(&mut self, tool: &str) {
        for parked in self.for_pins.remove(tool).unwrap_or_default() {
            if let Some(Place::Pin { due, .. }) = self.places.insert(parked.ours.clone(), Place::Woken) {
                self.due.remove(&due);
            }
            self.woken.push_back(parked);
        }
    }

    /// The next call whose pin is filed.
    pub(super) fn next_woken(&mut self) -> Option<Parked> {
        let parked = self.woken.pop_front()?;
        self.left(&parked);
        Some(parked)
    }

    /// Everything that waits for the list, the oldest first.
    pub(super) fn take_for_tools(&mut self) -> VecDeque<Parked> {
        let taken = std::mem::take(&mut self.for_tools);
        taken.iter().for_each(|parked| self.left(parked));
        taken
    }

    /// Everything, for a policy that changed.
    pub(super) fn take_all(&mut self) -> VecDeque<Parked> {
        let tools: Vec<String> = self.for_pins.keys().cloned().collect();
        let mut taken = self.take_for_tools();
        tools.iter().for_each(|tool| self.wake(tool));
        taken.extend(std::iter::from_fn(|| self.next_woken()));
        // Our ids rise in the order in which the calls came.
        taken.make_contiguous().sort_by_key(|parked| match parked.ours {
            RequestId::Integer(number) => number,
            RequestId::String(_) => i64::MAX,
        });
        taken
    }

    /// The next call that has waited long enough for its pin.
    pub(super) fn next_overdue(&mut self, now_ns: u64) -> Option<Parked> {
        let (_, ours) = self.due.first_key_value().filter(|((due_ns, _), _)| now_ns >= *due_ns)?;
        let ours = ours.clone();
        weaken::in_force("pin-wait").then(|| self.remove(&ours)).flatten()
    }

    /// When the next call has waited long enough for its pin, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.due.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    /// Takes one out, wherever it waits.
    pub(super) fn remove(&mut self, ours: &RequestId) -> Option<Parked> {
        let take = |queue: &mut VecDeque<Parked>| {
            let at = queue.iter().position(|parked| parked.ours == *ours)?;
            queue.remove(at)
        };
        let parked = match self.places.get(ours)? {
            Place::Tools => take(&mut self.for_tools),
            Place::Woken => take(&mut self.woken),
            Place::Pin { tool, due } => {
                self.due.remove(due);
                let queue = self.for_pins.get_mut(tool)?;
                let parked = take(queue);
                if queue.is_empty() {
                    self.for_pins.remove(tool);
                }
                parked
            }
        }?;
        self.left(&parked);
        Some(parked)
    }

    fn left(&mut self, parked: &Parked) {
        self.places.remove(&parked.ours);
        self.bytes = self.bytes.saturating_sub(parked.line.len());
        #[cfg(test)]
        {
            self.taken += 1;
        }
    }
}

#[cfg(test)]
mod tests;
