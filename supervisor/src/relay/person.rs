//! Where a person decides: calls that wait for an approval, and what comes over the control socket.

use super::approvals::{Asking, FindError, Question, Waiting};
use super::calls::{Opened, reread};
use super::control::{Decided, Listed, Reply, Request, Shown, Status};
use super::desk::Asker;
use super::fingerprint::Fingerprint;
use super::gate::{Asked, Gate, Step, corr};
use super::outbox::Outbox;
use super::ruling::{Refused, record_rule};
use super::shown;
use crate::audit::text::visible;
use crate::audit::timestamp::Timestamp;
use crate::audit::{self, AuditError, Effect, Event, Journal, Kind, Mcp};
use crate::bounds::{APPROVAL_ID_DIGITS, APPROVAL_REASON_BYTES_MAX};
use crate::clock::Now;
use crate::policy::{self, DenialCode, Rule};
use crate::wire::jsonrpc::{self, Message};
use crate::wire::tools::ToolCall;

const SECOND_NS: u64 = 1_000_000_000;

/// How many calls went which way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) observed: u64,
}

/// The journal and the outbox of one turn, and its time.
struct Turn<'t> {
    now: Now,
    journal: &'t mut Journal,
    outbox: &'t mut Outbox,
}

impl Gate {
    /// The name of a question for people. Keyed: a reader of the log cannot try arguments against it.
    pub(super) fn approval_id(&self, print: Fingerprint) -> String {
        let mut id = self.redactor.hash("approval", &format!("{}/{}", self.session, print.hex()));
        id.truncate(APPROVAL_ID_DIGITS);
        id
    }

    /// Parks a call until a person answers: recorded, listed, and told to nobody else.
    pub(super) fn ask_a_person(
        &mut self,
        step: &mut Step<'_, '_>,
        opened: Opened<'_>,
        rule: &Rule,
        print: Fingerprint,
    ) -> Result<(), AuditError> {
        let Opened { call, ours, .. } = opened;
        // What is over is on record before the call asks anew; it takes no room either.
        self.questions_over(&mut Turn { now: step.now, journal: step.journal, outbox: step.outbox })?;
        if !self.approvals.has_room(print, step.line.len()) {
            let text = "Too many calls wait for a person's approval; call again later.".to_owned();
            let refused = Refused::plain(Some(rule), DenialCode::ApprovalRequired, text);
            return self.refuse_call(step, opened, &refused, None);
        }
        let (corr, id) = (corr(ours), self.approval_id(print));
        let mut event = self.call_event(Kind::ApprovalRequested, step, &opened, &corr);
        event.rule = Some(record_rule(rule));
        event.approval = Some(audit::Approval { id: &id, ..audit::Approval::default() });
        step.record(&event)?;
        let opened_ns = match self.asked.get_mut(ours).map(|entry| &entry.payload) {
            Some(Asked::Call { since_ns, .. }) => *since_ns,
            _ => step.now.boot_ns,
        };
        let asking = Asking {
            print,
            id,
            tool: call.name.to_owned(),
            shown: shown::call(call, &self.secrets),
            rule: rule.id.clone(),
            policy_sha256: self.policy.sha256.clone(),
        };
        let parked = (ours.clone(), step.line.to_vec());
        self.approvals.ask(asking, parked, opened_ns, step.now.boot_ns, self.policy.approvals);
        Ok(())
    }

    /// A request over the control socket. Whatever it decides is on record before it holds and before it is answered.
    ///
    /// # Errors
    /// Only when it cannot be recorded: the session is over then.
    pub(super) fn hear_person(
        &mut self,
        request: Request,
        asker: Asker,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<Reply, AuditError> {
        let mut turn = Turn { now, journal, outbox };
        match request {
            Request::List {} => Ok(Reply::Listed(self.list(now.boot_ns))),
            Request::Status {} => Ok(Reply::Status(Box::new(self.status()))),
            Request::Show { id } => Ok(self.show(&id, now.boot_ns)),
            Request::Approve { id } => self.approve(&id, asker, &mut turn),
            Request::Deny { id, reason } => self.deny(&id, reason.as_deref(), asker, &mut turn),
        }
    }

    fn approve(&mut self, id: &str, asker: Asker, turn: &mut Turn<'_>) -> Result<Reply, AuditError> {
        let question = match self.decidable(id, turn.now) {
            Ok(question) => question,
            Err(reply) => return Ok(reply),
        };
        if question.approved {
            let text = "it is approved already, and no call has used that yet";
            return Ok(Reply::refused("already_approved", text));
        }
        let (print, id, tool) = (question.print, question.id.clone(), question.tool.clone());
        self.record_decision(Kind::ApprovalGranted, question, asker, None, turn)?;
        self.approvals.approve(print, turn.now.boot_ns, self.policy.approvals);
        let before = self.counts;
        // Each of them once: what the policy sends back to waiting is not asked again here.
        for _ in 0..self.approvals.waiting().count() {
            let Some(Waiting { ours, line, .. }) = self.approvals.next_released() else { break };
            self.rule_again((&ours, &line), turn.now, turn.journal, turn.outbox)?;
        }
        let released = usize::try_from(self.counts.allowed - before.allowed).unwrap_or(usize::MAX);
        let refused = usize::try_from(self.counts.denied - before.denied).unwrap_or(usize::MAX);
        let kept = self.approvals.in_hand(print, turn.now.boot_ns).is_some();
        Ok(Reply::Decided(Decided { id, tool, released, refused, kept }))
    }

    fn deny(&mut self, id: &str, reason: Option<&str>, asker: Asker, turn: &mut Turn<'_>) -> Result<Reply, AuditError> {
        if reason.is_some_and(|reason| reason.len() > APPROVAL_REASON_BYTES_MAX) {
            let text = format!("a reason has at most {APPROVAL_REASON_BYTES_MAX} bytes");
            return Ok(Reply::refused("bad_request", text));
        }
        let question = match self.decidable(id, turn.now) {
            Ok(question) => question,
            Err(reply) => return Ok(reply),
        };
        let text = match reason {
            Some(reason) => format!("This call was refused by a person: {}", visible(reason)),
            None => "This call was refused by a person.".to_owned(),
        };
        let print = question.print;
        self.record_decision(Kind::ApprovalDenied, question, asker, Some(&text), turn)?;
        let Some(question) = self.approvals.forget(print) else {
            return Ok(Reply::refused("unknown_id", FindError::Unknown.to_string()));
        };
        for waiting in &question.waiting {
            let why = (DenialCode::ApprovalDenied, text.clone());
            self.refuse_waiting(waiting, &question.id, &question.rule, why, turn)?;
        }
        let (refused, released, kept) = (question.waiting.len(), 0, false);
        Ok(Reply::Decided(Decided { id: question.id, tool: question.tool, released, refused, kept }))
    }

    /// The question whose id begins so.
    fn named(&self, id: &str, now_ns: u64) -> Result<&Question, Reply> {
        let code = |error: &FindError| match error {
            FindError::NoId => "bad_id",
            FindError::Unknown => "unknown_id",
            FindError::Ambiguous => "ambiguous_id",
        };
        self.approvals.find(id, now_ns).map_err(|error| Reply::refused(code(&error), error.to_string()))
    }

    /// One question with its arguments in full, as long as they are held.
    fn show(&self, id: &str, now_ns: u64) -> Reply {
        let question = match self.named(id, now_ns) {
            Ok(question) => question,
            Err(reply) => return reply,
        };
        let mut shown = Shown { listed: self.entry(question, now_ns), held: false, beside: Vec::new(), cut_bytes: 0 };
        // A parked line parsed when it came; without one, or if it did not, nothing is claimed to be the whole.
        if let Some(line) = &question.line
            && let Ok(read) = jsonrpc::read_line(line)
            && let Message::Request(request) = &read.message
            && let Ok(call) = ToolCall::of(request.params.as_ref())
        {
            let whole = shown::whole(call, &self.secrets);
            shown.listed.arguments = whole.arguments;
            (shown.beside, shown.cut_bytes, shown.held) = (whole.beside, whole.cut_bytes, true);
        }
        Reply::Shown(Box::new(shown))
    }

    /// The question that a person may decide now.
    fn decidable(&self, id: &str, now: Now) -> Result<&Question, Reply> {
        let question = self.named(id, now.boot_ns)?;
        if question.policy_sha256 == self.policy.sha256 {
            Ok(question)
        } else {
            Err(Reply::refused("unknown_id", "the policy has changed since it was asked; the call is judged anew"))
        }
    }

    fn record_decision(
        &self,
        kind: Kind,
        question: &Question,
        Asker { uid, pid }: Asker,
        reason: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Result<(), AuditError> {
        let corr = question.waiting.front().map(|waiting| corr(&waiting.ours));
        let effect = if kind == Kind::ApprovalGranted { Effect::Allowed } else { Effect::Denied };
        let mut event = question_event(kind, question).with_effect(effect);
        event.corr = corr.as_deref();
        event.approval = Some(audit::Approval { id: &question.id, by_uid: Some(uid), by_pid: Some(pid) });
        if let Some(text) = reason {
            event = event.with_reason("refused_by_person", text);
        }
        let _on_disk = turn.journal.append(turn.now, &event)?;
        Ok(())
    }

    /// Calls and questions whose time is over, and questions of a policy that no longer decides.
    pub(super) fn approvals_due(
        &mut self,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        let mut turn = Turn { now, journal, outbox };
        while let Some(question) = self.approvals.next_stale(&self.policy.sha256) {
            record_end(&question, "policy_changed", "another policy decides now", &mut turn)?;
            for Waiting { ours, line, .. } in question.waiting {
                self.rule_again((&ours, &line), now, turn.journal, turn.outbox)?;
            }
        }
        while let Some((print, waiting)) = self.approvals.next_timed_out(now.boot_ns) {
            let id = self.approval_id(print);
            let rule = self.approvals.rule_of(print).unwrap_or_default();
            let text = format!("This call waits for a person's approval. Approval id {id}; ask for it and call again.");
            self.refuse_waiting(&waiting, &id, &rule, (DenialCode::ApprovalRequired, text), &mut turn)?;
        }
        self.questions_over(&mut turn)
    }

    /// Forgets the questions whose time is over.
    fn questions_over(&mut self, turn: &mut Turn<'_>) -> Result<(), AuditError> {
        while let Some(question) = self.approvals.next_expired(turn.now.boot_ns) {
            match question.approved {
                true => record_end(&question, "unused", "approved, and no call used it in time", turn)?,
                false => record_end(&question, "unanswered", "nobody answered in time", turn)?,
            }
        }
        Ok(())
    }

    /// Refuses a call that waited. The rule's own words come first, as in every denial.
    fn refuse_waiting(
        &mut self,
        waiting: &Waiting,
        id: &str,
        rule: &str,
        (code, text): (DenialCode, String),
        turn: &mut Turn<'_>,
    ) -> Result<(), AuditError> {
        let policy = std::rc::Rc::clone(&self.policy);
        let mut step = Step { now: turn.now, line: &waiting.line, journal: turn.journal, outbox: turn.outbox };
        reread(&waiting.line, |request, call| {
            let rule = policy.rules_for(call.name).find(|known| known.id == rule);
            let text = match rule.and_then(|rule| rule.reason.as_deref()) {
                Some(reason) => format!("{} {text}", policy::as_sentence(reason)),
                None => text,
            };
            let refused = Refused::plain(rule, code, text);
            self.refuse_call(&mut step, Opened { request, call, ours: &waiting.ours }, &refused, Some(id))
        })
    }

    fn list(&self, now_ns: u64) -> Vec<Listed> {
        self.approvals.listed(now_ns).map(|question| self.entry(question, now_ns)).collect()
    }

    fn entry(&self, question: &Question, now_ns: u64) -> Listed {
        let left_s = |at_ns: u64| at_ns.saturating_sub(now_ns).div_ceil(SECOND_NS);
        Listed {
            id: question.id.clone(),
            tool: visible(&shown::blanked(&question.tool, &self.secrets)),
            arguments: question.shown.clone(),
            rule: visible(&question.rule),
            waiting: question.waiting.len(),
            asked: question.asks,
            approved: question.approved,
            age_s: now_ns.saturating_sub(question.asked_ns) / SECOND_NS,
            gives_up_in_s: question.waiting.iter().map(|waiting| left_s(waiting.deadline_ns)).min(),
            forgotten_in_s: left_s(question.until_ns),
        }
    }

    fn status(&self) -> Status {
        Status {
            session: self.session.clone(),
            policy: self.policy.name.clone(),
            sha256: self.policy.sha256.clone(),
            started: Timestamp(self.started_wall_ns).to_string(),
            observe: self.observe,
            allowed: self.counts.allowed,
            denied: self.counts.denied,
            observed: self.counts.observed,
            waiting: self.approvals.waiting().count(),
        }
    }
}

/// What every record of a question says.
fn question_event(kind: Kind, question: &Question) -> Event<'_> {
    let mut event = Event::new(kind);
    event.approval = Some(audit::Approval { id: &question.id, ..audit::Approval::default() });
    event.mcp = Some(Mcp { dir: "c2s", tool: Some(&question.tool), ..Mcp::default() });
    event
}

/// A question is forgotten without a decision, or with one that no call used.
fn record_end(question: &Question, code: &str, text: &str, turn: &mut Turn<'_>) -> Result<(), AuditError> {
    let event = question_event(Kind::ApprovalExpired, question).with_reason(code, text);
    let _on_disk = turn.journal.append(turn.now, &event)?;
    Ok(())
}

#[cfg(test)]
mod tests;
