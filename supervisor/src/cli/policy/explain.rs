//! `policy explain`.

use std::io::{self, Write};

use clap::Args;

use super::{Done, call, file};
use crate::policy::{Call, Explanation, Found, Policy, RuleTrace, SchemaKnowledge, Verdict, Visibility};
use crate::report::printable;
use crate::wire::fold;
use crate::wire::json::Value;

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
}

pub(super) fn run(arguments: &ExplainArgs, out: &mut impl Write) -> Done {
    let path = arguments.file.path();
    let bytes = file::read(path)?;
    let loaded = match file::load(path, &bytes) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for problem in file::shown(errors) {
                writeln!(out, "{problem}")?;
            }
            return Ok(1);
        }
    };
    let policy = loaded.policy;
    let Some(text) = &arguments.call else {
        write!(out, "{}", policy.normalised())?;
        return Ok(0);
    };
    let (tool, values) = call::parse(text)?;
    if let Some((key, known)) = ambiguous(&policy, &tool, values.as_ref()) {
        writeln!(out, "refused before the policy is asked: argument \"{key}\" differs from \"{known}\" only in case")?;
        return Ok(1);
    }
    let required: Option<Vec<String>> =
        arguments.required.as_ref().map(|names| names.iter().filter(|name| !name.is_empty()).cloned().collect());
    let schema = required.as_deref().map_or(SchemaKnowledge::Pending, SchemaKnowledge::Required);
    let explanation = policy.explain(&Call { tool: &tool, arguments: values.as_ref(), schema });
    tell(&policy, &explanation, out)?;
    Ok(u8::from(!matches!(explanation.verdict, Verdict::Allow(_))))
}

/// As the relay does it: an argument key that some servers would take for one that the policy reads.
fn ambiguous<'a>(policy: &'a Policy, tool: &str, values: Option<&'a Value<'_>>) -> Option<(&'a str, &'a str)> {
    values?
        .as_object()?
        .iter()
        .find_map(|(key, _)| fold::collision(key, policy.argument_names(tool)).map(|known| (key.as_ref(), known)))
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
            writeln!(
                out,
                "verdict: open until the server's inputSchema is known; give its required names with --required"
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

fn tell_rule(trace: &RuleTrace<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "rule {} (line {})", printable(&trace.rule.id), trace.rule.line)?;
    for check in &trace.checks {
        let mark = match check.found {
            Found::Passes => "pass",
            Found::Pending => "open",
            Found::Refuses(_) => "FAIL",
        };
        let value = match (&check.condition, &check.value) {
            (Some(_), Some(value)) => format!(" (is {value})"),
            (Some(_), None) => " (absent)".into(),
            (None, _) => String::new(),
        };
        writeln!(out, "  {mark}  {}{}", printable(&check.what), printable(&value))?;
    }
    Ok(())
}
