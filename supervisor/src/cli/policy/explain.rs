//! `policy explain`.

use std::io::{self, Write};

use clap::Args;

use super::{Done, call, file};
use crate::policy::{
    Call, ConditionTrace, Explanation, Found, FoundValue, Outcome, Policy, Rule, RuleTrace, SchemaKnowledge, Verdict,
    Visibility,
};
use crate::report::printable;
use crate::wire::advertised::Advertised;
use crate::wire::tools::InputSchema;

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub(super) file: file::FileArgs,
    /// The params of a tools/call: {"name": "TOOL", "arguments": {...}}.
    #[arg(long, value_name = "JSON")]
    pub(super) call: Option<String>,
    /// The arguments that the tool's inputSchema requires, for rules with validate.required_args. "" for none.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "call")]
    pub(super) required: Option<Vec<String>>,
    /// The tool's inputSchema, JSON, for rules with validate.schema.
    #[arg(long, value_name = "JSON", requires = "call", conflicts_with = "required")]
    pub(super) schema: Option<String>,
}

pub(super) fn run(arguments: &ExplainArgs, out: &mut impl Write) -> Done {
    let path = arguments.file.path();
    let bytes = file::read_to_show(path)?;
    let Some(loaded) = file::load_or_tell(path, &bytes, out)? else { return Ok(1) };
    let policy = loaded.policy;
    let Some(text) = &arguments.call else {
        write!(out, "{}", policy.normalised())?;
        return Ok(0);
    };
    let (tool, values) = call::parse(text)?;
    let advertised = match &arguments.schema {
        Some(text) => Some(call::schema(text)?),
        None => arguments.required.as_ref().map(|names| required(names)),
    };
    // As the relay does it: a tool that may not be called does not show what its arguments are called.
    let properties = advertised.as_ref().map_or(&[][..], Advertised::properties);
    if policy.visibility(&tool) == Visibility::Listed
        && let Some(text) = policy.ambiguity(&tool, values.as_ref(), properties)
    {
        writeln!(out, "refused before the policy is asked: {text}")?;
        return Ok(1);
    }
    let known = advertised.as_ref().map(|tool| SchemaKnowledge::Known(tool.into()));
    let schema = known.unwrap_or(SchemaKnowledge::Pending);
    let explanation = policy.explain(&Call { tool: &tool, arguments: values.as_ref(), schema });
    tell(&policy, &explanation, out)?;
    Ok(u8::from(!matches!(explanation.verdict, Verdict::Allow(_))))
}

/// A tool whose inputSchema requires these.
fn required(names: &[String]) -> Advertised {
    let required = names.iter().filter(|name| !name.is_empty()).cloned().collect();
    Advertised::names(Some(InputSchema { required, properties: Vec::new() }))
}

fn tell(policy: &Policy, explanation: &Explanation<'_>, out: &mut impl Write) -> io::Result<()> {
    let visibility = match explanation.visibility {
        Visibility::Listed => "can be called",
        Visibility::Hidden => "hidden",
        Visibility::Unlisted => "not listed, and the default is deny",
    };
    writeln!(out, "policy {}\ntool: {visibility}", policy.name)?;
    for trace in &explanation.rules {
        tell_rule(trace, out)?;
    }
    match &explanation.verdict {
        Verdict::Deny(denial) => {
            let by = denial.rule.map(|rule| format!(" by {}, line {}", rule.id, rule.line)).unwrap_or_default();
            writeln!(out, "verdict: deny ({}){}", denial.code.as_str(), printable(&by))?;
            writeln!(out, "  the agent reads: {}", printable(&denial.message))
        }
        Verdict::NeedsSchema => {
            if let Some(rule) = refuses_anyway(explanation) {
                let rule = format!("{}, line {}", rule.id, rule.line);
                return writeln!(out, "verdict: deny whatever the schema says (rule {})", printable(&rule));
            }
            writeln!(
                out,
                "verdict: open until the server's inputSchema is known; give its required names with --required, or all of it with --schema"
            )
        }
        Verdict::Allow(allowance) => {
            writeln!(out, "verdict: allow, if the limits hold")?;
            for owed in allowance.in_words() {
                writeln!(out, "  {}", printable(&owed))?;
            }
            Ok(())
        }
    }
}

/// The first rule that refuses the call by what is known already. Every rule must pass, so the schema cannot save it.
fn refuses_anyway<'p>(explanation: &Explanation<'p>) -> Option<&'p Rule> {
    let refuses = |trace: &&RuleTrace<'_>| trace.checks.iter().any(|check| matches!(check.found, Found::Refuses(_)));
    explanation.rules.iter().find(refuses).map(|trace| trace.rule)
}

fn tell_rule(trace: &RuleTrace<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "rule {} (line {})", printable(&trace.rule.id), trace.rule.line)?;
    for check in &trace.checks {
        let mark = match check.found {
            Found::Passes => "pass",
            Found::Pending => "open",
            Found::Refuses(_) => "FAIL",
        };
        writeln!(out, "  {mark}  {}", printable(&check.tree.as_ref().map_or(check.what.clone(), line)))?;
        for part in check.tree.iter().flat_map(|tree| &tree.parts) {
            tell_part(part, 2, out)?;
        }
    }
    Ok(())
}

/// The members of a group, indented below it.
fn tell_part(part: &ConditionTrace, depth: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "    {:indent$}{}", "", printable(&line(part)), indent = depth * 2)?;
    part.parts.iter().try_for_each(|part| tell_part(part, depth + 1, out))
}

/// What is asked, what was there, and what follows.
fn line(trace: &ConditionTrace) -> String {
    let outcome = match trace.outcome {
        Outcome::Holds => "holds",
        Outcome::Absent => "absent, passes",
        Outcome::Fails => "fails",
        Outcome::Unjudged => "cannot be judged",
    };
    match &trace.found {
        None => format!("{}: {outcome}", trace.what),
        Some(FoundValue::Nothing) => format!("{} (absent): {outcome}", trace.what),
        Some(FoundValue::Value(value)) => format!("{} (is {value}): {outcome}", trace.what),
        Some(FoundValue::Element { at, value: Some(value) }) => format!("{} ({at} is {value}): {outcome}", trace.what),
        Some(FoundValue::Element { at, value: None }) => format!("{} ({at} is absent): {outcome}", trace.what),
    }
}
