//! `policy test --replay`: the recorded calls of a session against a policy.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Done, file};
use crate::audit::read::{self, Cursor};
use crate::audit::{KEY_DIRECTORY, keys};
use crate::policy::{Finding, Hash, Policy, Replay};
use crate::report::printable;
use crate::weaken::in_force;

mod record;

use record::{Call, Clock, Read};

/// Why a replay cannot be made.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(
        "behind sudo no log is replayed: copy it and replay the copy as yourself, without sudo, or as root with no user behind"
    )]
    BehindSudo,
    #[error("--required wants TOOL=NAME,..., not \"{0}\"")]
    Required(String),
    #[error("{0} holds no segment of a log")]
    NoSegment(PathBuf),
    #[error("line {line} of {path} is no audit record")]
    NoRecord { path: PathBuf, line: u64 },
}

/// What came of the replay.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) calls: u64,
    pub(super) same: u64,
    /// Refused by the pipe: no policy was asked.
    pub(super) not_asked: u64,
    pub(super) differences: Vec<Difference>,
    /// Reason, calls, seq of the first.
    pub(super) open: Vec<(String, u64, u64)>,
}

/// A call that would end otherwise.
#[derive(Debug)]
pub(super) struct Difference {
    seq: u64,
    time: String,
    tool: String,
    was: String,
    now: String,
}

pub(super) fn run(policy: &Path, log: &Path, required: &[String], as_json: bool, out: &mut impl Write) -> Done {
    // Root's key and root's log against a policy of the caller's: he could guess the recorded values, one by one.
    if file::is_behind_sudo() && in_force("replay-behind") {
        return Err(ReplayError::BehindSudo.into());
    }
    let required = required.iter().map(|text| required_of(text)).collect::<Result<_, _>>()?;
    let bytes = file::read_to_show(policy)?;
    let Some(loaded) = file::load_or_tell(policy, &bytes, out)? else { return Ok(1) };
    let policy = loaded.policy;
    let redactor = keys::load_redactor(Path::new(KEY_DIRECTORY)).ok();
    let hashing = redactor.as_ref().map(|redactor| |kind: &str, text: &str| redactor.hash(kind, text));
    let outcome = replay(&policy, log, required, hashing.as_ref().map(|hash| hash as Hash<'_>))?;
    if as_json {
        writeln!(out, "{}", outcome.json(redactor.is_some()))?;
    } else {
        tell(&outcome, redactor.is_some(), out)?;
    }
    Ok(u8::from(!outcome.differences.is_empty()))
}

/// `TOOL=NAME,...`.
fn required_of(text: &str) -> Result<(String, Vec<String>), ReplayError> {
    let (tool, names) = text.split_once('=').ok_or_else(|| ReplayError::Required(text.to_owned()))?;
    let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok((tool.to_owned(), names))
}

/// Judges every call of the log in order.
pub(super) fn replay(
    policy: &Policy,
    log: &Path,
    required: BTreeMap<String, Vec<String>>,
    hash: Option<Hash<'_>>,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let segments = if log.is_dir() { read::segments(log)? } else { vec![log.to_owned()] };
    if segments.is_empty() {
        return Err(ReplayError::NoSegment(log.to_owned()).into());
    }
    let mut outcome = Outcome::default();
    let mut replay: Option<Replay<'_>> = None;
    let mut clock = Clock::default();
    for segment in segments {
        let mut cursor = Cursor::start(segment.clone());
        let mut number = 0;
        loop {
            let lines = cursor.take()?;
            if lines.is_empty() {
                break;
            }
            for line in lines {
                number += 1;
                let read = record::read(&line.bytes, &mut clock);
                match read.ok_or_else(|| ReplayError::NoRecord { path: segment.clone(), line: number })? {
                    Read::Other => {}
                    Read::NotAsked => outcome.not_asked += 1,
                    Read::Call(call) => {
                        let replay =
                            replay.get_or_insert_with(|| Replay::new(policy, &call.session, required.clone(), hash));
                        let finding = replay.judge(&call.recorded);
                        outcome.add(*call, finding);
                    }
                }
            }
        }
    }
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, call: Call, finding: Finding) {
        self.calls += 1;
        match finding {
            Finding::Same => self.same += 1,
            Finding::Differs(was, now) => {
                let Call { seq, time, recorded, .. } = call;
                self.differences.push(Difference { seq, time, tool: recorded.tool, was, now });
            }
            Finding::CannotSay(why) => match self.open.iter_mut().find(|(known, ..)| *known == why) {
                Some((_, calls, _)) => *calls += 1,
                None => self.open.push((why, 1, call.seq)),
            },
        }
    }

    fn open_calls(&self) -> u64 {
        self.open.iter().map(|(_, calls, _)| calls).sum()
    }

    fn json(&self, hashed: bool) -> serde_json::Value {
        let differences = self.differences.iter().map(|one| {
            serde_json::json!({"seq": one.seq, "time": one.time, "tool": one.tool, "was": one.was, "now": one.now})
        });
        let open = self
            .open
            .iter()
            .map(|(why, calls, seq)| serde_json::json!({"reason": why, "calls": calls, "first_seq": seq}));
        serde_json::json!({
            "calls": self.calls,
            "same": self.same,
            "differ": differences.collect::<Vec<_>>(),
            "cannot_say": open.collect::<Vec<_>>(),
            "policy_not_asked": self.not_asked,
            "hmac_key": hashed,
        })
    }
}

fn tell(outcome: &Outcome, hashed: bool, out: &mut impl Write) -> std::io::Result<()> {
    for one in &outcome.differences {
        let line = format!("seq {} {} {}: was {}, now {}", one.seq, one.time, one.tool, one.was, one.now);
        writeln!(out, "{}", printable(&line))?;
    }
    for (why, calls, seq) in &outcome.open {
        let line = format!("cannot say, {calls} of {} calls, first seq {seq}: {why}", outcome.calls);
        writeln!(out, "{}", printable(&line))?;
    }
    if !hashed && !outcome.open.is_empty() {
        writeln!(
            out,
            "the key of {KEY_DIRECTORY} cannot be read; with it, equality with values of the policy can be told"
        )?;
    }
    if outcome.not_asked > 0 {
        writeln!(out, "{} more were refused by the pipe, before any policy was asked", outcome.not_asked)?;
    }
    let (calls, same, differ) = (outcome.calls, outcome.same, outcome.differences.len());
    writeln!(out, "{calls} calls: {same} end the same, {differ} differ, {} cannot be said", outcome.open_calls())
}

#[cfg(test)]
mod tests;
