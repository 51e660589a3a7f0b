//! Which messages may pass at all, by the policy's `methods`, and in which revision a request is spoken.

use super::gate::{Gate, Step, deny_request_as};
use crate::audit::AuditError;
use crate::policy::MethodVerdict;
use crate::wire::json::Value;
use crate::wire::jsonrpc::Request;
use crate::wire::methods::{self, Direction, Era, INPUT_REQUESTS, Kind, UnknownRevision};
use crate::wire::{fold, reply};

/// The method of a question to a person.
const ELICIT: &str = "elicitation/create";

/// Why a message does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// Stable code of records and refusals.
    pub(super) code: &'static str,
    /// What its sender reads.
    pub(super) text: String,
}

impl Closed {
    fn by_policy(method: &str) -> Self {
        Self { code: "denied_by_policy", text: format!("Method not permitted by policy: {method}") }
    }

    fn unknown(method: &str) -> Self {
        Self { code: "unknown_method", text: format!("Method not permitted: {method}") }
    }

    fn malformed(text: &str) -> Self {
        Self { code: "bad_input_request", text: format!("The server's request for input is malformed: {text}.") }
    }
}

impl Gate {
    /// Why a message of `method` does not pass in `era`; none when it may.
    pub(super) fn closed(&self, method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> Option<Closed> {
        match self.policy.judge_method(method, direction, kind, era) {
            MethodVerdict::Passes => None,
            MethodVerdict::Denied => Some(Closed::by_policy(method)),
            MethodVerdict::Unknown => Some(Closed::unknown(method)),
        }
    }

    /// The revision of a client's request: the one that it names, else the session's. The first request of 2026-07-28 makes
    /// that the session's, until an `initialize` negotiates another.
    ///
    /// # Errors
    /// When it names a revision that is not spoken.
    pub(super) fn revision_of(&mut self, request: &Request<'_>) -> Result<Option<Era>, UnknownRevision> {
        let named = Era::of_request(request.params.as_ref())?;
        if request.method == "initialize" {
            // A client whose first try was 2026-07-28 falls back to the handshake.
            self.era = None;
            return Ok(None);
        }
        if named == Some(Era::V2026_07_28) && self.era.is_none() {
            self.era = named;
        }
        Ok(named.or(self.era))
    }

    /// The revision of a request that [`Gate::revision_of`] has seen.
    pub(super) fn known_revision_of(&self, request: &Request<'_>) -> Option<Era> {
        Era::of_request(request.params.as_ref()).ok().flatten().or(self.era)
    }

    /// Why an answer cannot be passed on as it is: it asks for input (InputRequiredResult, 2026-07-28) by a method that the
    /// policy closes. Judged in every revision, for what a client makes of the answer is the client's.
    pub(super) fn closed_input(&self, result: &Value<'_>) -> Option<Closed> {
        let members = result.as_object().unwrap_or_default();
        let is_other_case = |key: &str| fold::collision(key, ["inputRequests", "resultType"]).is_some();
        if members.iter().any(|(key, _)| is_other_case(key)) {
            return Some(Closed::malformed("a key differs from \"inputRequests\" or \"resultType\" only in case"));
        }
        let requests = result.member("inputRequests")?;
        let Some(requests) = requests.as_object() else {
            return Some(Closed::malformed("\"inputRequests\" is not an object"));
        };
        requests.iter().find_map(|(_, request)| match request.member("method").and_then(Value::as_str) {
            None => Some(Closed::malformed("a request has no method")),
            Some(method) if is_misnamed(request, method) => {
                Some(Closed::malformed("a key differs from MCP's only in case"))
            }
            Some(method) if methods::standing(method).is_some() && !INPUT_REQUESTS.contains(&method) => {
                Some(Closed::unknown(method))
            }
            // Each of the three was a request of its own up to 2025-11-25, and is judged as one.
            Some(method) => self.closed(method, Direction::ServerToClient, Kind::Request, None),
        })
    }

    /// As [`Gate::closed_input`], for the questions that an error carries (`data.elicitations` of -32042, 2025-11-25).
    pub(super) fn closed_questions(&self, error: &Value<'_>) -> Option<Closed> {
        let data = error.member("data");
        if fold::misnamed(error, ["data"]).or_else(|| fold::misnamed(data?, ["elicitations"])).is_some() {
            return Some(Closed::malformed("a key differs from MCP's only in case"));
        }
        let elicited: Vec<&str> = methods::parameter_names(ELICIT).collect();
        let questions = data?.member("elicitations")?.as_array().unwrap_or_default();
        if questions.iter().any(|question| fold::misnamed(question, elicited.iter().copied()).is_some()) {
            return Some(Closed::malformed("a key differs from MCP's only in case"));
        }
        self.closed(ELICIT, Direction::ServerToClient, Kind::Request, None)
    }
}

/// Whether some reader could take a key of a request inside a result for another one.
fn is_misnamed(request: &Value<'_>, method: &str) -> bool {
    let params = request.member("params");
    let known: Vec<&str> = methods::parameter_names(method).collect();
    fold::misnamed(request, ["method", "params"]).is_some()
        || params.is_some_and(|params| fold::misnamed(params, known).is_some())
}

/// Refuses a request in a revision that is not spoken, in the form of 2026-07-28 (UnsupportedProtocolVersionError).
pub(super) fn deny_revision(
    step: &mut Step<'_, '_>,
    request: &Request<'_>,
    error: &UnknownRevision,
) -> Result<(), AuditError> {
    let text = error.to_string();
    reply::unsupported_revision(&request.id, &error.requested, &text, step.outbox.client());
    step.outbox.client().push(b'\n');
    deny_request_as(step, request, "unknown_revision", &text)
}
