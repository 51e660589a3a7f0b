//! Another version of the policy takes over: recorded first, then in force for the next message, rules and limits
//! together. What the relay is handed it reads and loads itself; text and hash must be what the monitor says they are.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::gate::{Asked, Gate, Step};
use super::messages::{Attached, FromRelay, Rejection, ToRelay};
use super::outbox::Outbox;
use super::parking::Parked;
use super::sealed;
use crate::audit::{self, AuditError, Effect, Event, Hash, Journal, Kind, Mcp};
use crate::bounds::{LOCK_BYTES_MAX, POLICY_BYTES_MAX, RELOAD_REASON_BYTES_MAX};
use crate::clock::Now;
use crate::policy::{self, Policy};
use crate::wire::pin_lock::LockError;
use crate::wire::reply;

/// Why a policy could not take over. Each ends the session: a monitor that hands over something else than it says is no
/// monitor of ours, and without a log nothing goes on.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The text is not sealed, or of another length.
    #[error("its text")]
    Text(#[from] io::Error),
    /// The text is not the one that the message names.
    #[error("its text has another hash than was said")]
    Hash,
    /// The monitor has loaded it; here it does not load.
    #[error("it does not load; errors: {0}")]
    Load(usize),
    /// The monitor has read the lock; here it cannot be read.
    #[error("its lock")]
    Lock(#[from] LockError),
    /// The monitor answers about a pin that it was not handed.
    #[error("an answer about a pin that was not handed over")]
    NotAsked,
    /// No such message here.
    #[error("a message about a policy without its text")]
    NoText,
}

impl Gate {
    /// What the monitor says of the policy. Returns what it is told when the record is on disk; nothing where a lock came, for
    /// its policy comes next.
    ///
    /// # Errors
    /// [`SwapError`]: the session is over then.
    pub(super) fn hear_of_policy(
        &mut self,
        message: ToRelay,
        text: Option<OwnedFd>,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<Option<FromRelay>, SwapError> {
        let text = text.ok_or(SwapError::NoText)?;
        match message {
            ToRelay::Policy(attached) => {
                let policy = self.read_policy(text, attached)?;
                self.swap(policy, now, journal, outbox)?;
                Ok(Some(FromRelay::PolicyTaken(attached.sha256)))
            }
            ToRelay::Rejected(why, attached) => {
                self.record_rejection(why, text, attached, now, journal)?;
                Ok(Some(FromRelay::RejectionTaken))
            }
            ToRelay::Lock(attached) => {
                self.hear_lock(text, attached)?;
                Ok(None)
            }
            ToRelay::GateOpen { .. }
            | ToRelay::Finish { .. }
            | ToRelay::Pin(..)
            | ToRelay::Ceilings(_)
            | ToRelay::Denied(_) => Err(SwapError::NoText),
        }
    }

    /// The lock of the policy that is handed over next.
    fn hear_lock(&mut self, text: OwnedFd, attached: Attached) -> Result<(), SwapError> {
        let bytes = sealed::open(text, attached.bytes, LOCK_BYTES_MAX)?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != attached.sha256 {
            return Err(SwapError::Hash);
        }
        Ok(self.pins.hand_lock(&bytes, attached.sha256)?)
    }

    /// Loads what the monitor has loaded. The counters go by the name or by the path of the policy, and neither changes
    /// while the server runs: the path is the one that this process knows.
    fn read_policy(&self, text: OwnedFd, attached: Attached) -> Result<Policy, SwapError> {
        let bytes = sealed::open(text, attached.bytes, POLICY_BYTES_MAX)?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != attached.sha256 {
            return Err(SwapError::Hash);
        }
        let path = &self.policy.path;
        let failed = |errors: Vec<crate::report::Diagnostic>| SwapError::Load(errors.len());
        let text = policy::decode(path, &bytes).map_err(failed)?;
        Ok(policy::load(&policy::Source { path, text }).map_err(failed)?.policy)
    }

    fn swap(&mut self, new: Policy, now: Now, journal: &mut Journal, outbox: &mut Outbox) -> Result<(), AuditError> {
        let mut event = Event::new(Kind::PolicyReload).with_effect(Effect::Allowed);
        let previous = Some(self.policy.sha256.as_str());
        let lock = self.pins.lock_sha256();
        event.policy =
            Some(audit::Policy { name: &new.name, sha256: Some(&new.sha256), previous, lock: lock.as_deref() });
        let _on_disk = journal.append(now, &event)?;
        let old = std::mem::replace(&mut self.policy, Rc::new(new));

        self.continuations.clear(); // what the old policy charged, the new one has not

        let mut step = Step { now, line: &[], journal, outbox };
        let lock_changed = self.pins.swap(&self.policy, self.observe);
        if lock_changed || policy::visibility_changes(&old, &self.policy) {
            self.tell_of_tools(&mut step)?;
        }
        if (self.initialized || !self.schemas.not_asked()) && policy::wants_more_schemas(&old, &self.policy) {
            self.ask_for_tools(&mut step, None)?;
        }
        // What waited under the old policy is judged by the new one; what still needs a schema waits on.
        for Parked { ours, line } in self.parking.take_all() {
            self.rule_again((&ours, &line), now, journal, outbox)?;
        }
        Ok(())
    }

    /// The client has read a list that is no longer true. It is told if the server announced that lists change (MCP,
    /// server/tools, "List Changed Notification"): no other client expects it. Each sees the change when it next asks.
    fn tell_of_tools(&mut self, step: &mut Step<'_, '_>) -> Result<(), AuditError> {
        if !(self.initialized && self.tells_tools) {
            return Ok(());
        }
        let method = "notifications/tools/list_changed";
        reply::own_notification(method, step.outbox.client());
        step.outbox.client().push(b'\n');
        let mut event = Event::new(Kind::McpNotification).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "s2c", method: Some(method), kind: Some("own"), ..Mcp::default() });
        step.record(&event)
    }

    /// Answers to our own questions that are still to come say nothing any more.
    pub(super) fn forget_own_questions(&mut self) {
        let is_own = |asked: &Asked| matches!(asked, Asked::OwnToolsList);
        let own: Vec<_> =
            self.asked.pending().filter(|(_, entry)| is_own(&entry.payload)).map(|(ours, _)| ours).collect();
        for ours in own {
            self.asked.abandon(&ours);
        }
    }

    fn record_rejection(
        &self,
        why: Rejection,
        text: OwnedFd,
        attached: Attached,
        now: Now,
        journal: &mut Journal,
    ) -> Result<(), SwapError> {
        let reason = sealed::open(text, attached.bytes, RELOAD_REASON_BYTES_MAX as u64)?;
        let reason = String::from_utf8_lossy(&reason);
        let sha256 = (attached.sha256 != [0; 32]).then(|| Hash(attached.sha256).to_string());
        let mut event = Event::new(Kind::PolicyReject).with_effect(Effect::Denied).with_reason(why.code(), &reason);
        event.policy =
            Some(audit::Policy { name: &self.policy.name, sha256: sha256.as_deref(), previous: None, lock: None });
        let _on_disk = journal.append(now, &event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::clock;
    use crate::policy::{DefaultEffect, Durability};
    use crate::relay::stage::{Stage, stage};
    use crate::relay::test_log;

    const OLD: &str = "name: p\ntools: {a: {}}\n";
    const NEW: &str = "name: p\ndefault: allow\ntools: {a: {}}\n";

    fn ground() -> Stage {
        stage(OLD, false)
    }

    impl Stage {
        fn hear(&mut self, message: ToRelay, text: OwnedFd) -> Result<FromRelay, SwapError> {
            let mut outbox = Outbox::default();
            let heard = self.gate.hear_of_policy(message, Some(text), clock::now(), &mut self.journal, &mut outbox);
            heard.map(|answer| answer.expect("a policy and a rejection are answered"))
        }

        fn log(&self) -> String {
            test_log::text(self.root.path())
        }
    }

    fn attached(text: &str) -> Attached {
        Attached { bytes: text.len() as u64, sha256: Sha256::digest(text).into() }
    }

    #[test]
    fn a_policy_takes_over_with_its_record() {
        let mut ground = ground();
        let answer = ground.hear(ToRelay::Policy(attached(NEW)), sealed::seal(NEW.as_bytes()).unwrap()).unwrap();
        assert_eq!(answer, FromRelay::PolicyTaken(attached(NEW).sha256));
        assert_eq!(ground.gate.policy.default, DefaultEffect::Allow);
        let (old, new) = (Hash(attached(OLD).sha256), Hash(attached(NEW).sha256));
        let expected = format!("\"policy\":{{\"name\":\"p\",\"sha256\":\"{new}\",\"previous\":\"{old}\"}}");
        assert!(ground.log().contains(&expected), "{}", ground.log());
    }

    #[test]
    fn a_text_that_is_not_what_the_monitor_says_changes_nothing_and_ends_the_session() {
        let mut ground = ground();
        let said = ToRelay::Policy(attached(NEW));
        let mut open = std::fs::File::from(memfd_create(c"open", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        std::io::Write::write_all(&mut open, NEW.as_bytes()).unwrap();
        assert!(matches!(ground.hear(said, open.into()), Err(SwapError::Text(_))), "not sealed");
        let shorter = sealed::seal(&NEW.as_bytes()[1..]).unwrap();
        assert!(matches!(ground.hear(said, shorter), Err(SwapError::Text(_))), "another length");
        let other = NEW.replace("allow", "deny ");
        let sealed_other = sealed::seal(other.as_bytes()).unwrap();
        assert!(matches!(ground.hear(said, sealed_other), Err(SwapError::Hash)), "another text");
        let bad = "toolz: {}\n";
        let sealed_bad = sealed::seal(bad.as_bytes()).unwrap();
        assert!(matches!(ground.hear(ToRelay::Policy(attached(bad)), sealed_bad), Err(SwapError::Load(1))));
        let long = Attached { bytes: POLICY_BYTES_MAX + 1, sha256: [0; 32] };
        let sealed_long = sealed::seal(&vec![b' '; POLICY_BYTES_MAX as usize + 1]).unwrap();
        assert!(matches!(ground.hear(ToRelay::Policy(long), sealed_long), Err(SwapError::Text(_))), "too long");
        assert_eq!(ground.gate.policy.default, DefaultEffect::Deny);
        assert!(!ground.log().contains("policy.reload"));
    }

    #[test]
    fn a_policy_that_cannot_be_recorded_does_not_take_over() {
        let mut ground = ground();
        let full = std::fs::File::options().append(true).open("/dev/full").unwrap();
        let mark = ground.journal.mark();
        ground.journal = Journal::begin(full, "a".repeat(32), Durability::Write, mark, clock::now()).unwrap();
        assert!(ground.hear(ToRelay::Policy(attached(NEW)), sealed::seal(NEW.as_bytes()).unwrap()).is_err());
        assert_eq!(ground.gate.policy.default, DefaultEffect::Deny);
    }

    #[test]
    fn a_rejection_is_recorded_with_its_reason() {
        let mut ground = ground();
        let reason = "sandbox.filesystem.read cannot change";
        let said = Attached { bytes: reason.len() as u64, sha256: [0; 32] };
        let answer = ground.hear(ToRelay::Rejected(Rejection::Fixed, said), sealed::seal(reason.as_bytes()).unwrap());
        assert_eq!(answer.unwrap(), FromRelay::RejectionTaken);
        let log = ground.log();
        assert!(log.contains(&format!("\"reason\":{{\"code\":\"ISB-R018\",\"text\":\"{reason}\"}}")), "{log}");
        assert!(log.contains("\"policy\":{\"name\":\"p\"}"), "no hash of a file that was not read: {log}");
    }
}
