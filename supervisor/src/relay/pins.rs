//! Which definitions of the server's tools are taken. What the server lists, asked by ourselves, is compared with what was
//! pinned; a tool that differs, or whose name could be taken for another one's, is refused until that is no longer so.
//!
//! The verdicts are of the last whole list. A client's own list is held against the same pins, entry by entry.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use self::errands::Errands;
use self::held::Held;
use super::schemas::Listing;
use crate::bounds::{PIN_RECORDS_MAX, PINS_BYTES_MAX, PINS_MAX};
use crate::policy::{DenialCode, Pins as Mode, Policy, Visibility};
use crate::weaken;
use crate::wire::json::Value;
use crate::wire::pin::{self, Definition, Pin};
use crate::wire::pin_lock::{self, LockError};
use crate::wire::tool_names::{self, NameFault};
use crate::wire::{pin_diff, tools};

/// What the pins begin with: all of it was written by root, or by a relay before this one.
#[derive(Clone, Debug, Default)]
pub struct PinSource {
    /// The text of the lock file, where the policy has one.
    pub lock: Option<Vec<u8>>,
    /// The first-use pins of earlier sessions: what each is filed under, and its blob.
    pub kept: Vec<([u8; 32], Vec<u8>)>,
}

/// Something for the monitor to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    tool: String,
    /// A proposal changes nothing until a person approves it.
    pub(super) proposed: bool,
    /// What it is filed under.
    pub(super) key: [u8; 32],
    pub(super) blob: Vec<u8>,
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A definition was seen for the first time, and holds from here.
    Pinned { tool: String, sha256: [u8; 32] },
    /// A tool is left out of the list, and its calls are refused.
    Refused { tool: String, refusal: Refusal },
    /// As many more were refused.
    More { count: u64 },
}

/// Why a tool is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: DenialCode,
    /// For the record: what differs.
    pub(super) detail: String,
    /// Of the definition that was listed.
    pub(super) sha256: [u8; 32],
    /// Of the pin.
    pub(super) pinned: Option<[u8; 32]>,
}

#[derive(Clone, Debug)]
enum Standing {
    Good,
    /// As [`Standing::Good`] once the monitor has its pin.
    Storing,
    Refused(Refusal),
}

/// What a call may know of its tool's pin.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    /// Nothing is pinned.
    Off,
    /// The list is not done.
    Pending,
    /// The pin is on its way to the disk.
    Storing,
    /// The list is not to be had.
    Unavailable,
    Refused(DenialCode, String),
    /// The hash of the definition that holds.
    Good(&'a [u8; 32]),
}

/// The pins of a session.
#[derive(Debug)]
pub(super) struct Pins {
    mode: Mode,
    pinned: Held,
    /// What lies under these keys cannot be read: their tools have no pin and get none.
    unreadable: HashSet<[u8; 32]>,
    /// A changed lock, until its policy takes over.
    next_lock: Option<(BTreeMap<String, Definition>, [u8; 32])>,
    /// The last whole list.
    seen: Vec<(String, Definition)>,
    /// Where a tool stands in it first.
    seen_at: HashMap<String, usize>,
    /// The one that is being read, and the bytes of its definitions.
    reading: (Vec<(String, Definition)>, usize),
    standing: HashMap<String, Standing>,
    errands: Errands,
    /// What the monitor has not answered yet.
    out: Option<Errand>,
    unsaid: VecDeque<Said>,
    /// What is in the log already.
    told: HashSet<[u8; 32]>,
}

impl Pins {
    /// The pins of a policy.
    ///
    /// # Errors
    /// When its lock does not load, or is not there.
    pub(super) fn new(policy: &Policy, source: PinSource) -> Result<Self, LockError> {
        let mut pinned = Held::default();
        let mut unreadable = HashSet::new();
        match &policy.pins {
            Mode::Lock(_) => pinned = pin_lock::read(source.lock.as_deref().unwrap_or_default())?.into_iter().collect(),
            Mode::FirstUse => {
                for (key, blob) in source.kept {
                    match Pin::read(&blob) {
                        Ok(Pin { tool, definition }) if pin::key(&tool) == key => pinned.insert(tool, definition),
                        Ok(_) | Err(_) => drop(unreadable.insert(key)),
                    }
                }
            }
            Mode::Session | Mode::Off => {}
        }
        Ok(Self {
            mode: policy.pins.clone(),
            pinned,
            unreadable,
            next_lock: None,
            seen: Vec::new(),
            seen_at: HashMap::new(),
            reading: (Vec::new(), 0),
            standing: HashMap::new(),
            errands: Errands::default(),
            out: None,
            unsaid: VecDeque::new(),
            told: HashSet::new(),
        })
    }

    /// Whether tools are held against pins at all.
    pub(super) fn on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// Our own list is read from the start.
    pub(super) fn asked(&mut self) {
        self.reading = (Vec::new(), 0);
    }

    /// Takes in a page of it; whether there is room.
    #[must_use]
    pub(super) fn page(&mut self, result: &Value<'_>) -> bool {
        let (reading, bytes) = &mut self.reading;
        for (name, entry) in tools::entries(result).filter(|_| self.mode != Mode::Off) {
            if reading.len() == PINS_MAX {
                return false;
            }
            let mut definition = Definition::of(entry);
            *bytes += definition.text.as_ref().map_or(0, Vec::len);
            if *bytes > PINS_BYTES_MAX {
                definition.text = None;
            }
            reading.push((name.to_owned(), definition));
        }
        true
    }

    /// The list is whole: every tool that the policy lets be called is judged.
    pub(super) fn known(&mut self, policy: &Policy, observe: bool) {
        self.seen = std::mem::take(&mut self.reading.0);
        // Of two with a name the first stays: it comes last.
        self.seen_at = self.seen.iter().enumerate().rev().map(|(at, (name, _))| (name.clone(), at)).collect();
        self.judge(policy, observe);
    }

    /// The list cannot be had: no tool is known.
    pub(super) fn failed(&mut self) {
        self.asked();
        self.seen.clear();
        self.seen_at.clear();
        self.standing.clear();
    }

    /// A lock that comes with the next policy.
    ///
    /// # Errors
    /// When it does not load.
    pub(super) fn hand_lock(&mut self, text: &[u8], sha256: [u8; 32]) -> Result<(), LockError> {
        self.next_lock = Some((pin_lock::read(text)?, sha256));
        Ok(())
    }

    /// The hash of the lock that the next policy comes with, hex.
    pub(super) fn lock_sha256(&self) -> Option<String> {
        self.next_lock.as_ref().map(|(_, sha256)| pin::hex(sha256))
    }

    /// Another policy decides from here; its lock has been handed over before. Whether a lock took over.
    pub(super) fn swap(&mut self, policy: &Policy, observe: bool) -> bool {
        let lock = self.next_lock.take().filter(|_| matches!(self.mode, Mode::Lock(_)));
        let taken = lock.is_some();
        if let Some((lock, _)) = lock {
            self.pinned = lock.into_iter().collect();
        }
        self.judge(policy, observe);
        taken
    }

    fn judge(&mut self, policy: &Policy, observe: bool) {
        if !self.on() {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        self.standing.clear();
        let is_seen = |name: &str| observe || policy.visibility(name) == Visibility::Listed;
        let mut first: HashMap<&str, &Definition> = HashMap::new();
        let mut twice: HashSet<&str> = HashSet::new();
        let mut names = Vec::new();
        for (name, definition) in seen.iter().filter(|(name, _)| is_seen(name)) {
            match first.get(name.as_str()) {
                None => {
                    first.insert(name, definition);
                    names.push(name.as_str());
                }
                Some(earlier) if earlier.sha256 != definition.sha256 => drop(twice.insert(name)),
                Some(_) => {}
            }
        }
        let faults = tool_names::faults(&names, &policy.written_tools());
        let mut refused = Vec::new();
        for name in names {
            let definition = first[name];
            let twice = twice.contains(name) && weaken::in_force("tool-twice");
            let standing = match faults.get(name) {
                _ if twice => self.refusal(
                    DenialCode::NameCollision,
                    "it is listed twice, with different definitions",
                    definition,
                ),
                Some(fault) => {
                    let code = match fault {
                        NameFault::SameButCase(_) => DenialCode::NameCollision,
                        NameFault::Unseen(_) | NameFault::LooksLike(_) => DenialCode::LookalikeName,
                    };
                    self.refusal(code, &fault.text(), definition)
                }
                None => self.compare(name, definition),
            };
            if let Standing::Refused(refusal) = &standing {
                refused.push((name.to_owned(), refusal.clone()));
            }
            self.standing.insert(name.to_owned(), standing);
        }
        self.seen = seen;
        self.tell(refused);
    }

    fn refusal(&self, code: DenialCode, detail: &str, listed: &Definition) -> Standing {
        Standing::Refused(Refusal { code, detail: detail.to_owned(), sha256: listed.sha256, pinned: None })
    }

    /// A tool whose name is in order, against its pin; the first time it gets one.
    fn compare(&mut self, name: &str, listed: &Definition) -> Standing {
        match self.pinned.get(name) {
            Some(pinned) if pinned.sha256 == listed.sha256 || !weaken::in_force("pin-mismatch") => {
                let out = self.out.as_ref().is_some_and(|errand| errand.tool == name && !errand.proposed);
                if out || self.errands.has(pin::key(name), false) { Standing::Storing } else { Standing::Good }
            }
            Some(pinned) => {
                let detail = pin_diff::changes(pinned, listed);
                let pinned = Some(pinned.sha256);
                if self.mode == Mode::FirstUse {
                    let _sent = self.send(name, listed, true); // nothing rests on a proposal, nor on whether there is room
                }
                let code = DenialCode::PinMismatch;
                Standing::Refused(Refusal { code, detail, sha256: listed.sha256, pinned })
            }
            None if matches!(self.mode, Mode::Lock(_)) => {
                self.refusal(DenialCode::NotPinned, "the lock file does not have it", listed)
            }
            None if self.unreadable.contains(&pin::key(name)) => {
                self.refusal(DenialCode::PinUnavailable, "its pin was kept and cannot be read", listed)
            }
            None if self.pinned.len() >= PINS_MAX => {
                self.refusal(DenialCode::PinUnavailable, "too many tools are pinned already", listed)
            }
            None => self.pin(name, listed),
        }
    }

    fn pin(&mut self, name: &str, listed: &Definition) -> Standing {
        // First on its way, then held: a pin that never reaches the disk would hold for this session alone.
        if self.mode == Mode::FirstUse && !self.send(name, listed, false) {
            let why = "too many pins wait to be written"; // the next list tries again
            return self.refusal(DenialCode::PinUnavailable, why, listed);
        }
        self.pinned.insert(name.to_owned(), listed.clone());
        self.unsaid.push_back(Said::Pinned { tool: name.to_owned(), sha256: listed.sha256 });
        if self.mode == Mode::FirstUse { Standing::Storing } else { Standing::Good }
    }

    /// Puts a definition on its way to the monitor, in the place of an earlier one; whether there is room.
    #[must_use]
    fn send(&mut self, name: &str, listed: &Definition, proposed: bool) -> bool {
        self.errands.push(Pin { tool: name.to_owned(), definition: listed.clone() }, proposed)
    }

    fn tell(&mut self, refused: Vec<(String, Refusal)>) {
        let mut more = 0;
        let mut room = PIN_RECORDS_MAX;
        for (tool, refusal) in refused {
            let said = [refusal.code.as_str().as_bytes(), &refusal.sha256, tool.as_bytes()].concat();
            if self.told.contains(&pin::digest(&said)) {
                continue;
            }
            if room == 0 || self.told.len() >= PINS_MAX {
                more += 1;
                continue;
            }
            room -= 1;
            self.told.insert(pin::digest(&said));
            self.unsaid.push_back(Said::Refused { tool, refusal });
        }
        if more > 0 {
            self.unsaid.push_back(Said::More { count: more });
        }
    }

    /// What the log should say next.
    pub(super) fn next_said(&mut self) -> Option<Said> {
        self.unsaid.pop_front()
    }

    /// What the monitor should keep next; one at a time.
    pub(super) fn next_errand(&mut self) -> Option<&Errand> {
        if self.out.is_some() {
            return None;
        }
        self.out = self.errands.pop();
        self.out.as_ref()
    }

    /// The monitor has kept what it was handed, or could not; or another session was first, with what stands there.
    /// The tool of what it was handed; none when that was something else.
    #[must_use]
    pub(super) fn answered(&mut self, key: [u8; 32], answer: Kept) -> Option<String> {
        let Errand { tool, proposed, .. } = self.out.take().filter(|errand| errand.key == key)?;
        if proposed {
            return Some(tool); // nothing rests on it
        }
        match answer {
            Kept::Yes => {
                if let Some(standing @ Standing::Storing) = self.standing.get_mut(&tool) {
                    *standing = Standing::Good;
                }
            }
            Kept::Stood(blob) => match Pin::read(&blob) {
                Ok(pin) if pin.tool == tool => {
                    self.pinned.insert(tool.clone(), pin.definition);
                    self.compare_again(&tool);
                }
                Ok(_) | Err(_) => {
                    self.unreadable.insert(key);
                    self.unpin(&tool, "another session's pin cannot be read");
                }
            },
            // The next list tries again.
            Kept::No => self.unpin(&tool, "its pin could not be written"),
        }
        Some(tool)
    }

    /// A call waits for the pin of `tool`: it goes before those that nobody waits for.
    pub(super) fn hurry(&mut self, tool: &str) {
        self.errands.hurry(pin::key(tool), false);
    }

    fn unpin(&mut self, tool: &str, why: &str) {
        if let Some(definition) = self.pinned.remove(tool)
            && let Some(standing) = self.standing.get_mut(tool)
        {
            let (code, sha256) = (DenialCode::PinUnavailable, definition.sha256);
            let refusal = Refusal { code, detail: why.to_owned(), sha256, pinned: None };
            *standing = Standing::Refused(refusal.clone());
            self.tell(vec![(tool.to_owned(), refusal)]);
        }
    }

    fn compare_again(&mut self, tool: &str) {
        if matches!(self.standing.get(tool), None | Some(Standing::Refused(_))) {
            return;
        }
        let Some((_, listed)) = self.seen_at.get(tool).and_then(|at| self.seen.get(*at)).cloned() else { return };
        let standing = self.compare(tool, &listed);
        if let Standing::Refused(refusal) = &standing {
            self.tell(vec![(tool.to_owned(), refusal.clone())]);
        }
        self.standing.insert(tool.to_owned(), standing);
    }

    /// What a call of `tool` meets.
    pub(super) fn lookup(&self, listing: Listing, tool: &str) -> Lookup<'_> {
        if !self.on() {
            return Lookup::Off;
        }
        match listing {
            Listing::Pending => Lookup::Pending,
            Listing::Unavailable => Lookup::Unavailable,
            Listing::Known => match (self.standing.get(tool), self.pinned.get(tool)) {
                (Some(Standing::Good), Some(pinned)) => Lookup::Good(&pinned.sha256),
                (Some(Standing::Storing), _) => Lookup::Storing,
                (Some(Standing::Refused(refusal)), _) => Lookup::Refused(refusal.code, told(tool, refusal.code)),
                (None | Some(Standing::Good), _) => {
                    Lookup::Refused(DenialCode::NotPinned, told(tool, DenialCode::NotPinned))
                }
            },
        }
    }

    /// Whether the client sees this entry of a list of its own. One that differs from its pin is shown by nobody, and its
    /// tool is refused until our own list says otherwise.
    pub(super) fn shows(&mut self, tool: &str, entry: &Value<'_>) -> bool {
        if !self.on() {
            return true;
        }
        if !matches!(self.standing.get(tool), Some(Standing::Good | Standing::Storing)) {
            return false;
        }
        let listed = Definition::of(entry);
        match self.compare(tool, &listed) {
            Standing::Good | Standing::Storing => true,
            Standing::Refused(refusal) => {
                self.tell(vec![(tool.to_owned(), refusal.clone())]);
                self.standing.insert(tool.to_owned(), Standing::Refused(refusal));
                false
            }
        }
    }
}

/// What became of an errand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
    /// There was one already.
    Stood(Vec<u8>),
}

/// What the agent reads. Nothing of what the server wrote but the name that the agent gave itself.
pub(super) fn told(tool: &str, code: DenialCode) -> String {
    let tool = tool_names::visible(tool);
    match code {
        DenialCode::NotPinned => {
            format!("The tool \"{tool}\" is not among those that were reviewed, or the server does not list it.")
        }
        DenialCode::PinUnavailable => {
            format!("The definition of \"{tool}\" could not be kept, so it cannot be compared.")
        }
        DenialCode::NameCollision => format!("The server lists \"{tool}\" more than once, or differing in case alone."),
        DenialCode::LookalikeName => format!("The name \"{tool}\" can be taken for another tool's."),
        _ => format!("The definition of \"{tool}\" is not the one that was approved: a person has to look at it."),
    }
}

mod errands;
mod held;
#[cfg(test)]
mod tests;
