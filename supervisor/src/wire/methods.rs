//! MCP's methods: who may send which, in which revision, and what their parameters are called.
//!
//! Source: the JSON schemas of the revisions 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28 (unions ClientRequest,
//! ClientNotification, ServerRequest, ServerNotification, and InputRequest of the last), whose names stand in `methods/published.txt`.

use super::json::Value;

/// A revision of MCP that changes which methods exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// 2024-11-05
    V2024_11_05,
    /// 2025-03-26
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28: no handshake, each request says its revision; the server asks nothing of its own accord.
    V2026_07_28,
}

impl Era {
    /// Every revision spoken, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// The revision that `protocolVersion` names; none when it is not spoken.
    #[must_use]
    pub fn of(protocol_version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|era| era.as_str() == protocol_version)
    }

    /// The revision as `protocolVersion` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision that a request itself names in `_meta`; none when it names none.
    ///
    /// # Errors
    /// When it names one that is not spoken, or what it names is no string.
    pub fn of_request(params: Option<&Value<'_>>) -> Result<Option<Self>, UnknownRevision> {
        let version = params.and_then(|params| params.member("_meta")).and_then(|meta| meta.member(PROTOCOL_VERSION));
        match version {
            None => Ok(None),
            Some(Value::String(version)) => {
                Self::of(version).map(Some).ok_or_else(|| UnknownRevision { requested: version.clone().into_owned() })
            }
            Some(_) => Err(UnknownRevision { requested: String::new() }),
        }
    }

    /// Whether a session that begins with `initialize` can be of this revision.
    #[must_use]
    pub const fn has_handshake(self) -> bool {
        !matches!(self, Self::V2026_07_28)
    }
}

/// A request names a revision that is not spoken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MCP revision {requested:?} is not supported")]
pub struct UnknownRevision {
    /// What it names; empty where that is no string.
    pub requested: String,
}

/// The key of `_meta` that names a request's revision (2026-07-28, RequestMetaObject).
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The key of `_meta` with what the client can be asked for (2026-07-28, RequestMetaObject).
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The key of `_meta` with the client's name (2026-07-28, RequestMetaObject).
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The key of `_meta` with the id of the subscription that a notification belongs to (2026-07-28, NotificationMetaObject).
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The keys of `_meta` that a protocol reads.
pub const META_KEYS: [&str; 6] = [
    "progressToken",
    PROTOCOL_VERSION,
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    SUBSCRIPTION_ID,
    "io.modelcontextprotocol/logLevel",
];

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the agent's host to the server.
    ClientToServer,
    /// From the server to the agent's host.
    ServerToClient,
}

/// Whether a message asks for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has an id and must be answered.
    Request,
    /// It has none and must not be.
    Notification,
}

/// What MCP says of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Knowledge {
    /// The revision has it, in this direction and kind.
    Known,
    /// MCP has the name, but in no revision in this direction and kind: nothing opens it.
    Misplaced,
    /// This revision does not have it; refused unless the policy's `methods` opens it.
    Unknown,
}

/// Whether `method` may go `direction` as a `kind` in `era`. Before a version is negotiated (`None`) every revision counts.
/// Names are compared exactly: `Tools/call` is unknown.
pub fn lookup(method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> Knowledge {
    let mut of_name = METHODS.iter().filter(|row| row.name == method).peekable();
    if of_name.peek().is_none() {
        return Knowledge::Unknown;
    }
    let mut fits = of_name.filter(|row| row.kind == kind && row.ways.include(direction)).peekable();
    if fits.peek().is_none() {
        return Knowledge::Misplaced;
    }
    if fits.any(|row| era.is_none_or(|era| row.is_in(era))) { Knowledge::Known } else { Knowledge::Unknown }
}

/// Who decides on a method that MCP has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// Without it nothing works, and what it does is judged elsewhere: no policy closes it.
    Essential,
    /// A notification: passes unless the policy names it.
    Free,
    /// Follows the policy's `methods`.
    Judged,
}

/// Who decides on `method`; none when no revision has it.
#[must_use]
pub fn standing(method: &str) -> Option<Standing> {
    let row = METHODS.iter().find(|row| row.name == method)?;
    Some(match (row.kind, ESSENTIAL.contains(&method)) {
        (_, true) => Standing::Essential,
        (Kind::Notification, false) => Standing::Free,
        (Kind::Request, false) => Standing::Judged,
    })
}

/// Every method that MCP has in some revision; some more than once.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|row| row.name)
}

/// The directions and kinds that `method` has in some revision.
pub fn places(method: &str) -> impl Iterator<Item = (Direction, Kind)> {
    let directions = [Direction::ClientToServer, Direction::ServerToClient];
    METHODS.iter().filter(move |row| row.name == method).flat_map(move |row| {
        directions.into_iter().filter(|direction| row.ways.include(*direction)).map(|direction| (direction, row.kind))
    })
}

/// Methods that no policy names: the handshake, what cancels, and what tool rules judge.
const ESSENTIAL: [&str; 8] = [
    "initialize",
    "notifications/cancelled",
    "notifications/initialized",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
];

/// The names of `method`'s parameters in `era`, `_meta` included.
pub fn parameters_in(method: &str, era: Era) -> impl Iterator<Item = &'static str> {
    let rows = METHODS.iter().filter(move |row| row.name == method && row.is_in(era));
    rows.flat_map(|row| row.params.iter().copied()).chain(["_meta"])
}

/// The names of `method`'s parameters over all revisions, `_meta` included; for an unknown method, those of every method.
pub fn parameter_names(method: &str) -> impl Iterator<Item = &'static str> {
    let is_known = METHODS.iter().any(|row| row.name == method);
    let rows = METHODS.iter().filter(move |row| !is_known || row.name == method);
    rows.flat_map(|row| row.params.iter().copied()).chain(["_meta"])
}

/// Who sends a method.
#[derive(Clone, Copy)]
enum Ways {
    Client,
    Server,
    Both,
}

impl Ways {
    const fn include(self, direction: Direction) -> bool {
        matches!(
            (self, direction),
            (Self::Both, _) | (Self::Client, Direction::ClientToServer) | (Self::Server, Direction::ServerToClient)
        )
    }
}

struct Method {
    name: &'static str,
    kind: Kind,
    ways: Ways,
    /// The first revision that has it so.
    since: Era,
    /// The last one. A method that changes its direction or its parameters has two rows.
    until: Era,
    params: &'static [&'static str],
}

impl Method {
    fn is_in(&self, era: Era) -> bool {
        self.since <= era && era <= self.until
    }

    /// With 2026-07-28 it is gone, or another.
    const fn ended(mut self) -> Self {
        self.until = V2025_11_25;
        self
    }
}

const fn request(name: &'static str, ways: Ways, since: Era, params: &'static [&'static str]) -> Method {
    Method { name, kind: Kind::Request, ways, since, until: V2026_07_28, params }
}

const fn notification(name: &'static str, ways: Ways, since: Era, params: &'static [&'static str]) -> Method {
    Method { name, kind: Kind::Notification, ways, since, until: V2026_07_28, params }
}

use Era::{V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28};
use Ways::{Both, Client, Server};

const SAMPLING: &[&str] = &[
    "includeContext",
    "maxTokens",
    "messages",
    "metadata",
    "modelPreferences",
    "stopSequences",
    "systemPrompt",
    "task",
    "temperature",
    "toolChoice",
    "tools",
];
const ELICITATION: &[&str] = &["elicitationId", "message", "mode", "requestedSchema", "task", "url"];
const TASK: &[&str] = &["createdAt", "lastUpdatedAt", "pollInterval", "status", "statusMessage", "taskId", "ttl"];
const PROGRESS: &[&str] = &["message", "progress", "progressToken", "total"];

static METHODS: &[Method] = &[
    request("initialize", Client, V2024_11_05, &["capabilities", "clientInfo", "protocolVersion"]).ended(),
    request("ping", Both, V2024_11_05, &[]).ended(),
    request("server/discover", Client, V2026_07_28, &[]),
    request("subscriptions/listen", Client, V2026_07_28, &["notifications"]),
    request("resources/list", Client, V2024_11_05, &["cursor"]),
    request("resources/templates/list", Client, V2024_11_05, &["cursor"]),
    request("resources/read", Client, V2024_11_05, &["uri"]).ended(),
    request("resources/read", Client, V2026_07_28, &["inputResponses", "requestState", "uri"]),
    request("resources/subscribe", Client, V2024_11_05, &["uri"]).ended(),
    request("resources/unsubscribe", Client, V2024_11_05, &["uri"]).ended(),
    request("prompts/list", Client, V2024_11_05, &["cursor"]),
    request("prompts/get", Client, V2024_11_05, &["arguments", "name"]).ended(),
    request("prompts/get", Client, V2026_07_28, &["arguments", "inputResponses", "name", "requestState"]),
    request("tools/list", Client, V2024_11_05, &["cursor"]),
    request("tools/call", Client, V2024_11_05, &["arguments", "name", "task"]).ended(),
    request("tools/call", Client, V2026_07_28, &["arguments", "inputResponses", "name", "requestState"]),
    request("logging/setLevel", Client, V2024_11_05, &["level"]).ended(),
    request("completion/complete", Client, V2024_11_05, &["argument", "context", "ref"]),
    request("tasks/get", Both, V2025_11_25, &["taskId"]).ended(),
    request("tasks/result", Both, V2025_11_25, &["taskId"]).ended(),
    request("tasks/cancel", Both, V2025_11_25, &["taskId"]).ended(),
    request("tasks/list", Both, V2025_11_25, &["cursor"]).ended(),
    // With 2026-07-28 these three stand in an InputRequiredResult, no longer on lines of their own.
    request("sampling/createMessage", Server, V2024_11_05, SAMPLING).ended(),
    request("roots/list", Server, V2024_11_05, &[]).ended(),
    request("elicitation/create", Server, V2025_06_18, ELICITATION).ended(),
    notification("notifications/cancelled", Both, V2024_11_05, &["reason", "requestId"]),
    notification("notifications/initialized", Client, V2024_11_05, &[]).ended(),
    notification("notifications/progress", Both, V2024_11_05, PROGRESS).ended(),
    notification("notifications/progress", Server, V2026_07_28, PROGRESS),
    notification("notifications/roots/list_changed", Client, V2024_11_05, &[]).ended(),
    notification("notifications/tasks/status", Both, V2025_11_25, TASK).ended(),
    notification("notifications/subscriptions/acknowledged", Server, V2026_07_28, &["notifications"]),
    notification("notifications/resources/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/resources/updated", Server, V2024_11_05, &["uri"]),
    notification("notifications/prompts/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/tools/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/message", Server, V2024_11_05, &["data", "level", "logger"]),
    notification("notifications/elicitation/complete", Server, V2025_11_25, &["elicitationId"]).ended(),
];

/// The requests that an InputRequiredResult may hold (2026-07-28, InputRequest).
pub const INPUT_REQUESTS: [&str; 3] = ["elicitation/create", "roots/list", "sampling/createMessage"];

#[cfg(test)]
mod tests;
