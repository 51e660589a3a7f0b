//! What happened at the server's ceilings, in the log and in what the client is told when the server is gone.

use std::fmt::Write;

use super::gate::Gate;
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Proc};
use crate::clock::Now;
use crate::sandbox::cgroup::Incidents;

impl Gate {
    /// The kernel killed or refused something: an `alert` for each kind that grew.
    ///
    /// # Errors
    /// Only when it cannot be recorded.
    pub(super) fn hear_of_ceilings(
        &mut self,
        seen: Incidents,
        now: Now,
        journal: &mut Journal,
    ) -> Result<(), AuditError> {
        let before = std::mem::replace(&mut self.incidents, seen);
        if seen.oom_kills > before.oom_kills {
            let text = oom_text(seen.oom_kills - before.oom_kills);
            alert("out_of_memory", &text, Proc { op: "kill", oom: Some(true), ..Proc::default() }, now, journal)?;
        }
        if seen.forks_refused > before.forks_refused {
            let text = fork_text(seen.forks_refused - before.forks_refused);
            alert("process_limit", &text, Proc { op: "fork", ..Proc::default() }, now, journal)?;
        }
        Ok(())
    }
}

fn alert(code: &'static str, text: &str, proc: Proc, now: Now, journal: &mut Journal) -> Result<(), AuditError> {
    let mut event = Event::new(Kind::Alert).with_effect(Effect::Denied).with_reason(code, text);
    event.proc = Some(proc);
    let _on_disk = journal.append(now, &event)?;
    Ok(())
}

/// What the client is told behind how the server ended; empty, or it begins with a space.
pub(super) fn remark(seen: Incidents) -> String {
    let mut text = String::new();
    for (count, said) in [(seen.oom_kills, oom_text as fn(u64) -> String), (seen.forks_refused, fork_text)] {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, " {}", said(count));
        }
    }
    text
}

fn oom_text(count: u64) -> String {
    format!("The kernel killed {count} of its processes: the memory of the policy (resources.memory) was used up.")
}

fn fork_text(count: u64) -> String {
    format!(
        "The kernel refused it {count} new processes or threads: there were as many as the policy allows (process.max)."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_is_not_mentioned() {
        assert_eq!(remark(Incidents::default()), "");
        let killed = remark(Incidents { oom_kills: 2, forks_refused: 0 });
        assert!(killed.starts_with(" The kernel killed 2 ") && !killed.contains("process.max"), "{killed}");
        let both = remark(Incidents { oom_kills: 1, forks_refused: 3 });
        assert!(both.contains("resources.memory") && both.contains("refused it 3 new"), "{both}");
    }
}
