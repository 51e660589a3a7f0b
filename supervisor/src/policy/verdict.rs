//! What the policy says of one call.

use crate::limits::{Amount, Quota, Window};
use crate::wire::advertised::Advertised;
use crate::wire::json::Value;
use crate::wire::schema::{Schema, Unjudgeable};

/// A tools/call as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `params.name`.
    pub tool: &'a str,
    /// `params.arguments`; absent reads as an empty object.
    pub arguments: Option<&'a Value<'a>>,
    /// What is known of the tool's inputSchema.
    pub schema: SchemaKnowledge<'a>,
}

/// What is known of a tool's inputSchema when a call is judged.
#[derive(Clone, Copy, Debug)]
pub enum SchemaKnowledge<'a> {
    /// Our own tools/list has not been answered yet.
    Pending,
    /// It could not be had, in time or at all, or the tool is not in it.
    Unavailable,
    /// The tool is in it.
    Known(KnownTool<'a>),
}

/// What the server's own tools/list says of a tool, as far as a rule of the policy wants it.
#[derive(Clone, Copy, Debug)]
pub struct KnownTool<'a> {
    /// The names that the top level of the inputSchema requires; none where they cannot be read.
    pub required: Option<&'a [String]>,
    /// The inputSchema, to judge arguments by.
    pub input: Result<&'a Schema, &'a Unjudgeable>,
    /// The outputSchema, to judge results by.
    pub output: Result<&'a Schema, &'a Unjudgeable>,
}

impl<'a> KnownTool<'a> {
    /// A tool of which only the required names are known.
    #[must_use]
    pub const fn requiring(names: &'a [String]) -> Self {
        Self { required: Some(names), input: Err(&Unjudgeable::Absent), output: Err(&Unjudgeable::Absent) }
    }
}

impl<'a> From<&'a Advertised> for KnownTool<'a> {
    fn from(tool: &'a Advertised) -> Self {
        let required = tool.names.as_ref().map(|names| names.required.as_slice());
        Self { required, input: tool.input.as_deref(), output: tool.output.as_deref() }
    }
}

/// Listed, hidden or unlisted: decided before any rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Visibility {
    /// The policy lets the tool be called, its rules permitting.
    Listed,
    /// `hide:` names it.
    Hidden,
    /// Nothing names it and the default is deny.
    Unlisted,
}

/// The verdict on one call.
#[derive(Clone, Debug)]
#[must_use]
pub enum Verdict<'p> {
    /// Refused.
    Deny(Denial<'p>),
    /// A rule needs the tool's schema, which is pending.
    NeedsSchema,
    /// Every rule passed; the limits still have to be reserved, all or none.
    Allow(Allowance<'p>),
}

/// A refusal and who made it.
#[derive(Clone, Debug)]
pub struct Denial<'p> {
    /// The rule that refused; none for hidden and unlisted tools.
    pub rule: Option<&'p super::Rule>,
    /// Stable code.
    pub code: DenialCode,
    /// What the agent reads, without the `[INTERCEPT POLICY DENIED]` prefix.
    pub message: String,
}

/// What an allowed call still owes, all or none of it.
#[derive(Clone, Debug, Default)]
pub struct Allowance<'p> {
    /// The last rule that was evaluated, for the record.
    pub rule: Option<&'p super::Rule>,
    /// The first rule that asks for a person's approval.
    pub approval: Option<&'p super::Rule>,
    /// Paces to keep.
    pub paces: Vec<PlannedPace<'p>>,
    /// Limits to reserve.
    pub limits: Vec<PlannedLimit<'p>>,
}

/// The pace of one rule.
#[derive(Clone, Copy, Debug)]
pub struct PlannedPace<'p> {
    /// The rule that sets it.
    pub rule: &'p super::Rule,
    /// What it allows.
    pub pace: super::Pace,
}

/// One limit of one rule.
#[derive(Clone, Copy, Debug)]
pub struct PlannedLimit<'p> {
    /// The rule that sets it.
    pub rule: &'p super::Rule,
    /// What it counts.
    pub what: Limited<'p>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug)]
pub enum Limited<'p> {
    /// `rate_limit:`: calls.
    Calls(Quota),
    /// A counter of `state:`: fed by this rule, or only read by its conditions.
    Counter {
        /// The tool whose rules feed it, `*` for all.
        tool: &'p str,
        /// Its name.
        counter: &'p str,
        /// Its window.
        window: Window,
        /// What this call adds.
        amount: Amount,
        /// What must stand before the call.
        at_least: Amount,
        /// What may stand with it.
        at_most: Amount,
    },
}

/// Codes of wire.md, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialCode {
    /// A limit is exhausted.
    RateLimited,
    /// An argument that the schema requires is absent or null.
    MissingArgument,
    /// The arguments do not fit the schema.
    SchemaMismatch,
    /// A condition did not hold.
    ConditionFailed,
    /// `action: deny`.
    DeniedByRule,
    /// Default deny.
    NotListed,
    /// `hide:`.
    Hidden,
    /// The schema that a rule needs could not be had, or cannot be judged.
    SchemaUnavailable,
    /// The tool's definition is not the one that is pinned.
    PinMismatch,
    /// The lock file, or the server's own list, does not have the tool.
    NotPinned,
    /// Its pin could not be kept or read.
    PinUnavailable,
    /// Its name is another tool's but for case, or two definitions have it.
    NameCollision,
    /// Its name looks like another one's, or hides characters.
    LookalikeName,
    /// `require_approval`: no one has decided yet, or there is no room to ask.
    ApprovalRequired,
    /// `require_approval`: a person refused.
    ApprovalDenied,
    /// The limit store did not answer.
    StoreDown,
    /// The decision could not be recorded.
    AuditUnavailable,
}

impl DenialCode {
    /// Every code.
    pub const ALL: [Self; 17] = [
        Self::RateLimited,
        Self::MissingArgument,
        Self::SchemaMismatch,
        Self::ConditionFailed,
        Self::DeniedByRule,
        Self::NotListed,
        Self::Hidden,
        Self::SchemaUnavailable,
        Self::PinMismatch,
        Self::NotPinned,
        Self::PinUnavailable,
        Self::NameCollision,
        Self::LookalikeName,
        Self::ApprovalRequired,
        Self::ApprovalDenied,
        Self::StoreDown,
        Self::AuditUnavailable,
    ];

    /// The code as it stands in replies and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::MissingArgument => "missing_argument",
            Self::SchemaMismatch => "schema_mismatch",
            Self::ConditionFailed => "condition_failed",
            Self::DeniedByRule => "denied_by_rule",
            Self::NotListed => "not_listed",
            Self::Hidden => "hidden",
            Self::SchemaUnavailable => "schema_unavailable",
            Self::PinMismatch => "pin_mismatch",
            Self::NotPinned => "not_pinned",
            Self::PinUnavailable => "pin_unavailable",
            Self::NameCollision => "name_collision",
            Self::LookalikeName => "lookalike_name",
            Self::ApprovalRequired => "approval_required",
            Self::ApprovalDenied => "approval_denied",
            Self::StoreDown => "store_down",
            Self::AuditUnavailable => "audit_unavailable",
        }
    }
}
