//! The normalised policy: what every dialect loads into.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::bounds::{CLIENT_LINE_BYTES_MAX, SERVER_LINE_BYTES_MAX};
use crate::limits::{Amount, Quota, Window};

/// A policy that loaded without an error.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `name:`, or the file stem.
    pub name: String,
    /// Whether `name:` stands in the file. If so it names the counters, else the real path does.
    pub named: bool,
    /// SHA-256 of the file's bytes, lower-case hex.
    pub sha256: String,
    /// The file's real path, for messages and limit keys.
    pub path: PathBuf,
    /// `description:`.
    pub description: Option<String>,
    /// What happens to a tool that the policy does not list.
    pub default: DefaultEffect,
    /// Tools removed from tools/list and refused as unknown.
    pub hide: BTreeSet<String>,
    /// Rules by tool; `*` holds for every listed tool besides.
    pub tools: BTreeMap<String, ToolPolicy>,
    /// Which methods besides tools/call may pass.
    pub methods: super::Methods,
    /// Where counters are kept apart.
    pub limit_scope: LimitScope,
    /// `approvals:`.
    pub approvals: Approvals,
    /// `sandbox:`; absent gives the strictest.
    pub sandbox: SandboxSection,
    /// `audit:`.
    pub audit: AuditSection,
    /// `server.command`, when given.
    pub server_command: Option<Vec<String>>,
    /// `server.pins`.
    pub pins: Pins,
    /// `cli.allow`: loosening flags that a caller who is not real root may use.
    pub cli_allow: BTreeSet<String>,
}

/// `server.pins:` which definitions of the server's tools are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pins {
    /// Those that were seen first, kept over sessions (default).
    #[default]
    FirstUse,
    /// Those that were seen first in the session.
    Session,
    /// Whatever the server lists.
    Off,
    /// Those of a lock file: as written, its name beside the policy or an absolute path.
    Lock(PathBuf),
}

/// `default:`, and an entry of `methods:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DefaultEffect {
    /// It passes; for an unlisted tool (Intercept's meaning of an absent default with `version: "1"`).
    Allow,
    /// It is refused.
    Deny,
}

impl Policy {
    /// Where the lock file stands: beside the policy's real place, unless the policy names another.
    #[must_use]
    pub fn lock_path(&self) -> Option<PathBuf> {
        match &self.pins {
            Pins::Lock(file) => Some(self.path.parent().map_or_else(|| file.clone(), |folder| folder.join(file))),
            Pins::FirstUse | Pins::Session | Pins::Off => None,
        }
    }
}

/// The rules of one tool, in order. Every one must pass.
#[derive(Clone, Debug, Default)]
pub struct ToolPolicy {
    /// Rules in file order.
    pub rules: Vec<Rule>,
    /// The argument keys that these rules read.
    pub keys: super::ArgumentKeys,
    /// Line of the tool's key, from 1.
    pub line: u32,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `TOOL.rules[i]`, or `TOOL.NAME` where the rule has a name. Stable: limit keys use it.
    pub id: String,
    /// The tool it stands under, `*` for all.
    pub tool: String,
    /// Its place among the tool's rules, from 0.
    pub index: usize,
    /// `name:`.
    pub name: Option<String>,
    /// Line of the rule, from 1.
    pub line: u32,
    /// What it does.
    pub action: RuleAction,
    /// The message that the agent reads on a denial by this rule (`reason` or `on_deny`).
    pub reason: Option<String>,
    /// All must hold of the arguments.
    pub conditions: Vec<super::Clause>,
    /// Conditions on `state.` paths: judged with the limits, in the store.
    pub state_conditions: Vec<StateCondition>,
    /// `rate_limit:`.
    pub rate_limit: Option<Quota>,
    /// `pace:`.
    pub pace: Option<Pace>,
    /// `state:`: the counter that this rule feeds.
    pub state: Option<Counter>,
    /// `validate:`.
    pub validate: Validate,
}

/// `validate:`: what the server's own schemas of the tool are held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validate {
    /// `required_args`: what the inputSchema requires is given and not null.
    pub required_args: bool,
    /// `schema`: the arguments fit the inputSchema.
    pub schema: bool,
    /// `output`: the result's structuredContent fits the outputSchema.
    pub output: bool,
}

impl Validate {
    /// Nothing.
    pub const NOTHING: Self = Self { required_args: false, schema: false, output: false };

    /// Whether it asks for anything.
    #[must_use]
    pub fn asks(self) -> bool {
        self != Self::NOTHING
    }

    /// What one of the two asks for.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            required_args: self.required_args || other.required_args,
            schema: self.schema || other.schema,
            output: self.output || other.output,
        }
    }
}

/// `action:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RuleAction {
    /// `allow` and `evaluate`: passes when its checks do; never short-circuits.
    Evaluate,
    /// `deny`: refuses always.
    Deny,
    /// `require_approval`: passes when its checks do and a person has approved the call.
    RequireApproval,
}

/// `pace:`: calls of a session no closer together than `every`, but for a burst. In memory, beside the exact limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// One more call is free after each of these, milliseconds.
    pub every_ms: u64,
    /// Calls that may come at once after a rest; at least 1.
    pub burst: u32,
}

/// `state:` of a rule: every allowed call adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `counter:`; conditions name it `state.TOOL.COUNTER`, or `state._global.COUNTER` under `*`.
    pub name: String,
    /// `window:`, with `align:`.
    pub window: Window,
    /// What a call adds.
    pub increment: Increment,
}

/// What a call adds to a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Increment {
    /// `increment:`; 1 when absent.
    Fixed(Amount),
    /// `increment_from:`: the keys below `args` of a number, 0 to 10^18 with at most nine decimals.
    From(Vec<String>),
}

/// A condition on a counter. On the counter that its own rule feeds, upper bounds hold with the call counted in, as in
/// Intercept; every other bound is on what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCondition {
    /// The path as written.
    pub path: String,
    /// The tool whose rules feed the counter; `*` for `_global`.
    pub tool: String,
    /// The counter's name.
    pub counter: String,
    /// The counter's window, as its `state:` block says.
    pub window: Window,
    /// Whether the condition's own rule feeds the counter.
    pub own: bool,
    /// The operator: `lt`, `lte`, `gt`, `gte` or `eq`.
    pub op: &'static str,
    /// The value as written.
    pub value: super::Number,
    /// What must stand before the call.
    pub at_least: Amount,
    /// What may stand: for `lt` and `lte` where `own`, with the call; else before it.
    pub at_most: Amount,
    /// Line of the condition, from 1.
    pub line: u32,
}

/// `approvals:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// `timeout`: how long a call waits for a person before it is denied.
    pub timeout: Duration,
    /// `valid`: how long an approval that comes too late waits for the same call to be made again.
    pub valid: Duration,
}

impl Default for Approvals {
    /// 50 s, since clients give up after 60; 10 min.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(50), valid: Duration::from_secs(600) }
    }
}

/// `limits.scope:` of the counters' keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitScope {
    /// One count for this policy, over all sessions (default).
    #[default]
    Profile,
    /// One count a session.
    Session,
    /// One count for every policy that names the same tool and rule.
    Global,
}

/// `sandbox:`.
#[derive(Clone, Debug, Default)]
pub struct SandboxSection {
    /// Whether the file has the section; its absence is said at start.
    pub present: bool,
    /// `network.allow`.
    pub hosts: Vec<HostRule>,
    /// `filesystem.read`.
    pub read: Vec<PathBuf>,
    /// `filesystem.write`.
    pub write: Vec<WriteRule>,
    /// `process.max`, processes and threads; default 64.
    pub processes_max: Option<u64>,
    /// `process.exec`: the programs that the server may execute besides its own command, as bare names or absolute paths,
    /// in order and each once; `None`: whatever the view shows.
    pub exec: Option<BTreeSet<String>>,
    /// `resources`.
    pub resources: Resources,
    /// `env.pass`.
    pub env_pass: Vec<EnvPass>,
    /// `env.set`.
    pub env_set: BTreeMap<String, String>,
    /// `require`: layer names besides the core ones.
    pub require: BTreeSet<String>,
}

/// One entry of `network.allow`.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// Exact DNS name, lower case, ASCII, no trailing dot.
    pub host: String,
    /// Ports; default 443.
    pub ports: Vec<u16>,
    /// What the gateway demands of the connection.
    pub tls: TlsMode,
    /// Why `tls: none`; present exactly then.
    pub reason: Option<String>,
    /// Bytes that the server may send to this host in one session.
    pub max_bytes_out: Option<u64>,
    /// Line of the entry, from 1.
    pub line: u32,
}

/// `tls:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// The SNI must equal the host; the bytes pass untouched (default).
    #[default]
    Passthrough,
    /// Plain TCP, with a reason in the policy.
    None,
}

impl TlsMode {
    /// As the policy writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::None => "none",
        }
    }
}

/// One entry of `filesystem.write`.
#[derive(Clone, Debug)]
pub struct WriteRule {
    /// Path that the server sees.
    pub path: PathBuf,
    /// Path on the host; the same when absent.
    pub from: PathBuf,
    /// User name or numeric uid that files written there belong to.
    pub owner: Option<String>,
    /// `max`: bytes that the folder may hold, what stood there before counted in.
    pub max_bytes: Option<u64>,
    /// `quota: project`: the file system holds the folder to its `max`; otherwise we count.
    pub by_quota: bool,
    /// Line of the entry, from 1.
    pub line: u32,
}

/// One entry of `env.pass`.
#[derive(Clone, Debug)]
pub struct EnvPass {
    /// Variable name.
    pub name: String,
    /// Absent in the caller's environment is not an error.
    pub optional: bool,
    /// Line of the entry, from 1.
    pub line: u32,
}

/// `resources:`; absent values take the defaults below.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// `memory`, bytes.
    pub memory_bytes: Option<u64>,
    /// `cpu`, thousandths of one core.
    pub cpu_millis: Option<u64>,
    /// `open_files`, descriptors a process.
    pub open_files: Option<u64>,
    /// `tmp`, bytes of the private /tmp.
    pub tmp_bytes: Option<u64>,
    /// `wall`, longest life of a session; absent or 0 is no limit.
    pub wall: Option<Duration>,
    /// `call_timeout`, longest wait for the answer to one forwarded call; absent or 0 is no limit.
    pub call_timeout: Option<Duration>,
    /// `client_line`, longest line of the client, bytes.
    pub client_line_bytes: Option<u64>,
    /// `server_line`, longest line of the server, bytes.
    pub server_line_bytes: Option<u64>,
}

impl Resources {
    /// Processes and threads where `process.max` is absent.
    pub const DEFAULT_PROCESSES: u64 = 64;
    /// `memory` where it is absent, bytes.
    pub const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;
    /// `cpu` where it is absent, thousandths of one core.
    pub const DEFAULT_CPU_MILLIS: u64 = 1_000;
    /// `open_files` where it is absent.
    pub const DEFAULT_OPEN_FILES: u64 = 1_024;
    /// `tmp` where it is absent, bytes.
    pub const DEFAULT_TMP_BYTES: u64 = 64 << 20;

    /// Longest line of the client in force, bytes.
    #[must_use]
    pub fn client_line_max(&self) -> usize {
        self.client_line_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(CLIENT_LINE_BYTES_MAX)
    }

    /// Longest line of the server in force, bytes.
    #[must_use]
    pub fn server_line_max(&self) -> usize {
        self.server_line_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(SERVER_LINE_BYTES_MAX)
    }
}

/// `audit:`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditSection {
    /// `durability:`.
    pub durability: Durability,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// fdatasync before the effect (default).
    #[default]
    Strict,
    /// In the page cache before the effect; for benches and tests.
    Write,
}

impl Durability {
    /// As the policy writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Write => "write",
        }
    }
}
