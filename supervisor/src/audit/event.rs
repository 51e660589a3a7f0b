//! One event as its observer hands it over: borrowed, every member optional but the type.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::kind::{Effect, Kind, Severity};
use super::net::NetEvent;
use super::redact::Args;
use crate::bounds::AUDIT_LIST_ITEMS_MAX;
use crate::layers::LayerReport;

/// One event. Members stand in a record in the order they have here; `v seq time boot_ns session prev hash` are the
/// journal's.
///
/// `host`, `actor`, `server` and `policy` are in `session.start` in full and are left out of later records until they
/// change (`policy.reload`).
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: Kind,
    /// How much it matters; none takes [`Severity::of`].
    pub severity: Option<Severity>,
    /// What became of it.
    pub effect: Option<Effect>,
    /// Host name.
    pub host: Option<&'a str>,
    /// Who started the session.
    pub actor: Option<Actor<'a>>,
    /// The server under guard.
    pub server: Option<Server<'a>>,
    /// The policy that decided.
    pub policy: Option<Policy<'a>>,
    /// `session.start` only: how the session runs where that is not the usual way, such as `observe`.
    pub mode: Option<&'a str>,
    /// The rule that decided.
    pub rule: Option<Rule<'a>>,
    /// Why.
    pub reason: Option<Reason<'a>>,
    /// The limit that was touched.
    pub limit: Option<Limit<'a>>,
    /// The question to a person.
    pub approval: Option<Approval<'a>>,
    /// The tool's definition.
    pub pin: Option<Pin<'a>>,
    /// The message.
    pub mcp: Option<Mcp<'a>>,
    /// The network event.
    pub net: Option<&'a NetEvent>,
    /// The process event.
    pub proc: Option<Proc<'a>>,
    /// The file event.
    pub fs: Option<Fs<'a>>,
    /// The layers' answers.
    pub sandbox: Option<Sandbox<'a>>,
    /// Where the segment before stopped.
    pub segment: Option<Segment<'a>>,
    /// What was lost.
    pub gap: Option<Gap<'a>>,
    /// The signed note that was made.
    pub checkpoint: Option<Checkpoint<'a>>,
    /// `session.start` only: the hash of this session's line in the host index, 64 hex digits.
    pub previous: Option<&'a str>,
    /// Joins a response, flow or denial to the call in flight.
    pub corr: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event of this type with nothing else said.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            severity: None,
            effect: None,
            host: None,
            actor: None,
            server: None,
            policy: None,
            mode: None,
            rule: None,
            reason: None,
            limit: None,
            approval: None,
            pin: None,
            mcp: None,
            net: None,
            proc: None,
            fs: None,
            sandbox: None,
            segment: None,
            gap: None,
            checkpoint: None,
            previous: None,
            corr: None,
        }
    }

    /// The same event with this effect.
    #[must_use]
    pub const fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// The same event with this reason.
    #[must_use]
    pub const fn with_reason(mut self, code: &'a str, text: &'a str) -> Self {
        self.reason = Some(Reason { code, text });
        self
    }
}

/// Who started the session.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Actor<'a> {
    /// Real uid of the supervisor's caller.
    pub uid: u32,
    /// `SUDO_UID`, as found and parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_uid: Option<u32>,
    /// `/proc/self/loginuid`; none when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loginuid: Option<u32>,
    /// The MCP client's own word for itself (`clientInfo.name`): a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
}

/// The server under guard.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Server<'a> {
    /// The `--profile` name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<&'a str>,
    /// Command as given; bytes that are not UTF-8 are replaced by U+FFFD.
    #[serde(skip_serializing_if = "<[OsString]>::is_empty", serialize_with = "os_list")]
    pub argv: &'a [OsString],
    /// SHA-256 of the executable, 64 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_sha256: Option<&'a str>,
    /// Host uid that it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Host pid of the server's pid 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Inode number of its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
}

/// The policy that decided.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Policy<'a> {
    /// Its name, or its path where it could not be read.
    pub name: &'a str,
    /// SHA-256 of the file, 64 hex digits; none where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<&'a str>,
    /// `policy.reload` only: SHA-256 of the policy that decided until this record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<&'a str>,
    /// SHA-256 of the lock file that it names, 64 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<&'a str>,
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Line of the policy file, from 1.
    pub line: u32,
}

/// Why.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reason<'a> {
    /// Stable code.
    pub code: &'a str,
    /// For people.
    pub text: &'a str,
}

/// The limit that was touched.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limit<'a> {
    /// The counter.
    pub key: &'a str,
    /// Calls that it allows in a window.
    pub max: u64,
    /// Length of the window, seconds.
    pub window_s: u64,
    /// Calls standing in the window.
    pub used: u64,
    /// Milliseconds until a call could be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A question to a person, and who answered it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Approval<'a> {
    /// Its name in lists, lower-case hex: keyed, so that it tells nothing about the arguments.
    pub id: &'a str,
    /// Uid of the process that decided, in the kernel's words (SO_PEERCRED).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_uid: Option<u32>,
    /// Its pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_pid: Option<u32>,
}

/// A tool's definition and its pin.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pin<'a> {
    /// The tool's name.
    pub tool: &'a str,
    /// SHA-256 of the definition that the server lists, 64 hex digits.
    pub sha256: &'a str,
    /// SHA-256 of the one that is pinned, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<&'a str>,
}

/// A message.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Mcp<'a> {
    /// `c2s` or `s2c`.
    pub dir: &'a str,
    /// JSON-RPC method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// JSON-RPC id as the peer wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<McpId<'a>>,
    /// The message's class, such as `request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// `params.name` of a tools/call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// Negotiated MCP revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'a str>,
    /// Length of the line, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Secrets that were taken out of the message before it was passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted: Option<u64>,
    /// The arguments, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Args<'a>>,
    /// `params.task`, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Args<'a>>,
    /// `params._meta`, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Args<'a>>,
    /// `params.inputResponses`, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_responses: Option<Args<'a>>,
    /// `params.requestState`, redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_state: Option<Args<'a>>,
    /// `corr` of the call that this one continues, which paid for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<&'a str>,
    /// What a response said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<McpResult>,
}

/// A JSON-RPC id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum McpId<'a> {
    /// A number.
    Integer(i64),
    /// A string.
    Text(&'a str),
}

/// What a response said.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct McpResult {
    /// A JSON-RPC error, or a tool result with `isError`.
    pub is_error: bool,
    /// JSON-RPC error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Length of the response line, bytes.
    pub bytes: u64,
    /// Milliseconds from the request's forwarding to the response's arrival.
    pub latency_ms: u64,
}

/// A process event.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Proc<'a> {
    /// `exec`, `exit`, or what was refused: `call` for a system call, `exec` for a program.
    pub op: &'a str,
    /// Host pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Host pid of the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// The system call that was refused, as syscalls(2) names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a str>,
    /// Host number of the thread that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// The name that the thread gives itself: a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<&'a str>,
    /// How many equal events this one stands for; thread and process are those of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Executable, as it was asked for inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<&'a str>,
    /// The program that runs a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<&'a str>,
    /// Whether one of the two paths was longer, and is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    /// Whether the count holds other programs, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<bool>,
    /// Exit status, where it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal number, where one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the out-of-memory killer did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
}

/// A file event.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fs<'a> {
    /// What was tried.
    pub op: &'a str,
    /// Path, as seen inside; absent where it is too long to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// errno that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Host pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The name that the thread gives itself: a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<&'a str>,
    /// How many equal events this one stands for; the process is that of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Whether the count holds other files, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<bool>,
}

/// The layers' answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sandbox<'a> {
    /// One a layer.
    #[serde(serialize_with = "layers")]
    pub layers: &'a [LayerReport],
}

/// Where the segment before stopped.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Segment<'a> {
    /// Number of the segment before.
    pub previous: u32,
    /// Last good seq in it.
    pub last_seq: u64,
    /// Hash of that record, 64 hex digits.
    pub last_hash: &'a str,
    /// Bytes after that record that are no whole record: the torn tail of a killed writer.
    pub torn_bytes: u64,
    /// SHA-256 of those bytes, 64 hex digits, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_sha256: Option<&'a str>,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gap<'a> {
    /// Where, such as `ring`.
    pub source: &'a str,
    /// How many events.
    pub count: u64,
}

/// A signed note that was made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Checkpoint<'a> {
    /// The seq that it signs.
    pub seq: u64,
    /// The hash that it signs, 64 hex digits.
    pub hash: &'a str,
    /// Name of the key.
    pub key: &'a str,
}

/// What the record writer serialises: the event with the session's name in its place.
pub(super) struct Body<'e, 'a> {
    pub(super) session: &'e str,
    pub(super) event: &'e Event<'a>,
}

impl Serialize for Body<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn member<M: SerializeMap>(map: &mut M, name: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
            value.map_or(Ok(()), |value| map.serialize_entry(name, value))
        }

        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &event.kind)?;
        map.serialize_entry("severity", &event.severity.unwrap_or(Severity::of(event.kind, event.effect)))?;
        member(&mut map, "effect", event.effect.as_ref())?;
        map.serialize_entry("session", self.session)?;
        member(&mut map, "host", event.host.as_ref())?;
        member(&mut map, "actor", event.actor.as_ref())?;
        member(&mut map, "server", event.server.as_ref())?;
        member(&mut map, "policy", event.policy.as_ref())?;
        member(&mut map, "mode", event.mode.as_ref())?;
        member(&mut map, "rule", event.rule.as_ref())?;
        member(&mut map, "reason", event.reason.as_ref())?;
        member(&mut map, "limit", event.limit.as_ref())?;
        member(&mut map, "approval", event.approval.as_ref())?;
        member(&mut map, "pin", event.pin.as_ref())?;
        member(&mut map, "mcp", event.mcp.as_ref())?;
        member(&mut map, "net", event.net.as_ref())?;
        member(&mut map, "proc", event.proc.as_ref())?;
        member(&mut map, "fs", event.fs.as_ref())?;
        member(&mut map, "sandbox", event.sandbox.as_ref())?;
        member(&mut map, "segment", event.segment.as_ref())?;
        member(&mut map, "gap", event.gap.as_ref())?;
        member(&mut map, "checkpoint", event.checkpoint.as_ref())?;
        member(&mut map, "previous", event.previous.as_ref())?;
        member(&mut map, "corr", event.corr.as_ref())?;
        map.end()
    }
}

fn os_list<S: Serializer>(items: &&[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    for item in items.iter().take(AUDIT_LIST_ITEMS_MAX) {
        list.serialize_element(&*item.to_string_lossy())?;
    }
    if items.len() > AUDIT_LIST_ITEMS_MAX {
        list.serialize_element(&format_args!("…[+{} items cut]", items.len() - AUDIT_LIST_ITEMS_MAX))?;
    }
    list.end()
}

fn layers<S: Serializer>(layers: &&[LayerReport], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    for layer in layers.iter().take(AUDIT_LIST_ITEMS_MAX) {
        list.serialize_element(layer)?;
    }
    list.end()
}
