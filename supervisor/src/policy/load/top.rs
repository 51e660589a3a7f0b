//! The top level of a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::read::{Fields, Reader, Section};
use super::{Source, methods, sandbox, server, tools, units};
use crate::bounds::{
    APPROVAL_TIMEOUT_SECONDS_MAX, APPROVAL_VALID_SECONDS_MAX, POLICY_NAME_BYTES_MAX, POLICY_TOOLS_MAX,
};
use crate::policy::codes::Code;
use crate::policy::model::{
    Approvals, AuditSection, DefaultEffect, Durability, LimitScope, Policy, RuleAction, ToolPolicy,
};
use crate::policy::yaml::Node;

pub(super) const TOP: Section = Section {
    what: "a policy",
    keys: &[
        "version",
        "name",
        "description",
        "default",
        "hide",
        "tools",
        "methods",
        "limits",
        "approvals",
        "sandbox",
        "audit",
        "server",
        "cli",
    ],
    later: &["prepare"],
};
pub(super) const LIMITS: Section = Section { what: "limits", keys: &["scope"], later: &[] };
pub(super) const APPROVALS: Section = Section { what: "approvals", keys: &["timeout", "valid"], later: &[] };
pub(super) const AUDIT: Section = Section { what: "audit", keys: &["durability", "capture"], later: &[] };
pub(super) const CLI: Section = Section { what: "cli", keys: &["allow"], later: &[] };

pub(super) const EFFECTS: &[(&str, DefaultEffect)] = &[("allow", DefaultEffect::Allow), ("deny", DefaultEffect::Deny)];
pub(super) const SCOPES: &[(&str, LimitScope)] =
    &[("profile", LimitScope::Profile), ("session", LimitScope::Session), ("global", LimitScope::Global)];
pub(super) const DURABILITY: &[(&str, Durability)] = &[("strict", Durability::Strict), ("write", Durability::Write)];
/// Flags of `run` that loosen, as `cli.allow` names them.
pub(super) const FLAGS: &[(&str, &str)] = &[
    ("connect-to", "connect-to"),
    ("observe", "observe"),
    ("audit-dir", "audit-dir"),
    ("state-dir", "state-dir"),
    ("state-dsn", "state-dsn"),
];
const FLAGS_LATER: &[&str] = &["upstream-ca"];

/// Reads the whole tree. None only where the root is no mapping; any error means that the result is not used.
pub(super) fn policy(reader: &mut Reader<'_>, root: &Node, source: &Source<'_>, sha256: String) -> Option<Policy> {
    let fields = reader.section(root, &TOP)?;
    let name = fields.get("name").and_then(|node| policy_name(reader, node));
    let named = name.is_some();
    let stem = || source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let hide = fields.get("hide").map(|node| hide(reader, node)).unwrap_or_default();
    let tools = fields.get("tools").map(|node| tools::tools(reader, node)).unwrap_or_default();
    warn_of_hidden_rules(reader, &hide, &tools, &fields);
    let approvals = approvals(reader, &fields, &tools);
    let default = default_effect(reader, &fields);
    let (server_command, pins) = server::server(reader, &fields);
    Some(Policy {
        name: name.unwrap_or_else(stem),
        named,
        sha256,
        path: source.path.to_owned(),
        description: fields.get("description").and_then(|node| reader.text(node, "description")).map(str::to_owned),
        default,
        methods: methods::methods(reader, &fields, default),
        hide,
        tools,
        limit_scope: limit_scope(reader, &fields),
        approvals,
        sandbox: sandbox::sandbox(reader, fields.get("sandbox")),
        audit: audit(reader, &fields),
        server_command,
        pins,
        cli_allow: cli_allow(reader, &fields),
    })
}

/// Names stand in file names and limit keys: letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
fn policy_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let name = reader.bounded(node, "name", POLICY_NAME_BYTES_MAX)?;
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !good {
        reader.error(Code::BadName, node.span, format!("\"{name}\" cannot name a policy")).help =
            Some("letters, digits, `.`, `_` and `-`, beginning with a letter or digit".into());
        return None;
    }
    Some(name.to_owned())
}

/// `default:`, whose absence means allow in version 1 (Intercept) and deny without a version.
fn default_effect(reader: &mut Reader<'_>, fields: &Fields<'_>) -> DefaultEffect {
    let version = fields.entry("version");
    if let Some(entry) = version
        && let Some(text) = reader.text(&entry.value, "version")
        && text != "1"
    {
        let message = format!("unknown `version` \"{text}\"");
        reader.error(Code::UnknownValue, entry.value.span, message).help = Some("the only version is \"1\"".into());
    }
    match (fields.get("default"), version) {
        (Some(node), _) => reader.choice(node, "default", EFFECTS, &[]).unwrap_or(DefaultEffect::Deny),
        (None, Some(entry)) => {
            let message = "`default` is absent, which version 1 reads as allow: tools that are not listed pass";
            reader.warning(Code::DefaultAllow, entry.key_span, message).help =
                Some("write `default: deny`, or `default: allow` to silence this".into());
            DefaultEffect::Allow
        }
        (None, None) => DefaultEffect::Deny,
    }
}

fn hide(reader: &mut Reader<'_>, node: &Node) -> BTreeSet<String> {
    if node.is_null() {
        return BTreeSet::new();
    }
    let mut hidden = BTreeSet::new();
    for item in reader.list(node, "hide", POLICY_TOOLS_MAX).unwrap_or_default() {
        if let Some(name) = reader.text(item, "hide")
            && tools::tool_name(reader, name, item.span)
            && !hidden.insert(name.to_owned())
        {
            reader.error(Code::DuplicateEntry, item.span, format!("\"{name}\" is hidden twice")).help =
                Some("leave one of the two out, unless it was meant to be another tool".into());
        }
    }
    hidden
}

fn warn_of_hidden_rules(
    reader: &mut Reader<'_>,
    hide: &BTreeSet<String>,
    tools: &BTreeMap<String, ToolPolicy>,
    fields: &Fields<'_>,
) {
    let Some(entry) = fields.entry("hide") else { return };
    for tool in hide.iter().filter(|tool| tools.get(*tool).is_some_and(|tool| !tool.rules.is_empty())) {
        let message = format!("{tool} is hidden, so no call reaches its rules (line {})", tools[tool].line);
        reader.warning(Code::HiddenRules, entry.key_span, message);
    }
}

fn limit_scope(reader: &mut Reader<'_>, fields: &Fields<'_>) -> LimitScope {
    let section = fields.get("limits").and_then(|node| reader.section(node, &LIMITS));
    let scope = section.and_then(|fields| fields.get("scope"));
    scope.and_then(|node| reader.choice(node, "limits.scope", SCOPES, &[])).unwrap_or_default()
}

/// `approvals:`; a warning where no rule asks for one.
fn approvals(reader: &mut Reader<'_>, fields: &Fields<'_>, tools: &BTreeMap<String, ToolPolicy>) -> Approvals {
    let mut approvals = Approvals::default();
    let Some(entry) = fields.entry("approvals") else { return approvals };
    let Some(section) = reader.section(&entry.value, &APPROVALS) else { return approvals };
    let mut time = |key: &str, least, most| {
        let seconds =
            section.get(key).and_then(|node| units::seconds(reader, node, &format!("approvals.{key}"), least, most));
        seconds.map(Duration::from_secs)
    };
    approvals.timeout = time("timeout", 1, APPROVAL_TIMEOUT_SECONDS_MAX).unwrap_or(approvals.timeout);
    approvals.valid = time("valid", 0, APPROVAL_VALID_SECONDS_MAX).unwrap_or(approvals.valid);
    if !tools.values().flat_map(|tool| &tool.rules).any(|rule| rule.action == RuleAction::RequireApproval) {
        let message = "`approvals` says nothing here: no rule has `action: require_approval`";
        reader.warning(Code::UnusedApprovals, entry.key_span, message);
    }
    approvals
}

fn audit(reader: &mut Reader<'_>, fields: &Fields<'_>) -> AuditSection {
    let Some(fields) = fields.get("audit").and_then(|node| reader.section(node, &AUDIT)) else {
        return AuditSection::default();
    };
    if let Some(node) = fields.get("capture") {
        reader.choice(node, "audit.capture", &[("hmac", ())], &[]);
    }
    let durability = fields.get("durability").and_then(|node| reader.choice(node, "audit.durability", DURABILITY, &[]));
    AuditSection { durability: durability.unwrap_or_default() }
}

fn cli_allow(reader: &mut Reader<'_>, fields: &Fields<'_>) -> BTreeSet<String> {
    let node = fields.get("cli").and_then(|node| reader.section(node, &CLI)).and_then(|fields| fields.get("allow"));
    let Some(items) = node.and_then(|node| reader.list(node, "cli.allow", 64)) else { return BTreeSet::new() };
    items.iter().filter_map(|item| reader.choice(item, "cli.allow", FLAGS, FLAGS_LATER)).map(str::to_owned).collect()
}
