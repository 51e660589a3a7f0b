//! A policy drafted from what a server lists about itself. Every name, description and schema in it was written by someone who may
//! want the policy to say something else: text goes through [`text`], and only what [`judge`] understands is proposed.
//!
//! What is proposed is the least: a tool is allowed only when it claims to be read-only and each of its arguments can be judged.
//! Nothing rests on the claim alone: the sandbox has no network and no write folder until a person adds them.

mod judge;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::bounds::{DRAFT_SPARE_BYTES, POLICY_BYTES_MAX, POLICY_CONDITIONS_MAX, POLICY_NODES_MAX, POLICY_TOOLS_MAX};
use crate::wire::json::Value;
use crate::wire::pin::{Definition, hex};
pub use judge::Proposal;
use judge::propose;
use text::{quoted, remark};

/// What a person said on the command line, and what the server answered.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// The command, its words as given.
    pub command: &'a [String],
    /// `--read`, absolute.
    pub read: &'a [String],
    /// `--env`, names.
    pub env: &'a [String],
    /// What the server calls itself.
    pub server: &'a str,
    /// The entries of every page of tools/list, in order.
    pub tools: &'a [Value<'static>],
}

/// A drafted policy.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The YAML text. It loads.
    pub text: String,
    /// Each tool that stands in it, in the server's order.
    pub tools: Vec<DraftedTool>,
    /// Entries that the policy language cannot name, and why. The default denies them.
    pub refused: Vec<(String, &'static str)>,
    /// Tools for which the policy has no room. The default denies them.
    pub left_out: usize,
}

/// One tool of a draft.
#[derive(Clone, Debug)]
pub struct DraftedTool {
    /// Its name, as the server wrote it.
    pub name: String,
    /// SHA-256 of its definition as it would be pinned, lower-case hex.
    pub sha256: String,
    /// What the draft says of it.
    pub proposal: Proposal,
}

/// The policy under which a server is scanned: every tool is listed and none is called; no network, no writes but /tmp.
/// `wall_s` ends a run that nobody ends.
#[must_use]
pub fn strictest(read: &[String], env: &[String], wall_s: u64) -> String {
    let sandbox = sandbox(read, env, Some(wall_s));
    format!(
        "name: scan\ndefault: allow\ntools: {{}}\nserver: {{pins: off}}\ncli: {{allow: [audit-dir, state-dir]}}\n{sandbox}"
    )
}

/// Drafts a policy. Pure; bounded by what the loader takes, whatever the server listed.
#[must_use]
pub fn draft(scanned: &Scanned<'_>) -> Draft {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for name in scanned.tools.iter().filter_map(name_of) {
        *times.entry(name).or_default() += 1;
    }
    let mut draft = Draft { text: head(scanned), tools: Vec::new(), refused: Vec::new(), left_out: 0 };
    let tail = sandbox(scanned.read, scanned.env, None);
    let mut room = Room::new(draft.text.len() + tail.len());
    let mut tools = String::new();
    for definition in scanned.tools {
        let Some(name) = name_of(definition) else {
            draft.refused.push((String::new(), "it has no name"));
            continue;
        };
        if times.get(name).is_none_or(|times| *times == 0) {
            continue; // the second of two with one name; the first said so
        }
        let repeated = times.insert(name, 0).is_some_and(|times| times > 1);
        if let Some(why) = unnameable(name) {
            draft.refused.push((name.to_owned(), why));
            continue;
        }
        let tool = DraftedTool {
            name: name.to_owned(),
            sha256: hex(&Definition::of(definition).sha256),
            proposal: if repeated { Proposal::deny("it is listed twice") } else { propose(name, definition) },
        };
        let block = block(definition, &tool);
        if !room.takes(&block, &tool.proposal) {
            draft.left_out += 1;
            continue;
        }
        tools.push_str(&block);
        draft.tools.push(tool);
    }
    finish(&mut draft, &tools, &tail);
    draft
}

fn finish(draft: &mut Draft, tools: &str, tail: &str) {
    const SHOWN_MAX: usize = 50;
    for (name, why) in draft.refused.iter().take(SHOWN_MAX) {
        let _ = writeln!(draft.text, "# refused: {} ({why})", remark(name)); // writing to a String cannot fail
    }
    let unsaid = draft.refused.len().saturating_sub(SHOWN_MAX);
    if unsaid + draft.left_out > 0 {
        let _ = writeln!(draft.text, "# {} more tools are left out and so denied.", unsaid + draft.left_out);
    }
    if tools.is_empty() {
        draft.text.push_str("tools: {}\n");
    } else {
        draft.text.push_str("tools:\n");
        draft.text.push_str(tools);
    }
    draft.text.push_str(tail);
}

/// What one policy still holds, counted generously: the loader's own bounds are never met.
struct Room {
    bytes: usize,
    nodes: usize,
    conditions: usize,
    tools: usize,
}

impl Room {
    fn new(taken_bytes: usize) -> Self {
        let bytes = usize::try_from(POLICY_BYTES_MAX).unwrap_or(usize::MAX);
        Self {
            bytes: bytes.saturating_sub(taken_bytes + DRAFT_SPARE_BYTES),
            nodes: POLICY_NODES_MAX / 2,
            conditions: POLICY_CONDITIONS_MAX,
            tools: POLICY_TOOLS_MAX,
        }
    }

    fn takes(&mut self, block: &str, proposal: &Proposal) -> bool {
        let (conditions, values) = match proposal {
            Proposal::Allow(allowed) => {
                (allowed.conditions.len(), allowed.conditions.iter().map(|one| one.values).sum())
            }
            Proposal::Deny(_) => (0, 0),
        };
        let wanted = [block.len(), 24 + 10 * conditions + values, conditions, 1];
        let left = [&mut self.bytes, &mut self.nodes, &mut self.conditions, &mut self.tools];
        if left.iter().zip(wanted).any(|(left, wanted)| **left < wanted) {
            return false;
        }
        left.into_iter().zip(wanted).for_each(|(left, wanted)| *left -= wanted);
        true
    }
}

fn head(scanned: &Scanned<'_>) -> String {
    let command: String = scanned.command.iter().map(|word| format!("    - {}\n", quoted(word))).collect();
    format!(
        "# Drafted by `intercept-sandbox policy scan` from what a server listed about itself, which proves nothing.
# Read it, judge what is marked `not judged`, give it a name of its own, and run `policy check`.
#
# The server calls itself: {}
# Allowed here: tools that claim to be read-only and whose arguments can be judged. Every other tool is denied.
# A tool that needs the network gets none until its host stands below, and no folder to write.
# Not refused here: arguments that a tool's schema does not name, and what its comment lists under `any value`.
# The definitions themselves go into a lock file (`policy scan --lock FILE`, beside this one with -o). Once you have read it,
# `server: {{pins: {{lock: tools.lock}}}}` takes the tools as they stand there; until then, as they were when first seen.
# Methods: only tools/list and tools/call pass. If the server's resources or prompts are wanted, name what may be asked, such as
#   methods: {{resources/list: allow, resources/read: allow}}
name: scan-draft
default: deny
methods: {{}} # default decides: resources, prompts, completion, logging, tasks, sampling, elicitation, roots are refused
server:
  command:
{command}",
        remark(scanned.server)
    )
}

fn block(definition: &Value<'_>, tool: &DraftedTool) -> String {
    let description = definition.member("description").and_then(Value::as_str).unwrap_or_default();
    let first = description.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(no description)");
    let mut block = format!("  # {}\n", remark(first));
    if let Some(claims) = judge::claims(definition) {
        let _ = writeln!(block, "  # the server claims: {claims}");
    }
    match &tool.proposal {
        Proposal::Deny(why) => {
            let reason = quoted(&format!("not judged: {why}"));
            let _ = write!(
                block,
                "  {}:\n    rules:\n      - action: deny\n        reason: {reason}\n",
                quoted(&tool.name)
            );
        }
        Proposal::Allow(allowed) => {
            if !allowed.free.is_empty() {
                let _ = writeln!(block, "  # any value: {}", remark(&allowed.free.join(", ")));
            }
            let _ = write!(
                block,
                "  {}:\n    rules:\n      - action: allow\n        rate_limit: {{max: 60, window: 60}}\n",
                quoted(&tool.name)
            );
            if allowed.required {
                block.push_str("        validate: {required_args: true}\n");
            }
            if !allowed.conditions.is_empty() {
                block.push_str("      - conditions:\n");
            }
            for one in &allowed.conditions {
                let (path, present) = (quoted(&one.path), if one.optional { ", if_present: true" } else { "" });
                let _ = writeln!(block, "          - {{path: {path}, op: {}, value: {}{present}}}", one.op, one.value);
            }
        }
    }
    block
}

fn sandbox(read: &[String], env: &[String], wall_s: Option<u64>) -> String {
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    if wall_s.is_none() {
        text.push_str(
            "# No network: add `network: {allow: [{host: api.example.com}]}` with the one host that the tools need.\n",
        );
    }
    let mut sections = Vec::new();
    if !read.is_empty() {
        sections.push(format!("  filesystem: {{read: [{}]}}\n", list(read)));
    }
    if !env.is_empty() {
        sections.push(format!("  env: {{pass: [{}]}}\n", list(env)));
    }
    if let Some(wall_s) = wall_s {
        sections.push(format!("  resources: {{wall: {wall_s}s}}\n"));
    }
    text.push_str(if sections.is_empty() { "sandbox: {}\n" } else { "sandbox:\n" });
    text.extend(sections);
    text
}

fn name_of<'v>(definition: &'v Value<'_>) -> Option<&'v str> {
    definition.member("name").and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// Why the language cannot name this tool alone. The loader itself is asked, so that the two never differ.
fn unnameable(name: &str) -> Option<&'static str> {
    if name == super::decide::EVERY_TOOL {
        return Some("it would stand for every tool");
    }
    let text = format!("tools: {{{}: {{}}}}", quoted(name));
    let loads = super::load(&super::Source { path: Path::new("/draft.yaml"), text: &text });
    match loads {
        Ok(loaded) if loaded.policy.tools.contains_key(name) => None,
        Ok(_) | Err(_) => Some("the policy language has no such name"),
    }
}
