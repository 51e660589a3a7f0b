//! MCP's methods: who may send which, in which revision, and what their parameters are called.
//!
//! Source: the JSON schemas of the revisions 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25 (unions ClientRequest, ClientNotification,
//! ServerRequest, ServerNotification). The stateless revision 2026-07-28 is not spoken; its own methods are unknown here.

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
}

impl Era {
    /// Every revision spoken, oldest first.
    pub const ALL: [Self; 4] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

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
        }
    }
}

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
    /// It does not; refused unless the policy's `methods:` opens it.
    Unknown,
}

/// Whether `method` may go `direction` as a `kind` in `era`. Before a version is negotiated (`None`) every revision counts.
/// Names are compared exactly: `Tools/call` is unknown.
pub fn lookup(method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> Knowledge {
    let is_spoken = |row: &&Method| row.since <= era.unwrap_or(Era::V2025_11_25);
    let fits = |row: &&Method| row.name == method && row.kind == kind && row.ways.include(direction);
    match METHODS.iter().filter(fits).find(is_spoken) {
        Some(_) => Knowledge::Known,
        None => Knowledge::Unknown,
    }
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
    /// No revision up to 2025-11-25 takes a method away, so the first that has it says all.
    since: Era,
    params: &'static [&'static str],
}

const fn request(name: &'static str, ways: Ways, since: Era, params: &'static [&'static str]) -> Method {
    Method { name, kind: Kind::Request, ways, since, params }
}

const fn notification(name: &'static str, ways: Ways, since: Era, params: &'static [&'static str]) -> Method {
    Method { name, kind: Kind::Notification, ways, since, params }
}

use Era::{V2024_11_05, V2025_06_18, V2025_11_25};
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
    request("initialize", Client, V2024_11_05, &["capabilities", "clientInfo", "protocolVersion"]),
    request("ping", Both, V2024_11_05, &[]),
    request("resources/list", Client, V2024_11_05, &["cursor"]),
    request("resources/templates/list", Client, V2024_11_05, &["cursor"]),
    request("resources/read", Client, V2024_11_05, &["uri"]),
    request("resources/subscribe", Client, V2024_11_05, &["uri"]),
    request("resources/unsubscribe", Client, V2024_11_05, &["uri"]),
    request("prompts/list", Client, V2024_11_05, &["cursor"]),
    request("prompts/get", Client, V2024_11_05, &["arguments", "name"]),
    request("tools/list", Client, V2024_11_05, &["cursor"]),
    request("tools/call", Client, V2024_11_05, &["arguments", "name", "task"]),
    request("logging/setLevel", Client, V2024_11_05, &["level"]),
    request("completion/complete", Client, V2024_11_05, &["argument", "context", "ref"]),
    request("tasks/get", Both, V2025_11_25, &["taskId"]),
    request("tasks/result", Both, V2025_11_25, &["taskId"]),
    request("tasks/cancel", Both, V2025_11_25, &["taskId"]),
    request("tasks/list", Both, V2025_11_25, &["cursor"]),
    request("sampling/createMessage", Server, V2024_11_05, SAMPLING),
    request("roots/list", Server, V2024_11_05, &[]),
    request("elicitation/create", Server, V2025_06_18, ELICITATION),
    notification("notifications/cancelled", Both, V2024_11_05, &["reason", "requestId"]),
    notification("notifications/initialized", Client, V2024_11_05, &[]),
    notification("notifications/progress", Both, V2024_11_05, PROGRESS),
    notification("notifications/roots/list_changed", Client, V2024_11_05, &[]),
    notification("notifications/tasks/status", Both, V2025_11_25, TASK),
    notification("notifications/resources/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/resources/updated", Server, V2024_11_05, &["uri"]),
    notification("notifications/prompts/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/tools/list_changed", Server, V2024_11_05, &[]),
    notification("notifications/message", Server, V2024_11_05, &["data", "level", "logger"]),
    notification("notifications/elicitation/complete", Server, V2025_11_25, &["elicitationId"]),
];

#[cfg(test)]
mod tests {
    use Direction::{ClientToServer, ServerToClient};
    use Kind::{Notification, Request};

    use super::*;

    fn known(method: &str, direction: Direction, kind: Kind, era: Option<Era>) -> bool {
        lookup(method, direction, kind, era) == Knowledge::Known
    }

    #[test]
    fn methods_hold_in_their_direction_and_kind_alone() {
        assert!(known("tools/call", ClientToServer, Request, None));
        assert!(!known("tools/call", ServerToClient, Request, None));
        assert!(!known("tools/call", ClientToServer, Notification, None));
        assert!(known("sampling/createMessage", ServerToClient, Request, None));
        assert!(!known("sampling/createMessage", ClientToServer, Request, None));
        assert!(known("ping", ClientToServer, Request, None) && known("ping", ServerToClient, Request, None));
    }

    #[test]
    fn methods_hold_from_their_revision_on() {
        assert!(!known("elicitation/create", ServerToClient, Request, Some(Era::V2025_03_26)));
        assert!(known("elicitation/create", ServerToClient, Request, Some(V2025_06_18)));
        assert!(!known("tasks/get", ClientToServer, Request, Some(V2025_06_18)));
        assert!(known("tasks/get", ClientToServer, Request, Some(V2025_11_25)));
        assert!(known("tasks/get", ClientToServer, Request, None));
        assert!(Era::ALL.iter().all(|era| known("initialize", ClientToServer, Request, Some(*era))));
    }

    #[test]
    fn other_names_are_unknown() {
        for method in [
            "",
            "Tools/call",
            "tools/call ",
            "tools/\u{441}all",
            "server/discover",
            "subscriptions/listen",
            "rpc.discover",
        ] {
            assert!(!known(method, ClientToServer, Request, None), "{method:?}");
        }
        assert!(!known("notifications/subscriptions/acknowledged", ServerToClient, Notification, None));
    }

    #[test]
    fn only_spoken_revisions_have_an_era() {
        assert_eq!(Era::of("2025-06-18"), Some(V2025_06_18));
        assert_eq!(Era::of("2026-07-28"), None);
        assert_eq!(Era::of(""), None);
    }

    #[test]
    fn parameter_names_are_the_methods_own() {
        let names: Vec<_> = parameter_names("tools/call").collect();
        assert_eq!(names, ["arguments", "name", "task", "_meta"]);
        let every: Vec<_> = parameter_names("x/unknown").collect();
        assert!(every.contains(&"uri") && every.contains(&"requestId"));
    }

    /// The table against the published schemas, where they lie beside the checkout.
    #[test]
    fn table_is_that_of_the_schemas() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mcp-schema");
        if !folder.is_dir() {
            return;
        }
        for era in Era::ALL {
            let text = std::fs::read_to_string(folder.join(format!("{}.json", era.as_str()))).unwrap();
            let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
            let types = schema.get("$defs").or(schema.get("definitions")).unwrap();
            for (union, direction, kind) in [
                ("ClientRequest", ClientToServer, Request),
                ("ClientNotification", ClientToServer, Notification),
                ("ServerRequest", ServerToClient, Request),
                ("ServerNotification", ServerToClient, Notification),
            ] {
                let mut published: Vec<&str> = types[union]["anyOf"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| {
                        let name = entry["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                        types[name]["properties"]["method"]["const"].as_str().unwrap()
                    })
                    .collect();
                let mut ours: Vec<&str> = METHODS
                    .iter()
                    .filter(|row| row.kind == kind && row.ways.include(direction) && row.since <= era)
                    .map(|row| row.name)
                    .collect();
                published.sort_unstable();
                ours.sort_unstable();
                assert_eq!(ours, published, "{union} of {}", era.as_str());
            }
        }
    }
}
