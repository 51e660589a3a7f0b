//! Rate limits over the recorded times.
//!
//! Calls of which it cannot be said whether they would be allowed leave two counts: what stands for certain, and what may
//! stand. A call is refused for certain when the first is full, and allowed for certain when the second has room.

use std::collections::{HashMap, HashSet};

use super::RecordedLimit;
use crate::limits::{Claim, Window};

/// Times of the calls charged to each counter, ascending.
#[derive(Debug, Default)]
pub(super) struct Counts {
    certain: HashMap<String, Vec<u64>>,
    possible: HashMap<String, Vec<u64>>,
    /// What the recorded policy charged, as far as the log names the counter.
    recorded: HashMap<String, Vec<u64>>,
    /// Counters that held more than the log explains. A record names one counter, so where a call was charged to several, this
    /// can be said of one that no other session touches: then less is said, nothing wrong.
    shared: HashSet<String>,
}

/// What the limits say of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Granted,
    /// The rule and its limit in words.
    Refused(String, String),
    CannotSay(String),
}

impl Counts {
    /// Charges all claims (rule, limit in words, claim), or none. `certain`: whether the call passes all else.
    pub(super) fn charge(&mut self, claims: &[(String, String, Claim)], at_ns: u64, certain: bool) -> Answer {
        let mut open = None;
        for (rule, limit, claim) in claims {
            let max = claim.at_most.whole();
            let stands = |counts: &HashMap<String, Vec<u64>>| standing(counts.get(&claim.key), claim.window, at_ns);
            if stands(&self.certain) >= max {
                return Answer::Refused(rule.clone(), format!("at most {limit}"));
            }
            if self.shared.contains(&claim.key) {
                let why = "holds more than this log explains: other sessions may count in it too";
                open = Some(format!("the limit of rule {rule} {why}"));
            } else if stands(&self.possible) >= max {
                open = Some(format!("the limit of rule {rule} depends on calls of which it cannot be said"));
            }
        }
        for (_, _, claim) in claims {
            self.possible.entry(claim.key.clone()).or_default().push(at_ns);
            if certain && open.is_none() {
                self.certain.entry(claim.key.clone()).or_default().push(at_ns);
            }
        }
        open.map_or(Answer::Granted, Answer::CannotSay)
    }

    /// Learns from what a record says of a limit: a count above what this log explains may come from elsewhere.
    pub(super) fn note(&mut self, limit: &RecordedLimit, window: Window, at_ns: u64, allowed: bool) {
        let known = self.recorded.entry(limit.key.clone()).or_default();
        if limit.used.saturating_sub(u64::from(allowed)) > standing(Some(known), window, at_ns) {
            self.shared.insert(limit.key.clone());
        }
        if allowed {
            known.push(at_ns);
        }
    }
}

/// How many of the times stand in the window that `at_ns` ends.
fn standing(times: Option<&Vec<u64>>, window: Window, at_ns: u64) -> u64 {
    let Some(times) = times else { return 0 };
    let gone = match window {
        Window::Sliding { window_ms } => {
            let length_ns = window_ms.saturating_mul(1_000_000);
            times.partition_point(|time| time.saturating_add(length_ns) <= at_ns)
        }
        Window::Calendar { unit } => {
            let length_ns = unit.seconds() * 1_000_000_000;
            times.partition_point(|time| time / length_ns < at_ns / length_ns)
        }
    };
    (times.len() - gone) as u64
}
