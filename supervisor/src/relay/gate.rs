//! One message at a time: read strictly, decide, record, stage. What is staged leaves when its record is on disk.

use std::rc::Rc;
use std::sync::Arc;

use super::approvals::Approvals;
use super::call_clock::CallClock;
use super::ceilings;
use super::continuations::{Continuations, Turn};
use super::events::request_event;
use super::list_pace::ListPace;
use super::method_policy::deny_revision;
use super::noise::Noise;
use super::outbox::Outbox;
use super::parking::Parking;
use super::person::Counts;
use super::pins::Pins;
use super::progress::TaskTokens;
use super::schemas::Schemas;
use super::subscriptions::{Filter, LISTEN};
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpId, Redactor};
use crate::clock::Now;
use crate::limits::Store;
use crate::limits::pace::Paces;
use crate::policy::Policy;
use crate::relay::messages::EndCause;
use crate::sandbox::cgroup::Incidents;
use crate::wire::frame::Frame;
use crate::wire::ids::{self, Entry, InFlight};
use crate::wire::jsonrpc::{self, Message, Refusal, Request, RequestId, Response};
use crate::wire::methods::{Direction, Era, Kind as MethodKind};
use crate::wire::reply;
use crate::wire::schema::Schema;
use crate::wire::secrets::Secrets;
use crate::{planted, weaken};

/// Our own JSON-RPC error: the session is over. Outside -32768..-32000, which JSON-RPC 2.0 and MCP reserve.
pub(super) const SESSION_OVER: i32 = -31_001;
/// Our own JSON-RPC error: the request cannot be taken now.
pub(super) const NOT_TAKEN: i32 = -31_002;
/// Our own JSON-RPC error: the answer is longer than a line may be.
pub(super) const ANSWER_TOO_LONG: i32 = -31_003;

/// What a client's request was, kept until its answer.
#[derive(Debug)]
pub(super) enum Asked {
    /// A tools/call; the time it came, or was forwarded; then where it stands in its row, and what its result must fit.
    Call { tool: String, since_ns: u64, turn: Option<Turn>, output: Option<Arc<Schema>> },
    /// Its tools/list: the answer is filtered.
    ToolsList,
    /// Its initialize: the answer says the revision.
    Initialize,
    /// Its subscriptions/listen, with what it asked to hear.
    Listen(Filter),
    /// Anything else.
    Other { method: String },
    /// Our own tools/list, for the schemas.
    OwnToolsList,
}

/// How the server ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerEnd {
    pub(super) cause: EndCause,
    /// wait(2) status.
    pub(super) status: i32,
}

/// The state of one session's conversation.
pub(super) struct Gate {
    pub(super) session: String,
    /// Shared, so that a ruling can hold its rules while the rest of the state changes.
    pub(super) policy: Rc<Policy>,
    /// Tool rules refuse nothing, they are recorded.
    pub(super) observe: bool,
    pub(super) store: Box<dyn Store>,
    pub(super) paces: Paces,
    pub(super) redactor: Redactor,
    /// Values that neither the client nor a person is shown.
    pub(super) secrets: Secrets,
    pub(super) era: Option<Era>,
    /// The client has said that it is initialized: the server may be asked, and the client told, of its own accord.
    pub(super) initialized: bool,
    /// The server announced `tools.listChanged`: the client expects to be told when the list changes.
    pub(super) tells_tools: bool,
    /// The client's requests and our own, on their way to the server.
    pub(super) asked: InFlight<Asked>,
    /// The server's requests on their way to the client, by method.
    pub(super) server_asked: InFlight<String>,
    /// Progress that outlives an answer.
    pub(super) task_tokens: TaskTokens,
    /// Calls that wait for the input that the server asked for.
    pub(super) continuations: Continuations,
    pub(super) schemas: Schemas,
    pub(super) list_pace: ListPace,
    pub(super) pins: Pins,
    /// What waits for the list of tools, or for a pin.
    pub(super) parking: Parking,
    /// The calls that the server works on.
    pub(super) call_clock: CallClock,
    /// What waits for the list may go on: it is settled.
    pub(super) woken: bool,
    /// Calls that wait for a person, and answers that wait for a call.
    pub(super) approvals: Approvals,
    pub(super) counts: Counts,
    /// When it began, for people: nanoseconds since the Unix epoch.
    pub(super) started_wall_ns: u64,
    pub(super) noise: Noise,
    /// What happened at the server's ceilings so far.
    pub(super) incidents: Incidents,
    /// The request whose answer could not be recorded, and so was not passed on.
    pub(super) unanswered: Option<RequestId>,
    /// Longest lines, bytes; for what is said of longer ones.
    pub(super) client_line_bytes_max: usize,
    pub(super) server_line_bytes_max: usize,
}

/// What a gate is made from.
pub(super) struct Terms {
    pub(super) session: String,
    pub(super) policy: Policy,
    pub(super) pins: Pins,
    pub(super) observe: bool,
    pub(super) store: Box<dyn Store>,
    pub(super) redactor: Redactor,
    pub(super) secrets: Secrets,
    pub(super) client_line_bytes_max: usize,
    pub(super) server_line_bytes_max: usize,
}

#[cfg(any(test, fuzzing))]
impl Terms {
    /// A session on a counter in memory, without secrets, and without pins: no server is here that lists anything.
    pub(super) fn plain(mut policy: Policy) -> Self {
        policy.pins = crate::policy::Pins::Off;
        Self {
            session: "a".repeat(32),
            pins: Pins::new(&policy, super::pins::PinSource::default()).expect("nothing to read"),
            policy,
            observe: false,
            store: Box::new(crate::limits::MemoryStore::new()),
            redactor: Redactor::new(&[7; 32]),
            secrets: Secrets::default(),
            client_line_bytes_max: crate::bounds::CLIENT_LINE_BYTES_MAX,
            server_line_bytes_max: crate::bounds::SERVER_LINE_BYTES_MAX,
        }
    }
}

/// One client message with what its record needs.
pub(super) struct Step<'a, 'j> {
    pub(super) now: Now,
    pub(super) line: &'a [u8],
    pub(super) journal: &'j mut Journal,
    pub(super) outbox: &'j mut Outbox,
}

impl Step<'_, '_> {
    /// Writes the record; what is staged may go.
    pub(super) fn record(&mut self, event: &Event<'_>) -> Result<(), AuditError> {
        let event = self.with_redacted(event);
        let token = self.journal.append(self.now, &event)?;
        self.outbox.commit(token);
        Ok(())
    }

    /// Writes the record of something that the policy does not decide; it is on disk with the next one that it does.
    pub(super) fn note(&mut self, event: &Event<'_>) -> Result<(), AuditError> {
        let event = self.with_redacted(event);
        let token = self.journal.append_unsynced(self.now, &event)?;
        self.outbox.commit(token);
        Ok(())
    }

    /// The message's first record says how many secrets were taken out of it.
    fn with_redacted<'e>(&mut self, event: &Event<'e>) -> Event<'e> {
        let mut event = *event;
        if let Some(mcp) = &mut event.mcp {
            mcp.redacted = self.outbox.take_redacted();
        }
        event
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.line.len() as u64)
    }
}

/// The id as a record shows it.
pub(super) fn record_id(id: &RequestId) -> McpId<'_> {
    match id {
        RequestId::Integer(number) => McpId::Integer(*number),
        RequestId::String(text) => McpId::Text(text),
    }
}

/// The name that joins a call's records and flows: our id upstream.
pub(super) fn corr(ours: &RequestId) -> String {
    match ours {
        RequestId::Integer(number) => format!("call-{number}"),
        RequestId::String(text) => text.clone(),
    }
}

impl Gate {
    /// A conversation that begins at `now`.
    pub(super) fn new(terms: Terms, now: Now) -> Self {
        let Terms { session, policy, pins, observe, store, redactor, secrets, .. } = terms;
        let Terms { client_line_bytes_max, server_line_bytes_max, .. } = terms;
        Self {
            session,
            policy: Rc::new(policy),
            observe,
            store,
            paces: Paces::new(),
            redactor,
            secrets,
            era: None,
            initialized: false,
            tells_tools: false,
            asked: InFlight::new(),
            server_asked: InFlight::new(),
            task_tokens: TaskTokens::default(),
            continuations: Continuations::default(),
            schemas: Schemas::default(),
            list_pace: ListPace::default(),
            pins,
            parking: Parking::default(),
            call_clock: CallClock::default(),
            woken: false,
            approvals: Approvals::default(),
            counts: Counts::default(),
            started_wall_ns: now.wall_ns,
            noise: Noise::default(),
            incidents: Incidents::default(),
            unanswered: None,
            client_line_bytes_max,
            server_line_bytes_max,
        }
    }

    /// One line of the client.
    ///
    /// # Errors
    /// Only when it cannot be recorded: the session is over then.
    pub(super) fn client_frame(
        &mut self,
        frame: Frame<'_>,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        // First: no message may meet an approval whose time is over.
        self.approvals_due(now, journal, outbox)?;
        match frame {
            Frame::TooLong(line) => self.client_overlong(&mut Step { now, line: &[], journal, outbox }, &line),
            Frame::Line(line) => self.client_line(&mut Step { now, line, journal, outbox }),
        }
    }

    fn client_line(&mut self, step: &mut Step<'_, '_>) -> Result<(), AuditError> {
        planted::bug(planted::Who::Relay, step.line);
        let read = match jsonrpc::read_line(step.line) {
            Ok(read) => read,
            Err(refusal) => return refuse_line(step, &refusal),
        };
        match &read.message {
            Message::Request(request) => self.client_request(step, request),
            Message::Notification(notification) => self.client_notification(step, notification),
            Message::Response(response) => self.client_response(step, response),
        }
    }

    fn client_request(&mut self, step: &mut Step<'_, '_>, request: &Request<'_>) -> Result<(), AuditError> {
        let era = match self.revision_of(request) {
            Ok(era) => era,
            Err(error) => return deny_revision(step, request, &error),
        };
        if let Some(closed) = self.closed(&request.method, Direction::ClientToServer, MethodKind::Request, era) {
            return deny_request(step, request, reply::METHOD_NOT_FOUND, closed.code, &closed.text);
        }
        if request.method == "tools/call" {
            return self.client_call(step, request);
        }
        if request.method == LISTEN && !self.has_room_to_listen() {
            return deny_request(step, request, NOT_TAKEN, "not_taken", "too many open subscriptions");
        }
        if request.method == "tools/list" {
            return self.client_list(step, request);
        }
        let asked = match &*request.method {
            "initialize" => Asked::Initialize,
            LISTEN => Asked::Listen(Filter::of(request.params.as_ref())),
            method => Asked::Other { method: method.to_owned() },
        };
        let ours = match self.asked.open(request.id.clone(), asked) {
            Ok(ours) => ours,
            Err(error) => return deny_request(step, request, NOT_TAKEN, "not_taken", &error.to_string()),
        };
        self.await_progress(request, &ours);
        let event = request_event(step, Direction::ClientToServer, era, request);
        self.forward(step, request, &ours);
        step.record(&event.with_effect(Effect::Allowed))
    }

    /// Whether the server has not seen this call yet: it waits for schemas or a person.
    pub(super) fn is_parked(&self, ours: &RequestId) -> bool {
        self.parking.has(ours) || self.approvals.waiting().any(|waiting| waiting.ours == *ours)
    }

    fn client_response(&mut self, step: &mut Step<'_, '_>, response: &Response<'_>) -> Result<(), AuditError> {
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Denied);
        event.mcp = Some(Mcp {
            dir: "c2s",
            id: Some(record_id(&response.id)),
            kind: Some("response"),
            protocol: self.era.map(Era::as_str),
            bytes: step.bytes(),
            ..Mcp::default()
        });
        match self.server_asked.answer(&response.id) {
            ids::Answered::Pending(Entry { origin: Some(origin), .. }) => {
                response.write(&origin, step.outbox.server());
                step.outbox.server().push(b'\n');
                step.record(&event.with_effect(Effect::Allowed))
            }
            ids::Answered::Cancelled(_) => step.record(&event.with_reason("cancelled", "answers a cancelled request")),
            ids::Answered::Pending(_) | ids::Answered::Unknown => {
                step.record(&event.with_reason("unknown_id", "answers no request"))
            }
        }
    }

    /// The calls that are being executed and came before `at_ns`, nanoseconds since boot, by the name that joins their records.
    pub(super) fn calls_in_flight(&self, at_ns: u64) -> Vec<String> {
        self.asked
            .pending()
            .filter(|(ours, entry)| {
                matches!(entry.payload, Asked::Call { since_ns, .. } if since_ns <= at_ns) && !self.is_parked(ours)
            })
            .map(|(ours, _)| corr(&ours))
            .collect()
    }

    /// Whether the server's tools are read by ourselves: for the schemas, or for the pins.
    pub(super) fn needs_list(&self) -> bool {
        self.policy.needs_schemas() || self.pins.on()
    }

    /// Whether calls wait for the schemas, or for a pin.
    pub(super) fn has_parked(&self) -> bool {
        !self.parking.is_empty()
    }

    /// The client is gone: nobody could hear what a person decides.
    pub(super) fn client_left(&mut self) {
        self.approvals.drop_waiting();
    }

    /// When [`Gate::tick`] has something to do, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let lists = [self.schemas.deadline_ns(), self.list_pace.deadline_ns(), self.parking.deadline_ns()];
        let ours = [self.noise.deadline_ns(), self.approvals.deadline_ns()];
        lists.into_iter().chain(ours).chain([self.call_deadline_ns()]).flatten().min()
    }

    /// The server is gone: every open question of the client gets an error, and `session.end` is written.
    pub(super) fn server_gone(
        &mut self,
        end: ServerEnd,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        if let Some(count) = self.noise.rest() {
            let mut event = Event::new(Kind::AuditGap);
            event.gap = Some(crate::audit::Gap { source: "server_noise", count });
            let _on_disk = journal.append(now, &event)?;
        }
        let text = end.text() + &ceilings::remark(self.incidents);
        for entry in self.asked.drain() {
            if let Some(origin) = &entry.origin {
                reply::error_reply(Some(origin), SESSION_OVER, &text, outbox.client());
                outbox.client().push(b'\n');
            }
        }
        let mut event = Event::new(Kind::SessionEnd).with_reason(end.cause.code(), &text);
        event.proc = Some(end.proc(self.incidents));
        outbox.commit(journal.append(now, &event)?);
        Ok(())
    }

    /// Errors for everything that is open, when nothing can be recorded any more.
    pub(super) fn refuse_everything(&mut self, cause: EndCause, out: &mut Vec<u8>) {
        let text = format!("The session ended ({}): nothing can be recorded any more.", cause.code());
        let open = self.asked.drain().filter_map(|entry| entry.origin);
        for origin in open.chain(self.unanswered.take()) {
            reply::error_reply(Some(&origin), SESSION_OVER, &text, out);
            out.push(b'\n');
        }
    }
}

impl ServerEnd {
    fn text(self) -> String {
        let ended = match self.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("exit code {}", self.exit_code()),
        };
        match self.cause {
            EndCause::Server => format!("The server ended: {ended}."),
            EndCause::WriteLimit => "The session was ended (write_limit): a folder is over its `max`.".to_owned(),
            cause => format!("The session was ended ({}); the server: {ended}.", cause.code()),
        }
    }

    /// wait(2): the low seven bits are the signal, the next byte the exit code.
    fn signal(self) -> Option<i32> {
        let signal = self.status & 0x7f;
        (signal != 0).then_some(signal)
    }

    fn exit_code(self) -> i32 {
        (self.status >> 8) & 0xff
    }

    fn proc(self, seen: Incidents) -> crate::audit::Proc<'static> {
        let signal = self.signal();
        let exit_code = signal.is_none().then(|| self.exit_code());
        // The killer's signal; without it the server outlived what was killed.
        let oom = (seen.oom_kills > 0 && signal == Some(libc::SIGKILL)).then_some(true);
        crate::audit::Proc { op: "exit", exit_code, signal, oom, ..Default::default() }
    }
}

/// Appends a request under our id, written from what was judged.
pub(super) fn write_request(request: &Request<'_>, ours: &RequestId, out: &mut Vec<u8>) {
    request.write(ours, out);
    out.push(b'\n');
}

/// Refuses a request with a JSON-RPC error.
pub(super) fn deny_request(
    step: &mut Step<'_, '_>,
    request: &Request<'_>,
    rpc_code: i32,
    code: &str,
    text: &str,
) -> Result<(), AuditError> {
    reply::error_reply(Some(&request.id), rpc_code, text, step.outbox.client());
    step.outbox.client().push(b'\n');
    deny_request_as(step, request, code, text)
}

/// Records the refusal of a request whose answer is staged.
pub(super) fn deny_request_as(
    step: &mut Step<'_, '_>,
    request: &Request<'_>,
    code: &str,
    text: &str,
) -> Result<(), AuditError> {
    let event = request_event(step, Direction::ClientToServer, None, request);
    step.record(&event.with_reason(code, text))
}

/// Refuses a line that is no message, in the words of the strict parser.
fn refuse_line(step: &mut Step<'_, '_>, refusal: &Refusal) -> Result<(), AuditError> {
    if !weaken::in_force("line-refused") {
        // What a proxy does that lets through what it cannot read.
        step.outbox.server().extend_from_slice(step.line);
        step.outbox.server().push(b'\n');
    }
    let bytes = step.bytes();
    let what = (refusal.id.as_ref(), refusal.code.rpc_code(), refusal.code.as_str(), refusal.text.as_str());
    refuse(step, bytes, refusal.answered, what)
}

/// Records bytes that are no message, and tells the sender where it may be told. The session lives.
pub(super) fn refuse(
    step: &mut Step<'_, '_>,
    bytes: Option<u64>,
    answered: bool,
    (id, rpc_code, code, text): (Option<&RequestId>, i32, &str, &str),
) -> Result<(), AuditError> {
    if answered {
        reply::error_reply(id, rpc_code, text, step.outbox.client());
        step.outbox.client().push(b'\n');
    }
    let mut event = Event::new(Kind::McpMalformed).with_effect(Effect::Denied).with_reason(code, text);
    event.mcp = Some(Mcp { dir: "c2s", id: id.map(record_id), bytes, ..Mcp::default() });
    step.record(&event)
}

#[cfg(test)]
mod tests;
