//! The counters of a whole policy: which `state` block feeds each, and which conditions read it.

use std::collections::{BTreeMap, HashMap};

use super::read::Reader;
use super::state::Block;
use super::suggest::nearest;
use crate::bounds::{POLICY_NAME_BYTES_MAX, TOOL_NAME_BYTES_MAX};
use crate::limits::{Amount, Window};
use crate::policy::codes::Code;
use crate::policy::condition::Number;
use crate::policy::decide::EVERY_TOOL;
use crate::policy::model::{StateCondition, ToolPolicy};
use crate::policy::yaml::Span;

/// The name by which paths call `*`.
const GLOBAL: &str = "_global";
/// Longest path that can name a counter, bytes: `state.TOOL.COUNTER`.
const PATH_BYTES_MAX: usize = "state..".len() + TOOL_NAME_BYTES_MAX + POLICY_NAME_BYTES_MAX;
/// Comparisons of unknown paths with known ones that the search for suggestions may cost.
const COMPARISONS_MAX: usize = 4_000;

/// A condition on a counter as written.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) line: u32,
    /// None where it could not be read, which has been said.
    pub(super) bound: Option<Bound>,
}

/// The operator and value of a condition on a counter.
pub(super) struct Bound {
    pub(super) op: &'static str,
    pub(super) value: Number,
    pub(super) at_least: Amount,
    pub(super) at_most: Amount,
}

/// A counter and the rule that feeds it.
struct Fed {
    tool: String,
    name: String,
    rule: usize,
    window: Option<Window>,
    span: Span,
    read: bool,
}

/// What the rules say of counters, gathered while they are read.
#[derive(Default)]
pub(super) struct Counters {
    fed: Vec<Fed>,
    by_tool: HashMap<String, HashMap<String, usize>>,
    /// Tool and rule of each condition.
    asked: Vec<(String, usize, Asked)>,
    /// A block whose name could not be read: paths without a block may mean it.
    nameless: bool,
}

impl Counters {
    /// Takes the block of a rule.
    pub(super) fn feed(&mut self, reader: &mut Reader<'_>, tool: &str, rule: usize, block: &Block) {
        let Some(name) = &block.name else {
            self.nameless = true;
            return;
        };
        let of_tool = self.by_tool.entry(tool.to_owned()).or_default();
        if let Some(&first) = of_tool.get(name) {
            let first = self.fed[first].span.line;
            let message = format!("the counter \"{name}\" of {tool} is already fed by the block on line {first}");
            reader.error(Code::DuplicateCounter, block.span, message).help =
                Some("one rule feeds a counter; others may read it in their conditions".into());
            return;
        }
        of_tool.insert(name.clone(), self.fed.len());
        let window = block.counter.as_ref().map(|counter| counter.window);
        let (tool, name) = (tool.to_owned(), name.clone());
        self.fed.push(Fed { tool, name, rule, window, span: block.span, read: false });
    }

    /// Takes the conditions of a rule.
    pub(super) fn ask(&mut self, tool: &str, rule: usize, asked: Vec<Asked>) {
        self.asked.extend(asked.into_iter().map(|asked| (tool.to_owned(), rule, asked)));
    }

    /// Gives every condition its counter. Paths without a block, and blocks that no condition reads, are errors.
    pub(super) fn settle(mut self, reader: &mut Reader<'_>, tools: &mut BTreeMap<String, ToolPolicy>) {
        let mut unknown = 0;
        for (tool, rule, asked) in std::mem::take(&mut self.asked) {
            let Some(index) = self.named_by(reader, &asked, &mut unknown) else { continue };
            let fed = &mut self.fed[index];
            fed.read = true;
            let (Some(bound), Some(window)) = (asked.bound, fed.window) else { continue };
            let condition = StateCondition {
                path: asked.path,
                tool: fed.tool.clone(),
                counter: fed.name.clone(),
                window,
                own: fed.tool == tool && fed.rule == rule,
                op: bound.op,
                value: bound.value,
                at_least: bound.at_least,
                at_most: bound.at_most,
                line: asked.line,
            };
            // A rule with an error is not there; then nothing of the policy is used.
            let rules = tools.get_mut(&tool).map(|tool| &mut tool.rules);
            let found = rules.and_then(|rules| {
                let at = rules.binary_search_by_key(&rule, |rule| rule.index).ok()?;
                rules.get_mut(at)
            });
            if let Some(rule) = found {
                rule.state_conditions.push(condition);
            }
        }
        for fed in self.fed.iter().filter(|fed| !fed.read) {
            let message = format!("no condition reads the counter \"{}\", so it would limit nothing", fed.name);
            let path = path(fed);
            reader.error(Code::UnreadCounter, fed.span, message).help =
                Some(format!("add {{path: {path}, op: lte, value: N}} to the rule's conditions, or remove the block"));
        }
    }

    /// The counter that a path names.
    fn named_by(&self, reader: &mut Reader<'_>, asked: &Asked, unknown: &mut usize) -> Option<usize> {
        let rest = asked.path.strip_prefix("state.").filter(|_| asked.path.len() <= PATH_BYTES_MAX).unwrap_or("");
        let found = self.candidates(rest);
        match found.as_slice() {
            [one] => return Some(*one),
            [] if self.nameless => return None,
            [] => {}
            [first, second, ..] => {
                let (first, second) = (&self.fed[*first].span.line, &self.fed[*second].span.line);
                let message = format!("the path names two counters, of the blocks on lines {first} and {second}");
                reader.error(Code::BadStatePath, asked.span, message).help = Some("rename one of them".into());
                return None;
            }
        }
        *unknown += 1;
        let near = (*unknown * self.fed.len() <= COMPARISONS_MAX).then(|| {
            let paths: Vec<String> = self.fed.iter().map(path).collect();
            nearest(&asked.path, paths.iter().map(String::as_str)).map(|near| format!("did you mean \"{near}\"?"))
        });
        let help = near.flatten().unwrap_or_else(|| {
            "write state.TOOL.COUNTER, or state._global.COUNTER for one of \"*\", with a `state` block in a rule of it".into()
        });
        reader.error(Code::BadStatePath, asked.span, "no `state` block feeds the counter of this path").help =
            Some(help);
        None
    }

    /// Every counter that `TOOL.COUNTER` can mean: names of both may hold dots.
    fn candidates(&self, rest: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (dot, _) in rest.match_indices('.') {
            let (tool, name) = (&rest[..dot], &rest[dot + 1..]);
            let of = |tool: &str| self.by_tool.get(tool)?.get(name).copied();
            found.extend(of(tool).filter(|_| tool != EVERY_TOOL));
            found.extend(of(EVERY_TOOL).filter(|_| tool == GLOBAL));
        }
        found
    }
}

/// The path of a counter as conditions write it.
fn path(fed: &Fed) -> String {
    let tool = if fed.tool == EVERY_TOOL { GLOBAL } else { &fed.tool };
    format!("state.{tool}.{}", fed.name)
}
