//! tools/call: the one message that has effects. Judged on the parsed value, charged, recorded, then written anew.

use std::rc::Rc;
use std::sync::Arc;

use super::continuations::Turn;
use super::events::request_event;
use super::gate::{Asked, Gate, NOT_TAKEN, Step, corr, deny_request, record_id};
use super::outbox::Outbox;
use super::parking::{self, Awaits, Parked};
use super::pins;
use super::ruling::{Granted, Judge, Refused, Ruling, ambiguous, record_limit, record_rule};
use super::schemas::{Listing, Lookup};
use crate::audit::{self, AuditError, Effect, Event, Journal, Kind, Mcp};
use crate::clock::Now;
use crate::policy::{DenialCode, Visibility};
use crate::wire::ids::Entry;
use crate::wire::jsonrpc::{self, Message, Request, RequestId};
use crate::wire::methods::{Direction, Era};
use crate::wire::reply::{self, DecisionMeta, INVALID_PARAMS};
use crate::wire::schema::Schema;
use crate::wire::tools::ToolCall;

/// A call with its request and its place in the table.
#[derive(Clone, Copy)]
pub(super) struct Opened<'c> {
    pub(super) request: &'c Request<'c>,
    pub(super) call: ToolCall<'c>,
    pub(super) ours: &'c RequestId,
}

impl Gate {
    /// A tools/call of the client: refused, parked until schemas or a person's answer are here, or forwarded.
    pub(super) fn client_call(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let call = match ToolCall::of(request.params.as_ref()) {
            Ok(call) => call,
            Err(error) => return deny_request(step, request, INVALID_PARAMS, "bad_call", &error.to_string()),
        };
        let asked = Asked::Call { tool: call.name.to_owned(), since_ns: step.now.boot_ns, turn: None, output: None };
        match self.asked.open(request.id.clone(), asked) {
            Ok(ours) => {
                self.await_progress(request, &ours);
                self.rule_on(step, Opened { request, call, ours: &ours })
            }
            Err(error) => deny_request(step, request, NOT_TAKEN, "not_taken", &error.to_string()),
        }
    }

    /// Decides an opened call; on anything but a forward its place in the table is given back or kept parked.
    fn rule_on(&mut self, step: &mut Step<'_, '_>, opened: Opened<'_>) -> Result<(), AuditError> {
        self.rule_with(step, opened, Patience::Left)
    }

    fn rule_with(&mut self, step: &mut Step<'_, '_>, opened: Opened<'_>, patience: Patience) -> Result<(), AuditError> {
        let Opened { request, call, ours } = opened;
        let policy = Rc::clone(&self.policy);
        // A hidden tool does not show what its arguments are called: the policy refuses it below.
        let is_visible = self.observe || policy.visibility(call.name) == Visibility::Listed;
        if is_visible && let Some(text) = ambiguous(call, &policy, self.schemas.lookup(call.name)) {
            return self.refuse_malformed(step, opened, ("ambiguous_argument", &text));
        }
        if self.continuations.is_unasked(call, step.now.boot_ns) {
            let text = "\"inputResponses\" answers what the server did not ask for";
            return self.refuse_malformed(step, opened, ("unasked_input", text));
        }
        let (observe, now) = (self.observe, step.now);
        let (store, paces, session) = (self.store.as_mut(), &mut self.paces, self.session.as_str());
        let continues = self.continuations.has(call, now.boot_ns);
        let mut judge = Judge { policy: &policy, store, paces, session, observe, continues, now };
        let in_hand = |print| self.approvals.in_hand(print, now.boot_ns).is_some();
        let pin = match self.pins.lookup(self.schemas.listing(), call.name) {
            pins::Lookup::Storing if patience == Patience::Over => {
                pins::Lookup::Refused(DenialCode::PinUnavailable, pins::told(call.name, DenialCode::PinUnavailable))
            }
            pin => pin,
        };
        let ruling = judge.rule(self.schemas.lookup(call.name), pin, call, in_hand);
        match if observe { ruling.observed() } else { ruling } {
            Ruling::Wait(Awaits::Tools) => self.await_tools(step, request, ours),
            Ruling::Wait(Awaits::Pin) => self.await_pin(step, opened),
            Ruling::Ask { rule, print } => self.ask_a_person(step, opened, rule, print),
            Ruling::Granted(granted) => self.let_go(step, opened, &granted),
            Ruling::Refused(refused) => self.refuse_call(step, opened, &refused, None),
        }
    }

    /// A tools/list of the client: what it shows is held against our own, so that is read first. The first page of it, for
    /// a list may have changed without a word.
    pub(super) fn client_list(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let ours = match self.asked.open(request.id.clone(), Asked::ToolsList) {
            Ok(ours) => ours,
            Err(error) => return deny_request(step, request, NOT_TAKEN, "not_taken", &error.to_string()),
        };
        self.await_progress(request, &ours);
        let is_first = request.params.as_ref().and_then(|params| params.member("cursor")).is_none();
        // Where the pace forbids another reading, what the client is shown is still held against the pins, entry by entry.
        let again = is_first && !self.schemas.is_waiting() && self.list_pace.is_free(step.now.boot_ns);
        if self.pins.on() && (self.schemas.not_asked() || again) {
            self.ask_for_tools(step, None)?;
        }
        self.list_on(step, request, &ours)
    }

    fn list_on(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>, ours: &RequestId) -> Result<(), AuditError> {
        match self.schemas.listing() {
            _ if !self.pins.on() => {}
            Listing::Known => {}
            Listing::Pending => return self.park_for_tools(step, request, ours),
            Listing::Unavailable => {
                self.asked.abandon(ours);
                let text = "the server does not say what tools it has, so none can be compared with its pin";
                return deny_request(step, request, NOT_TAKEN, "not_taken", text);
            }
        }
        let event = request_event(step, Direction::ClientToServer, self.era, request);
        self.forward(step, request, ours);
        step.record(&event.with_effect(Effect::Allowed))
    }

    /// A call whose tool is not known yet. Where pins hold, and in a revision without a handshake, nobody need have said that the
    /// client is initialized.
    fn await_tools(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &Request<'_>,
        ours: &RequestId,
    ) -> Result<(), AuditError> {
        self.park_for_tools(step, request, ours)?;
        let has_handshake = self.known_revision_of(request).is_none_or(Era::has_handshake);
        if (self.pins.on() || !has_handshake) && self.schemas.not_asked() {
            return self.ask_for_tools(step, None);
        }
        self.schemas.wait(step.now.boot_ns);
        Ok(())
    }

    /// A call whose tool's pin is on its way to the disk: that pin goes next.
    fn await_pin(&mut self, step: &mut Step<'_, '_>, opened: Opened<'_>) -> Result<(), AuditError> {
        let Opened { request, call, ours } = opened;
        if !self.parking.has_room(step.line.len()) {
            return self.no_room(step, request, ours);
        }
        let now_ns = step.now.boot_ns;
        let came_ns = match self.asked.get_mut(ours) {
            Some(Entry { payload: Asked::Call { since_ns, .. }, .. }) => *since_ns,
            _ => now_ns,
        };
        self.pins.hurry(call.name);
        let parked = Parked { ours: ours.clone(), line: step.line.to_vec() };
        self.parking.for_pin(parked, call.name, parking::pin_due_ns(came_ns, now_ns));
        Ok(())
    }

    fn park_for_tools(
        &mut self,
        step: &mut Step<'_, '_>,
        request: &Request<'_>,
        ours: &RequestId,
    ) -> Result<(), AuditError> {
        if !self.parking.has_room(step.line.len()) {
            return self.no_room(step, request, ours);
        }
        self.parking.for_tools(Parked { ours: ours.clone(), line: step.line.to_vec() });
        Ok(())
    }

    fn no_room(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>, ours: &RequestId) -> Result<(), AuditError> {
        self.asked.abandon(ours);
        deny_request(step, request, NOT_TAKEN, "not_taken", "too much waits for the tools' schemas or their pins")
    }

    /// Forwards a call when its record is on disk.
    fn let_go(&mut self, step: &mut Step<'_, '_>, opened: Opened<'_>, granted: &Granted<'_>) -> Result<(), AuditError> {
        let Opened { request, call, ours } = opened;
        let turn = self.continuations.take(call, step.now.boot_ns);
        let (corr, id) = (corr(ours), granted.approved.map(|print| self.approval_id(print)));
        let mut event = self.call_event(Kind::McpRequest, step, &opened, &corr).with_effect(Effect::Allowed);
        event.rule = granted.rule.map(record_rule);
        event.limit = granted.limit.as_ref().map(record_limit);
        event.approval = id.as_deref().map(|id| audit::Approval { id, ..audit::Approval::default() });
        if let Some((code, text)) = &granted.despite {
            event = event.with_effect(Effect::Observed).with_reason(code.as_str(), text);
        }
        if let (Some(mcp), Some(turn)) = (event.mcp.as_mut(), &turn) {
            mcp.continues = Some(&turn.first);
        }
        self.forward(step, request, ours);
        step.record(&event)?;
        if let Some(print) = granted.approved {
            self.approvals.spend(print);
        }
        let can_be_continued = self.known_revision_of(request).is_some_and(|era| !era.has_handshake());
        let fits = self.output_schema(call.name);
        if let Some(Entry { payload: Asked::Call { since_ns, turn: place, output, .. }, .. }) = self.asked.get_mut(ours)
        {
            *since_ns = step.now.boot_ns; // what it waited for us is not the server's latency
            *place = can_be_continued.then(|| turn.unwrap_or_else(|| Turn::first(call, corr, &self.continuations)));
            *output = fits;
        }
        self.call_clock.sent(ours, step.now.boot_ns);
        if granted.despite.is_some() {
            self.counts.observed += 1;
        } else {
            self.counts.allowed += 1;
        }
        Ok(())
    }

    /// What the result of a call that is let go must fit: the schema by which it was judged, whatever comes to be known later.
    fn output_schema(&self, tool: &str) -> Option<Arc<Schema>> {
        let Lookup::Known(known) = self.schemas.lookup(tool) else { return None };
        known.output.as_ref().ok().filter(|_| self.policy.wants_of_schemas(tool).output).cloned()
    }

    /// Refuses a call; `approval` is the id of the question that it waited for.
    pub(super) fn refuse_call(
        &mut self,
        step: &mut Step<'_, '_>,
        opened: Opened<'_>,
        refused: &Refused<'_>,
        approval: Option<&str>,
    ) -> Result<(), AuditError> {
        let Opened { request, ours, .. } = opened;
        let denial = &refused.denial;
        let corr = corr(ours);
        let mut event = self.call_event(Kind::McpRequest, step, &opened, &corr).with_effect(Effect::Denied);
        event.rule = denial.rule.map(record_rule);
        event.limit = refused.limit.as_ref().map(record_limit);
        event.reason = Some(audit::Reason { code: denial.code.as_str(), text: &denial.message });
        event.approval = approval.map(|id| audit::Approval { id, ..audit::Approval::default() });
        let decision = format!("{}/{corr}", self.session);
        write_denial(request, self.known_revision_of(request), refused, &decision, step.outbox.client());
        // Its place is given back when the refusal is on record: until then it counts as an open question, which
        // gets an answer even if nothing can be recorded any more.
        step.record(&event)?;
        self.asked.abandon(ours);
        self.counts.denied += 1;
        Ok(())
    }

    /// Refuses a call with a key that servers may read in two ways, or that answers nothing, whatever the policy would say of it: a
    /// denial like any other in the log and the counts, and no tool result, because the call is malformed.
    fn refuse_malformed(
        &mut self,
        step: &mut Step<'_, '_>,
        opened: Opened<'_>,
        (code, text): (&str, &str),
    ) -> Result<(), AuditError> {
        let Opened { request, ours, .. } = opened;
        let corr = corr(ours);
        let event = self.call_event(Kind::McpRequest, step, &opened, &corr).with_effect(Effect::Denied);
        let event = event.with_reason(code, text);
        reply::error_reply(Some(&request.id), INVALID_PARAMS, text, step.outbox.client());
        step.outbox.client().push(b'\n');
        step.record(&event)?;
        self.asked.abandon(ours);
        self.counts.denied += 1;
        Ok(())
    }

    /// What every record of a call says.
    pub(super) fn call_event<'e>(
        &'e self,
        kind: Kind,
        step: &Step<'_, '_>,
        opened: &Opened<'e>,
        corr: &'e str,
    ) -> Event<'e> {
        let Opened { request, call, .. } = *opened;
        let mut event = Event::new(kind);
        event.corr = Some(corr);
        event.mcp = Some(Mcp {
            dir: "c2s",
            method: Some("tools/call"),
            id: Some(record_id(&request.id)),
            kind: Some("request"),
            tool: Some(call.name),
            protocol: self.known_revision_of(request).map(Era::as_str),
            bytes: step.bytes(),
            args: call.arguments.map(|arguments| self.redactor.redact(arguments)),
            task: call.task.map(|task| self.redactor.redact(task)),
            meta: call.meta.map(|meta| self.redactor.redact(meta)),
            input_responses: call.input_responses.map(|responses| self.redactor.redact(responses)),
            request_state: call.request_state.map(|state| self.redactor.redact(state)),
            ..Mcp::default()
        });
        event
    }

    /// Decides what waited once more, from the start.
    pub(super) fn rule_again(
        &mut self,
        (ours, line): (&RequestId, &[u8]),
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        let mut step = Step { now, line, journal, outbox };
        if let Ok(read) = jsonrpc::read_line(line)
            && let Message::Request(request) = &read.message
            && request.method == "tools/list"
        {
            return self.list_on(&mut step, request, ours);
        }
        reread(line, |request, call| self.rule_on(&mut step, Opened { request, call, ours }))
    }

    /// Refuses the calls that have waited long enough for their pins.
    fn pins_overdue(&mut self, now: Now, journal: &mut Journal, outbox: &mut Outbox) -> Result<(), AuditError> {
        while let Some(Parked { ours, line }) = self.parking.next_overdue(now.boot_ns) {
            let mut step = Step { now, line: &line, journal: &mut *journal, outbox: &mut *outbox };
            let ours = &ours;
            reread(&line, |request, call| self.rule_with(&mut step, Opened { request, call, ours }, Patience::Over))?;
        }
        Ok(())
    }

    /// Does what is due by time: schemas that did not come, calls and questions that nobody answered.
    ///
    /// # Errors
    /// Only when a decision cannot be recorded.
    pub(super) fn tick(&mut self, now: Now, journal: &mut Journal, outbox: &mut Outbox) -> Result<(), AuditError> {
        if let Some(count) = self.noise.due(now) {
            let mut event = Event::new(Kind::AuditGap);
            event.gap = Some(audit::Gap { source: "server_noise", count });
            let _on_disk = journal.append(now, &event)?;
        }
        if self.schemas.deadline_ns().is_some_and(|deadline_ns| now.boot_ns >= deadline_ns) {
            self.schemas.late();
            self.woken = true;
        }
        self.list_due(now, journal, outbox)?;
        self.calls_overdue(now, journal, outbox)?;
        self.say_of_pins(now, journal)?;
        if std::mem::take(&mut self.woken) && self.schemas.settled() {
            // What still has to wait, for its pin or a late list, stands in line again.
            for Parked { ours, line } in self.parking.take_for_tools() {
                self.rule_again((&ours, &line), now, journal, outbox)?;
            }
        }
        while let Some(Parked { ours, line }) = self.parking.next_woken() {
            self.rule_again((&ours, &line), now, journal, outbox)?;
        }
        self.pins_overdue(now, journal, outbox)?;
        self.approvals_due(now, journal, outbox)
    }
}

/// Whether a call may wait for its tool's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Left,
    /// It has waited as long as it may: what is not on the disk now counts as not to be had.
    Over,
}

/// Reads a parked line again: it parsed when it came, and the same bytes parse again.
pub(super) fn reread(
    line: &[u8],
    then: impl FnOnce(&Request<'_>, ToolCall<'_>) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    if let Ok(read) = jsonrpc::read_line(line)
        && let Message::Request(request) = &read.message
        && let Ok(call) = ToolCall::of(request.params.as_ref())
    {
        return then(request, call);
    }
    Ok(())
}

/// A hidden tool does not exist for the client; every other refusal is a tool result that the agent can read.
fn write_denial(request: &Request<'_>, era: Option<Era>, refused: &Refused<'_>, decision: &str, out: &mut Vec<u8>) {
    let id = &request.id;
    let Refused { denial, retry_after_ms, .. } = refused;
    if denial.code == DenialCode::Hidden {
        reply::error_reply(Some(id), INVALID_PARAMS, &denial.message, out);
    } else {
        let meta = DecisionMeta {
            id: decision,
            rule: denial.rule.map(|rule| rule.id.as_str()),
            code: denial.code.as_str(),
            retry_after_ms: *retry_after_ms,
        };
        reply::denied_reply(id, era, &denial.message, &meta, out);
    }
    out.push(b'\n');
}
