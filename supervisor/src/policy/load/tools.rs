//! `tools:` and the rules under them.

use std::collections::{BTreeMap, HashMap};

use super::conditions::{self, Budget};
use super::counters::Counters;
use super::read::{Fields, Reader, Section};
use super::{limits, state};
use crate::bounds::{
    POLICY_NAME_BYTES_MAX, POLICY_REASON_BYTES_MAX, POLICY_RULES_MAX, POLICY_TOOLS_MAX, TOOL_NAME_BYTES_MAX,
};
use crate::policy::ArgumentKeys;
use crate::policy::codes::Code;
use crate::policy::model::{Rule, RuleAction, ToolPolicy, Validate};
use crate::policy::yaml::{Entry, Kind, Node, Span};

pub(super) const TOOL: Section = Section { what: "a tool", keys: &["rules"], later: &["network"] };
pub(super) const RULE: Section = Section {
    what: "a rule",
    keys: &["name", "action", "conditions", "rate_limit", "state", "pace", "validate", "reason", "on_deny"],
    later: &[],
};
pub(super) const VALIDATE: Section =
    Section { what: "validate", keys: &["required_args", "schema", "output"], later: &[] };

pub(super) const ACTIONS: &[(&str, RuleAction)] = &[
    ("allow", RuleAction::Evaluate),
    ("evaluate", RuleAction::Evaluate),
    ("deny", RuleAction::Deny),
    ("require_approval", RuleAction::RequireApproval),
];

/// What stays known from rule to rule.
#[derive(Default)]
struct Seen {
    rules: usize,
    ids: HashMap<String, u32>,
    budget: Budget,
    counters: Counters,
}

/// Reads `tools:`. Nothing after the key reads as no tools.
pub(super) fn tools(reader: &mut Reader<'_>, node: &Node) -> BTreeMap<String, ToolPolicy> {
    if node.is_null() {
        return BTreeMap::new();
    }
    let Some(entries) = reader.named_entries(node, "tools") else { return BTreeMap::new() };
    if entries.len() > POLICY_TOOLS_MAX {
        let message = format!("{} tools; a policy holds at most {POLICY_TOOLS_MAX}", entries.len());
        reader.error(Code::TooMany, node.span, message);
        return BTreeMap::new();
    }
    let mut seen = Seen::default();
    let mut tools = BTreeMap::new();
    for entry in entries {
        if tool_name(reader, &entry.key, entry.key_span) {
            tools.insert(entry.key.clone(), tool(reader, entry, &mut seen));
        }
    }
    if seen.rules > POLICY_RULES_MAX {
        let message = format!("{} rules; a policy holds at most {POLICY_RULES_MAX}", seen.rules);
        reader.error(Code::TooMany, node.span, message);
    }
    seen.counters.settle(reader, &mut tools);
    tools
}

/// Whether `name` can be a tool's, or is `*` for all of them.
pub(super) fn tool_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let (fault, help) = if name.trim().is_empty() || name.len() > TOOL_NAME_BYTES_MAX {
        ("a tool's name has 1 to 256 bytes and is not blank", None)
    } else if name.chars().any(char::is_control) {
        ("a tool's name holds no control characters", None)
    } else if name != "*" && name.contains('*') {
        ("tools are named whole; there are no patterns", Some("\"*\" alone stands for every tool"))
    } else {
        return true;
    };
    reader.error(Code::BadName, span, fault).help = help.map(str::to_owned);
    false
}

fn tool(reader: &mut Reader<'_>, entry: &Entry, seen: &mut Seen) -> ToolPolicy {
    let mut policy = ToolPolicy { line: entry.key_span.line, ..ToolPolicy::default() };
    if entry.value.is_null() {
        return policy;
    }
    let rules = reader.section(&entry.value, &TOOL).and_then(|fields| fields.get("rules"));
    let Some(rules) = rules.filter(|rules| !rules.is_null()) else { return policy };
    let Some(items) = reader.list(rules, "rules", POLICY_RULES_MAX) else { return policy };
    seen.rules += items.len();
    if seen.rules > POLICY_RULES_MAX {
        return policy; // said once, by the caller
    }
    for (index, item) in items.iter().enumerate() {
        if let Some(rule) = rule(reader, &entry.key, index, item, seen) {
            policy.rules.push(rule);
        }
    }
    policy.keys = ArgumentKeys::of(&policy.rules);
    policy
}

fn rule(reader: &mut Reader<'_>, tool: &str, index: usize, node: &Node, seen: &mut Seen) -> Option<Rule> {
    let fields = reader.section(node, &RULE)?;
    let name = fields.get("name").and_then(|node| rule_name(reader, node));
    let action = match fields.get("action") {
        Some(node) => reader.choice(node, "action", ACTIONS, &[]),
        None => Some(RuleAction::Evaluate),
    };
    if action == Some(RuleAction::Deny) {
        refuse_checks(reader, &fields);
    }
    let conditions =
        fields.get("conditions").map(|node| conditions::conditions(reader, node, &mut seen.budget)).unwrap_or_default();
    seen.counters.ask(
        tool,
        index,
        fields.get("conditions").map(|node| state::conditions(reader, node)).unwrap_or_default(),
    );
    let rate_limit = fields.get("rate_limit").and_then(|node| limits::rate_limit(reader, node));
    let pace = fields.get("pace").and_then(|node| limits::pace(reader, node));
    let state = fields.get("state").and_then(|node| {
        let block = state::block(reader, node);
        seen.counters.feed(reader, tool, index, &block);
        block.counter
    });
    let validate = fields.get("validate").map(|node| validate(reader, node)).unwrap_or_default();
    let reason = reason(reader, &fields);
    let id = rule_id(reader, tool, index, node, fields.get("name").zip(name.as_deref()), seen);
    Some(Rule {
        id,
        tool: tool.to_owned(),
        index,
        name,
        line: node.span.line,
        action: action?,
        reason,
        conditions,
        state_conditions: Vec::new(), // when every counter is known
        rate_limit,
        pace,
        state,
        validate,
    })
}

fn validate(reader: &mut Reader<'_>, node: &Node) -> Validate {
    let Some(fields) = reader.section(node, &VALIDATE) else { return Validate::NOTHING };
    let mut asked = |key: &str| {
        fields.get(key).is_some_and(|node| reader.boolean(node, &format!("validate.{key}")).unwrap_or(false))
    };
    Validate { required_args: asked("required_args"), schema: asked("schema"), output: asked("output") }
}

/// `TOOL.NAME`, or `TOOL.rules[INDEX]`; two rules of a policy never have the same.
fn rule_id(
    reader: &mut Reader<'_>,
    tool: &str,
    index: usize,
    node: &Node,
    name: Option<(&Node, &str)>,
    seen: &mut Seen,
) -> String {
    let id = match name {
        Some((_, name)) => format!("{tool}.{name}"),
        None => format!("{tool}.rules[{index}]"),
    };
    if let Some(line) = seen.ids.insert(id.clone(), node.span.line) {
        let span = name.map_or(node.span, |(node, _)| node.span);
        let message = format!("two rules are called \"{id}\", the first on line {line}");
        reader.error(Code::DuplicateRule, span, message).help = Some("give each rule of a tool its own name".into());
    }
    id
}

/// A deny rule refuses always, so checks beside it would be read by people only.
fn refuse_checks(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    for key in ["conditions", "rate_limit", "state", "pace", "validate"] {
        let Some(entry) = fields.entry(key) else { continue };
        if matches!(&entry.value.kind, Kind::List(items) if items.is_empty()) {
            continue;
        }
        let message = format!("`action: deny` refuses every call, so `{key}` beside it would never be read");
        reader.error(Code::DenyWithChecks, entry.key_span, message).help =
            Some("a rule denies when one of its conditions fails: leave `action` out and write what must hold".into());
    }
}

fn rule_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let name = reader.bounded(node, "name", POLICY_NAME_BYTES_MAX)?;
    if name.chars().any(char::is_control) {
        reader.error(Code::BadName, node.span, "a rule's name holds no control characters");
        return None;
    }
    Some(name.to_owned())
}

/// `reason` and `on_deny` are one field with two names.
fn reason(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    if let (Some(_), Some(second)) = (fields.entry("reason"), fields.entry("on_deny")) {
        let message = "`reason` and `on_deny` are the same field; only one of them may stand in a rule";
        reader.error(Code::Exclusive, second.key_span, message);
        return None;
    }
    let (key, node) = match (fields.get("reason"), fields.get("on_deny")) {
        (Some(node), _) => ("reason", node),
        (None, Some(node)) => ("on_deny", node),
        (None, None) => return None,
    };
    reader.bounded(node, key, POLICY_REASON_BYTES_MAX).map(str::to_owned)
}
