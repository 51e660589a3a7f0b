//! What the two sides tell each other they can do, without what the policy closes whole: so neither tries.
//! That it is closed does not rest on this.

use super::gate::{Gate, Step, write_request};
use crate::policy::Policy;
use crate::weaken;
use crate::wire::json::Value;
use crate::wire::jsonrpc::{self, Request, RequestId};
use crate::wire::methods::CLIENT_CAPABILITIES;

/// A capability, and the methods without which it is nothing.
type Family = (&'static str, &'static [&'static str]);

const TASKS: Family = ("tasks", &["tasks/get", "tasks/result", "tasks/cancel", "tasks/list"]);
/// Of a client.
const CLIENT: [Family; 4] = [
    ("elicitation", &["elicitation/create"]),
    ("roots", &["roots/list"]),
    ("sampling", &["sampling/createMessage"]),
    TASKS,
];
/// Of a server. `logging` is not among them: it also announces notifications.
const SERVER: [Family; 4] = [
    ("completions", &["completion/complete"]),
    ("prompts", &["prompts/list", "prompts/get"]),
    (
        "resources",
        &[
            "resources/list",
            "resources/templates/list",
            "resources/read",
            "resources/subscribe",
            "resources/unsubscribe",
        ],
    ),
    TASKS,
];

/// Room for what is longer in our line than in the client's, mostly the id, bytes: it need not grow, and be moved, for that.
const LONGER_BYTES: usize = 64;

impl Gate {
    /// Stages a client's request for the server under our id: written from what was judged, never the bytes that came, and
    /// without the capabilities that the policy closes.
    pub(super) fn forward(&self, step: &mut Step<'_, '_>, request: &Request<'_>, ours: &RequestId) {
        let (line, out) = (step.line, step.outbox.server());
        if !weaken::in_force("client-rewritten")
            && let Ok(read) = jsonrpc::read_line(line)
        {
            read.raw.pass_on(Some(ours), out);
            return out.push(b'\n');
        }
        out.reserve(line.len() + LONGER_BYTES);
        let place = place_of_capabilities(&request.method);
        let announced = |params| place.iter().try_fold(params, |value: &Value<'_>, key| value.member(key));
        let is_closed = |family: &Family| !family.1.iter().any(|method| self.policy.opens_method(method));
        // Few requests announce anything: the others, large ones among them, are not copied.
        if request.params.as_ref().and_then(announced).is_none() || !CLIENT.iter().any(is_closed) {
            return write_request(request, ours, out);
        }
        let mut request = request.clone();
        let announced = |params| place.iter().try_fold(params, |value: &mut Value<'_>, key| value.member_mut(key));
        if let Some(announced) = request.params.as_mut().and_then(announced) {
            strip(announced, &CLIENT, &self.policy);
        }
        write_request(&request, ours, out);
    }

    /// The result of an initialize or server/discover without what is closed; none where nothing is.
    pub(super) fn announced<'v>(&self, result: &Value<'v>) -> Option<Value<'v>> {
        let mut result = result.clone();
        let changed = result.member_mut("capabilities").is_some_and(|all| strip(all, &SERVER, &self.policy));
        changed.then_some(result)
    }
}

/// The keys that lead from the params of a client's request to what it announces.
fn place_of_capabilities(method: &str) -> &'static [&'static str] {
    if method == "initialize" { &["capabilities"] } else { &["_meta", CLIENT_CAPABILITIES] }
}

/// Whether something was taken out.
fn strip(capabilities: &mut Value<'_>, families: &[Family], policy: &Policy) -> bool {
    let Value::Object(members) = capabilities else { return false };
    let before = members.len();
    let is_closed = |key: &str| {
        let family = families.iter().find(|(name, _)| *name == key);
        family.is_some_and(|(_, methods)| !methods.iter().any(|method| policy.opens_method(method)))
    };
    members.retain(|(key, _)| !is_closed(key));
    members.len() < before
}
